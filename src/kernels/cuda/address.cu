// Notes on the GPU where the values of dfdx's tensors lie, which dfdx keeps to itself.
//
// dfdx asks for its own kernel by a name; loaded under that name, one of ours is given the addresses instead. Nothing computes
// with the operation taken here (nans_to): its number says which slot of the table to fill. Kernels read the slot when they
// run (device.h); the stream's order keeps it true until then.
//
// Bound: a launch. The grid is dfdx's, a thread for each value, of which one does anything. Not measured.

#include "device.h"

static __device__ word *table;

// cudarc launches nothing with one parameter.
extern "C" __global__ void set_table(word *at, unsigned) {
    table = at;
}

// slot: where x's address goes, and after it that of y, which is as long and not filled.
extern "C" __global__ void nans_to_fwd_f32(float slot, word, const float *x, float *y) {
    if (blockIdx.x == 0 && threadIdx.x == 0) {
        table[(word)slot] = (word)x;
        table[(word)slot + 1] = (word)y;
    }
}

// Of an address that the host knows.
extern "C" __global__ void note(word *at, word address) {
    *at = address;
}
