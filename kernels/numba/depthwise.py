"""Depthwise convolution: each channel by its own filters, a plane at a time.

Too little arithmetic for register tiles of channels: it is a question of memory, and of reading each plane
once. :mod:`.stencil` computes a band of a plane; here are the tables that it needs, and the loops over
planes.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.kernels.geometry import Window
from minicnn.kernels.numba.compiling import compiled, helper, plain, share
from minicnn.kernels.numba.rows import copy
from minicnn.kernels.numba.scratch import scratch
from minicnn.kernels.numba.stencil import Axis, address, correlate, lanes_for, masks, scatter, slide
from minicnn.kernels.numba.turning import FREE, bias_of, bounds_of
from minicnn.kernels.registry import kernel

BAND = (
    2048  # bytes of a plane in the rows that are computed together; with 8192, 112×112 took 1.3 times as long
)


def one_channel(_, w, *__):
    """Whether these are depthwise filters, for a call (x, w, …)."""
    return w.shape[1] == 1


class Layout(NamedTuple):
    """How a plane of results reads a plane of others."""

    bits: np.ndarray  # the masks, flat
    pitch: int  # from one mask to the next
    start: tuple[int, int]  # the row and column that the first result's window begins in
    band: int  # rows of results at a time
    room: tuple[int, int]  # how many numbers before a plane, and behind it, are read
    tags: tuple  # the lanes of vectors, rows and columns as the compiler sees them


@functools.cache
def layout(g: Window, read: tuple[int, int], written: tuple[int, int], dtype: np.dtype, turned: bool):
    """The layout for planes of these sizes; turned: for the gradient to x, which reads gy."""
    (sh, sw), (dh, dw), ((top, _), (left, _)) = g.stride, g.dilation, g.padding
    if turned:
        rows, columns = Axis(g.kernel[0], sh, dh, top % sh), Axis(g.kernel[1], sw, dw, left % sw)
        start, phases, step, taps = (top // sh, left // sw), sw, 1, list(columns.written(sw))
    else:
        rows, columns = Axis(g.kernel[0], sh, dh), Axis(g.kernel[1], sw, dw)
        start, phases, step, taps = (-top, -left), 1, sw, list(columns.read(1))
    lanes = lanes_for(-(-written[1] // phases), dtype)
    results = np.arange(-(-written[1] // phases))
    away = np.array([j for _, _, j in sorted(taps, key=lambda one: one[1])])
    places = results * step + (away + start[1])[:, None]
    bits = masks(np.concatenate([places, results[None] * 0]), read[1], lanes, dtype)
    before = max(0, -places.min())
    behind = max(0, places.max() + step * lanes - read[1])  # a vector may begin with the last result
    band = max(1, BAND // (dtype.itemsize * max(written[1], read[1])) // (4 * sh)) * 4 * sh
    tags = (False,) * lanes, rows.tags, columns.tags
    return Layout(bits.ravel(), bits.shape[1], start, band, (int(before), int(behind)), tags)


def spare(use: str, size: int, room: tuple[int, int], dtype: np.dtype) -> tuple[np.ndarray, tuple[int, ...]]:
    """Memory for a copy of a plane with room around it, for each thread; and the sizes of the three."""
    sizes = room[0], size, room[1]
    return scratch(f"depthwise {use}", (get_num_threads() * sum(sizes),), dtype), sizes


@helper
def _plane(x, number, spare, sizes, core):
    """The address of a plane that can be read beyond its ends: the first and the last one's is a copy's."""
    before, size, behind = sizes
    start = number * size
    if start >= before and start + size + behind <= x.size:
        return address(x, start)
    to = core[0] * (before + size + behind) + before
    copy(x, start, spare, to, size)
    return address(spare, to)


@compiled
def _forward(core, x, image, w, b, bounds, y, layout, copies, sizes, tags):
    bits, pitch, start, band = layout
    N, C, M, OH, OW = y.shape
    flat, T = y.reshape(-1), w.size // (C * M)
    for job in share(core, N * C):
        here = (_plane(x, job, copies, sizes, core), image[0], image[1], start[0], start[1])
        for m in range(M):
            oc = job % C * M + m
            to = address(flat, (job * M + m) * OH * OW)
            for h in range(0, OH, band):
                size = (h, min(h + band, OH), OH, OW)
                slide(here, bits, pitch, w, oc * T, b[oc], bounds, to, size, tags[0], tags[1], tags[2])


@kernel("conv2d.forward", "numba", "depthwise", suits=one_channel)
@kernel("conv2d.forward_clipped", "numba", "depthwise", suits=one_channel)
def forward(x, w, b, g: Window, bounds=FREE):
    """(N, C, H, W), (C·m, 1, KH, KW), (C·m,) or None -> (N, C·m, OH, OW), clipped to the bounds."""
    (N, C, H, W), OC = x.shape, len(w)
    OH, OW = g.output_size(H, W)
    y = np.empty((N, OC, OH, OW), x.dtype)
    a = layout(g, (H, W), (OH, OW), x.dtype, False)
    _forward(
        plain(x).reshape(-1),
        (H, W),
        plain(w).reshape(-1),
        bias_of(b, OC, x.dtype),
        bounds_of(bounds, x.dtype),
        y.reshape(N, C, OC // C, OH, OW),
        a[:4],
        *spare("images", H * W, a.room, x.dtype),
        a.tags,
    )
    return y


@compiled
def _grad_input(core, gy, image, w, bounds, gx, M, layout, copies, sizes, results, tags):
    bits, pitch, start, band = layout
    N, C, H, W = gx.shape
    flat, T, zero = gx.reshape(-1), w.size // (C * M), gy.dtype.type(0)
    for job in share(core, N * C):
        to = job * H * W
        for m in range(M):
            oc = job % C * M + m
            here = (_plane(gy, job * M + m, copies, sizes, core), image[0], image[1], start[0], start[1])
            there = address(flat, to) if m == 0 else address(results, core[0] * H * W)
            for h in range(0, H, band):
                size = (h, min(h + band, H), H, W)
                scatter(here, bits, pitch, w, oc * T, zero, bounds, there, size, tags[0], tags[1], tags[2])
            if m > 0:
                for k in range(H * W):
                    flat[to + k] += results[core[0] * H * W + k]


@kernel("conv2d.grad_input", "numba", "depthwise", suits=one_channel)
def grad_input(gy, w, x_shape, g: Window):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    (OH, OW), (H, W) = gy.shape[2:], x_shape[2:]
    gx = np.empty(x_shape, gy.dtype)
    a = layout(g, (OH, OW), (H, W), gy.dtype, True)
    several = len(w) > x_shape[1]  # their gradients are then added up
    results = scratch("depthwise results", (get_num_threads() * several, H * W), gy.dtype)
    _grad_input(
        plain(gy).reshape(-1),
        (OH, OW),
        plain(w).reshape(-1),
        bounds_of(FREE, gy.dtype),
        gx,
        len(w) // x_shape[1],
        a[:4],
        *spare("gradients", OH * OW, a.room, gy.dtype),
        results.reshape(-1),
        a.tags,
    )
    return gx


@compiled
def _grad_weight(core, gy, x, image, size, gw, layout, copies, sizes, own_copies, own_sizes, tags):
    bits, pitch, start, band = layout
    N, (C, M, T), (OH, OW) = x.size // (gw.shape[0] * image[0] * image[1]), gw.shape, size
    for c in share(core, C):
        sums = np.zeros(M * T, np.float64)
        for n in range(N):
            job = n * C + c
            here = (_plane(x, job, copies, sizes, core), image[0], image[1], start[0], start[1])
            for m in range(M):
                own = _plane(gy, job * M + m, own_copies, own_sizes, core)
                for h in range(0, OH, band):
                    part = (h, min(h + band, OH), OH, OW)
                    correlate(here, bits, pitch, own, part, sums, m * T, tags[0], tags[1], tags[2])
        for m in range(M):
            for t in range(T):
                gw[c, m, t] = sums[m * T + t]


@kernel("conv2d.grad_weight", "numba", "depthwise", suits=lambda gy, x, w_shape, g: w_shape[1] == 1)
def grad_weight(gy, x, w_shape, g: Window):
    """The gradient of the loss to w, given the gradient gy to y: (C·m, 1, KH, KW)."""
    (C, H, W), (OH, OW) = x.shape[1:], gy.shape[2:]
    gw = np.empty((C, w_shape[0] // C, w_shape[2] * w_shape[3]), gy.dtype)
    a = layout(g, (H, W), (OH, OW), x.dtype, False)
    _grad_weight(
        plain(gy).reshape(-1),
        plain(x).reshape(-1),
        (H, W),
        (OH, OW),
        gw,
        a[:4],
        *spare("images", H * W, a.room, x.dtype),
        *spare("gradients", OH * OW, (0, len(a.tags[0])), x.dtype),
        a.tags,
    )
    return gw.reshape(w_shape)
