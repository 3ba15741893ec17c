// Convolution, fourth rung: tensor cores.
//
// One instruction of a warp (mma, see ptx.cuh) multiplies 16×8 by 8×8 numbers, or if they have 16 bits 16×16 by
// 16×8, many times faster than its lanes could. The price is accuracy: the factors are rounded, to TF32 or
// float16, 10 bits of fraction in place of 23, or to bfloat16, 7 bits, while the products are exact and the sums
// float32. So this rung runs only where somebody said that it may (mc.use(precision=…)). GPUs know float16 from
// sm_75 on, the other two from sm_80.
//
// The product of matrices is that of conv_tiled.cu, with the fragments of the instruction in place of the
// threads' tiles. What multiplies so fast must be fed: tensor.cuh says how, and this file only where the
// numbers are. Weights, and pixels in grad_weight, are neighbours along k; in `gather`, pixels are neighbouring
// columns. With A_WIDE or B_WIDE four of them come at once: weights whose number for each output is a multiple
// of four, and planes of a multiple of four pixels, which a 1×1 filter that moves by single pixels reads as
// they lie.
#include "tables.cuh"

#if __CUDA_ARCH__ >= (FP16 ? 750 : 800) // before, this file has no kernels
#include "tensor.cuh"

// The number that a tap reads in a window.
__device__ __forceinline__ From number_at(const float *x, Window window, Tap tap) {
    return {x + (window.at + tap.away), reads(window, tap)};
}

// The rows and columns of the products: beyond the last they are the last again, as nobody stores the results.

struct Weights { // the rows of gather's product
    typedef int Line;
    typedef Step K;
    const float *w;
    const int *weights;
    int first, rows, row_weights, group, count;

    __device__ __forceinline__ int of_line(int line) const {
        return group + min(first + line, rows - 1) * row_weights;
    }
    __device__ __forceinline__ Step of_k(int k) const { return {A_WIDE ? k : weights[k], k < count}; }
    __device__ __forceinline__ From number(int line, Step k) const { return number_at(w, line, k); }
};

struct Pixels { // its columns
    typedef Window Line;
    typedef Tap K;
    const float *x;
    const Tap *taps;
    const Window *windows;
    Phase phase;
    int first, N, image, group;

    __device__ __forceinline__ Window of_line(int line) const {
        int pixels = phase.rows * phase.columns, pixel = first + line, n = pixel / pixels;
        int inside = pixel % pixels, row = inside / phase.columns, column = inside - row * phase.columns;
        Window window = window_at(windows, row, phase.rows, column, n * image + group);
        return {window.at, n < N ? window.has : 0};
    }
    __device__ __forceinline__ Tap of_k(int k) const { return taps[k]; }
    __device__ __forceinline__ From number(Window window, Tap tap) const { return number_at(x, window, tap); }
};

// As in conv_tiled.cu, `real` being float. Where the source is a gradient in float16, `largest` tells its scale.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    gather(const real *__restrict__ source, const real *__restrict__ w, const real *__restrict__ b,
           real *__restrict__ result, const Phase *__restrict__ phases, const Tap *__restrict__ taps,
           const int *__restrict__ weights, const Window *__restrict__ windows, int N, int SC, int s_plane,
           int RC, int RH, int RW, int apart_h, int apart_v, int groups, int row_weights, int group_weights,
           real low, real high, const unsigned *__restrict__ largest) {
    const Phase phase = phases[blockIdx.y];
    const int M = RC / groups, group = blockIdx.z, row_tiles = (M + BM - 1) / BM;
    const int pixels = phase.rows * phase.columns, columns = N * pixels, K = phase.taps;
    const int first_row = blockIdx.x % row_tiles * BM, first_pixel = blockIdx.x / row_tiles * BN;
    if (first_pixel >= columns)
        return;
    taps += phase.first_tap, weights += phase.first_tap, windows += phase.first_window;
    const Weights rows_of_w = {w, weights, first_row, M, row_weights, group * group_weights, K};
    const Pixels columns_of_x = {source,      taps, windows,      phase,
                                 first_pixel, N,    SC * s_plane, group * (SC / groups) * s_plane};
    const Place place;
    const Scale scale = scale_for(largest);
    Sum sum = {};
    sum_over_slices<true, false>(0, K, Operand<BM, true, A_WIDE, Weights>(rows_of_w),
                                 Operand<BN, false, B_WIDE, Pixels>(columns_of_x, scale.up), place, sum);

    // Where the phase is the whole plane, neighbours are stored together, if no pair is in two images.
    const bool pairs = pixels == RH * RW && pixels % 2 == 0;
#pragma unroll
    for (int j = 0; j < WN / 8; ++j) {
        int at[2] = {-1, -1};
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            int column = first_pixel + place.column(j) + e, image = column / pixels, rest = column % pixels;
            int h = phase.first_h + rest / phase.columns * apart_h;
            int v = phase.first_v + rest % phase.columns * apart_v;
            if (column < columns)
                at[e] = (image * RC + group * M) * RH * RW + h * RW + v;
        }
#pragma unroll
        for (int i = 0; i < WM / 16; ++i)
#pragma unroll
            for (int below = 0; below < 2; ++below) {
                int row = first_row + place.row(i, below);
                if (row >= M)
                    continue;
                real bias = b ? b[group * M + row] : real(0), value[2];
#pragma unroll
                for (int e = 0; e < 2; ++e) {
                    value[e] = sum[i][j][below][e] * scale.down + bias;
                    value[e] = value[e] < low ? low : value[e]; // not min and max: NaN is to stay NaN
                    value[e] = value[e] > high ? high : value[e];
                    if (!pairs && at[e] >= 0)
                        result[at[e] + row * RH * RW] = value[e];
                }
                if (pairs && at[0] >= 0)
                    *reinterpret_cast<float2 *>(result + at[0] + row * RH * RW) =
                        make_float2(value[0], value[1]);
            }
    }
}

// How pixels are found from their number in all images.
struct Planes {
    int end, plane, OH, OW;
    Divisor by_plane, by_row;

    __device__ __forceinline__ int image(int pixel) const { return divide(pixel, by_plane); }
};

struct Gradients { // the rows of grad_weight's product: gy
    typedef int Line;
    typedef Step K;
    const float *gy;
    Planes planes;
    int first, rows, group, OC;

    __device__ __forceinline__ int of_line(int line) const {
        return (group + min(first + line, rows - 1)) * planes.plane;
    }
    __device__ __forceinline__ Step of_k(int pixel) const {
        return {planes.image(pixel) * (OC - 1) * planes.plane + pixel, pixel < planes.end};
    }
    __device__ __forceinline__ From number(int line, Step k) const { return number_at(gy, line, k); }
};

struct Image { // its columns: x
    typedef Tap Line;
    typedef Window K;
    const float *x;
    const Tap *taps;
    const Window *windows;
    Planes planes;
    int first, count, image, group;

    __device__ __forceinline__ Tap of_line(int line) const { return taps[min(first + line, count - 1)]; }
    __device__ __forceinline__ Window of_k(int pixel) const {
        int n = planes.image(pixel), inside = pixel - n * planes.plane;
        int oh = divide(inside, planes.by_row), ow = inside - oh * planes.OW;
        Window window = window_at(windows, oh, planes.OH, ow, n * image + group);
        return {window.at, pixel < planes.end ? window.has : 0};
    }
    __device__ __forceinline__ From number(Tap tap, Window window) const { return number_at(x, window, tap); }
};

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    grad_weight(const real *__restrict__ gy, const real *__restrict__ x, real *__restrict__ parts,
                const Tap *__restrict__ taps, const Window *__restrict__ windows, int K, int pixels_of_part,
                int N, int C, int x_plane, int OC, int OH, int OW, int groups, Divisor by_plane,
                Divisor by_row, const unsigned *__restrict__ largest) {
    const int M = OC / groups, group = blockIdx.z, row_tiles = (M + BM - 1) / BM, plane = OH * OW;
    const int first_row = blockIdx.x % row_tiles * BM, first_column = blockIdx.x / row_tiles * BN;
    const int begin = blockIdx.y * pixels_of_part, end = min(begin + pixels_of_part, N * plane);
    const Planes planes = {end, plane, OH, OW, by_plane, by_row};
    const Gradients rows_of_gy = {gy, planes, first_row, M, group * M, OC};
    const Image columns_of_x = {
        x, taps, windows, planes, first_column, K, C * x_plane, group * (C / groups) * x_plane};
    const Place place;
    const Scale scale = scale_for(largest);
    Sum sum = {};
    sum_over_slices<true, true>(begin, end, Operand<BM, true, A_WIDE, Gradients>(rows_of_gy, scale.up),
                                Operand<BN, true, B_WIDE, Image>(columns_of_x), place, sum);

    store(parts + ((long long)blockIdx.y * OC + group * M) * K, M, K, first_row, first_column, nullptr, place,
          sum, scale.down);
}

#endif
