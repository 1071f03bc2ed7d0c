// What every kernel here stands on. It includes no CUDA header; tests/kernels/shim.h stands in for CUDA on a CPU.
#pragma once

typedef unsigned long long word;

// A tensor's values as a kernel gets them: their address or, with the lowest bit set, the address of a word that holds it.
// dfdx keeps the addresses of its tensors to itself; what address.cu notes of them stays on the GPU.
struct Tensor {
    char *at;
};

__device__ static inline float *values(Tensor x) {
    // A step away from a parameter, so that nvcc knows it for global memory: it is told apart at run time otherwise.
    char *first = x.at;
    if ((word)first & 1) first += *(const word *)(first - 1) - (word)first;
    return (float *)first;
}

// Sum and maximum over the 32 lanes of a warp; every lane gets it, and the order is the same in every run.
__device__ static inline float warp_sum(float x) {
    for (int lane = 16; lane > 0; lane /= 2) x += __shfl_xor_sync(0xffffffff, x, lane);
    return x;
}

__device__ static inline float warp_max(float x) {
    for (int lane = 16; lane > 0; lane /= 2) x = fmaxf(x, __shfl_xor_sync(0xffffffff, x, lane));
    return x;
}

// The sum over a block of whole warps, for every thread. `scratch` has 32 places of shared memory.
__device__ static inline float block_sum(float x, float *scratch) {
    x = warp_sum(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    return warp_sum(threadIdx.x % 32 < blockDim.x / 32 ? scratch[threadIdx.x % 32] : 0);
}

__device__ static inline float block_max(float x, float *scratch) {
    x = warp_max(x);
    __syncthreads();
    if (threadIdx.x % 32 == 0) scratch[threadIdx.x / 32] = x;
    __syncthreads();
    return warp_max(threadIdx.x % 32 < blockDim.x / 32 ? scratch[threadIdx.x % 32] : x);
}

// Four values from place `at` on of x, which has `length`; `beyond` for those past its end.
template <class Index>
__device__ static inline float4 read_four(const float *x, Index at, Index length, float beyond) {
    if (at + 4 <= length && (word)(x + at) % 16 == 0) return *(const float4 *)(x + at);
    auto one = [=](Index i) { return i < length ? x[i] : beyond; };
    return {one(at), one(at + 1), one(at + 2), one(at + 3)};
}

template <class Index>
__device__ static inline void write_four(float *x, Index at, Index length, float4 four) {
    if (at + 4 <= length && (word)(x + at) % 16 == 0) {
        *(float4 *)(x + at) = four;
        return;
    }
    float single[4] = {four.x, four.y, four.z, four.w};
#pragma unroll
    for (int i = 0; i < 4; i++) {
        if (at + i < length) x[at + i] = single[i];
    }
}

// A row, or HELD·blockDim values of a longer one, in a block's registers: it is read once, whatever is computed of it.
static const unsigned HELD = 16;

struct Row {
    alignas(16) float x[HELD];

    __device__ float &operator[](unsigned i) { return x[i]; }
};

// The column of a thread's value i: neighbouring threads have neighbouring fours.
__device__ static inline unsigned column_of(unsigned i) {
    return (i / 4 * blockDim.x + threadIdx.x) * 4 + i % 4;
}

__device__ static inline Row read_row(const float *x, unsigned columns, float beyond) {
    Row row;
#pragma unroll
    for (unsigned i = 0; i < HELD; i += 4) *(float4 *)&row.x[i] = read_four(x, column_of(i), columns, beyond);
    return row;
}

__device__ static inline void write_row(float *x, unsigned columns, const Row &row) {
#pragma unroll
    for (unsigned i = 0; i < HELD; i += 4) write_four(x, column_of(i), columns, *(const float4 *)&row.x[i]);
}

// The sum of a column of x (rows, columns), for thread (i, 0) of a block of 32×32 column 32·blockIdx.x + i. Of the rows each
// of the grid's blocks along y has every so manieth.
__device__ static inline float column_sum(const float *x, word rows, unsigned columns) {
    __shared__ float parts[32][32];
    unsigned column = 32 * blockIdx.x + threadIdx.x;
    float sum = 0;
    for (word row = 32 * blockIdx.y + threadIdx.y; row < rows && column < columns; row += 32 * gridDim.y) {
        sum += x[row * columns + column];
    }
    parts[threadIdx.y][threadIdx.x] = sum;
    for (unsigned half = 16; half > 0; half /= 2) {
        __syncthreads();
        if (threadIdx.y < half) parts[threadIdx.y][threadIdx.x] += parts[threadIdx.y + half][threadIdx.x];
    }
    return parts[threadIdx.y][threadIdx.x];
}

#ifdef __CUDACC__

// Whatever is computed from x after this is computed after this: not once before a loop, for registers that are not there.
__device__ static inline void keep_in_loop(float &x) {
    asm volatile("" : "+f"(x));
}

// f32 rounded to TF32 (10 bits of fraction), as the tensor cores read it.
__device__ static inline unsigned to_tf32(float x) {
    unsigned bits;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
    return bits;
}

// d += a·b over a warp: a 16×8, b 8×8, d 16×8. With group g = lane / 4 and t = lane % 4, a lane holds
// a: (g, t), (g + 8, t), (g, t + 4), (g + 8, t + 4); b: (t, g), (t + 4, g); d: (g, 2t), (g, 2t + 1), (g + 8, 2t), (g + 8, 2t + 1).
__device__ static inline void mma_tf32(float d[4], const unsigned a[4], const unsigned b[2]) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

#endif

// A lane's g and t, as the products above count them.
__device__ static inline unsigned lane_group() { return threadIdx.x % 32 / 4; }
__device__ static inline unsigned lane_in_group() { return threadIdx.x % 4; }

// Factors of `multiply`, made ready once: rounded to TF32 or, where Kind is EXACT, as they are.
__device__ static inline float rounded(float x) {
    return __uint_as_float(to_tf32(x));
}

template <class Kind>
__device__ static inline float4 ready(float4 x) {
    if (Kind::EXACT) return x;
    return {rounded(x.x), rounded(x.y), rounded(x.z), rounded(x.w)};
}

// d += a·b, fragments as mma_tf32 takes them. What EXACT leaves out is the product of the lower parts, 2⁻²² of the whole.
template <class Kind>
__device__ static inline void multiply(float *d, const float *a, const float *b) {
    unsigned a_high[4], a_low[4], b_high[2], b_low[2];
    for (int i = 0; i < 4; i++) a_high[i] = Kind::EXACT ? to_tf32(a[i]) : __float_as_uint(a[i]);
    for (int i = 0; i < 2; i++) b_high[i] = Kind::EXACT ? to_tf32(b[i]) : __float_as_uint(b[i]);
    if (Kind::EXACT) {
        for (int i = 0; i < 4; i++) a_low[i] = to_tf32(a[i] - __uint_as_float(a_high[i]));
        for (int i = 0; i < 2; i++) b_low[i] = to_tf32(b[i] - __uint_as_float(b_high[i]));
        mma_tf32(d, a_low, b_high);
        mma_tf32(d, a_high, b_low);
    }
    mma_tf32(d, a_high, b_high);
}
