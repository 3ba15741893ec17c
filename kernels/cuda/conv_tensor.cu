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

// Pixels that taps look at.
struct Pixel {
    int h, v, at; // the place of tap (0, 0), and of row 0, column 0 in the array
};
__device__ __forceinline__ From number_at(const float *x, int H, int W, Pixel pixel, const Tap &tap) {
    bool valid = unsigned(pixel.h + tap.h) < unsigned(H) && unsigned(pixel.v + tap.v) < unsigned(W);
    return {x + (valid ? pixel.at + pixel.h * W + pixel.v + tap.away : 0), valid};
}

struct Weights { // the rows of gather's product
    typedef int Line;
    typedef int K;
    const float *w;
    const Tap *taps;
    int first, rows, row_weights, count;

    __device__ __forceinline__ int of_line(int line) const {
        return first + line < rows ? (first + line) * row_weights : -1;
    }
    __device__ __forceinline__ int of_k(int k) const { return k < count ? taps[k].weight : -1; }
    __device__ __forceinline__ From number(int line, int k) const { return number_at(w, line, k); }
};

struct Pixels { // its columns
    typedef Pixel Line;
    typedef Tap K;
    const float *x;
    const Tap *taps;
    const Phase &phase;
    int first, count, N, C, H, W, group_offset, step_h, step_v;

    __device__ __forceinline__ Pixel of_line(int line) const {
        int pixel = first + line, pixels = phase.rows * phase.columns;
        int n = pixel / pixels, inside = pixel % pixels, row = inside / phase.columns;
        int h = n < N ? row * step_h + phase.source_h : NOWHERE;
        return {h, (inside - row * phase.columns) * step_v + phase.source_v, n * C * H * W + group_offset};
    }
    __device__ __forceinline__ Tap of_k(int k) const { return k < count ? taps[k] : Tap{0, NOWHERE, 0, 0}; }
    __device__ __forceinline__ From number(Pixel pixel, const Tap &tap) const {
        return number_at(x, H, W, pixel, tap);
    }
};

// As in conv_tiled.cu, `real` being float. Where the source is a gradient in float16, `largest` tells its scale.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    gather(const real *__restrict__ source, const real *__restrict__ w, const real *__restrict__ b,
           real *__restrict__ result, const Phase *__restrict__ phases, const Tap *__restrict__ taps, int N,
           int SC, int SH, int SW, int step_h, int step_v, int RC, int RH, int RW, int apart_h, int apart_v,
           int groups, int row_weights, int group_weights, real low, real high,
           const unsigned *__restrict__ largest) {
    phases += blockIdx.y;
    const int M = RC / groups, group = blockIdx.z, row_tiles = (M + BM - 1) / BM, K = phases->taps;
    const int first_row = blockIdx.x % row_tiles * BM, first_pixel = blockIdx.x / row_tiles * BN;
    if (first_pixel >= N * phases->rows * phases->columns)
        return;
    taps += phases->first_tap;
    const Weights rows_of_w = {w + group * group_weights, taps, first_row, M, row_weights, K};
    const Pixels columns_of_x = {
        source, taps, *phases, first_pixel, K, N, SC, SH, SW, group * (SC / groups) * SH * SW, step_h, step_v};
    const Place place;
    const Scale scale = scale_for(largest);
    Sum sum = {};
    sum_over_slices<true, false>(0, K, Operand<BM, true, A_WIDE, Weights>(rows_of_w),
                                 Operand<BN, false, B_WIDE, Pixels>(columns_of_x, scale.up), place, sum);

    // Where the phase is the whole plane, neighbours are stored together, if no pair is in two images.
    const int pixels = phases->rows * phases->columns, columns = N * pixels;
    const bool pairs = pixels == RH * RW && pixels % 2 == 0;
#pragma unroll
    for (int j = 0; j < WN / 8; ++j) {
        int at[2] = {-1, -1};
#pragma unroll
        for (int e = 0; e < 2; ++e) {
            int column = first_pixel + place.column(j) + e, image = column / pixels, rest = column % pixels;
            int h = phases->first_h + rest / phases->columns * apart_h;
            int v = phases->first_v + rest % phases->columns * apart_v;
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
    int end, plane, OW;
    unsigned by_plane, by_row;
    int plane_shift, row_shift;
};

struct Gradients { // the rows of grad_weight's product: gy
    typedef int Line;
    typedef int K;
    const float *gy;
    Planes planes;
    int first, rows, OC;

    __device__ __forceinline__ int of_line(int line) const {
        return first + line < rows ? (first + line) * planes.plane : -1;
    }
    __device__ __forceinline__ int of_k(int pixel) const {
        int n = divide(pixel, planes.by_plane, planes.plane_shift);
        return pixel < planes.end ? n * (OC - 1) * planes.plane + pixel : -1;
    }
    __device__ __forceinline__ From number(int line, int k) const { return number_at(gy, line, k); }
};

struct Image { // its columns: x
    typedef Tap Line;
    typedef Pixel K;
    const float *x;
    const Tap *taps;
    Planes planes;
    int first, count, C, H, W, sh, sw, ph, pw;

    __device__ __forceinline__ Tap of_line(int line) const {
        return first + line < count ? taps[first + line] : Tap{0, NOWHERE, 0, 0};
    }
    __device__ __forceinline__ Pixel of_k(int pixel) const {
        int n = divide(pixel, planes.by_plane, planes.plane_shift), inside = pixel - n * planes.plane;
        int oh = divide(inside, planes.by_row, planes.row_shift);
        int h = pixel < planes.end ? oh * sh - ph : NOWHERE;
        return {h, (inside - oh * planes.OW) * sw - pw, n * C * H * W};
    }
    __device__ __forceinline__ From number(const Tap &tap, Pixel pixel) const {
        return number_at(x, H, W, pixel, tap);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    grad_weight(const real *__restrict__ gy, const real *__restrict__ x, real *__restrict__ parts,
                const Tap *__restrict__ taps, int K, int pixels_of_part, int N, int C, int H, int W, int OC,
                int OH, int OW, int sh, int sw, int ph, int pw, int groups, unsigned by_plane,
                int plane_shift, unsigned by_row, int row_shift, const unsigned *__restrict__ largest) {
    const int M = OC / groups, group = blockIdx.z, row_tiles = (M + BM - 1) / BM, plane = OH * OW;
    const int first_row = blockIdx.x % row_tiles * BM, first_column = blockIdx.x / row_tiles * BN;
    const int begin = blockIdx.y * pixels_of_part, end = min(begin + pixels_of_part, N * plane);
    const Planes planes = {end, plane, OW, by_plane, by_row, plane_shift, row_shift};
    const Gradients rows_of_gy = {gy + group * M * plane, planes, first_row, M, OC};
    const Image columns_of_x = {
        x + group * (C / groups) * H * W, taps, planes, first_column, K, C, H, W, sh, sw, ph, pw};
    const Place place;
    const Scale scale = scale_for(largest);
    Sum sum = {};
    sum_over_slices<true, true>(begin, end, Operand<BM, true, A_WIDE, Gradients>(rows_of_gy, scale.up),
                                Operand<BN, true, B_WIDE, Image>(columns_of_x), place, sum);

    store(parts + ((long long)blockIdx.y * OC + group * M) * K, M, K, first_row, first_column, nullptr, place,
          sum, scale.down);
}

#endif
