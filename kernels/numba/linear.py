"""The fully connected layer: three matrix products, in register tiles.

    y  = x wᵀ + b      both read along their rows: tiles of dot products
    gx = gy w          A B, as in a textbook, with A's numbers spread and B's rows in vectors
    gw = gyᵀ x         the same

At the batch sizes of training it is a matter of reading the weights once: VGG-16's first fully connected
layer alone has 411 MB of them. Written here rather than left to BLAS, whose threads go on spinning after each
call and would take the cores from the kernels that follow.
"""

import numpy as np

from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.numba.micro import PIXELS, dots, tile_of_pixels
from minicnn.kernels.numba.narrow import added_up
from minicnn.kernels.numba.scratch import scratch
from minicnn.kernels.numba.turning import turned
from minicnn.kernels.numba.vectors import VECTOR_BYTES
from minicnn.kernels.registry import kernel

BLOCK_BYTES, DEPTH = 256 << 10, 64  # of B at a time: they stay in the second-level cache; rows of them
ROWS = 96  # of C in a job


@compiled
def _dot_products(core, x, w, b, y, along, first, rows_tag, vectors_tag):
    M, K = x.shape
    O = w.shape[0]
    rows, together, lanes = len(rows_tag), len(vectors_tag), VECTOR_BYTES // x.itemsize
    flat_x, flat_w = x.reshape(-1), w.reshape(-1)
    for block in share(core, (O + rows - 1) // rows):
        base, sums = np.empty(rows, np.int64), np.empty(rows * together * lanes, x.dtype)
        for r in range(rows):
            base[r] = min(block * rows + r, O - 1) * K
        for m in range(0, M, together):
            dots(flat_w, base, along.size, flat_x, 0, along, 0, first, m, sums, rows_tag, vectors_tag)
            for r in range(min(rows, O - block * rows)):
                o = block * rows + r
                for t in range(min(together, M - m)):
                    total = added_up(sums, r * together + t, lanes, b[o])
                    for k in range(along.size * lanes, K):
                        total += x[m + t, k] * w[o, k]
                    y[m + t, o] = total


@kernel("linear.forward", "numba", "tiles")
def forward(x, w, b):
    """x (M, K), w (O, K), b (O,) or None -> x wᵀ + b (M, O)."""
    (M, K), O = x.shape, w.shape[0]
    y = np.empty((M, O), x.dtype)
    if M > 0:
        b = np.zeros(O, x.dtype) if b is None else plain(b)
        lanes = VECTOR_BYTES // x.itemsize
        along = np.arange(K // lanes) * lanes
        first = np.minimum(np.arange(M + PIXELS.vectors), M - 1) * K
        _dot_products(plain(x), plain(w), b, y, along, first, *PIXELS.tags)
    return y


@compiled
def _product(core, A, B, C, K, wide, offset, rows_tag, vectors_tag):
    """C = A B, with A (Q, J) and C (Q or more, K), by blocks of ``wide`` columns.

    B's rows, of which only K numbers count, are no shorter than a tile.
    """
    (Q, J), (M, columns), pitch = A.shape, C.shape, B.shape[1]
    rows, width = len(rows_tag), len(vectors_tag) * VECTOR_BYTES // A.itemsize
    across, down = (K + wide - 1) // wide, (Q + ROWS - 1) // ROWS
    flat_A, flat_B, flat_C = A.reshape(-1), B.reshape(-1), C.reshape(-1)
    for index in share(core, across * down):
        column, block = divmod(index, down)
        first, last = column * wide, min(column * wide + wide, K)
        begin, end = block * ROWS, min(block * ROWS + ROWS, Q)
        base, start = np.empty(rows, np.int64), np.zeros(rows, A.dtype)
        sums = np.empty(rows * width, A.dtype)
        for j in range(0, J, DEPTH):
            depth = min(DEPTH, J - j)
            for q in range(begin, end, rows):
                if q + rows > M:
                    continue
                for r in range(rows):
                    base[r] = min(q + r, Q - 1) * J + j
                for k in range(first, last - width + 1, width):
                    tile_of_pixels(
                        flat_A,
                        base,
                        depth,
                        flat_B,
                        j * pitch + k,
                        offset,
                        flat_C,
                        q * columns + k,
                        columns,
                        start,
                        j == 0,
                        rows_tag,
                        vectors_tag,
                    )
        # What fills no tile: the last columns and rows, all of the sum at once, by way of other memory.
        for q in range(begin, end, rows):
            for r in range(rows):
                base[r] = min(q + r, Q - 1) * J
            whole = first + (last - first) // width * width if q + rows <= M else first
            for k in range(whole, last, width):
                at = min(k, pitch - width)
                tile_of_pixels(
                    flat_A, base, J, flat_B, at, offset, sums, 0, width, start, True, rows_tag, vectors_tag
                )
                for r in range(min(rows, Q - q)):
                    for i in range(k, min(k + width, last)):
                        C[q + r, i] = sums[r * width + i - at]


def product(A, B, C):
    """C = A B."""
    J, K = B.shape
    width = PIXELS.width(A.dtype)
    if J == 0:
        C[...] = 0
    elif C.size:
        if width > K:
            wider = scratch("linear columns", (J, width), B.dtype)
            wider[:, :K], wider[:, K:] = B, 0
            B = wider
        wide = BLOCK_BYTES // (min(J, DEPTH) * B.itemsize * width) * width
        _product(A, B, C, K, wide, np.arange(J) * B.shape[1], *PIXELS.tags)


@kernel("linear.grad_input", "numba", "tiles")
def grad_input(gy, w):
    """gy (M, O), w (O, K) -> gy w (M, K)."""
    (M, _), K = gy.shape, w.shape[1]
    # Rows in excess, for a tile that is not filled: to go over the weights again for it would cost more.
    gx = scratch("linear rows", (-(-M // PIXELS.rows) * PIXELS.rows, K), gy.dtype)
    product(plain(gy), plain(w), gx)
    return gx[:M].copy()


@kernel("linear.grad_weight", "numba", "tiles")
def grad_weight(gy, x):
    """gy (M, O), x (M, K) -> gyᵀ x (O, K)."""
    gw = np.empty((gy.shape[1], x.shape[1]), gy.dtype)
    product(turned(plain(gy)), plain(x), gw)
    return gw
