// Average pooling: the mean of each window, or of each of the bins that divide an image evenly.
//
//     y[n, c, oh, ow] = Σ over the window's pixels / divisor[oh, ow]
//     gx: each pixel receives gy / divisor from every window that it is in
//     bin oh of OH: rows ⌊oh·H/OH⌋ up to ⌈(oh + 1)·H/OH⌉, and columns likewise; divided by its pixels
//
// Forward: LANES threads share the work for one window. With LANES = 1 neighbouring threads have neighbouring
// windows, and read pixels near to each other. Where windows are large and lie side by side, as when a whole
// image is averaged, their reads would be far apart, each for a few bytes out of the 32 that memory hands
// over at a time: with LANES = 32 a warp runs along the pixels of one window, which are side by side, and
// then adds up its lanes' sums, always in the same order.
//
// Backward: one thread for each pixel gathers from the windows that hold it, so that no two threads write
// to one place. As there is one addition for each number read, what bounds all of this is memory.
#include "grid.cuh"
#include "windows.cuh"

// The sum over the threads of a window, in the first of them. All threads of a warp are here.
__device__ __forceinline__ real together(real sum) {
#pragma unroll
    for (int apart = LANES / 2; apart; apart /= 2)
        sum += __shfl_down_sync(0xffffffff, sum, apart);
    return sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    forward(const real *__restrict__ x, const real *__restrict__ divisor, real *__restrict__ y, GEOMETRY) {
    TAKE_WHAT_IS_KNOWN;
    EACH(index, planes * OH * OW * LANES) {
        const unsigned window = index / LANES;
        const InPlane at(window, OH, OW, by_rows, by_columns);
        const int top = at.row * sh - ph, left = at.column * sw - pw;
        const real *image = x + at.plane * (H * W);
        real sum = 0;
#pragma unroll(K ? K * K : 1)
        for (int tap = index % LANES; tap < KH * KW; tap += LANES) {
            const int h = top + tap / KW * dh, v = left + tap % KW * dw;
            if (unsigned(h) < unsigned(H) && unsigned(v) < unsigned(W))
                sum += image[h * W + v];
        }
        sum = together(sum);
        if (index % LANES == 0)
            y[window] = sum / divisor[at.row * OW + at.column];
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    backward(const real *__restrict__ gy, const real *__restrict__ divisor, real *__restrict__ gx, GEOMETRY) {
    TAKE_WHAT_IS_KNOWN;
    const int before_h = windows_before(KH, sh, dh), before_v = windows_before(KW, sw, dw);
    EACH(index, planes * H * W) {
        const InPlane at(index, H, W, by_rows, by_columns);
        const int h = at.row + ph, v = at.column + pw;
        const real *g = gy + at.plane * (OH * OW);
        real sum = 0;
#pragma unroll(K ? K * K : 1)
        for (int r = 0; r <= before_h; ++r) {
            const int oh = h / sh - r;
#pragma unroll(K ? K * K : 1)
            for (int c = 0; c <= before_v; ++c) {
                const int ow = v / sw - c;
                if (tap_of(h, oh, OH, KH, sh, dh) >= 0 && tap_of(v, ow, OW, KW, sw, dw) >= 0)
                    sum += g[oh * OW + ow] / divisor[oh * OW + ow];
            }
        }
        gx[index] = sum;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adaptive_forward(const real *__restrict__ x, real *__restrict__ y, BINS) {
    EACH(index, planes * OH * OW * LANES) {
        const unsigned bin = index / LANES;
        const InPlane at(bin, OH, OW, by_rows, by_columns);
        const int top = begin_of(at.row, OH, H), left = begin_of(at.column, OW, W);
        const int height = end_of(at.row, OH, H) - top, width = end_of(at.column, OW, W) - left;
        const real *corner = x + at.plane * (H * W) + top * W + left;
        real sum = 0;
        for (int pixel = index % LANES; pixel < height * width; pixel += LANES)
            sum += corner[pixel / width * W + pixel % width];
        sum = together(sum);
        if (index % LANES == 0)
            y[bin] = sum / real(height * width);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adaptive_backward(const real *__restrict__ gy, real *__restrict__ gx, BINS) {
    EACH(index, planes * H * W) {
        const InPlane at(index, H, W, by_rows, by_columns);
        const int h = at.row, v = at.column;
        const real *g = gy + at.plane * (OH * OW);
        real sum = 0;
        for (int oh = first_bin(h, OH, H); oh <= last_bin(h, OH, H); ++oh) {
            const int height = end_of(oh, OH, H) - begin_of(oh, OH, H);
            for (int ow = first_bin(v, OW, W); ow <= last_bin(v, OW, W); ++ow) {
                const int width = end_of(ow, OW, W) - begin_of(ow, OW, W);
                sum += g[oh * OW + ow] / real(height * width);
            }
        }
        gx[index] = sum;
    }
}
