"""Max and average pooling, an image's channel at a time on all cores.

Rows of an image are often shorter than two vectors, and to begin and end each would take longer than the
arithmetic. So a band of rows is copied to memory of its own in the first-level cache, with what padding
means around them, and with a stride s, every s-th pixel next to the other, in s² planes. What a tap has to
say to all windows is then one long row of that copy:

    y[q] = max over taps t of x[q + offset_t]

Rows of the copy and of y are equally long for this; what is computed at the end of a row, from the beginning
of the next, is left out when y is copied to its place. Where each number of a copy comes from is looked up in
a table. Arrays are flat and places in them unsigned: views and places that could be negative would cost more.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import get_num_threads, types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels.geometry import Window
from minicnn.kernels.numba.compiling import compiled, helper, plain, share
from minicnn.kernels.numba.rows import VECTORS, add_taps, clear, copy
from minicnn.kernels.numba.scratch import scratch
from minicnn.kernels.numba.vectors import VECTOR_BYTES, WHOLE, Emitter
from minicnn.kernels.numpy.pool import first_taps
from minicnn.kernels.registry import kernel

BAND = 1024  # windows at a time: with 2x2 pixels to each, half of a first-level cache


class Table(NamedTuple):
    """Where each number of a band's copy comes from, and which of them lie outside; for all bands."""

    source: np.ndarray  # band after band
    size: int  # numbers in a band
    blanks: np.ndarray  # band after band
    first: np.ndarray  # where each band's begin; at the end, how many there are


def _table(rows: np.ndarray, columns: np.ndarray, H: int, W: int) -> Table:
    """Of the pixels at these rows and columns, the bands along the first axis."""
    inside = (rows >= 0) & (rows < H) & (columns >= 0) & (columns < W)
    source = np.where(inside, rows * W + columns, 0).reshape(len(rows), -1)
    outside = ~inside.reshape(source.shape)
    first = np.concatenate([[0], np.cumsum(outside.sum(1))])
    blanks = np.nonzero(outside)[1]
    return Table(source.astype(np.uint32).ravel(), source.shape[1], blanks.astype(np.uint32), first)


class Layout(NamedTuple):
    """How a window's copies lie in memory, for images of H by W."""

    sizes: tuple[int, int, int, int]  # H·W, OH, OW, columns of a copy
    band: int  # rows of windows in a band
    offsets: np.ndarray  # how far from its window's first tap each looks
    pixels: Table  # (bands, sh, sw, rows, columns), of the image
    windows: Table  # (bands, rows, columns), of the output, from a few rows before the band on
    back: np.ndarray  # for each pixel, its place among the band's sh · sw planes of gradients
    ends: np.ndarray  # the bands' first pixels; at the end, how many there are
    taps: np.ndarray  # for each plane, its windows' places, relative to the plane's own pixels
    planes: np.ndarray  # where each plane's taps begin; at the end, how many there are


@functools.lru_cache(64)
def layout(g: Window, H: int, W: int, OH: int, OW: int) -> Layout:
    """The layout for images of H by W, pooled to OH by OW."""
    (KH, KW), (sh, sw), (dh, dw) = g.kernel, g.stride, g.dilation
    top, left = g.padding[0][0], g.padding[1][0]
    height, columns = max(OH, -(-(H + top) // sh)), max(OW + (KW - 1) * dw // sw, -(-(W + left) // sw))
    band = min(max(BAND // columns, 1), height)
    rows, before = band + (KH - 1) * dh // sh, (KH - 1) * dh // sh + 1
    start = np.arange(0, height, band)

    i, j = (tap.ravel() for tap in np.indices((KH, KW)))
    plane = i * dh % sh * sw + j * dw % sw
    away = i * dh // sh * columns + j * dw // sw

    of_rows = (start[:, None, None] + np.arange(rows)) * sh + np.arange(sh)[:, None] - top
    of_columns = np.arange(columns) * sw + np.arange(sw)[:, None] - left
    pixels = _table(of_rows[:, :, None, :, None], of_columns[:, None, :], H, W)
    of_rows = start[:, None] + np.arange(-before, band)
    windows = _table(of_rows[:, :, None], np.arange(columns), OH, OW)

    (r, a), (c, b) = np.divmod(np.arange(H) + top, sh), np.divmod(np.arange(W) + left, sw)
    back = ((a[:, None] * sw + b) * band + r[:, None] % band) * columns + c
    ends = np.append(np.clip(start * sh - top, 0, H), H) * W
    order = np.argsort(plane, kind="stable")
    return Layout(
        (H * W, OH, OW, columns),
        band,
        plane * rows * columns + away,
        pixels,
        windows,
        back.ravel().astype(np.uint32),
        ends,
        before * columns - away[order],
        np.searchsorted(plane[order], np.arange(sh * sw + 1)),
    )


def memory(use: str, size: int, dtype: np.dtype) -> tuple[np.ndarray, int]:
    """Flat scratch memory for all threads, each with room for more vectors; and its size for one."""
    size += 2 * VECTORS * VECTOR_BYTES // dtype.itemsize
    return scratch(f"pool's {use}", (get_num_threads() * size,), dtype), size


@helper
def _look_up(x, x0, source, s0, y, y0, count):
    """y[y0 + k] = x[x0 + source[s0 + k]]"""
    x0, s0, y0 = np.uintp(x0), np.uintp(s0), np.uintp(y0)
    for k in range(np.uintp(count)):
        y[y0 + k] = x[x0 + np.uintp(source[s0 + k])]


@helper
def _band(x, x0, table, band, blank, y, y0):
    """Copy what the table says for this band, and blanks."""
    source, size, blanks, first = table
    _look_up(x, x0, source, band * size, y, y0, size)
    for k in range(first[band], first[band + 1]):
        y[np.uintp(y0) + np.uintp(blanks[np.uintp(k)])] = blank


@helper
def _divide(x, x0, divisor, d0, count):
    x0, d0 = np.uintp(x0), np.uintp(d0)
    for k in range(np.uintp(count)):
        x[x0 + k] /= divisor[d0 + k]


@helper
def _out(x, x0, columns, y, y0, rows, OW):
    """Copy rows of results to their place, without what is at their end."""
    if columns == OW:
        rows, OW = 1, rows * OW
    for r in range(rows):
        copy(x, x0 + r * columns, y, y0 + r * OW, OW)


def _max_taps(typing_context, x, x0, offsets, untold, u0, y, y0, winner, w0, count):
    """y[y0 + q] = max_t x[x0 + q + offsets[t]], and which t won, or untold[u0 + q] where all are −∞.

    For q below count, in whole vectors: what lies behind y and winner is changed, too. Entries of ``untold``
    are as wide as those of x.
    """
    signature = types.void(x, x0, offsets, untold, u0, y, y0, winner, w0, count)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        source, places, before = e.pointer(0), e.pointer(2, 0), e.pointer(3)
        target, won = e.pointer(5), e.pointer(7)
        number, kept = (ir.IntType(bits) for bits in (e.bits, winner.dtype.bitwidth))
        numbers, to_keep = (ir.VectorType(one, e.lanes) for one in (number, kept))
        blank = ir.Constant(numbers, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(ir.IntType(32), e.lanes), None)
        taps = context.make_array(offsets)(context, builder, arguments[2]).nitems
        largest, tap_of_it = cgutils.alloca_once(builder, e.vector), cgutils.alloca_once(builder, numbers)
        with cgutils.for_range_slice(builder, WHOLE(0), arguments[9], WHOLE(e.lanes)) as (q, _):
            builder.store(e.constant(-np.inf), largest)
            first = builder.load(builder.bitcast(e.at(before, q), numbers.as_pointer()))
            first.align = e.bits // 8
            builder.store(first, tap_of_it)
            here = e.at(source, q)
            with cgutils.for_range_slice(builder, WHOLE(0), taps, WHOLE(1)) as (t, _):
                pixels, so_far = e.load(here, e.number(places, t)), builder.load(largest)
                # NaN, alone unequal to itself, wins and stays.
                nan = builder.fcmp_unordered("uno", pixels, pixels)
                larger = builder.or_(builder.fcmp_ordered(">", pixels, so_far), nan)
                tap = t if e.bits == 64 else builder.trunc(t, number)
                tap = builder.insert_element(blank, tap, ir.IntType(32)(0))
                tap = builder.shuffle_vector(tap, blank, everywhere)
                builder.store(builder.select(larger, pixels, so_far), largest)
                builder.store(builder.select(larger, tap, builder.load(tap_of_it)), tap_of_it)
            e.store(builder.load(largest), target, q)
            tap = builder.load(tap_of_it)
            tap = tap if kept == number else builder.trunc(tap, to_keep)
            builder.store(tap, builder.bitcast(e.at(won, q), to_keep.as_pointer())).align = kept.width // 8
        return context.get_dummy_value()

    return signature, emit


max_taps: Any = intrinsic(_max_taps)


@compiled
def _max_forward(core, x, untold, y, winner, sizes, band, offsets, pixels, copies, steps, both):
    HW, OH, OW, columns = sizes
    results, winners = both
    blank = x.dtype.type(-np.inf)
    c0, r0 = core[0] * steps[0], core[0] * steps[1]
    for job in share(core, y.size // (OH * OW)):
        for row in range(0, OH, band):
            rows, to = min(band, OH - row), (job * OH + row) * OW
            q0, count = row * columns, rows * columns
            _band(x, job * HW, pixels, row // band, blank, copies, c0)
            max_taps(copies, c0, offsets, untold, q0, results, r0, winners, r0, count)
            _out(results, r0, columns, y, to, rows, OW)
            _out(winners, r0, columns, winner, to, rows, OW)


@kernel("max_pool2d.forward", "numba", "loops")
def max_forward(x, OH, OW, g: Window):
    """(N, C, H, W) -> the maxima (N, C, OH, OW), and the index of each window's winning tap."""
    y = np.empty((*x.shape[:2], OH, OW), x.dtype)
    winner = np.empty(y.shape, np.uint8 if g.kernel[0] * g.kernel[1] <= 256 else np.int32)
    a = layout(g, *x.shape[2:], OH, OW)
    untold = in_rows(first_taps(x.shape, OH, OW, g).astype(f"i{x.itemsize}"), a.sizes[3])
    copies, of_copy = memory("pixels", a.pixels.size, x.dtype)
    results, of_result = memory("results", a.band * a.sizes[3], x.dtype)
    winners = scratch("pool's winners", results.shape, winner.dtype)
    steps, both = (of_copy, of_result), (results, winners)
    images = plain(x).ravel(), untold, y.ravel(), winner.ravel()
    _max_forward(*images, a.sizes, a.band, a.offsets, a.pixels, copies, steps, both)
    return y, winner


@compiled
def _max_backward(core, gy, winner, offsets, rows, columns, gx, sizes, steps):
    H, W, OH, OW = sizes
    sh, sw, top, left = steps
    zero = gx.dtype.type(0)
    for index in share(core, gy.size // (OH * OW)):
        x0, q = index * H * W, index * OH * OW
        for p in range(np.uintp(x0), np.uintp(x0 + H * W)):
            gx[p] = zero
        for oh in range(OH):
            for ow in range(OW):
                tap = np.uintp(winner[np.uintp(q)])
                h, v = oh * sh - top, ow * sw - left
                # Only a dilated window may have no pixel in the image.
                if rows.size == 0 or (0 <= h + rows[tap] < H and 0 <= v + columns[tap] < W):
                    gx[np.uintp(x0 + h * W + v + offsets[tap])] += gy[np.uintp(q)]
                q += 1


@kernel("max_pool2d.backward", "numba", "loops")
def max_backward(gy, winner, x_shape, g: Window):
    """The gradient to x: each window's gy goes to the tap that won."""
    gx = np.empty(x_shape, gy.dtype)
    rows, columns = (tap.ravel() * d for tap, d in zip(np.indices(g.kernel), g.dilation, strict=True))
    offsets = rows * x_shape[3] + columns
    if g.dilation == (1, 1):
        rows = columns = rows[:0]
    sizes, steps = (*x_shape[2:], *gy.shape[2:]), (*g.stride, g.padding[0][0], g.padding[1][0])
    _max_backward(plain(gy).ravel(), plain(winner).ravel(), offsets, rows, columns, gx.ravel(), sizes, steps)
    return gx


def in_rows(table: np.ndarray, columns: int) -> np.ndarray:
    """A table (OH, OW), flat, with rows as long as a copy's, and room for vectors behind it; ones fill up."""
    OH, OW = table.shape
    out = np.ones(OH * columns + VECTOR_BYTES // table.itemsize, table.dtype)
    out[: OH * columns].reshape(OH, columns)[:, :OW] = table
    return out


@compiled
def _avg_forward(core, x, divisor, ones, y, sizes, band, offsets, pixels, copies, steps, results):
    HW, OH, OW, columns = sizes
    zero = x.dtype.type(0)
    c0, r0 = core[0] * steps[0], core[0] * steps[1]
    for job in share(core, y.size // (OH * OW)):
        for row in range(0, OH, band):
            rows, to = min(band, OH - row), (job * OH + row) * OW
            count = rows * columns
            _band(x, job * HW, pixels, row // band, zero, copies, c0)
            clear(results, r0, count)
            add_taps(copies, c0, offsets, 0, offsets.size, ones, 0, results, r0, count)
            _divide(results, r0, divisor, row * columns, count)
            _out(results, r0, columns, y, to, rows, OW)


@kernel("avg_pool2d.forward", "numba", "loops")
def avg_forward(x, divisor, g: Window):
    """(N, C, H, W) and the number (OH, OW) by which each window is divided -> (N, C, OH, OW)."""
    if divisor.shape == (1, 1) and g.kernel == x.shape[2:] and not any(map(sum, g.padding)):
        return adaptive_avg_forward(x, *whole(x.shape))
    y = np.empty((*x.shape[:2], *divisor.shape), x.dtype)
    a = layout(g, *x.shape[2:], *divisor.shape)
    copies, of_copy = memory("pixels", a.pixels.size, x.dtype)
    results, of_result = memory("results", a.band * a.sizes[3], x.dtype)
    divisor, ones, steps = (
        in_rows(divisor, a.sizes[3]),
        np.ones(a.offsets.size, x.dtype),
        (of_copy, of_result),
    )
    _avg_forward(
        plain(x).ravel(),
        divisor,
        ones,
        y.ravel(),
        a.sizes,
        a.band,
        a.offsets,
        a.pixels,
        copies,
        steps,
        results,
    )
    return y


@compiled
def _avg_backward(core, gy, divisor, ones, gx, sizes, band, windows, tables, shares, steps, results):
    HW, OH, OW, columns = sizes
    back, ends, taps, planes = tables
    size, zero = windows.size, gy.dtype.type(0)
    of_plane = band * columns
    s0, r0 = core[0] * steps[0], core[0] * steps[1]
    for job in share(core, gy.size // (OH * OW)):
        for n in range(len(ends) - 1):
            _band(gy, job * OH * OW, windows, n, zero, shares, s0)
            _divide(shares, s0, divisor, n * size, size)
            for p in range(len(planes) - 1):
                to, first, last = r0 + p * of_plane, planes[p], planes[p + 1]
                clear(results, to, of_plane)  # only now: the sums before it went beyond their end
                add_taps(shares, s0, taps, first, last, ones, 0, results, to, of_plane)
            _look_up(results, r0, back, ends[n], gx, job * HW + ends[n], ends[n + 1] - ends[n])


@kernel("avg_pool2d.backward", "numba", "loops")
def avg_backward(gy, divisor, x_shape, g: Window):
    """The gradient to x: every pixel of a window receives gy / divisor."""
    if divisor.shape == (1, 1) and g.kernel == x_shape[2:] and not any(map(sum, g.padding)):
        return adaptive_avg_backward(gy, *whole(x_shape), x_shape)
    gx = np.empty(x_shape, gy.dtype)
    a = layout(g, *x_shape[2:], *divisor.shape)
    shares, of_shares = memory("shares", a.windows.size, gy.dtype)
    results, of_results = memory("results", (len(a.planes) - 1) * a.band * a.sizes[3], gy.dtype)
    divisor, ones = divisor.ravel()[a.windows.source], np.ones(a.taps.size, gy.dtype)
    memories = shares, (of_shares, of_results), results
    _avg_backward(plain(gy).ravel(), divisor, ones, gx.ravel(), a.sizes, a.band, a.windows, a[5:], *memories)
    return gx


def whole(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The image as the only bin of an adaptive pool."""
    return np.array([[0, shape[2]]]), np.array([[0, shape[3]]])


def as_one_row(x, rows, columns):
    """Planes and bins; where the whole image is the only bin, its rows are laid end to end, as one."""
    if len(rows) == len(columns) == 1:
        pixels = x.shape[2] * x.shape[3]
        return plain(x).reshape(-1, 1, pixels), np.array([[0, 1]]), np.array([[0, pixels]])
    return plain(x).reshape(-1, *x.shape[2:]), rows, columns


@compiled(reorder=True)
def _adaptive_avg_forward(core, x, rows, columns, y):
    for index in share(core, x.shape[0]):
        for oh in range(len(rows)):
            for ow in range(len(columns)):
                top, bottom, left, right = rows[oh, 0], rows[oh, 1], columns[ow, 0], columns[ow, 1]
                total = x.dtype.type(0)
                for h in range(np.uintp(top), np.uintp(bottom)):
                    for v in range(np.uintp(left), np.uintp(right)):
                        total += x[index, h, v]
                y[index, oh, ow] = total / x.dtype.type((bottom - top) * (right - left))


@kernel("adaptive_avg_pool2d.forward", "numba", "loops")
def adaptive_avg_forward(x, rows, columns):
    """(N, C, H, W), the bins of rows (OH, 2) and of columns (OW, 2) -> the means (N, C, OH, OW)."""
    y = np.empty((*x.shape[:2], len(rows), len(columns)), x.dtype)
    _adaptive_avg_forward(*as_one_row(x, rows, columns), y.reshape(-1, *y.shape[2:]))
    return y


@compiled
def _adaptive_avg_backward(core, gx, rows, columns, gy):
    for index in share(core, gy.shape[0]):
        _, H, W = gx.shape
        for h in range(np.uintp(H)):
            for v in range(np.uintp(W)):
                gx[index, h, v] = 0
        for oh in range(len(rows)):
            for ow in range(len(columns)):
                top, bottom, left, right = rows[oh, 0], rows[oh, 1], columns[ow, 0], columns[ow, 1]
                part = gy[index, oh, ow] / gy.dtype.type((bottom - top) * (right - left))
                for h in range(np.uintp(top), np.uintp(bottom)):
                    for v in range(np.uintp(left), np.uintp(right)):
                        gx[index, h, v] += part


@kernel("adaptive_avg_pool2d.backward", "numba", "loops")
def adaptive_avg_backward(gy, rows, columns, x_shape):
    """The gradient to x: each pixel of a bin receives gy / pixels; bins may overlap."""
    gx = np.empty(x_shape, gy.dtype)
    _adaptive_avg_backward(*as_one_row(gx, rows, columns), plain(gy).reshape(-1, *gy.shape[2:]))
    return gx
