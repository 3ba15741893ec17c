// The product of two matrices on tensor cores, a tile of the result for each block: what conv_tensor.cu and
// gemm_tensor.cu are made of. A block computes BM×BN numbers, a warp WM×WN of them, and the sum runs over
// slices of the matrices, BK numbers deep, in shared memory.
//
// Words. A tensor core takes its factors in words of 32 bits: a number rounded to TF32, or two that are
// neighbours along k, rounded to bfloat16 (BF16) or float16 (FP16). So a slice is always WORDS words deep, and
// all else is the same for the three.
//
// Places. The 32 lanes that fetch a fragment, and those that write a slice, are to meet 32 different banks of
// shared memory (word number mod 32), or else they wait for each other. An operand lies in one of two ways:
//     ALONG_K   [line][word]  where neighbours in memory are neighbours along k. ldmatrix fetches eight rows
//               of four words at a time; as two lines are 32 words, these would be the same banks four
//               times over. So the groups of four words of each line are permuted: XOR with the line's
//               number, halved.
//     across    [word][line]  where neighbours in memory are neighbouring lines. A fragment is four words
//               deep and eight lines wide; eight words more than needed put the four side by side.
//
// The way there. TF32 is copied asynchronously (cp.async), without a stop in registers, STAGES − 1 slices on
// the way while one is multiplied, and rounded when it is fetched from there. For pairs, numbers come
// to registers while a slice is multiplied, and are rounded and written to the other of two places after that:
// half the bytes to write and to fetch. Where the launcher says so (FOURS), four neighbours come at once, 16
// bytes, and memory is asked a quarter as often.
//
// Instructions. While tensor cores multiply two fragments, a warp issues six others or so: into these fits what
// it takes to find the numbers, or tensor cores wait for it (benchmarks/cuda_resources.py counts them). So a
// thread finds out before the loop what it can, of its lines above all; ways in memory are numbers of 32 bits,
// added up before an address is made of them, by one instruction; and lines beyond the last are the last one
// again, which needs no test. Tiles of 128×128 took 477 to 630 instructions for 32 products of bfloat16, where
// now they take 176 to 305 (sm_90).
#pragma once
#include "ptx.cuh"

#define THREADS ((BM / WM) * (BN / WN) * 32)
#define PAIRS (BF16 || FP16) // of numbers, in a word
#define PER_WORD (PAIRS ? 2 : 1)
#define WORDS (BK / PER_WORD)
#define A_SIZE (WORDS * (BM + 8)) // words, however the operand lies
#define B_SIZE (WORDS * (BN + 8))

static_assert(WORDS == 16, "place() permutes groups of lines of 16 words");

// Where a word of a slice is.
template <int SIDE, bool ALONG_K> __device__ __forceinline__ int place(int line, int word) {
    return ALONG_K ? line * WORDS + (word ^ line / 2 % 4 * 4) : word * (SIDE + 8) + line;
}

// The same so many lines further on: the permutation begins anew every eight lines.
template <bool ALONG_K> __device__ __forceinline__ int lines_on(int lines) {
    return ALONG_K ? lines * WORDS : lines;
}

// The words of 16 lines, eight deep, as the lanes hold them for mma: with g = lane / 4 and t = lane % 4, of A
//     r[0] line g, word t     r[1] line g + 8, word t     r[2] line g, word t + 4     r[3] (g + 8, t + 4)
// and of B, where two fragments of two registers each are side by side, r[1] and r[2] the other way round.
template <int SIDE, bool ALONG_K, bool OF_B>
__device__ __forceinline__ void fetch_lines(unsigned (&r)[4], const unsigned *slice, int line, int word) {
    const int lane = threadIdx.x % 32;
    slice += lines_on<ALONG_K>(line);
    if (ALONG_K) {
        int matrix = lane / 8;
        int below = OF_B ? matrix / 2 : matrix % 2, deeper = OF_B ? matrix % 2 : matrix / 2;
        load_matrices(r, slice + place<SIDE, true>(lane % 8 + below * 8, word + deeper * 4));
    }
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        int below = OF_B ? e / 2 : e % 2, deeper = OF_B ? e % 2 : e / 2;
        if (!ALONG_K)
            r[e] = slice[place<SIDE, false>(lane / 4 + below * 8, word + lane % 4 + deeper * 4)];
        if (!PAIRS)
            r[e] = round_to_tf32(__uint_as_float(r[e]));
    }
}

// The tile of this thread's warp, and of that the numbers that its lane has: of the fragment (i, j) the rows
// row(i, 0) and row(i, 1), the columns column(j) and the next.
struct Place {
    int lane = threadIdx.x % 32;
    int first_row = threadIdx.x / 32 / (BN / WN) * WM, first_column = threadIdx.x / 32 % (BN / WN) * WN;

    __device__ __forceinline__ int row(int i, int below) const {
        return first_row + 16 * i + lane / 4 + 8 * below;
    }
    __device__ __forceinline__ int column(int j) const { return first_column + 8 * j + lane % 4 * 2; }
};

// What numbers of an operand are multiplied by before they are rounded, and the sum after that, which changes no
// digit of either: powers of two.
struct Scale {
    float up, down;
};

// float16 begins at 6·10⁻⁸, where many a gradient would end. So gradients are brought up until the largest of
// them, whose bits are given, is between 2¹⁴ and 2¹⁵; the rest may then be 2³⁹ times smaller. (This is the loss
// scaling of Micikevicius et al. 2018, "Mixed precision training", section 3.2, of each array for itself, so that
// nobody has to find the scale.) The exponent's bits stand for 127 more than what it is; of zeros, any will do.
__device__ __forceinline__ Scale scale_for(const unsigned *largest) {
    if (!FP16 || !largest)
        return {1, 1};
    const unsigned exponent = 127 + 14 + 127 - max(*largest >> 23, 15u);
    return {__uint_as_float(exponent << 23), __uint_as_float((127 + 127 - exponent) << 23)};
}

// sum += A·B for fragments of two registers of B.
__device__ __forceinline__ void mma(float *sum, const unsigned *a, const unsigned *b) {
#if FP16 && __CUDA_ARCH__ >= 800
    mma_f16(sum, a, b);
#elif FP16
    mma_f16_k8(sum, a, b), mma_f16_k8(sum, a + 2, b + 1);
#elif BF16
    mma_bf16(sum, a, b);
#else
    mma_tf32(sum, a, b);
#endif
}

typedef float Sum[WM / 16][WN / 8][2][2]; // fragments of rows, of columns; rows and columns of each

// sum += A·B over one slice.
template <bool A_ALONG, bool B_ALONG>
__device__ __forceinline__ void multiply(const unsigned *a, const unsigned *b, Place place, Sum &sum) {
#pragma unroll
    for (int word = 0; word < WORDS; word += 8) {
        unsigned of_a[WM / 16][4], of_b[WN / 16][4];
#pragma unroll
        for (int i = 0; i < WM / 16; ++i)
            fetch_lines<BM, A_ALONG, false>(of_a[i], a, place.first_row + 16 * i, word);
#pragma unroll
        for (int j = 0; j < WN / 16; ++j)
            fetch_lines<BN, B_ALONG, true>(of_b[j], b, place.first_column + 16 * j, word);
#pragma unroll
        for (int i = 0; i < WM / 16; ++i)
#pragma unroll
            for (int j = 0; j < WN / 8; ++j)
                mma(&sum[i][j][0][0], of_a[i], &of_b[j / 2][j % 2 * 2]);
    }
}

// Where a number of an operand is in memory; not valid if it is in no line, or beyond the end: then it is 0.
struct From {
    const float *address;
    bool valid;
};

// What is to be known of a k where numbers lie in lines: its part of the way to them, and whether there is one.
struct Step {
    int away;
    bool there;
};
__device__ __forceinline__ From number_at(const float *x, int line, Step k) {
    return {x + (line + k.away), k.there};
}

// What this thread brings of an operand's slices. Lines says where its numbers are: of_line(line) and of_k(k)
// what is to be known of a line (of those of the block) and of a k, number(line, k) the rest. A thread brings
// the same lines of all slices: it asks for them once.
template <int SIDE, bool ALONG_K, bool FOURS, class Lines> struct Operand {
    static constexpr int GROUP = FOURS ? 4 : 1, ACROSS = (ALONG_K ? WORDS : SIDE) / GROUP;
    static constexpr int STEP = THREADS / ACROSS, GROUPS = SIDE * WORDS / GROUP / THREADS;
    static constexpr int APART = ALONG_K && FOURS ? 4 : 1; // between the loads that make a group of words
    const Lines &lines;
    const int across = threadIdx.x % ACROSS * GROUP, down = threadIdx.x / ACROSS;
    const float scale;
    typename Lines::Line own[ALONG_K ? GROUPS : 1];

    __device__ __forceinline__ Operand(const Lines &of, float scale = 1) : lines(of), scale(scale) {
#pragma unroll
        for (int group = 0; group < (ALONG_K ? GROUPS : 1); ++group)
            own[group] = lines.of_line(ALONG_K ? down + group * STEP : across);
    }
    __device__ __forceinline__ int place_of(int group) const {
        static_assert(!ALONG_K || STEP % 8 == 0, "a group's lines are permuted as the first's");
        return ALONG_K ? place<SIDE, true>(down, across) + lines_on<true>(group * STEP)
                       : place<SIDE, false>(across, down + group * STEP);
    }
    // take(group, load, from) for each load, of one number or four, that the slice from k on needs.
    template <class Take> __device__ __forceinline__ void each(int k, Take take) const {
        typename Lines::K of_k[PER_WORD];
#pragma unroll
        for (int load = 0; load < PER_WORD; ++load)
            if (ALONG_K)
                of_k[load] = lines.of_k(k + across * PER_WORD + load * APART);
#pragma unroll
        for (int group = 0; group < GROUPS; ++group) {
#pragma unroll
            for (int load = 0; load < PER_WORD; ++load) {
                if (!ALONG_K)
                    of_k[load] = lines.of_k(k + (down + group * STEP) * PER_WORD + load);
                take(group, load, lines.number(own[ALONG_K ? group : 0], of_k[load]));
            }
        }
    }
#if PAIRS
    float next[GROUPS][2][GROUP];

    __device__ __forceinline__ void fetch(int k) {
        each(k, [&](int group, int load, From from) {
            if constexpr (FOURS) {
                float4 four = {0, 0, 0, 0};
                if (from.valid)
                    four = *reinterpret_cast<const float4 *>(from.address);
                next[group][load][0] = four.x, next[group][load][1] = four.y;
                next[group][load][2] = four.z, next[group][load][3] = four.w;
            } else {
                next[group][load][0] = from.valid ? *from.address : 0.0f;
            }
        });
    }
    __device__ __forceinline__ unsigned rounded(float first, float second) const {
#if FP16
        return round_to_f16(first * scale, second * scale);
#else
        return round_to_bf16(first, second);
#endif
    }
    __device__ __forceinline__ void put(unsigned *slice) const {
#pragma unroll
        for (int group = 0; group < GROUPS; ++group) {
            const float *a = next[group][0], *b = next[group][1];
            unsigned *to = slice + place_of(group);
            if constexpr (!FOURS)
                *to = rounded(a[0], b[0]);
            else if constexpr (ALONG_K) // a and b are four neighbours along k each
                *reinterpret_cast<uint4 *>(to) = make_uint4(rounded(a[0], a[1]), rounded(a[2], a[3]),
                                                            rounded(b[0], b[1]), rounded(b[2], b[3]));
            else // the same four lines of one k and of the next
                *reinterpret_cast<uint4 *>(to) = make_uint4(rounded(a[0], b[0]), rounded(a[1], b[1]),
                                                            rounded(a[2], b[2]), rounded(a[3], b[3]));
        }
    }
#else
    __device__ __forceinline__ void copy(int k, unsigned *slice) const {
        each(k, [&](int group, int, From from) {
            if (FOURS)
                copy16_async(slice + place_of(group), from.address, from.valid);
            else
                copy4_async(slice + place_of(group), from.address, from.valid);
        });
    }
#endif
};

// The whole sum, for k from `begin` to `end`. Each barrier ends two things: all have written their part of the
// slice that is multiplied next, and all have multiplied the one whose place is written next.
template <bool A_ALONG, bool B_ALONG, class A, class B>
__device__ __forceinline__ void sum_over_slices(int begin, int end, A of_a, B of_b, Place place, Sum &sum) {
    extern __shared__ __align__(16) unsigned stages[];
    unsigned *a = stages, *b = stages + STAGES * A_SIZE;
#if PAIRS
    static_assert(STAGES == 2, "one slice is written while another is multiplied");
    if (begin < end)
        of_a.fetch(begin), of_b.fetch(begin);
    for (int k = begin, now = 0; k < end; k += BK, now ^= 1) {
        of_a.put(a + now * A_SIZE), of_b.put(b + now * B_SIZE);
        __syncthreads();
        if (k + BK < end)
            of_a.fetch(k + BK), of_b.fetch(k + BK);
        multiply<A_ALONG, B_ALONG>(a + now * A_SIZE, b + now * B_SIZE, place, sum);
    }
#else
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        if (begin + stage * BK < end)
            of_a.copy(begin + stage * BK, a + stage * A_SIZE), of_b.copy(begin + stage * BK, b + stage * B_SIZE);
        commit_copies();
    }
    int now = 0, next = STAGES - 1;
    for (int k = begin; k < end; k += BK) {
        wait_for_copies_but<STAGES - 2>();
        __syncthreads();
        int later = k + (STAGES - 1) * BK;
        if (later < end)
            of_a.copy(later, a + next * A_SIZE), of_b.copy(later, b + next * B_SIZE);
        commit_copies();
        multiply<A_ALONG, B_ALONG>(a + now * A_SIZE, b + now * B_SIZE, place, sum);
        now = now + 1 < STAGES ? now + 1 : 0;
        next = next + 1 < STAGES ? next + 1 : 0;
    }
#endif
}

// The block's tile, brought down to its size, of a result of M rows and N columns that lie one after another,
// plus a bias of columns.
__device__ __forceinline__ void store(float *c, int M, int N, int first_row, int first_column,
                                      const float *bias, Place place, const Sum &sum, float down) {
    const bool pairs = N % 2 == 0; // then two neighbours are both inside or both outside, and aligned
#pragma unroll
    for (int j = 0; j < WN / 8; ++j) {
        const int column = first_column + place.column(j);
        const float of_first = bias && column < N ? bias[column] : 0.0f;
        const float of_second = bias && column + 1 < N ? bias[column + 1] : 0.0f;
#pragma unroll
        for (int i = 0; i < WM / 16; ++i)
#pragma unroll
            for (int below = 0; below < 2; ++below) {
                int row = first_row + place.row(i, below);
                float first = sum[i][j][below][0] * down + of_first;
                float second = sum[i][j][below][1] * down + of_second;
                if (row >= M || column >= N)
                    continue;
                float *at = c + row * N + column;
                if (pairs)
                    *reinterpret_cast<float2 *>(at) = make_float2(first, second);
                else {
                    at[0] = first;
                    if (column + 1 < N)
                        at[1] = second;
                }
            }
    }
}
