// Where the lanes of a warp meet: votes, shuffles, and tensor cores with the fragments of the PTX ISA.
#pragma once

namespace cuda_on_cpu {

struct Votes {
    int any, all, count;
};

inline Votes vote(int line, int own) {
    any_votes |= own != 0, all_votes &= own != 0, count_votes += own != 0;
    barrier(line);
    return {int(votes_or), int(votes_and), int(votes_count)};
}

// What each lane brought along. There are two sets of slots in turn: when lanes meet again, all have read the
// set before that.
template <class T> struct Lanes {
    const unsigned char (*slot)[SLOT];
    unsigned mask;

    bool has(unsigned lane) const { return mask >> lane & 1; }
    T operator[](unsigned lane) const {
        T value;
        memcpy(&value, slot[lane], sizeof value);
        return value;
    }
};

inline unsigned number() { return current - fibers; }
inline unsigned lane() { return number() % 32; }

template <class T> Lanes<T> exchange(unsigned mask, T value) {
    static_assert(sizeof(T) <= SLOT);
    auto set = slots[current->exchanges++ % 2];
    memcpy(set[number()], &value, sizeof value);
    meet(mask);
    return {set + number() / 32 * 32, mask};
}

template <class T> T shuffle(unsigned mask, T value, unsigned from, bool inside) {
    Lanes<T> lanes = exchange(mask, value);
    if (!inside)
        return value;
    if (!lanes.has(from))
        fail("a shuffle from a lane that takes no part in it");
    return lanes[from];
}

} // namespace cuda_on_cpu

inline void __syncwarp(unsigned mask = 0xFFFFFFFF) { cuda_on_cpu::meet(mask); }

template <class T> T __shfl_sync(unsigned mask, T value, int from, int width = 32) {
    unsigned lane = cuda_on_cpu::lane();
    return cuda_on_cpu::shuffle(mask, value, lane / width * width + unsigned(from) % width, true);
}
template <class T> T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    unsigned lane = cuda_on_cpu::lane();
    return cuda_on_cpu::shuffle(mask, value, lane + delta, lane % width + delta < unsigned(width));
}
template <class T> T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32) {
    unsigned lane = cuda_on_cpu::lane();
    return cuda_on_cpu::shuffle(mask, value, lane - delta, lane % width >= delta);
}
template <class T> T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32) {
    unsigned lane = cuda_on_cpu::lane(), from = lane ^ bits;
    return cuda_on_cpu::shuffle(mask, value, from, from / width <= lane / width);
}
inline unsigned __ballot_sync(unsigned mask, int vote) {
    auto votes = cuda_on_cpu::exchange(mask, vote);
    unsigned result = 0;
    for (unsigned lane = 0; lane < 32; ++lane)
        result |= votes.has(lane) && votes[lane] ? 1u << lane : 0;
    return result;
}
inline int __any_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) != 0; }
inline int __all_sync(unsigned mask, int vote) { return __ballot_sync(mask, vote) == mask; }

// The stand-ins for kernels/cuda/ptx.cuh

namespace cuda_on_cpu {

template <int NA, int NB> struct Fragments {
    unsigned a[NA], b[NB];
};

// Rows and columns of A, B and D that lane and register hold: PTX ISA, "Matrix fragments for mma.m16n8k8" and
// "… for mma.m16n8k16". A register holds one number of 32 bits, or two neighbouring ones of 16, of which the
// product is K deep.
inline void multiply_tf32(float *d, const unsigned *a, const unsigned *b) {
    Fragments<4, 2> own = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    auto lanes = exchange(0xFFFFFFFF, own);
    for (int i = 0; i < 4; ++i) {
        unsigned row = lane() / 4 + i / 2 * 8, column = lane() % 4 * 2 + i % 2;
        double sum = 0;
        for (unsigned k = 0; k < 8; ++k) {
            unsigned of_a = lanes[row % 8 * 4 + k % 4].a[row / 8 + k / 4 * 2];
            unsigned of_b = lanes[column * 4 + k % 4].b[k / 4];
            sum += double{read_tf32(of_a)} * read_tf32(of_b);
        }
        d[i] = float(d[i] + sum);
    }
}

template <float (*read)(uint16_t), unsigned K = 16>
void multiply_16(float *d, const unsigned *a, const unsigned *b) {
    Fragments<K / 4, K / 8> own;
    std::copy(a, a + K / 4, own.a);
    std::copy(b, b + K / 8, own.b);
    auto lanes = exchange(0xFFFFFFFF, own);
    for (int i = 0; i < 4; ++i) {
        unsigned row = lane() / 4 + i / 2 * 8, column = lane() % 4 * 2 + i % 2;
        double sum = 0;
        for (unsigned k = 0; k < K; ++k) {
            unsigned of_a = lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
            unsigned of_b = lanes[column * 4 + k % 8 / 2].b[k / 8];
            sum += double{read(of_a >> k % 2 * 16)} * read(of_b >> k % 2 * 16);
        }
        d[i] = float(d[i] + sum);
    }
}

// ldmatrix: lane 8·m + r names row r of matrix m, eight numbers of 16 bits; each lane receives two neighbours
// of one row of each matrix, or, transposed, of one column.
inline void load_matrices(unsigned *r, const void *row, bool transposed) {
    if (reinterpret_cast<uintptr_t>(row) % 16)
        fail("ldmatrix from an address that is no multiple of 16");
    auto rows = exchange(0xFFFFFFFF, row);
    for (unsigned m = 0; m < 4; ++m) {
        uint16_t two[2];
        for (unsigned i = 0; i < 2; ++i) {
            unsigned of_row = transposed ? lane() % 4 * 2 + i : lane() / 4;
            unsigned of_column = transposed ? lane() / 4 : lane() % 4 * 2 + i;
            two[i] = static_cast<const uint16_t *>(rows[8 * m + of_row])[of_column];
        }
        r[m] = two[0] | uint32_t{two[1]} << 16;
    }
}

inline void perform(const Copy &copy) {
    copy.valid ? memcpy(copy.to, copy.from, copy.bytes) : memset(copy.to, 0, copy.bytes);
}

// An asynchronous copy happens as late as it may, when it is waited for; in every second block at once.
inline void copy_later(void *to, const void *from, unsigned bytes, bool valid) {
    if (reinterpret_cast<uintptr_t>(to) % bytes || (valid && reinterpret_cast<uintptr_t>(from) % bytes))
        fail("an asynchronous copy to or from a misaligned address");
    if (current->copies.empty())
        current->copies.emplace_back();
    Copy copy = {to, from, bytes, valid};
    copies_at_once ? perform(copy) : current->copies.back().push_back(copy);
}

inline void copy_all_but(unsigned groups) {
    auto &copies = current->copies;
    while (copies.size() > groups + 1) {
        for (const Copy &copy : copies.front())
            perform(copy);
        copies.erase(copies.begin());
    }
}

inline void commit() {
    if (current->copies.empty())
        current->copies.emplace_back();
    current->copies.emplace_back();
}

} // namespace cuda_on_cpu

inline void copy16_async(void *to, const void *from, bool valid) {
    cuda_on_cpu::copy_later(to, from, 16, valid);
}
inline void copy4_async(void *to, const void *from, bool valid) {
    cuda_on_cpu::copy_later(to, from, 4, valid);
}
inline void commit_copies() { cuda_on_cpu::commit(); }
template <int GROUPS> void wait_for_copies_but() { cuda_on_cpu::copy_all_but(GROUPS); }
inline unsigned round_to_tf32(float value) { return cuda_on_cpu::to_tf32(value); }
inline unsigned round_to_bf16(float first, float second) {
    return cuda_on_cpu::to_bfloat16(first) | uint32_t{cuda_on_cpu::to_bfloat16(second)} << 16;
}
inline unsigned round_to_f16(float first, float second) {
    return cuda_on_cpu::to_half(first) | uint32_t{cuda_on_cpu::to_half(second)} << 16;
}
inline void mma_tf32(float *d, const unsigned *a, const unsigned *b) { cuda_on_cpu::multiply_tf32(d, a, b); }
inline void mma_bf16(float *d, const unsigned *a, const unsigned *b) {
    cuda_on_cpu::multiply_16<cuda_on_cpu::from_bfloat16>(d, a, b);
}
inline void mma_f16(float *d, const unsigned *a, const unsigned *b) {
    cuda_on_cpu::multiply_16<cuda_on_cpu::from_half>(d, a, b);
}
inline void mma_f16_k8(float *d, const unsigned *a, const unsigned *b) {
    cuda_on_cpu::multiply_16<cuda_on_cpu::from_half, 8>(d, a, b);
}
inline void load_matrices(unsigned *r, const void *row) { cuda_on_cpu::load_matrices(r, row, false); }
inline void load_matrices_transposed(unsigned *r, const void *row) {
    cuda_on_cpu::load_matrices(r, row, true);
}
