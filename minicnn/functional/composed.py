"""The fused operations once more, written as the textbook defines them: slow, and easy to believe.

A fused operation computes its result in one go and has a gradient derived by hand, where a sign or a
term is soon lost. Its twin here is put together from simple operations alone (arithmetic, slices, sums,
the matrix product), each with a gradient of one line, so that the chain rule works out the rest. Both
must give the same numbers, and the tests hold them to that, values and gradients.

The signatures are those of :mod:`minicnn.functional`; arguments are not checked again.

>>> import minicnn as mc
>>> from minicnn import functional as F
>>> from minicnn.functional import composed
>>> x, w = mc.randn(2, 3, 8, 8, dtype="float64"), mc.randn(4, 3, 5, 5, dtype="float64")
>>> bool(abs(F.conv2d(x, w) - composed.conv2d(x, w)).max() < 1e-12)
True
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn import backend
from minicnn import functional as F
from minicnn.autograd import as_variable
from minicnn.functional.check import pair
from minicnn.functional.conv import resolve_padding
from minicnn.functional.pool import bins, pool_window
from minicnn.kernels import Window

# Convolution and the linear layer


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """y = x wᵀ + b: a matrix product and an addition."""
    y = F.matmul(x, F.transpose(weight, 0, 1))
    return y if bias is None else y + bias


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Any:
    """y[n, oc, oh, ow] = b[oc] + Σ_c Σ_i Σ_j x[n, c, oh·s + i·d − p, ow·s + j·d − p] · w[oc, c, i, j].

    The slices under the filter taps (i, j), stacked, are im2col's columns; the sum over c, i and j is one
    matrix product for each image and group.

    Source: Chellapilla, Puri, Simard 2006, "High performance convolutional neural networks", section 3.
    """
    x, w = _tensor(x), _tensor(weight)
    stride, dilation = pair("conv2d", "stride", stride, 1), pair("conv2d", "dilation", dilation, 1)
    padding = resolve_padding("conv2d", padding, x.shape[2:], w.shape[2:], stride, dilation)
    window = Window(w.shape[2:], stride, padding, dilation)
    (N, C), OC = x.shape[:2], w.shape[0]
    OH, OW = window.output_size(*x.shape[2:])
    columns = F.stack(taps(x, window, OH, OW, border=0.0), dim=2)  # (N, C, KH·KW, OH, OW)
    columns = columns.reshape(N, groups, C // groups * columns.shape[2], OH * OW)
    y = w.reshape(groups, OC // groups, columns.shape[2]) @ columns
    y = y.reshape(N, OC, OH, OW)
    return y if bias is None else y + F.reshape(bias, OC, 1, 1)


def taps(x: Any, window: Window, OH: int, OW: int, border: float) -> list[Any]:
    """For each position in the window, the pixel that each output sees there: KH·KW times (N, C, OH, OW).

    The image gets a border of the given value, wide enough for the last windows of ceil mode too.
    """
    (top, bottom), (left, right) = window.padding
    (sh, sw), (H, W) = window.stride, x.shape[2:]
    bottom = max(bottom, (OH - 1) * sh + window.extent[0] - H - top)
    right = max(right, (OW - 1) * sw + window.extent[1] - W - left)
    x = F.pad(x, (left, right, top, bottom), value=border)
    return [
        x[:, :, h : h + (OH - 1) * sh + 1 : sh, v : v + (OW - 1) * sw + 1 : sw]
        for h in range(0, window.extent[0], window.dilation[0])
        for v in range(0, window.extent[1], window.dilation[1])
    ]


# Pooling


def max_pool2d(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    ceil_mode: bool = False,
) -> Any:
    """y[n, c, oh, ow] = the maximum over the window: of a stack of slices, with −∞ around the image."""
    x = _tensor(x)
    window, (OH, OW) = pool_window("max_pool2d", x, kernel_size, stride, padding, dilation, ceil_mode)
    return F.max(F.stack(taps(x, window, OH, OW, border=-np.inf)), dim=0).values


def avg_pool2d(
    x: Any,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int] | None = None,
    padding: int | Sequence[int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Any:
    """y[n, c, oh, ow] = the sum over the window / the number of entries that count.

    To count them, the same sum is taken over an image that is 1 where a pixel counts and 0 elsewhere.
    """
    x = _tensor(x)
    window, (OH, OW) = pool_window("avg_pool2d", x, kernel_size, stride, padding, 1, ceil_mode)
    (top, bottom), (left, right) = window.padding
    counts = _tensor(backend.module_of(x.data).ones((1, 1, *x.shape[2:]), x.dtype))
    padded = F.pad(counts, (left, right, top, bottom), value=float(count_include_pad))
    entries = F.sum(F.stack(taps(padded, window._replace(padding=((0, 0), (0, 0))), OH, OW, border=0.0)), 0)
    return F.sum(F.stack(taps(x, window, OH, OW, border=0.0)), 0) / entries


def adaptive_avg_pool2d(x: Any, output_size: int | Sequence[int | None] | None) -> Any:
    """y[n, c, oh, ow] = the mean of rows ⌊oh·H/OH⌋ to ⌈(oh + 1)·H/OH⌉ − 1, and columns likewise."""
    return _each_bin(x, output_size, F.mean)


def adaptive_max_pool2d(x: Any, output_size: int | Sequence[int | None] | None) -> Any:
    """y[n, c, oh, ow] = the maximum over the bins of :func:`adaptive_avg_pool2d`; equal pixels share gy."""
    return _each_bin(x, output_size, F.amax)


def _each_bin(x: Any, output_size: Any, reduce: Any) -> Any:
    x = _tensor(x)
    both = output_size if isinstance(output_size, Sequence) else (output_size, output_size)
    OH, OW = (x.shape[axis + 2] if size is None else size for axis, size in enumerate(both))
    rows = [
        F.stack([reduce(x[:, :, h0:h1, w0:w1], dim=(2, 3)) for w0, w1 in bins(x.shape[3], OW)], dim=2)
        for h0, h1 in bins(x.shape[2], OH)
    ]
    return F.stack(rows, dim=2)


# Normalisation


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """mean = Σ x / M,  var = Σ (x − mean)² / M,  y = w · (x − mean) / √(var + ε) + b, for each channel.

    In inference the running statistics are the mean and the variance. In training they move, in place,
    towards those of the batch, the variance with the divisor M − 1 in place of M.

    Source: Ioffe & Szegedy 2015, "Batch normalization", algorithm 1.
    """
    x = _tensor(x)
    axes = (0, *range(2, x.ndim))
    column = (1, -1) + (1,) * (x.ndim - 2)  # lines up C numbers with (N, C, …)
    if training:
        mean = F.mean(x, axes, keepdim=True)
        var = F.mean((x - mean) * (x - mean), axes, keepdim=True)
        M = x.data.size // x.shape[1]
        for running, batch in ((running_mean, mean), (running_var, var * (M / (M - 1)))):
            if running is not None:
                running.data *= 1 - momentum
                running.data += momentum * batch.data.ravel()
    else:
        mean, var = F.reshape(running_mean, column), F.reshape(running_var, column)
    y = (x - mean) / F.sqrt(var + eps)
    if weight is not None:
        y = y * F.reshape(weight, column)
    return y if bias is None else y + F.reshape(bias, column)


def local_response_norm(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """y[c] = x[c] / (k + α/n · Σ_{c'} x[c']²)^β,  c' from c − ⌊n/2⌋ to c + ⌊(n − 1)/2⌋, n = size.

    Source: Krizhevsky, Sutskever, Hinton 2012, section 3.3.
    """
    x = _tensor(x)
    C = x.shape[1]
    unpadded = (0, 0) * (x.ndim - 2)
    squares = F.pad(x * x, (*unpadded, size // 2, (size - 1) // 2))
    energy = F.sum(F.stack([squares[:, i : i + C] for i in range(size)]), 0)
    return x / (k + alpha / size * energy) ** beta


def squeeze_excitation(x: Any, w1: Any, b1: Any, w2: Any, b2: Any, activation: str = "relu") -> Any:
    """y = x · σ(w2 · a(w1 · mean(x) + b1) + b2): a mean, two matrix products, and a product with each map.

    Source: Hu, Shen, Sun 2018, "Squeeze-and-excitation networks", equations 2 to 4.
    """
    x = _tensor(x)
    hidden = linear(F.mean(x, (2, 3)), w1, b1)
    s = sigmoid(linear({"relu": relu, "silu": silu}[activation](hidden), w2, b2))
    return x * F.reshape(s, (*s.shape, 1, 1))


# Activations


def relu(x: Any) -> Any:
    """y = x where x > 0, else 0."""
    return leaky_relu(x, 0.0)


def leaky_relu(x: Any, negative_slope: float = 0.01) -> Any:
    """y = x where x > 0, else negative_slope · x."""
    x = _tensor(x)
    return F.where(x > 0, x, negative_slope * x)


def tanh(x: Any) -> Any:
    """y = (eˣ − e⁻ˣ) / (eˣ + e⁻ˣ)."""
    up, down = F.exp(x), F.exp(F.neg(x))
    return (up - down) / (up + down)


def sigmoid(x: Any) -> Any:
    """y = 1 / (1 + e⁻ˣ)."""
    return 1 / (1 + F.exp(F.neg(x)))


def silu(x: Any) -> Any:
    """y = x · σ(x), with the logistic σ.

    Source: Elfwing, Uchibe, Doya 2017, "Sigmoid-weighted linear units", equation 4.
    """
    return x * sigmoid(x)


def softmax(x: Any, dim: int = -1) -> Any:
    """y_i = e^x_i / Σ_j e^x_j. Without the shift that keeps e^x from overflowing."""
    e = F.exp(x)
    return e / F.sum(e, dim, keepdim=True)


def log_softmax(x: Any, dim: int = -1) -> Any:
    """y_i = ln (e^x_i / Σ_j e^x_j)."""
    return F.log(softmax(x, dim))


# Losses


def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """L_n = −Σ_c q[n, c] · weight[c] · ln softmax(x[n])[c], where q is the target's distribution, smoothed.

    The mean is Σ_n L_n / Σ_n weight[target_n], or Σ_n L_n / N where the targets are distributions.

    Source: label smoothing in Szegedy et al. 2015, "Rethinking the Inception architecture", section 7.
    """
    x = _tensor(x)
    target = _tensor(target, x)
    C = x.shape[1]
    column = (1, C) + (1,) * (x.ndim - 2)
    w = _tensor(backend.module_of(x.data).ones(C, x.dtype) if weight is None else weight, x)
    if target.dtype.kind == "f":
        q, counted, total = target, 1.0, x.data.size // C
    else:
        q, counted = _distribution(target, x, ignore_index)
        total = F.sum(q * w.reshape(column))  # Σ_n weight[target_n]
    q = (1 - label_smoothing) * q + label_smoothing / C * counted
    losses = -F.sum(q * w.reshape(column) * log_softmax(x, 1), 1)
    return F.sum(losses) / total if reduction == "mean" else _reduce(losses, reduction)


def nll_loss(
    x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    """L_n = −weight[target_n] · x[n, target_n]; the mean is Σ_n L_n / Σ_n weight[target_n]."""
    x = _tensor(x)
    w = _tensor(backend.module_of(x.data).ones(x.shape[1], x.dtype) if weight is None else weight, x)
    q, _ = _distribution(_tensor(target, x), x, ignore_index)
    q = q * w.reshape((1, -1) + (1,) * (x.ndim - 2))
    losses = -F.sum(q * x, 1)
    return F.sum(losses) / F.sum(q) if reduction == "mean" else _reduce(losses, reduction)


def _distribution(target: Any, x: Any, ignore_index: int) -> tuple[Any, Any]:
    """Labels as distributions shaped like x, 0 where ignored; and 1 where they count, with one channel."""
    counted = _tensor((target.data != ignore_index)[:, None].astype(x.dtype))
    labels = np.where(target.data != ignore_index, target.data, 0)
    last_to_second = (0, x.ndim - 1, *range(1, x.ndim - 1))
    return F.permute(F.one_hot(labels, x.shape[1], x.dtype), last_to_second) * counted, counted


def binary_cross_entropy(x: Any, target: Any, reduction: str = "mean") -> Any:
    """L = −t ln x − (1 − t) ln(1 − x). Without the bound of −100 on the logarithms: 0 < x < 1."""
    x, t = _tensor(x), _tensor(target)
    return _reduce(-(t * F.log(x) + (1 - t) * F.log(1 - x)), reduction)


def binary_cross_entropy_with_logits(x: Any, target: Any, reduction: str = "mean") -> Any:
    """:func:`binary_cross_entropy` of σ(x)."""
    return binary_cross_entropy(sigmoid(x), target, reduction)


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    """L = (x − t)²."""
    d = F.sub(x, target)
    return _reduce(d * d, reduction)


def _tensor(value: Any, beside: Any = None) -> Any:
    """A tensor, with all its operators; of numbers, where another one is."""
    return as_variable(value, None if beside is None else beside.device)


def _reduce(losses: Any, reduction: str) -> Any:
    """The mean, the sum, or the losses as they are ("none")."""
    return {"mean": F.mean, "sum": F.sum, "none": lambda losses: losses}[reduction](losses)
