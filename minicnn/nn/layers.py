"""Layers with weights: convolution, the fully connected layer, batch norm."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn import random
from minicnn.backend import unknown
from minicnn.functional.check import pair
from minicnn.functional.conv import resolve_padding
from minicnn.functional.dropout import DECIDED_AXES
from minicnn.nn import init
from minicnn.nn.module import Module, Parameter
from minicnn.tensor import empty, ones, zeros


def whole_number(layer: str, argument: str, value: Any) -> int:
    """A size ≥ 1, or ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueError(f"{layer}: {argument} must be a whole number ≥ 1, got {value!r}")
    return int(value)


def uniform_by_fan_in(weight: Parameter, bias: Parameter | None) -> None:
    """PyTorch's default: every entry uniform in ±1/√fan_in, where fan_in is the inputs to one output.

    LeCun et al. 1998, "Efficient BackProp", section 4.6, gave this scale; :mod:`minicnn.nn.init` has others.
    """
    bound = 1 / np.sqrt(np.prod(weight.shape[1:]))
    for parameter in (weight, bias):
        if parameter is not None:
            init.uniform_(parameter, -bound, bound)


class Linear(Module):
    """y = x Wᵀ + b, with weight (out_features, in_features) and bias (out_features,).

    >>> import minicnn as mc
    >>> from minicnn import nn
    >>> nn.Linear(120, 84)(mc.zeros(2, 120)).shape
    (2, 84)
    """

    def __init__(
        self, in_features: int, out_features: int, bias: bool = True, dtype: Any = np.float32
    ) -> None:
        super().__init__()
        self.in_features = whole_number("Linear", "in_features", in_features)
        self.out_features = whole_number("Linear", "out_features", out_features)
        self.weight = Parameter(empty(out_features, in_features, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_features, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        uniform_by_fan_in(self.weight, self.bias)

    def forward(self, x: Any) -> Any:
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}{'' if self.bias is not None else ', bias=False'}"


class Conv2d(Module):
    """Convolution with learned filters (out_channels, in_channels/groups, KH, KW); see functional.conv2d.

    >>> import minicnn as mc
    >>> from minicnn import nn
    >>> nn.Conv2d(3, 64, 3, stride=2, padding="same")(mc.zeros(1, 3, 32, 32)).shape
    (1, 64, 16, 16)
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        bias: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.in_channels = whole_number("Conv2d", "in_channels", in_channels)
        self.out_channels = whole_number("Conv2d", "out_channels", out_channels)
        self.groups = whole_number("Conv2d", "groups", groups)
        if in_channels % groups or out_channels % groups:
            raise ValueError(
                f"Conv2d: groups must divide in_channels and out_channels, got {groups} for {in_channels} "
                f"and {out_channels}"
            )
        self.kernel_size = pair("Conv2d", "kernel_size", kernel_size, 1)
        self.stride = pair("Conv2d", "stride", stride, 1)
        self.dilation = pair("Conv2d", "dilation", dilation, 1)
        self.padding = padding
        resolve_padding("Conv2d", padding, (1, 1), self.kernel_size, self.stride, self.dilation)
        self.weight = Parameter(empty(out_channels, in_channels // groups, *self.kernel_size, dtype=dtype))
        self.register_parameter("bias", Parameter(empty(out_channels, dtype=dtype)) if bias else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new weights."""
        uniform_by_fan_in(self.weight, self.bias)

    def forward(self, x: Any, activation: str | None = None) -> Any:
        return F.conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups, activation
        )

    def extra_repr(self) -> str:
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        )
        usual = {"padding": 0, "dilation": (1, 1), "groups": 1}
        text += "".join(f", {k}={getattr(self, k)!r}" for k, v in usual.items() if getattr(self, k) != v)
        return text + ("" if self.bias is not None else ", bias=False")


class SeparableConv2d(Module):
    """A depthwise convolution, which looks around, then a 1×1 convolution, which mixes channels.

    C·K·K + C·OC weights in place of C·OC·K·K.

    Source: Chollet 2016, "Xception", section 1.

    >>> from minicnn import nn
    >>> sum(p.numel() for p in nn.SeparableConv2d(32, 64, 3).parameters())
    2336
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Any,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        bias: bool = False,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        self.conv1 = Conv2d(
            in_channels, in_channels, kernel_size, stride, padding, dilation, in_channels, bias, dtype
        )
        self.pointwise = Conv2d(in_channels, out_channels, 1, bias=bias, dtype=dtype)

    def forward(self, x: Any) -> Any:
        return self.pointwise(self.conv1(x))


class _BatchNorm(Module):
    """Batch normalisation with running statistics; see functional.batch_norm.

    momentum is the weight of the newest batch; None makes the statistics the plain mean over all batches.
    """

    axes: tuple[int, ...] = ()
    expected = ""

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = np.float32,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        C = self.num_features = whole_number(name, "num_features", num_features)
        if momentum is not None and not 0 <= momentum <= 1:
            raise ValueError(f"{name}: momentum must be None or between 0 and 1, got {momentum!r}")
        if not eps >= 0:
            raise ValueError(f"{name}: eps must be ≥ 0, got {eps!r}")
        self.eps, self.momentum = eps, momentum
        self.track_running_stats = track_running_stats
        self.register_parameter("weight", Parameter(ones(C, dtype=dtype)) if affine else None)
        self.register_parameter("bias", Parameter(zeros(C, dtype=dtype)) if affine else None)
        tracked = track_running_stats
        self.register_buffer("running_mean", zeros(C, dtype=dtype) if tracked else None)
        self.register_buffer("running_var", ones(C, dtype=dtype) if tracked else None)
        self.register_buffer("num_batches_tracked", zeros((), dtype=np.int64) if tracked else None)

    def forward(self, x: Any, shortcut: Any = None, activation: str | None = None) -> Any:
        if x.ndim not in self.axes:
            raise ValueError(f"{type(self).__name__}: expected {self.expected}, got shape {x.shape}")
        momentum, tracking = self.momentum, self.training and self.track_running_stats
        if tracking and momentum is None:
            momentum = 1 / (self.num_batches_tracked.item() + 1)
        use_batch = self.training or not self.track_running_stats
        y = F.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            use_batch,
            momentum or 0.0,
            self.eps,
            shortcut,
            activation,
        )
        if tracking:
            self.num_batches_tracked += 1
        return y

    def extra_repr(self) -> str:
        return f"{self.num_features}, eps={self.eps}, momentum={self.momentum}"


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of vectors (N, C) or sequences (N, C, L).

    >>> import minicnn as mc
    >>> mc.nn.BatchNorm1d(4)(mc.randn(8, 4)).shape
    (8, 4)
    """

    axes, expected = (2, 3), "(N, C) or (N, C, L)"


class BatchNorm2d(_BatchNorm):
    """Batch normalisation of images (N, C, H, W), one mean and variance for each channel.

    >>> import minicnn as mc
    >>> norm = mc.nn.BatchNorm2d(3)
    >>> y = norm(mc.randn(8, 3, 5, 5) * 4 + 7)
    >>> bool(abs(y.numpy().mean()) < 1e-5), norm.num_batches_tracked.item()
    (True, 1)
    """

    axes, expected = (4,), "images (N, C, H, W)"


class LocalResponseNorm(Module):
    """AlexNet's normalisation across neighbouring channels; see functional.local_response_norm."""

    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size = whole_number("LocalResponseNorm", "size", size)
        self.alpha, self.beta, self.k = alpha, beta, k

    def forward(self, x: Any) -> Any:
        return F.local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"


class _Dropout(Module):
    def __init__(self, p: float = 0.5, generator: random.Generator | None = None) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"{type(self).__name__}: p must be between 0 and 1, got {p!r}")
        self.p, self.generator = p, generator

    def extra_repr(self) -> str:
        return f"p={self.p}"


class Dropout(_Dropout):
    """In training, zero entries with probability p and scale the rest by 1/(1 − p)."""

    def forward(self, x: Any) -> Any:
        return F.dropout(x, self.p, self.training, self.generator)


class Dropout2d(_Dropout):
    """In training, zero whole channels with probability p; see functional.dropout2d."""

    def forward(self, x: Any) -> Any:
        return F.dropout2d(x, self.p, self.training, self.generator)


class StochasticDepth(_Dropout):
    """In training, silence the branch beside a shortcut with probability p; see functional.stochastic_depth.

    mode "row" decides for each image by itself, "batch" once for all.

    >>> from minicnn import nn
    >>> nn.StochasticDepth(0.2, "row")
    StochasticDepth(p=0.2, mode=row)
    """

    def __init__(self, p: float, mode: str, generator: random.Generator | None = None) -> None:
        super().__init__(p, generator)
        if mode not in DECIDED_AXES:
            raise ValueError(f"StochasticDepth: mode {unknown(mode, DECIDED_AXES)}")
        self.mode = mode

    def forward(self, x: Any) -> Any:
        return F.stochastic_depth(x, self.p, self.mode, self.training, self.generator)

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"
