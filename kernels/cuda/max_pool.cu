// Max pooling: the largest number of each window, and which tap of the window it was.
//
//     y[n, c, oh, ow] = max_ij x[n, c, oh·sh + i·dh − ph, ow·sw + j·dw − pw]
//     gx: each window's gy goes to the pixel that won
//
// Forward has one thread for each window, backward one for each pixel. A pixel looks which of the windows
// that hold it were won by it, and adds up their gradients in an order that is always the same. The other way
// round, from windows to pixels, two windows would add to one place at the same time wherever they overlap.
//
// There is one comparison for each number read: what bounds both is how fast memory brings x, or gy and
// winner, and takes the results. Windows that overlap share pixels, and pixels side by side share windows:
// each comes from memory once and then from a cache. `place`, the type of winner, is a byte where that
// can count the taps. Next in weight is what it takes to find out which numbers these are: hence the kernels
// for windows and strides that are common (K and S).
#include "grid.cuh"
#include "windows.cuh"

// Padding never wins. Of equal pixels the first in reading order wins, and NaN, alone unequal to itself,
// wins and stays. A window with no pixel at all (a dilated one, in ceil mode) is `lowest`, which is −∞.
extern "C" __global__ void __launch_bounds__(THREADS)
    forward(const real *__restrict__ x, real *__restrict__ y, place *__restrict__ winner, real lowest,
            GEOMETRY) {
    TAKE_WHAT_IS_KNOWN;
    EACH(index, planes * OH * OW) {
        const InPlane at(index, OH, OW, by_rows, by_columns);
        const int top = at.row * sh - ph, left = at.column * sw - pw;
        const real *image = x + at.plane * (H * W);
        real largest = lowest;
        int tap = -1;
#pragma unroll(K ? K * K : 1)
        for (int i = 0; i < KH; ++i)
#pragma unroll(K ? K * K : 1)
            for (int j = 0; j < KW; ++j) {
                const int h = top + i * dh, v = left + j * dw;
                if (unsigned(h) >= unsigned(H) || unsigned(v) >= unsigned(W))
                    continue;
                const real pixel = image[h * W + v];
                if (tap < 0 || pixel > largest || pixel != pixel)
                    largest = pixel, tap = i * KW + j;
            }
        y[index] = largest;
        winner[index] = max(tap, 0);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    backward(const real *__restrict__ gy, const place *__restrict__ winner, real *__restrict__ gx, GEOMETRY) {
    TAKE_WHAT_IS_KNOWN;
    const int before_h = windows_before(KH, sh, dh), before_v = windows_before(KW, sw, dw);
    EACH(index, planes * H * W) {
        const InPlane at(index, H, W, by_rows, by_columns);
        const int h = at.row + ph, v = at.column + pw;
        const unsigned first = at.plane * (OH * OW);
        real sum = 0;
#pragma unroll(K ? K * K : 1)
        for (int r = 0; r <= before_h; ++r) {
            const int oh = h / sh - r, i = tap_of(h, oh, OH, KH, sh, dh);
#pragma unroll(K ? K * K : 1)
            for (int c = 0; c <= before_v; ++c) {
                const int ow = v / sw - c, j = tap_of(v, ow, OW, KW, sw, dw);
                if (i >= 0 && j >= 0 && winner[first + oh * OW + ow] == i * KW + j)
                    sum += gy[first + oh * OW + ow];
            }
        }
        gx[index] = sum;
    }
}

// Bins (see windows.cuh) are as the launcher finds them, so their winners are kept as places h·W + w.
extern "C" __global__ void __launch_bounds__(THREADS)
    adaptive_forward(const real *__restrict__ x, real *__restrict__ y, int *__restrict__ winner, BINS) {
    EACH(index, planes * OH * OW) {
        const InPlane at(index, OH, OW, by_rows, by_columns);
        const int top = begin_of(at.row, OH, H), bottom = end_of(at.row, OH, H);
        const int left = begin_of(at.column, OW, W), right = end_of(at.column, OW, W);
        const real *image = x + at.plane * (H * W);
        int best = top * W + left;
        real largest = image[best];
        for (int h = top; h < bottom; ++h)
            for (int v = left; v < right; ++v) {
                const real pixel = image[h * W + v];
                if (pixel > largest || (pixel != pixel && largest == largest)) // the first NaN wins and stays
                    largest = pixel, best = h * W + v;
            }
        y[index] = largest;
        winner[index] = best;
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adaptive_backward(const real *__restrict__ gy, const int *__restrict__ winner, real *__restrict__ gx,
                      BINS) {
    EACH(index, planes * H * W) {
        const InPlane at(index, H, W, by_rows, by_columns);
        const int top = first_bin(at.row, OH, H), bottom = last_bin(at.row, OH, H);
        const int left = first_bin(at.column, OW, W), right = last_bin(at.column, OW, W);
        const int first = at.plane * (OH * OW);
        real sum = 0;
        for (int oh = top; oh <= bottom; ++oh)
#pragma unroll 1 // one bin or two, mostly: four at a time do not fit into the registers
            for (int ow = left; ow <= right; ++ow) {
                const int bin = first + oh * OW + ow;
                if (winner[bin] == at.row * W + at.column)
                    sum += gy[bin];
            }
        gx[index] = sum;
    }
}
