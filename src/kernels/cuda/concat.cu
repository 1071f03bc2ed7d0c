// Two tensors side by side along one axis, and the gradients of both. Under the names and with the parameters that dfdx
// looks for, as in reshape.cu.
//
// info: elements of y, rank, axis; then sizes and strides of a, sizes and strides of b.
// Bound: bytes, one read and one write of 4 bytes an element. Not measured.

typedef unsigned long long word;

// Which input element `i` of the output is: true for a, with its place.
__device__ static bool source(word i, const word *info, word *at) {
    word rank = info[1], axis = info[2];
    const word *a = info + 3, *a_strides = a + rank, *b = a + 2 * rank, *b_strides = a + 3 * rank;
    word at_a = 0, at_b = 0;
    bool in_a = true;
    for (word d = rank; d-- > 0;) {
        word size = d == axis ? a[d] + b[d] : a[d];
        word index = i % size;
        i /= size;
        if (d == axis) {
            in_a = index < a[d];
            at_a += index * a_strides[d];
            at_b += (index - a[d]) * b_strides[d];
        } else {
            at_a += index * a_strides[d];
            at_b += index * b_strides[d];
        }
    }
    *at = in_a ? at_a : at_b;
    return in_a;
}

extern "C" __global__ void fwd(const word *info, const float *a, const float *b, float *y) {
    for (word i = blockIdx.x * (word)blockDim.x + threadIdx.x; i < info[0]; i += (word)blockDim.x * gridDim.x) {
        word at;
        y[i] = source(i, info, &at) ? a[at] : b[at];
    }
}

extern "C" __global__ void bwd(const word *info, float *da, float *db, const float *dy) {
    for (word i = blockIdx.x * (word)blockDim.x + threadIdx.x; i < info[0]; i += (word)blockDim.x * gridDim.x) {
        word at;
        // A broadcast input is read more than once.
        atomicAdd(source(i, info, &at) ? da + at : db + at, dy[i]);
    }
}
