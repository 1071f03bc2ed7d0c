// y = f(x + bias) and its gradients, for products x (N, O) and bias (O); f by its number in functions.h. x may be y, or what is
// kept for backward.
//
// A thread has four values at a time: of its own columns, whose bias it keeps, or wherever they lie. Sums of columns, as for
// the bias's gradient, are made in two passes of one kernel, always in one order.
//
// N = 10240, O = 4096. Bound: bytes. Forward: read, kept and y written, 12 bytes an element, 503 MB: 0.10 ms at 4.8 TB/s, of
// which what is kept is a third. Backward: dy and x read, dx written, the same; 16 and 0.14 ms where it is added to.
// Sums: 4, 168 MB, 0.035 ms. Not measured.

#include "functions.h"

// dy·f′(x)
__device__ static inline float pull(Function f, float dy, float x) {
    if (f.kind == NONE) return dy;
    if (f.kind == RELU) return x > 0 ? dy : 0;
    if (f.kind == ERF_GELU) return dy * (normal_cdf(x) + x * 0.39894228040f * expf(-0.5f * x * x));
    float s = sigmoid_of_u(f, x);
    return dy * (s + x * s * (1 - s) * (f.linear + 3 * f.cubic * x * x));
}

// before = x + bias, y = f(before). Without an address there is no bias, and `before` is not kept.
extern "C" __global__ void __launch_bounds__(256)
    bias_activation(Tensor x, Tensor bias, Tensor before, Tensor y, word rows, unsigned columns, unsigned kind) {
    unsigned column = 4 * (blockIdx.x * blockDim.x + threadIdx.x);
    if (column >= columns) return;
    Function f = function_of(kind);
    float4 shift = {0, 0, 0, 0};
    if (bias.at) shift = read_four(values(bias), column, columns, 0);
    for (word row = blockIdx.y * blockDim.y + threadIdx.y; row < rows; row += gridDim.y * blockDim.y) {
        word at = row * columns;
        float4 four = read_four(values(x) + at, column, columns, 0);
        four = {four.x + shift.x, four.y + shift.y, four.z + shift.z, four.w + shift.w};
        if (before.at) write_four(values(before) + at, column, columns, four);
        write_four(values(y) + at, column, columns, {apply(f, four.x), apply(f, four.y), apply(f, four.z), apply(f, four.w)});
    }
}

// dx = or, with `add`, += dy·f′(before), which is not read for 0. dx may be dy.
extern "C" __global__ void __launch_bounds__(256) activation_backward(Tensor dy, Tensor before, Tensor dx, word count, unsigned kind, unsigned add) {
    Function f = function_of(kind);
    for (word at = 4 * (blockIdx.x * (word)blockDim.x + threadIdx.x); at < count; at += 4 * (word)blockDim.x * gridDim.x) {
        float4 d = read_four(values(dy), at, count, 0), x = kind == NONE ? d : read_four(values(before), at, count, 0);
        float4 sum = {0, 0, 0, 0};
        if (add) sum = read_four(values(dx), at, count, 0);
        sum = {sum.x + pull(f, d.x, x.x), sum.y + pull(f, d.y, x.y), sum.z + pull(f, d.z, x.z), sum.w + pull(f, d.w, x.w)};
        write_four(values(dx), at, count, sum);
    }
}

// sums (gridDim.y, columns) = or, with `add`, += the sums of x's (rows, columns) columns, of each block along y its own rows.
extern "C" __global__ void __launch_bounds__(1024) column_sums(Tensor x, Tensor sums, word rows, unsigned columns, unsigned add) {
    unsigned column = 32 * blockIdx.x + threadIdx.x;
    float sum = column_sum(values(x), rows, columns);
    if (threadIdx.y > 0 || column >= columns) return;
    float *at = values(sums) + blockIdx.y * (word)columns + column;
    *at = add ? *at + sum : sum;
}
