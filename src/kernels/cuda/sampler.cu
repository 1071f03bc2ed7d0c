// A sampling step but for its products (few_rows.cu): rows of tables, layer norm, and attention from a cache of keys and values.
//
// `inputs` tells what is new: its first word is the position p of the first of F new positions of each of B sequences, after it
// come the rows of the table that positions sum, (tables, B, F). It is all that changes from one step to the next, so that a
// step can be recorded and played again. qkv (B, F, 3, H, D), out (B, F, H, D).
// A sequence's cache has `stride` values; of this layer it has the keys (H, places, D) and then the values. The key of position
// p is at places[p]; the query of p sees those that seen[starts[p]..starts[p + 1]] tells.
//
// Sums have one order, whatever B and F: a sample does not depend on its batch, nor on how it began.
//
// B = 8, H = 8, D = 64, p = 1000 of 256 + 32² under a row mask (264 keys). Bound: bytes. 8.7 MB of keys and values: 0.002 ms
// at 4.8 TB/s (4.3 MFLOP: nothing). Of embeddings and norms, a launch. Not measured.

#include "device.h"

static const unsigned ABSENT = ~0u, AT_ONCE = 4;
static const float NEVER = -INFINITY, LOG2_E = 1.44269504088896341f;

// x (rows, C) = for each row the sum of the rows of the table that `tables` ids name.
extern "C" __global__ void __launch_bounds__(256)
    embed_sum(const float *table, const unsigned *inputs, float *x, unsigned tables, unsigned rows, unsigned columns) {
    word count = (word)rows * columns;
    for (word at = blockIdx.x * blockDim.x + threadIdx.x; at < count; at += gridDim.x * blockDim.x) {
        unsigned row = at / columns;
        float sum = 0;
        for (unsigned i = 0; i < tables; i++) {
            unsigned id = inputs[1 + i * rows + row];
            if (id != ABSENT) sum += table[id * (word)columns + at % columns];
        }
        x[at] = sum;
    }
}

// y (rows, C) = [add +] layer norm of the rows of x that begin `stride` values after each other; a block a row. Its row is in the
// cache after the first of three readings, so rows of any width do. add may be y.
extern "C" __global__ void __launch_bounds__(256)
    norm_rows(const float *x, const float *gain, const float *bias, const float *add, float *y, word stride, unsigned columns, float epsilon) {
    __shared__ float scratch[32];
    x += blockIdx.x * stride;
    word first = blockIdx.x * (word)columns;
    float sum = 0, squares = 0;
    for (unsigned i = threadIdx.x; i < columns; i += blockDim.x) sum += x[i];
    float mean = block_sum(sum, scratch) / columns;
    for (unsigned i = threadIdx.x; i < columns; i += blockDim.x) squares += (x[i] - mean) * (x[i] - mean);
    float r = 1 / sqrtf(block_sum(squares, scratch) / columns + epsilon);
    for (unsigned i = threadIdx.x; i < columns; i += blockDim.x) {
        float normal = (x[i] - mean) * r * gain[i] + bias[i];
        y[first + i] = add ? add[first + i] + normal : normal;
    }
}

struct Cache {
    float *first;
    word stride;
    const unsigned *places;
    unsigned size, dim;
};

// The keys of a head, of a cache of `heads`; its values are as much further as `to_values` says.
__device__ static inline float *keys_of(const Cache &cache, unsigned sequence, unsigned head) {
    return cache.first + sequence * cache.stride + (word)head * cache.size * cache.dim;
}

__device__ static inline word to_values(const Cache &cache, unsigned heads) {
    return (word)heads * cache.size * cache.dim;
}

// The keys and values of several new positions, which other positions read: a kernel before `attend`, a block a position.
extern "C" __global__ void __launch_bounds__(256)
    store(const float *qkv, float *first, word stride, const unsigned *inputs, const unsigned *places, unsigned size, unsigned heads, unsigned dim) {
    Cache cache = {first, stride, places, size, dim};
    unsigned width = heads * dim;
    const float *from = qkv + (blockIdx.y * gridDim.x + blockIdx.x) * (word)(3 * width);
    word place = places[inputs[0] + blockIdx.x] * (word)dim;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        float *key = keys_of(cache, blockIdx.y, i / dim) + place + i % dim;
        key[0] = from[width + i];
        key[to_values(cache, heads)] = from[2 * width + i];
    }
}

__device__ static inline float dot(float4 a, float4 b) {
    return a.x * b.x + a.y * b.y + a.z * b.z + a.w * b.w;
}

__device__ static inline float4 plus(float4 sum, float weight, float4 x) {
    return {fmaf(weight, x.x, sum.x), fmaf(weight, x.y, sum.y), fmaf(weight, x.z, sum.z), fmaf(weight, x.w, sum.w)};
}

// out = softmax(q·kᵀ/√D)·v over the keys that are seen; a block a query of a head, D up to 128. Each four columns are a lane's,
// so that groups of 4 to 32 lanes have every so manieth key, four at once, with a softmax of their own; then all are merged.
// A single new position is stored here: no other block reads it.
extern "C" __global__ void __launch_bounds__(256)
    attend(const float *qkv, float *first, word stride, const unsigned *inputs, const unsigned *places, const unsigned *starts,
           const unsigned *seen, float *out, unsigned size, unsigned dim) {
    __shared__ float tops[64], sums[64];
    __shared__ float4 parts[256];
    Cache cache = {first, stride, places, size, dim};
    unsigned head = blockIdx.x, heads = gridDim.x, width = heads * dim, position = inputs[0] + blockIdx.y;
    word vector = blockIdx.z * gridDim.y + blockIdx.y;
    const float *q = qkv + vector * 3 * width + head * dim;
    float *keys = keys_of(cache, blockIdx.z, head), *held = keys + to_values(cache, heads);
    if (gridDim.y == 1) {
        word place = places[position] * (word)dim;
        for (unsigned i = threadIdx.x; i < dim; i += blockDim.x) {
            keys[place + i] = q[width + i];
            held[place + i] = q[2 * width + i];
        }
        __syncthreads();
    }
    const unsigned *list = seen + starts[position], count = starts[position + 1] - starts[position];
    unsigned lanes = dim <= 16 ? 4 : dim <= 32 ? 8 : dim <= 64 ? 16 : 32, groups = blockDim.x / lanes;
    unsigned group = threadIdx.x / lanes, column = threadIdx.x % lanes * 4;
    float4 query = read_four(q, column, dim, 0), sum = {0, 0, 0, 0};
    float scale = LOG2_E / sqrtf(dim), top = NEVER, total = 0;
    for (unsigned begin = 0; begin < count; begin += groups * AT_ONCE) {
        float4 key[AT_ONCE], value[AT_ONCE];
        float score[AT_ONCE], most = top;
#pragma unroll
        for (unsigned i = 0; i < AT_ONCE; i++) {
            unsigned index = begin + i * groups + group;
            key[i] = value[i] = {0, 0, 0, 0};
            if (index >= count) continue;
            word place = list[index] * (word)dim;
            key[i] = read_four(keys + place, column, dim, 0);
            value[i] = read_four(held + place, column, dim, 0);
        }
#pragma unroll
        for (unsigned i = 0; i < AT_ONCE; i++) {
            score[i] = dot(query, key[i]);
            for (unsigned lane = lanes / 2; lane > 0; lane /= 2) score[i] += __shfl_xor_sync(0xffffffff, score[i], lane);
            score[i] = begin + i * groups + group < count ? score[i] * scale : NEVER;
            most = fmaxf(most, score[i]);
        }
        // A group that has had no key yet stays at nothing.
        float shift = most == NEVER ? 0 : most, shrunk = exp2f(top - shift);
        total *= shrunk;
        sum = {sum.x * shrunk, sum.y * shrunk, sum.z * shrunk, sum.w * shrunk};
#pragma unroll
        for (unsigned i = 0; i < AT_ONCE; i++) {
            float weight = exp2f(score[i] - shift);
            total += weight;
            sum = plus(sum, weight, value[i]);
        }
        top = most;
    }
    parts[threadIdx.x] = sum;
    if (column == 0) {
        tops[group] = top;
        sums[group] = total;
    }
    __syncthreads();
    if (threadIdx.x >= dim) return;
    float most = NEVER, numerator = 0, denominator = 0;
    for (unsigned i = 0; i < groups; i++) most = fmaxf(most, tops[i]);
    for (unsigned i = 0; i < groups; i++) {
        float share = exp2f(tops[i] - most);
        numerator += share * ((const float *)&parts[i * lanes])[threadIdx.x];
        denominator += share * sums[i];
    }
    out[vector * width + head * dim + threadIdx.x] = numerator / denominator;
}
