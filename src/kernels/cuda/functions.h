// Nonlinearities by number:
//   0 none; 1 max(x, 0); 2 x·σ(1.702x); 3 0.5x(1 + tanh(√(2/π)(x + 0.044715x³))); 4 x·Φ(x); 5 x·σ(x).
// All but 0, 1 and 4 are x·σ(u) for a polynomial u, because (1 + tanh z)/2 = σ(2z).
#pragma once

#include "device.h"

enum { NONE, RELU, QUICK_GELU, TANH_GELU, ERF_GELU, SILU };

// u(x) = linear·x + cubic·x³ in the form x·σ(u).
struct Function {
    unsigned kind;
    float linear, cubic;
};

__device__ static inline Function function_of(unsigned kind) {
    if (kind == QUICK_GELU) return {kind, 1.702f, 0};
    if (kind == TANH_GELU) return {kind, 1.5957691216f, 0.044715f * 1.5957691216f};
    return {kind, 1, 0};
}

// By what is above −x, so that the lower tail does not cancel.
__device__ static inline float normal_cdf(float x) {
    return 0.5f * erfcf(x * -0.70710678118f);
}

__device__ static inline float sigmoid_of_u(Function f, float x) {
    return 1 / (1 + expf(-x * (f.linear + f.cubic * x * x)));
}

__device__ static inline float apply(Function f, float x) {
    if (f.kind == NONE) return x;
    // A NaN stays one.
    if (f.kind == RELU) return x < 0 ? 0 : x;
    if (f.kind == ERF_GELU) return x * normal_cdf(x);
    return x * sigmoid_of_u(f, x);
}
