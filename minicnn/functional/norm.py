"""Normalisation: batch norm, and AlexNet's local response normalisation."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import backend, kernels
from minicnn.autograd import Array, Function, Variable, as_variable
from minicnn.functional.activation import CLIPPING, activated, bounds
from minicnn.functional.arithmetic import add
from minicnn.functional.check import same_dtype


class BatchNorm(Function):
    """y = w · (x − mean) / √(var + ε) + b, with the mean and variance of this batch.

    Both depend on x, hence gx = w/√(var + ε) · (gy − mean(gy) − x̂ · mean(gy · x̂)), in three terms.
    """

    def __init__(self, eps: float) -> None:
        self.eps = eps
        self.mean: Array | None = None  # of the batch, set by forward
        self.var: Array | None = None

    def forward(self, x: Array, w: Array, b: Array) -> Array:
        y, self.mean, self.var, inverse_std = kernels.run("batch_norm.training", x, w, b, self.eps)
        self.save(x, self.mean, inverse_std, w)
        return y

    def backward(self, gy: Array) -> tuple[Array, Array, Array]:
        return kernels.run("batch_norm.training_backward", gy, *self.saved)


class BatchNormInference(Function):
    """y = w · (x − mean) / √(var + ε) + b, with a given mean and variance: gx = w/√(var + ε) · gy."""

    def __init__(self, mean: Array, var: Array, eps: float) -> None:
        self.mean, self.var, self.eps = mean, var, eps

    def forward(self, x: Array, w: Array, b: Array) -> Array:
        if self.recording:  # copies, because training goes on to change the running statistics in place
            self.save(x, self.mean.copy(), self.var.copy(), w)
        return kernels.run("batch_norm.inference", x, self.mean, self.var, w, b, self.eps)

    def backward(self, gy: Array) -> tuple[Array, Array, Array]:
        return kernels.run("batch_norm.inference_backward", gy, *self.saved, self.eps)


class ClippedBatchNorm(Function):
    """y = a(w · x̂ + b + s), with a shortcut s and an activation a that clips; either may be missing.

    gs is gy where a did not clip, else 0; of that, gx, gw and gb are what BatchNorm makes of gy.
    """

    def __init__(self, eps: float, activation: str | None) -> None:
        self.eps, self.activation, self.bounds = eps, activation, bounds("batch_norm", activation)
        self.mean: Array | None = None
        self.var: Array | None = None

    def forward(self, x: Array, w: Array, b: Array, s: Array | None) -> Array:
        y, self.mean, self.var, inverse_std = kernels.run(
            "batch_norm.training_clipped", x, w, b, self.eps, s, self.bounds
        )
        self.save(x, self.mean, inverse_std, w, None if self.activation is None else y)
        return y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        return kernels.run(
            "batch_norm.training_backward_clipped", gy, *self.saved, self.bounds, self.needs[3]
        )


class ClippedBatchNormInference(Function):
    """The same with a given mean and variance."""

    def __init__(self, mean: Array, var: Array, eps: float, activation: str | None) -> None:
        self.mean, self.var, self.eps = mean, var, eps
        self.activation, self.bounds = activation, bounds("batch_norm", activation)

    def forward(self, x: Array, w: Array, b: Array, s: Array | None) -> Array:
        y = kernels.run(
            "batch_norm.inference_clipped", x, self.mean, self.var, w, b, self.eps, s, self.bounds
        )
        if self.recording:
            self.save(x, self.mean.copy(), self.var.copy(), w, y)
        return y

    def backward(self, gy: Array) -> tuple[Array | None, ...]:
        *saved, y = self.saved
        if self.activation is not None:
            gy = kernels.run(f"{self.activation}.backward", gy, y)
        return *kernels.run("batch_norm.inference_backward", gy, *saved, self.eps), gy


class SiLUBatchNorm(BatchNorm):
    """y = z · σ(z) of BatchNorm's results z, which backward computes once more from x: they are not kept."""

    def forward(self, x: Array, w: Array, b: Array) -> Array:
        y, self.mean, self.var, inverse_std = kernels.run("batch_norm.training_silu", x, w, b, self.eps)
        self.save(x, self.mean, inverse_std, w, b)
        return y

    def backward(self, gy: Array) -> tuple[Array, Array, Array]:
        return kernels.run("batch_norm.training_backward_silu", gy, *self.saved)


class LocalResponseNorm(Function):
    """y[c] = x[c] / (k + α/n · Σ x²)^β, the sum over n neighbouring channels of the same pixel."""

    def __init__(self, size: int, alpha: float, beta: float, k: float) -> None:
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Array) -> Array:
        y, d = kernels.run("local_response_norm.forward", x, self.size, self.alpha, self.beta, self.k)
        self.save(x, d)
        return y

    def backward(self, gy: Array) -> Array:
        x, d = self.saved
        return kernels.run("local_response_norm.backward", gy, x, d, self.size, self.alpha, self.beta)


FOLLOWING = (*CLIPPING, "silu")
"""The activations that may follow a batch norm in the same operation."""


def batch_norm(
    x: Any,
    running_mean: Any,
    running_var: Any,
    weight: Any = None,
    bias: Any = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    shortcut: Any = None,
    activation: str | None = None,
) -> Any:
    """Normalise each channel over the batch, then scale and shift it.

        y = w · (x − mean) / √(var + ε) + b

    In training, mean and var are those of this batch (var with the divisor M, the number of entries in a
    channel), and the running statistics, unless None, move towards them in place:
    running ← (1 − momentum) · running + momentum · batch, where the running variance takes the
    unbiased estimate with the divisor M − 1. In inference the running statistics take their place.

    Beyond PyTorch, a shortcut like x may be added to y, and ``activation="relu"``, ``"relu6"`` or ``"silu"``
    be applied after it: the same numbers as from ``relu(batch_norm(…) + shortcut)``, and kernels that can do
    it on the way spare two or three trips to memory.

    Shapes:
        x (N, C) or (N, C, …); running_mean, running_var, weight (1 if None) and bias (0 if None): (C,)

    Raises:
        ValueError: shapes that do not fit; training on one entry a channel, which has no variance; no
            running statistics in inference; another activation.
        TypeError: dtypes that differ.

    Source: Ioffe & Szegedy 2015, "Batch normalization", algorithms 1 and 2.

    >>> import minicnn as mc
    >>> x = mc.tensor([[1.0], [3.0]])
    >>> mc.functional.batch_norm(x, None, None, training=True, eps=0.0)
    tensor([[-1.],
            [ 1.]])
    """
    x = as_variable(x)
    if x.ndim < 2:
        raise ValueError(f"batch_norm: x must be (N, C) or (N, C, …), got shape {x.shape}")
    if activation not in (None, *FOLLOWING):
        raise ValueError(f"batch_norm: activation {backend.unknown(activation, FOLLOWING)}")
    C, M = x.shape[1], x._data.size // max(x.shape[1], 1)
    vectors = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    given = {name: as_variable(vector, x.device) for name, vector in vectors.items() if vector is not None}
    for name, vector in given.items():
        if vector.shape != (C,):
            raise ValueError(f"batch_norm: {name} has shape {vector.shape}, expected ({C},)")
    s = None if shortcut is None else as_variable(shortcut)
    if s is not None and s.shape != x.shape:
        raise ValueError(f"batch_norm: shortcut has shape {s.shape}, but x has {x.shape}")
    same_dtype("batch_norm", x=x, shortcut=s, **given)
    xp = backend.module_of(x._data)
    w = given["weight"] if "weight" in given else as_variable(xp.ones(C, x.dtype))
    b = given["bias"] if "bias" in given else as_variable(xp.zeros(C, x.dtype))
    mean, var = given.get("running_mean"), given.get("running_var")
    if not training:
        if mean is None or var is None:
            raise ValueError("batch_norm: inference needs running_mean and running_var")
        if _joint("batch_norm.inference_clipped", x, s, activation):
            return ClippedBatchNormInference(mean._data, var._data, eps, activation)(x, w, b, s)
        return _one_by_one(BatchNormInference(mean._data, var._data, eps)(x, w, b), s, activation)
    if M < 2:
        raise ValueError(f"batch_norm: training needs more than one entry a channel, got shape {x.shape}")
    operation: BatchNorm | ClippedBatchNorm
    if activation == "silu" and s is None and kernels.offers("batch_norm.training_silu", x._data):
        operation = SiLUBatchNorm(eps)
        y = operation(x, w, b)
    elif _joint("batch_norm.training_clipped", x, s, activation):
        operation = ClippedBatchNorm(eps, activation)
        y = operation(x, w, b, s)
    else:
        operation = BatchNorm(eps)
        y = _one_by_one(operation(x, w, b), s, activation)
    if mean is not None or var is not None:
        running = (None if one is None else one._data for one in (mean, var))
        kernels.run("batch_norm.update", operation.mean, operation.var, *running, momentum, M / (M - 1))
    for one in (mean, var):
        if one is not None:
            one.mark_changed()
    return y


def _joint(part: str, x: Variable, s: Variable | None, activation: str | None) -> bool:
    """Whether something follows batch norm, of which kernels can do all on the way."""
    clips = activation in (None, *CLIPPING)
    return clips and (s is not None or activation is not None) and kernels.offers(part, x._data)


def _one_by_one(y: Any, s: Variable | None, activation: str | None) -> Any:
    return activated(y if s is None else add(y, s), activation)


def local_response_norm(x: Any, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Any:
    """Divide each entry by a power of the energy of its neighbours in the channels beside it.

        y[c] = x[c] / (k + α/n · Σ_{c'} x[c']²)^β,    c' from c − ⌊n/2⌋ to c + ⌊(n−1)/2⌋, within the image

    As in PyTorch, alpha is divided by n = ``size``. AlexNet's paper is not clear about that; its
    authors' own programme did divide, and used n = 5, α = 1e-4, β = 0.75, k = 2.

    Shapes:
        (N, C, …) -> the same

    Raises:
        ValueError: x without pixels; a size below 1.

    Source: Krizhevsky, Sutskever, Hinton 2012, section 3.3.

    >>> import minicnn as mc
    >>> mc.functional.local_response_norm(mc.ones(1, 3, 1, 1), size=3, alpha=3.0, beta=1.0).flatten()
    tensor([0.33333334, 0.25      , 0.33333334])
    """
    x = as_variable(x)
    if x.ndim < 3:
        raise ValueError(f"local_response_norm: x must be (N, C, …) with pixels, got shape {x.shape}")
    if not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(f"local_response_norm: size must be a whole number ≥ 1, got {size!r}")
    same_dtype("local_response_norm", x=x)
    return LocalResponseNorm(int(size), float(alpha), float(beta), float(k))(x)
