// Convolution, fourth rung: tensor cores.
//
// From sm_80 on, one instruction of a warp (mma, see ptx.cuh) multiplies 16×8 by 8×8 numbers, many times
// faster than its lanes could. The price is accuracy: the factors are rounded to TF32, 10 bits of fraction in
// place of 23, while the sums stay float32. So this rung runs only where somebody said that it may.
//
// The product of matrices is that of conv_tiled.cu, with the fragments of the instruction in place of the
// threads' tiles: a warp computes WM×WN numbers of the block's BM×BN. What multiplies so fast must be fed:
// slices are copied to shared memory asynchronously (cp.async), without a stop in registers, STAGES − 1 of
// them on the way while one is multiplied. Rows of shared memory are longer than they need be, by as much as
// makes the 32 lanes that fetch a fragment read from 32 banks: four numbers for the first matrix, eight for
// the second.
#include "ptx.cuh"
#include "tables.cuh"

#if __CUDA_ARCH__ >= 800 // before, there is no TF32, and this file has no kernels

#define THREADS ((BM / WM) * (BN / WN) * 32)
#define A_PITCH (BK + 4) // the first matrix as a[row][k],
#define B_PITCH (BN + 8) // the second one as b[k][column]
#define A_SIZE (BM * A_PITCH)
#define B_SIZE (BK * B_PITCH)
#define A_LOADS (BM * BK / THREADS)
#define B_LOADS (BN * BK / THREADS)

// The tile of this thread's warp, and of that the numbers that its lane has: of the fragment (i, j) number e.
struct Place {
    int lane = threadIdx.x % 32;
    int first_row = threadIdx.x / 32 / (BN / WN) * WM, first_column = threadIdx.x / 32 % (BN / WN) * WN;

    __device__ __forceinline__ int row(int i, int e) const {
        return first_row + 16 * i + lane / 4 + e / 2 * 8;
    }
    __device__ __forceinline__ int column(int j, int e) const {
        return first_column + 8 * j + lane % 4 * 2 + e % 2;
    }
};

typedef float Sum[WM / 16][WN / 8][4];

__device__ __forceinline__ void multiply(const float *a, const float *b, Place place, Sum &sum) {
#pragma unroll
    for (int k = 0; k < BK; k += 8) {
        unsigned of_a[WM / 16][4], of_b[WN / 8][2];
#pragma unroll
        for (int i = 0; i < WM / 16; ++i) {
            // Four matrices of eight rows of 16 bytes: the rows and the rows eight below, then the next
            // columns.
            int row = place.first_row + 16 * i + place.lane % 16;
            load_matrices(of_a[i], a + row * A_PITCH + k + place.lane / 16 * 4);
#pragma unroll
            for (int e = 0; e < 4; ++e)
                of_a[i][e] = round_to_tf32(__uint_as_float(of_a[i][e]));
        }
#pragma unroll
        for (int j = 0; j < WN / 8; ++j)
#pragma unroll
            for (int e = 0; e < 2; ++e) {
                int row = k + place.lane % 4 + 4 * e, column = place.first_column + 8 * j + place.lane / 4;
                of_b[j][e] = round_to_tf32(b[row * B_PITCH + column]);
            }
#pragma unroll
        for (int i = 0; i < WM / 16; ++i)
#pragma unroll
            for (int j = 0; j < WN / 8; ++j)
                mma_tf32(sum[i][j], of_a[i], of_b[j]);
    }
}

// The whole sum, for k from `begin` to `end`. bring(k, a, b) begins to copy what is this thread's of the
// slice from k on. After the barrier all have multiplied the slice before, and its place is free for a new
// one.
template <class Bring>
__device__ __forceinline__ void sum_over_slices(int begin, int end, Bring bring, Place place, Sum &sum) {
    extern __shared__ __align__(16) float stages[];
    float *a = stages, *b = stages + STAGES * A_SIZE;
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        if (begin + stage * BK < end)
            bring(begin + stage * BK, a + stage * A_SIZE, b + stage * B_SIZE);
        commit_copies();
    }
    int now = 0, next = STAGES - 1;
    for (int k = begin; k < end; k += BK) {
        wait_for_copies_but<STAGES - 2>();
        __syncthreads();
        if (k + (STAGES - 1) * BK < end)
            bring(k + (STAGES - 1) * BK, a + next * A_SIZE, b + next * B_SIZE);
        commit_copies();
        multiply(a + now * A_SIZE, b + now * B_SIZE, place, sum);
        now = now + 1 < STAGES ? now + 1 : 0;
        next = next + 1 < STAGES ? next + 1 : 0;
    }
}

// As in conv_tiled.cu, `real` being float.
extern "C" __global__ void __launch_bounds__(THREADS)
    gather(const real *__restrict__ source, const real *__restrict__ w, const real *__restrict__ b,
           real *__restrict__ result, const Phase *__restrict__ phases, const Tap *__restrict__ taps, int N,
           int SC, int SH, int SW, int step_h, int step_v, int RC, int RH, int RW, int apart_h, int apart_v,
           int groups, int row_weights, int group_weights, real low, real high) {
    phases += blockIdx.y;
    const int M = RC / groups, group = blockIdx.z, row_tiles = (M + BM - 1) / BM;
    const int pixels = phases->rows * phases->columns, K = phases->taps;
    const int first_row = blockIdx.x % row_tiles * BM, first_pixel = blockIdx.x / row_tiles * BN;
    if (first_pixel >= N * pixels)
        return;
    taps += phases->first_tap;
    w += group * group_weights;

    const int a_k = threadIdx.x % BK, a_row = threadIdx.x / BK;
    const int b_k = threadIdx.x / BN, b_column = threadIdx.x % BN;
    const int pixel = first_pixel + b_column, n = pixel / pixels, inside = pixel % pixels;
    const int h = pixel < N * pixels ? inside / phases->columns * step_h + phases->source_h : NOWHERE;
    const int v = inside % phases->columns * step_v + phases->source_v;
    const int of_image = (n * SC + group * (SC / groups)) * SH * SW;

    auto bring = [&](int k, float *to_a, float *to_b) {
        bool has_k = k + a_k < K;
        int weight = has_k ? taps[k + a_k].weight : 0;
#pragma unroll
        for (int i = 0; i < A_LOADS; ++i) {
            int own = a_row + i * (THREADS / BK), row = first_row + own;
            bool valid = has_k && row < M;
            copy4_async(to_a + own * A_PITCH + a_k, w + (valid ? row * row_weights + weight : 0), valid);
        }
#pragma unroll
        for (int i = 0; i < B_LOADS; ++i) {
            int own = b_k + i * (THREADS / BN);
            Tap tap = k + own < K ? taps[k + own] : Tap{0, NOWHERE, 0, 0};
            bool valid = unsigned(h + tap.h) < unsigned(SH) && unsigned(v + tap.v) < unsigned(SW);
            copy4_async(to_b + own * B_PITCH + b_column,
                        source + (valid ? of_image + h * SW + v + tap.away : 0), valid);
        }
    };
    const Place place;
    Sum sum = {};
    sum_over_slices(0, K, bring, place, sum);

#pragma unroll
    for (int j = 0; j < WN / 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            int column = first_pixel + place.column(j, e), image = column / pixels, rest = column % pixels;
            if (column >= N * pixels)
                continue;
            int result_h = phases->first_h + rest / phases->columns * apart_h;
            int result_v = phases->first_v + rest % phases->columns * apart_v;
            real *at = result + (image * RC + group * M) * RH * RW + result_h * RW + result_v;
#pragma unroll
            for (int i = 0; i < WM / 16; ++i)
#pragma unroll
                for (int below = 0; below < 4; below += 2) {
                    int row = first_row + place.row(i, below);
                    if (row < M) {
                        real value = sum[i][j][below + e] + (b ? b[group * M + row] : real(0));
                        value = value < low ? low : value; // not min and max: NaN is to stay NaN
                        at[row * RH * RW] = value > high ? high : value;
                    }
                }
        }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    grad_weight(const real *__restrict__ gy, const real *__restrict__ x, real *__restrict__ parts,
                const Tap *__restrict__ taps, int K, int pixels_of_part, int N, int C, int H, int W, int OC,
                int OH, int OW, int sh, int sw, int ph, int pw, int groups, unsigned by_plane,
                int plane_shift, unsigned by_row, int row_shift) {
    const int M = OC / groups, group = blockIdx.z, row_tiles = (M + BM - 1) / BM, plane = OH * OW;
    const int first_row = blockIdx.x % row_tiles * BM, first_column = blockIdx.x / row_tiles * BN;
    const int begin = blockIdx.y * pixels_of_part, end = min(begin + pixels_of_part, N * plane);
    const int own_k = threadIdx.x % BK, own = threadIdx.x / BK;

    auto bring = [&](int k, float *to_a, float *to_b) {
        int pixel = k + own_k, n = divide(pixel, by_plane, plane_shift), inside = pixel - n * plane;
        int oh = divide(inside, by_row, row_shift), v = (inside - oh * OW) * sw - pw;
        int h = pixel < end ? oh * sh - ph : NOWHERE;
        int of_gy = (n * OC + group * M + first_row + own) * plane + inside;
        int of_image = (n * C + group * (C / groups)) * H * W;
#pragma unroll
        for (int i = 0; i < A_LOADS; ++i) {
            int row = own + i * (THREADS / BK);
            bool valid = pixel < end && first_row + row < M;
            copy4_async(to_a + row * A_PITCH + own_k, gy + (valid ? of_gy + i * (THREADS / BK) * plane : 0),
                        valid);
        }
#pragma unroll
        for (int i = 0; i < B_LOADS; ++i) {
            int column = own + i * (THREADS / BK);
            Tap tap = first_column + column < K ? taps[first_column + column] : Tap{0, NOWHERE, 0, 0};
            bool valid = unsigned(h + tap.h) < unsigned(H) && unsigned(v + tap.v) < unsigned(W);
            copy4_async(to_b + own_k * B_PITCH + column, x + (valid ? of_image + h * W + v + tap.away : 0),
                        valid);
        }
    };
    const Place place;
    Sum sum = {};
    sum_over_slices(begin, end, bring, place, sum);

    real *part = parts + ((long long)blockIdx.y * OC + group * M) * K;
#pragma unroll
    for (int i = 0; i < WM / 16; ++i)
#pragma unroll
        for (int j = 0; j < WN / 8; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                int row = first_row + place.row(i, e), column = first_column + place.column(j, e);
                if (row < M && column < K)
                    part[row * K + column] = sum[i][j][e];
            }
}

#endif
