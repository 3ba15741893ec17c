// Softmax and cross-entropy in one, forwards and backwards: kernels/numpy/loss.py has the equations.
//
// A warp computes a row, its lanes every 32nd column. What concerns the whole row, the maximum and the sums,
// the lanes pass on to each other by shuffles, always in the same order. A row is read three times, for its
// maximum, for the sum and for the results; but only the first time from memory, as a row of a thousand classes
// is 4 kB, and the warps of a multiprocessor together stay within its cache.
//
// A label out of range counts nothing, as −1 does. The operation refuses it, but in a CUDA graph only after the
// whole step, and until then nothing may be read beside the arrays.
//
// What bounds it: with the usual few hundred rows of few columns, nothing but the time to start and the
// latency of a few reads, one after another.

#define WARP 32
#define ALL 0xffffffffu

__device__ __forceinline__ real sum_of_lanes(real value) {
#pragma unroll
    for (int apart = WARP / 2; apart > 0; apart /= 2)
        value += __shfl_xor_sync(ALL, value, apart);
    return value;
}

__device__ __forceinline__ real largest_of_lanes(real value) {
#pragma unroll
    for (int apart = WARP / 2; apart > 0; apart /= 2) {
        real other = __shfl_xor_sync(ALL, value, apart);
        value = other > value ? other : value;
    }
    return value;
}

// Whose row is it? All lanes of a warp go through the same ones, in steps of the whole grid.
#define EACH_ROW(r, count)                                                                                   \
    for (long long r = blockIdx.x * (long long)(blockDim.x / WARP) + threadIdx.x / WARP; r < (count);        \
         r += (long long)gridDim.x * (blockDim.x / WARP))

extern "C" __global__ void forward(const real *__restrict__ x, const long long *__restrict__ labels,
                                   const real *__restrict__ weight, real *__restrict__ losses,
                                   real *__restrict__ p, int R, int C, real smoothing) {
    const int lane = threadIdx.x % WARP;
    EACH_ROW(r, R) {
        const real *row = x + r * C;
        real *powers = p + r * C;
        real largest = row[0];
        for (int c = lane; c < C; c += WARP)
            largest = row[c] > largest ? row[c] : largest;
        largest = largest_of_lanes(largest);

        real total = 0;
        for (int c = lane; c < C; c += WARP)
            total += exp(row[c] - largest);
        total = sum_of_lanes(total);

        const real log_total = log(total);
        real of_all = 0; // what smoothing adds up
        for (int c = lane; c < C; c += WARP) {
            real log_p = row[c] - largest - log_total;
            powers[c] = exp(row[c] - largest) / total;
            of_all += weight[c] * log_p;
        }
        of_all = sum_of_lanes(of_all);

        const long long t = labels[r];
        const bool counts = 0 <= t && t < C;
        if (lane == 0) {
            real loss = 0;
            if (counts)
                loss = -(1 - smoothing) * weight[t] * (row[t] - largest - log_total);
            if (counts && smoothing != 0)
                loss -= smoothing / C * of_all;
            losses[r] = loss;
        }
    }
}

extern "C" __global__ void backward(const real *__restrict__ gy, const real *__restrict__ p,
                                    const long long *__restrict__ labels, const real *__restrict__ weight,
                                    real *__restrict__ gx, int R, int C, real smoothing) {
    const int lane = threadIdx.x % WARP;
    const real of_each = smoothing / C;
    EACH_ROW(r, R) {
        const long long t = labels[r];
        const bool counts = 0 <= t && t < C;
        real sum_q = 0;
        if (smoothing != 0) {
            for (int c = lane; c < C; c += WARP)
                sum_q += weight[c];
            sum_q = of_each * sum_of_lanes(sum_q);
        }
        const real own = counts ? (1 - smoothing) * weight[t] : real(0);
        for (int c = lane; c < C; c += WARP) {
            real q = of_each * weight[c] + (c == t ? own : real(0));
            gx[r * C + c] = counts ? gy[r] * (p[r * C + c] * (sum_q + own) - q) : real(0);
        }
    }
}
