// Convolution, first rung: one thread for each number of the result.
//
//     y[n, oc, oh, ow] = b[oc] + Σ_c Σ_i Σ_j x[n, c, oh·sh + i·dh − ph, ow·sw + j·dw − pw] · w[oc, c, i, j]
//
// A thread finds out which number is its own, and sums up what the formula says, in the order in which it
// says it. Where an activation follows that does nothing but clip, it clips to low … high. Neighbouring threads
// write neighbouring columns ow, and mostly read neighbouring pixels: the 32 loads of a warp become few
// transactions. But every number is fetched from memory, or at best from a cache, for each product that it is
// in, two loads for one multiply-add: that is what the next rungs are about.
//
// The gradients gather: each thread collects what belongs to its number, so that no two threads write to one
// place, and the sums are the same in each run.

#include "grid.cuh"

// What the launcher passes last. Padding is only the rows above and the columns left: the sizes say the rest.
#define GEOMETRY                                                                                             \
    int N, int C, int H, int W, int OC, int KH, int KW, int OH, int OW, int sh, int sw, int ph, int pw,      \
        int dh, int dw, int groups

extern "C" __global__ void forward(const real *__restrict__ x, const real *__restrict__ w,
                                   const real *__restrict__ b, real *__restrict__ y, GEOMETRY, real low,
                                   real high) {
    int CG = C / groups, OCG = OC / groups;
    EACH(index, N * OC * OH * OW) {
        int ow = index % OW, oh = index / OW % OH, oc = index / (OW * OH) % OC, n = index / (OW * OH) / OC;
        real sum = b ? b[oc] : 0;
        for (int c = 0; c < CG; ++c) {
            const real *plane = x + ((long long)n * C + oc / OCG * CG + c) * H * W;
            const real *filter = w + ((long long)oc * CG + c) * KH * KW;
            for (int i = 0; i < KH; ++i) {
                int h = oh * sh + i * dh - ph;
                if (h < 0 || h >= H)
                    continue;
                for (int j = 0; j < KW; ++j) {
                    int v = ow * sw + j * dw - pw;
                    if (v >= 0 && v < W)
                        sum += plane[h * W + v] * filter[i * KW + j];
                }
            }
        }
        sum = sum < low ? low : sum; // not min and max, which would make a number of NaN
        y[index] = sum > high ? high : sum;
    }
}

// Output row oh met this pixel's row h by tap i if oh·sh = h + ph − i·dh: where this is a multiple of sh.
extern "C" __global__ void grad_input(const real *__restrict__ gy, const real *__restrict__ w,
                                      real *__restrict__ gx, GEOMETRY) {
    int CG = C / groups, OCG = OC / groups;
    EACH(index, N * C * H * W) {
        int v = index % W, h = index / W % H, c = index / (W * H) % C, n = index / (W * H) / C;
        int first = c / CG * OCG; // of the filters that see this channel
        real sum = 0;
        for (int oc = first; oc < first + OCG; ++oc) {
            const real *plane = gy + ((long long)n * OC + oc) * OH * OW;
            const real *filter = w + ((long long)oc * CG + c % CG) * KH * KW;
            for (int i = 0; i < KH; ++i) {
                int top = h + ph - i * dh;
                if (top < 0 || top % sh || top / sh >= OH)
                    continue;
                for (int j = 0; j < KW; ++j) {
                    int left = v + pw - j * dw;
                    if (left >= 0 && left % sw == 0 && left / sw < OW)
                        sum += plane[top / sh * OW + left / sw] * filter[i * KW + j];
                }
            }
        }
        gx[index] = sum;
    }
}

extern "C" __global__ void grad_weight(const real *__restrict__ gy, const real *__restrict__ x,
                                       real *__restrict__ gw, GEOMETRY) {
    int CG = C / groups, OCG = OC / groups;
    EACH(index, OC * CG * KH * KW) {
        int j = index % KW, i = index / KW % KH, c = index / (KW * KH) % CG, oc = index / (KW * KH) / CG;
        real sum = 0;
        for (int n = 0; n < N; ++n) {
            const real *image = x + ((long long)n * C + oc / OCG * CG + c) * H * W;
            const real *plane = gy + ((long long)n * OC + oc) * OH * OW;
            for (int oh = 0; oh < OH; ++oh) {
                int h = oh * sh + i * dh - ph;
                if (h < 0 || h >= H)
                    continue;
                for (int ow = 0; ow < OW; ++ow) {
                    int v = ow * sw + j * dw - pw;
                    if (v >= 0 && v < W)
                        sum += image[h * W + v] * plane[oh * OW + ow];
                }
            }
        }
        gw[index] = sum;
    }
}
