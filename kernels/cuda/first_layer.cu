// Convolution of images with few channels, such as the three colours that a network begins with.
//
// Its sums are short, a few dozen numbers, and its outputs many. The tiles of conv_tiled.cu would spend as
// long on bringing slices as on multiplying them. But all weights of CHANNELS filters fit into shared memory:
// a block brings them once, and no thread waits for another after that. Each thread computes PIXELS pixels of
// CHANNELS outputs. For one tap it reads as many pixels, which its neighbours read too, so that they are in
// the cache; all threads read the same weights at the same time, four at once, and memory is read once for
// the whole warp.
#include "four.cuh"

// y[n, oc, oh, ow] as in conv_naive.cu, clipped to low … high. blockIdx.x and threadIdx.x number the pixels
// of all images, blockIdx.y is the number of the filters, CHANNELS at a time.
extern "C" __global__ void __launch_bounds__(THREADS)
    forward(const real *__restrict__ x, const real *__restrict__ w, const real *__restrict__ b,
            real *__restrict__ y, int N, int C, int H, int W, int OC, int KH, int KW, int OH, int OW, int sh,
            int sw, int ph, int pw, int dh, int dw, real low, real high) {
    extern __shared__ __align__(16) real weights[]; // [k][channel]
    const int K = C * KH * KW, first = blockIdx.y * CHANNELS, plane = OH * OW;
    for (int i = threadIdx.x; i < K * CHANNELS; i += THREADS) {
        int oc = first + i % CHANNELS;
        weights[i] = oc < OC ? w[oc * K + i / CHANNELS] : real(0);
    }
    __syncthreads();

    int n[PIXELS], inside[PIXELS], h[PIXELS], v[PIXELS];
#pragma unroll
    for (int p = 0; p < PIXELS; ++p) {
        int pixel = (blockIdx.x * PIXELS + p) * THREADS + threadIdx.x;
        n[p] = pixel / plane, inside[p] = pixel % plane;
        h[p] = inside[p] / OW * sh - ph, v[p] = inside[p] % OW * sw - pw;
    }
    real sum[PIXELS][CHANNELS] = {};
    const Four *of_tap = reinterpret_cast<const Four *>(weights);
    for (int c = 0; c < C; ++c)
        for (int i = 0; i < KH; ++i)
            for (int j = 0; j < KW; ++j, of_tap += CHANNELS / 4) {
                real value[PIXELS];
#pragma unroll
                for (int p = 0; p < PIXELS; ++p) {
                    int row = h[p] + i * dh, column = v[p] + j * dw;
                    bool in_image = n[p] < N && unsigned(row) < unsigned(H) && unsigned(column) < unsigned(W);
                    value[p] = in_image ? x[((n[p] * C + c) * H + row) * W + column] : real(0);
                }
#pragma unroll
                for (int four = 0; four < CHANNELS / 4; ++four) {
                    const Four of_w = of_tap[four];
#pragma unroll
                    for (int p = 0; p < PIXELS; ++p)
#pragma unroll
                        for (int e = 0; e < 4; ++e)
                            sum[p][4 * four + e] += value[p] * of_w.of[e];
                }
            }
#pragma unroll
    for (int p = 0; p < PIXELS; ++p)
#pragma unroll
        for (int channel = 0; channel < CHANNELS; ++channel) {
            int oc = first + channel;
            if (n[p] < N && oc < OC) {
                real value = sum[p][channel] + (b ? b[oc] : real(0));
                value = value < low ? low : value; // not min and max, which would make a number of NaN
                y[(n[p] * OC + oc) * plane + inside[p]] = value > high ? high : value;
            }
        }
}
