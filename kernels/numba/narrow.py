"""Convolution with few output channels, a pixel at a time: vectors run over pixels, not over channels.

In the padded image, the pixels that one filter tap meets lie side by side, and in the next row a fixed
distance further on. So a plane of results is computed as if it were as wide as the padded image:

    y[o, p] = Σ_k A[o, k] · x[p + offset_k]       for p from the first result to the last

with a few surplus results at the end of each row, which are not kept. A's numbers are spread, x is read in
vectors where it lies, and the tile is filled by as few channels as it has rows: six in place of the
sixteen or more that make a vector. The gradient to the weights is the product the other way about,

    gw[o, k] = Σ_p gy[o, p] · x[p + offset_k]

with zeros for the surplus: a tile of vectors of partial sums, each added up when all pixels have passed.
"""

from __future__ import annotations

import numpy as np

from minicnn.kernels.numba.compiling import compiled, helper, plain, share
from minicnn.kernels.numba.micro import PIXELS, dots, tile_of_pixels
from minicnn.kernels.numba.rows import clear, clip, copy
from minicnn.kernels.numba.scratch import scratch
from minicnn.kernels.numba.vectors import VECTOR_BYTES

BLOCK = 1024  # results of a channel in a job: six times as many stay in the first-level cache
PARTS = 16  # jobs for the gradient to the weights; a fixed number, so that results depend on no machine

ROOM = PIXELS.width(np.dtype(np.float32))
"""So many numbers must be readable, and finite, behind the last image: its last tile reaches there."""


def pays(channels: int, pixels: int) -> bool:
    """Whether this is faster than channels in vectors, for so many in each group and a phase's pixels.

    Up to six channels it took half the time; of seven to twelve, from 0.8 to 1.4 times as long.
    """
    return channels <= PIXELS.rows and pixels >= ROOM


@compiled
def sweep(core, x, A, bias, bounds, offset, grid, x_steps, y, y_steps, rows_tag, vectors_tag):
    """y[where p's result belongs] = clip(bias[o] + Σ_k A[g · O + o, k] · x[p + offset_k]).

    x, y, A: flat. grid: images, groups, channels of each, rows and columns of results. x_steps: from one
    image, group and row to the next. y_steps: from one image, channel and row to the next, and where to
    begin.
    """
    rows, lanes = len(rows_tag), VECTOR_BYTES // x.itemsize
    width = len(vectors_tag) * lanes
    N, G, O, QH, QW = grid
    K, pitch = offset.size, x_steps[2]
    height = max(1, BLOCK // pitch)  # rows of results in a job
    blocks = (QH + height - 1) // height
    size = height * pitch + width
    for index in share(core, N * G * blocks):
        rest, block = divmod(index, blocks)
        n, g = divmod(rest, G)
        first = block * height * pitch
        here = min(height, QH - block * height)
        image = n * x_steps[0] + g * x_steps[1]
        sums = np.empty(rows * size, x.dtype)
        base, start = np.empty(rows, np.int64), np.empty(rows, x.dtype)
        for o in range(0, O, rows):
            for r in range(rows):
                channel = g * O + min(o + r, O - 1)
                base[r], start[r] = channel * K, bias[channel]
            for p in range(0, (here - 1) * pitch + QW, width):
                at = image + first + p
                tile_of_pixels(A, base, K, x, at, offset, sums, p, size, start, True, rows_tag, vectors_tag)
            for r in range(min(rows, O - o)):
                clip(sums, r * size, here * pitch, bounds)
                at = y_steps[3] + n * y_steps[0] + (g * O + o + r) * y_steps[1] + block * height * y_steps[2]
                for i in range(here):
                    copy(sums, r * size + i * pitch, y, at + i * y_steps[2], QW)


@compiled
def _widen(core, gy, rows, columns, pitch, out):
    """out[c, n] = gy[n, c] with rows of ``pitch`` numbers, zeros after the first ``columns``."""
    C, N, size = out.shape
    flat = out.reshape(-1)
    for index in share(core, N * C):
        n, c = divmod(index, C)
        clear(flat, (c * N + n) * size, size)
        for i in range(rows):
            copy(gy, (index * rows + i) * columns, flat, (c * N + n) * size + i * pitch, columns)


@helper
def added_up(sums, cell, lanes, total):
    """The total, and the numbers of one of the vectors that ``dots`` leaves."""
    for lane in range(cell * lanes, (cell + 1) * lanes):
        total += sums[lane]
    return total


@compiled
def _correlate(core, x, group, at, offset, gy, channels, parts, rows_tag, vectors_tag):
    P, G, O, K = parts.shape
    rows, together = len(rows_tag), len(vectors_tag)
    lanes = VECTOR_BYTES // x.itemsize
    size = at.size * lanes
    for index in share(core, P * G * (O // rows)):
        rest, block = divmod(index, O // rows)
        part, g = divmod(rest, G)
        first, last = part * at.size // P, (part + 1) * at.size // P
        base, sums = np.empty(rows, np.int64), np.empty(rows * together * lanes, x.dtype)
        for r in range(rows):
            channel = g * channels + min(block * rows + r, channels - 1)
            base[r] = channel * size + first * lanes
        for k in range(0, K, together):
            dots(gy, base, last - first, x, g * group, at, first, offset, k, sums, rows_tag, vectors_tag)
            for r in range(rows):
                for t in range(together):
                    total = added_up(sums, r * together + t, lanes, x.dtype.type(0))
                    parts[part, g, block * rows + r, k + t] = total


def correlate(x, gy, offset, groups):
    """gw[o, k] = Σ_n Σ_p gy[n, o, p] · x[n, p + offset_k], with x padded: (OC, K)."""
    (N, OC, OH, OW), (_, C, H, W) = gy.shape, x.shape
    lanes = VECTOR_BYTES // x.itemsize
    vectors = -(-((OH - 1) * W + OW) // lanes)
    wide = scratch("widened", (OC, N, vectors * lanes), x.dtype)
    _widen(plain(gy).reshape(-1), OH, OW, W, wide)
    at = (np.arange(N)[:, None] * (C * H * W) + np.arange(vectors) * lanes).ravel()
    O, K = OC // groups, offset.size
    offset = np.concatenate([offset, np.full(-K % PIXELS.vectors, offset[0])])
    parts = np.empty((min(N, PARTS), groups, -(-O // PIXELS.rows) * PIXELS.rows, offset.size), x.dtype)
    _correlate(x.reshape(-1), C // groups * H * W, at, offset, wide.reshape(-1), O, parts, *PIXELS.tags)
    return parts.sum(axis=0)[:, :O, :K].reshape(OC, K)
