// Masked self-attention by tiles: out = softmax(q·kᵀ/√D where the mask allows)·v, and its gradients.
//
// qkv (B, S, 3, H, D), out (B, S, H, D), lse and delta (B, H, S). Vectors are taken in the mask's tile order, which `order`
// (S) tells, in blocks of 64; only pairs of blocks of which the mask shows something are visited. `list` holds them as
// tile_lists.rs packs them: for each block where its tiles start (and for the last, where they end), then two words a tile,
// the other block and the number of its bits, ~0 where all is seen. `masks` has 256 words for each number: two for each query
// of the tile, a bit a key, then two for each key, a bit a query. A tile that the sequence's end cuts has bits, none set beyond.
//
// A block of threads has one block of queries of one head (or of keys, for their gradients): no two add to the same place.
// Each warp keeps 16 of the 64 vectors and their sums in registers; the other side comes through shared memory in chunks of 32
// or 16 vectors, of which the next is on its way while one is multiplied. Probabilities stay in registers: a chunk's vectors
// are numbered so that what one product leaves in a lane is what the next one takes. From 128 wide on, two warps have the same
// 16 vectors and half of the width each, and add up their scores.
//
// Tiles of 64 and not 32: of 256 positions of text and 32×32 of image, row, column, convolutional and full masks cover 1.18,
// 1.11, 1.07 and 1.02 times the area, but fetch half the bytes for each product. As a warp skips the chunks of which its 16
// vectors see nothing, it multiplies no more than with tiles of 32.
//
// Factors are rounded to TF32 or, in the exact kernels, split in two such parts, for three products: as near as f32 itself.
//
// B = 8, H = 16, S = 1280, D = 64, a row mask (105 tiles a head, of which chunks of 89 are multiplied):
// Bound of the forward pass: bytes, 168 MB: 0.04 ms at 4.8 TB/s (12 GFLOP: 0.02 ms at 495 TFLOP/s of TF32). Tiles are read
// again from L2: 0.44 GB.
// Bound of the gradients: bytes, 672 MB by three kernels: 0.14 ms at 4.8 TB/s (42 GFLOP: 0.08 ms). Not measured.

#include "device.h"

static const unsigned SIDE = 64, WHOLE = ~0u;
static const float NEVER = -INFINITY, LOG2_E = 1.44269504088896341f, LN_2 = 0.69314718055994531f;

// How vectors of `DIM` values, zeros beyond the true width, are shared out.
template <int DIM_, bool EXACT_, bool OF_KEYS_ = false>
struct Shares {
    static const int DIM = DIM_;
    static const bool EXACT = EXACT_, OF_KEYS = OF_KEYS_;
    static const int WIDTH = DIM < 64 ? DIM : 64;  // what one warp has of a vector
    static const int WARPS = DIM / WIDTH;          // for the same 16 vectors
    static const int THREADS = WARPS * 128;
    static const int CHUNK = DIM == 16 || (DIM <= 64 && !EXACT && !OF_KEYS) ? 32 : 16;  // as registers allow
    static const int EIGHTS = CHUNK / 8;
    static const int FETCHED = CHUNK * DIM / 4 / THREADS;
    // With `even` below, each eight lanes that read 16 bytes together find them in all banks.
    static const int PITCH = DIM + 8;
    // How many neighbouring columns a lane reads at once: as many products of 8 columns take them in turn.
    static const int SPREAD = DIM < 32 ? DIM / 8 : 4;
};

struct Mask {
    const unsigned *order, *list, *masks;
    unsigned positions;
};

// The vectors of this block's head: part `part` of x (B, S, parts, H, D).
struct Vectors {
    float *first;
    unsigned stride;
};

__device__ static inline Vectors vectors(Tensor x, unsigned positions, unsigned heads, unsigned dim, unsigned parts, unsigned part) {
    unsigned stride = parts * heads * dim;
    return {values(x) + (word)blockIdx.z * stride * positions + (part * heads + blockIdx.y) * dim, stride};
}

__device__ static inline float *vector_at(Vectors x, const Mask &mask, unsigned slot) {
    return x.first + (word)mask.order[slot] * x.stride;
}

__device__ static inline float4 four_of(const float *vector, unsigned column, unsigned dim) {
    if (dim % 4 == 0) return *(const float4 *)(vector + column);
    auto at = [=](unsigned i) { return column + i < dim ? vector[column + i] : 0; };
    return {at(0), at(1), at(2), at(3)};
}

// The same of the vector in a slot; zeros beyond the last vector and the last column.
__device__ static inline float4 four_in(Vectors x, const Mask &mask, unsigned slot, unsigned column, unsigned dim) {
    if (slot >= mask.positions || column >= dim) return {0, 0, 0, 0};
    return four_of(vector_at(x, mask, slot), column, dim);
}

// A lane's places: row g and g + 8 of its warp's 16, and in each eight vectors of a chunk those numbered even(t) and
// even(t) ^ 2, which stand for columns 2t and 2t + 1 of a product.
__device__ static inline unsigned row_of(unsigned i) { return threadIdx.x / 32 % 4 * 16 + lane_group() + 8 * i; }
__device__ static inline unsigned even(unsigned t) { return t + (t & 2) * 2; }

template <class Kind>
__device__ static inline unsigned first_column() { return threadIdx.x / 128 * Kind::WIDTH; }

// A warp's 16 vectors, as the left factor of `scores`: the order of the columns is the chunk's.
template <class Kind>
__device__ static inline void load_fragment(float (*own)[2][4], Vectors x, const Mask &mask, unsigned block, unsigned dim) {
    unsigned low = block * SIDE + row_of(0), high = block * SIDE + row_of(1);
#pragma unroll
    for (int k = 0; k < Kind::WIDTH / 16; k++) {
        unsigned column = first_column<Kind>() + 16 * k + 4 * lane_in_group();
        float4 a = ready<Kind>(four_in(x, mask, low, column, dim)), b = ready<Kind>(four_in(x, mask, high, column, dim));
        float both[2][4] = {{a.x, b.x, a.y, b.y}, {a.z, b.z, a.w, b.w}};
        for (int i = 0; i < 8; i++) own[k][i / 4][i % 4] = both[i / 4][i % 4];
    }
}

// s += own·chunkᵀ, 16×CHUNK.
template <class Kind>
__device__ static inline void scores(float (*s)[4], float (*own)[2][4], const float (*chunk)[Kind::PITCH]) {
    unsigned g = lane_group(), vector = even(g / 2) ^ (g % 2 * 2);
#pragma unroll
    for (int k = 0; k < Kind::WIDTH / 16; k++) {
        // Their parts would take twice the registers, were they kept through all chunks.
        for (int i = 0; i < 8 && Kind::EXACT; i++) keep_in_loop(own[k][i / 4][i % 4]);
#pragma unroll
        for (int j = 0; j < Kind::EIGHTS; j++) {
            float4 b = *(const float4 *)&chunk[8 * j + vector][first_column<Kind>() + 16 * k + 4 * lane_in_group()];
            float pairs[2][2] = {{b.x, b.y}, {b.z, b.w}};
            multiply<Kind>(s[j], own[k][0], pairs[0]);
            multiply<Kind>(s[j], own[k][1], pairs[1]);
        }
    }
}

// sums += w·chunk, 16×WIDTH, of weights where `scores` leaves them.
template <class Kind>
__device__ static inline void accumulate_weighted(float (*sums)[4], const float (*w)[4], const float (*chunk)[Kind::PITCH]) {
    const int SPREAD = Kind::SPREAD;
    unsigned column = first_column<Kind>() + SPREAD * lane_group();
#pragma unroll
    for (int j = 0; j < Kind::EIGHTS; j++) {
        float4 a = ready<Kind>({w[j][0], w[j][2], w[j][1], w[j][3]});
        float left[4] = {a.x, a.y, a.z, a.w};
        unsigned vector = 8 * j + even(lane_in_group());
#pragma unroll
        for (int n = 0; n < Kind::WIDTH / 8; n += SPREAD) {
            alignas(16) float b[2][SPREAD];
            for (int i = 0; i < 2; i++) {
                const float *at = &chunk[vector ^ (2 * i)][column + 8 * n];
                if (SPREAD == 4) {
                    *(float4 *)b[i] = *(const float4 *)at;
                } else {
                    *(float2 *)b[i] = *(const float2 *)at;
                }
            }
            for (int i = 0; i < SPREAD; i++) {
                float right[2] = {b[0][i], b[1][i]};
                multiply<Kind>(sums[n + i], left, right);
            }
        }
    }
}

// vector = or += scale·sums, for both of a lane's rows.
template <class Kind, bool ADD>
__device__ static inline void store_rows(Vectors x, const Mask &mask, unsigned block, unsigned dim, const float (*sums)[4], const float *scale) {
    const int SPREAD = Kind::SPREAD;
#pragma unroll
    for (int row = 0; row < 2; row++) {
        unsigned slot = block * SIDE + row_of(row);
        if (slot >= mask.positions) continue;
        float *vector = vector_at(x, mask, slot);
#pragma unroll
        for (int four = 0; four < Kind::WIDTH / 16; four++) {
            // Of the 8·SPREAD columns of products n to n + SPREAD - 1 a lane has 2·SPREAD in a row.
            int n = four * 4 / (2 * SPREAD) * SPREAD, in = four * 4 % (2 * SPREAD);
            unsigned column = first_column<Kind>() + 8 * n + 2 * SPREAD * lane_in_group() + in;
            if (column >= dim) continue;
            auto sum = [&](int i) { return scale[row] * sums[n + (in + i) % SPREAD][2 * row + (in + i) / SPREAD]; };
            float4 x = ADD ? four_of(vector, column, dim) : float4{0, 0, 0, 0};
            x = {x.x + sum(0), x.y + sum(1), x.z + sum(2), x.w + sum(3)};
            if (dim % 4 == 0) {
                *(float4 *)(vector + column) = x;
            } else {
                float single[4] = {x.x, x.y, x.z, x.w};
                for (unsigned i = 0; i < 4 && column + i < dim; i++) vector[column + i] = single[i];
            }
        }
    }
}

// What a thread brings of a chunk of the other side, fetched ahead: parts of two arrays of vectors, the bits of its rows and,
// of the first threads, one vector's lse and delta.
template <class Kind>
struct Ahead {
    float4 x[Kind::FETCHED], y[Kind::FETCHED];
    unsigned seen[2];
    float lse, delta;
};

template <class Kind>
__device__ static inline void prefetch(Ahead<Kind> &ahead, unsigned at, Vectors x, Vectors y, const Mask &mask, unsigned dim,
                                    const float *lse, const float *delta) {
    const unsigned chunks = SIDE / Kind::CHUNK;
    const unsigned *tile = mask.list + gridDim.x + 1 + at / chunks * 2;
    unsigned start = at % chunks * Kind::CHUNK, slot = tile[0] * SIDE + start, bits = tile[1];
#pragma unroll
    for (int i = 0; i < Kind::FETCHED; i++) {
        unsigned index = threadIdx.x + i * Kind::THREADS, vector = slot + index / (Kind::DIM / 4), column = index % (Kind::DIM / 4) * 4;
        ahead.x[i] = four_in(x, mask, vector, column, dim);
        ahead.y[i] = four_in(y, mask, vector, column, dim);
    }
    const unsigned *words = mask.masks + (bits * 2 + Kind::OF_KEYS) * (word)(2 * SIDE) + start / 32;
    for (int i = 0; i < 2; i++) ahead.seen[i] = bits == WHOLE ? ~0u : words[row_of(i) * 2] >> start % 32;
    bool one = Kind::OF_KEYS && threadIdx.x < Kind::CHUNK && slot + threadIdx.x < mask.positions;
    unsigned place = one ? mask.order[slot + threadIdx.x] : 0;
    ahead.lse = one ? lse[place] : 0;
    ahead.delta = one ? delta[place] : 0;
}

template <class Kind>
__device__ static inline void store_shared(float (*chunk)[Kind::PITCH], const float4 *x) {
#pragma unroll
    for (int i = 0; i < Kind::FETCHED; i++) {
        unsigned index = threadIdx.x + i * Kind::THREADS;
        *(float4 *)&chunk[index / (Kind::DIM / 4)][index % (Kind::DIM / 4) * 4] = ready<Kind>(x[i]);
    }
}

// The warps of the same 16 vectors add up what each has of COUNT products.
template <class Kind, int COUNT>
__device__ static inline void reduce_across_warps(float (*x)[4], float *scratch) {
    if (Kind::WARPS == 1) return;
    float *own = scratch + threadIdx.x, *others = scratch + (threadIdx.x ^ 128);
    for (int i = 0; i < COUNT * 4; i++) own[i * 256] = x[i / 4][i % 4];
    __syncthreads();
    for (int i = 0; i < COUNT * 4; i++) x[i / 4][i % 4] += others[i * 256];
}

// Whether a lane's row, of which `seen` are the bits, sees its column i of the j-th eight.
__device__ static inline bool sees(unsigned seen, int j, int i) {
    return seen >> (even(lane_in_group()) ^ (2 * i)) >> (8 * j) & 1;
}

// Nothing of a chunk is seen by the warp's rows. Where warps wait for each other, all must go on.
template <class Kind>
__device__ static inline bool skips(const unsigned *seen) {
    return Kind::WARPS == 1 && !__any_sync(~0u, (seen[0] | seen[1]) << (32 - Kind::CHUNK) != 0);
}

template <class Kind>
__device__ static inline void forward(Tensor qkv, Tensor out, float *lse, Mask mask, unsigned heads, unsigned dim) {
    alignas(16) __shared__ float keys[Kind::CHUNK][Kind::PITCH];
    alignas(16) __shared__ float contents[Kind::CHUNK][Kind::PITCH];
    __shared__ float scratch[Kind::WARPS > 1 ? Kind::EIGHTS * 4 * Kind::THREADS : 1];
    // The longest rows of a causal mask are its last.
    unsigned block = gridDim.x - 1 - blockIdx.x, chunks = SIDE / Kind::CHUNK;
    unsigned first = mask.list[block] * chunks, last = mask.list[block + 1] * chunks;
    float scale = LOG2_E / sqrtf((float)dim);
    Vectors k = vectors(qkv, mask.positions, heads, dim, 3, 1), v = vectors(qkv, mask.positions, heads, dim, 3, 2);
    float q[Kind::WIDTH / 16][2][4], sums[Kind::WIDTH / 8][4] = {}, top[2] = {NEVER, NEVER}, total[2] = {};
    load_fragment<Kind>(q, vectors(qkv, mask.positions, heads, dim, 3, 0), mask, block, dim);

    Ahead<Kind> ahead;
    if (first < last) prefetch<Kind>(ahead, first, k, v, mask, dim, nullptr, nullptr);
    for (unsigned at = first; at < last; at++) {
        __syncthreads();
        store_shared<Kind>(keys, ahead.x);
        store_shared<Kind>(contents, ahead.y);
        unsigned seen[2] = {ahead.seen[0], ahead.seen[1]};
        __syncthreads();
        if (at + 1 < last) prefetch<Kind>(ahead, at + 1, k, v, mask, dim, nullptr, nullptr);
        if (skips<Kind>(seen)) continue;
        float s[Kind::EIGHTS][4] = {};
        scores<Kind>(s, q, keys);
        reduce_across_warps<Kind, Kind::EIGHTS>(s, scratch);
#pragma unroll
        for (int row = 0; row < 2; row++) {
            float highest = top[row];
            for (int i = 0; i < 2 * Kind::EIGHTS; i++) {
                float &x = s[i / 2][2 * row + i % 2];
                x = sees(seen[row], i / 2, i % 2) ? x * scale : NEVER;
                highest = fmaxf(highest, x);
            }
            highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 1));
            highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 2));
            // A row that has seen nothing yet: any finite shift gives it weights of 0.
            float shift = highest == NEVER ? 0 : highest, shrink = exp2f(top[row] - shift);
            top[row] = highest;
            total[row] *= shrink;
            for (int i = 0; i < 2 * Kind::EIGHTS; i++) {
                float &x = s[i / 2][2 * row + i % 2];
                x = exp2f(x - shift);
                total[row] += x;
            }
            for (int n = 0; n < Kind::WIDTH / 8 * 2; n++) sums[n / 2][2 * row + n % 2] *= shrink;
        }
        accumulate_weighted<Kind>(sums, s, contents);
    }

    float share[2];
    for (int row = 0; row < 2; row++) {
        total[row] += __shfl_xor_sync(~0u, total[row], 1);
        total[row] += __shfl_xor_sync(~0u, total[row], 2);
        share[row] = total[row] > 0 ? 1 / total[row] : 0;
        unsigned slot = block * SIDE + row_of(row);
        if (lane_in_group() == 0 && threadIdx.x < 128 && slot < mask.positions) {
            lse[((word)blockIdx.z * heads + blockIdx.y) * mask.positions + mask.order[slot]] = (top[row] + log2f(total[row])) * LN_2;
        }
    }
    store_rows<Kind, false>(vectors(out, mask.positions, heads, dim, 1, 0), mask, block, dim, sums, share);
}

// delta (B, H, S) = the sums of dout∘out over D, a warp for each.
extern "C" __global__ void attention_delta(Tensor dout, Tensor out, float *delta, unsigned batch, unsigned positions,
                                           unsigned heads, unsigned dim) {
    word vectors = (word)batch * positions * heads, warps = gridDim.x * (word)(blockDim.x / 32);
    for (word at = (blockIdx.x * (word)blockDim.x + threadIdx.x) / 32; at < vectors; at += warps) {
        const float *a = values(dout) + at * dim, *b = values(out) + at * dim;
        float sum = 0;
        for (unsigned i = threadIdx.x % 32; i < dim; i += 32) sum += a[i] * b[i];
        sum = warp_sum(sum);
        word position = at / heads % positions, entry = at / heads / positions;
        if (threadIdx.x % 32 == 0) delta[(entry * heads + at % heads) * positions + position] = sum;
    }
}

// With p = exp(s − lse) and ds = p∘(dout·vᵀ − delta): dq += ds·k/√D of a block of queries or, over their transposes,
// dk += dsᵀ·q/√D and dv += pᵀ·dout of a block of keys.
template <class Kind>
__device__ static inline void backward(Tensor dqkv, Tensor dout, Tensor qkv, const float *lse, const float *delta, Mask mask,
                                       unsigned heads, unsigned dim) {
    alignas(16) __shared__ float xs[Kind::CHUNK][Kind::PITCH];
    alignas(16) __shared__ float ys[Kind::CHUNK][Kind::PITCH];
    __shared__ float scratch[Kind::WARPS > 1 ? Kind::EIGHTS * 8 * Kind::THREADS : 1], lses[Kind::CHUNK], deltas[Kind::CHUNK];
    // The longest rows of a causal mask are its last, and the longest columns its first.
    unsigned block = Kind::OF_KEYS ? blockIdx.x : gridDim.x - 1 - blockIdx.x, chunks = SIDE / Kind::CHUNK;
    unsigned first = mask.list[block] * chunks, last = mask.list[block + 1] * chunks;
    float scale = 1 / sqrtf((float)dim);
    auto part = [&](unsigned i) { return vectors(qkv, mask.positions, heads, dim, 3, i); };
    Vectors q = part(0), k = part(1), v = part(2), from = vectors(dout, mask.positions, heads, dim, 1, 0);
    Vectors x = Kind::OF_KEYS ? q : k, y = Kind::OF_KEYS ? from : v;
    // The factors of the scores and of dout·vᵀ, or of their transposes.
    float a[Kind::WIDTH / 16][2][4], b[Kind::WIDTH / 16][2][4];
    load_fragment<Kind>(a, Kind::OF_KEYS ? k : q, mask, block, dim);
    load_fragment<Kind>(b, Kind::OF_KEYS ? v : from, mask, block, dim);
    float da[Kind::WIDTH / 8][4] = {}, db[Kind::WIDTH / 8][4] = {};
    lse += ((word)blockIdx.z * heads + blockIdx.y) * mask.positions;
    delta += ((word)blockIdx.z * heads + blockIdx.y) * mask.positions;
    float own_lse[2] = {}, own_delta[2] = {};
    for (int row = 0; row < 2 && !Kind::OF_KEYS; row++) {
        unsigned slot = block * SIDE + row_of(row);
        if (slot >= mask.positions) continue;
        own_lse[row] = lse[mask.order[slot]] * LOG2_E;
        own_delta[row] = delta[mask.order[slot]];
    }

    Ahead<Kind> ahead;
    if (first < last) prefetch<Kind>(ahead, first, x, y, mask, dim, lse, delta);
    for (unsigned at = first; at < last; at++) {
        __syncthreads();
        store_shared<Kind>(xs, ahead.x);
        store_shared<Kind>(ys, ahead.y);
        if (Kind::OF_KEYS && threadIdx.x < Kind::CHUNK) {
            lses[threadIdx.x] = ahead.lse * LOG2_E;
            deltas[threadIdx.x] = ahead.delta;
        }
        unsigned seen[2] = {ahead.seen[0], ahead.seen[1]};
        __syncthreads();
        if (at + 1 < last) prefetch<Kind>(ahead, at + 1, x, y, mask, dim, lse, delta);
        if (skips<Kind>(seen)) continue;
        float products[2 * Kind::EIGHTS][4] = {}, (*p)[4] = products, (*ds)[4] = products + Kind::EIGHTS;
        scores<Kind>(p, a, xs);
        scores<Kind>(ds, b, ys);
        reduce_across_warps<Kind, 2 * Kind::EIGHTS>(products, scratch);
#pragma unroll
        for (int i = 0; i < Kind::EIGHTS * 4; i++) {
            int j = i / 4, row = i % 4 / 2;
            unsigned column = 8 * j + (even(lane_in_group()) ^ (i % 2 * 2));
            float lse = Kind::OF_KEYS ? lses[column] : own_lse[row], delta = Kind::OF_KEYS ? deltas[column] : own_delta[row];
            float weight = exp2f(p[j][i % 4] * (scale * LOG2_E) - lse);
            bool seen_here = sees(seen[row], j, i % 2);
            p[j][i % 4] = seen_here ? weight : 0;
            ds[j][i % 4] = seen_here ? weight * (ds[j][i % 4] - delta) : 0;
        }
        if (Kind::OF_KEYS) accumulate_weighted<Kind>(db, p, ys);
        accumulate_weighted<Kind>(da, ds, xs);
    }

    const float scales[2] = {scale, scale}, one[2] = {1, 1};
    store_rows<Kind, true>(vectors(dqkv, mask.positions, heads, dim, 3, Kind::OF_KEYS), mask, block, dim, da, scales);
    if (Kind::OF_KEYS) store_rows<Kind, true>(vectors(dqkv, mask.positions, heads, dim, 3, 2), mask, block, dim, db, one);
}

// Grid: ceil(S / 64) × H × B. `list` is of the mask's rows, but for the keys of its columns.
#define KERNEL(DIM, EXACT, NAME) extern "C" __global__ void __launch_bounds__(Shares<DIM, EXACT>::THREADS) attention_##NAME
#define MASK const unsigned *order, const unsigned *list, const unsigned *masks, unsigned positions
#define BACKWARD Tensor dqkv, Tensor dout, Tensor qkv, const float *lse, const float *delta
#define ATTENTION(DIM, EXACT, NAME)                                                                                   \
    KERNEL(DIM, EXACT, forward_##NAME)(Tensor qkv, Tensor out, float *lse, MASK, unsigned heads, unsigned dim) {      \
        forward<Shares<DIM, EXACT>>(qkv, out, lse, {order, list, masks, positions}, heads, dim);                      \
    }                                                                                                                 \
    KERNEL(DIM, EXACT, queries_##NAME)(BACKWARD, MASK, unsigned heads, unsigned dim) {                                \
        backward<Shares<DIM, EXACT>>(dqkv, dout, qkv, lse, delta, {order, list, masks, positions}, heads, dim);       \
    }                                                                                                                 \
    KERNEL(DIM, EXACT, keys_##NAME)(BACKWARD, MASK, unsigned heads, unsigned dim) {                                   \
        backward<Shares<DIM, EXACT, true>>(dqkv, dout, qkv, lse, delta, {order, list, masks, positions}, heads, dim); \
    }

ATTENTION(16, false, 16)
ATTENTION(32, false, 32)
ATTENTION(64, false, 64)
ATTENTION(128, false, 128)
ATTENTION(16, true, 16_exact)
ATTENTION(32, true, 32_exact)
ATTENTION(64, true, 64_exact)
ATTENTION(128, true, 128_exact)
