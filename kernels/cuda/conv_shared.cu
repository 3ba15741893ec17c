// Convolution, second rung: tiles of shared memory.
//
// In conv_naive.cu neighbouring threads fetch much the same numbers, each for itself: all outputs of a
// channel need the same weights, all channels of a pixel the same pixels. Here the convolution is a product
// of two matrices (tables.cuh), and a block of TILE×TILE threads computes a square of the result. The sum is
// cut into slices; the threads fetch a slice of both matrices together, each one number of either, into
// memory that they share, and then read it from there. So each number comes from memory once for TILE
// products, not once for each. Between fetching and multiplying all must wait for each other, and afterwards
// again.
#include "tables.cuh"

// result[n, row, pixel] = b[row] + Σ_k w[row, k] · source[n, pixel's window + k's tap], clipped to low … high.
// S is of the source, R of the result. blockIdx.x is the tile, blockIdx.y the phase, blockIdx.z the group.
extern "C" __global__ void __launch_bounds__(TILE *TILE)
    gather(const real *__restrict__ source, const real *__restrict__ w, const real *__restrict__ b,
           real *__restrict__ result, const Phase *__restrict__ phases, const Tap *__restrict__ taps,
           const int *__restrict__ weights, const Window *__restrict__ windows, int N, int SC, int s_plane,
           int RC, int RH, int RW, int apart_h, int apart_v, int groups, int row_weights, int group_weights,
           real low, real high) {
    __shared__ real of_w[TILE][TILE + 1]; // one more, so that a column lies in different banks
    __shared__ real of_source[TILE][TILE + 1];
    const Phase phase = phases[blockIdx.y];
    const int M = RC / groups, group = blockIdx.z, row_tiles = (M + TILE - 1) / TILE;
    const int pixels = phase.rows * phase.columns, K = phase.taps;
    const int own_row = threadIdx.x / TILE, own_column = threadIdx.x % TILE;
    const int row = blockIdx.x % row_tiles * TILE + own_row;
    const int pixel = blockIdx.x / row_tiles * TILE + own_column;
    if (blockIdx.x / row_tiles * TILE >= N * pixels)
        return;
    taps += phase.first_tap, weights += phase.first_tap;
    const int n = pixel / pixels, inside = pixel % pixels;
    const int pixel_row = inside / phase.columns, pixel_column = inside % phase.columns;
    const Window window = window_at(windows + phase.first_window, pixel_row, phase.rows, pixel_column,
                                    (n * SC + group * (SC / groups)) * s_plane);

    real sum = 0;
    for (int first = 0; first < K; first += TILE) {
        int k = first + own_column; // of the first matrix this thread brings number (row, k),
        of_w[own_row][own_column] =
            row < M && k < K ? w[group * group_weights + row * row_weights + weights[k]] : real(0);
        const Tap tap = taps[first + own_row]; // of the second one (k, pixel)
        bool there = pixel < N * pixels && reads(window, tap);
        of_source[own_row][own_column] = there ? source[window.at + tap.away] : real(0);
        __syncthreads();
        for (int i = 0; i < TILE; ++i)
            sum += of_w[own_row][i] * of_source[i][own_column];
        __syncthreads();
    }
    if (row < M && pixel < N * pixels) {
        real value = sum + (b ? b[group * M + row] : real(0));
        value = value < low ? low : value; // not min and max, which would make a number of NaN
        int result_h = phase.first_h + pixel_row * apart_h, result_v = phase.first_v + pixel_column * apart_v;
        result[((n * RC + group * M + row) * RH + result_h) * RW + result_v] = value > high ? high : value;
    }
}

// parts[part, oc, (c, i, j)] = Σ over this part of the pixels of gy[oc, pixel] · x[pixel's window + (c, i, j)'s
// tap]. blockIdx.x is the tile, blockIdx.y the part, blockIdx.z the group. Pixels are numbered through all
// images.
extern "C" __global__ void __launch_bounds__(TILE *TILE)
    grad_weight(const real *__restrict__ gy, const real *__restrict__ x, real *__restrict__ parts,
                const Tap *__restrict__ taps, const Window *__restrict__ windows, int K, int pixels_of_part,
                int N, int C, int x_plane, int OC, int OH, int OW, int groups, Divisor by_plane,
                Divisor by_row) {
    __shared__ real of_gy[TILE][TILE + 1];
    __shared__ real of_x[TILE][TILE + 1];
    const int M = OC / groups, group = blockIdx.z, row_tiles = (M + TILE - 1) / TILE, plane = OH * OW;
    const int own_row = threadIdx.x / TILE, own_k = threadIdx.x % TILE;
    const int row = blockIdx.x % row_tiles * TILE + own_row, column = blockIdx.x / row_tiles * TILE + own_row;
    const int begin = blockIdx.y * pixels_of_part, end = min(begin + pixels_of_part, N * plane);
    const Tap tap = taps[min(column, K - 1)];

    real sum = 0;
    for (int first = begin; first < end; first += TILE) {
        int pixel = first + own_k, n = divide(pixel, by_plane), inside = pixel - n * plane;
        int oh = divide(inside, by_row), ow = inside - oh * OW;
        bool has_row = pixel < end && row < M;
        of_gy[own_row][own_k] = has_row ? gy[(n * OC + group * M + row) * plane + inside] : real(0);
        const Window window = window_at(windows, oh, OH, ow, (n * C + group * (C / groups)) * x_plane);
        bool there = pixel < end && reads(window, tap);
        of_x[own_row][own_k] = there ? x[window.at + tap.away] : real(0);
        __syncthreads();
        for (int i = 0; i < TILE; ++i)
            sum += of_gy[own_row][i] * of_x[own_k][i];
        __syncthreads();
    }
    int result_column = blockIdx.x / row_tiles * TILE + own_k;
    if (row < M && result_column < K)
        parts[(blockIdx.y * OC + group * M + row) * K + result_column] = sum;
}
