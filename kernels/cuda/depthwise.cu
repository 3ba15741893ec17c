// Depthwise convolution: each output channel sees one input channel, by a filter of K×K with stride S.
//
// There are K² multiplications for a number read and a number written, too few to keep a GPU busy: all that
// counts is to read and write each number once. Products of matrices are no help, since their tiles would be
// nearly empty. A thread computes ROWS outputs below each other. It goes down the rows of the source under
// them, and uses the K numbers that it reads of each row for all outputs whose windows the row is in: with
// 3×3, 18 numbers serve four outputs. Neighbouring threads read neighbouring columns, which a row's cache
// lines hold together, so that of these reads most are from the cache next to the processor. K and S are
// constants: all loops are unrolled, and the sums stay in registers.

#include "divide.cuh"

#define WINDOW ((ROWS - 1) * S + K) // rows of the source under ROWS outputs

// blockIdx.x and threadIdx.x number the columns of all strips of all planes of y. C channels have OC filters.
extern "C" __global__ void __launch_bounds__(THREADS)
    forward(const real *__restrict__ x, const real *__restrict__ w, const real *__restrict__ b,
            real *__restrict__ y, int planes, int OC, int H, int W, int OH, int OW, int ph, int pw, real low,
            real high, Divisor by_OW, Divisor by_strips, Divisor by_OC, Divisor by_multiplier) {
    const InPlane at(blockIdx.x * THREADS + threadIdx.x, (OH + ROWS - 1) / ROWS, OW, by_strips, by_OW);
    if (at.plane >= planes)
        return;
    const int oh = at.row * ROWS, oc = at.plane - divide(at.plane, by_OC) * OC;
    const int first_h = oh * S - ph, first_v = at.column * S - pw;
    x += (divide(at.plane, by_multiplier) * H + first_h) * W + first_v;
    y += (at.plane * OH + oh) * OW + at.column;
    w += oc * K * K;
    real sum[ROWS];
#pragma unroll
    for (int o = 0; o < ROWS; ++o)
        sum[o] = b ? b[oc] : real(0);
#pragma unroll
    for (int r = 0; r < WINDOW; ++r, x += W) {
        real line[K];
#pragma unroll
        for (int j = 0; j < K; ++j) {
            bool inside = unsigned(first_h + r) < unsigned(H) && unsigned(first_v + j) < unsigned(W);
            line[j] = inside ? x[j] : real(0);
        }
#pragma unroll
        for (int o = 0; o < ROWS; ++o) {
            int i = r - o * S;
#pragma unroll
            for (int j = 0; j < K; ++j)
                if (i >= 0 && i < K)
                    sum[o] += line[j] * w[i * K + j];
        }
    }
#pragma unroll
    for (int o = 0; o < ROWS; ++o, y += OW) {
        real value = sum[o] < low ? low : sum[o]; // not min and max, which would make a number of NaN
        if (oh + o < OH)
            *y = value > high ? high : value;
    }
}

// With a stride, a pixel of gx meets only every S-th tap of a filter. The pixels whose padded rows and
// columns are S·q … S·q + S − 1 are a cell: its pixel r meets the taps i = r + S·t of output q − t. A thread
// computes ROWS cells below each other; which pixel meets which tap is known to the compiler, and no product
// with zero is left.
#define TAPS ((K + S - 1) / S) // outputs that a cell meets, along one axis

extern "C" __global__ void __launch_bounds__(THREADS)
    grad_input(const real *__restrict__ gy, const real *__restrict__ w, real *__restrict__ gx, int planes,
               int C, int multiplier, int H, int W, int OH, int OW, int ph, int pw, int cells_h, int cells_v,
               Divisor by_cells, Divisor by_strips, Divisor by_C) {
    const int strips = (cells_h + ROWS - 1) / ROWS;
    const InPlane at(blockIdx.x * THREADS + threadIdx.x, strips, cells_v, by_strips, by_cells);
    if (at.plane >= planes)
        return;
    const int c = at.plane - divide(at.plane, by_C) * C;
    const int q_h = ph / S + at.row * ROWS, q_v = pw / S + at.column;
    const int first_h = q_h - (TAPS - 1), first_v = q_v - (TAPS - 1);
    gy += (at.plane * multiplier * OH + first_h) * OW + first_v;
    w += c * multiplier * K * K;
    real sum[ROWS][S][S] = {};
    for (int m = 0; m < multiplier; ++m, gy += (OH - (ROWS + TAPS - 1)) * OW, w += K * K) {
#pragma unroll
        for (int r = 0; r < ROWS + TAPS - 1; ++r, gy += OW) {
            real line[TAPS];
#pragma unroll
            for (int t = 0; t < TAPS; ++t) {
                bool inside = unsigned(first_h + r) < unsigned(OH) && unsigned(q_v - t) < unsigned(OW);
                line[t] = inside ? gy[TAPS - 1 - t] : real(0);
            }
#pragma unroll
            for (int o = 0; o < ROWS; ++o)
#pragma unroll
                for (int rest = 0; rest < S; ++rest) {
                    int t_h = o + TAPS - 1 - r, i = rest + S * t_h;
#pragma unroll
                    for (int j = 0; j < K; ++j)
                        if (t_h >= 0 && t_h < TAPS && i < K)
                            sum[o][rest][j % S] += line[j / S] * w[i * K + j];
                }
        }
    }
    const int h = q_h * S - ph, v = q_v * S - pw; // the first pixel of the first cell
    gx += (at.plane * H + h) * W + v;
#pragma unroll
    for (int row = 0; row < ROWS * S; ++row, gx += W)
#pragma unroll
        for (int j = 0; j < S; ++j)
            if (unsigned(h + row) < unsigned(H) && unsigned(v + j) < unsigned(W))
                gx[j] = sum[row / S][row % S][j];
}

// parts[part, oc, i, j]: blockIdx.x is oc, blockIdx.y the part of all strips of all images that a block sums
// up. Each thread sums up K² products for strips of its own; then the lanes of a warp add theirs, then the
// warps.
extern "C" __global__ void __launch_bounds__(THREADS)
    grad_weight(const real *__restrict__ gy, const real *__restrict__ x, real *__restrict__ parts,
                int of_part, int N, int OC, int C, int multiplier, int H, int W, int OH, int OW, int ph,
                int pw, Divisor by_OW, Divisor by_strips) {
    __shared__ real of_warps[THREADS / 32][K * K];
    const int oc = blockIdx.x, c = oc / multiplier, strips = (OH + ROWS - 1) / ROWS;
    const int end = min(int(blockIdx.y + 1) * of_part, N * strips * OW);
    real sum[K * K] = {};
    for (int index = blockIdx.y * of_part + threadIdx.x; index < end; index += THREADS) {
        const InPlane at(index, strips, OW, by_strips, by_OW);
        const int n = at.plane, oh = at.row * ROWS, first_h = oh * S - ph, first_v = at.column * S - pw;
        const real *of_gy = gy + ((n * OC + oc) * OH + oh) * OW + at.column;
        const real *of_x = x + ((n * C + c) * H + first_h) * W + first_v;
        real g[ROWS];
#pragma unroll
        for (int o = 0; o < ROWS; ++o)
            g[o] = oh + o < OH ? of_gy[o * OW] : real(0);
#pragma unroll
        for (int r = 0; r < WINDOW; ++r, of_x += W)
#pragma unroll
            for (int j = 0; j < K; ++j) {
                bool inside = unsigned(first_h + r) < unsigned(H) && unsigned(first_v + j) < unsigned(W);
                real value = inside ? of_x[j] : real(0);
#pragma unroll
                for (int o = 0; o < ROWS; ++o)
                    if (r - o * S >= 0 && r - o * S < K)
                        sum[(r - o * S) * K + j] += g[o] * value;
            }
    }
#pragma unroll
    for (int tap = 0; tap < K * K; ++tap) {
        for (int apart = 16; apart; apart /= 2)
            sum[tap] += __shfl_down_sync(0xffffffff, sum[tap], apart);
        if (threadIdx.x % 32 == 0)
            of_warps[threadIdx.x / 32][tap] = sum[tap];
    }
    __syncthreads();
    if (threadIdx.x < K * K) {
        real total = 0;
        for (int warp = 0; warp < THREADS / 32; ++warp)
            total += of_warps[warp][threadIdx.x];
        parts[(blockIdx.y * OC + oc) * K * K + threadIdx.x] = total;
    }
}
