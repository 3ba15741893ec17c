// Concatenation: each row of y is the rows of several arrays, one after another. Backward cuts rows of gy up again.
//
//     y[r] = a[r] b[r] c[r] d[r]
//
// A row is all that lies along the axis and behind it: C·H·W numbers where channels are joined. Nothing is
// computed: a thread moves a pack of V numbers, 16 bytes where all rows are whole packs and arrays aligned, and
// the time is that of memory. Four arrays, the branches of an Inception module, are one launch; what has length 0
// is not there. Lengths count packs, and so does `first`, where in its row the first array begins.
#include "grid.cuh"

struct alignas(V * sizeof(real)) Pack {
    real v[V];
};

#define FOUR_ARRAYS                                                                                          \
    Pack *a, int in_a, Pack *b, int in_b, Pack *c, int in_c, Pack *d, int in_d, int rows, int length, int first

// `move` is told each pack of the four, and where it is in the row of all arrays.
template <class Move> __device__ __forceinline__ void each_pack(FOUR_ARRAYS, Move move) {
    const int taken = in_a + in_b + in_c + in_d;
    EACH(index, rows * taken) {
        const int row = index / taken;
        int at = index - row * taken;
        const int in_whole = row * length + first + at;
        if (at < in_a)
            move(a + row * in_a + at, in_whole);
        else if ((at -= in_a) < in_b)
            move(b + row * in_b + at, in_whole);
        else if ((at -= in_b) < in_c)
            move(c + row * in_c + at, in_whole);
        else
            move(d + row * in_d + at - in_c, in_whole);
    }
}

#define GIVEN a, in_a, b, in_b, c, in_c, d, in_d, rows, length, first

extern "C" __global__ void __launch_bounds__(THREADS) forward(Pack *__restrict__ y, FOUR_ARRAYS) {
    each_pack(GIVEN, [&](const Pack *part, int in_whole) { y[in_whole] = *part; });
}

extern "C" __global__ void __launch_bounds__(THREADS) backward(const Pack *__restrict__ gy, FOUR_ARRAYS) {
    each_pack(GIVEN, [&](Pack *part, int in_whole) { *part = gy[in_whole]; });
}
