// The product of two matrices, a tile of the result for each block: what the convolutions of conv_tiled.cu
// are made of. A block of THREADS computes BM×BN numbers, a warp WM×WN of them, a thread TM×TN, which it
// keeps in registers. The sum runs over slices of BK rows, which lie in shared memory:
//
//     a[k][row]      BK rows of A_PITCH numbers      b[k][column]     BK rows of B_PITCH numbers
//
// For each k a thread fetches TM + TN numbers and multiplies them TM·TN times. It holds them in groups of
// four neighbours, so that one instruction fetches four, and the groups of the lanes lie side by side, so
// that a warp reads from all banks of the shared memory at once.
#pragma once
#include "four.cuh"

#define THREADS ((BM / WM) * (BN / WN) * 32)
#define A_PITCH (BM + 4) // four more, so that the columns of a slice begin in different banks
#define B_PITCH (BN + 4)
#define A_LOADS (BM * BK / THREADS) // numbers of a slice that each thread brings
#define B_LOADS (BN * BK / THREADS)

// Where in the block's tile this thread's own numbers are: row(i) and column(j).
struct Place {
    int first_row, first_column;

    __device__ __forceinline__ Place() {
        int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        int lanes_in_row = WN / TN;
        first_row = warp / (BN / WN) * WM + lane / lanes_in_row * 4;
        first_column = warp % (BN / WN) * WN + lane % lanes_in_row * 4;
    }
    __device__ __forceinline__ int row(int i) const { return first_row + i / 4 * (4 * WM / TM) + i % 4; }
    __device__ __forceinline__ int column(int j) const {
        return first_column + j / 4 * (4 * WN / TN) + j % 4;
    }
};

// sum += aᵀ·b over one slice.
__device__ __forceinline__ void multiply(const real *a, const real *b, Place place, real (&sum)[TM][TN]) {
#pragma unroll
    for (int k = 0; k < BK; ++k) {
        Four of_a[TM / 4], of_b[TN / 4];
#pragma unroll
        for (int i = 0; i < TM; i += 4)
            of_a[i / 4] = *reinterpret_cast<const Four *>(a + k * A_PITCH + place.row(i));
#pragma unroll
        for (int j = 0; j < TN; j += 4)
            of_b[j / 4] = *reinterpret_cast<const Four *>(b + k * B_PITCH + place.column(j));
#pragma unroll
        for (int i = 0; i < TM; ++i)
#pragma unroll
            for (int j = 0; j < TN; ++j)
                sum[i][j] += of_a[i / 4].of[i % 4] * of_b[j / 4].of[j % 4];
    }
}

// The whole sum, for k from `begin` to `end`. bring(k) fetches what is this thread's of the slice that begins
// at k, into registers; put(which) writes it down in one of the two places for slices. The numbers that are
// fetched during a multiplication are needed only after it, and are written where nobody reads: so one
// barrier is enough.
template <class Bring, class Put>
__device__ __forceinline__ void sum_over_slices(int begin, int end, Bring bring, Put put,
                                                const real (*a)[BK * A_PITCH], const real (*b)[BK * B_PITCH],
                                                Place place, real (&sum)[TM][TN]) {
    if (begin >= end)
        return;
    bring(begin);
    put(0);
    __syncthreads();
    int now = 0;
    for (int next = begin + BK; next < end; next += BK, now ^= 1) {
        bring(next);
        multiply(a[now], b[now], place, sum);
        put(now ^ 1);
        __syncthreads();
    }
    multiply(a[now], b[now], place, sum);
}
