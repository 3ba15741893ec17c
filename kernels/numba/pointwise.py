"""1×1 convolution: a matrix product over channels, in the images' own layout.

    y[n, o, p] = Σ_k A[o, k] · x[n, k, p]        for the pixels p of each image n

Forward, A is the weights; for the gradient to the input, the weights transposed. Here it is the pixels
that lie side by side, in x and in y: vectors run over pixels, and the tile's rows, one number at a time,
over A. Blocks of pixels are copied together first, so that a tile reads one stream rather than a line
from each of a thousand planes. The gradient to the weights sums over pixels and is conv.py's own.
"""

from __future__ import annotations

import numpy as np
from numba import get_num_threads

from minicnn.kernels.geometry import Window
from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.numba.gemm import DEPTH
from minicnn.kernels.numba.micro import PIXELS, move, tile
from minicnn.kernels.numba.rows import clip
from minicnn.kernels.numba.scratch import scratch
from minicnn.kernels.numba.turning import FREE, bias_of, bounds_of, turned
from minicnn.kernels.numba.vectors import VECTOR_BYTES
from minicnn.kernels.registry import kernel

BLOCK_BYTES = 128 << 10  # of pixels copied together: they stay in the second-level cache


@compiled
def _product(core, A, bias, bounds, x, blocks, sums, y, offset, rows_tag, vectors_tag):
    N, K, P = x.shape
    _, O, _ = y.shape
    rows, width = len(rows_tag), sums.shape[2]
    lanes = VECTOR_BYTES // x.itemsize
    parts = blocks.shape[1] // width
    total = N * P
    bounded = bounds[0] > -np.inf or bounds[1] < np.inf
    flat_x, flat_y = x.reshape(-1), y.reshape(-1)
    for index in share(core, (total + parts * width - 1) // (parts * width)):
        q0 = index * parts * width
        thread = core[0]
        block, out = blocks[thread].reshape(-1), sums[thread]  # (parts, K, width); (rows, width)
        flat_out = out.reshape(-1)
        used = min(parts, (total - q0 + width - 1) // width)
        home = np.empty(used, np.int64)  # where a part's pixels are in x, for k = 0
        whole = np.empty(used, np.bool_)  # whether they are all of one image
        for part in range(used):
            n, p = divmod(q0 + part * width, P)
            home[part], whole[part] = n * K * P + p, p + width <= P
        for k in range(K):
            for part in range(used):
                if whole[part]:
                    for v in range(0, width, lanes):
                        move(flat_x, home[part] + k * P + v, block, (part * K + k) * width + v)
        for part in range(used):
            if not whole[part]:  # the end of an image, and the beginning of the next
                for i in range(min(width, total - q0 - part * width)):
                    n, p = divmod(q0 + part * width + i, P)
                    for k in range(K):
                        block[(part * K + k) * width + i] = x[n, k, p]
        base = np.empty(rows, np.int64)
        start = np.empty(rows, x.dtype)
        complete = O - O % rows
        for k in range(0, K, DEPTH):
            for part in range(used):
                if whole[part]:
                    n, p = divmod(q0 + part * width, P)
                    for o in range(0, complete, rows):
                        for r in range(rows):
                            base[r] = (o + r) * K
                            start[r] = bias[o + r]
                        tile(
                            A,
                            k,
                            base,
                            0,
                            offset,
                            0,
                            min(DEPTH, K - k),
                            block,
                            (part * K + k) * width,
                            flat_y,
                            (n * O + o) * P + p,
                            P,
                            start,
                            k == 0,
                            rows_tag,
                            vectors_tag,
                        )
                        if bounded and k + DEPTH >= K:
                            for r in range(rows):
                                clip(flat_y, (n * O + o + r) * P + p, width, bounds)
        for part in range(used):
            for o in range(complete if whole[part] else 0, O, rows):
                for r in range(rows):
                    base[r] = min(o + r, O - 1) * K
                    start[r] = bias[min(o + r, O - 1)]
                tile(
                    A,
                    0,
                    base,
                    0,
                    offset,
                    0,
                    K,
                    block,
                    part * K * width,
                    flat_out,
                    0,
                    width,
                    start,
                    True,
                    rows_tag,
                    vectors_tag,
                )
                clip(flat_out, 0, rows * width, bounds)
                for i in range(min(width, total - q0 - part * width)):
                    n, p = divmod(q0 + part * width + i, P)
                    for r in range(min(rows, O - o)):
                        y[n, o + r, p] = out[r, i]


def product(A, bias, x, bounds=FREE):
    """y[n, o, p] = clip(Σ_k A[o, k] · x[n, k, p] + bias[o]), with A (O, K), x (N, K, P), y (N, O, P)."""
    (N, K, P), O = x.shape, len(A)
    shape, threads = PIXELS, get_num_threads()
    width = shape.width(x.dtype)
    y = np.empty((N, O, P), x.dtype)
    pixels = max(2, min(16, BLOCK_BYTES // (K * width * x.itemsize))) * width
    blocks = scratch("pointwise pixels", (threads, pixels, K), x.dtype)
    sums = scratch("pointwise sums", (threads, shape.rows, width), x.dtype)
    _product(A.reshape(-1), bias, bounds_of(bounds, x.dtype), x, blocks, sums, y, np.arange(K), *shape.tags)
    return y


def suits(_, __, ___, g: Window, *____):
    """Whether this is for the arguments of a kernel, of which the fourth says how windows move."""
    return g == Window((1, 1))


@kernel("conv2d.forward", "numba", "pointwise", suits)
@kernel("conv2d.forward_clipped", "numba", "pointwise", suits)
def forward(x, w, b, g: Window, bounds=FREE):
    """(N, C, H, W), (OC, C, 1, 1), (OC,) or None -> (N, OC, H, W), clipped to the bounds."""
    N, C, H, W = x.shape
    OC = w.shape[0]
    b = bias_of(b, OC, x.dtype)
    return product(plain(w).reshape(OC, C), b, plain(x).reshape(N, C, H * W), bounds).reshape(N, OC, H, W)


@kernel("conv2d.grad_input", "numba", "pointwise", suits)
def grad_input(gy, w, x_shape, g: Window):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    N, C = x_shape[:2]
    OC = w.shape[0]
    transposed = turned(plain(w).reshape(OC, C))
    gy = plain(gy).reshape(N, OC, gy.shape[2] * gy.shape[3])
    return product(transposed, bias_of(None, C, gy.dtype), gy).reshape(x_shape)
