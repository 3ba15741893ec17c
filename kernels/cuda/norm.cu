// Batch norm, with what often follows on the same trip to memory: the addition of a shortcut, and an
// activation that clips, or SiLU.
//
//     y = clip(w · x̂ + b + shortcut)        x̂ = (x − mean) · inverse        inverse = 1 / √(var + ε)
//     gs = gy where low < y < high, else 0;  gb = Σ gs;  gw = Σ gs · x̂
//     gx = w · inverse · (gs − gb / M − x̂ · gw / M),  in inference without the last two terms
//
// With SILU, y = z · σ(z) of what is called y above, and gs = gy times its slope at z, which is computed once
// more from x.
//
// A channel is N rows of P numbers. Its M = N·P numbers are cut into parts of equal length, so that there are
// blocks enough for the whole GPU even where channels are few: blockIdx.x is the channel, blockIdx.y the
// part. Training is two kernels forward and two backward. The first sums up each part; the second begins by
// adding up the parts of its channel, in the same order in every block, and then goes through the numbers
// again. So x is read twice, which is as little as can be once a batch is larger than the caches; all four
// kernels are bound by how fast memory brings and takes numbers.
//
// Hence the loads: neighbouring threads take neighbouring packs of V numbers, 16 bytes where rows are a whole
// number of packs and arrays are aligned (V = 1 otherwise), and each thread has NUMBERS numbers of each array
// on their way before it uses the first, whatever V is. Places count packs; so do P and of_part.
//
// In float32 a mean of 1,000 with a deviation of 1 must give that deviation. Each thread takes its numbers a
// few at a time, first their mean, then the squares of their distances from it, and joins such results (see
// Moments): two passes over registers, and one over memory. What is rounded on the way are numbers less the
// channel's first: they mostly are of the deviation's size. Should the first be far off, the rest still
// holds.
#include "grid.cuh"
#include "logistic.cuh"
#include "reduce.cuh"

#define NUMBERS 4
#define UNROLL (NUMBERS / V) // packs of each array that a thread has at a time
#define WARPS (THREADS / 32)

struct alignas(V * sizeof(real)) Pack {
    real v[V];
};

// Some packs of one channel: those numbered j, j + THREADS, …, as far as they are below end.
struct Chunk {
    unsigned at[UNROLL];
    bool inside[UNROLL];
    int held; // numbers

    __device__ __forceinline__ Chunk(unsigned j, unsigned end, int C, int P) : held(0) {
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
            const unsigned pack = j + u * THREADS; // = n · P + p
            inside[u] = pack < end;
            held += inside[u] ? V : 0;
            at[u] = pack + (pack / P * (C - 1) + blockIdx.x) * P;
        }
    }

    __device__ __forceinline__ void load(real (&to)[NUMBERS], const real *__restrict__ x) const {
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
            Pack pack = {};
            if (inside[u])
                pack = reinterpret_cast<const Pack *>(x)[at[u]];
#pragma unroll
            for (int v = 0; v < V; ++v)
                to[u * V + v] = pack.v[v];
        }
    }

    __device__ __forceinline__ void store(real *__restrict__ x, const real (&from)[NUMBERS]) const {
#pragma unroll
        for (int u = 0; u < UNROLL; ++u) {
            Pack pack;
#pragma unroll
            for (int v = 0; v < V; ++v)
                pack.v[v] = from[u * V + v];
            if (inside[u])
                reinterpret_cast<Pack *>(x)[at[u]] = pack;
        }
    }
};

// What the launcher passes last, and the loop over all chunks of a block's part.
#define ROWS int N, int C, int P, int of_part
#define EACH_CHUNK(chunk)                                                                                    \
    const unsigned end = min(blockIdx.y * of_part + of_part, unsigned(N * P));                               \
    for (unsigned j = blockIdx.y * of_part + threadIdx.x; j < end; j += UNROLL * THREADS)                    \
        if (const Chunk chunk(j, end, C, P); true)

__device__ __forceinline__ real first_number(const real *x, int P) { return x[blockIdx.x * P * V]; }
__device__ __forceinline__ bool first_of_channel() { return blockIdx.y == 0 && threadIdx.x == 0; }

// Forward

extern "C" __global__ void __launch_bounds__(THREADS)
    moments(const real *__restrict__ x, Moments *__restrict__ parts, ROWS) {
    __shared__ Moments of_warps[WARPS];
    const real origin = first_number(x, P);
    Moments own = {};
    EACH_CHUNK(chunk) {
        real in[NUMBERS], sum = 0, squares = 0;
        chunk.load(in, x);
#pragma unroll
        for (int i = 0; i < NUMBERS; ++i) {
            in[i] = chunk.inside[i / V] ? in[i] - origin : real(0);
            sum += in[i];
        }
        const real mean = sum / real(chunk.held);
#pragma unroll
        for (int i = 0; i < NUMBERS; ++i)
            squares += chunk.inside[i / V] ? (in[i] - mean) * (in[i] - mean) : real(0);
        add(own, Moments{real(chunk.held), mean, squares});
    }
    own = total_of_block(own, of_warps);
    if (threadIdx.x == 0)
        parts[blockIdx.x * gridDim.y + blockIdx.y] = own;
}

// y = clip((x − mean) · scale + shift + shortcut), or SiLU of that in place of clip. Not min and max: they would
// make a number of NaN.
__device__ __forceinline__ void normalise(const real *__restrict__ x, real mean, real scale, real shift,
                                          const real *__restrict__ shortcut, real low, real high,
                                          real *__restrict__ y, ROWS) {
    EACH_CHUNK(chunk) {
        real in[NUMBERS], more[NUMBERS] = {};
        chunk.load(in, x);
        if (shortcut)
            chunk.load(more, shortcut);
#pragma unroll
        for (int i = 0; i < NUMBERS; ++i) {
            real value = (in[i] - mean) * scale + shift + more[i];
            value = value < low ? low : value;
            in[i] = SILU ? silu_of(value) : value > high ? high : value;
        }
        chunk.store(y, in);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    training(const real *__restrict__ x, const Moments *__restrict__ parts, int count,
             const real *__restrict__ w, const real *__restrict__ b, real eps,
             const real *__restrict__ shortcut, real low, real high, real *__restrict__ y,
             real *__restrict__ means, real *__restrict__ vars, real *__restrict__ inverses, ROWS) {
    const int c = blockIdx.x;
    const Moments all = total_of_parts(parts + c * count, count);
    const real mean = first_number(x, P) + from_first_lane(all.mean);
    const real var = from_first_lane(all.squares / all.count);
    const real inverse = 1 / sqrt(var + eps);
    if (first_of_channel())
        means[c] = mean, vars[c] = var, inverses[c] = inverse;
    normalise(x, mean, w[c] * inverse, b[c], shortcut, low, high, y, N, C, P, of_part);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    inference(const real *__restrict__ x, const real *__restrict__ means, const real *__restrict__ vars,
              const real *__restrict__ w, const real *__restrict__ b, real eps,
              const real *__restrict__ shortcut, real low, real high, real *__restrict__ y, ROWS) {
    const int c = blockIdx.x;
    normalise(x, means[c], w[c] / sqrt(vars[c] + eps), b[c], shortcut, low, high, y, N, C, P, of_part);
}

// Running statistics, either of which may be missing, move towards those of the batch: one launch instead of
// the seven that this takes when written as arithmetic of arrays, each of which has next to nothing to do.
extern "C" __global__ void __launch_bounds__(THREADS)
    update(const real *__restrict__ mean, const real *__restrict__ var, real *__restrict__ running_mean,
           real *__restrict__ running_var, int mean_step, int var_step, real keep, real momentum,
           real unbiased, int C) {
    EACH(c, C) {
        if (running_mean)
            running_mean[c * mean_step] = keep * running_mean[c * mean_step] + momentum * mean[c];
        if (running_var)
            running_var[c * var_step] = keep * running_var[c * var_step] + momentum * (unbiased * var[c]);
    }
}

// Backward

// How a channel's z follows from x: for the slope of SiLU, else not known.
struct Line {
    real mean, scale, shift;

    __device__ __forceinline__ Line(real mean, const real *inverses, const real *w, const real *b)
        : mean(mean), scale(SILU ? w[blockIdx.x] * inverses[blockIdx.x] : real(0)),
          shift(SILU ? b[blockIdx.x] : real(0)) {}
};

// What the activation passes on of gy: what is beyond the end is 0. Without y nothing was clipped.
__device__ __forceinline__ void load_upstream(real (&g)[NUMBERS], const real (&in)[NUMBERS],
                                              const Chunk &chunk, const real *__restrict__ gy,
                                              const real *__restrict__ y, real low, real high, Line line) {
    real results[NUMBERS];
    chunk.load(g, gy);
    if (!SILU && y)
        chunk.load(results, y);
#pragma unroll
    for (int i = 0; i < NUMBERS; ++i)
        if (SILU)
            g[i] *= silu_slope((in[i] - line.mean) * line.scale + line.shift);
        else if (y)
            g[i] = results[i] > low && results[i] < high ? g[i] : real(0);
}

// Parts of Σ g and Σ g · (x − mean), where g is gy as the activation passes it on; that is gs, if there is
// one.
extern "C" __global__ void __launch_bounds__(THREADS)
    gradient_sums(const real *__restrict__ gy, const real *__restrict__ x, const real *__restrict__ means,
                  const real *__restrict__ inverses, const real *__restrict__ w, const real *__restrict__ b,
                  const real *__restrict__ y, real low, real high, real *__restrict__ gs,
                  Sums *__restrict__ parts, ROWS) {
    __shared__ Sums of_warps[WARPS];
    const real mean = means[blockIdx.x];
    const Line line(mean, inverses, w, b);
    Sums own = {};
    EACH_CHUNK(chunk) {
        real g[NUMBERS], in[NUMBERS];
        chunk.load(in, x);
        load_upstream(g, in, chunk, gy, y, low, high, line);
        if (gs)
            chunk.store(gs, g);
#pragma unroll
        for (int i = 0; i < NUMBERS; ++i) // beyond the end g is 0
            add(own, Sums{g[i], g[i] * (in[i] - mean)});
    }
    own = total_of_block(own, of_warps);
    if (threadIdx.x == 0)
        parts[blockIdx.x * gridDim.y + blockIdx.y] = own;
}

// gx is one number times g, one times x − mean, and a constant. What was clipped is worked out once more from
// y, unless gs is there to be given as gy.
extern "C" __global__ void __launch_bounds__(THREADS)
    training_gradient(const real *__restrict__ gy, const real *__restrict__ x,
                      const real *__restrict__ means, const real *__restrict__ inverses,
                      const real *__restrict__ w, const real *__restrict__ b, const real *__restrict__ y,
                      real low, real high, const Sums *__restrict__ parts, int count,
                      real *__restrict__ gx, real *__restrict__ gw, real *__restrict__ gb, ROWS) {
    const int c = blockIdx.x;
    const Sums all = total_of_parts(parts + c * count, count);
    const real sum = from_first_lane(all.first), sum_x = from_first_lane(all.second);
    const real mean = means[c], inverse = inverses[c], M = real(N * P) * V;
    if (first_of_channel())
        gw[c] = sum_x * inverse, gb[c] = sum;
    const real per_g = w[c] * inverse;
    const real per_x = -per_g * inverse * (sum_x * inverse / M), constant = -per_g * (sum / M);
    const Line line(mean, inverses, w, b);
    EACH_CHUNK(chunk) {
        real g[NUMBERS], in[NUMBERS];
        chunk.load(in, x);
        load_upstream(g, in, chunk, gy, y, low, high, line);
#pragma unroll
        for (int i = 0; i < NUMBERS; ++i)
            in[i] = g[i] * per_g + (in[i] - mean) * per_x + constant;
        chunk.store(gx, in);
    }
}

extern "C" __global__ void __launch_bounds__(THREADS)
    inference_gradient(const real *__restrict__ gy, const real *__restrict__ vars,
                       const real *__restrict__ w, real eps, const Sums *__restrict__ parts, int count,
                       real *__restrict__ gx, real *__restrict__ gw, real *__restrict__ gb, ROWS) {
    const int c = blockIdx.x;
    const Sums all = total_of_parts(parts + c * count, count);
    const real inverse = 1 / sqrt(vars[c] + eps), per_g = w[c] * inverse;
    if (first_of_channel())
        gw[c] = all.second * inverse, gb[c] = all.first;
    EACH_CHUNK(chunk) {
        real g[NUMBERS];
        chunk.load(g, gy);
#pragma unroll
        for (int i = 0; i < NUMBERS; ++i)
            g[i] *= per_g;
        chunk.store(gx, g);
    }
}
