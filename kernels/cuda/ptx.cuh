// The few instructions that CUDA C++ has no word for, one function each. All other files are plain CUDA. (PTX
// ISA: "mma", "ldmatrix", "cp.async". Where a compiler for CPUs reads this file, as in the tests, it brings
// functions of the same names along.)
//
// mma computes D = A·B + D for one warp, A being 16 rows of K numbers and B K rows of 8 columns. With g =
// lane / 4 and t = lane % 4, a lane holds of them (K = 8 numbers of 32 bits; of 16-bit numbers each register
// holds two neighbours, and K = 16):
//     A: a[0] (row g, column t)   a[1] (row g + 8, column t)   a[2] (g, t + 4)   a[3] (g + 8, t + 4)
//     B: b[0] (row t, column g)   b[1] (row t + 4, column g)
//     D: d[0] (row g, column 2t)  d[1] (g, 2t + 1)   d[2] (g + 8, 2t)   d[3] (g + 8, 2t + 1)
#pragma once
#ifdef __CUDACC__

// float32 to the nearest number with 10 bits of fraction. What lies halfway goes to the even neighbour on sm_90 and
// later, which have one instruction for that, and before that away from zero, which takes three.
__device__ __forceinline__ unsigned round_to_tf32(float value) {
#if __CUDA_ARCH__ >= 900
    unsigned rounded;
    asm("cvt.rn.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
    return rounded;
#elif __CUDA_ARCH__ >= 800
    unsigned rounded;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(value));
    return rounded;
#else
    return (__float_as_uint(value) + 0x1000u) & ~0x1FFFu;
#endif
}

// Two numbers to float16, 10 bits of fraction and from 6·10⁻⁸ to 65,504, to nearest, ties to even: the first in
// the lower half.
__device__ __forceinline__ unsigned round_to_f16(float first, float second) {
    unsigned both;
#if __CUDA_ARCH__ >= 800
    asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
#else
    asm("{ .reg .f16 low, high; cvt.rn.f16.f32 low, %1; cvt.rn.f16.f32 high, %2; mov.b32 %0, {low, high}; }"
        : "=r"(both)
        : "f"(first), "f"(second));
#endif
    return both;
}

// Half as deep as the others, K = 8 numbers of 16 bits: what there is on sm_75. Of A it takes two registers, of
// B one.
__device__ __forceinline__ void mma_f16_k8(float *d, const unsigned *a, const unsigned *b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(b[0]));
}

#if __CUDA_ARCH__ >= 800
// Two numbers to bfloat16, 7 bits of fraction, to nearest, ties to even: the first in the lower half.
__device__ __forceinline__ unsigned round_to_bf16(float first, float second) {
    unsigned both;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(both) : "f"(second), "f"(first));
    return both;
}

__device__ __forceinline__ void mma_tf32(float *d, const unsigned *a, const unsigned *b) {
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_bf16(float *d, const unsigned *a, const unsigned *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_f16(float *d, const unsigned *a, const unsigned *b) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
                 "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

__device__ __forceinline__ unsigned shared_address(const void *shared) {
    return static_cast<unsigned>(__cvta_generic_to_shared(shared));
}

// Four 8×8 matrices of 16-bit numbers: lane 8·m + r names row r of matrix m, and receives in r[m] two
// neighbours of that matrix: (row g, columns 2t and 2t + 1), or transposed (rows 2t and 2t + 1, column g).
__device__ __forceinline__ void load_matrices(unsigned *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

__device__ __forceinline__ void load_matrices_transposed(unsigned *r, const void *row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Copies from global to shared memory that run while the thread goes on; where not valid, zeros are stored
// and nothing is read. Before sm_80 the thread copies by itself.
__device__ __forceinline__ void copy16_async(void *to, const void *from, bool valid) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(valid ? 16 : 0)
                 : "memory");
#else
    *static_cast<uint4 *>(to) = valid ? *static_cast<const uint4 *>(from) : make_uint4(0, 0, 0, 0);
#endif
}

__device__ __forceinline__ void copy4_async(void *to, const void *from, bool valid) {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(valid ? 4 : 0)
                 : "memory");
#else
    *static_cast<unsigned *>(to) = valid ? *static_cast<const unsigned *>(from) : 0u;
#endif
}

// The copies begun since the last call are one group.
__device__ __forceinline__ void commit_copies() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Wait until at most so many of this thread's newest groups are still on their way.
template <int GROUPS> __device__ __forceinline__ void wait_for_copies_but() {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#endif
}

#endif
