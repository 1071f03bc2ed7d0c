// The products that are asked of cuBLAS, as libcublas.so.13: by columns, in f32, factors rounded where the call says so.

#include <cstdint>
#include <cstring>

enum { SUCCESS = 0, NOT_SUPPORTED = 15 };
enum { NONE = 0, TRANSPOSED = 1 };
enum { REAL = 0, F32 = 68, FAST_BF16 = 75, FAST_TF32 = 77 };

static float rounded(float x, int compute) {
    int dropped = compute == FAST_TF32 ? 13 : compute == FAST_BF16 ? 16 : 0;
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (dropped) bits = (bits + (1u << (dropped - 1))) >> dropped << dropped;
    std::memcpy(&x, &bits, 4);
    return x;
}

static void multiply(int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda, const float *b, int ldb,
                     float beta, float *c, int ldc, int compute) {
    for (long j = 0; j < n; j++) {
        for (long i = 0; i < m; i++) {
            float sum = 0;
            for (long p = 0; p < k; p++) {
                float x = ta == NONE ? a[i + p * lda] : a[p + i * lda], y = tb == NONE ? b[p + j * ldb] : b[j + p * ldb];
                sum += rounded(x, compute) * rounded(y, compute);
            }
            float &at = c[i + j * ldc];
            at = alpha * sum + (beta == 0 ? 0 : beta * at);
        }
    }
}

extern "C" {

int cublasCreate_v2(void **handle) { return *handle = (void *)1, SUCCESS; }
int cublasDestroy_v2(void *) { return SUCCESS; }
int cublasSetStream_v2(void *, void *) { return SUCCESS; }

int cublasSgemm_v2(void *, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int lda, const float *b,
                   int ldb, const float *beta, float *c, int ldc) {
    return multiply(ta, tb, m, n, k, *alpha, a, lda, b, ldb, *beta, c, ldc, F32), SUCCESS;
}

int cublasSgemmStridedBatched(void *, int ta, int tb, int m, int n, int k, const float *alpha, const float *a, int lda,
                              long long stride_a, const float *b, int ldb, long long stride_b, const float *beta, float *c,
                              int ldc, long long stride_c, int count) {
    for (int i = 0; i < count; i++) {
        multiply(ta, tb, m, n, k, *alpha, a + i * stride_a, lda, b + i * stride_b, ldb, *beta, c + i * stride_c, ldc, F32);
    }
    return SUCCESS;
}

int cublasGemmBatchedEx(void *, int ta, int tb, int m, int n, int k, const void *alpha, const void *const *a, int type_a,
                        int lda, const void *const *b, int type_b, int ldb, const void *beta, void *const *c, int type_c,
                        int ldc, int count, int compute, int) {
    if (type_a != REAL || type_b != REAL || type_c != REAL) return NOT_SUPPORTED;
    for (int i = 0; i < count; i++) {
        multiply(ta, tb, m, n, k, *(const float *)alpha, (const float *)a[i], lda, (const float *)b[i], ldb,
                 *(const float *)beta, (float *)c[i], ldc, compute);
    }
    return SUCCESS;
}

}
