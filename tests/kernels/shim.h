// CUDA as far as our kernels use it, for a C++ compiler. A block's threads are contexts of one processor thread, which run in
// turn until they wait for each other: at a barrier, or to exchange values within a warp.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <ucontext.h>
#include <vector>

#define __global__
#define __device__
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
// Blocks run one after the other: what they share can be static.
#define __shared__ static

struct Place {
    unsigned x, y, z;
};
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

static Place blockIdx, threadIdx, blockDim, gridDim;

namespace shim {

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack;
    Place place;
    bool done = false, at_barrier = false;
    unsigned exchanges = 0;
};

static const size_t STACK = 128 << 10;
static ucontext_t scheduler;
static std::vector<Fiber> fibers;
static Fiber *running;
static void (*body)(void *);
static void *argument;
// What the lanes of each warp give each other: two buffers in turn, so that a lane that is ahead overwrites nothing.
static uint32_t exchange[2][32][32][8];

static void enter() {
    body(argument);
    running->done = true;
    swapcontext(&running->context, &scheduler);
}

static void pause() {
    swapcontext(&running->context, &scheduler);
}

static unsigned linear() {
    return threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
}

// Gives the warp `count` words of this lane's, and returns all lanes' words.
static const uint32_t (*share(const uint32_t *words, int count))[8] {
    unsigned thread = linear(), turn = running->exchanges++ % 2;
    auto &warp = exchange[turn][thread / 32];
    std::memcpy(warp[thread % 32], words, count * sizeof *words);
    pause();
    return warp;
}

static void run_block() {
    size_t count = (size_t)blockDim.x * blockDim.y * blockDim.z;
    if (fibers.size() < count) fibers = std::vector<Fiber>(count);
    for (size_t i = 0; i < count; i++) {
        Fiber &fiber = fibers[i];
        if (!fiber.stack) fiber.stack.reset(new char[STACK]);
        fiber.done = fiber.at_barrier = false;
        fiber.exchanges = 0;
        unsigned at = (unsigned)i;
        fiber.place = {at % blockDim.x, at / blockDim.x % blockDim.y, at / blockDim.x / blockDim.y};
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
    }
    for (size_t alive = count; alive > 0;) {
        size_t waiting = 0;
        alive = 0;
        for (size_t i = 0; i < count; i++) {
            Fiber &fiber = fibers[i];
            if (fiber.done) continue;
            if (!fiber.at_barrier) {
                running = &fiber;
                threadIdx = fiber.place;
                swapcontext(&scheduler, &fiber.context);
            }
            alive += !fiber.done;
            waiting += !fiber.done && fiber.at_barrier;
        }
        if (waiting == alive) {
            for (size_t i = 0; i < count; i++) fibers[i].at_barrier = false;
        }
    }
}

}  // namespace shim

// Runs a grid, its last block first: no GPU promises an order.
extern "C" void run_grid(const unsigned *grid, const unsigned *block, void (*body)(void *), void *argument) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    shim::body = body;
    shim::argument = argument;
    for (unsigned z = grid[2]; z-- > 0;) {
        for (unsigned y = grid[1]; y-- > 0;) {
            for (unsigned x = grid[0]; x-- > 0;) {
                blockIdx = {x, y, z};
                shim::run_block();
            }
        }
    }
}

// The same for a kernel whose threads never wait for each other: one after the other, on the caller's stack.
extern "C" void run_alone(const unsigned *grid, const unsigned *block, void (*body)(void *), void *argument) {
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {block[0], block[1], block[2]};
    for (blockIdx.z = 0; blockIdx.z < grid[2]; blockIdx.z++) {
        for (blockIdx.y = 0; blockIdx.y < grid[1]; blockIdx.y++) {
            for (blockIdx.x = 0; blockIdx.x < grid[0]; blockIdx.x++) {
                for (threadIdx.z = 0; threadIdx.z < block[2]; threadIdx.z++) {
                    for (threadIdx.y = 0; threadIdx.y < block[1]; threadIdx.y++) {
                        for (threadIdx.x = 0; threadIdx.x < block[0]; threadIdx.x++) body(argument);
                    }
                }
            }
        }
    }
}

static inline void __syncthreads() {
    shim::running->at_barrier = true;
    shim::pause();
}

static inline void __syncwarp(unsigned = 0xffffffff) {
    shim::pause();
}

template <typename T>
static inline T shuffle_from(T value, unsigned lane) {
    static_assert(sizeof(T) == 4, "words of 32 bits");
    uint32_t word;
    std::memcpy(&word, &value, 4);
    auto warp = shim::share(&word, 1);
    std::memcpy(&value, warp[lane], 4);
    return value;
}

template <typename T>
static inline T __shfl_xor_sync(unsigned, T value, int mask) {
    return shuffle_from(value, (shim::linear() % 32) ^ mask);
}

template <typename T>
static inline T __shfl_sync(unsigned, T value, int lane) {
    return shuffle_from(value, lane);
}

static inline bool __any_sync(unsigned, int value) {
    bool any = value;
    for (int mask = 16; mask > 0; mask /= 2) any |= __shfl_xor_sync(0u, (unsigned)any, mask) != 0;
    return any;
}

static inline float atomicAdd(float *at, float value) {
    float before = *at;
    *at += value;
    return before;
}

static inline unsigned __float_as_uint(float x) {
    unsigned bits;
    std::memcpy(&bits, &x, 4);
    return bits;
}

static inline float __uint_as_float(unsigned bits) {
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
}

static inline float rsqrtf(float x) { return 1 / sqrtf(x); }
static inline float __ldg(const float *x) { return *x; }
static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }

static inline void keep_in_loop(float &) {}

static inline unsigned to_tf32(float x) {
    return (__float_as_uint(x) + 0x1000) & ~0x1fffu;
}

// The tensor cores' product, with the fragments' layout as PTX's documentation gives it.
static inline void mma_tf32(float d[4], const unsigned a[4], const unsigned b[2]) {
    unsigned words[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    auto warp = shim::share(words, 6);
    int lane = shim::linear() % 32, group = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) {
        int row = group + i / 2 * 8, column = 2 * t + i % 2;
        for (int k = 0; k < 8; k++) {
            unsigned a = warp[row % 8 * 4 + k % 4][row / 8 + k / 4 * 2], b = warp[column * 4 + k % 4][4 + k / 4];
            d[i] += __uint_as_float(a) * __uint_as_float(b);
        }
    }
}
