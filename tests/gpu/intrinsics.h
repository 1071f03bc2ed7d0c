// What dfdx's kernels use of CUDA beyond ours. A block's threads run in turn, so nothing need be atomic.
#pragma once

#include <cassert>

// The newest path of what dfdx has for older GPUs too.
#define __CUDA_ARCH__ 800
#define __constant__ static const

using std::isnan;
using std::signbit;

template <typename T, typename U>
static inline auto max(T a, U b) -> decltype(a + b) { return a > b ? a : b; }
template <typename T, typename U>
static inline auto min(T a, U b) -> decltype(a + b) { return a < b ? a : b; }

static inline double atomicAdd(double *at, double x) { double before = *at; *at += x; return before; }
template <typename T, typename U>
static inline T atomicMin(T *at, U x) { T before = *at; if ((T)x < before) *at = x; return before; }
template <typename T, typename U>
static inline T atomicMax(T *at, U x) { T before = *at; if ((T)x > before) *at = x; return before; }
template <typename T, typename U, typename V>
static inline T atomicCAS(T *at, U expected, V x) { T before = *at; if (before == (T)expected) *at = (T)x; return before; }

static inline int __float_as_int(float x) { int bits; std::memcpy(&bits, &x, 4); return bits; }
static inline float __int_as_float(int bits) { float x; std::memcpy(&x, &bits, 4); return x; }
static inline long long __double_as_longlong(double x) { long long bits; std::memcpy(&bits, &x, 8); return bits; }
static inline double __longlong_as_double(long long bits) { double x; std::memcpy(&x, &bits, 8); return x; }
