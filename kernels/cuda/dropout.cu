// Dropout. Entry number i looks at word number offset + i of the seed's Philox stream, as on every backend:
// kernels/numpy/philox.py says how a word is computed from its number.
//
// Philox makes four words at a time, so a thread takes the entries of one block of four words. `skipped` words
// of the first block belong to what came before. A launch that is part of a CUDA graph has the same arguments in
// each step, so it looks up how far the offset has `moved` since. Where none are skipped and the arrays begin at a multiple of
// 16 bytes, the four entries are one instruction each to fetch and to store.
//
// What bounds it: memory, with a number read and one written for each entry, and a byte for the mask; the
// 20 multiplications of a block's ten rounds are five for each entry.
#include "four.cuh"
#include "grid.cuh"

struct __align__(4) FourBytes {
    bool of[4];
};

struct Words {
    unsigned of[4];
};

// Block number `block` of the stream: ten rounds over the counter (block, 0) with the seed as the key.
__device__ __forceinline__ Words philox(unsigned long long seed, unsigned long long block) {
    unsigned c0 = unsigned(block), c1 = unsigned(block >> 32), c2 = 0, c3 = 0;
    unsigned k0 = unsigned(seed), k1 = unsigned(seed >> 32);
#pragma unroll
    for (int round = 0; round < ROUNDS; ++round) {
        unsigned high0 = __umulhi(M0, c0), low0 = M0 * c0, high1 = __umulhi(M1, c2), low1 = M1 * c2;
        c0 = high1 ^ c1 ^ k0;
        c1 = low1;
        c2 = high0 ^ c3 ^ k1;
        c3 = low0;
        k0 += W0;
        k1 += W1;
    }
    return {{c0, c1, c2, c3}};
}

// kept[i] = whether word i is at least `threshold`; and y = x · kept · scale, unless x is null.
extern "C" __global__ void forward(const real *__restrict__ x, real *__restrict__ y, bool *__restrict__ kept,
                                   int size, unsigned long long seed, unsigned long long first_block,
                                   int skipped, const long long *moved, unsigned threshold, real scale) {
    if (moved) {
        const long long words = skipped + *moved; // may be negative: >> rounds down, & has the rest
        first_block += words >> 2;
        skipped = words & 3;
    }
    const bool fours = skipped == 0 && aligned(kept) && aligned(x) && aligned(y);
    EACH(block, (size + (unsigned)skipped + 3) / 4) {
        const Words words = philox(seed, first_block + block);
        const int first = 4 * block - skipped;
        if (fours && size - first >= 4) {
            FourBytes keep;
            Four result = {};
            if (x)
                result = reinterpret_cast<const Four *>(x)[block];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                keep.of[i] = words.of[i] >= threshold;
                result.of[i] *= keep.of[i] ? scale : real(0);
            }
            reinterpret_cast<FourBytes *>(kept)[block] = keep;
            if (x)
                reinterpret_cast<Four *>(y)[block] = result;
        } else {
#pragma unroll
            for (int i = 0; i < 4; ++i)
                if (first + i >= 0 && first + i < size) {
                    bool keep = words.of[i] >= threshold;
                    kept[first + i] = keep;
                    if (x)
                        y[first + i] = x[first + i] * (keep ? scale : real(0));
                }
        }
    }
}

// y = x · kept · scale, where each decision is for `each` numbers that follow each other. Backward is the same,
// from gy to gx.
extern "C" __global__ void apply(const real *__restrict__ x, const bool *__restrict__ kept,
                                 real *__restrict__ y, int size, int each, real scale) {
    EACH(index, size) {
        y[index] = x[index] * (kept[index / each] ? scale : real(0));
    }
}
