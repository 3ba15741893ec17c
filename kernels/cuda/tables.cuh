// A convolution as a product of matrices, whose second one is never written down: what all rungs that do so
// share.
//
//                rows of the result     columns                    the sum runs over k
//     forward         oc             pixels (n, oh, ow) of y       taps (c, i, j)
//     grad_input      c              pixels (n, h, v) of gx        taps (oc, i, j)
//     grad_weight     oc             weights (c, i, j)             pixels (n, oh, ow) of gy
//
// forward and grad_input are one kernel, `gather`, with different tables: for every k, how far from a pixel's
// first source pixel the tap looks, and which weight it takes. With a stride, pixels of gx fall into phases
// in each of which all meet the same taps: each phase is a product of its own, and no product with zero is
// computed (kernels/geometry.py, `phases`). The tables are made in implicit.py.
#pragma once

// What the launcher says of a phase, and of a tap.
struct Phase {
    int first_tap, taps;    // its part of the table
    int first_h, first_v;   // of the result: its first row and column,
    int rows, columns;      // and how many of them, `apart_h` and `apart_v` from each other
    int source_h, source_v; // where in the source the taps of its first pixel begin
};
#define NOWHERE (-(1 << 29)) // a row that is in no image, wherever a tap looks from there

struct __align__(16) Tap {
    int away, h, v; // from a pixel's first source pixel: in the array, in rows, in columns
    int weight;     // where in the filters
};

// A number divided by one that is known before the kernel starts: a multiplication and a shift (Granlund and
// Montgomery 1994). For 0 ≤ n < 2³¹.
__device__ __forceinline__ int divide(int n, unsigned multiplier, int shift) {
    return (__umulhi(n, multiplier) + n) >> shift;
}
