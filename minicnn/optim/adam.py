"""Adam and its relatives: momentum, with each number's step scaled by the recent size of its gradient.

In all of them g is the gradient (plus weight_decay · w, but for AdamW), t counts the steps from 1, and β1, β2
are the `betas`. The averages m and v begin as zeros, so after t steps their weights add up to 1 - β^t only;
dividing by that is the bias correction.
"""

from __future__ import annotations

from math import inf
from typing import ClassVar

from minicnn.optim.optimizer import Optimizer, Options, Params, State


class Adam(Optimizer):
    """Adaptive moments.

        m = β1 m + (1 - β1) g
        v = β2 v + (1 - β2) g²
        w = w - lr · (m / (1 - β1^t)) / (sqrt(v / (1 - β2^t)) + ε)

    m and v are the state's "exp_avg" and "exp_avg_sq". The step of a number is at most about lr, whatever the
    scale of its gradient.

    Ranges: lr, eps and weight_decay are at least 0; 0 <= beta < 1 for both betas.

    Errors: as `Optimizer`. Source: D. P. Kingma, J. Ba, "Adam: a method for stochastic optimization", ICLR
    2015, algorithm 1.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> w = nn.Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([1e-3, -1e3])
    >>> optim.Adam([w], lr=0.1).step()
    >>> w.data.round(3)
    array([0.9, 2.1])
    """

    ranges: ClassVar = {**Optimizer.ranges, "betas": (0.0, 1.0), "eps": (0.0, inf)}
    operation = "adam.update"
    array_names = ("exp_avg", "exp_avg_sq")

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def numbers(self, state: State, options: Options) -> tuple[float, ...]:
        shrink = 1.0 if self.decays_gradient else 1 - options["lr"] * options["weight_decay"]
        own = shrink, options["lr"], *options["betas"], options["eps"], state["step"]
        return *self.direction(options), *own


class AdamW(Adam):
    """Adam with decoupled weight decay.

        w = w - lr · weight_decay · w,   then Adam's step with the bare gradient g

    In Adam an L2 penalty's gradient is divided by sqrt(v) like the rest, so weights with large gradients
    hardly decay. Here all weights decay at the same rate.

    Ranges and errors: as `Adam`. Source: I. Loshchilov, F. Hutter, "Decoupled weight decay regularization",
    ICLR 2019, algorithm 2, with lr as the schedule's multiplier.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> w = nn.Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.zeros(2)
    >>> optim.AdamW([w], lr=0.1, weight_decay=0.5).step()
    >>> w.data
    array([0.95, 1.9 ])
    """

    decays_gradient = False

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, maximize=maximize)


class Adamax(Optimizer):
    """Adam with the largest recent gradient in the place of the root mean square.

        m = β1 m + (1 - β1) g
        u = max(β2 u, |g| + ε)
        w = w - lr / (1 - β1^t) · m / u

    m and u are the state's "exp_avg" and "exp_inf". The paper has no ε; it keeps u from zero, as in PyTorch.

    Ranges: as `Adam`. Errors: as `Optimizer`. Source: D. P. Kingma, J. Ba, "Adam: a method for stochastic
    optimization", ICLR 2015, section 7.1 and algorithm 2.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> w = nn.Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([1e-3, -1e3])
    >>> optim.Adamax([w], lr=0.1).step()
    >>> w.data.round(3)
    array([0.9, 2.1])
    """

    ranges = Adam.ranges
    operation = "adamax.update"
    array_names = ("exp_avg", "exp_inf")

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "maximize": maximize}
        )

    def numbers(self, state: State, options: Options) -> tuple[float, ...]:
        own = options["lr"], *options["betas"], options["eps"], state["step"]
        return *self.direction(options), *own


class NAdam(Optimizer):
    """Adam with Nesterov's momentum: the step looks ahead by using the next step's momentum already.

        μ_t = β1 (1 - 0.96^(t ψ) / 2)
        m = β1 m + (1 - β1) g
        v = β2 v + (1 - β2) g²
        m̂ = μ_(t+1) m / (1 - μ_1 ··· μ_(t+1)) + (1 - μ_t) g / (1 - μ_1 ··· μ_t)
        w = w - lr · m̂ / (sqrt(v / (1 - β2^t)) + ε)

    ψ is `momentum_decay`; m and v are the state's "exp_avg" and "exp_avg_sq", and μ_1 ··· μ_t its
    "mu_product".

    Ranges: as `Adam`, and momentum_decay is at least 0. Errors: as `Optimizer`. Source: T. Dozat,
    "Incorporating Nesterov momentum into Adam", ICLR 2016 workshop, algorithm 2.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> w = nn.Parameter(np.array([1.0, 2.0]))
    >>> w.grad = np.array([1e-3, -1e3])
    >>> optim.NAdam([w], lr=0.1).step()
    >>> w.data.round(3)
    array([0.894, 2.106])
    """

    ranges: ClassVar = {**Adam.ranges, "momentum_decay": (0.0, inf)}
    operation = "nadam.update"
    array_names = ("exp_avg", "exp_avg_sq")
    start: ClassVar = {**Optimizer.start, "mu_product": 1.0}

    def __init__(
        self,
        params: Params,
        lr: float = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum_decay: float = 4e-3,
        *,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum_decay": momentum_decay,
                "maximize": maximize,
            },
        )

    def advance(self, state: State, options: Options) -> None:
        super().advance(state, options)
        state["mu_product"] *= self._momentum(state["step"], options)

    @staticmethod
    def _momentum(t: int, options: Options) -> float:
        return options["betas"][0] * (1 - 0.5 * 0.96 ** (t * options["momentum_decay"]))

    def numbers(self, state: State, options: Options) -> tuple[float, ...]:
        t, product = state["step"], state["mu_product"]
        mu, next_mu = self._momentum(t, options), self._momentum(t + 1, options)
        ahead = options["lr"] * next_mu / (1 - product * next_mu)
        now = options["lr"] * (1 - mu) / (1 - product)
        return *self.direction(options), ahead, now, *options["betas"], options["eps"], t
