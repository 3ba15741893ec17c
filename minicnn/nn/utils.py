"""What training does to gradients between the backward pass and the optimiser's step."""

from __future__ import annotations

from collections.abc import Iterable
from math import inf, isfinite
from typing import Any

import numpy as np

from minicnn.tensor import Tensor

TINY = 1e-6
"""Added to a norm that is divided by, as in PyTorch."""


def clip_grad_norm_(parameters: Tensor | Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale all gradients together, in place, so that their norm is at most ``max_norm``.

        g ← g · min(1, max_norm / (‖g‖ + 1e-6)),    ‖g‖ = √(Σ g²) over all entries of all gradients

    The direction of the step stays, and only its length is bounded. Returns ‖g‖ as it was before; a parameter
    without a gradient counts nothing.

    Raises ValueError for a ``max_norm`` that is not above 0.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, "On the difficulty of training recurrent neural networks",
    ICML 2013, section 3.2.

    >>> from minicnn import nn
    >>> w = nn.Parameter(np.zeros(2, np.float32))
    >>> w.grad = np.array([3.0, 4.0], np.float32)
    >>> nn.utils.clip_grad_norm_([w], max_norm=1.0)
    tensor(5.)
    >>> [f"{g:.4f}" for g in w.grad]
    ['0.6000', '0.8000']
    """
    max_norm = _positive("clip_grad_norm_: max_norm", max_norm)
    gradients = _gradients("clip_grad_norm_", parameters)
    if not gradients:
        return Tensor(np.zeros((), np.float32))
    # No number is fetched from a GPU: the factor stays where the gradients are.
    norm = np.sqrt(sum(np.square(g).sum(dtype=np.float64) for g in gradients))
    factor = np.minimum(1.0, max_norm / (norm + TINY))
    for g in gradients:
        g *= factor.astype(g.dtype)
    return Tensor(norm.astype(gradients[0].dtype)[...])


def clip_grad_value_(parameters: Tensor | Iterable[Tensor], clip_value: float) -> None:
    """Bring every entry of every gradient into −clip_value … clip_value, in place.

        g ← max(−c, min(c, g))

    Unlike :func:`clip_grad_norm_` it may turn the direction of the step.

    Raises ValueError for a ``clip_value`` that is not above 0.

    >>> from minicnn import nn
    >>> w = nn.Parameter(np.zeros(2))
    >>> w.grad = np.array([-0.25, 4.0])
    >>> nn.utils.clip_grad_value_([w], clip_value=0.5)
    >>> w.grad
    array([-0.25,  0.5 ])
    """
    bound = _positive("clip_grad_value_: clip_value", clip_value)
    for g in _gradients("clip_grad_value_", parameters):
        np.minimum(np.maximum(g, -bound, out=g), bound, out=g)


def _gradients(owner: str, parameters: Tensor | Iterable[Tensor]) -> list[Any]:
    given = [parameters] if isinstance(parameters, Tensor) else list(parameters)
    for parameter in given:
        if not isinstance(parameter, Tensor):
            raise TypeError(f"{owner}: parameters holds {type(parameter).__name__}, but Tensors are expected")
    return [parameter.grad for parameter in given if parameter.grad is not None]


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number):
        raise TypeError(f"{name} is {value!r}, but a number is expected")
    if not 0 < value < inf or not isfinite(value):
        raise ValueError(f"{name} is {value}, but a finite number above 0 is expected")
    return float(value)
