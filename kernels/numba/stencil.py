"""One filter over one plane: the micro-kernels of depthwise convolution.

    slide       y[h, w] = clip(start + Σ_i Σ_j x[h·s + i·d − p, w·s + j·d − p] · f[i, j])
    scatter     the same read backwards, for the gradient to x: every f[i, j] · y goes back to its pixel
    correlate   sums[i, j] += Σ_h Σ_w y[h, w] · x[h·s + i·d − p, w·s + j·d − p]

A vector holds pixels of one row, and reads its neighbours where they lie: no plane is copied, nothing is
padded. A vector that reaches over the end of a row finds pixels of the next one there, and a mask sets
them to 0 (a table of bits, as the masks are the same for all rows). Rows above and below are passed over.
Several rows of results are computed at a time, since most of what they read is the same.

What the compiler must see, the filter's size and how it moves, is in the lengths of tuples: see ``Tags``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels.numba.vectors import VECTOR_BYTES, WHOLE, Emitter

GROUP = 4  # rows of results at a time: with AVX2, 14×14 pixels took 0.6 of the time that they take singly
SUMS = 12  # of correlate's in registers at a time

FLOATS = {types.int32: types.float32, types.int64: types.float64}  # numbers as long as a mask's


class Axis(NamedTuple):
    """How a filter stands to rows, or to columns: its taps, and for scatter the first result's place."""

    taps: int
    stride: int
    dilation: int
    first: int = 0

    @property
    def tags(self) -> tuple[tuple[bool, ...], ...]:
        """These numbers as the lengths of tuples: what the compiler can see of an argument is its type."""
        return tuple((False,) * number for number in self)

    def read(self, count: int) -> Iterator[tuple[int, int, int]]:
        """(i, tap, j): result i, of so many, takes pixel j by this tap; j counts from the first's window."""
        for i in range(count):
            for tap in range(self.taps):
                yield i, tap, i * self.stride + tap * self.dilation

    def written(self, count: int) -> Iterator[tuple[int, int, int]]:
        """The same for scatter, whose results are the pixels."""
        for i in range(count):
            for tap in range(self.taps):
                j, rest = divmod(i + self.first - tap * self.dilation, self.stride)
                if rest == 0:
                    yield i, tap, j


def lanes_for(columns: int, dtype: np.dtype) -> int:
    """The lanes of a vector that suits rows of so many results: half a register does for half a row."""
    whole = VECTOR_BYTES // dtype.itemsize
    return whole // 2 if columns <= whole // 2 and VECTOR_BYTES > 16 else whole


def masks(places: np.ndarray, size: int, lanes: int, dtype: np.dtype) -> np.ndarray:
    """Rows of bits, all set for each of these places that is inside of a row of x of this size, else none."""
    bits = np.zeros((len(places), -(-places.shape[1] // lanes) * lanes), f"i{dtype.itemsize}")
    bits[:, : places.shape[1]] = -((places >= 0) & (places < size)).astype(bits.dtype)
    return bits


def _address(typing_context, x, x0):
    """Where x[x0] is in memory: what the micro-kernels take for an image, which may lie in either of two."""

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        return builder.ptrtoint(e.pointer(0), WHOLE)

    return types.int64(x, x0), emit


class _Image:
    """The image x that is read: (address, H, W, row, column), the last two where the first window begins."""

    def __init__(self, e: Emitter, x: ir.Value, step: int) -> None:
        self.e, self.b, self.step = e, e.builder, step
        address, self.H, self.W, self.row, self.column = cgutils.unpack_tuple(e.builder, x, 5)
        self.pointer = e.builder.inttoptr(address, e.single.as_pointer())

    def has(self, row: ir.Value) -> Any:
        """A context: what is emitted in it is passed over where there is no such row."""
        return self.b.if_then(self.b.icmp_unsigned("<", row, self.H), likely=True)

    def pixels(self, row: ir.Value, result: ir.Value, away: int, bits: ir.Value) -> ir.Value:
        """The pixels so far away from where the windows of the results from this one on begin."""
        column = self.b.add(self.e.index(result, self.step), self.b.add(self.column, WHOLE(away)))
        index = self.b.add(self.e.index(row, self.W), column)
        return self.e.keep(self.e.load_each(self.step, self.pointer, index), bits)


def _by_pixel(meetings: Iterator[tuple[int, int, int]]) -> list[tuple[int, list[tuple[int, int]]]]:
    """[(j, [(i, tap), …]), …]: for each pixel the results that need it, and by which tap."""
    met: dict[int, list[tuple[int, int]]] = {}
    for i, tap, j in meetings:
        met.setdefault(j, []).append((i, tap))
    return sorted(met.items())


@contextmanager
def _backwards(e: Emitter, columns: ir.Value, lanes: int) -> Iterator[ir.Value]:
    """A loop over the vectors of a row, from the last one, of the number of their first result.

    A row's last vector is stored whole: what it writes too much, into the row after, is written again when
    that row's turn comes. So rows go forwards, and vectors backwards.
    """
    b = e.builder
    last = b.sdiv(b.sub(columns, WHOLE(1)), WHOLE(lanes))
    with cgutils.for_range_slice(b, WHOLE(0), b.add(last, WHOLE(1)), WHOLE(1)) as (number, _):
        yield e.index(b.sub(last, number), lanes)


def _store(
    e: Emitter, results: ir.Value, plane: ir.Value, end: ir.Value, OW: ir.Value, row: Any, w: Any
) -> None:
    """Store results to a row, from column w on; whole if there is room for that in the plane."""
    b = e.builder
    at = b.add(b.mul(row, OW), w)
    whole = b.icmp_signed("<=", b.add(at, WHOLE(results.type.count)), end)
    with b.if_else(whole, likely=True) as (enough, too_little):
        with enough:
            e.store(results, plane, at)
        with too_little:
            e.store_first(b.sub(OW, w), results, plane, at)


def _results(turned: bool, x, bits, pitch, f, f0, start, bounds, y, size, lanes, down, across):
    """What slide and scatter have in common: all but which pixel meets which tap.

    x: see _Image. bits, pitch: the masks of each tap of a row, so many numbers apart. f, f0: the filter.
    start: what sums begin with, and bounds, what they are clipped to. y: the plane's address. size: the first
    row to be computed and the one after the last, and y's rows and columns.
    """
    signature = types.void(x, bits, pitch, f, f0, start, bounds, y, size, lanes, down, across)
    rows, columns = (Axis(*map(len, tags)) for tags in (down, across))
    phases = columns.stride if turned else 1  # neighbouring results that meet different taps
    together = max(1, GROUP // (rows.stride * phases)) * (rows.stride if turned else 1)
    met = _by_pixel(rows.written(together) if turned else rows.read(together))
    taps = list(columns.written(phases) if turned else columns.read(1))

    def emit(context, builder, signature, arguments):
        e, b = Emitter(context, builder, signature, arguments, f.dtype, len(lanes)), builder
        image = _Image(e, arguments[0], 1 if turned else columns.stride)
        tables, filters = e.pointer(1, 0), e.pointer(3)
        begin, low, high = (
            e.spread(number) for number in (arguments[5], *cgutils.unpack_tuple(b, arguments[6], 2))
        )
        first, last, OH, OW = cgutils.unpack_tuple(b, arguments[8], 4)
        plane = b.inttoptr(arguments[7], e.single.as_pointer()), b.mul(OH, OW), OW
        weights = [e.spread(e.number(filters, t)) for t in range(rows.taps * columns.taps)]
        with _backwards(e, OW, phases * e.lanes) as w:
            v = b.sdiv(w, WHOLE(phases))
            masks = [e.bits_at(tables, b.add(v, e.index(t, arguments[2]))) for t in range(columns.taps)]
            with cgutils.for_range_slice(b, first, last, WHOLE(together)) as (h, _):
                row = b.sdiv(h, WHOLE(rows.stride)) if turned else b.mul(h, WHOLE(rows.stride))
                sums = [[cgutils.alloca_once(b, e.vector) for _ in range(phases)] for _ in range(together)]
                for place in itertools.chain(*sums):
                    b.store(begin, place)
                for j, results in met:
                    here = b.add(row, b.add(image.row, WHOLE(j)))
                    with image.has(here):
                        for (phase, tap, away), (i, down_to) in itertools.product(taps, results):
                            pixels = image.pixels(here, v, away, masks[tap])
                            weight, place = weights[down_to * columns.taps + tap], sums[i][phase]
                            b.store(e.fma(pixels, weight, b.load(place)), place)
                for i, places in enumerate(sums):
                    to = b.add(h, WHOLE(i))
                    with b.if_then(b.icmp_signed("<", to, last), likely=True):
                        clipped = [e.clip(b.load(place), low, high) for place in places]
                        _store(e, e.in_turns(clipped), *plane, to, w)
        return context.get_dummy_value()

    return signature, emit


def _slide(typing_context, x, bits, pitch, f, f0, start, bounds, y, size, lanes, down, across):
    """y[h, w] = clip(start + Σ_i Σ_j x[h·s + i·d − p, w·s + j·d − p] · f[i, j]); see _results."""
    return _results(False, x, bits, pitch, f, f0, start, bounds, y, size, lanes, down, across)


def _scatter(typing_context, x, bits, pitch, f, f0, start, bounds, y, size, lanes, down, across):
    """y[h, w] = Σ f[i, j] · x[oh, ow], over all (i, j) and (oh, ow) with h = oh·s + i·d − p, w likewise."""
    return _results(True, x, bits, pitch, f, f0, start, bounds, y, size, lanes, down, across)


def _correlate(typing_context, x, bits, pitch, y, size, sums, s0, lanes, down, across):
    """sums[s0 + (i, j)] += Σ_h Σ_w y[h, w] · x[h·s + i·d − p, w·s + j·d − p]; y is an address.

    The masks are those of each tap of a row, and then that of y. The arguments are otherwise as _results has
    them.
    """
    signature = types.void(x, bits, pitch, y, size, sums, s0, lanes, down, across)
    rows, columns = (Axis(*map(len, tags)) for tags in (down, across))
    at_a_time = max(1, SUMS // columns.taps)

    def emit(context, builder, signature, arguments):
        e, b = Emitter(context, builder, signature, arguments, FLOATS[bits.dtype], len(lanes)), builder
        image, totals = _Image(e, arguments[0], columns.stride), e.pointer(5)
        plane = b.inttoptr(arguments[3], e.single.as_pointer()), *cgutils.unpack_tuple(b, arguments[4], 4)
        for begin in range(0, rows.taps, at_a_time):
            taps = range(begin, min(begin + at_a_time, rows.taps))
            cells = list(itertools.product(taps, range(columns.taps)))
            sums = {cell: cgutils.alloca_once(b, e.vector) for cell in cells}
            for place in sums.values():
                b.store(e.zero, place)
            _add_products(e, image, (e.pointer(1, 0), arguments[2]), plane, sums, rows, columns)
            for (i, j), place in sums.items():
                at, total = e.at(totals, i * columns.taps + j), e.sum(b.load(place))
                total = total if e.bits == 64 else b.fpext(total, ir.DoubleType())
                b.store(b.fadd(b.load(at), total), at)
        return context.get_dummy_value()

    return signature, emit


def _add_products(e, image, tables, plane, sums, rows: Axis, columns: Axis) -> None:
    """Add the products of a band of y's rows to correlate's sums: a vector for each (i, j) of some taps."""
    b, (y, first, last, _, OW) = e.builder, plane
    together = max(1, GROUP // rows.stride)
    met = _by_pixel(one for one in rows.read(together) if (one[1], 0) in sums)
    with _backwards(e, OW, e.lanes) as w:
        places = [b.add(w, e.index(t, tables[1])) for t in range(columns.taps + 1)]
        *masks, own = (e.bits_at(tables[0], place) for place in places)
        with cgutils.for_range_slice(b, first, last, WHOLE(together)) as (h, _):
            gradients = []
            for i in range(together):
                row = b.add(h, WHOLE(i))
                there = b.icmp_signed("<", row, last)  # else what is read instead counts for nothing
                at = b.add(b.mul(b.select(there, row, h), OW), w)
                gradients.append(e.keep(e.load(y, at), b.select(there, own, ir.Constant(own.type, None))))
            for j, results in met:
                here = b.add(b.mul(h, WHOLE(rows.stride)), b.add(image.row, WHOLE(j)))
                with image.has(here):
                    for (_, tap, away), (i, down_to) in itertools.product(columns.read(1), results):
                        pixels, place = image.pixels(here, w, away, masks[tap]), sums[down_to, tap]
                        b.store(e.fma(pixels, gradients[i], b.load(place)), place)


address: Any = intrinsic(_address)
slide: Any = intrinsic(_slide)
scatter: Any = intrinsic(_scatter)
correlate: Any = intrinsic(_correlate)
