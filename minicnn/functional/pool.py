"""Pooling: each window of each channel becomes one number, its maximum or its mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn import backend, cuda_graphs, kernels
from minicnn.autograd import Array, Function, Variable, as_variable
from minicnn.functional.check import fits, images, pair
from minicnn.kernels import Window


class MaxPool2d(Function):
    """y = the maximum of each window;  gy goes to the pixel that won."""

    def __init__(self, OH: int, OW: int, window: Window) -> None:
        self.OH, self.OW, self.window = OH, OW, window

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        y, winner = kernels.run("max_pool2d.forward", x, self.OH, self.OW, self.window)
        self.save(winner)
        return y

    def backward(self, gy: Array) -> Array:
        (winner,) = self.saved
        return kernels.run("max_pool2d.backward", gy, winner, self.x_shape, self.window)


class AvgPool2d(Function):
    """y = the sum of each window / its divisor;  each of the window's pixels receives gy / divisor."""

    def __init__(self, divisor: Array, window: Window) -> None:
        self.divisor, self.window = divisor, window

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        return kernels.run("avg_pool2d.forward", x, self.divisor, self.window)

    def backward(self, gy: Array) -> Array:
        return kernels.run("avg_pool2d.backward", gy, self.divisor, self.x_shape, self.window)


class AdaptiveAvgPool2d(Function):
    """The mean of bin (oh, ow): rows ⌊oh·H/OH⌋ up to ⌈(oh+1)·H/OH⌉, and columns likewise.

    Each pixel of a bin receives gy / pixels; bins may overlap, and their gradients add up.
    """

    def __init__(self, rows: Array, columns: Array) -> None:
        self.bins = rows, columns

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        return kernels.run("adaptive_avg_pool2d.forward", x, *self.bins)

    def backward(self, gy: Array) -> Array:
        return kernels.run("adaptive_avg_pool2d.backward", gy, *self.bins, self.x_shape)


class AdaptiveMaxPool2d(Function):
    """The maximum of each bin of AdaptiveAvgPool2d;  gy goes to the pixel that won."""

    def __init__(self, rows: Array, columns: Array) -> None:
        self.bins = rows, columns

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        y, winner = kernels.run("adaptive_max_pool2d.forward", x, *self.bins)
        self.save(winner)
        return y

    def backward(self, gy: Array) -> Array:
        return kernels.run("adaptive_max_pool2d.backward", gy, *self.saved, self.x_shape)


def bins(size: int, count: int) -> list[tuple[int, int]]:
    """First and last + 1 of each of ``count`` bins over ``size`` pixels; neighbours may overlap by one.

    >>> bins(5, 3)
    [(0, 2), (1, 4), (3, 5)]
    """
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def max_pool2d(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Any:
    """The maximum of each window.

    Shapes:
        (N, C, H, W) -> (N, C, OH, OW), with OH = ⌊(H + 2·padding − d·(KH − 1) − 1) / stride⌋ + 1, or ⌈…⌉
        in ceil mode, where the last window may reach past the image but must start on it.

    Args:
        kernel_size: the window, in pixels; one number or (rows, columns).
        stride: the step between windows; the window's own size where None. Smaller: they overlap.
        padding: −∞ around the image, at most half a window; never a maximum.

    Where several pixels are equal the first in reading order wins, and receives the gradient.

    Raises:
        ValueError: x is no batch of images, or a window larger than the padded image.

    >>> import minicnn as mc
    >>> x = mc.tensor([[[[1.0, 2.0, 5.0], [3.0, 4.0, 0.0]]]])
    >>> mc.functional.max_pool2d(x, 2)
    tensor([[[[4.]]]])
    >>> mc.functional.max_pool2d(x, 2, ceil_mode=True)
    tensor([[[[4., 5.]]]])
    """
    x = as_variable(x)
    window, (OH, OW) = pool_window("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    return MaxPool2d(OH, OW, window)(x)


def avg_pool2d(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """The mean of each window.

    Shapes and arguments as for :func:`max_pool2d`; padding is zeros, and ``count_include_pad`` says
    whether they count as entries of the mean. What ceil mode adds beyond the padding never counts.

    >>> import minicnn as mc
    >>> x = mc.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> mc.functional.avg_pool2d(x, 2)
    tensor([[[[2.5]]]])
    """
    x = as_variable(x)
    window, shape = pool_window("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    divisor = _divisor(x.shape[2:], shape, window, bool(count_include_pad), x.dtype, x.device)
    return AvgPool2d(divisor, window)(x)


def adaptive_avg_pool2d(x: Any, output_size: int | Sequence[int | None] | None) -> Any:
    """The mean over bins that divide the image into ``output_size`` rows and columns, as evenly as can be.

    Output size 1 is global average pooling (Lin, Chen, Yan 2013, section 3.2). None keeps a size.

    >>> import minicnn as mc
    >>> mc.functional.adaptive_avg_pool2d(mc.ones(2, 512, 7, 7), 1).shape
    (2, 512, 1, 1)
    """
    x = as_variable(x)
    return AdaptiveAvgPool2d(*_adaptive("adaptive_avg_pool2d", x, output_size))(x)


def adaptive_max_pool2d(x: Any, output_size: int | Sequence[int | None] | None) -> Any:
    """The maximum over the bins of :func:`adaptive_avg_pool2d`."""
    x = as_variable(x)
    return AdaptiveMaxPool2d(*_adaptive("adaptive_max_pool2d", x, output_size))(x)


def pool_window(
    name: str, x: Variable, kernel_size: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool
) -> tuple[Window, tuple[int, int]]:
    """The checked window, and the rows and columns of the output."""
    images(name, x)
    kernel = pair(name, "kernel_size", kernel_size, 1)
    stride = kernel if stride is None else pair(name, "stride", stride, 1)
    ph, pw = pair(name, "padding", padding, 0)
    if ph > kernel[0] // 2 or pw > kernel[1] // 2:
        raise ValueError(f"{name}: padding {(ph, pw)} is more than half of the window {kernel}")
    window = Window(kernel, stride, ((ph, ph), (pw, pw)), pair(name, "dilation", dilation, 1))
    if not ceil_mode:
        fits(name, x, window)
        return window, window.output_size(*x.shape[2:])
    sizes = []
    for axis, p in ((0, ph), (1, pw)):
        size, extent, step = x.shape[axis + 2], window.extent[axis], stride[axis]
        windows = -(-(size + 2 * p - extent) // step) + 1
        if (windows - 1) * step >= size + p:  # this window would start past the image
            windows -= 1
        sizes.append(windows)
    if min(sizes) < 1:
        fits(name, x, window)
    return window, (sizes[0], sizes[1])


@cuda_graphs.remembered
def _divisor(
    size: tuple[int, int],
    windows: tuple[int, int],
    window: Window,
    count_include_pad: bool,
    dtype: np.dtype,
    device: str,
) -> Array:
    """How many entries the mean of each window has. Kept: to bring it to a GPU takes longer than to pool."""
    rows, columns = (_entries(size[axis], windows[axis], window, axis, count_include_pad) for axis in (0, 1))
    return backend.move(np.outer(rows, columns).astype(dtype), device)


def _entries(size: int, windows: int, window: Window, axis: int, count_include_pad: bool) -> Array:
    """How many entries the mean of each window has along one axis."""
    padding = window.padding[axis][0]
    start = np.arange(windows) * window.stride[axis] - padding
    end = np.minimum(start + window.kernel[axis], size + padding)
    if count_include_pad:
        return end - start
    return np.minimum(end, size) - np.maximum(start, 0)


def _adaptive(name: str, x: Variable, output_size: Any) -> tuple[Array, Array]:
    """The bins of rows and those of columns.

    They stay on the CPU, whichever device x is on: there is nothing to wait for, and the GPU's kernels work
    them out from their number.
    """
    images(name, x)
    both = output_size if isinstance(output_size, Sequence) else (output_size, output_size)
    if len(both) != 2:
        raise ValueError(f"{name}: output_size must be one size or two, got {output_size!r}")
    sizes = [x.shape[axis + 2] if size is None else size for axis, size in enumerate(both)]
    if not all(isinstance(size, int | np.integer) and size >= 1 for size in sizes):
        raise ValueError(f"{name}: output_size must be whole numbers ≥ 1, or None, got {output_size!r}")
    rows, columns = (np.array(bins(x.shape[axis + 2], int(size))) for axis, size in enumerate(sizes))
    return rows, columns
