// The activations, entry by entry: y from x forwards, gx from gy and either x or y backwards.
//
// All of them are one loop, `entry_by_entry`, with another formula. A thread computes four neighbours at a
// time, which are one instruction of each kind to fetch and to store, where all arrays begin at a multiple of
// 16 bytes, as fresh ones do; for a part of another array it takes one at a time. What the four do not divide
// is left to the first threads.
//
// What bounds them is memory, also where there is an exponential: a number or two read and one written for
// each entry.
#include "four.cuh"
#include "grid.cuh"
#include "logistic.cuh"

template <class Formula, class... In>
__device__ __forceinline__ void entry_by_entry(int size, real *__restrict__ y, Formula formula,
                                               const In *__restrict__... x) {
    int fours = aligned(y) && (aligned(x) && ...) ? size / 4 : 0;
    EACH(index, fours) {
        Four result;
        // The pack's fours are fetched before the first formula is computed.
        [&](const auto... of_x) {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                result.of[i] = formula(of_x.of[i]...);
        }(reinterpret_cast<const Four *>(x)[index]...);
        reinterpret_cast<Four *>(y)[index] = result;
    }
    EACH(rest, size - 4 * fours) {
        int index = 4 * fours + rest;
        y[index] = formula(x[index]...);
    }
}

extern "C" __global__ void relu(const real *__restrict__ x, real *__restrict__ y, int size) {
    auto formula = [](real x) { return x <= 0 ? real(0) : x; }; // so that a NaN passes
    entry_by_entry(size, y, formula, x);
}

extern "C" __global__ void relu_backward(const real *__restrict__ gy, const real *__restrict__ y,
                                         real *__restrict__ gx, int size) {
    auto formula = [](real gy, real y) { return y > 0 ? gy : real(0); };
    entry_by_entry(size, gx, formula, gy, y);
}

extern "C" __global__ void relu6(const real *__restrict__ x, real *__restrict__ y, int size) {
    auto formula = [](real x) { return x <= 0 ? real(0) : x >= 6 ? real(6) : x; };
    entry_by_entry(size, y, formula, x);
}

extern "C" __global__ void relu6_backward(const real *__restrict__ gy, const real *__restrict__ y,
                                          real *__restrict__ gx, int size) {
    auto formula = [](real gy, real y) { return y > 0 && y < 6 ? gy : real(0); };
    entry_by_entry(size, gx, formula, gy, y);
}

extern "C" __global__ void leaky_relu(const real *__restrict__ x, real *__restrict__ y, int size,
                                      real slope) {
    auto formula = [slope](real x) { return x > 0 ? x : slope * x; };
    entry_by_entry(size, y, formula, x);
}

extern "C" __global__ void leaky_relu_backward(const real *__restrict__ gy, const real *__restrict__ x,
                                               real *__restrict__ gx, int size, real slope) {
    auto formula = [slope](real gy, real x) { return x > 0 ? gy : slope * gy; };
    entry_by_entry(size, gx, formula, gy, x);
}

extern "C" __global__ void tanh_forward(const real *__restrict__ x, real *__restrict__ y, int size) {
    auto formula = [](real x) -> real { return tanh(x); };
    entry_by_entry(size, y, formula, x);
}

extern "C" __global__ void tanh_backward(const real *__restrict__ gy, const real *__restrict__ y,
                                         real *__restrict__ gx, int size) {
    auto formula = [](real gy, real y) { return gy * (1 - y * y); };
    entry_by_entry(size, gx, formula, gy, y);
}

extern "C" __global__ void sigmoid(const real *__restrict__ x, real *__restrict__ y, int size) {
    auto formula = [](real x) { return logistic(x); };
    entry_by_entry(size, y, formula, x);
}

extern "C" __global__ void sigmoid_backward(const real *__restrict__ gy, const real *__restrict__ y,
                                            real *__restrict__ gx, int size) {
    auto formula = [](real gy, real y) { return gy * y * (1 - y); };
    entry_by_entry(size, gx, formula, gy, y);
}

extern "C" __global__ void silu(const real *__restrict__ x, real *__restrict__ y, int size) {
    auto formula = [](real x) { return silu_of(x); };
    entry_by_entry(size, y, formula, x);
}

extern "C" __global__ void silu_backward(const real *__restrict__ gy, const real *__restrict__ x,
                                         real *__restrict__ gx, int size) {
    auto formula = [](real gy, real x) { return gy * silu_slope(x); };
    entry_by_entry(size, gx, formula, gy, x);
}
