// The optimisers' updates, of all parameters in one launch: kernels/numpy/optim.py has the equations.
//
// A network has up to hundreds of parameters, most of them small, and to start a kernel for each would take
// longer than the updates. So the launcher writes down where they lie, in a table on the GPU, and cuts them
// into chunks of CHUNK numbers: a block takes one chunk. Its numbers are fetched and stored four at a time
// where the arrays allow it, and all but the last chunks of each parameter are whole.
//
// What an optimiser needs of numbers, such as learning rates, lies in a table as well, a row of them for
// each kind of parameters: a row is one of the structures below, which are at the same time the formula. (As
// arguments of the kernel they would be the same for ever in a CUDA graph.)
//
// What bounds it is memory: each w, its gradient and its state are read once, and all but the gradient
// written.
#include "four.cuh"

struct Parameter {
    real *w;
    const real *g;
    real *state[3]; // null where the optimiser keeps none
    long long size, row;
};

struct Chunk {
    int parameter, number;
};

// Each formula: from w, g and the state, which it changes, to the new w. State that is not kept is 0 before.

struct Sgd {
    static constexpr int STATES = 1;
    real sign, decay, lr, momentum, fresh, per_g, per_u;

    __device__ __forceinline__ real operator()(real w, real g, real *u) const {
        real d = sign * g + decay * w;
        u[0] = momentum * u[0] + fresh * d;
        return w - lr * (per_g * d + per_u * u[0]);
    }
};

struct RmsProp {
    static constexpr int STATES = 3; // v, m, u
    real sign, decay, lr, alpha, fresh, eps, momentum, centered;

    __device__ __forceinline__ real operator()(real w, real g, real *state) const {
        real d = sign * g + decay * w;
        state[0] = alpha * state[0] + fresh * d * d;
        state[1] = alpha * state[1] + fresh * d;
        real variance = state[0] - centered * state[1] * state[1];
        variance = variance < 0 ? real(0) : variance; // which rounding can bring about
        state[2] = momentum * state[2] + d / (sqrt(variance) + eps);
        return w - lr * state[2];
    }
};

// Adam, AdamW, which shrinks w, and NAdam, whose m̂ has a part of g beside m.
struct Adam {
    static constexpr int STATES = 2; // m, v
    real sign, decay, shrink, per_m, per_g, beta1, fresh1, beta2, fresh2, per_root, eps;

    __device__ __forceinline__ real operator()(real w, real g, real *state) const {
        real d = sign * g + decay * w;
        state[0] = beta1 * state[0] + fresh1 * d;
        state[1] = beta2 * state[1] + fresh2 * d * d;
        return shrink * w - (per_m * state[0] + per_g * d) / (sqrt(state[1]) * per_root + eps);
    }
};

struct Adamax {
    static constexpr int STATES = 2; // m, u
    real sign, decay, per_m, beta1, fresh1, beta2, eps;

    __device__ __forceinline__ real operator()(real w, real g, real *state) const {
        real d = sign * g + decay * w;
        real before = beta2 * state[1], now = fabs(d) + eps;
        state[0] = beta1 * state[0] + fresh1 * d;
        state[1] = before > now ? before : now;
        return w - per_m * state[0] / state[1];
    }
};

// `One` is what is fetched at a time: four numbers, or one.
template <class One, class Formula>
__device__ __forceinline__ void update_chunk(const Parameter &own, long long begin, int count,
                                             const Formula &formula) {
    constexpr int WIDTH = sizeof(One) / sizeof(real), STATES = Formula::STATES;
    for (int i = threadIdx.x; i < count / WIDTH; i += THREADS) {
        One w = reinterpret_cast<const One *>(own.w + begin)[i];
        One g = reinterpret_cast<const One *>(own.g + begin)[i];
        One state[STATES] = {};
#pragma unroll
        for (int s = 0; s < STATES; ++s)
            if (own.state[s])
                state[s] = reinterpret_cast<const One *>(own.state[s] + begin)[i];
#pragma unroll
        for (int e = 0; e < WIDTH; ++e) {
            real each[STATES];
#pragma unroll
            for (int s = 0; s < STATES; ++s)
                each[s] = reinterpret_cast<const real *>(&state[s])[e];
            real &of_w = reinterpret_cast<real *>(&w)[e];
            of_w = formula(of_w, reinterpret_cast<const real *>(&g)[e], each);
#pragma unroll
            for (int s = 0; s < STATES; ++s)
                reinterpret_cast<real *>(&state[s])[e] = each[s];
        }
        reinterpret_cast<One *>(own.w + begin)[i] = w;
#pragma unroll
        for (int s = 0; s < STATES; ++s)
            if (own.state[s])
                reinterpret_cast<One *>(own.state[s] + begin)[i] = state[s];
    }
}

template <class Formula>
__device__ __forceinline__ void update(const Parameter *__restrict__ parameters,
                                       const Chunk *__restrict__ chunks,
                                       const Formula *__restrict__ formulas) {
    const Chunk chunk = chunks[blockIdx.x];
    const Parameter own = parameters[chunk.parameter];
    const Formula formula = formulas[own.row];
    const long long begin = (long long)chunk.number * CHUNK;
    const int count = min((long long)CHUNK, own.size - begin);
    bool fours = count == CHUNK && aligned(own.w) && aligned(own.g);
#pragma unroll
    for (int s = 0; s < Formula::STATES; ++s)
        fours = fours && aligned(own.state[s]);
    if (fours)
        update_chunk<Four>(own, begin, count, formula);
    else
        update_chunk<real>(own, begin, count, formula);
}

extern "C" __global__ void sgd(const Parameter *__restrict__ parameters, const Chunk *__restrict__ chunks,
                               const Sgd *__restrict__ formulas) {
    update(parameters, chunks, formulas);
}

extern "C" __global__ void rmsprop(const Parameter *__restrict__ parameters, const Chunk *__restrict__ chunks,
                                   const RmsProp *__restrict__ formulas) {
    update(parameters, chunks, formulas);
}

extern "C" __global__ void adam(const Parameter *__restrict__ parameters, const Chunk *__restrict__ chunks,
                                const Adam *__restrict__ formulas) {
    update(parameters, chunks, formulas);
}

extern "C" __global__ void adamax(const Parameter *__restrict__ parameters, const Chunk *__restrict__ chunks,
                                  const Adamax *__restrict__ formulas) {
    update(parameters, chunks, formulas);
}
