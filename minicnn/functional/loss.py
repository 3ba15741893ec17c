"""Losses: one number that says how wrong the outputs are."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from minicnn import backend, cuda_graphs, kernels
from minicnn.autograd import Array, Function, Variable, as_variable, check_one_device
from minicnn.functional.activation import log_softmax_array
from minicnn.functional.arithmetic import add, div, mul, operands
from minicnn.functional.check import same_dtype
from minicnn.functional.reduction import mean, sum
from minicnn.functional.shape import permute, reshape

REDUCTIONS = ("mean", "sum", "none")


class CrossEntropy(Function):
    """L_n = −Σ_c q[n, c] · ln p[n, c], with p = softmax(x) (R, C) and, for the class t = labels[n],

        q[n, c] = weight[c] · ((1 − s) · [c = t] + s/C),    or 0 throughout where labels[n] is −1

    gx = gy · (p · Σ_c q − q): where q adds up to 1 the famous p − q.
    """

    def __init__(self, labels: Array, weight: Array, smoothing: float) -> None:
        self.targets = labels, weight, smoothing

    def forward(self, x: Array) -> Array:
        losses, p = kernels.run("cross_entropy.forward", x, *self.targets)
        self.save(p)
        return losses

    def backward(self, gy: Array) -> Array:
        (p,) = self.saved
        return kernels.run("cross_entropy.backward", gy, p, *self.targets)


class CrossEntropyOfProbabilities(Function):
    """L_n = −Σ_c q[n, c] · ln p[n, c], with p = softmax(x) and weighted target probabilities q (N, C, P).

    gx = gy · (p · Σ_c q − q). gq = −gy · ln p.
    """

    def forward(self, x: Array, q: Array) -> Array:
        log_p = log_softmax_array(x, 1)
        self.save(log_p, q)
        return -(q * log_p).sum(axis=1)

    def backward(self, gy: Array) -> tuple[Array, Array | None]:
        log_p, q = self.saved
        gx = np.exp(log_p) * q.sum(axis=1, keepdims=True)
        gx -= q
        gx *= gy[:, None]
        return gx, -gy[:, None] * log_p if self.needs[1] else None


class PickedLoss(Function):
    """L_n = −weight_n · x[n, target_n]: the negative log-likelihood of log-probabilities x (N, C, P)."""

    def __init__(self, target: Array, weight: Array) -> None:
        self.target, self.weight = target, weight

    def forward(self, x: Array) -> Array:
        self.shape = x.shape
        return -np.take_along_axis(x, self.target[:, None], 1)[:, 0] * self.weight

    def backward(self, gy: Array) -> Array:
        gx = backend.module_of(gy).zeros(self.shape, gy.dtype)
        np.put_along_axis(gx, self.target[:, None], -(gy * self.weight)[:, None], 1)
        return gx


class BinaryCrossEntropy(Function):
    """L = −t ln p − (1 − t) ln(1 − p);  gp = gy · (p − t) / (p (1 − p)). Logarithms stop at −100."""

    def forward(self, p: Array, t: Array) -> Array:
        self.save(p, t)
        with np.errstate(divide="ignore"):
            log_p, log_q = np.maximum(np.log(p), -100), np.maximum(np.log1p(-p), -100)
        return -(t * log_p + (1 - t) * log_q)

    def backward(self, gy: Array) -> tuple[Array, Array | None]:
        p, t = self.saved
        gp = gy * (p - t) / np.maximum(p * (1 - p), 1e-12)
        if not self.needs[1]:
            return gp, None
        with np.errstate(divide="ignore"):
            return gp, gy * (np.maximum(np.log1p(-p), -100) - np.maximum(np.log(p), -100))


class BinaryCrossEntropyWithLogits(Function):
    """L = max(x, 0) − x·t + ln(1 + e^−|x|);  gx = gy · (σ(x) − t).

    The same number as the binary cross-entropy of σ(x), but no exponential overflows.
    """

    def forward(self, x: Array, t: Array) -> Array:
        self.save(x, t)
        return np.maximum(x, 0) - x * t + np.log1p(np.exp(-np.abs(x)))

    def backward(self, gy: Array) -> tuple[Array, Array]:
        x, t = self.saved
        return gy * (kernels.run("sigmoid.forward", x) - t), -gy * x


class SquaredError(Function):
    """L = (x − t)²;  gx = 2 gy (x − t), gt = −gx."""

    def forward(self, x: Array, t: Array) -> Array:
        d = x - t
        self.save(d)
        return d * d

    def backward(self, gy: Array) -> tuple[Array, Array]:
        (d,) = self.saved
        gx = 2 * gy * d
        return gx, -gx


def cross_entropy(
    x: Any,
    target: Any,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """The cross-entropy between target classes and softmax(x).

        L_n = −Σ_c q[n, c] · weight[c] · ln softmax(x[n])[c]

    where q is 1 for the target class and 0 elsewhere, or the target itself if it holds probabilities;
    label smoothing makes it (1 − s) · q + s/C.

    Shapes:
        x (N, C) or (N, C, …), not yet softmaxed; target: whole numbers 0 … C − 1 of shape (N,) or (N, …),
        or probabilities shaped like x; weight (C,) or None. The result is one number, or for
        reduction "none" one for each target.

    Args:
        ignore_index: targets of this value count nothing.
        reduction: "mean" divides the sum by the sum of the targets' weights (by N where the targets are
            probabilities), as in PyTorch; "sum"; "none".

    Raises:
        ValueError: a target out of range (named), shapes that do not fit, an unknown reduction.
        TypeError: x is not floating-point, or the target neither whole numbers nor x's dtype.

    Source: label smoothing in Szegedy et al. 2015, "Rethinking the Inception architecture", section 7.

    >>> import minicnn as mc
    >>> mc.functional.cross_entropy(mc.tensor([[2.0, 2.0]]), [0])
    tensor(0.6931472)
    """
    x = as_variable(x)
    t, name = as_variable(target, x.device), "cross_entropy"
    _check_reduction(name, reduction)
    same_dtype(name, x=x)
    check_one_device(name, {"target": t, "x": x})
    if x.ndim < 2:
        raise ValueError(f"{name}: x must be (N, C) or (N, C, …), got shape {x.shape}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"{name}: label_smoothing must be between 0 and 1, got {label_smoothing!r}")
    smoothing = float(label_smoothing)
    N, C = x.shape[:2]
    class_weight = _class_weight(name, weight, C, x)
    if t.shape == x.shape and t.dtype.kind == "f":
        same_dtype(name, x=x, target=t)
        q, total = _pixels_last(t), x._data.size // C or np.nan
        if smoothing:
            q = add(mul(q, 1 - smoothing), smoothing / C)
        if weight is not None:
            q = mul(q, class_weight[:, None])
        losses = CrossEntropyOfProbabilities()(_pixels_last(x), q)
    else:
        labels, counts = _labels(name, t, x, ignore_index)
        total = _total(class_weight[labels] * counts)
        labels = np.where(counts, labels, -1).reshape(-1)
        losses = CrossEntropy(labels, class_weight, smoothing)(_classes_last(x))
    return _reduce(losses, reduction, total, (N, *x.shape[2:]))


def nll_loss(
    x: Any, target: Any, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
) -> Any:
    """−weight · x[n, target_n], for log-probabilities x; the rest, errors too, as for :func:`cross_entropy`.

    >>> import minicnn as mc
    >>> F = mc.functional
    >>> logits = mc.tensor([[2.0, 0.0, 1.0]])
    >>> losses = F.nll_loss(F.log_softmax(logits, dim=1), [2]), F.cross_entropy(logits, [2])
    >>> [round(loss.item(), 4) for loss in losses]
    [1.4076, 1.4076]
    """
    x = as_variable(x)
    t = as_variable(target, x.device)
    _check_reduction("nll_loss", reduction)
    same_dtype("nll_loss", x=x)
    check_one_device("nll_loss", {"target": t, "x": x})
    if x.ndim < 2:
        raise ValueError(f"nll_loss: x must be (N, C) or (N, C, …), got shape {x.shape}")
    labels, counts = _labels("nll_loss", t, x, ignore_index)
    weights = (_class_weight("nll_loss", weight, x.shape[1], x)[labels] * counts).astype(x.dtype)
    losses = PickedLoss(labels, weights)(_pixels_last(x))
    return _reduce(losses, reduction, _total(weights), t.shape)


def binary_cross_entropy(x: Any, target: Any, reduction: str = "mean") -> Any:
    """−t ln x − (1 − t) ln(1 − x), for probabilities x and targets t between 0 and 1 of the same shape.

    As in PyTorch the logarithms stop at −100, so that a certain and wrong x costs 100, not infinity.
    """
    x, t = _pair("binary_cross_entropy", x, target, reduction)
    if x._data.size:
        low, high = x._data.min(), x._data.max()
        cuda_graphs.refuse(
            ~((low >= 0) & (high <= 1)),  # so that NaN is refused too
            lambda: ValueError(
                f"binary_cross_entropy: x must lie between 0 and 1, got {low} … {high}; "
                "for numbers before the sigmoid there is binary_cross_entropy_with_logits"
            ),
        )
    return _reduce(BinaryCrossEntropy()(x, t), reduction)


def binary_cross_entropy_with_logits(x: Any, target: Any, reduction: str = "mean") -> Any:
    """:func:`binary_cross_entropy` of sigmoid(x), computed without overflow.

    >>> import minicnn as mc
    >>> mc.functional.binary_cross_entropy_with_logits(mc.tensor([0.0]), mc.tensor([1.0]))
    tensor(0.6931472)
    """
    x, t = _pair("binary_cross_entropy_with_logits", x, target, reduction)
    return _reduce(BinaryCrossEntropyWithLogits()(x, t), reduction)


def mse_loss(x: Any, target: Any, reduction: str = "mean") -> Any:
    """The squared error (x − t)², averaged over all entries.

    >>> import minicnn as mc
    >>> mc.functional.mse_loss(mc.tensor([1.0, 3.0]), mc.tensor([1.0, 1.0]))
    tensor(2.)
    """
    x, t = _pair("mse_loss", x, target, reduction)
    return _reduce(SquaredError()(x, t), reduction)


def one_hot(labels: Any, num_classes: int, dtype: Any = np.float32) -> Any:
    """Whole numbers 0 … num_classes − 1 of shape (…) as rows (…, num_classes) with a single 1.

    Raises:
        ValueError: a number that is out of range; ``num_classes`` below 1.

    >>> import minicnn as mc
    >>> mc.functional.one_hot([2, 0], 3)
    tensor([[0., 0., 1.],
            [1., 0., 0.]])
    """
    labels = as_variable(labels)
    if not isinstance(num_classes, int | np.integer) or num_classes < 1:
        raise ValueError(f"one_hot: num_classes must be a whole number ≥ 1, got {num_classes!r}")
    _check_range("one_hot", labels._data, num_classes)
    return as_variable(backend.module_of(labels._data).eye(num_classes, dtype=dtype)[labels._data])


def _pixels_last(x: Variable) -> Variable:
    """(N, C, …) as (N, C, P)."""
    return reshape(x, *x.shape[:2], -1)


def _classes_last(x: Variable) -> Variable:
    """(N, C, …) as (R, C): a row for each target."""
    if x.ndim == 2:
        return x
    C = x.shape[1]
    return reshape(permute(x, 0, *range(2, x.ndim), 1), x._data.size // C, C)


def _labels(name: str, t: Variable, x: Variable, ignore_index: int) -> tuple[Array, Array]:
    """Labels (N, P), 0 where ignored, and which of them count."""
    shape = (x.shape[0], *x.shape[2:])
    if t.dtype.kind not in "iu" or t.shape != shape:
        expected = f"class numbers (integers) of shape {shape}"
        if name == "cross_entropy":
            expected += f" or probabilities ({x.dtype}) of shape {x.shape}"
        error = ValueError if t.dtype.kind in "iu" else TypeError
        raise error(f"{name}: target is {t.dtype} of shape {t.shape}, expected {expected}")
    labels = t._data.reshape(x.shape[0], prod(shape[1:]))
    counts = labels != ignore_index
    labels = np.where(counts, labels, 0).astype(np.int64)
    _check_range(name, labels, x.shape[1])
    return labels, counts


def _check_range(name: str, labels: Array, classes: int) -> None:
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name}: labels are {labels.dtype}; expected whole numbers")
    wrong = (labels < 0) | (labels >= classes)
    cuda_graphs.refuse(  # the one place where the loss must wait for a GPU
        wrong,
        lambda: ValueError(
            f"{name}: label {labels[wrong][0]} is out of range for {classes} classes (0 … {classes - 1})"
        ),
    )


def _class_weight(name: str, weight: Any, C: int, x: Variable) -> Array:
    if weight is None:
        return backend.module_of(x._data).ones(C, x.dtype)
    array = as_variable(weight, x.device)._data
    if array.shape != (C,):
        raise ValueError(f"{name}: weight has shape {array.shape}, expected ({C},)")
    check_one_device(name, {"weight": array, "x": x})
    return array.astype(x.dtype)


def _pair(name: str, x: Any, target: Any, reduction: str) -> tuple[Variable, Variable]:
    _check_reduction(name, reduction)
    shapes = np.shape(x), np.shape(target)
    if shapes[0] != shapes[1]:
        raise ValueError(f"{name}: x has shape {shapes[0]}, but target has {shapes[1]}")
    x, t = operands(name, x, target)
    same_dtype(name, x=x, target=t)
    return x, t


def _check_reduction(name: str, reduction: str) -> None:
    if reduction not in REDUCTIONS:
        raise ValueError(f"{name}: reduction must be one of {', '.join(REDUCTIONS)}, got {reduction!r}")


def _total(weights: Array) -> Array:
    """The sum of the targets' weights, for a mean; NaN in place of 0, as no targets have no mean."""
    total = weights.sum()
    return np.where(total == 0, total.dtype.type(np.nan), total)


def _reduce(losses: Variable, reduction: str, total: Any = None, shape: tuple[int, ...] | None = None) -> Any:
    """One number, or the losses in their shape; ``total`` is what a mean divides by."""
    if reduction == "none":
        return losses if shape is None else reshape(losses, *shape)
    if reduction == "sum":
        return sum(losses)
    if total is None:
        return mean(losses)
    return div(sum(losses), total)
