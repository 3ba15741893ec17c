"""Long rows of neighbouring numbers: copied, cleared, clipped, summed over taps, multiplied.

Intrinsics on flat arrays, each followed by the place where it begins. Views of arrays would say the same
more simply, but Numba counts references to the memory behind each, in a place that all threads share: on
planes of 7 by 7 pixels that took longer than the arithmetic.
"""

from __future__ import annotations

from typing import Any

from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minicnn.kernels.numba.vectors import WHOLE, Emitter

VECTORS = 4  # at a time; the multiply-adds of one do not wait for those of another
"""Rows are summed and multiplied in blocks of so many vectors; memory behind them must allow for it."""


def _copy(typing_context, x, x0, y, y0, count):
    """y[y0 : y0 + count] = x[x0 : x0 + count]"""
    signature = types.void(x, x0, y, y0, count)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        cgutils.raw_memcpy(builder, e.pointer(2), e.pointer(0), arguments[4], e.bits // 8)
        return context.get_dummy_value()

    return signature, emit


def _clear(typing_context, y, y0, count):
    """y[y0 : y0 + count] = 0"""
    signature = types.void(y, y0, count)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, y.dtype)
        cgutils.memset(builder, e.pointer(0), e.index(arguments[2], e.bits // 8), 0)
        return context.get_dummy_value()

    return signature, emit


def _clip(typing_context, y, y0, count, bounds):
    """y[y0 + q] = min(max(y[y0 + q], low), high) for q below count, with bounds = (low, high); a NaN stays.

    In whole vectors: what lies behind y is clipped, too.
    """
    signature = types.void(y, y0, count, bounds)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, y.dtype)
        target = e.pointer(0)
        low, high = (e.spread(builder.extract_value(arguments[3], i)) for i in (0, 1))
        with cgutils.for_range_slice(builder, WHOLE(0), arguments[2], WHOLE(e.lanes)) as (q, _):
            e.store(e.clip(e.load(target, q), low, high), target, q)
        return context.get_dummy_value()

    return signature, emit


def _add_taps(typing_context, x, x0, offsets, first, last, w, w0, y, y0, count, start, bounds):
    """y[y0 + q] += Σ_t x[x0 + q + offsets[t]] · w[w0 + t], for t from first to last, and q below count.

    Unless start is None, y is overwritten: by the sums and the number start, clipped to the bounds (low,
    high). In whole blocks: what lies behind y is changed, too.
    """
    signature = types.void(x, x0, offsets, first, last, w, w0, y, y0, count, start, bounds)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        source, places, weights, target = e.pointer(0), e.pointer(2, 0), e.pointer(5), e.pointer(7)
        block, added_to = VECTORS * e.lanes, isinstance(start, types.NoneType)
        if not added_to:
            begin = e.spread(arguments[10])
            low, high = (e.spread(builder.extract_value(arguments[11], i)) for i in (0, 1))
        with cgutils.for_range_slice(builder, WHOLE(0), arguments[9], WHOLE(block)) as (q, _):
            here, from_here = e.at(target, q), e.at(source, q)
            sums = [cgutils.alloca_once(builder, e.vector) for _ in range(VECTORS)]
            for v, place in enumerate(sums):
                builder.store(e.load(here, v * e.lanes) if added_to else begin, place)
            with cgutils.for_range_slice(builder, arguments[3], arguments[4], WHOLE(1)) as (t, _):
                weight, pixels = e.spread(e.number(weights, t)), e.at(from_here, e.number(places, t))
                for v, place in enumerate(sums):
                    added = e.fma(e.load(pixels, v * e.lanes), weight, builder.load(place))
                    builder.store(added, place)
            for v, place in enumerate(sums):
                total = builder.load(place)
                e.store(total if added_to else e.clip(total, low, high), here, v * e.lanes)
        return context.get_dummy_value()

    return signature, emit


def _dot(typing_context, x, x0, y, y0, count):
    """Σ_q x[x0 + q] · y[y0 + q], for q below count.

    In whole blocks: what lies behind x and y must be 0 in one, and finite in the other.
    """
    signature = x.dtype(x, x0, y, y0, count)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        a, b = e.pointer(0), e.pointer(2)
        sums = [cgutils.alloca_once(builder, e.vector) for _ in range(VECTORS)]
        for place in sums:
            builder.store(e.zero, place)
        with cgutils.for_range_slice(builder, WHOLE(0), arguments[4], WHOLE(VECTORS * e.lanes)) as (q, _):
            for v, place in enumerate(sums):
                here = builder.add(q, WHOLE(v * e.lanes))
                builder.store(e.fma(e.load(a, here), e.load(b, here), builder.load(place)), place)
        total = builder.load(sums[0])
        for place in sums[1:]:
            total = builder.fadd(total, builder.load(place))
        numbers = [builder.extract_element(total, WHOLE(lane)) for lane in range(e.lanes)]
        while len(numbers) > 1:
            numbers = [builder.fadd(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        return numbers[0]

    return signature, emit


copy: Any = intrinsic(_copy)
clear: Any = intrinsic(_clear)
clip: Any = intrinsic(_clip)
add_taps: Any = intrinsic(_add_taps)
dot: Any = intrinsic(_dot)
