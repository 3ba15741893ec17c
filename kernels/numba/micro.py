"""The micro-kernel: every convolution pass, forward and backward, is this one product.

    Y[q, o] = Σ_k X[base_q + offset_k] · W[k, o]

In forward, q is an output pixel, k a filter tap (c, i, j), o an output channel: base_q is where the
pixel's window begins in the padded image, offset_k how far from there the tap looks. No im2col buffer
is formed, since X is read in place, through two short tables; stride, dilation and padding live in
the tables and cost nothing. The two gradients are the same product with other tables (see conv.py).

A *tile* of some rows by some vectors is held in registers while k runs. Each step reads the vectors of
W and a single number of X for each row, and makes rows · vectors fused multiply-adds: with the shapes
below, more arithmetic than memory can slow down.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels.numba.vectors import VECTOR_BYTES, WHOLE, Emitter


class Tile(NamedTuple):
    """Rows (single numbers of X) and vectors (of W)."""

    rows: int
    vectors: int

    def width(self, dtype: np.dtype) -> int:
        """Channels in a tile."""
        return self.vectors * VECTOR_BYTES // dtype.itemsize

    @property
    def tags(self) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
        """Rows and vectors as the lengths of tuples: what the compiler can see of an argument is its type."""
        return (False,) * self.rows, (False,) * self.vectors


def _tiles() -> tuple[Tile, ...]:
    """The tiles for this machine.

    The accumulators, a step's vectors of W and one number of X must fit the registers: 16 of 32 bytes with
    AVX2, 32 of 64 bytes with AVX-512, 32 of 16 bytes with NEON. Not 12 by 2 with AVX-512: LLVM fetches two
    steps' numbers of X at once, which leaves too few registers, and the tile took three times as long.
    """
    if VECTOR_BYTES == 64:
        return Tile(6, 4), Tile(8, 3), Tile(24, 1)
    if VECTOR_BYTES == 32:
        return Tile(6, 2), Tile(4, 3), Tile(12, 1)
    if binding.get_host_cpu_features().get("neon"):
        return Tile(6, 4), Tile(4, 6), Tile(12, 2)
    return Tile(6, 2), Tile(4, 3), Tile(12, 1)


TILES = _tiles()
PIXELS = TILES[0]  # where vectors run over pixels: its width is a whole number of cache lines


@functools.cache
def tile_for(dtype: np.dtype, channels: int) -> Tile:
    """The tile that takes the least time for this number of channels and those that fill up its last one.

    A core makes two multiply-adds while it loads 1.35 vectors: a Zen 3 took 1.6 times as long for 12 · 1 as
    for 6 · 2. With AVX-512 a Zen 4 took as long for 24 · 1 as for 6 · 4.
    """
    loads = 2 if VECTOR_BYTES == 64 else 1.35

    def time(tile: Tile) -> float:
        step = max(tile.rows * tile.vectors / 2, (tile.rows + tile.vectors) / loads)
        return -(-channels // tile.width(dtype)) * step / tile.rows

    return min(TILES, key=time)


def _tile(
    typing_context, x, x0, base, base0, offset, k0, count, w, w0, y, y0, y_step, start, fresh, rows, vectors
):
    """A register tile of the product above, for ``count`` values of k.

    x, base, offset, w and y are flat arrays; x0, base0, k0, w0 and y0 say where in them to begin. w has a
    row of vectors for each k; the rows of y are y_step apart. If fresh, y is overwritten, by the sums and
    the number that start, a short array, has for each row (0 if None); else the sums are added to it.
    """
    signature = types.void(
        x, x0, base, base0, offset, k0, count, w, w0, y, y0, y_step, start, fresh, rows, vectors
    )

    def emit(context, builder, signature, arguments):
        emitter = Emitter(context, builder, signature, arguments, x.dtype)
        pointers = [emitter.pointer(position) for position in (0, 2, 7, 9)]
        places = emitter.pointer(4), None
        bias = None if isinstance(start, types.NoneType) else emitter.pointer(12, 0)
        count, y_step, fresh = arguments[6], arguments[11], arguments[13]
        _emit_tile(emitter, len(rows), len(vectors), pointers, places, count, y_step, bias, fresh)
        return context.get_dummy_value()

    return signature, emit


tile: Any = intrinsic(_tile)


def _tile_of_pixels(
    typing_context, x, base, count, w, w0, offset, y, y0, y_step, start, fresh, rows, vectors
):
    """A tile whose W is an image: its row for k begins at w[w0 + offset_k], and X[q, k] is x[base_q + k]."""
    signature = types.void(x, base, count, w, w0, offset, y, y0, y_step, start, fresh, rows, vectors)

    def emit(context, builder, signature, arguments):
        emitter = Emitter(context, builder, signature, arguments, x.dtype)
        pointers = [emitter.pointer(0, 0), emitter.pointer(1, 0), emitter.pointer(3), emitter.pointer(6)]
        places, bias = (None, emitter.pointer(5, 0)), emitter.pointer(9, 0)
        _emit_tile(
            emitter,
            len(rows),
            len(vectors),
            pointers,
            places,
            arguments[2],
            arguments[8],
            bias,
            arguments[10],
        )
        return context.get_dummy_value()

    return signature, emit


tile_of_pixels: Any = intrinsic(_tile_of_pixels)


def _emit_tile(
    e: Emitter, rows: int, vectors: int, pointers: list, places: tuple, count, y_step, bias, fresh
) -> None:
    """entry -> (resume: load Y) -> loop over k -> done: store Y, with the sums in registers throughout.

    ``places`` are the tables of where k is in X and in W; without one, it is as far as k says.
    """
    x, base, w, y = pointers
    in_x, in_w = places
    b = e.builder
    cells = [(p, v) for p in range(rows) for v in range(vectors)]
    windows = [e.at(x, e.number(base, p)) for p in range(rows)]
    results = [e.at(y, e.index(p, y_step)) for p in range(rows)]
    begin = [e.zero if bias is None else e.spread(e.number(bias, p)) for p in range(rows)]
    entry, resume, loop, done = b.block, *(b.append_basic_block(n) for n in ("resume", "loop", "done"))
    b.cbranch(fresh, loop, resume)

    b.position_at_end(resume)
    so_far = {(p, v): e.load(results[p], v * e.lanes) for p, v in cells}
    b.branch(loop)

    b.position_at_end(loop)
    k = b.phi(WHOLE)
    sums = {cell: b.phi(e.vector) for cell in cells}
    look = k if in_x is None else e.number(in_x, k)
    row_of_w = e.at(w, e.index(k, vectors * e.lanes) if in_w is None else e.number(in_w, k))
    weights = [e.load(row_of_w, v * e.lanes) for v in range(vectors)]
    added = {}
    for p in range(rows):
        spread = e.spread(e.number(windows[p], look))
        for v in range(vectors):
            added[p, v] = e.fma(spread, weights[v], sums[p, v])
    following = b.add(k, WHOLE(1))
    b.cbranch(b.icmp_signed("<", following, count), loop, done)

    for start in (entry, resume):
        k.add_incoming(WHOLE(0), start)
    k.add_incoming(following, loop)
    for cell in cells:
        sums[cell].add_incoming(begin[cell[0]], entry)
        sums[cell].add_incoming(so_far[cell], resume)
        sums[cell].add_incoming(added[cell], loop)

    b.position_at_end(done)
    for p, v in cells:
        e.store(added[p, v], results[p], v * e.lanes)


def _dots(typing_context, x, base, count, w, w0, at, at0, offset, k0, y, rows, vectors):
    """A tile of dot products: Σ_s X[q, s] · W[s, k], with a vector of s at a time.

    X[q] is x[base_q:]; the vector of W that meets its number s is w[w0 + at_(at0 + s) + offset_(k0 + k):]. y
    receives a vector for each (q, k), whose numbers add up to the product.
    """
    signature = types.void(x, base, count, w, w0, at, at0, offset, k0, y, rows, vectors)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        bases, places, offsets, y = e.pointer(1, 0), e.pointer(5), e.pointer(7), e.pointer(9, 0)
        source = [e.at(e.pointer(0, 0), e.number(bases, q)) for q in range(len(rows))]
        target = [e.at(e.pointer(3), e.number(offsets, k)) for k in range(len(vectors))]
        cells = [(q, k) for q in range(len(rows)) for k in range(len(vectors))]
        sums = {cell: cgutils.alloca_once(builder, e.vector) for cell in cells}  # in registers, in the end
        for place in sums.values():
            builder.store(e.zero, place)
        with cgutils.for_range_slice(builder, WHOLE(0), arguments[2], WHOLE(1)) as (s, _):
            here = e.number(places, s)
            pixels = [e.load(place, here) for place in target]
            for q, k in cells:
                number = e.load(source[q], e.index(s, e.lanes))
                builder.store(e.fma(number, pixels[k], builder.load(sums[q, k])), sums[q, k])
        for number, cell in enumerate(cells):
            e.store(builder.load(sums[cell]), y, number * e.lanes)
        return context.get_dummy_value()

    return signature, emit


dots: Any = intrinsic(_dots)


def _move(typing_context, x, x0, y, y0):
    """y[y0 : y0 + lanes] = x[x0 : x0 + lanes], a vector of them."""
    signature = types.void(x, x0, y, y0)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        e.store(e.load(e.pointer(0), 0), e.pointer(2), 0)
        return context.get_dummy_value()

    return signature, emit


move: Any = intrinsic(_move)


def _transpose(typing_context, x, x0, x_step, rows, y, y0, y_step, columns, bias, bias0, bounds):
    """y[y0 + c · y_step + r] = clip(x[x0 + r · x_step + c] + bias[bias0 + c]), for a square of numbers.

    Where bias is None, they are only moved. The square is turned between channels side by side, as tiles
    want them, and pixels side by side, as images are. It has as many rows as a vector has lanes: a loop
    would move its L² numbers singly; in registers it takes about L · log₂ L instructions.

    Of fewer rows than L, the last is read again; of fewer columns, the surplus ones are written where the
    last will then be. Whole vectors are read and written all the same.
    """
    signature = types.void(x, x0, x_step, rows, y, y0, y_step, columns, bias, bias0, bounds)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        source, target = e.pointer(0), e.pointer(4)

        def at_most(number, count):
            last = builder.sub(count, WHOLE(1))
            return builder.select(builder.icmp_signed("<", WHOLE(number), count), WHOLE(number), last)

        square = [e.load(source, e.index(at_most(r, arguments[3]), arguments[2])) for r in range(e.lanes)]
        if not isinstance(bias, types.NoneType):
            shift = e.load(e.pointer(8), 0)
            low, high = (e.spread(builder.extract_value(arguments[10], i)) for i in (0, 1))
            square = [e.clip(builder.fadd(row, shift), low, high) for row in square]
        for c, column in reversed(list(enumerate(_exchange(e, square)))):
            e.store(column, target, e.index(at_most(c, arguments[7]), arguments[6]))
        return context.get_dummy_value()

    return signature, emit


transpose: Any = intrinsic(_transpose)


def _exchange(e: Emitter, rows: list) -> list:
    """The columns of a square: blocks of half its size change places, in them blocks of a quarter, …"""
    rows = list(rows)
    size = e.lanes // 2
    while size:
        first = [e.lanes + j - size if j & size else j for j in range(e.lanes)]
        second = [e.lanes + j if j & size else j + size for j in range(e.lanes)]
        for r in range(e.lanes):
            if not r & size:
                pair = rows[r], rows[r + size]
                rows[r], rows[r + size] = e.shuffle(*pair, first), e.shuffle(*pair, second)
        size //= 2
    return rows
