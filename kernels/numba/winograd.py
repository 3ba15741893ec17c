"""Winograd's convolution of 3×3 filters: fewer multiplications for the same result, nearly.

Four outputs of a filter of three taps depend on six inputs, and take twelve products. But both are
polynomials, convolution is their product, and a product of degree five is known from its values at six
points: six products. In two dimensions 36 take the place of 144. In the matrices of the algorithm,

    y = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ x B) ] A

turns a tile of m+2 by m+2 pixels x and a filter w into m by m outputs y. Summed over input channels, the
⊙ of each point is a matrix product over (tiles × channels), which register tiles compute. Bᵀ, G and Aᵀ
follow from the points alone (kernels/winograd.py).

The gradient to the input is a convolution with the filters turned by half a turn and their channels
exchanged. In the gradient to the weights, it is the weights that are outputs (3×3), and a tile of gy
takes the filter's part (m×m): the same points, and so the same Bᵀ.

What the products save, accuracy pays for: values at points of size 2 grow by powers of it. Root mean
square errors of float32 against float64, for sums over 256 channels, relative to the results' own size: 8e-7
directly, 5e-7 with m = 2, which adds fewer numbers up, and 3.3e-6 with m = 4. ``mc.use(forbid="winograd")``
and ``"winograd2"`` do without.

Sources: Winograd 1980, "Arithmetic complexity of computations"; Lavin & Gray 2015, "Fast algorithms for
convolutional neural networks".
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import get_num_threads

from minicnn.kernels.geometry import Window
from minicnn.kernels.numba.compiling import compiled, helper, plain, share
from minicnn.kernels.numba.gemm import multiply, packed
from minicnn.kernels.numba.micro import tile_for
from minicnn.kernels.numba.sandwich import sandwich, tag
from minicnn.kernels.numba.scratch import LINE, scratch
from minicnn.kernels.numba.turning import FREE, bias_of, bounds_of, channels_last, turn
from minicnn.kernels.numba.vectors import VECTOR_BYTES
from minicnn.kernels.registry import kernel
from minicnn.kernels.winograd import suits

CACHE_BYTES, MOST_BYTES = 384 << 10, 8 << 20  # of transformed tiles at a time, for each core; in all
BLOCK = 48  # tiles whose products one job holds: 36 · 48 · 16 numbers, in the second-level cache
CHANNELS = 16  # input channels of the weights' gradient in a job


@compiled
def _filters(core, w, n, U, G):
    """U[point, block, c, o] = (G w Gᵀ)[point], w packed: (blocks, C · 9, width)."""
    blocks, K, width = w.shape
    flat, out, step = w.reshape(-1), U.reshape(-1), U.shape[1]
    lanes = VECTOR_BYTES // w.itemsize
    for index in share(core, blocks * K // 9):
        at = index * width
        for o in range(0, width, lanes):
            sandwich(flat, at * 9 + o, 3 * width, width, out, at + o, n * step, step, G)


@helper
def _where(tile_number, TH, TW):
    """The image, the row and the column of a tile."""
    image, place = divmod(tile_number, TH * TW)
    th, tw = divmod(place, TW)
    return image, th, tw


@helper
def _spread(x, shape, where, m, n, block, channels, y, y0, y_step, next_block, M):
    """y[point, …] = (M x Mᵀ)[point] for one tile of x (N, H, W, C), ``block`` channels after the other."""
    _, H, W, C = shape
    image, th, tw = where
    lanes = VECTOR_BYTES // x.itemsize
    x0 = ((image * H + th * m) * W + tw * m) * C
    for first in range(0, channels, block):
        for c in range(0, min(block, channels - first), lanes):
            to = y0 + first // block * next_block + c
            sandwich(x, x0 + first + c, W * C, C, y, to, n * y_step, y_step, M)


@helper
def _put(out, width, t0, count, TH, TW, m, y, shape, first, bias, bounds):
    """Tiles of outputs, channels side by side, to their places in y, neighbours in a row together."""
    _, OC, OH, OW = shape
    q = 0
    while q < count:
        image, th, tw = _where(t0 + q, TH, TW)
        run = min(TW - tw, count - q)
        pixels, channels = min(run * m, OW - tw * m), min(width, OC - first)
        for i in range(min(m, OH - th * m)):
            x0 = (i * BLOCK + q) * m * width
            y0 = ((image * OC + first) * OH + th * m + i) * OW + tw * m
            turn(out, x0, width, pixels, y, y0, OH * OW, channels, bias, first, bounds, True, False)
        q += run


@compiled
def _transform(core, x, grid, m, n, t0, count, width, V, next_block, M):
    """V[point, …] = (M x Mᵀ)[point] for so many tiles of x (N, H, W, C) from t0 on, m pixels apart."""
    flat_x, flat_V = x.reshape(-1), V.reshape(-1)
    for t in share(core, count):
        where = _where(t0 + t, *grid)
        _spread(flat_x, x.shape, where, m, n, width, x.shape[3], flat_V, t * width, V.shape[1], next_block, M)


@compiled
def _multiply(core, V, U, CP, C, bias, bounds, grid, m, t0, count, memory, y, offset, A, rows, vectors):
    """y = Aᵀ [U ⊙ V] A, for so many tiles from t0 on; memory: for products and for outputs, of each core."""
    products, outputs = memory
    n, width, held = m + 2, products.shape[3], products.shape[2]
    blocks = -(-y.shape[1] // width)
    lanes, step = VECTOR_BYTES // V.itemsize, held * width
    flat_V, flat_U, flat_y = V.reshape(-1), U.reshape(-1), y.reshape(-1)
    M, out = products[core[0]].reshape(-1), outputs[core[0]].reshape(-1)
    base = np.empty(held, np.int64)
    # One job's blocks follow each other, so that they run on the core that made the tiles.
    for index in share(core, blocks * ((count + BLOCK - 1) // BLOCK)):
        job, block = divmod(index, blocks)
        first, here = job * BLOCK, min(BLOCK, count - job * BLOCK)
        for q in range(held):  # the last register tile's surplus rows repeat a row
            base[q] = (first + min(q, here - 1)) * CP
        for point in range(n * n):
            v, u = point * V.shape[1], point * U.shape[1] + block * C * width
            multiply(
                flat_V, v, base, 0, here, offset, C, flat_U, u, M, point * step, width, True, rows, vectors
            )
        for q in range(here):
            for o in range(q * width, (q + 1) * width, lanes):
                to = o + q * (m - 1) * width
                sandwich(M, o, n * step, step, out, to, BLOCK * m * width, width, A)
        _put(out, width, t0 + first, here, *grid, m, flat_y, y.shape, block * width, bias, bounds)


@compiled
def _correlate(core, V, Z, blocks, count, fresh, sums, held, width, offset, base, rows, vectors):
    """sums[point, block, c, o] = Σ_t V[point, t, c] · Z[point, block, t, o]; added to unless fresh."""
    chunk = offset.size
    flat_V, flat_Z, flat_sums = V.reshape(-1), Z.reshape(-1), sums.reshape(-1)
    for index in share(core, len(V) * blocks):
        point, block = divmod(index, blocks)
        v, z = point * V.shape[1], point * Z.shape[1] + block * chunk * width
        to = point * sums.shape[1] + block * held * width
        multiply(
            flat_V, v, base, 0, held, offset, count, flat_Z, z, flat_sums, to, width, fresh, rows, vectors
        )


@compiled
def _weights(core, sums, n, held, width, outputs, gw, A):
    """gw = Aᵀ sums A."""
    OC, C = gw.shape[:2]
    flat, flat_gw, step = sums.reshape(-1), gw.reshape(-1), sums.shape[1]
    lanes = VECTOR_BYTES // gw.itemsize
    parts = (C + CHANNELS - 1) // CHANNELS
    out = outputs[core[0]].reshape(-1)
    for index in share(core, -(-OC // width) * parts):
        block, part = divmod(index, parts)
        c0, first = part * CHANNELS, block * width
        here, channels = min(CHANNELS, C - c0), min(width, OC - first)
        for c in range(here):
            for o in range(0, width, lanes):
                at = (block * held + c0 + c) * width + o
                sandwich(flat, at, n * step, step, out, c * 9 * width + o, 3 * width, width, A)
        to = (first * C + c0) * 9
        turn(out, 0, width, here * 9, flat_gw, to, C * 9, channels, None, 0, None, True, False)


def by_point(use: str, n: int, size: int, dtype: np.dtype) -> np.ndarray:
    """Scratch memory (n², size or a little more), in which the points lie an odd number of lines apart.

    Were they a power of two apart, all n² entries of a tile would compete for the same few places of the
    cache, and F(4, 3) would take twice as long.
    """
    lines = -(-size * dtype.itemsize // LINE) | 1
    return scratch(use, (n * n, lines * LINE // dtype.itemsize), dtype)


def chunk_of(tiles: int, row_bytes: int, other_bytes: int) -> int:
    """How many tiles to transform before they are multiplied.

    Few enough to be in the second-level cache still, but for large filters as many as take their size:
    each chunk reads all of the filters.
    """
    budget = max(CACHE_BYTES * get_num_threads(), min(other_bytes, MOST_BYTES))
    return min(tiles, max(2 * BLOCK, budget // row_bytes // BLOCK * BLOCK))


def convolution(x, w, b, OC, taps, steps, padding, size, m, bounds=FREE):
    """x (N, C, H, W) with filters of which ``packed`` says how to read them -> (N, OC, *size)."""
    N, C = x.shape[:2]
    y = np.empty((N, OC, *size), x.dtype)
    if N == 0:
        return y
    TH, TW = -(-size[0] // m), -(-size[1] // m)
    shape, n, threads = tile_for(x.dtype, OC), m + 2, get_num_threads()
    width, lanes = shape.width(x.dtype), VECTOR_BYTES // x.itemsize
    CP = -(-C // lanes) * lanes
    U = by_point("winograd filters", n, -(-OC // width) * C * width, x.dtype)
    _filters(packed(plain(w), 1, OC, taps, (w.size, *steps), width, C)[0], n, U, tag(m, 3, "G"))
    first = padding[0][0], padding[1][0]
    x = channels_last("winograd image", x, first, (m * TH + 2, m * TW + 2), CP)
    chunk = chunk_of(N * TH * TW, n * n * CP * x.itemsize, U.nbytes)
    V = by_point("winograd tiles", n, chunk * CP, x.dtype)
    memory = (
        scratch("winograd products", (threads, n * n, BLOCK + shape.rows, width), x.dtype),
        scratch("winograd outputs", (threads, m * m, BLOCK, width), x.dtype),
    )
    numbers, offset = (bias_of(b, OC, x.dtype), bounds_of(bounds, x.dtype), (TH, TW), m), np.arange(C)
    for t0 in range(0, N * TH * TW, chunk):
        count = min(chunk, N * TH * TW - t0)
        _transform(x, (TH, TW), m, n, t0, count, CP, V, 0, tag(m, 3, "B"))
        _multiply(V, U, CP, C, *numbers, t0, count, memory, y, offset, tag(m, 3, "A"), *shape.tags)
    return y


def forward(x, w, b, g: Window, bounds=FREE, *, m: int):
    """(N, C, H, W), (OC, C, 3, 3), (OC,) or None -> (N, OC, OH, OW), clipped to the bounds."""
    (OC, C), size = w.shape[:2], g.output_size(*x.shape[2:])
    return convolution(x, w, b, OC, np.arange(9), (9 * C, 9), g.padding, size, m, bounds)


def grad_input(gy, w, x_shape, g: Window, *, m: int):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    C = w.shape[1]
    half_a_turn = np.arange(9)[::-1].copy()
    padding = tuple((2 - before, 2 - after) for before, after in g.padding)
    return convolution(gy, w, None, C, half_a_turn, (9, 9 * C), padding, x_shape[2:], m)


def grad_weight(gy, x, w_shape, g: Window, *, m: int):
    """The gradient of the loss to w, given the gradient gy to y: (OC, C, 3, 3)."""
    (OC, C), (N, _, OH, OW) = w_shape[:2], gy.shape
    if N == 0:
        return np.zeros(w_shape, x.dtype)
    TH, TW = -(-OH // m), -(-OW // m)
    shape, n, threads = tile_for(x.dtype, OC), m + 2, get_num_threads()
    width, lanes = shape.width(x.dtype), VECTOR_BYTES // x.itemsize
    CP, OCP = -(-C // lanes) * lanes, -(-OC // width) * width
    held = -(-C // shape.rows) * shape.rows
    first = g.padding[0][0], g.padding[1][0]
    x = channels_last("winograd image", x, first, (m * TH + 2, m * TW + 2), CP)
    gy = channels_last("winograd gradient", gy, (0, 0), (m * TH, m * TW), OCP)
    sums = by_point("winograd filters", n, held * OCP, x.dtype)
    chunk = chunk_of(N * TH * TW, n * n * (CP + OCP) * x.itemsize, sums.nbytes)
    V = by_point("winograd tiles", n, chunk * CP, x.dtype)
    Z = by_point("winograd gradient tiles", n, chunk * OCP, x.dtype)
    offset, base = np.arange(chunk) * CP, np.minimum(np.arange(held), C - 1)
    for t0 in range(0, N * TH * TW, chunk):
        count = min(chunk, N * TH * TW - t0)
        _transform(x, (TH, TW), m, n, t0, count, CP, V, 0, tag(m, 3, "B"))
        _transform(gy, (TH, TW), m, n, t0, count, width, Z, chunk * width, tag(3, m, "G"))
        _correlate(V, Z, OCP // width, count, t0 == 0, sums, held, width, offset, base, *shape.tags)
    gw = np.empty(w_shape, x.dtype)
    outputs = scratch("winograd outputs", (threads, CHANNELS * 9, width), x.dtype)
    _weights(sums, n, held, width, outputs, gw, tag(3, m, "A"))
    return gw


PARTS: dict[str, Callable[..., Any]] = {
    "forward": forward,
    "forward_clipped": forward,
    "grad_input": grad_input,
    "grad_weight": grad_weight,
}
for _name, _m in (("winograd", 4), ("winograd2", 2)):
    for _part, _function in PARTS.items():
        kernel(f"conv2d.{_part}", "numba", _name, suits)(functools.partial(_function, m=_m))
