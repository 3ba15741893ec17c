// Totals over the threads of a warp, of a block, and over the parts that blocks have summed up, always added
// in the same order: so that a result is the same, to the last bit, in each run. What is totalled is a struct
// for which there is `add` and `from_lane_after`; T{} is the total of nothing.
#pragma once

struct Sums {
    real first, second;
};

__device__ __forceinline__ void add(Sums &own, const Sums &other) {
    own.first += other.first;
    own.second += other.second;
}

__device__ __forceinline__ Sums from_lane_after(const Sums &own, int apart) {
    return {__shfl_down_sync(0xffffffff, own.first, apart), __shfl_down_sync(0xffffffff, own.second, apart)};
}

// How many numbers, their mean, and Σ (x − mean)². Two such are joined without ever squaring a number that is
// far from its mean (Chan, Golub, LeVeque 1979, "Updating formulae"): Σ x² − (Σ x)²/count loses all digits
// where the mean is large against the deviation, and in float32 a ratio of 1,000 is large.
struct Moments {
    real count, mean, squares;
};

__device__ __forceinline__ void add(Moments &own, const Moments &other) {
    const real count = own.count + other.count;
    if (count == 0)
        return;
    const real share = other.count / count, apart = other.mean - own.mean;
    own.mean += apart * share;
    own.squares += other.squares + apart * apart * own.count * share;
    own.count = count;
}

__device__ __forceinline__ Moments from_lane_after(const Moments &own, int apart) {
    return {__shfl_down_sync(0xffffffff, own.count, apart), __shfl_down_sync(0xffffffff, own.mean, apart),
            __shfl_down_sync(0xffffffff, own.squares, apart)};
}

// In lane 0 of each warp. What the upper lanes are left with is no total of anything.
template <class T> __device__ __forceinline__ T total_of_warp(T own) {
#pragma unroll
    for (int apart = 16; apart; apart /= 2)
        add(own, from_lane_after(own, apart));
    return own;
}

// In thread 0 of a block with as many warps as there is room for, 32 at most.
template <int WARPS, class T> __device__ __forceinline__ T total_of_block(T own, T (&of_warps)[WARPS]) {
    own = total_of_warp(own);
    if (threadIdx.x % 32 == 0)
        of_warps[threadIdx.x / 32] = own;
    __syncthreads();
    if (threadIdx.x >= 32)
        return own;
    return total_of_warp(threadIdx.x < WARPS ? of_warps[threadIdx.x] : T{});
}

// Of at most 32 parts, in lane 0 of each warp: every warp of every block finds the same by itself, which
// takes less time than to wait for a kernel whose only work this is.
template <class T> __device__ __forceinline__ T total_of_parts(const T *parts, int count) {
    const int lane = threadIdx.x % 32;
    return total_of_warp(lane < count ? parts[lane] : T{});
}

__device__ __forceinline__ real from_first_lane(real value) { return __shfl_sync(0xffffffff, value, 0); }
