// The Gumbel-softmax relaxation of rows of logits (N, V), and their KL divergence to the uniform distribution, in nats:
// z = softmax((logits + noise)/τ); kl = Σ q ln q + ln V with q = softmax(logits).
// dlogits += z·(dz − Σ z·dz)/τ + dkl·q·(ln q − Σ q ln q). kl, dkl, lse, mean (N): what is kept of q is lse = ln Σ e^logit
// and mean = Σ q ln q. V is at most 16384.
//
// `hard`, where there is one, gets a one at each row's largest z, the first of them, and zeros; its gradient is taken for that
// of z (straight through), which is then kept in memory of its own.
//
// A block a row, which it holds in registers.
//
// N = 8192 (8 images of 32×32), V = 8192. Bound: bytes. Forward: logits and noise read, z written, 12 bytes an element, 805 MB:
// 0.17 ms at 4.8 TB/s, a third more with `hard`. Backward: logits, z, dz and dlogits read, dlogits written, 20, 1342 MB: 0.28 ms.
// The KL alone: 4, 0.06 ms, and 12, 0.17 ms. Not measured.

#include "device.h"

__device__ static inline float largest(Row &row, float *scratch) {
    float most = -INFINITY;
    for (unsigned i = 0; i < HELD; i++) most = fmaxf(most, row[i]);
    return block_max(most, scratch);
}

// Of this block's logits: their KL, and what its gradient takes. `most` is ln V.
__device__ static inline void keep_kl(Row &x, Tensor kl, float *lse, float *mean, float most, float *scratch) {
    float top = largest(x, scratch), sum = 0, weighted = 0;
    for (unsigned i = 0; i < HELD; i++) {
        float e = expf(x[i] - top);
        sum += e;
        weighted += e > 0 ? e * (x[i] - top) : 0;
    }
    sum = block_sum(sum, scratch);
    weighted = block_sum(weighted, scratch);
    if (threadIdx.x > 0) return;
    float minus_entropy = weighted / sum - logf(sum), divergence = minus_entropy + most;
    // Rounding must not leave the range; more than `most` it cannot make. A NaN passes.
    values(kl)[blockIdx.x] = divergence < 0 ? 0 : divergence;
    lse[blockIdx.x] = top + logf(sum);
    mean[blockIdx.x] = minus_entropy;
}

// q·(ln q − Σ q ln q)
__device__ static inline float kl_slope(float logit, float lse, float mean) {
    return expf(logit - lse) * (logit - lse - mean);
}

extern "C" __global__ void __launch_bounds__(1024) gumbel_forward(Tensor logits, const float *noise, Tensor z, Tensor hard, Tensor kl, float *lse,
                                                                  float *mean, unsigned vocab, float scale, float most) {
    __shared__ float scratch[32];
    word at = blockIdx.x * (word)vocab;
    Row x = read_row(values(logits) + at, vocab, -INFINITY), y = read_row(noise + at, vocab, 0);
    for (unsigned i = 0; i < HELD; i++) y[i] = (x[i] + y[i]) * scale;
    keep_kl(x, kl, lse, mean, most, scratch);
    float top = largest(y, scratch), sum = 0;
    for (unsigned i = 0; i < HELD; i++) {
        y[i] = expf(y[i] - top);
        sum += y[i];
    }
    float share = 1 / block_sum(sum, scratch);
    for (unsigned i = 0; i < HELD; i++) y[i] *= share;
    write_row(values(z) + at, vocab, y);
    if (!hard.at) return;
    // z and not y is compared: other y may have the same z.
    float best = largest(y, scratch), before = -(float)vocab;
    for (unsigned i = 0; i < HELD; i++) before = fmaxf(before, y[i] == best ? -(float)column_of(i) : before);
    unsigned first = (unsigned)-block_max(before, scratch);
    for (unsigned i = 0; i < HELD; i++) y[i] = column_of(i) == first;
    write_row(values(hard) + at, vocab, y);
}

extern "C" __global__ void __launch_bounds__(1024) gumbel_backward(Tensor dz, Tensor dkl, Tensor z, Tensor logits, const float *lse, const float *mean,
                                                                   Tensor dlogits, unsigned vocab, float scale) {
    __shared__ float scratch[32];
    word at = blockIdx.x * (word)vocab;
    const float *z_row = values(z) + at, *dz_row = values(dz) + at, *x_row = values(logits) + at;
    float *dx_row = values(dlogits) + at;
    float weight = values(dkl)[blockIdx.x], whole = lse[blockIdx.x], middle = mean[blockIdx.x], sum = 0;
    Row gradient, y;
    // All but the sum's part is added up before it waits for the sum: so the registers hold two rows and not four.
    for (unsigned i = 0; i < HELD; i += 4) {
        alignas(16) float dy[4], x[4];
        *(float4 *)&y.x[i] = read_four(z_row, column_of(i), vocab, 0);
        *(float4 *)dy = read_four(dz_row, column_of(i), vocab, 0);
        *(float4 *)x = read_four(x_row, column_of(i), vocab, 0);
        *(float4 *)&gradient.x[i] = read_four(dx_row, column_of(i), vocab, 0);
        for (unsigned j = 0; j < 4; j++) {
            sum += y[i + j] * dy[j];
            gradient[i + j] += scale * y[i + j] * dy[j] + weight * kl_slope(x[j], whole, middle);
        }
    }
    sum = block_sum(sum, scratch) * scale;
    for (unsigned i = 0; i < HELD; i++) gradient[i] -= y[i] * sum;
    write_row(dx_row, vocab, gradient);
}

extern "C" __global__ void __launch_bounds__(1024) kl_forward(Tensor logits, Tensor kl, float *lse, float *mean, unsigned vocab, float most) {
    __shared__ float scratch[32];
    Row x = read_row(values(logits) + blockIdx.x * (word)vocab, vocab, -INFINITY);
    keep_kl(x, kl, lse, mean, most, scratch);
}

extern "C" __global__ void __launch_bounds__(1024)
    kl_backward(Tensor dkl, Tensor logits, const float *lse, const float *mean, Tensor dlogits, unsigned vocab) {
    const float *x_row = values(logits) + blockIdx.x * (word)vocab;
    float *dx_row = values(dlogits) + blockIdx.x * (word)vocab;
    Row x = read_row(x_row, vocab, 0), gradient = read_row(dx_row, vocab, 0);
    float weight = values(dkl)[blockIdx.x], whole = lse[blockIdx.x], middle = mean[blockIdx.x];
    for (unsigned i = 0; i < HELD; i++) gradient[i] += weight * kl_slope(x[i], whole, middle);
    write_row(dx_row, vocab, gradient);
}
