"""The optimisers' updates, in place: each parameter, its gradient and its state are read once, and written.

The bare launch of a compiled function, some 3 µs, is less than the NumPy calls of one update, so that biases
go the same way as the large weights.
"""

from math import sqrt

import numpy as np

from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.numba.elementwise import CHUNK
from minicnn.kernels.registry import kernel


def update(function, w, g, state, maximize, *numbers):
    """Run the function on flat arrays and on numbers of w's dtype, the sign of g before the others.

    An array of the state may be None, and is handed over as an empty one. A w that has no flat view is
    updated as a copy.
    """
    if not w.flags.writeable:
        raise ValueError("update: the parameter's array is read-only")
    number = w.dtype.type
    flat = np.ascontiguousarray(w).reshape(-1)
    state = [np.empty(0, w.dtype) if array is None else array.reshape(-1) for array in state]
    sign = -1 if maximize else 1
    function(flat, plain(g).reshape(-1), *state, number(sign), *[number(one) for one in numbers])
    if not w.flags.c_contiguous:
        w[...] = flat.reshape(w.shape)


@compiled
def _sgd(core, w, g, u, sign, decay, lr, momentum, fresh, per_g, per_u):
    for index in share(core, (w.size + CHUNK - 1) // CHUNK):
        job = slice(index * CHUNK, (index + 1) * CHUNK)
        ws, gs, us = w[job], g[job], u[job]
        if us.size == 0:
            for i in range(ws.size):
                ws[i] -= lr * (sign * gs[i] + decay * ws[i])
        else:
            for i in range(ws.size):
                d = sign * gs[i] + decay * ws[i]
                v = momentum * us[i] + fresh * d
                us[i] = v
                ws[i] -= lr * (per_g * d + per_u * v)


@kernel("sgd.update", "numba", "one_pass")
def sgd(w, g, u, maximize, decay, lr, momentum, fresh, nesterov):
    """``fresh`` is the weight of g in u; u is None where momentum is 0."""
    per_g, per_u = (1, momentum) if nesterov else (0, 1)
    update(_sgd, w, g, [u], maximize, decay, lr, momentum, fresh, per_g, per_u)


@compiled
def _rmsprop(core, w, g, v, m, u, sign, decay, lr, alpha, new, eps, momentum):
    zero = w.dtype.type(0)
    for index in share(core, (w.size + CHUNK - 1) // CHUNK):
        job = slice(index * CHUNK, (index + 1) * CHUNK)
        ws, gs, vs, ms, us = w[job], g[job], v[job], m[job], u[job]
        for i in range(ws.size):
            d = sign * gs[i] + decay * ws[i]
            variance = alpha * vs[i] + new * d * d
            vs[i] = variance
            if ms.size:
                mean = alpha * ms[i] + new * d
                ms[i] = mean
                variance -= mean * mean
                variance = zero if variance < zero else variance  # which rounding can bring about
            step = d / (np.sqrt(variance) + eps)
            if us.size:
                step += momentum * us[i]
                us[i] = step
            ws[i] -= lr * step


@kernel("rmsprop.update", "numba", "one_pass")
def rmsprop(w, g, v, m, u, maximize, decay, lr, alpha, eps, momentum):
    """m is None unless centred, u where momentum is 0."""
    update(_rmsprop, w, g, [v, m, u], maximize, decay, lr, alpha, 1 - alpha, eps, momentum)


@compiled
def _adam(core, w, g, m, v, sign, decay, shrink, per_m, per_g, beta1, new1, beta2, new2, per_root, eps):
    for index in share(core, (w.size + CHUNK - 1) // CHUNK):
        job = slice(index * CHUNK, (index + 1) * CHUNK)
        ws, gs, ms, vs = w[job], g[job], m[job], v[job]
        for i in range(ws.size):
            d = sign * gs[i] + decay * ws[i]
            mean = beta1 * ms[i] + new1 * d
            square = beta2 * vs[i] + new2 * d * d
            ms[i], vs[i] = mean, square
            ws[i] = shrink * ws[i] - (per_m * mean + per_g * d) / (np.sqrt(square) * per_root + eps)


@kernel("adam.update", "numba", "one_pass")
def adam(w, g, m, v, maximize, decay, shrink, lr, beta1, beta2, eps, t):
    """``shrink`` is AdamW's 1 − lr · weight_decay, and 1 for Adam."""
    new1, new2, per_root = 1 - beta1, 1 - beta2, 1 / sqrt(1 - beta2**t)
    per_m = lr / (1 - beta1**t)
    update(_adam, w, g, [m, v], maximize, decay, shrink, per_m, 0, beta1, new1, beta2, new2, per_root, eps)


@kernel("nadam.update", "numba", "one_pass")
def nadam(w, g, m, v, maximize, decay, ahead, now, beta1, beta2, eps, t):
    """``ahead`` and ``now`` are lr times the weights of m and g in m̂."""
    new1, new2, per_root = 1 - beta1, 1 - beta2, 1 / sqrt(1 - beta2**t)
    update(_adam, w, g, [m, v], maximize, decay, 1, ahead, now, beta1, new1, beta2, new2, per_root, eps)


@compiled
def _adamax(core, w, g, m, u, sign, decay, per_m, beta1, new1, beta2, eps):
    for index in share(core, (w.size + CHUNK - 1) // CHUNK):
        job = slice(index * CHUNK, (index + 1) * CHUNK)
        ws, gs, ms, us = w[job], g[job], m[job], u[job]
        for i in range(ws.size):
            d = sign * gs[i] + decay * ws[i]
            mean = beta1 * ms[i] + new1 * d
            before, now = beta2 * us[i], abs(d) + eps
            largest = before if before > now else now
            ms[i], us[i] = mean, largest
            ws[i] -= per_m * mean / largest


@kernel("adamax.update", "numba", "one_pass")
def adamax(w, g, m, u, maximize, decay, lr, beta1, beta2, eps, t):
    """Adam with the largest recent gradient u."""
    update(_adamax, w, g, [m, u], maximize, decay, lr / (1 - beta1**t), beta1, 1 - beta1, beta2, eps)
