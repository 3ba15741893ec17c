// The product of two matrices on tensor cores, for the fully connected layers: C = A·B + bias, C being M×N and
// the sum over K.
//
// As in gemm.cu, A_ALONG_K and B_ALONG_K say how each matrix lies in memory, none is turned around there, and a
// long sum may be cut into parts. The rest is what the convolutions have (tensor.cuh): factors rounded to TF32,
// bfloat16 or float16, exact products, float32 sums. What is WIDE begins, in all its rows, where four numbers can
// be fetched at once.
#include "ptx.cuh"

#if __CUDA_ARCH__ >= (FP16 ? 750 : 800) // before, this file has no kernels
#include "tensor.cuh"

// The rows of A or the columns of B, of which a block has those from `first` on.
template <bool ALONG_K> struct Matrix {
    typedef int Line;
    typedef Step K;
    const float *x;
    int lines, depth, first, end; // the sum ends at `end`; in memory, it goes on to `depth`

    // Beyond the last line it is the last again, or the last four: nobody stores the results.
    __device__ __forceinline__ int of_line(int line) const {
        return min(first + line, lines - (WIDE && !ALONG_K ? 4 : 1)) * (ALONG_K ? depth : 1);
    }
    __device__ __forceinline__ Step of_k(int k) const { return {k * (ALONG_K ? 1 : lines), k < end}; }
    __device__ __forceinline__ From number(int line, Step k) const { return number_at(x, line, k); }
};

// blockIdx.x is the tile, those of the same columns side by side; blockIdx.y is the part of the sum, of
// `k_of_part` terms. Each part has a C of its own. In float16, `largest` tells the scale of A.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    gemm(const real *__restrict__ a, const real *__restrict__ b, const real *__restrict__ bias,
         real *__restrict__ c, int M, int N, int K, int k_of_part, const unsigned *__restrict__ largest) {
    const int row_tiles = (M + BM - 1) / BM;
    const int first_row = blockIdx.x % row_tiles * BM, first_column = blockIdx.x / row_tiles * BN;
    const int begin = blockIdx.y * k_of_part, end = min(begin + k_of_part, K);
    const Matrix<A_ALONG_K> rows = {a, M, K, first_row, end};
    const Matrix<B_ALONG_K> columns = {b, N, K, first_column, end};
    const Place place;
    const Scale scale = scale_for(largest);
    const Operand<BM, A_ALONG_K, WIDE, Matrix<A_ALONG_K>> of_a(rows, scale.up);
    const Operand<BN, B_ALONG_K, WIDE, Matrix<B_ALONG_K>> of_b(columns);
    Sum sum = {};
    sum_over_slices<A_ALONG_K, B_ALONG_K>(begin, end, of_a, of_b, place, sum);
    store(c + (long long)blockIdx.y * M * N, M, N, first_row, first_column, bias, place, sum, scale.down);
}

#endif
