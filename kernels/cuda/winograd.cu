// Winograd's convolution of 3×3 filters: a quarter of the multiplications (see kernels/winograd.py and, for how it
// works, numba/winograd.py).
//
//     y = Aᵀ [ Σ_c (G w Gᵀ) ⊙ (Bᵀ x B) ] A        for each tile of M×M outputs, at POINTS×POINTS points
//
// The sum over channels is, for each of the 36 points, a product of two matrices, filters × channels and channels ×
// tiles: gemm.cu computes all of them in one launch. This file is the way there and back. A CPU transforms as many
// tiles as its cache holds and multiplies them at once; here too, the launcher takes so many tiles at a time that
// the values at the points, more than twice as many as pixels, mostly stay in the GPU's cache.
//
// One thread transforms one tile. Neighbouring threads take neighbouring tiles, whose pixels are in the same cache
// lines, and whose values at a point are neighbours in memory, as the product of matrices reads them. The matrices
// of the algorithm are constants: what they hold of 0, 1 and −1 costs nothing, or an addition.
#include "divide.cuh"
#include "four.cuh"

#define POINTS (M + 2)

// y = m x mᵀ, for an m with OUT rows.
template <int OUT, int IN>
__device__ __forceinline__ void sandwich(const real (&m)[OUT][IN], const real (&x)[IN][IN], real (&y)[OUT][OUT]) {
    real half[OUT][IN];
#pragma unroll
    for (int i = 0; i < OUT; ++i)
#pragma unroll
        for (int j = 0; j < IN; ++j) {
            half[i][j] = 0;
#pragma unroll
            for (int k = 0; k < IN; ++k)
                if (m[i][k] != 0) // the compiler knows
                    half[i][j] += m[i][k] * x[k][j];
        }
#pragma unroll
    for (int i = 0; i < OUT; ++i)
#pragma unroll
        for (int j = 0; j < OUT; ++j) {
            y[i][j] = 0;
#pragma unroll
            for (int k = 0; k < IN; ++k)
                if (m[j][k] != 0)
                    y[i][j] += m[j][k] * half[i][k];
        }
}

// values[point][row][k] = (G w Gᵀ)[point], of the filter for that row and k, which begins at row · apart_rows + k ·
// apart_k; the gradient to the input takes it turned by half a turn.
extern "C" __global__ void __launch_bounds__(THREADS)
    filters(const real *__restrict__ w, real *__restrict__ values, int rows, int K, int apart_rows, int apart_k,
            int turned) {
    const int index = blockIdx.x * THREADS + threadIdx.x, row = index / K, k = index - row * K;
    if (row >= rows)
        return;
    const real G[POINTS][3] = OF_FILTERS;
    real taps[3][3], at_points[POINTS][POINTS];
    w += row * apart_rows + k * apart_k;
#pragma unroll
    for (int i = 0; i < 3; ++i)
#pragma unroll
        for (int j = 0; j < 3; ++j)
            taps[i][j] = w[turned ? 8 - i * 3 - j : i * 3 + j];
    sandwich(G, taps, at_points);
#pragma unroll
    for (int point = 0; point < POINTS * POINTS; ++point)
        values[point * rows * K + index] = at_points[point / POINTS][point % POINTS];
}

// values[point][c][tile] = (Bᵀ x B)[point] for `count` tiles from `first` on, and place for `pitch`. blockIdx.y is the
// channel; tiles are numbered through all images, TH×TW of them in each.
extern "C" __global__ void __launch_bounds__(THREADS)
    tiles(const real *__restrict__ x, real *__restrict__ values, int first, int count, int pitch, int C, int H,
          int W, int TH, int TW, int top, int left, Divisor by_TW, Divisor by_TH) {
    const int tile = blockIdx.x * THREADS + threadIdx.x, c = blockIdx.y;
    if (tile >= count)
        return;
    const int row = divide(first + tile, by_TW), n = divide(row, by_TH);
    const int h = (row - n * TH) * M - top, v = (first + tile - row * TW) * M - left;
    const real BT[POINTS][POINTS] = OF_TILES;
    real pixels[POINTS][POINTS], at_points[POINTS][POINTS];
    x += ((n * C + c) * H + h) * W + v;
#pragma unroll
    for (int i = 0; i < POINTS; ++i, x += W)
#pragma unroll
        for (int j = 0; j < POINTS; ++j) {
            bool inside = unsigned(h + i) < unsigned(H) && unsigned(v + j) < unsigned(W);
            pixels[i][j] = inside ? x[j] : real(0);
        }
    sandwich(BT, pixels, at_points);
    values += c * pitch + tile;
#pragma unroll
    for (int point = 0; point < POINTS * POINTS; ++point, values += C * pitch)
        *values = at_points[point / POINTS][point % POINTS];
}

// y = Aᵀ [products] A + b, clipped to low … high, for the same tiles. blockIdx.y is the output channel.
extern "C" __global__ void __launch_bounds__(THREADS)
    outputs(const real *__restrict__ products, const real *__restrict__ b, real *__restrict__ y, int first, int count,
            int pitch, int OC, int OH, int OW, int TH, int TW, Divisor by_TW, Divisor by_TH, real low, real high) {
    const int tile = blockIdx.x * THREADS + threadIdx.x, oc = blockIdx.y;
    if (tile >= count)
        return;
    const int row = divide(first + tile, by_TW), n = divide(row, by_TH);
    const int oh = (row - n * TH) * M, ow = (first + tile - row * TW) * M;
    const real AT[M][POINTS] = OF_OUTPUTS;
    real at_points[POINTS][POINTS], pixels[M][M];
    products += oc * pitch + tile;
#pragma unroll
    for (int point = 0; point < POINTS * POINTS; ++point, products += OC * pitch)
        at_points[point / POINTS][point % POINTS] = *products;
    sandwich(AT, at_points, pixels);
    const real bias = b ? b[oc] : real(0);
    y += ((n * OC + oc) * OH + oh) * OW + ow;
#pragma unroll
    for (int i = 0; i < M; ++i, y += OW) {
        Four four;
#pragma unroll
        for (int j = 0; j < M; ++j) {
            real value = pixels[i][j] + bias;
            value = value < low ? low : value; // not min and max, which would make a number of NaN
            four.of[j] = value > high ? high : value;
        }
        if (oh + i >= OH)
            break;
        if (OW % 4 == 0) { // then all four are inside, and aligned
            *reinterpret_cast<Four *>(y) = four;
            continue;
        }
#pragma unroll
        for (int j = 0; j < M; ++j)
            if (ow + j < OW)
                y[j] = four.of[j];
    }
}
