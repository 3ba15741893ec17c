"""Long rows of neighbouring numbers: copied, cleared, clipped, summed over taps.

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
"""Rows are summed in blocks of so many vectors; memory behind them must allow for it."""


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


def _add_taps(typing_context, x, x0, offsets, first, last, w, w0, y, y0, count):
    """y[y0 + q] += Σ_t x[x0 + q + offsets[t]] · w[w0 + t], for t from first to last, and q below count.

    In whole blocks: what lies behind y is changed, too.
    """
    signature = types.void(x, x0, offsets, first, last, w, w0, y, y0, count)

    def emit(context, builder, signature, arguments):
        e = Emitter(context, builder, signature, arguments, x.dtype)
        source, places, weights, target = e.pointer(0), e.pointer(2, 0), e.pointer(5), e.pointer(7)
        block = VECTORS * e.lanes
        with cgutils.for_range_slice(builder, WHOLE(0), arguments[9], WHOLE(block)) as (q, _):
            here, from_here = e.at(target, q), e.at(source, q)
            sums = [cgutils.alloca_once(builder, e.vector) for _ in range(VECTORS)]
            for v, place in enumerate(sums):
                builder.store(e.load(here, v * e.lanes), place)
            with cgutils.for_range_slice(builder, arguments[3], arguments[4], WHOLE(1)) as (t, _):
                weight, pixels = e.spread(e.number(weights, t)), e.at(from_here, e.number(places, t))
                for v, place in enumerate(sums):
                    added = e.fma(e.load(pixels, v * e.lanes), weight, builder.load(place))
                    builder.store(added, place)
            for v, place in enumerate(sums):
                e.store(builder.load(place), here, v * e.lanes)
        return context.get_dummy_value()

    return signature, emit


copy: Any = intrinsic(_copy)
clear: Any = intrinsic(_clear)
clip: Any = intrinsic(_clip)
add_taps: Any = intrinsic(_add_taps)
