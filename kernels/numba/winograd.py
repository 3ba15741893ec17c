"""Winograd's convolution of 3×3 filters: fewer multiplications for the same result, nearly.

Four outputs of a filter of three taps depend on six inputs, and take twelve products. But both are
polynomials, convolution is their product, and a product of degree five is known from its values at six
points: six products. In two dimensions 36 take the place of 144. In the matrices of the algorithm,

    y = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ x B) ] A

turns a tile of m+2 by m+2 pixels x and a filter w into m by m outputs y. Summed over input channels, the
⊙ of each point is a matrix product over (tiles × channels), which register tiles compute. Bᵀ, G and Aᵀ
follow from the points alone (:func:`cook_toom`).

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
from fractions import Fraction
from typing import Any

import numpy as np
from numba import get_num_threads, get_thread_id, prange, types
from numba.extending import intrinsic

from minicnn.kernels.geometry import Window
from minicnn.kernels.numba.compiling import compiled, plain
from minicnn.kernels.numba.gemm import DEPTH, packed
from minicnn.kernels.numba.micro import tile, tile_for
from minicnn.kernels.numba.scratch import LINE, scratch
from minicnn.kernels.numba.turning import bias_of, channels_last, turn
from minicnn.kernels.numba.vectors import VECTOR_BYTES, Emitter
from minicnn.kernels.registry import kernel

POINTS = (0, 1, -1, 2, -2)
Matrix = tuple[tuple[Fraction, ...], ...]


def cook_toom(m: int, r: int) -> tuple[Matrix, Matrix, Matrix]:
    """Aᵀ (m, m+r−1), G (m+r−1, r) and Bᵀ (m+r−1, m+r−1) for m outputs of a filter of r taps.

    The filter, as a polynomial, is evaluated at m + r − 2 points and at infinity (G); so are the outputs,
    whose transposed problem this is (Aᵀ); Bᵀ interpolates, by Lagrange's polynomials.

    >>> A, G, B = cook_toom(2, 3)
    >>> [[int(number) for number in row] for row in A]
    [[1, 1, 1, 0], [0, 1, -1, 1]]
    """
    points = [Fraction(p) for p in POINTS[: m + r - 2]]
    n = len(points)
    others = [[p for p in points if p != point] for point in points]
    A = [[point**i for point in points] + [Fraction(i == m - 1)] for i in range(m)]
    G = [
        [point**i / _product([point - p for p in rest]) for i in range(r)]
        for point, rest in zip(points, others, strict=True)
    ]
    G.append([Fraction(i == r - 1) for i in range(r)])
    B = [_coefficients(rest) + [Fraction(0)] for rest in others] + [_coefficients(points)]
    assert all(len(row) == n + 1 for row in B)
    return tuple(map(tuple, A)), tuple(map(tuple, G)), tuple(map(tuple, B))


def _product(numbers: list[Fraction]) -> Fraction:
    return functools.reduce(lambda a, b: a * b, numbers, Fraction(1))


def _coefficients(roots: list[Fraction]) -> list[Fraction]:
    """Of the polynomial Π (x − root), from x⁰ on."""
    found = [Fraction(1)]
    for root in roots:
        found = [a - root * b for a, b in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)]
    return found


# An intrinsic sees of its arguments only their types. A matrix is named to it by its number in this list, as
# the length of a tuple.
MATRICES: list[Matrix] = [matrix for m, r in ((2, 3), (4, 3), (3, 2), (3, 4)) for matrix in cook_toom(m, r)]


@functools.cache
def tag(m: int, r: int, which: str) -> tuple[bool, ...]:
    """What tells :func:`sandwich` which matrix is meant: "A", "G" or "B" of F(m, r)."""
    return (False,) * MATRICES.index(cook_toom(m, r)["AGB".index(which)])


def _sandwich(typing_context, x, x0, x_row, x_column, y, y0, y_row, y_column, matrix):
    """Y = M X Mᵀ for small matrices of vectors; x_row … say how far apart their entries lie."""
    signature = types.void(x, x0, x_row, x_column, y, y0, y_row, y_column, matrix)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        M = MATRICES[len(matrix)]
        source, target = e.pointer(0), e.pointer(4)

        def entry(i, j):
            return e.load(source, builder.add(e.index(i, arguments[2]), e.index(j, arguments[3])))

        sizes = range(len(M)), range(len(M[0]))
        half = [_times(e, M, [entry(i, j) for i in sizes[1]]) for j in sizes[1]]  # its columns
        for i in sizes[0]:
            for j, whole in enumerate(_times(e, M, [column[i] for column in half])):
                e.store(whole, target, builder.add(e.index(i, arguments[6]), e.index(j, arguments[7])))
        return context.get_dummy_value()

    return signature, emit


sandwich: Any = intrinsic(_sandwich)


def _times(e: Emitter, M: Matrix, x: list) -> list:
    """M x, for vectors x.

    The points p and −p make pairs of columns (in Aᵀ), or of rows (in G and Bᵀ), that differ in signs alone.
    Their sums and differences are formed once: 12 operations in place of 18 for the Bᵀ of F(4, 3).
    """
    M, x = [list(row) for row in M], list(x)
    for j in range(len(x) - 1):
        if all(abs(row[j]) == abs(row[j + 1]) for row in M):
            x[j], x[j + 1] = e.builder.fadd(x[j], x[j + 1]), e.builder.fsub(x[j], x[j + 1])
            for row in M:
                row[j], row[j + 1] = (row[j], 0) if row[j] == row[j + 1] else (0, row[j])
    y: list[Any] = []
    while len(y) < len(M):
        row, other = M[len(y)], M[min(len(y) + 1, len(M) - 1)]
        if row != other and [abs(factor) for factor in row] == [abs(factor) for factor in other]:
            common = _combine(e, [a if a == b else 0 for a, b in zip(row, other, strict=True)], x)
            opposed = _combine(e, [a if a != b else 0 for a, b in zip(row, other, strict=True)], x)
            y += [e.builder.fadd(common, opposed), e.builder.fsub(common, opposed)]
        else:
            y.append(_combine(e, row, x))
    return y


def _combine(e: Emitter, factors: list, vectors: list) -> Any:
    """Σ factor · vector, beginning with a factor of 1 where there is one."""
    terms = [(factor, vector) for factor, vector in zip(factors, vectors, strict=True) if factor]
    terms.sort(key=lambda term: term[0] != 1)
    total = None
    for factor, vector in terms:
        if total is None:
            total = vector if factor == 1 else e.builder.fmul(vector, e.constant(factor))
        elif abs(factor) == 1:
            total = (e.builder.fadd if factor == 1 else e.builder.fsub)(total, vector)
        else:
            total = e.fma(vector, e.constant(factor), total)
    return total


CACHE_BYTES, MOST_BYTES = 384 << 10, 8 << 20  # of transformed tiles at a time, for each core; in all
BLOCK = 48  # tiles whose products one job holds: 36 · 48 · 16 numbers, in the second-level cache
CHANNELS = 16  # input channels of the weights' gradient in a job


@compiled
def _filters(w, n, U, G):
    """U[point, block, c, o] = (G w Gᵀ)[point], w packed: (blocks, C · 9, width)."""
    blocks, K, width = w.shape
    flat, out, step = w.reshape(-1), U.reshape(-1), U.shape[1]
    lanes = VECTOR_BYTES // w.itemsize
    for index in prange(blocks * K // 9):
        at = np.int64(index) * width
        for o in range(0, width, lanes):
            sandwich(flat, at * 9 + o, 3 * width, width, out, at + o, n * step, step, G)


@compiled
def _convolve(x, U, C, bias, floor, m, V, chunk, products, outputs, y, offset, B, A, rows_tag, vectors_tag):
    """y = Aᵀ [U ⊙ (Bᵀ x B)] A, tile by tile; x: (N, m·TH + 2, m·TW + 2, channels)."""
    N, PH, PW, CP = x.shape
    _, OC, OH, OW = y.shape
    n, width, held = m + 2, products.shape[3], products.shape[2]
    blocks, V_step, U_step = -(-OC // width), V.shape[1], U.shape[1]
    TH, TW = (PH - 2) // m, (PW - 2) // m
    rows, lanes = len(rows_tag), VECTOR_BYTES // x.itemsize
    flat_x, flat_V, flat_U, flat_y = x.reshape(-1), V.reshape(-1), U.reshape(-1), y.reshape(-1)
    total = N * TH * TW
    for t0 in range(0, total, chunk):
        count = min(chunk, total - t0)
        for index in prange(count):
            q = np.int64(index)
            image, place = divmod(t0 + q, TH * TW)
            th, tw = divmod(place, TW)
            x0 = ((image * PH + th * m) * PW + tw * m) * CP
            for c in range(0, CP, lanes):
                sandwich(flat_x, x0 + c, PW * CP, CP, flat_V, q * CP + c, n * V_step, V_step, B)
        jobs = (count + BLOCK - 1) // BLOCK
        for index in prange(blocks * jobs):
            job, block = divmod(
                np.int64(index), blocks
            )  # as far as can be, on the core that made these tiles
            q0 = job * BLOCK
            here = min(BLOCK, count - q0)
            thread = get_thread_id()
            M, out = products[thread].reshape(-1), outputs[thread].reshape(-1)
            base = np.empty(BLOCK + rows, np.int64)
            for q in range(BLOCK + rows):
                base[q] = (q0 + min(q, here - 1)) * CP
            for point in range(n * n):
                for k in range(0, C, DEPTH):
                    depth = min(DEPTH, C - k)
                    u0 = point * U_step + (block * C + k) * width
                    for q in range(0, here, rows):
                        tile(
                            flat_V,
                            point * V_step,
                            base,
                            q,
                            offset,
                            k,
                            depth,
                            flat_U,
                            u0,
                            M,
                            (point * held + q) * width,
                            width,
                            None,
                            k == 0,
                            rows_tag,
                            vectors_tag,
                        )
            for q in range(here):
                for o in range(0, width, lanes):
                    sandwich(
                        M,
                        q * width + o,
                        n * held * width,
                        held * width,
                        out,
                        q * m * width + o,
                        BLOCK * m * width,
                        width,
                        A,
                    )
            first = block * width
            channels = min(width, OC - first)
            q = 0
            while q < here:  # neighbouring tiles of one row at a time
                image, place = divmod(t0 + q0 + q, TH * TW)
                th, tw = divmod(place, TW)
                run = min(TW - tw, here - q)
                pixels = min(run * m, OW - tw * m)
                for i in range(min(m, OH - th * m)):
                    turn(
                        out,
                        (i * BLOCK + q) * m * width,
                        width,
                        pixels,
                        flat_y,
                        ((image * OC + first) * OH + th * m + i) * OW + tw * m,
                        OH * OW,
                        channels,
                        bias,
                        first,
                        floor,
                        True,
                        False,
                    )
                q += run


@compiled
def _correlate(x, gy, m, V, Z, chunk, sums, held, width, offset, base, B, G, rows_tag, vectors_tag):
    """sums[point, block, c, o] = Σ_tiles (Bᵀ x B)[point, c] · (G gy Gᵀ)[point, o]."""
    N, PH, PW, CP = x.shape
    _, YH, YW, OCP = gy.shape
    n = m + 2
    points, blocks = n * n, OCP // width
    V_step, Z_step, sums_step = V.shape[1], Z.shape[1], sums.shape[1]
    TH, TW = YH // m, YW // m
    rows, lanes = len(rows_tag), VECTOR_BYTES // x.itemsize
    flat_x, flat_gy, flat_V, flat_Z, flat_sums = (
        x.reshape(-1),
        gy.reshape(-1),
        V.reshape(-1),
        Z.reshape(-1),
        sums.reshape(-1),
    )
    total = N * TH * TW
    for t0 in range(0, total, chunk):
        count = min(chunk, total - t0)
        for index in prange(count):
            q = np.int64(index)
            image, place = divmod(t0 + q, TH * TW)
            th, tw = divmod(place, TW)
            x0 = ((image * PH + th * m) * PW + tw * m) * CP
            for c in range(0, CP, lanes):
                sandwich(flat_x, x0 + c, PW * CP, CP, flat_V, q * CP + c, n * V_step, V_step, B)
            y0 = ((image * YH + th * m) * YW + tw * m) * OCP
            for block in range(blocks):
                for o in range(0, width, lanes):
                    sandwich(
                        flat_gy,
                        y0 + block * width + o,
                        YW * OCP,
                        OCP,
                        flat_Z,
                        (block * chunk + q) * width + o,
                        n * Z_step,
                        Z_step,
                        G,
                    )
        for index in prange(points * blocks):
            point, block = divmod(np.int64(index), blocks)
            for k in range(0, count, DEPTH):
                depth = min(DEPTH, count - k)
                for q in range(0, held, rows):
                    tile(
                        flat_V,
                        point * V_step,
                        base,
                        q,
                        offset,
                        k,
                        depth,
                        flat_Z,
                        point * Z_step + (block * chunk + k) * width,
                        flat_sums,
                        point * sums_step + (block * held + q) * width,
                        width,
                        None,
                        t0 + k == 0,
                        rows_tag,
                        vectors_tag,
                    )


@compiled
def _weights(sums, n, held, width, outputs, gw, A):
    """gw = Aᵀ sums A."""
    OC, C = gw.shape[:2]
    flat, flat_gw, step = sums.reshape(-1), gw.reshape(-1), sums.shape[1]
    blocks = -(-OC // width)
    lanes = VECTOR_BYTES // gw.itemsize
    chunks = (C + CHANNELS - 1) // CHANNELS
    for index in prange(blocks * chunks):
        block, c0 = divmod(np.int64(index), chunks)
        c0 *= CHANNELS
        here = min(CHANNELS, C - c0)
        out = outputs[get_thread_id()].reshape(-1)
        for c in range(here):
            for o in range(0, width, lanes):
                sandwich(
                    flat,
                    (block * held + c0 + c) * width + o,
                    n * step,
                    step,
                    out,
                    c * 9 * width + o,
                    3 * width,
                    width,
                    A,
                )
        first = block * width
        turn(
            out,
            0,
            width,
            here * 9,
            flat_gw,
            (first * C + c0) * 9,
            C * 9,
            min(width, OC - first),
            None,
            0,
            gw.dtype.type(0),
            True,
            False,
        )


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


def convolution(x, w, b, OC, taps, steps, padding, size, m):
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
    _convolve(
        x,
        U,
        C,
        bias_of(b, OC, x.dtype),
        x.dtype.type(-np.inf),
        m,
        by_point("winograd tiles", n, chunk * CP, x.dtype),
        chunk,
        scratch("winograd products", (threads, n * n, BLOCK + shape.rows, width), x.dtype),
        scratch("winograd outputs", (threads, m * m, BLOCK, width), x.dtype),
        y,
        np.arange(C),
        tag(m, 3, "B"),
        tag(m, 3, "A"),
        *shape.tags,
    )
    return y


def forward(x, w, b, g: Window, m: int):
    """(N, C, H, W), (OC, C, 3, 3), (OC,) or None -> (N, OC, OH, OW)."""
    OC, C = w.shape[:2]
    return convolution(x, w, b, OC, np.arange(9), (9 * C, 9), g.padding, g.output_size(*x.shape[2:]), m)


def grad_input(gy, w, x_shape, g: Window, m: int):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    C = w.shape[1]
    half_a_turn = np.arange(9)[::-1].copy()
    padding = tuple((2 - before, 2 - after) for before, after in g.padding)
    return convolution(gy, w, None, C, half_a_turn, (9, 9 * C), padding, x_shape[2:], m)


def grad_weight(gy, x, w_shape, g: Window, m: int):
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
    _correlate(
        x,
        gy,
        m,
        by_point("winograd tiles", n, chunk * CP, x.dtype),
        by_point("winograd gradient tiles", n, chunk * OCP, x.dtype),
        chunk,
        sums,
        held,
        width,
        np.arange(chunk) * CP,
        np.minimum(np.arange(held), C - 1),
        tag(m, 3, "B"),
        tag(3, m, "G"),
        *shape.tags,
    )
    gw = np.empty(w_shape, x.dtype)
    outputs = scratch("winograd outputs", (threads, CHANNELS * 9, width), x.dtype)
    _weights(sums, n, held, width, outputs, gw, tag(3, m, "A"))
    return gw


def suits(*arguments):
    """Whether this is for the arguments of a kernel, of which the last says how windows move."""
    g = arguments[-1]
    padded = max(max(sides) for sides in g.padding)
    return g.kernel == (3, 3) and g.stride == g.dilation == (1, 1) and g.groups == 1 and padded <= 2


for _name, _m in (("winograd", 4), ("winograd2", 2)):
    for _part, _function in (("forward", forward), ("grad_input", grad_input), ("grad_weight", grad_weight)):
        kernel(f"conv2d.{_part}", "numba", _name, suits)(functools.partial(_function, m=_m))
