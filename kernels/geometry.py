"""Where windows stand: output sizes, padding, and the input positions under each filter tap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

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
