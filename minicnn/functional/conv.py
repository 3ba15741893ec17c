"""Convolution. The kernels behind it, from plain loops to matrix products, are in ``kernels/``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn import kernels
from minicnn.autograd import Array, Function, Variable, as_variable
from minicnn.functional.activation import CLIPPING, activated, bounds
from minicnn.functional.check import fits, images, pair, same_dtype
from minicnn.kernels import Window


class Conv2d(Function):
    """y[n, oc, oh, ow] = b[oc] + Σ_c Σ_i Σ_j x[n, c, oh·s + i·d − p, ow·s + j·d − p] · w[oc, c, i, j].

    gx: every weight sends w · gy back to the pixel that it met. gw: every pixel sends x · gy to the
    weight. gb = Σ gy over images and positions.
    """

    def __init__(self, window: Window) -> None:
        self.window = window

    def forward(self, x: Array, w: Array, b: Array | None) -> Array:
        self.save(x, w)
        return kernels.run("conv2d.forward", x, w, b, self.window)

    def backward(self, gy: Array) -> tuple[Array | None, Array | None, Array | None]:
        x, w = self.saved[:2]
        gx = gw = gb = None
        if self.needs[0]:
            gx = kernels.run("conv2d.grad_input", gy, w, x.shape, self.window)
        if self.needs[1]:
            gw = kernels.run("conv2d.grad_weight", gy, x, w.shape, self.window)
        if self.needs[2]:
            gb = gy.sum(axis=(0, 2, 3))
        return gx, gw, gb


class ClippedConv2d(Conv2d):
    """y = a(x ∗ w + b), as Conv2d has it, with an activation a that clips; gy passes where a did not clip."""

    def __init__(self, window: Window, activation: str) -> None:
        super().__init__(window)
        self.activation = activation

    def forward(self, x: Array, w: Array, b: Array | None) -> Array:
        y = kernels.run("conv2d.forward_clipped", x, w, b, self.window, CLIPPING[self.activation])
        self.save(x, w, y)
        return y

    def backward(self, gy: Array) -> tuple[Array | None, Array | None, Array | None]:
        return super().backward(kernels.run(f"{self.activation}.backward", gy, self.saved[2]))


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    activation: str | None = None,
) -> Any:
    """Slide filters over images: a cross-correlation, which this field calls convolution.

        y[n, oc, oh, ow] = b[oc] + Σ_c Σ_i Σ_j x[n, c, oh·s + i·d − p, ow·s + j·d − p] · w[oc, c, i, j]

    Shapes:
        x (N, C, H, W), weight (OC, C/groups, KH, KW), bias (OC,) or None -> (N, OC, OH, OW), where
        OH = ⌊(H + padding − d·(KH − 1) − 1) / s⌋ + 1, and OW likewise. All of one floating dtype.

    Args:
        stride: s, the step between windows in pixels; one number or (rows, columns).
        padding: zeros around the image: one number, (rows, columns), ``"valid"`` for none, or
            ``"same"`` for OH = ⌈H/s⌉. Beyond PyTorch: "same" allows a stride, and
            ((top, bottom), (left, right)) may differ from side to side. Where "same" must add an odd
            number of rows or columns, the extra one comes after the image.
        dilation: d, the distance between filter taps in pixels.
        groups: input and output channels are divided into so many groups, convolved separately;
            groups = C with OC = C·m is the depthwise convolution.
        activation: beyond PyTorch, ``"relu"`` or ``"relu6"``, which kernels that can apply it to the results
            as they store them; the same numbers as from ``relu(conv2d(…))``.

    Raises:
        ValueError: shapes that do not fit, or a window larger than the padded image.
        TypeError: dtypes that differ, or integers.

    Source: LeCun et al. 1998, "Gradient-based learning applied to document recognition", section II.A.

    >>> import minicnn as mc
    >>> x = mc.tensor([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]])
    >>> w = mc.tensor([[[[1.0, 0.0], [0.0, -1.0]]]])
    >>> mc.functional.conv2d(x, w)
    tensor([[[[-4., -4.],
              [-4., -4.]]]])
    >>> mc.functional.conv2d(x, w, padding="same", stride=2).shape
    (1, 1, 2, 2)
    """
    x, w = as_variable(x), as_variable(weight)
    b = None if bias is None else as_variable(bias)
    images("conv2d", x)
    if w.ndim != 4 or 0 in w.shape:
        raise ValueError(f"conv2d: weight must be filters (OC, C/groups, KH, KW), got shape {w.shape}")
    _check_channels(x, w, b, groups)
    same_dtype("conv2d", x=x, weight=w, bias=b)
    kernel = w.shape[2], w.shape[3]
    stride, dilation = pair("conv2d", "stride", stride, 1), pair("conv2d", "dilation", dilation, 1)
    padding = resolve_padding("conv2d", padding, x.shape[2:], kernel, stride, dilation)
    window = Window(kernel, stride, padding, dilation, int(groups))
    fits("conv2d", x, window)
    bounds("conv2d", activation)
    if activation is not None and kernels.offers("conv2d.forward_clipped", x._data):
        return ClippedConv2d(window, activation)(x, w, b)
    return activated(Conv2d(window)(x, w, b), activation)


def _check_channels(x: Variable, w: Variable, b: Variable | None, groups: int) -> None:
    C, OC = x.shape[1], w.shape[0]
    if not isinstance(groups, int | np.integer) or groups < 1 or OC % groups:
        raise ValueError(f"conv2d: groups must divide the {OC} output channels, got {groups!r}")
    if w.shape[1] * groups != C:
        of_groups = f" in each of {groups} groups" if groups > 1 else ""
        raise ValueError(
            f"conv2d: x has {C} channels (shape {x.shape}), but weight expects {w.shape[1]}{of_groups} "
            f"(shape {w.shape})"
        )
    if b is not None and b.shape != (OC,):
        raise ValueError(f"conv2d: bias has shape {b.shape}, expected ({OC},)")


def resolve_padding(
    name: str, padding: Any, size: tuple[int, ...], kernel: tuple[int, ...], stride: Any, dilation: Any
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding as ((top, bottom), (left, right)), from any of the ways to say it; ValueError for others.

    >>> resolve_padding("conv2d", "same", (5, 6), (3, 3), (2, 2), (1, 1))
    ((1, 1), (0, 1))
    """
    word = padding if isinstance(padding, str) else None  # an array would compare entry by entry
    if word == "valid":
        return (0, 0), (0, 0)
    if word == "same":
        sides = []
        for axis in (0, 1):
            extent = dilation[axis] * (kernel[axis] - 1) + 1
            windows = -(-size[axis] // stride[axis])
            total = max((windows - 1) * stride[axis] + extent - size[axis], 0)
            sides.append((total // 2, total - total // 2))
        return sides[0], sides[1]
    try:
        if isinstance(padding, Sequence) and [isinstance(p, Sequence) for p in padding] == [True, True]:
            return pair(name, "padding", padding[0], 0), pair(name, "padding", padding[1], 0)
        ph, pw = pair(name, "padding", padding, 0)
    except ValueError:
        raise ValueError(
            f"{name}: padding must be a whole number ≥ 0, (rows, columns), ((top, bottom), (left, right)), "
            f"'valid' or 'same', got {padding!r}"
        ) from None
    return (ph, ph), (pw, pw)
