"""The optimisers' updates, in place: the parameter w and the state kept for it change, the gradient g not.

Each is the equation of its class in ``minicnn/optim``, which says what the letters mean. What stands first
is common to all: g points the other way where something is to be maximised, and weight decay as the gradient
of an L2 penalty adds decay · w to it.

An operation takes all parameters at once, as a GPU is to start one kernel for all of them: the lists of w and
g, and for each parameter a tuple of its state and a tuple of its numbers. What is written here is the update
of one; :func:`for_each` makes of it what is registered.
"""

import functools
from math import sqrt

import numpy as np

from minicnn.kernels.registry import kernel

# Numbers in a piece: the arrays that an update passes over several times then lie in the cache.
PIECE = 1 << 16


def for_each(update):
    """The update of lists of parameters, given that of one."""

    @functools.wraps(update)
    def update_all(ws, gs, states, numbers):
        for w, g, state, own in zip(ws, gs, states, numbers, strict=True):
            update(w, g, *state, *own)

    return update_all


def pieces(w, *others):
    """Cut arrays of one shape into flat pieces of at most PIECE numbers; those of w are views.

    The state is contiguous as it was made here. A w that is not has no flat view, and is updated whole.
    """
    if not w.flags.c_contiguous:
        yield w, *others
        return
    flat = [None if array is None else array.reshape(-1) for array in (w, *others)]
    for start in range(0, w.size, PIECE):
        yield [None if array is None else array[start : start + PIECE] for array in flat]


def descent(w, g, maximize, decay):
    """The gradient to go down along."""
    g = -g if maximize else g
    return g + decay * w if decay else g


@kernel("sgd.update", "numpy", "in_pieces")
@for_each
def sgd(w, g, u, maximize, decay, lr, momentum, fresh, nesterov):
    """``fresh`` is the weight of g in u; u is None where momentum is 0."""
    for w, g, u in pieces(w, g, u):  # noqa: B020 (each becomes its piece)
        g = descent(w, g, maximize, decay)
        if momentum:
            u *= momentum
            u += fresh * g
            g = g + momentum * u if nesterov else u
        w -= lr * g


@kernel("rmsprop.update", "numpy", "in_pieces")
@for_each
def rmsprop(w, g, v, m, u, maximize, decay, lr, alpha, eps, momentum):
    """m is None unless centred, u where momentum is 0."""
    for w, g, v, m, u in pieces(w, g, v, m, u):  # noqa: B020 (each becomes its piece)
        g = descent(w, g, maximize, decay)
        v *= alpha
        v += (1 - alpha) * g * g
        if m is None:
            d = g / (np.sqrt(v) + eps)
        else:
            m *= alpha
            m += (1 - alpha) * g
            d = g / (np.sqrt(np.maximum(v - m * m, 0)) + eps)  # rounding can put v - m² below zero
        if momentum:
            u *= momentum
            u += d
            d = u
        w -= lr * d


@kernel("adam.update", "numpy", "in_pieces")
@for_each
def adam(w, g, m, v, maximize, decay, shrink, lr, beta1, beta2, eps, t):
    """``shrink`` is AdamW's 1 − lr · weight_decay, and 1 for Adam."""
    for w, g, m, v in pieces(w, g, m, v):  # noqa: B020 (each becomes its piece)
        g = descent(w, g, maximize, decay)
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        w *= shrink
        w -= lr / (1 - beta1**t) * m / (np.sqrt(v) / sqrt(1 - beta2**t) + eps)


@kernel("adamax.update", "numpy", "in_pieces")
@for_each
def adamax(w, g, m, u, maximize, decay, lr, beta1, beta2, eps, t):
    """Adam with the largest recent gradient u."""
    for w, g, m, u in pieces(w, g, m, u):  # noqa: B020 (each becomes its piece)
        g = descent(w, g, maximize, decay)
        m *= beta1
        m += (1 - beta1) * g
        u *= beta2
        np.maximum(u, np.abs(g) + eps, out=u)
        w -= lr / (1 - beta1**t) * m / u


@kernel("nadam.update", "numpy", "in_pieces")
@for_each
def nadam(w, g, m, v, maximize, decay, ahead, now, beta1, beta2, eps, t):
    """``ahead`` and ``now`` are lr times the weights of m and g in m̂."""
    for w, g, m, v in pieces(w, g, m, v):  # noqa: B020 (each becomes its piece)
        g = descent(w, g, maximize, decay)
        m *= beta1
        m += (1 - beta1) * g
        v *= beta2
        v += (1 - beta2) * g * g
        w -= (ahead * m + now * g) / (np.sqrt(v) / sqrt(1 - beta2**t) + eps)
