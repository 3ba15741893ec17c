// Division by a number that is known before the kernel starts: a multiplication and a shift (Granlund and
// Montgomery 1994), where GPUs, which have no instruction for it, take some 30. The launcher brings both
// (divide.py).
#pragma once

typedef unsigned long long Divisor; // the multiplier in the lower half, the shift in the upper

// ⌊n / d⌋ for 0 ≤ n < 2³¹.
__device__ __forceinline__ int divide(int n, Divisor by) {
    return (__umulhi(n, unsigned(by)) + n) >> int(by >> 32);
}

// Where the number `index` of planes is that lie one after another, of so many rows and columns each.
struct InPlane {
    int plane, row, column;

    __device__ __forceinline__ InPlane(int index, int rows, int columns, Divisor by_rows,
                                       Divisor by_columns) {
        const int line = divide(index, by_columns);
        plane = divide(line, by_rows), row = line - plane * rows, column = index - line * columns;
    }
};
