// CUDA as far as our kernels use it, for a C++ compiler: the caller runs blocks and threads one after the other.
#pragma once

struct Place {
    unsigned x, y, z;
};

#define __global__
#define __device__

static Place blockIdx, threadIdx, blockDim, gridDim;

static void atomicAdd(float *at, float value) {
    *at += value;
}

extern "C" void stand_at(unsigned block, unsigned blocks, unsigned thread, unsigned threads) {
    blockIdx = {block, 0, 0};
    gridDim = {blocks, 1, 1};
    threadIdx = {thread, 0, 0};
    blockDim = {threads, 1, 1};
}
