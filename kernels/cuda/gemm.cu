// The product of two matrices, for the fully connected layers: C = A·B + bias, C being M×N and the sum over K.
//
// The inner part is that of the convolutions (tile.cuh): a tile of C for each block, 4×4 to 8×8 numbers of it
// in the registers of each thread. What is different is the way from memory. A matrix lies there with its rows
// or with its columns together, and the three products of a layer read all kinds (w is out×in):
//
//     y  = x·wᵀ + b     A: along k        B: along k
//     gx = gy·w         A: along k        B: along its columns
//     gw = gyᵀ·x        A: along its rows B: along its columns
//
// So no operand is ever turned around in memory: A_ALONG_K and B_ALONG_K say how each lies, and threads that
// are neighbours fetch what are neighbours there, four numbers at a time. Those that lie along k are turned on
// their way into shared memory.
//
// With batches of 1 to 64 images C is small, and a few blocks would have the whole sum to themselves. Then K is
// cut into parts, which blocks sum up on their own, and parts.cu adds them up in a fixed order.
//
// What bounds it: with few rows M, the memory, since the weights are M multiplications each, and VGG-16's first
// fully connected layer has 411 MB of them; the tiles that share columns of B are neighbours, so that B
// is fetched once. From M of about a hundred on, arithmetic.
#include "tile.cuh"

// Four neighbours from x on, of which `count` belong to the matrix; the others are zeros. Where they are to be
// fetched at once, none or all of them belong to it.
__device__ __forceinline__ Four four(const real *__restrict__ x, int count, bool aligned) {
    Four result = {};
    if (aligned) {
        if (count > 0)
            result = *reinterpret_cast<const Four *>(x);
    } else {
#pragma unroll
        for (int i = 0; i < 4; ++i)
            if (i < count)
                result.of[i] = x[i];
    }
    return result;
}

// What this thread brings of one operand: of SIDE of its lines (rows of A, columns of B) from `first` on.
template <int SIDE, bool ALONG_K> struct Operand {
    static constexpr int ACROSS = (ALONG_K ? BK : SIDE) / 4; // threads side by side in memory
    static constexpr int LOADS = SIDE * BK / 4 / THREADS, STEP = THREADS / ACROSS, PITCH = SIDE + 4;
    const real *x;
    int begin, lines, K, first; // the matrix begins there, and the tile with that line
    bool aligned;               // whether four numbers can be fetched at a time
    Four next[LOADS];

    __device__ __forceinline__ void bring(int k, int end) {
        const int at = threadIdx.x % ACROSS * 4, down = threadIdx.x / ACROSS;
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            if (ALONG_K) {
                int line = first + down + i * STEP;
                next[i] = four(x + (begin + line * K + k + at), line < lines ? end - k - at : 0, aligned);
            } else {
                int own_k = k + down + i * STEP;
                next[i] = four(x + (begin + own_k * lines + first + at), own_k < end ? lines - first - at : 0,
                               aligned);
            }
        }
    }
    __device__ __forceinline__ void put(real *slice) const {
        const int at = threadIdx.x % ACROSS * 4, down = threadIdx.x / ACROSS;
#pragma unroll
        for (int i = 0; i < LOADS; ++i) {
            if (ALONG_K) {
#pragma unroll
                for (int j = 0; j < 4; ++j)
                    slice[(at + j) * PITCH + down + i * STEP] = next[i].of[j];
            } else {
                *reinterpret_cast<Four *>(slice + (down + i * STEP) * PITCH + at) = next[i];
            }
        }
    }
};

// blockIdx.x is the tile, those of the same columns side by side; blockIdx.y is the part of the sum, of
// `k_of_part` terms; blockIdx.z is the product, of several that lie one after another. Each part has a C of
// its own, or several, one after another.
extern "C" __global__ void __launch_bounds__(THREADS, RESIDENT)
    gemm(const real *__restrict__ a, const real *__restrict__ b, const real *__restrict__ bias,
         real *__restrict__ c, int M, int N, int K, int k_of_part, int a_aligned, int b_aligned) {
    __shared__ __align__(16) real slice_a[2][BK * A_PITCH];
    __shared__ __align__(16) real slice_b[2][BK * B_PITCH];
    const int row_tiles = (M + BM - 1) / BM;
    const int first_row = blockIdx.x % row_tiles * BM, first_column = blockIdx.x / row_tiles * BN;
    const int begin = blockIdx.y * k_of_part, end = min(begin + k_of_part, K);
    Operand<BM, A_ALONG_K> of_a = {a, int(blockIdx.z) * M * K, M, K, first_row, a_aligned != 0};
    Operand<BN, B_ALONG_K> of_b = {b, int(blockIdx.z) * N * K, N, K, first_column, b_aligned != 0};

    auto bring = [&](int k) {
        of_a.bring(k, end);
        of_b.bring(k, end);
    };
    auto put = [&](int which) {
        of_a.put(slice_a[which]);
        of_b.put(slice_b[which]);
    };
    const Place place;
    real sum[TM][TN] = {};
    sum_over_slices(begin, end, bring, put, slice_a, slice_b, place, sum);

    c += (long long)(blockIdx.y * gridDim.z + blockIdx.z) * M * N;
    const bool whole = N % 4 == 0; // then four neighbours are all inside or all outside, and aligned
#pragma unroll
    for (int i = 0; i < TM; ++i) {
        int row = first_row + place.row(i);
        if (row >= M)
            continue;
#pragma unroll
        for (int j = 0; j < TN; j += 4) {
            int column = first_column + place.column(j);
            Four result;
#pragma unroll
            for (int e = 0; e < 4; ++e)
                result.of[e] = sum[i][j + e] + (bias && column + e < N ? bias[column + e] : real(0));
            if (whole && column < N)
                *reinterpret_cast<Four *>(c + row * N + column) = result;
            else {
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    if (column + e < N)
                        c[row * N + column + e] = result.of[e];
            }
        }
    }
}
