"""Depthwise convolution: each channel by its own filters, a plane at a time.

Too little arithmetic for register tiles to matter: it is a question of memory. A padded copy of a plane is
made in the cache, such that each tap is one long loop over it, with no regard to where rows end:

    y[q] = Σ_t x[q + offset_t] · w_t

Rows of x and y are equally long for this; what is computed at the end of a row, from the beginning of the
next, is left out when y is copied to its place. With a stride s, every s-th pixel of x goes into a plane of
its own (there are s² of them), so that a tap still reads neighbours.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np
from numba import get_num_threads

from minicnn.kernels.geometry import Window
from minicnn.kernels.numba.compiling import compiled, helper, plain, share
from minicnn.kernels.numba.rows import VECTORS, add_taps, clear, copy, dot
from minicnn.kernels.numba.scratch import scratch
from minicnn.kernels.numba.turning import FREE, bias_of, bounds_of
from minicnn.kernels.numba.vectors import VECTOR_BYTES
from minicnn.kernels.registry import kernel


def one_channel(_, w, *__):
    """Whether these are depthwise filters, for a call (x, w, …) or (gy, w, …)."""
    return w.shape[1] == 1


class Layout(NamedTuple):
    """The planes of a window's padded copy, and the taps, those that read the same plane together."""

    numbers: tuple[int, ...]  # OH, OW, rows and columns of a plane, stride, the first padding
    taps: np.ndarray  # which of the filter's taps, one plane's after the other's
    offsets: np.ndarray  # how far from the copy's beginning each looks
    back: np.ndarray  # minus the same, from the beginning of its plane
    first: np.ndarray  # where each plane's taps begin; at the end, how many taps there are


@functools.cache
def layout(g: Window, H: int, W: int) -> Layout:
    """The layout for images of H by W."""
    OH, OW = g.output_size(H, W)
    (KH, KW), (sh, sw), (dh, dw) = g.kernel, g.stride, g.dilation
    rows, columns = OH + (KH - 1) * dh // sh, OW + (KW - 1) * dw // sw
    i, j = (tap.ravel() for tap in np.indices((KH, KW)))
    plane = i * dh % sh * sw + j * dw % sw
    away = i * dh // sh * columns + j * dw // sw
    order = np.argsort(plane, kind="stable")
    first = np.searchsorted(plane[order], np.arange(sh * sw + 1))
    numbers = (OH, OW, rows, columns, sh, sw, g.padding[0][0], g.padding[1][0])
    return Layout(numbers, order, (plane * rows * columns + away)[order], -away[order], first)


def memory(numbers: tuple[int, ...], dtype: np.dtype) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Flat scratch memory of all threads: copies of images; results, a plane before them; their steps."""
    _, _, rows, columns, sh, sw = numbers[:6]
    slack = VECTORS * VECTOR_BYTES // dtype.itemsize
    of_copy, of_result = sh * sw * rows * columns + slack, 2 * rows * columns + slack
    threads = get_num_threads()
    copies = scratch("depthwise images", (threads * of_copy,), dtype)
    results = scratch("depthwise results", (threads * of_result,), dtype)
    return copies, results, of_copy, of_result


@helper
def _along(b, stride, before, size, columns):
    """Which numbers v of a row are pixels, (first, last + 1), if v is pixel v · stride + b − before."""
    start = max(-((b - before) // stride), 0)
    return start, max(min((size - 1 + before - b) // stride + 1, columns), start)


@helper
def _from_image(x, x0, H, W, numbers, planes, p0):
    """Copy an image's channel to every s-th pixel's own plane, and zeros around it."""
    _, _, rows, columns, sh, sw, top, left = numbers
    for a in range(sh):
        for b in range(sw):
            start, end = _along(b, sw, left, W, columns)
            for r in range(rows):
                h = r * sh + a - top
                to = p0 + ((a * sw + b) * rows + r) * columns
                if h < 0 or h >= H:
                    clear(planes, to, columns)
                    continue
                clear(planes, to, start)
                clear(planes, to + end, columns - end)
                first = x0 + h * W + b - left
                if sw == 1:
                    copy(x, first + start, planes, to + start, end - start)
                else:
                    for v in range(start, end):
                        planes[to + v] = x[first + v * sw]


@helper
def _to_image(planes, p0, numbers, x, x0, H, W):
    """The way back, without what is around the image."""
    _, _, rows, columns, sh, sw, top, left = numbers
    for h in range(H):
        r, a = divmod(h + top, sh)
        if r >= rows:
            continue
        for b in range(sw):
            start, end = _along(b, sw, left, W, columns)
            source = p0 + ((a * sw + b) * rows + r) * columns
            first = x0 + h * W + b - left
            if sw == 1:
                copy(planes, source + start, x, first + start, end - start)
            else:
                for v in range(start, end):
                    x[first + v * sw] = planes[source + v]


@compiled
def _forward(core, x, H, W, w, b, bounds, y, numbers, offsets, copies, totals, steps):
    N, C, M = y.shape[0], y.shape[1], y.shape[2]
    OH, OW, _, columns = numbers[:4]
    T = offsets.size
    flat = y.reshape(-1)
    c0, t0 = core[0] * steps[0], core[0] * steps[1]
    for job in share(core, N * C):
        _from_image(x, job * H * W, H, W, numbers, copies, c0)
        for m in range(M):
            oc = job % C * M + m
            add_taps(copies, c0, offsets, 0, T, w, oc * T, totals, t0, OH * columns, b[oc], bounds)
            for oh in range(OH):
                copy(totals, t0 + oh * columns, flat, ((job * M + m) * OH + oh) * OW, OW)


@kernel("conv2d.forward", "numba", "depthwise", suits=one_channel)
@kernel("conv2d.forward_clipped", "numba", "depthwise", suits=one_channel)
def forward(x, w, b, g: Window, bounds=FREE):
    """(N, C, H, W), (C·m, 1, KH, KW), (C·m,) or None -> (N, C·m, OH, OW), clipped to the bounds."""
    (N, C, H, W), OC = x.shape, len(w)
    numbers, taps, offsets, _, _ = layout(g, H, W)
    y = np.empty((N, OC, *numbers[:2]), x.dtype)
    b = bias_of(b, OC, x.dtype)
    w = w.reshape(OC, -1)[:, taps].ravel()
    copies, totals, *steps = memory(numbers, x.dtype)
    shape = N, C, OC // C, numbers[0] * numbers[1]
    _forward(
        plain(x).ravel(),
        H,
        W,
        w,
        b,
        bounds_of(bounds, x.dtype),
        y.reshape(shape),
        numbers,
        offsets,
        copies,
        totals,
        tuple(steps),
    )
    return y


@helper
def _rows_apart(y, y0, numbers, out, o0, size):
    """Copy results to out, in rows as long as the planes', with zeros in between and up to a size."""
    OH, OW, _, columns = numbers[:4]
    for oh in range(OH):
        copy(y, y0 + oh * OW, out, o0 + oh * columns, OW)
        clear(out, o0 + oh * columns + OW, columns - OW)
    clear(out, o0 + OH * columns, size - OH * columns)


@compiled
def _grad_input(core, gy, w, gx, H, W, numbers, back, first, copies, results, steps):
    N, C, M = gx.shape[0], gx.shape[1], len(w) // back.size // gx.shape[1]
    OH, OW, rows, columns, sh, sw = numbers[:6]
    T, size = back.size, rows * columns
    flat = gx.reshape(-1)
    c0, r0 = core[0] * steps[0], core[0] * steps[1]
    for job in share(core, N * C):
        clear(copies, c0, steps[0])
        clear(results, r0, size)  # taps look back, by less than a plane
        for m in range(M):
            oc = job % C * M + m
            _rows_apart(gy, (job * M + m) * OH * OW, numbers, results, r0 + size, steps[1] - size)
            for part in range(sh * sw):
                # In the order of the planes, as the end of each spills into the beginning of the next.
                end = first[part + 1]
                add_taps(
                    results,
                    r0 + size,
                    back,
                    first[part],
                    end,
                    w,
                    oc * T,
                    copies,
                    c0 + part * size,
                    size,
                    None,
                    None,
                )
        _to_image(copies, c0, numbers, flat, job * H * W, H, W)


@kernel("conv2d.grad_input", "numba", "depthwise", suits=one_channel)
def grad_input(gy, w, x_shape, g: Window):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    H, W = x_shape[2:]
    numbers, taps, _, back, first = layout(g, H, W)
    covered = numbers[2] * numbers[4] - numbers[6], numbers[3] * numbers[5] - numbers[7]
    whole = covered[0] >= H and covered[1] >= W  # else pixels at the end meet no window
    gx = (np.empty if whole else np.zeros)(x_shape, gy.dtype)
    w = w.reshape(len(w), -1)[:, taps].ravel()
    copies, results, *steps = memory(numbers, gy.dtype)
    shape = (*x_shape[:2], H * W)
    _grad_input(
        plain(gy).ravel(), w, gx.reshape(shape), H, W, numbers, back, first, copies, results, tuple(steps)
    )
    return gx


@compiled
def _grad_weight(core, gy, x, H, W, N, gw, numbers, offsets, copies, results, steps):
    C, M, T = gw.shape
    OH, OW, rows, columns, sh, sw = numbers[:6]
    used = sh * sw * rows * columns
    c0, r0 = core[0] * steps[0], core[0] * steps[1]
    for c in share(core, C):
        sums = np.zeros((M, T), np.float64)
        clear(copies, c0 + used, steps[0] - used)
        for n in range(N):
            job = n * C + c
            _from_image(x, job * H * W, H, W, numbers, copies, c0)
            for m in range(M):
                _rows_apart(gy, (job * M + m) * OH * OW, numbers, results, r0, steps[1])
                for t in range(T):
                    sums[m, t] += dot(results, r0, copies, c0 + offsets[t], OH * columns)
        for m in range(M):
            for t in range(T):
                gw[c, m, t] = sums[m, t]


@kernel("conv2d.grad_weight", "numba", "depthwise", suits=lambda gy, x, w_shape, g: w_shape[1] == 1)
def grad_weight(gy, x, w_shape, g: Window):
    """The gradient of the loss to w, given the gradient gy to y: (C·m, 1, KH, KW)."""
    N, C, H, W = x.shape
    numbers, taps, offsets, _, _ = layout(g, H, W)
    gw = np.empty((C, w_shape[0] // C, len(taps)), gy.dtype)
    copies, results, *steps = memory(numbers, gy.dtype)
    _grad_weight(
        plain(gy).ravel(), plain(x).ravel(), H, W, N, gw, numbers, offsets, copies, results, tuple(steps)
    )
    return gw[:, :, np.argsort(taps)].reshape(w_shape)
