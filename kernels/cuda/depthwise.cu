// Depthwise convolution: each output channel sees one input channel, by a filter of K×K with stride S.
//
// There are K² multiplications for a number read and a number written, too few to keep a GPU busy: all that
// counts is to read and write each number once. Products of matrices are no help, since their tiles would be
// nearly empty. A thread computes ROWS outputs below each other. It goes down the rows of the source under
// them, and uses the K numbers that it reads of each row for all outputs whose windows the row is in: with
// 3×3, 18 numbers serve four outputs. Neighbouring threads read neighbouring columns, which a row's cache
// lines hold together, so that of these reads most are from the cache next to the processor. K and S are
// constants: all loops are unrolled, and the sums stay in registers.

#define WINDOW ((ROWS - 1) * S + K) // rows of the source under ROWS outputs

// blockIdx.x and threadIdx.x number the columns of all strips of all planes of y. `multiplier` is OC / C.
extern "C" __global__ void __launch_bounds__(THREADS)
    forward(const real *__restrict__ x, const real *__restrict__ w, const real *__restrict__ b,
            real *__restrict__ y, int planes, int OC, int multiplier, int H, int W, int OH, int OW, int ph,
            int pw, real low, real high) {
    const int strips = (OH + ROWS - 1) / ROWS, index = blockIdx.x * THREADS + threadIdx.x;
    const int ow = index % OW, oh = index / OW % strips * ROWS, plane = index / OW / strips;
    if (plane >= planes)
        return;
    const int oc = plane % OC, first_h = oh * S - ph, first_v = ow * S - pw;
    x += plane / multiplier * H * W;
    w += oc * K * K;
    real sum[ROWS];
#pragma unroll
    for (int o = 0; o < ROWS; ++o)
        sum[o] = b ? b[oc] : real(0);
#pragma unroll
    for (int r = 0; r < WINDOW; ++r) {
        real line[K];
#pragma unroll
        for (int j = 0; j < K; ++j) {
            bool inside = unsigned(first_h + r) < unsigned(H) && unsigned(first_v + j) < unsigned(W);
            line[j] = inside ? x[(first_h + r) * W + first_v + j] : real(0);
        }
#pragma unroll
        for (int o = 0; o < ROWS; ++o) {
            int i = r - o * S;
#pragma unroll
            for (int j = 0; j < K; ++j)
                if (i >= 0 && i < K)
                    sum[o] += line[j] * w[i * K + j];
        }
    }
#pragma unroll
    for (int o = 0; o < ROWS; ++o) {
        real value = sum[o] < low ? low : sum[o]; // not min and max, which would make a number of NaN
        if (oh + o < OH)
            y[(plane * OH + oh + o) * OW + ow] = value > high ? high : value;
    }
}

// With a stride, a pixel of gx meets only every S-th tap of a filter. The pixels whose padded rows and
// columns are S·q … S·q + S − 1 are a cell: its pixel r meets the taps i = r + S·t of output q − t. A thread
// computes ROWS cells below each other; which pixel meets which tap is known to the compiler, and no product
// with zero is left.
#define TAPS ((K + S - 1) / S) // outputs that a cell meets, along one axis

extern "C" __global__ void __launch_bounds__(THREADS)
    grad_input(const real *__restrict__ gy, const real *__restrict__ w, real *__restrict__ gx, int planes,
               int C, int multiplier, int H, int W, int OH, int OW, int ph, int pw, int cells_h,
               int cells_v) {
    const int strips = (cells_h + ROWS - 1) / ROWS, index = blockIdx.x * THREADS + threadIdx.x;
    const int plane = index / cells_v / strips;
    const int q_h = ph / S + index / cells_v % strips * ROWS, q_v = pw / S + index % cells_v;
    if (plane >= planes)
        return;
    real sum[ROWS][S][S] = {};
    for (int m = 0; m < multiplier; ++m) {
        const real *source = gy + (plane * multiplier + m) * OH * OW;
        const real *filter = w + (plane % C * multiplier + m) * K * K;
#pragma unroll
        for (int r = 0; r < ROWS + TAPS - 1; ++r) {
            int oh = q_h + r - (TAPS - 1);
            real line[TAPS];
#pragma unroll
            for (int t = 0; t < TAPS; ++t) {
                bool inside = unsigned(oh) < unsigned(OH) && unsigned(q_v - t) < unsigned(OW);
                line[t] = inside ? source[oh * OW + q_v - t] : real(0);
            }
#pragma unroll
            for (int o = 0; o < ROWS; ++o)
#pragma unroll
                for (int rest = 0; rest < S; ++rest) {
                    int t_h = o + TAPS - 1 - r, i = rest + S * t_h;
#pragma unroll
                    for (int j = 0; j < K; ++j)
                        if (t_h >= 0 && t_h < TAPS && i < K)
                            sum[o][rest][j % S] += line[j / S] * filter[i * K + j];
                }
        }
    }
    gx += plane * H * W;
#pragma unroll
    for (int o = 0; o < ROWS; ++o)
#pragma unroll
        for (int i = 0; i < S; ++i)
#pragma unroll
            for (int j = 0; j < S; ++j) {
                int h = (q_h + o) * S + i - ph, v = q_v * S + j - pw;
                if (unsigned(h) < unsigned(H) && unsigned(v) < unsigned(W))
                    gx[h * W + v] = sum[o][i][j];
            }
}

// parts[part, oc, i, j]: blockIdx.x is oc, blockIdx.y the part of all strips of all images that a block sums
// up. Each thread sums up K² products for strips of its own; then the lanes of a warp add theirs, then the
// warps.
extern "C" __global__ void __launch_bounds__(THREADS)
    grad_weight(const real *__restrict__ gy, const real *__restrict__ x, real *__restrict__ parts,
                int of_part, int N, int OC, int multiplier, int H, int W, int OH, int OW, int ph, int pw) {
    __shared__ real of_warps[THREADS / 32][K * K];
    const int oc = blockIdx.x, strips = (OH + ROWS - 1) / ROWS;
    const int end = min(int(blockIdx.y + 1) * of_part, N * strips * OW);
    real sum[K * K] = {};
    for (int index = blockIdx.y * of_part + threadIdx.x; index < end; index += THREADS) {
        const int ow = index % OW, oh = index / OW % strips * ROWS, plane = index / OW / strips * OC + oc;
        const int first_h = oh * S - ph, first_v = ow * S - pw;
        const real *of_x = x + plane / multiplier * H * W, *of_gy = gy + (plane * OH + oh) * OW + ow;
        real g[ROWS];
#pragma unroll
        for (int o = 0; o < ROWS; ++o)
            g[o] = oh + o < OH ? of_gy[o * OW] : real(0);
#pragma unroll
        for (int r = 0; r < WINDOW; ++r)
#pragma unroll
            for (int j = 0; j < K; ++j) {
                bool inside = unsigned(first_h + r) < unsigned(H) && unsigned(first_v + j) < unsigned(W);
                real value = inside ? of_x[(first_h + r) * W + first_v + j] : real(0);
#pragma unroll
                for (int o = 0; o < ROWS; ++o)
                    if (r - o * S >= 0 && r - o * S < K)
                        sum[(r - o * S) * K + j] += g[o] * value;
            }
    }
#pragma unroll
    for (int tap = 0; tap < K * K; ++tap) {
        for (int apart = 16; apart; apart /= 2)
            sum[tap] += __shfl_down_sync(0xffffffff, sum[tap], apart);
        if (threadIdx.x % 32 == 0)
            of_warps[threadIdx.x / 32][tap] = sum[tap];
    }
    __syncthreads();
    if (threadIdx.x < K * K) {
        real total = 0;
        for (int warp = 0; warp < THREADS / 32; ++warp)
            total += of_warps[warp][threadIdx.x];
        parts[(blockIdx.y * OC + oc) * K * K + threadIdx.x] = total;
    }
}
