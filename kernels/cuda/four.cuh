// Four neighbours of an array, which one instruction fetches, or two if they are double.
#pragma once

struct __align__(16) Four {
    real of[4];
};

// Whether four neighbours can be fetched at a time, from here on.
__device__ __forceinline__ bool aligned(const void *address) {
    return reinterpret_cast<unsigned long long>(address) % 16 == 0;
}
