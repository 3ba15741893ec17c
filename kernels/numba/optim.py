"""The optimisers' updates, in place: each parameter, its gradient and its state are read once, and written.

The bare launch of a compiled function, some 3 µs, is less than the NumPy calls of one update, so that biases
go the same way as the large weights.
"""

from math import sqrt

import numpy as np

from minicnn.kernels.numba.compiling import compiled, plain
from minicnn.kernels.numba.elementwise import entries
from minicnn.kernels.numpy.optim import for_each
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
    if u.size == 0:
        for i in entries(core, w.size):
            w[i] -= lr * (sign * g[i] + decay * w[i])
    else:
        for i in entries(core, w.size):
            d = sign * g[i] + decay * w[i]
            v = momentum * u[i] + fresh * d
            u[i] = v
            w[i] -= lr * (per_g * d + per_u * v)


@kernel("sgd.update", "numba", "one_pass")
@for_each
def sgd(w, g, u, maximize, decay, lr, momentum, fresh, nesterov):
    """``fresh`` is the weight of g in u; u is None where momentum is 0."""
    per_g, per_u = (1, momentum) if nesterov else (0, 1)
    update(_sgd, w, g, [u], maximize, decay, lr, momentum, fresh, per_g, per_u)


@compiled
def _rmsprop(core, w, g, v, m, u, sign, decay, lr, alpha, new, eps, momentum):
    zero = w.dtype.type(0)
    for i in entries(core, w.size):
        d = sign * g[i] + decay * w[i]
        variance = alpha * v[i] + new * d * d
        v[i] = variance
        if m.size:
            mean = alpha * m[i] + new * d
            m[i] = mean
            variance -= mean * mean
            variance = zero if variance < zero else variance  # which rounding can bring about
        step = d / (np.sqrt(variance) + eps)
        if u.size:
            step += momentum * u[i]
            u[i] = step
        w[i] -= lr * step


@kernel("rmsprop.update", "numba", "one_pass")
@for_each
def rmsprop(w, g, v, m, u, maximize, decay, lr, alpha, eps, momentum):
    """m is None unless centred, u where momentum is 0."""
    update(_rmsprop, w, g, [v, m, u], maximize, decay, lr, alpha, 1 - alpha, eps, momentum)


@compiled
def _adam(core, w, g, m, v, sign, decay, shrink, per_m, per_g, beta1, new1, beta2, new2, per_root, eps):
    for i in entries(core, w.size):
        d = sign * g[i] + decay * w[i]
        mean = beta1 * m[i] + new1 * d
        square = beta2 * v[i] + new2 * d * d
        m[i], v[i] = mean, square
        w[i] = shrink * w[i] - (per_m * mean + per_g * d) / (np.sqrt(square) * per_root + eps)


@kernel("adam.update", "numba", "one_pass")
@for_each
def adam(w, g, m, v, maximize, decay, shrink, lr, beta1, beta2, eps, t):
    """``shrink`` is AdamW's 1 − lr · weight_decay, and 1 for Adam."""
    new1, new2, per_root = 1 - beta1, 1 - beta2, 1 / sqrt(1 - beta2**t)
    per_m = lr / (1 - beta1**t)
    update(_adam, w, g, [m, v], maximize, decay, shrink, per_m, 0, beta1, new1, beta2, new2, per_root, eps)


@kernel("nadam.update", "numba", "one_pass")
@for_each
def nadam(w, g, m, v, maximize, decay, ahead, now, beta1, beta2, eps, t):
    """``ahead`` and ``now`` are lr times the weights of m and g in m̂."""
    new1, new2, per_root = 1 - beta1, 1 - beta2, 1 / sqrt(1 - beta2**t)
    update(_adam, w, g, [m, v], maximize, decay, 1, ahead, now, beta1, new1, beta2, new2, per_root, eps)


@compiled
def _adamax(core, w, g, m, u, sign, decay, per_m, beta1, new1, beta2, eps):
    for i in entries(core, w.size):
        d = sign * g[i] + decay * w[i]
        mean = beta1 * m[i] + new1 * d
        before, now = beta2 * u[i], abs(d) + eps
        largest = before if before > now else now
        m[i], u[i] = mean, largest
        w[i] -= per_m * mean / largest


@kernel("adamax.update", "numba", "one_pass")
@for_each
def adamax(w, g, m, u, maximize, decay, lr, beta1, beta2, eps, t):
    """Adam with the largest recent gradient u."""
    update(_adamax, w, g, [m, u], maximize, decay, lr / (1 - beta1**t), beta1, 1 - beta1, beta2, eps)
