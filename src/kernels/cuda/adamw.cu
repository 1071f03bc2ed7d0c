// One update of a parameter by AdamW, in the order of torch.optim.AdamW: p *= keep; m, v; p −= rate·m/(√v·root_scale + ε), where
// keep = 1 − lr·decay, rate = lr/(1 − β₁ᵗ), root_scale = 1/√(1 − β₂ᵗ); v is bounded before the root, p after the update. Beside it
// the sum of the gradients of a batch's parts, their squares for the global norm, and the moving average of the weights.
//
// A thread takes four values at a time, wherever they lie. Squares are summed in f64 and in one order: a part for each block,
// then the parts of a gradient.
//
// 1e9 weights. Bound: bytes. Update: four arrays read and three written, 28 bytes a weight: 5.8 ms at 4.8 TB/s. Sum: 12, 2.5 ms.
// Squares: 4, 0.8 ms. Average: 12, 2.5 ms. Not measured.

#include "device.h"

struct Rates {
    float scale, keep, beta1, rest1, beta2, rest2, rate, root_scale, epsilon, bound, top;
};

__device__ static inline void move(const Rates &c, float &p, float g, float &m, float &v) {
    g *= c.scale;
    m = c.beta1 * m + c.rest1 * g;
    float variance = c.beta2 * v + c.rest2 * g * g;
    v = variance > c.bound ? c.bound : variance;
    p = p * c.keep - c.rate * m / (sqrtf(v) * c.root_scale + c.epsilon);
    p = p > c.top ? c.top : p;
}

extern "C" __global__ void __launch_bounds__(256)
    adamw(Tensor weight, Tensor gradient, float *mean, float *variance, word count, float scale, float keep, float beta1, float rest1,
          float beta2, float rest2, float rate, float root_scale, float epsilon, float bound, float top) {
    Rates c = {scale, keep, beta1, rest1, beta2, rest2, rate, root_scale, epsilon, bound, top};
    for (word at = 4 * (blockIdx.x * (word)blockDim.x + threadIdx.x); at < count; at += 4 * (word)blockDim.x * gridDim.x) {
        float4 p = read_four(values(weight), at, count, 0), g = read_four(values(gradient), at, count, 0);
        float4 m = read_four(mean, at, count, 0), v = read_four(variance, at, count, 0);
        move(c, p.x, g.x, m.x, v.x);
        move(c, p.y, g.y, m.y, v.y);
        move(c, p.z, g.z, m.z, v.z);
        move(c, p.w, g.w, m.w, v.w);
        write_four(values(weight), at, count, p);
        write_four(mean, at, count, m);
        write_four(variance, at, count, v);
    }
}

// sum ← sum + gradient
extern "C" __global__ void __launch_bounds__(256) add_gradient(float *sum, Tensor gradient, word count) {
    for (word at = 4 * (blockIdx.x * (word)blockDim.x + threadIdx.x); at < count; at += 4 * (word)blockDim.x * gridDim.x) {
        float4 s = read_four(sum, at, count, 0), g = read_four(values(gradient), at, count, 0);
        write_four(sum, at, count, {s.x + g.x, s.y + g.y, s.z + g.z, s.w + g.w});
    }
}

// average ← decay·average + (1 − decay)·weight
extern "C" __global__ void __launch_bounds__(256) moving_average(float *average, Tensor weight, word count, float decay) {
    float rest = 1 - decay;
    for (word at = 4 * (blockIdx.x * (word)blockDim.x + threadIdx.x); at < count; at += 4 * (word)blockDim.x * gridDim.x) {
        float4 a = read_four(average, at, count, 0), w = read_four(values(weight), at, count, 0);
        a = {decay * a.x + rest * w.x, decay * a.y + rest * w.y, decay * a.z + rest * w.z, decay * a.w + rest * w.w};
        write_four(average, at, count, a);
    }
}

// The sum over a block of 256, for every thread.
__device__ static inline double wide_block_sum(double x) {
    __shared__ double parts[256];
    parts[threadIdx.x] = x;
    for (unsigned half = 128; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    __syncthreads();
    return parts[0];
}

// parts (gridDim.x): Σ g² of each block's values.
extern "C" __global__ void __launch_bounds__(256) square_parts(Tensor gradient, double *parts, word count) {
    double sum = 0;
    for (word at = 4 * (blockIdx.x * (word)blockDim.x + threadIdx.x); at < count; at += 4 * (word)blockDim.x * gridDim.x) {
        float4 g = read_four(values(gradient), at, count, 0);
        sum += (double)g.x * g.x + (double)g.y * g.y + (double)g.z * g.z + (double)g.w * g.w;
    }
    sum = wide_block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// For one block.
extern "C" __global__ void __launch_bounds__(256) square_sum(const double *parts, double *sum, unsigned count) {
    double x = 0;
    for (unsigned i = threadIdx.x; i < count; i += 256) x += parts[i];
    x = wide_block_sum(x);
    if (threadIdx.x == 0) *sum = x;
}
