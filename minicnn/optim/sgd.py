"""Stochastic gradient descent, with momentum if wanted."""

from __future__ import annotations

from math import inf
from typing import ClassVar

from minicnn.optim.optimizer import Optimizer, Options, Params, State


class SGD(Optimizer):
    """Stochastic gradient descent.

    With g the gradient (plus weight_decay · w) and μ the momentum, each step does

        u = μ u + (1 - dampening) g         (at the first step u = g)
        w = w - lr u                        with momentum
        w = w - lr (g + μ u)                with nesterov=True
        w = w - lr g                        with momentum=0

    u, the "momentum_buffer" of the state, is a decaying sum of past gradients: where they agree, steps grow
    up to 1 / (1 - μ) times; where they alternate, they cancel.

    Ranges: lr, momentum and weight_decay are at least 0; nesterov needs momentum > 0 and dampening = 0. With
    maximize=True the steps go up the gradient.

    Errors: as `Optimizer`. Sources: B. T. Polyak, "Some methods of speeding up the convergence of iteration
    methods", 1964; I. Sutskever et al., "On the importance of initialization and momentum in deep learning",
    ICML 2013.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> w = nn.Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([1.0, -1.0])
    >>> optim.SGD([w], lr=0.5, momentum=0.9).step()
    >>> w.data
    array([0.5, 2.5])
    """

    ranges: ClassVar = {**Optimizer.ranges, "momentum": (0.0, inf), "dampening": (-inf, inf)}
    operation = "sgd.update"
    array_names = ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    def _checked_options(self, options: Options) -> Options:
        checked = super()._checked_options(options)
        if checked["nesterov"] and (checked["momentum"] == 0 or checked["dampening"] != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum > 0 and dampening = 0, but momentum is {checked['momentum']} "
                f"and dampening is {checked['dampening']}"
            )
        return checked

    def arrays_for(self, options: Options) -> tuple[str, ...]:
        return self.array_names if options["momentum"] else ()

    def numbers(self, state: State, options: Options) -> tuple[float, ...]:
        fresh = 1.0 if state["step"] == 1 else 1 - options["dampening"]
        return *self.direction(options), options["lr"], options["momentum"], fresh, options["nesterov"]
