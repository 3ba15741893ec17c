// A convolution as a product of matrices, whose second one is never written down: what all rungs that do so
// share.
//
//                rows of the result     columns                    the sum runs over k
//     forward         oc             pixels (n, oh, ow) of y       taps (c, i, j)
//     grad_input      c              pixels (n, h, v) of gx        taps (oc, i, j)
//     grad_weight     oc             weights (c, i, j)             pixels (n, oh, ow) of gy
//
// forward and grad_input are one kernel, `gather`, with different tables. With a stride, pixels of gx fall into
// phases in each of which all meet the same taps: each phase is a product of its own, and no product with zero
// is computed (kernels/geometry.py, `phases`).
//
// Each pixel has a window in the source, and which number a tap reads there is a sum: where the window begins,
// plus how far from that the tap looks. Whether there is one, or only padding, one bit for each of the taps'
// rows and columns says: those that the window has inside the image, and those that the tap needs. So the inner
// loops have an addition and a test for each number, in place of comparing its row and its column with the
// image's edges. The tables are made in tables.py.
#pragma once
#include "divide.cuh"

// What the launcher says of a phase,
struct Phase {
    int first_tap, taps;  // its part of the tables of taps and of weights
    int first_h, first_v; // of the result: its first row and column,
    int rows, columns;    // and how many of them, `apart_h` and `apart_v` from each other
    int first_window;     // its part of the table of windows: one for each row, then one for each column
};

// of a row's windows or a column's, and together of a pixel's, and of a tap.
struct __align__(8) Window {
    int at;       // where it begins in its image
    unsigned has; // bits 0 to 14: the rows of taps that are inside; bits 16 to 30: the columns
};
struct __align__(8) Tap {
    int away;       // from where the window begins
    unsigned needs; // the bits of its row and its column
};
// Behind a phase's last tap, up to a whole slice, are some that need what no window has: bit 15.

// The window of one pixel of a phase or plane, `plane` numbers further on in the source.
__device__ __forceinline__ Window window_at(const Window *windows, int row, int rows, int column, int plane) {
    const Window of_row = windows[row], of_column = windows[rows + column];
    return {of_row.at + of_column.at + plane, of_row.has | of_column.has};
}

__device__ __forceinline__ bool reads(Window window, Tap tap) { return (tap.needs & ~window.has) == 0; }
