// Winograd's convolution of 3×3 filters: a quarter of the multiplications (how it works tells
// numba/winograd.py).
//
//     y  = Aᵀ [ Σ_c (G w Gᵀ) ⊙ (Bᵀ x B) ] A     for each tile of M×M outputs, at POINTS×POINTS points
//     gx likewise, of gy and filters turned by half a turn
//     gw = A₃ᵀ [ Σ_tiles (G₃ gy G₃ᵀ) ⊙ (Bᵀ x B) ] A₃     here it is gy's tile that takes the filter's part
//
// The sum is, for each of the 36 points, a product of two matrices, such as filters × channels and channels ×
// tiles: gemm.cu computes all of them in one launch. This file is the way there and back. A CPU transforms as
// many tiles as its cache holds and multiplies them at once; here too, the launcher takes so many tiles at a
// time that the values at the points, more than twice as many as pixels, mostly stay in the GPU's cache.
//
// One thread transforms one tile. Neighbouring threads take neighbouring tiles, whose pixels are in the same
// cache lines, and whose values at a point are neighbours in memory, as the product of matrices reads them.
// The matrices of the algorithm are constants: what they hold of 0, 1 and −1 costs nothing, or an addition.
#include "divide.cuh"
#include "four.cuh"

#define POINTS (M + 2)

// turned = (m x)ᵀ
template <int OUT, int IN, int COLUMNS>
__device__ __forceinline__ void multiply(const real (&m)[OUT][IN], const real (&x)[IN][COLUMNS],
                                         real (&turned)[COLUMNS][OUT]) {
#pragma unroll
    for (int i = 0; i < OUT; ++i)
#pragma unroll
        for (int j = 0; j < COLUMNS; ++j) {
            turned[j][i] = 0;
#pragma unroll
            for (int k = 0; k < IN; ++k)
                if (m[i][k] != 0) // the compiler knows
                    turned[j][i] += m[i][k] * x[k][j];
        }
}

// y = m x mᵀ, which is (m (m x)ᵀ)ᵀ.
template <int OUT, int IN>
__device__ __forceinline__ void sandwich(const real (&m)[OUT][IN], const real (&x)[IN][IN],
                                         real (&y)[OUT][OUT]) {
    real half[IN][OUT];
    multiply(m, x, half);
    multiply(m, half, y);
}

// values[point][row][k] = (G w Gᵀ)[point], of the filter for that row and k, which begins at row · apart_rows
// + k · apart_k; the gradient to the input takes it turned by half a turn.
extern "C" __global__ void __launch_bounds__(THREADS)
    filters(const real *__restrict__ w, real *__restrict__ values, int rows, int K, int apart_rows,
            int apart_k, int turned) {
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

// What the launcher says of tiles: those from `first` on, `count` of them, and place for `pitch`; they are
// numbered through all images, TH×TW of them in each.
#define TILES int first, int count, int pitch, int TH, int TW, Divisor by_TW, Divisor by_TH

// This thread's tile. Beyond the last there are zeros, which sums over tiles are to contain.
struct Tile {
    const int number = blockIdx.x * THREADS + threadIdx.x;
    const InPlane at; // of all tiles, each image's being a plane
    const bool inside;

    __device__ __forceinline__ Tile(TILES)
        : at(first + number, TH, TW, by_TH, by_TW), inside(number < count) {}
};

// values[point][channel][tile] = (m x mᵀ)[point]. The tile begins at (h, v) of a plane of H×W numbers.
template <int SIDE>
__device__ __forceinline__ void at_points(const real (&m)[POINTS][SIDE], const real *x, int plane, int h,
                                          int v, int H, int W, bool inside, real *values, int apart) {
    real pixels[SIDE][SIDE], results[POINTS][POINTS];
    x += plane + h * W + v;
#pragma unroll
    for (int i = 0; i < SIDE; ++i, x += W)
#pragma unroll
        for (int j = 0; j < SIDE; ++j) {
            bool there = inside && unsigned(h + i) < unsigned(H) && unsigned(v + j) < unsigned(W);
            pixels[i][j] = there ? x[j] : real(0);
        }
    sandwich(m, pixels, results);
#pragma unroll
    for (int point = 0; point < POINTS * POINTS; ++point, values += apart)
        *values = results[point / POINTS][point % POINTS];
}

// Of tiles of x: blockIdx.y is the channel.
extern "C" __global__ void __launch_bounds__(THREADS)
    tiles(const real *__restrict__ x, real *__restrict__ values, int C, int H, int W, int top, int left,
          TILES) {
    const Tile tile(first, count, pitch, TH, TW, by_TW, by_TH);
    const real BT[POINTS][POINTS] = OF_TILES;
    const int c = blockIdx.y;
    if (tile.number < pitch)
        at_points(BT, x, (tile.at.plane * C + c) * H * W, tile.at.row * M - top, tile.at.column * M - left, H,
                  W, tile.inside, values + c * pitch + tile.number, C * pitch);
}

// Of tiles of gy: blockIdx.y is the output channel.
extern "C" __global__ void __launch_bounds__(THREADS)
    gradients(const real *__restrict__ gy, real *__restrict__ values, int OC, int OH, int OW, TILES) {
    const Tile tile(first, count, pitch, TH, TW, by_TW, by_TH);
    const real G3[POINTS][M] = OF_GRADIENTS;
    const int oc = blockIdx.y;
    if (tile.number < pitch)
        at_points(G3, gy, (tile.at.plane * OC + oc) * OH * OW, tile.at.row * M, tile.at.column * M, OH, OW,
                  tile.inside, values + oc * pitch + tile.number, OC * pitch);
}

// y = Aᵀ [products] A + b, clipped to low … high, for the same tiles. blockIdx.y is the output channel.
extern "C" __global__ void __launch_bounds__(THREADS)
    outputs(const real *__restrict__ products, const real *__restrict__ b, real *__restrict__ y, int OC,
            int OH, int OW, real low, real high, TILES) {
    const Tile tile(first, count, pitch, TH, TW, by_TW, by_TH);
    if (!tile.inside)
        return;
    const int oc = blockIdx.y, oh = tile.at.row * M, ow = tile.at.column * M;
    const real AT[M][POINTS] = OF_OUTPUTS;
    real results[POINTS][POINTS], pixels[M][M];
    products += oc * pitch + tile.number;
#pragma unroll
    for (int point = 0; point < POINTS * POINTS; ++point, products += OC * pitch)
        results[point / POINTS][point % POINTS] = *products;
    sandwich(AT, results, pixels);
    const real bias = b ? b[oc] : real(0);
    y += ((tile.at.plane * OC + oc) * OH + oh) * OW + ow;
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

// gw = A₃ᵀ [sums] A₃, for each of `filters` filters of one channel; there are sums of several parts of tiles.
extern "C" __global__ void __launch_bounds__(THREADS)
    weights(const real *__restrict__ sums, real *__restrict__ gw, int parts, int filters) {
    const int filter = blockIdx.x * THREADS + threadIdx.x;
    if (filter >= filters)
        return;
    const real A3T[3][POINTS] = OF_WEIGHTS;
    real results[POINTS][POINTS] = {}, taps[3][3];
    sums += filter;
    for (int part = 0; part < parts; ++part)
#pragma unroll
        for (int point = 0; point < POINTS * POINTS; ++point, sums += filters)
            results[point / POINTS][point % POINTS] += *sums;
    sandwich(A3T, results, taps);
#pragma unroll
    for (int tap = 0; tap < 9; ++tap)
        gw[filter * 9 + tap] = taps[tap / 3][tap % 3];
}
