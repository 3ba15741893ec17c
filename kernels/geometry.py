"""Where windows stand: output sizes, padding, and the input positions under each filter tap."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

Pair = tuple[int, int]


class Window(NamedTuple):
    """How a filter or pooling window moves over an image, all in pixels, rows before columns.

    ``padding`` is ((top, bottom), (left, right)). ``groups`` concerns convolution only.
    """

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def extent(self) -> Pair:
        """The pixels that one window spans: dilation · (kernel − 1) + 1."""
        return (
            self.dilation[0] * (self.kernel[0] - 1) + 1,
            self.dilation[1] * (self.kernel[1] - 1) + 1,
        )

    def output_size(self, H: int, W: int) -> Pair:
        """Rows and columns of windows that fit: ⌊(H + padding − extent) / stride⌋ + 1.

        >>> Window(kernel=(3, 3), stride=(2, 2), padding=((1, 1), (1, 1))).output_size(224, 224)
        (112, 112)
        """
        (top, bottom), (left, right) = self.padding
        extent = self.extent
        return (
            (H + top + bottom - extent[0]) // self.stride[0] + 1,
            (W + left + right - extent[1]) // self.stride[1] + 1,
        )

    def taps(self, OH: int, OW: int) -> Iterator[tuple[int, int, tuple[slice, slice]]]:
        """For each filter tap (i, j): the rows and columns of the padded image that it meets.

        Output pixel (oh, ow) meets tap (i, j) at row oh·stride + i·dilation, so that over all
        output pixels one tap sees a shifted, strided view of the image: two slices.
        """
        (sh, sw), (dh, dw) = self.stride, self.dilation
        for i in range(self.kernel[0]):
            rows = slice(i * dh, i * dh + sh * (OH - 1) + 1, sh)
            for j in range(self.kernel[1]):
                yield i, j, (rows, slice(j * dw, j * dw + sw * (OW - 1) + 1, sw))


def window_of(arguments: Iterable[Any]) -> Window:
    """The window among the arguments of a kernel."""
    (window,) = (argument for argument in arguments if isinstance(argument, Window))
    return window


class Phase(NamedTuple):
    """Input pixels that meet the same taps: where they lie, and the taps with their place in padded gy."""

    first: tuple[int, int]  # the first row and column of them
    size: tuple[int, int]  # how many rows and columns
    start: tuple[int, int]  # where the first one's pixel 0 of gy is, in padded gy
    begin: int  # how many pixels there are in the phases before it
    taps: tuple[tuple[int, int, int, int], ...]  # (i, j, rows away, columns away)


@functools.cache
def phases(H: int, W: int, OH: int, OW: int, g: Window) -> tuple:
    """The border that gy needs so that no tap reads outside, and the phases of the input's pixels."""
    rows, before_h, after_h = _phases_along(H, OH, g, 0)
    columns, before_w, after_w = _phases_along(W, OW, g, 1)
    found, begin = [], 0
    for first_h, count_h, taps_h in rows:
        for first_w, count_w, taps_w in columns:
            taps = tuple((i, j, a, b) for i, a in taps_h for j, b in taps_w)
            found.append(Phase((first_h, first_w), (count_h, count_w), (before_h, before_w), begin, taps))
            begin += count_h * count_w
    return ((before_h, after_h), (before_w, after_w)), tuple(found)


def _phases_along(size: int, out: int, g: Window, axis: int):
    """Along one axis: [(first pixel, pixels, [(tap, output pixel − pixel's number)])], and the border."""
    stride, dilation, (before, _) = g.stride[axis], g.dilation[axis], g.padding[axis]
    found, low, high = [], 0, out - 1
    for phase in range(min(stride, size)):
        count = -(-(size - phase) // stride)
        # Pixel number m of this phase stands at m·stride + phase + before in the padded image, and meets tap
        # i of output pixel (that − i·dilation) / stride, where this is a whole number.
        taps = []
        for i in range(g.kernel[axis]):
            away, rest = divmod(phase + before - i * dilation, stride)
            if rest == 0:
                taps.append((i, away))
                low, high = min(low, away), max(high, away + count - 1)
        found.append((phase, count, taps))
    return found, -low, high - (out - 1)


def pad(x: np.ndarray, padding: tuple[Pair, Pair], value: float = 0.0) -> np.ndarray:
    """(N, C, H, W) with rows and columns of ``value`` around each image; x itself where there are none."""
    (top, bottom), (left, right) = padding
    if top == bottom == left == right == 0:
        return x
    N, C, H, W = x.shape
    padded = np.empty((N, C, H + top + bottom, W + left + right), x.dtype)
    # Only the border is filled: to fill everything first would be a second pass over the whole image.
    padded[:, :, :top] = value
    padded[:, :, top + H :] = value
    padded[:, :, top : top + H, :left] = value
    padded[:, :, top : top + H, left + W :] = value
    padded[:, :, top : top + H, left : left + W] = x
    return padded


def unpad(x: np.ndarray, padding: tuple[Pair, Pair]) -> np.ndarray:
    """The images without their padding: a view."""
    (top, bottom), (left, right) = padding
    return x[:, :, top : x.shape[2] - bottom, left : x.shape[3] - right]
