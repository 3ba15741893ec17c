"""Layers without weights: pooling, activations, changes of shape, losses. Each names its function."""

from __future__ import annotations

from typing import Any

from minicnn import functional as F
from minicnn.nn.module import Module


class _Pool(Module):
    def __init__(
        self, kernel_size: Any, stride: Any = None, padding: Any = 0, ceil_mode: bool = False
    ) -> None:
        super().__init__()
        self.kernel_size, self.padding, self.ceil_mode = kernel_size, padding, ceil_mode
        self.stride = kernel_size if stride is None else stride

    def extra_repr(self) -> str:
        text = f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"
        return text + (", ceil_mode=True" if self.ceil_mode else "")


class MaxPool2d(_Pool):
    """The maximum of each window; see functional.max_pool2d."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        dilation: Any = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = dilation

    def forward(self, x: Any) -> Any:
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)


class AvgPool2d(_Pool):
    """The mean of each window; see functional.avg_pool2d."""

    def __init__(
        self,
        kernel_size: Any,
        stride: Any = None,
        padding: Any = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Any:
        return F.avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


class AdaptiveAvgPool2d(Module):
    """The mean over output_size bins a side; 1 is global average pooling."""

    def __init__(self, output_size: Any) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, x: Any) -> Any:
        return F.adaptive_avg_pool2d(x, self.output_size)

    def extra_repr(self) -> str:
        return f"output_size={self.output_size}"


class AdaptiveMaxPool2d(AdaptiveAvgPool2d):
    """The maximum over output_size bins a side."""

    def forward(self, x: Any) -> Any:
        return F.adaptive_max_pool2d(x, self.output_size)


class Flatten(Module):
    """The axes from start_dim on as one: (N, C, H, W) -> (N, C·H·W)."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim, self.end_dim = start_dim, end_dim

    def forward(self, x: Any) -> Any:
        return F.flatten(x, self.start_dim, self.end_dim)


class ZeroPad2d(Module):
    """Zeros around the image: one number for all sides, or (left, right, top, bottom)."""

    def __init__(self, padding: Any) -> None:
        super().__init__()
        self.padding = (padding,) * 4 if isinstance(padding, int) else tuple(padding)

    def forward(self, x: Any) -> Any:
        return F.pad(x, self.padding)

    def extra_repr(self) -> str:
        return f"{self.padding}"


class ReLU(Module):
    """max(x, 0)."""

    def forward(self, x: Any) -> Any:
        return F.relu(x)


class ReLU6(Module):
    """min(max(x, 0), 6)."""

    def forward(self, x: Any) -> Any:
        return F.relu6(x)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope · x."""

    def __init__(self, negative_slope: float = 0.01) -> None:
        super().__init__()
        self.negative_slope = negative_slope

    def forward(self, x: Any) -> Any:
        return F.leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        return f"negative_slope={self.negative_slope}"


class Tanh(Module):
    """tanh x."""

    def forward(self, x: Any) -> Any:
        return F.tanh(x)


class Sigmoid(Module):
    """1 / (1 + e⁻ˣ)."""

    def forward(self, x: Any) -> Any:
        return F.sigmoid(x)


class SiLU(Module):
    """x / (1 + e⁻ˣ), also called swish."""

    def forward(self, x: Any) -> Any:
        return F.silu(x)


class _AlongDim(Module):
    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        return f"dim={self.dim}"


class Softmax(_AlongDim):
    """Probabilities along dim."""

    def forward(self, x: Any) -> Any:
        return F.softmax(x, self.dim)


class LogSoftmax(_AlongDim):
    """Logarithms of probabilities along dim."""

    def forward(self, x: Any) -> Any:
        return F.log_softmax(x, self.dim)


class CrossEntropyLoss(Module):
    """Cross-entropy of softmax(x) and target classes or probabilities; see functional.cross_entropy."""

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__()
        self.weight, self.ignore_index = weight, ignore_index
        self.reduction, self.label_smoothing = reduction, label_smoothing

    def forward(self, x: Any, target: Any) -> Any:
        return F.cross_entropy(
            x, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing
        )


class NLLLoss(Module):
    """Negative log-likelihood of log-probabilities; see functional.nll_loss."""

    def __init__(self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__()
        self.weight, self.ignore_index, self.reduction = weight, ignore_index, reduction

    def forward(self, x: Any, target: Any) -> Any:
        return F.nll_loss(x, target, self.weight, self.ignore_index, self.reduction)


class _PairLoss(Module):
    def __init__(self, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction


class BCELoss(_PairLoss):
    """Binary cross-entropy of probabilities."""

    def forward(self, x: Any, target: Any) -> Any:
        return F.binary_cross_entropy(x, target, self.reduction)


class BCEWithLogitsLoss(_PairLoss):
    """Binary cross-entropy of numbers before the sigmoid."""

    def forward(self, x: Any, target: Any) -> Any:
        return F.binary_cross_entropy_with_logits(x, target, self.reduction)


class MSELoss(_PairLoss):
    """The squared error."""

    def forward(self, x: Any, target: Any) -> Any:
        return F.mse_loss(x, target, self.reduction)
