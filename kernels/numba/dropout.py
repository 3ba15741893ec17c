"""Dropout: the words of Philox's stream are made where they are used, and never written to memory."""

import numpy as np

from minicnn.kernels.numba.compiling import compiled, helper, plain, share
from minicnn.kernels.numba.elementwise import CHUNK
from minicnn.kernels.numpy import dropout as reference
from minicnn.kernels.numpy.philox import MULTIPLIERS, ROUNDS, WEYL_STEPS
from minicnn.kernels.registry import kernel

M0, M1 = (np.uint64(m) for m in MULTIPLIERS)
W0, W1 = (np.uint64(w) for w in WEYL_STEPS)
LOW, HALF = np.uint64(2**32 - 1), np.uint64(32)


@helper
def _philox(block, seed, words):
    """Fill in the words of the blocks from this one on; ``kernels/numpy/philox.py`` says how and why."""
    blocks = words.shape[1]
    for i in range(blocks):
        counter = block + np.uint64(i)
        c0, c1, c2, c3 = counter & LOW, counter >> HALF, np.uint64(0), np.uint64(0)
        k0, k1 = seed & LOW, seed >> HALF
        for _ in range(ROUNDS):
            p0, p1 = M0 * c0, M1 * c2
            c0, c1, c2, c3 = (p1 >> HALF) ^ c1 ^ k0, p1 & LOW, (p0 >> HALF) ^ c3 ^ k1, p0 & LOW
            k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
        words[0, i], words[1, i] = np.uint32(c0), np.uint32(c1)
        words[2, i], words[3, i] = np.uint32(c2), np.uint32(c3)


@compiled
def _forward(core, x, seed, block, skipped, threshold, scale, y, kept):
    zero = x.dtype.type(0)
    for index in share(core, (x.size + CHUNK - 1) // CHUNK):
        first = index * CHUNK
        job = slice(first, first + CHUNK)
        xs, ys, ks = x[job], y[job], kept[job]
        words = np.empty((4, CHUNK // 4 + 1), np.uint32)
        _philox(block + np.uint64(first // 4), seed, words)
        for lane in range(4):  # every fourth entry, beginning with the one that has the lane's first word
            ahead = lane - skipped
            start, row = (ahead, words[lane]) if ahead >= 0 else (ahead + 4, words[lane, 1:])
            for i in range((xs.size - start + 3) // 4):
                keep = row[i] >= threshold
                ks[start + 4 * i] = keep
                ys[start + 4 * i] = xs[start + 4 * i] * (scale if keep else zero)


@kernel("dropout.forward", "numba", "philox")
def forward(x, p, entries, seed, offset):
    """x -> y, and which of the ``entries`` were kept, as a byte each."""
    if tuple(entries) != x.shape:
        return reference.forward(
            x, p, entries, seed, offset
        )  # one decision for a whole channel: they are few
    y, kept = np.empty(x.shape, x.dtype), np.empty(x.shape, np.bool_)
    block, skipped = divmod(offset, 4)
    numbers = np.uint64(seed), np.uint64(block), skipped, reference.threshold(p), reference.scale(p, x.dtype)
    _forward(plain(x).reshape(-1), *numbers, y.reshape(-1), kept.reshape(-1))
    return y, kept


@compiled
def _backward(core, gy, kept, scale, gx):
    zero = gy.dtype.type(0)
    for index in share(core, (gy.size + CHUNK - 1) // CHUNK):
        job = slice(index * CHUNK, (index + 1) * CHUNK)
        gs, ks, out = gy[job], kept[job], gx[job]
        for i in range(gs.size):
            out[i] = gs[i] * (scale if ks[i] else zero)


@kernel("dropout.backward", "numba", "philox")
def backward(gy, kept, p):
    """The gradient to x: gy where x was kept, scaled, and 0 elsewhere."""
    if kept.shape != gy.shape:
        return reference.backward(gy, kept, p)
    gx = np.empty(gy.shape, gy.dtype)
    scale = reference.scale(p, gy.dtype)
    _backward(plain(gy).reshape(-1), plain(kept).reshape(-1), scale, gx.reshape(-1))
    return gx
