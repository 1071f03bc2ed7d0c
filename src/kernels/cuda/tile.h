// Products of matrices by tiles on the tensor cores: c (M, N) = a (M, K)·b (K, N), whatever the factors are fetched from.
//
// A block of threads has SIDE×SIDE of c, each warp SIDE/2×32 of it in registers. The factors come through shared memory in two
// stages of 16 deep: one is multiplied while the next is on its way to registers. A factor is deep, if its fours are neighbours
// along k, or wide. Both lie so that a lane reads 16 bytes at a time and eight lanes find all banks: the order of k within a
// stage, the same for both factors, and of the rows of c is made for that.
#pragma once

#include "device.h"

template <unsigned SIDE_, bool EXACT_>
struct Tile {
    static const unsigned SIDE = SIDE_, THREADS = 2 * SIDE, DEPTH = 16;
    static const bool EXACT = EXACT_;
    static const unsigned BANDS = SIDE / 64;  // of 32 rows, a warp's
};

// Below, each thread brings two times four values of a stage, i = 0 and 1: of lines from `line` on, from depth `depth` on.
// `load_fragment` reads x[i][j], of line 4g + i and depth 4t + j of 32 lines and 16 depths, in group g the t-th lane.

// A line a row of 16: of each 32 lines, row 8i + g is line 4g + i.
template <class T>
struct Deep {
    static const unsigned LENGTH = T::SIDE * 16;

    __device__ static unsigned line(unsigned i) {
        unsigned row = threadIdx.x / 4 + i * (T::SIDE / 2);
        return row / 32 * 32 + row % 8 * 4 + row / 8 % 4;
    }
    __device__ static unsigned depth(unsigned) { return threadIdx.x % 4 * 4; }
    __device__ static unsigned place(unsigned i) { return 4 * (threadIdx.x + i * T::THREADS); }

    __device__ static void load_fragment(float (*x)[4], const float *stage, unsigned first) {
#pragma unroll
        for (unsigned i = 0; i < 4; i++) {
            float4 four = *(const float4 *)(stage + (first + 8 * i + lane_group()) * 16 + 4 * lane_in_group());
            x[i][0] = four.x, x[i][1] = four.y, x[i][2] = four.z, x[i][3] = four.w;
        }
    }
};

// A row for each depth: row 4j + t is depth 4t + j.
template <class T>
struct Wide {
    static const unsigned PITCH = T::SIDE + 8, LENGTH = 16 * PITCH;

    __device__ static unsigned line(unsigned) { return threadIdx.x % (T::SIDE / 4) * 4; }
    __device__ static unsigned row(unsigned i) { return threadIdx.x / (T::SIDE / 4) + 8 * i; }
    __device__ static unsigned depth(unsigned i) { return row(i) % 4 * 4 + row(i) / 4; }
    __device__ static unsigned place(unsigned i) { return row(i) * PITCH + line(i); }

    __device__ static void load_fragment(float (*x)[4], const float *stage, unsigned first) {
#pragma unroll
        for (unsigned j = 0; j < 4; j++) {
            float4 four = *(const float4 *)(stage + (4 * j + lane_in_group()) * PITCH + first + 4 * lane_group());
            x[0][j] = four.x, x[1][j] = four.y, x[2][j] = four.z, x[3][j] = four.w;
        }
    }
};

// What factors are fetched from. `four(line, k)` gives four values: deep sources those from k on of what `line(i)` keeps of
// line i; wide ones those at k of lines i to i + 3. Beyond the matrix they are zeros. What is still to be done with them is
// left to `finish`: touched at once, they would be waited for.

// x (lines, depth), deep.
struct Rows {
    const float *x;
    unsigned lines, depth;
    typedef const float *Line;

    __device__ Line line(unsigned i) const { return i < lines ? x + i * (word)depth : nullptr; }
    __device__ float4 four(Line line, unsigned k) const {
        if (!line) return {0, 0, 0, 0};
        return read_four(line, k, depth, 0);
    }
    __device__ float4 finish(float4 four) const { return four; }
};

// x (depth, lines), wide.
struct Columns {
    const float *x;
    unsigned lines, depth;
    typedef unsigned Line;

    __device__ Line line(unsigned i) const { return i; }
    __device__ float4 four(Line line, unsigned k) const {
        if (k >= depth || line >= lines) return {0, 0, 0, 0};
        return read_four(x + k * (word)lines, line, lines, 0);
    }
    __device__ float4 finish(float4 four) const { return four; }
};

// A factor on its way from its source to shared memory.
template <class T, class Layout, class Source>
struct Factor {
    Source source;
    typename Source::Line lines[2];
    float4 ahead[2];

    __device__ Factor(Source from, unsigned first) : source(from) {
        for (unsigned i = 0; i < 2; i++) lines[i] = source.line(first + Layout::line(i));
    }
    __device__ void prefetch(unsigned stage) {
#pragma unroll
        for (unsigned i = 0; i < 2; i++) ahead[i] = source.four(lines[i], stage * T::DEPTH + Layout::depth(i));
    }
    __device__ void store_shared(float *stage) const {
#pragma unroll
        for (unsigned i = 0; i < 2; i++) *(float4 *)(stage + Layout::place(i)) = ready<T>(source.finish(ahead[i]));
    }
};

// d += a·b of a stage: a 16×16, whose rows g and g + 8 a lane has in a[0] and a[1], b 16×8.
template <class T>
__device__ static inline void multiply_stage(float *d, const float (*a)[4], const float *b) {
    float sum[4] = {};
#pragma unroll
    for (int j = 0; j < 4; j += 2) {
        float left[4] = {a[0][j], a[1][j], a[0][j + 1], a[1][j + 1]}, right[2] = {b[j], b[j + 1]};
        multiply<T>(T::EXACT ? sum : d, left, right);
    }
    // Tensor cores cut off what they add to: long sums would drift towards zero.
    for (int i = 0; i < 4 && T::EXACT; i++) d[i] += sum[i];
}

// This block's tile of c, of those depths that its part along y of the grid has. Blocks along x have the tiles row by row.
// `store(row, column, four)` gets c's values at `column` to column + 3, of which the last may be beyond `columns`.
template <class T, class LayoutA, class LayoutB, class SourceA, class SourceB, class Store>
__device__ static inline void product(SourceA from_a, SourceB from_b, unsigned rows, unsigned columns, unsigned depth, Store store) {
    alignas(16) __shared__ float as[2][LayoutA::LENGTH];
    alignas(16) __shared__ float bs[2][LayoutB::LENGTH];
    unsigned across = (columns + T::SIDE - 1) / T::SIDE;
    unsigned first_row = blockIdx.x / across * T::SIDE, first_column = blockIdx.x % across * T::SIDE;
    unsigned stages = (depth + T::DEPTH - 1) / T::DEPTH, share = (stages + gridDim.y - 1) / gridDim.y;
    unsigned stage = blockIdx.y * share, last = stage + share < stages ? stage + share : stages;
    unsigned warp = threadIdx.x / 32, row = warp / (T::SIDE / 32) * (T::SIDE / 2), column = warp % (T::SIDE / 32) * 32;

    Factor<T, LayoutA, SourceA> a(from_a, first_row);
    Factor<T, LayoutB, SourceB> b(from_b, first_column);
    float sums[T::BANDS][2][4][4] = {};
    if (stage < last) a.prefetch(stage), b.prefetch(stage);
    for (; stage < last; stage++) {
        // Who is behind still reads the other half, and waits here before this one is written again.
        a.store_shared(as[stage % 2]);
        b.store_shared(bs[stage % 2]);
        __syncthreads();
        if (stage + 1 < last) a.prefetch(stage + 1), b.prefetch(stage + 1);
        float right[4][4];
        LayoutB::load_fragment(right, bs[stage % 2], column);
#pragma unroll
        for (unsigned band = 0; band < T::BANDS; band++) {
            float left[4][4];
            LayoutA::load_fragment(left, as[stage % 2], row + 32 * band);
#pragma unroll
            for (unsigned i = 0; i < 8; i++) multiply_stage<T>(sums[band][i / 4][i % 4], left + i / 4 * 2, right[i % 4]);
        }
    }

#pragma unroll
    for (unsigned i = 0; i < T::BANDS * 8; i++) {
        // Of each 32×32 a lane has rows 4g to 4g + 3 and columns 8t to 8t + 7.
        unsigned band = i / 8, in = i / 2 % 4, half = i % 2;
        unsigned at_row = first_row + row + 32 * band + 4 * lane_group() + in, at_column = first_column + column + 8 * lane_in_group() + 4 * half;
        if (at_row >= rows || at_column >= columns) continue;
        const float(*four)[4] = sums[band][in / 2];
        unsigned d = in % 2 * 2 + half;
        store(at_row, at_column, float4{four[0][d], four[1][d], four[2][d], four[3][d]});
    }
}
