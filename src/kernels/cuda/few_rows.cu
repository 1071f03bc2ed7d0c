// y = f(scale·x·wᵀ + b), or add + that, for the few rows of a sampling step: x (R, I), w (O, I), y and add (R, O), scale and b
// (O). w is kept in f32, in bfloat16 (upper halves of f32) or in whole numbers with a scale for each output; its rows begin at
// multiples of 16 bytes and end in zeros. f by its number in functions.h. add may be y.
//
// A block has four outputs of up to eight rows, so that every weight is read once for them; its threads share out the inputs by
// 16 bytes of weights. An output is summed in one order that I alone decides, whatever the rows: a sample does not depend on
// its batch. Blocks with the same weights are neighbours: where there are more than eight rows, the cache has the weights.
//
// R = 1, I = 2048, O = 8192. Bound: bytes, those of w: 67 MB, 0.014 ms at 4.8 TB/s in f32, a half in bfloat16, a quarter in
// whole numbers (34 MFLOP: 0.0005 ms at 67 TFLOP/s). R = 8: the same (0.004 ms). Not measured.

#include "functions.h"

static const unsigned MOST = 8, OUTPUTS = 4, WARPS = 8;

// How 16 bytes hold COUNT weights, of which `four` gives the fours.
struct Full {
    static const unsigned COUNT = 4;

    __device__ static inline float4 four(const unsigned *words, unsigned) {
        return {__uint_as_float(words[0]), __uint_as_float(words[1]), __uint_as_float(words[2]), __uint_as_float(words[3])};
    }
};

struct Half {
    static const unsigned COUNT = 8;

    __device__ static inline float4 four(const unsigned *words, unsigned i) {
        unsigned a = words[2 * i], b = words[2 * i + 1];
        return {__uint_as_float(a << 16), __uint_as_float(a & 0xffff0000), __uint_as_float(b << 16), __uint_as_float(b & 0xffff0000)};
    }
};

struct Byte {
    static const unsigned COUNT = 16;

    // 2²³ + 128 + n in f32 ends in the bits of n + 128: exact, and faster than the conversion, which is at a quarter of the rate.
    __device__ static inline float number(unsigned shifted) {
        return __uint_as_float(0x4b000000 | (shifted & 0xff)) - 8388736.0f;
    }

    __device__ static inline float4 four(const unsigned *words, unsigned i) {
        unsigned shifted = words[i] ^ 0x80808080;
        return {number(shifted), number(shifted >> 8), number(shifted >> 16), number(shifted >> 24)};
    }
};

// The sums over a warp of N values of each lane: lane i gets that of value i·N / 32. Each is added as warp_sum does it, but with
// N exchanges and not 5N: of two lanes each keeps half of the values.
template <unsigned N, unsigned STEP = 16>
__device__ static inline float warp_sums(float *x) {
    const int half = N * STEP / 32;
    bool upper = threadIdx.x & STEP;
    if (half == 0) x[0] += __shfl_xor_sync(0xffffffff, x[0], STEP);
#pragma unroll
    for (int i = 0; i < half; i++) {
        float kept = upper ? x[half + i] : x[i], given = upper ? x[i] : x[half + i];
        x[i] = kept + __shfl_xor_sync(0xffffffff, given, STEP);
    }
    if constexpr (STEP > 1) return warp_sums<N, STEP / 2>(x);
    return x[0];
}

struct Product {
    const float *x;
    const uint4 *w;
    const float *scale, *bias, *add;
    float *y;
    unsigned rows, inputs, outputs, kind;
};

template <class Kind, unsigned ROWS>
__device__ static inline void multiply(const Product &p, unsigned first_row, unsigned rows) {
    __shared__ float parts[WARPS][ROWS * OUTPUTS];
    const unsigned first_output = blockIdx.y * OUTPUTS, chunks = (p.inputs + Kind::COUNT - 1) / Kind::COUNT;
    // What is beyond the last row or output is computed as the last one again, and left.
    const float *x[ROWS];
    const uint4 *w[OUTPUTS];
#pragma unroll
    for (unsigned r = 0; r < ROWS; r++) x[r] = p.x + (first_row + (r < rows ? r : rows - 1)) * (word)p.inputs;
#pragma unroll
    for (unsigned o = 0; o < OUTPUTS; o++) {
        unsigned output = first_output + o;
        w[o] = p.w + (output < p.outputs ? output : p.outputs - 1) * (word)chunks;
    }
    float sums[ROWS * OUTPUTS] = {};
    for (unsigned chunk = threadIdx.x; chunk < chunks; chunk += blockDim.x) {
        uint4 packed[OUTPUTS];
#pragma unroll
        for (unsigned o = 0; o < OUTPUTS; o++) packed[o] = w[o][chunk];
#pragma unroll
        for (unsigned i = 0; i < Kind::COUNT / 4; i++) {
            float4 a[ROWS];
#pragma unroll
            for (unsigned r = 0; r < ROWS; r++) a[r] = read_four(x[r], chunk * Kind::COUNT + 4 * i, p.inputs, 0);
#pragma unroll
            for (unsigned o = 0; o < OUTPUTS; o++) {
                unsigned words[4] = {packed[o].x, packed[o].y, packed[o].z, packed[o].w};
                float4 b = Kind::four(words, i);
#pragma unroll
                for (unsigned r = 0; r < ROWS; r++) {
                    float &sum = sums[r * OUTPUTS + o];
                    sum = fmaf(a[r].w, b.w, fmaf(a[r].z, b.z, fmaf(a[r].y, b.y, fmaf(a[r].x, b.x, sum))));
                }
            }
        }
    }
    const unsigned lanes = 32 / (ROWS * OUTPUTS), lane = threadIdx.x % 32;
    float sum = warp_sums<ROWS * OUTPUTS>(sums);
    if (lane % lanes == 0) parts[threadIdx.x / 32][lane / lanes] = sum;
    __syncthreads();
    unsigned row = threadIdx.x / OUTPUTS, output = first_output + threadIdx.x % OUTPUTS;
    if (row >= rows || output >= p.outputs) return;
    float total = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; warp++) total += parts[warp][threadIdx.x];
    if (p.scale) total *= p.scale[output];
    float y = apply(function_of(p.kind), total + p.bias[output]);
    word at = (first_row + row) * (word)p.outputs + output;
    p.y[at] = p.add ? p.add[at] + y : y;
}

template <class Kind>
__device__ static inline void multiply(const Product &p) {
    unsigned first = blockIdx.x * MOST, rows = p.rows - first < MOST ? p.rows - first : MOST;
    if (rows == 1) return multiply<Kind, 1>(p, first, rows);
    if (rows == 2) return multiply<Kind, 2>(p, first, rows);
    if (rows <= 4) return multiply<Kind, 4>(p, first, rows);
    multiply<Kind, 8>(p, first, rows);
}

#define FEW_ROWS(NAME, KIND)                                                                                                  \
    extern "C" __global__ void __launch_bounds__(256)                                                                         \
        NAME(const float *x, const uint4 *w, const float *scale, const float *bias, const float *add, float *y, unsigned rows, \
             unsigned inputs, unsigned outputs, unsigned kind) {                                                              \
        multiply<KIND>({x, w, scale, bias, add, y, rows, inputs, outputs, kind});                                             \
    }

FEW_ROWS(few_rows_f32, Full)
FEW_ROWS(few_rows_bf16, Half)
FEW_ROWS(few_rows_int8, Byte)
