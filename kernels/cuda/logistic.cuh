// The logistic function σ, and SiLU, z · σ(z), with its slope. Neither is kept for the way back: to compute it
// again is quicker than to fetch it from memory.
#pragma once

// 1 / (1 + e⁻ˣ). Where e⁻ˣ overflows to infinity, the quotient is 0, as it should be.
__device__ __forceinline__ real logistic(real x) { return 1 / (1 + exp(-x)); }

__device__ __forceinline__ real silu_of(real z) { return z * logistic(z); }

__device__ __forceinline__ real silu_slope(real z) {
    const real s = logistic(z);
    return s + z * s * (1 - s);
}
