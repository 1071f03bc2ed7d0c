// Same-padded convolution of stride 1 as products of matrices (tile.h), whose factors are gathered where they lie:
// y = w ∗ x + b, and the gradients dx += turned(w) ∗ dy and dw += Σ dy ⊗ x over pixels; max(x, 0) for x with `relu`.
//
// x, dx (B, H, W, I), w, dw (O, I, K, K), b (O), y, dy (B, H, W, O), K odd, B·H·W below 2³¹. The depth of a product is a
// pixel's K² neighbours by C channels, C rounded up to fours, so that no four spans two neighbours; weights are packed so
// first, (O, K², C) or, turned by 180° and transposed for dx, (I, K², C). A block has a tile of 64×64 or 128×128 of y, of dx
// or of dw; dw's depth, the pixels, falls into parts, whose sums are added up in order. Factors are rounded to TF32 or, in the
// exact kernels, split in two such parts, for three products: as near as f32 itself.
//
// B = 8, H = W = 64, I = O = 256, K = 3, each of the three: 39 GFLOP.
// Bound: products, 0.08 ms at 495 TFLOP/s of TF32, 0.23 ms for the exact ones' three; bytes, 70 MB, 0.014 ms at 4.8 TB/s.
// Tiles of 128×128 fetch 1.2 GB, from L2 for the most part. Not measured.

#include "tile.h"

__device__ static inline unsigned fours(unsigned channels) {
    return (channels + 3) / 4 * 4;
}

// Pictures (B, H, W, C) and a kernel around each pixel.
struct Pictures {
    const float *x;
    unsigned pixels, height, width, channels, kernel, relu;

    __device__ unsigned depth() const { return kernel * kernel * fours(channels); }

    // Channels of the neighbour `down` and `across` from a pixel in (row, column); what is above or left wraps around, and is
    // outside as well.
    __device__ float4 neighbour(unsigned pixel, unsigned row, unsigned column, unsigned down, unsigned across, unsigned channel) const {
        if (row + down >= height || column + across >= width) return {0, 0, 0, 0};
        return read_four(x + (pixel + down * width + across) * (word)channels, channel, channels, 0);
    }
    __device__ float4 finish(float4 a) const {
        // A NaN stays one.
        auto apply = [=](float x) { return relu && x < 0 ? 0 : x; };
        return {apply(a.x), apply(a.y), apply(a.z), apply(a.w)};
    }
};

// A line a pixel, deep along its neighbours' channels.
struct Neighbours : Pictures {
    struct Line {
        unsigned pixel, row, column;
    };

    // Beyond the last pixel, a row that has no neighbours.
    __device__ Line line(unsigned i) const { return {i, i < pixels ? i / width % height : height + kernel, i % width}; }
    __device__ float4 four(Line line, unsigned k) const {
        unsigned tap = k / fours(channels), radius = kernel / 2;
        if (k >= depth()) return {0, 0, 0, 0};
        return neighbour(line.pixel, line.row, line.column, tap / kernel - radius, tap % kernel - radius, k % fours(channels));
    }
};

// A line a neighbour's channel, wide: the same, transposed.
struct Taps : Pictures {
    struct Line {
        unsigned down, across, channel;
    };

    // Beyond the last tap, one that is below every picture.
    __device__ Line line(unsigned i) const {
        unsigned tap = i / fours(channels), radius = kernel / 2;
        return {i < depth() ? tap / kernel - radius : height, tap % kernel - radius, i % fours(channels)};
    }
    __device__ float4 four(Line line, unsigned k) const {
        if (k >= pixels) return {0, 0, 0, 0};
        return neighbour(k, k / width % height, k % width, line.down, line.across, line.channel);
    }
};

// packed (O, K², C) of w (O, I, K, K) or, `turned`, (I, K², C); zeros beyond the channels.
extern "C" __global__ void __launch_bounds__(256)
    conv_pack(Tensor w, float *packed, unsigned outputs, unsigned inputs, unsigned kernel, unsigned turned) {
    unsigned lines = turned ? inputs : outputs, channels = turned ? outputs : inputs, area = kernel * kernel;
    word pitch = fours(channels), length = lines * area * pitch;
    for (word at = blockIdx.x * (word)blockDim.x + threadIdx.x; at < length; at += (word)blockDim.x * gridDim.x) {
        unsigned channel = at % pitch, tap = at / pitch % area, line = at / pitch / area;
        word output = turned ? channel : line, input = turned ? line : channel;
        packed[at] = channel < channels ? values(w)[(output * inputs + input) * area + (turned ? area - 1 - tap : tap)] : 0;
    }
}

template <class T>
__device__ static inline void forward(Pictures x, const float *packed, Tensor bias, Tensor y, unsigned outputs) {
    const float *b = values(bias);
    float *to = values(y);
    product<T, Deep<T>, Deep<T>>(Neighbours{x}, Rows{packed, outputs, x.depth()}, x.pixels, outputs, x.depth(),
                                 [=](unsigned pixel, unsigned output, float4 sum) {
                                     float4 shift = read_four(b, output, outputs, 0);
                                     sum = {sum.x + shift.x, sum.y + shift.y, sum.z + shift.z, sum.w + shift.w};
                                     write_four(to + pixel * (word)outputs, output, outputs, sum);
                                 });
}

// The kernel is packed as turned. `x` is none where there was no ReLU.
template <class T>
__device__ static inline void backward_input(Pictures dy, const float *packed, Tensor x, Tensor dx, unsigned inputs) {
    const float *before = values(x);
    float *to = values(dx);
    product<T, Deep<T>, Deep<T>>(Neighbours{dy}, Rows{packed, inputs, dy.depth()}, dy.pixels, inputs, dy.depth(),
                                 [=](unsigned pixel, unsigned input, float4 sum) {
                                     word at = pixel * (word)inputs;
                                     float4 total = read_four(to + at, input, inputs, 0), a = {1, 1, 1, 1};
                                     if (before) a = read_four(before + at, input, inputs, 0);
                                     auto add = [](float total, float sum, float x) { return x > 0 ? total + sum : total; };
                                     total = {add(total.x, sum.x, a.x), add(total.y, sum.y, a.y), add(total.z, sum.z, a.z), add(total.w, sum.w, a.w)};
                                     write_four(to + at, input, inputs, total);
                                 });
}

// parts (gridDim.y, O, K², C)
template <class T>
__device__ static inline void backward_weight(Tensor dy, Pictures x, float *parts, unsigned outputs) {
    unsigned columns = x.depth();
    float *to = parts + blockIdx.y * (word)outputs * columns;
    product<T, Wide<T>, Wide<T>>(Columns{values(dy), outputs, x.pixels}, Taps{x}, outputs, columns, x.pixels,
                                 [=](unsigned output, unsigned column, float4 sum) { write_four(to + output * (word)columns, column, columns, sum); });
}

// dw += the sum of its `count` parts.
extern "C" __global__ void __launch_bounds__(256)
    conv_add(const float *parts, Tensor dw, unsigned count, unsigned outputs, unsigned inputs, unsigned kernel) {
    unsigned area = kernel * kernel;
    word pitch = fours(inputs), length = outputs * area * pitch;
    for (word at = blockIdx.x * (word)blockDim.x + threadIdx.x; at < length; at += (word)blockDim.x * gridDim.x) {
        word channel = at % pitch, tap = at / pitch % area, output = at / pitch / area;
        if (channel >= inputs) continue;
        float sum = 0;
        for (unsigned part = 0; part < count; part++) sum += parts[part * length + at];
        values(dw)[(output * inputs + channel) * area + tap] += sum;
    }
}

// Grid: the tiles of y (B·H·W, O), of dx (B·H·W, I) or of dw (O, K²·C), along y the parts of dw. `relu` is of x.
#define KERNEL(SIDE, NAME) extern "C" __global__ void __launch_bounds__(2 * SIDE) conv_##NAME
#define SIZES unsigned pixels, unsigned height, unsigned width, unsigned inputs, unsigned outputs, unsigned kernel, unsigned relu
#define CONV(SIDE, EXACT, NAME)                                                                                               \
    KERNEL(SIDE, forward_##NAME)(Tensor x, const float *packed, Tensor bias, Tensor y, SIZES) {                               \
        forward<Tile<SIDE, EXACT>>({values(x), pixels, height, width, inputs, kernel, relu}, packed, bias, y, outputs);       \
    }                                                                                                                         \
    KERNEL(SIDE, input_##NAME)(Tensor dy, const float *packed, Tensor x, Tensor dx, SIZES) {                                  \
        backward_input<Tile<SIDE, EXACT>>({values(dy), pixels, height, width, outputs, kernel, 0}, packed, relu ? x : Tensor{nullptr}, dx, inputs); \
    }                                                                                                                         \
    KERNEL(SIDE, weight_##NAME)(Tensor dy, Tensor x, float *parts, SIZES) {                                                   \
        backward_weight<Tile<SIDE, EXACT>>(dy, {values(x), pixels, height, width, inputs, kernel, relu}, parts, outputs);     \
    }

CONV(64, false, 64)
CONV(128, false, 128)
CONV(64, true, 64_exact)
CONV(128, true, 128_exact)
