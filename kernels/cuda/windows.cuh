// Windows of pooling on planes, which are the channels of all images one after another. K and S are the
// window's and the stride's sizes where they are known to the compiler (then there is no dilation): loops
// over a window are unrolled, and all its pixels are on their way at a time. K = 0: they are what the
// launcher says.
#pragma once
#include "divide.cuh"

// What the launcher passes last. Padding is only the rows above and the columns left: the sizes say the rest.
// by_columns and by_rows are those of the planes of the result, be that y or gx.
#define BINS int planes, int H, int W, int OH, int OW, Divisor by_columns, Divisor by_rows
#define GEOMETRY BINS, int KH, int KW, int sh, int sw, int ph, int pw, int dh, int dw

#define TAKE_WHAT_IS_KNOWN                                                                                   \
    if (K)                                                                                                   \
    KH = KW = K, sh = sw = S, dh = dw = 1

// Along one axis, from the pixel's side. A pixel is in few windows, and `p`, its place with padding counted,
// says in which: window p / s is the last that may hold it, and the first is this many before that one.
__device__ __forceinline__ int windows_before(int K_, int s, int d) { return (K_ - 1) * d / s; }

// Bins of adaptive pooling, O of them over `size` pixels: where bin o begins, and where it ends. Neighbours may
// share a pixel, and there may be more bins than pixels.
__device__ __forceinline__ int begin_of(int o, int O, int size) { return o * size / O; }
__device__ __forceinline__ int end_of(int o, int O, int size) { return ((o + 1) * size + O - 1) / O; }

// From the pixel's side: bin o holds pixel p if o·size < (p + 1)·O and (o + 1)·size > p·O.
__device__ __forceinline__ int first_bin(int p, int O, int size) { return p * O / size; }
__device__ __forceinline__ int last_bin(int p, int O, int size) { return ((p + 1) * O - 1) / size; }

// The tap by which the window numbered o, of O, meets that pixel; −1 if it does not.
__device__ __forceinline__ int tap_of(int p, int o, int O, int K_, int s, int d) {
    int offset = p - o * s;
    return o < 0 || o >= O || offset % d || offset / d >= K_ ? -1 : offset / d;
}
