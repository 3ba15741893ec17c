// Convolution, third rung: a tile of the result in the registers of each thread.
//
// In conv_shared.cu each multiply-add still needs two numbers from shared memory, which delivers one for four
// multiply-adds that a multiprocessor could do in the same time. Here a thread computes a tile of 8×8
// numbers: 16 fetched serve 64 multiply-adds. While a slice is multiplied the next one is on its way from
// memory to registers, and there are two places for slices in shared memory, so that one barrier for each is
// enough. Results go to memory four neighbours at a time, where these are aligned.
//
// The sum of grad_weight is long and its result small: it is cut into parts, which blocks sum up on their
// own, and which parts.cu adds up, always in the same order.
#include "tables.cuh"
#include "tile.cuh"

// result[n, row, pixel] = b[row] + Σ_k w[row, k] · source[n, pixel's window + k's tap], clipped to low … high.
// S is of the source, R of the result. blockIdx.x is the tile, those of the same pixels side by side, so that
// they run at the same time and fetch them once from memory; blockIdx.y is the phase, blockIdx.z the group.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    gather(const real *__restrict__ source, const real *__restrict__ w, const real *__restrict__ b,
           real *__restrict__ result, const Phase *__restrict__ phases, const Tap *__restrict__ taps,
           const int *__restrict__ weights, const Window *__restrict__ windows, int N, int SC, int s_plane,
           int RC, int RH, int RW, int apart_h, int apart_v, int groups, int row_weights, int group_weights,
           real low, real high) {
    __shared__ __align__(16) real slice_a[2][BK * A_PITCH];
    __shared__ __align__(16) real slice_b[2][BK * B_PITCH];
    phases += blockIdx.y;
    const int M = RC / groups, group = blockIdx.z, row_tiles = (M + BM - 1) / BM;
    const int pixels = phases->rows * phases->columns, K = phases->taps;
    const int first_row = blockIdx.x % row_tiles * BM, first_pixel = blockIdx.x / row_tiles * BN;
    if (first_pixel >= N * pixels)
        return;
    taps += phases->first_tap, weights += phases->first_tap;

    // This thread brings weights of one k, every (THREADS / BK)-th row, and one pixel, every (THREADS /
    // BN)-th k. Beyond the last row and the last pixel they are those of the last: nobody stores the results.
    const int a_k = threadIdx.x % BK, b_k = threadIdx.x / BN;
    int weights_of_row[A_LOADS];
#pragma unroll
    for (int i = 0; i < A_LOADS; ++i) {
        int row = min(first_row + int(threadIdx.x) / BK + i * (THREADS / BK), M - 1);
        weights_of_row[i] = group * group_weights + row * row_weights;
    }
    const int pixel = min(first_pixel + int(threadIdx.x) % BN, N * pixels - 1), inside = pixel % pixels;
    const Window window =
        window_at(windows + phases->first_window, inside / phases->columns, phases->rows,
                  inside % phases->columns, (pixel / pixels * SC + group * (SC / groups)) * s_plane);
    real a_next[A_LOADS], b_next[B_LOADS];

    auto bring = [&](int k) {
        bool has_k = k + a_k < K;
        int weight = weights[k + a_k];
#pragma unroll
        for (int i = 0; i < A_LOADS; ++i)
            a_next[i] = has_k ? w[weights_of_row[i] + weight] : real(0);
#pragma unroll
        for (int i = 0; i < B_LOADS; ++i) {
            const Tap tap = taps[k + b_k + i * (THREADS / BN)];
            b_next[i] = reads(window, tap) ? source[window.at + tap.away] : real(0);
        }
    };
    auto put = [&](int which) {
#pragma unroll
        for (int i = 0; i < A_LOADS; ++i)
            slice_a[which][a_k * A_PITCH + threadIdx.x / BK + i * (THREADS / BK)] = a_next[i];
#pragma unroll
        for (int i = 0; i < B_LOADS; ++i)
            slice_b[which][(b_k + i * (THREADS / BN)) * B_PITCH + threadIdx.x % BN] = b_next[i];
    };
    const Place place;
    real sum[TM][TN] = {};
    sum_over_slices(0, K, bring, put, slice_a, slice_b, place, sum);

    // Where the phase is the whole plane, four neighbours are stored together, if no four are in two images.
    const bool fours = pixels == RH * RW && pixels % 4 == 0;
#pragma unroll
    for (int j = 0; j < TN; j += 4) {
        int at[4];
#pragma unroll
        for (int e = 0; e < 4; ++e) {
            int column = first_pixel + place.column(j + e), image = column / pixels, rest = column % pixels;
            int row_of_pixels = phases->first_h + rest / phases->columns * apart_h;
            int column_of_pixels = phases->first_v + rest % phases->columns * apart_v;
            at[e] = column < N * pixels
                        ? (image * RC + group * M) * RH * RW + row_of_pixels * RW + column_of_pixels
                        : -1;
        }
#pragma unroll
        for (int i = 0; i < TM; ++i) {
            int row = first_row + place.row(i);
            if (row >= M)
                continue;
            real bias = b ? b[group * M + row] : real(0);
            Four values;
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                real value = sum[i][j + e] + bias;
                value = value < low ? low : value; // not min and max, which would make a number of NaN
                values.of[e] = value > high ? high : value;
                if (!fours && at[e] >= 0)
                    result[at[e] + row * RH * RW] = values.of[e];
            }
            if (fours && at[0] >= 0)
                *reinterpret_cast<Four *>(result + at[0] + row * RH * RW) = values;
        }
    }
}

// parts[part, oc, (c, i, j)] = Σ over this part of the pixels of gy[oc, pixel] · x[pixel's window + (c, i, j)'s
// tap]. blockIdx.x is the tile, blockIdx.y the part, blockIdx.z the group. Pixels are numbered through all
// images.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    grad_weight(const real *__restrict__ gy, const real *__restrict__ x, real *__restrict__ parts,
                const Tap *__restrict__ taps, const Window *__restrict__ windows, int K, int pixels_of_part,
                int N, int C, int x_plane, int OC, int OH, int OW, int groups, Divisor by_plane,
                Divisor by_row) {
    __shared__ __align__(16) real slice_a[2][BK * A_PITCH];
    __shared__ __align__(16) real slice_b[2][BK * B_PITCH];
    const int M = OC / groups, group = blockIdx.z, row_tiles = (M + BM - 1) / BM, plane = OH * OW;
    const int first_row = blockIdx.x % row_tiles * BM, first_column = blockIdx.x / row_tiles * BN;
    const int begin = blockIdx.y * pixels_of_part, end = min(begin + pixels_of_part, N * plane);

    // This thread brings one pixel of each slice, for every (THREADS / BK)-th row and column; the last row's and
    // column's again where there are no more.
    const int own_k = threadIdx.x % BK, own = threadIdx.x / BK;
    int channel[A_LOADS];
    Tap tap[B_LOADS];
#pragma unroll
    for (int i = 0; i < A_LOADS; ++i)
        channel[i] = (group * M + min(first_row + own + i * (THREADS / BK), M - 1)) * plane;
#pragma unroll
    for (int i = 0; i < B_LOADS; ++i)
        tap[i] = taps[min(first_column + own + i * (THREADS / BK), K - 1)];
    real a_next[A_LOADS], b_next[B_LOADS];

    auto bring = [&](int k) {
        int pixel = k + own_k, n = divide(pixel, by_plane), inside = pixel - n * plane;
        int oh = divide(inside, by_row), of_gy = n * OC * plane + inside;
        Window window =
            window_at(windows, oh, OH, inside - oh * OW, (n * C + group * (C / groups)) * x_plane);
        bool has_pixel = pixel < end;
        window.has = has_pixel ? window.has : 0;
#pragma unroll
        for (int i = 0; i < A_LOADS; ++i)
            a_next[i] = has_pixel ? gy[channel[i] + of_gy] : real(0);
#pragma unroll
        for (int i = 0; i < B_LOADS; ++i)
            b_next[i] = reads(window, tap[i]) ? x[window.at + tap[i].away] : real(0);
    };
    auto put = [&](int which) {
#pragma unroll
        for (int i = 0; i < A_LOADS; ++i)
            slice_a[which][own_k * A_PITCH + own + i * (THREADS / BK)] = a_next[i];
#pragma unroll
        for (int i = 0; i < B_LOADS; ++i)
            slice_b[which][own_k * B_PITCH + own + i * (THREADS / BK)] = b_next[i];
    };
    const Place place;
    real sum[TM][TN] = {};
    sum_over_slices(begin, end, bring, put, slice_a, slice_b, place, sum);

    real *part = parts + ((long long)blockIdx.y * OC + group * M) * K;
#pragma unroll
    for (int i = 0; i < TM; ++i)
#pragma unroll
        for (int j = 0; j < TN; j += 4) {
            int row = first_row + place.row(i), column = first_column + place.column(j);
            if (row >= M)
                continue;
            if (K % 4 == 0 && column < K) {
                *reinterpret_cast<Four *>(part + row * K + column) = {
                    {sum[i][j], sum[i][j + 1], sum[i][j + 2], sum[i][j + 3]}};
                continue;
            }
#pragma unroll
            for (int e = 0; e < 4; ++e)
                if (column + e < K)
                    part[row * K + column + e] = sum[i][j + e];
        }
}
