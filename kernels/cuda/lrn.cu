// Local response normalisation: each number divided by a power of the energy of its neighbours in the
// channels beside it, at the same pixel.
//
//     d[c] = k + scale · Σ x[c']², c' = c − before … c + after        y[c] = x[c] · d[c]^−β
//     term[c] = factor · gy[c] · x[c] · d[c]^(−β−1)
//     gx[c] = gy[c] · d[c]^−β − x[c] · Σ term[c'], c' = c − after … c + before: those whose windows hold c
//
// with scale = α/n and factor = 2αβ/n, where n = before + 1 + after is the window's width.
//
// A thread goes through the channels of one pixel. Neighbouring threads have neighbouring pixels, which lie
// side by side in each channel's plane, so that all loads and stores of a warp are whole lines of memory. The
// window's numbers stay in registers and move on by one with each channel: every number is read once, but for
// SIZE − 1 at the border of a segment, which is a range of channels that a thread of its own goes through
// where pixels are few. The window is summed up anew for each channel. To add the number that enters it and
// subtract the one that leaves is less work for wide windows only, and after a large number has passed, small
// ones would be lost in what rounding left of it.
//
// Of each array, AHEAD numbers are fetched before the first is used, so that memory has enough to do. It
// bounds this, or where β is not 3/4, the power: it takes tens of instructions, two roots take a few. SIZE is
// the window's width; SIZE = 0 leaves it to the launcher, reads the window again for each channel from what
// caches hold, and in backward takes as many powers: it is for widths that no known network uses.

#define AHEAD 4

// What the launcher passes last: N images of C channels of P pixels, and the channels of a segment.
#define IMAGES int N, int C, int P, int before, int after, int of_segment

// This thread's pixel: where channel 0 of it is. blockIdx.y is the segment.
#define MY_PIXEL                                                                                             \
    const unsigned index = blockIdx.x * THREADS + threadIdx.x;                                               \
    if (index >= unsigned(N * P))                                                                            \
        return;                                                                                              \
    const unsigned pixel = index / P * (C * P) + index % P;                                                  \
    const int first = blockIdx.y * of_segment, end = min(first + of_segment, C)

__device__ __forceinline__ real power(real d, real beta) {
    if (beta != real(0.75))
        return pow(d, -beta);
    const real root = rsqrt(d);
    return root * sqrt(root);
}

// Numbers of consecutive channels, the newest last.
template <int LENGTH> struct Queue {
    real of[LENGTH] = {};

    __device__ __forceinline__ void push(real value) {
#pragma unroll
        for (int i = 1; i < LENGTH; ++i)
            of[i - 1] = of[i];
        of[LENGTH - 1] = value;
    }
};

__device__ __forceinline__ void store(real *__restrict__ y, real *__restrict__ d, int at, real own, real base,
                                      real beta) {
    d[at] = base;
    y[at] = own * power(base, beta);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    forward(const real *__restrict__ x, real *__restrict__ y, real *__restrict__ d, real scale, real beta,
            real k, IMAGES) {
    MY_PIXEL;
    x += pixel, y += pixel, d += pixel;
#if SIZE
    Queue<SIZE> window;
    for (int near = max(first - before, 0); near < first + after; ++near)
        window.push(near < C ? x[near * P] : real(0));
    for (int start = first; start < end; start += AHEAD) {
        real next[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i)
            next[i] = start + i + after < C ? x[(start + i + after) * P] : real(0);
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            window.push(next[i]);
            real energy = 0;
#pragma unroll
            for (int j = 0; j < SIZE; ++j)
                energy += window.of[j] * window.of[j];
            if (start + i < end)
                store(y, d, (start + i) * P, window.of[SIZE / 2], k + scale * energy, beta);
        }
    }
#else
    for (int c = first; c < end; ++c) {
        real energy = 0;
        for (int near = max(c - before, 0); near <= min(c + after, C - 1); ++near)
            energy += x[near * P] * x[near * P];
        store(y, d, c * P, x[c * P], k + scale * energy, beta);
    }
#endif
}

extern "C" __global__ void __launch_bounds__(THREADS)
    backward(const real *__restrict__ gy, const real *__restrict__ x, const real *__restrict__ d,
             real *__restrict__ gx, real factor, real beta, IMAGES) {
    MY_PIXEL;
    gy += pixel, x += pixel, d += pixel, gx += pixel;
#if SIZE
    Queue<SIZE> terms;
    Queue<SIZE / 2 + 1> gains, pixels; // as long as it takes until a channel's last term is there
    for (int start = first - after - before; start < end; start += AHEAD) {
        real next_g[AHEAD], next_x[AHEAD], next_d[AHEAD];
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            const int near = start + i + before;
            const bool inside = near >= 0 && near < C;
            next_g[i] = inside ? gy[near * P] : real(0);
            next_x[i] = inside ? x[near * P] : real(0);
            next_d[i] = inside ? d[near * P] : real(1);
        }
#pragma unroll
        for (int i = 0; i < AHEAD; ++i) {
            const real gain = next_g[i] * power(next_d[i], beta);
            terms.push(factor * gain * next_x[i] / next_d[i]), gains.push(gain), pixels.push(next_x[i]);
            real sum = 0;
#pragma unroll
            for (int j = 0; j < SIZE; ++j)
                sum += terms.of[j];
            if (start + i >= first && start + i < end)
                gx[(start + i) * P] = gains.of[0] - pixels.of[0] * sum;
        }
    }
#else
    for (int c = first; c < end; ++c) {
        real sum = 0;
        for (int near = max(c - after, 0); near <= min(c + before, C - 1); ++near) {
            const real base = d[near * P];
            sum += factor * gy[near * P] * power(base, beta) * x[near * P] / base;
        }
        gx[c * P] = gy[c * P] * power(d[c * P], beta) - x[c * P] * sum;
    }
#endif
}
