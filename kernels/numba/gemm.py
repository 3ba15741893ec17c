"""The sweep of register tiles over a whole convolution pass, on all cores.

Two sweeps, with the same micro-kernel inside. ``sweep`` serves the passes whose rows are pixels
(forward, gradient to the input): tiles go over pixels, and the result is written channel by channel.
``correlate`` serves the gradient to the weights, whose rows are weights and whose sum runs over pixels.

Both keep W in blocks of DEPTH rows, which stay in the first-level cache while BLOCK rows of Y pass by.
Numbers are added in one order whatever the number of threads, so that results repeat exactly.
"""

from __future__ import annotations

import numpy as np

from minicnn.kernels.numba.compiling import compiled, helper, share
from minicnn.kernels.numba.micro import tile
from minicnn.kernels.numba.scratch import scratch
from minicnn.kernels.numba.turning import turn

BLOCK = 96  # rows of Y in a job: a multiple of most tiles' rows
DEPTH = 256  # rows of W at a time: 256 rows of 64 bytes are half of a 32 KiB cache


@helper
def multiply(x, x0, base, base0, count, offset, K, w, w0, y, y0, width, fresh, rows_tag, vectors_tag):
    """y[y0 + q·width + o] = Σ_k x[x0 + base[base0 + q] + offset_k] w[w0 + k·width + o], for q below count.

    Added to y unless fresh. base and y have room for the surplus rows of the last tile.
    """
    for k in range(0, K, DEPTH):
        depth = min(DEPTH, K - k)
        for q in range(0, count, len(rows_tag)):
            tile(
                x,
                x0,
                base,
                base0 + q,
                offset,
                k,
                depth,
                w,
                w0 + k * width,
                y,
                y0 + q * width,
                width,
                None,
                fresh and k == 0,
                rows_tag,
                vectors_tag,
            )


@compiled
def sweep(core, x, w, bias, bounds, offset, grid, x_steps, y, y_steps, channels, rows_tag, vectors_tag):
    """y[where q's result belongs + o · y_steps[4]] = clip(bias[o] + Σ_k x[base_q + offset_k] w[k, o]).

    x, y: flat. w: (groups, blocks of channels, K, width). grid: images, groups, rows and columns of
    pixels; x_steps and y_steps: how far to go in x and y for one of each; then, for y, for one channel,
    and where to begin.
    """
    rows, width = len(rows_tag), w.shape[3]
    N, G, QH, QW = grid
    blocks, K = w.shape[1], w.shape[2]
    flat_w = w.reshape(-1)
    pixels = QH * QW
    total = N * pixels
    jobs_per_group = (total + BLOCK - 1) // BLOCK
    base, home = np.empty(BLOCK + rows, np.int64), np.empty(BLOCK, np.int64)
    sums = np.empty((BLOCK + rows) * width, x.dtype)
    for job in share(core, G * jobs_per_group):
        g = job // jobs_per_group
        q0 = job % jobs_per_group * BLOCK
        count = min(BLOCK, total - q0)
        n, pixel = divmod(q0, pixels)
        h, v = divmod(pixel, QW)
        for q in range(count):  # counted on, which spares two divisions for each pixel
            base[q] = n * x_steps[0] + g * x_steps[1] + h * x_steps[2] + v * x_steps[3]
            home[q] = y_steps[5] + n * y_steps[0] + g * y_steps[1] + h * y_steps[2] + v * y_steps[3]
            v += 1
            if v == QW:
                h, v = h + 1, 0
                if h == QH:
                    n, h = n + 1, 0
        for q in range(count, count + rows):
            base[q] = base[0]  # the last tile's surplus rows compute something, and are not kept
        for block in range(blocks):
            first = block * width
            w0 = (g * blocks + block) * K * width
            multiply(x, 0, base, 0, count, offset, K, flat_w, w0, sums, 0, width, True, rows_tag, vectors_tag)
            here = min(width, channels - first)
            start = 0
            while start < count:  # one run of neighbouring results after the other, channel by channel
                end = start + 1
                while end < count and home[end] == home[end - 1] + 1:
                    end += 1
                at, o = home[start] + first * y_steps[4], g * channels + first
                turn(
                    sums,
                    start * width,
                    width,
                    end - start,
                    y,
                    at,
                    y_steps[4],
                    here,
                    bias,
                    o,
                    bounds,
                    True,
                    False,
                )
                start = end


@compiled
def correlate(core, x, image, group, base, offset, w, parts, rows_tag, vectors_tag):
    """parts[p, g, block, q, o] = Σ_n Σ_k x[n · image + g · group + base_q + offset_k] · w[n, g, block, k, o].

    x: flat. base: (Q + rows,), the last ``rows`` repeating any of the others. w: (N, groups, blocks, K,
    width), a packed gradient. The images are dealt out to the parts p, which the caller adds up.
    """
    rows = len(rows_tag)
    N, G, blocks, K, width = w.shape
    flat_w = w.reshape(-1)
    Q = base.size - rows
    P = parts.shape[0]
    q_blocks = (Q + BLOCK - 1) // BLOCK
    for index in share(core, P * G * blocks * q_blocks):
        rest, q_block = divmod(index, q_blocks)
        rest, block = divmod(rest, blocks)
        part, g = divmod(rest, G)
        q0 = q_block * BLOCK
        count = min(BLOCK, Q - q0)
        sums = np.zeros((BLOCK + rows) * width, x.dtype)
        for n in range(part * N // P, (part + 1) * N // P):
            x0, w0 = n * image + g * group, ((n * G + g) * blocks + block) * K * width
            multiply(
                x, x0, base, q0, count, offset, K, flat_w, w0, sums, 0, width, False, rows_tag, vectors_tag
            )
        for q in range(count):
            for o in range(width):
                parts[part, g, block, q0 + q, o] = sums[q * width + o]


@compiled
def _pack(core, source, matrix_step, channel_step, outer_step, offsets, channels, out):
    matrices, blocks, K, width = out.shape
    inner = offsets.size
    for index in share(core, matrices * blocks):
        m, block = divmod(index, blocks)
        here = min(width, channels - block * width)
        first = m * matrix_step + block * width * channel_step
        for outer in range(K // inner):
            at = first + outer * outer_step
            for j in range(inner):
                k = outer * inner + j
                for o in range(here):
                    out[m, block, k, o] = source[at + offsets[j] + o * channel_step]
                for o in range(here, width):
                    out[m, block, k, o] = 0


@compiled
def _pack_rows(core, source, matrix_step, channel_step, channels, out):
    matrices, blocks, K, width = out.shape
    flat = out.reshape(-1)
    for index in share(core, matrices * blocks):
        m, block = divmod(index, blocks)
        here = min(width, channels - block * width)
        first = m * matrix_step + block * width * channel_step
        to = index * K * width
        turn(source, first, channel_step, here, flat, to, width, K, None, 0, None, False, True)
        for o in range(here, width):
            for k in range(K):
                out[m, block, k, o] = 0


def packed(source, matrices, channels, places, steps, width, outer=1):
    """The layout that tiles read: (matrices, blocks of channels, K, width), channels side by side.

    Number k = (o, j) of channel c in matrix m, for o below ``outer``, is
    source[m · steps[0] + c · steps[1] + o · steps[2] + places[j]]. If places is a number rather than
    an array, they are 0, 1, … below it. The last block is filled up with zeros. In scratch memory.
    """
    source = source.reshape(-1)
    K = places if isinstance(places, int) else outer * places.size
    out = scratch("packed", (matrices, -(-channels // width), K, width), source.dtype)
    if isinstance(places, int):
        _pack_rows(source, *steps, channels, out)
    else:
        _pack(source, *steps, places, channels, out)
    return out
