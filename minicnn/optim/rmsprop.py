"""RMSprop: each number's step is scaled by the recent size of its gradient."""

from __future__ import annotations

from math import inf
from typing import ClassVar

from minicnn.optim.optimizer import Optimizer, Options, Params, State


class RMSprop(Optimizer):
    """Gradient descent divided by a running root mean square of the gradient.

    With g the gradient (plus weight_decay · w) and μ the momentum, each step does

        v = α v + (1 - α) g²
        m = α m + (1 - α) g                          only with centered=True
        d = g / (sqrt(v) + ε)                        or, centered, g / (sqrt(v - m²) + ε)
        u = μ u + d;  w = w - lr u                   or, with momentum=0, w = w - lr d

    v, m and u are the state's "square_avg", "grad_avg" and "momentum_buffer", and begin as zeros.

    Ranges: lr, eps, momentum and weight_decay are at least 0; 0 <= alpha < 1.

    Errors: as `Optimizer`. Sources: T. Tieleman, G. Hinton, "Lecture 6.5: rmsprop", Coursera, 2012; the
    centred form is from A. Graves, "Generating sequences with recurrent neural networks", 2013, section 4.2.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> w = nn.Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([1e-3, -1e3])
    >>> optim.RMSprop([w], lr=0.1, alpha=0.99).step()  # both step by lr / sqrt(1 - alpha)
    >>> w.data.round(3)
    array([0., 3.])
    """

    ranges: ClassVar = {**Optimizer.ranges, "alpha": (0.0, 1.0), "eps": (0.0, inf), "momentum": (0.0, inf)}
    operation = "rmsprop.update"
    array_names = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "maximize": maximize,
            },
        )

    def arrays_for(self, options: Options) -> tuple[str, ...]:
        wanted = (True, options["centered"], options["momentum"] > 0)
        return tuple(name for name, needed in zip(self.array_names, wanted, strict=True) if needed)

    def numbers(self, state: State, options: Options) -> tuple[float, ...]:
        own = options["lr"], options["alpha"], options["eps"], options["momentum"]
        return *self.direction(options), *own
