// dfdx's kernels name half precision beside f32. Nothing here runs in it: it need only compile.
#pragma once

struct __half {
    float value;
    __half() = default;
    __half(double x) : value((float)x) {}
    operator float() const { return value; }
    __half &operator+=(__half other) { value += other.value; return *this; }
    __half &operator-=(__half other) { value -= other.value; return *this; }
    __half &operator*=(__half other) { value *= other.value; return *this; }
    __half &operator/=(__half other) { value /= other.value; return *this; }
};

#define BINARY(op) static inline __half operator op(__half a, __half b) { return a.value op b.value; }
BINARY(+) BINARY(-) BINARY(*) BINARY(/)
#undef BINARY
#define COMPARE(op) static inline bool operator op(__half a, __half b) { return a.value op b.value; }
COMPARE(<) COMPARE(>) COMPARE(<=) COMPARE(>=) COMPARE(==) COMPARE(!=)
#undef COMPARE
static inline __half operator-(__half a) { return -a.value; }

static inline float __half2float(__half x) { return x.value; }
static inline __half __float2half(float x) { return x; }
static inline bool __hisnan(__half x) { return std::isnan(x.value); }
static inline __half hcos(__half x) { return cosf(x); }
static inline __half hsin(__half x) { return sinf(x); }
static inline __half hsqrt(__half x) { return sqrtf(x); }
static inline __half hlog(__half x) { return logf(x); }
static inline __half hexp(__half x) { return expf(x); }
static inline __half __habs(__half x) { return fabsf(x); }
static inline __half __hmax(__half a, __half b) { return fmaxf(a, b); }
static inline __half __hmin(__half a, __half b) { return fminf(a, b); }
static inline __half __hmax_nan(__half a, __half b) { return fmaxf(a, b); }
static inline __half __hmin_nan(__half a, __half b) { return fminf(a, b); }
static inline unsigned short __half_as_ushort(__half) { abort(); }
static inline __half __ushort_as_half(unsigned short) { abort(); }
static inline __half atomicAdd(__half *at, __half x) { __half before = *at; *at += x; return before; }
