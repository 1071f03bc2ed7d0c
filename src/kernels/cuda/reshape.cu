// Copies a tensor of any strides to one in row-major order, and adds that one's gradient back.
//
// dfdx compiles these two itself on the machine that it runs on, from sources that include CUDA's headers, which a GPU machine
// may not have. Loaded under the names that it looks for, ours are found first. So the parameters are dfdx's.
//
// info: sizes and strides of the input, then of the output; the output is contiguous.
// Bound: bytes, one read and one write of 4 bytes an element: 1e9 elements in 1.7 ms at 4.8 TB/s. Not measured.

typedef unsigned long long word;

__device__ static word place(word index, word rank, const word *sizes, const word *strides) {
    word at = 0;
    for (word axis = rank; axis-- > 0;) {
        at += index % sizes[axis] * strides[axis];
        index /= sizes[axis];
    }
    return at;
}

extern "C" __global__ void reshape_fwd(word count, word rank, word, const word *info, const float *x, float *y) {
    for (word i = blockIdx.x * (word)blockDim.x + threadIdx.x; i < count; i += (word)blockDim.x * gridDim.x) {
        y[i] = x[place(i, rank, info, info + rank)];
    }
}

// A stride of 0 reads an element many times: its gradient is a sum. Without one each element is added to once, and the
// result is the same in every run.
extern "C" __global__ void reshape_bwd(word count, word rank, word rank_y, const word *info, float *dx, const float *dy) {
    // `count` is the length of dx, which a broadcast makes shorter than dy.
    word reads = 1, repeats = 0;
    for (word axis = 0; axis < rank; axis++) {
        reads *= info[axis];
        repeats |= info[rank + axis] == 0 && info[axis] > 1;
    }
    for (word i = blockIdx.x * (word)blockDim.x + threadIdx.x; i < reads; i += (word)blockDim.x * gridDim.x) {
        float *at = dx + place(i, rank, info, info + rank);
        if (repeats) {
            atomicAdd(at, dy[i]);
        } else {
            *at += dy[i];
        }
    }
}
