// The largest |x| of an array: by how much a gradient has to be scaled so that it fits into float16 (tensor.cuh).
//
// The bits of a float without its sign are ordered as the numbers are, infinity above them all and NaN above
// infinity: so they are compared as integers, which atomicMax can do. Whoever comes first, the largest is the
// same.
#include "grid.cuh"

extern "C" __global__ void largest(const float *__restrict__ x, unsigned *result, int count) {
    unsigned own = 0;
    EACH(i, count)
        own = max(own, __float_as_uint(x[i]) & 0x7FFFFFFFu);
#pragma unroll
    for (int apart = 16; apart; apart /= 2)
        own = max(own, __shfl_xor_sync(0xffffffff, own, apart));
    if (threadIdx.x % 32 == 0)
        atomicMax(result, own);
}
