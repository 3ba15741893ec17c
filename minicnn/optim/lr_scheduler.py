"""Learning-rate schedules: `step()`, called after each epoch, sets the "lr" of the optimiser's groups.

    optimizer = optim.SGD(model.parameters(), lr=0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=30)
    for epoch in range(90):
        train(...)
        scheduler.step()

Write e for the epoch, counted from 0, lr_e for its learning rate and lr_0 for the one the optimiser began
with. As in PyTorch, the rules but LambdaLR's compute lr_e from lr_(e-1), so that two schedules at once
multiply their effects.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from math import cos, inf, pi
from typing import Any, ClassVar

from minicnn.optim.optimizer import Optimizer


class LRScheduler:
    """The base class: a subclass says in `get_lr` what the learning rates of epoch `last_epoch` are.

    Creating it takes the optimiser's learning rates as lr_0 and sets those of epoch 0.
    """

    saved: ClassVar[tuple[str, ...]] = ("last_epoch", "base_lrs")
    """The attributes that `state_dict` holds: what is counted and what was set, all of it plain numbers."""

    def __init__(self, optimizer: Optimizer) -> None:
        self._count_groups(optimizer)
        self.optimizer = optimizer
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs: list[float] = [group["initial_lr"] for group in optimizer.param_groups]
        self.last_epoch = 0
        self._set(self.get_lr())

    def get_lr(self) -> list[float]:
        """Return each group's learning rate for epoch `last_epoch`, given those of the epoch before."""
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    def step(self) -> None:
        """Go to the next epoch."""
        self.last_epoch += 1
        self._set(self.get_lr())

    def get_last_lr(self) -> list[float]:
        """Return the learning rates that the last step set, one for each group."""
        return self._last_lr

    def state_dict(self) -> dict[str, Any]:
        """Return the epoch, the rule's numbers and the learning rates as a dict that JSON can hold."""
        names = (*self.saved, "_last_lr")
        return {name: list(v) if isinstance(v := getattr(self, name), list) else v for name in names}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned.

        The learning rate itself is the optimiser's, and comes back with the optimiser's state: create both,
        then load both. Errors: ValueError if it is no such dict, or was saved for another number of groups.
        """
        owner = f"{type(self).__name__}.load_state_dict"
        expected = {*self.saved, "_last_lr"}
        if not isinstance(state_dict, dict) or set(state_dict) != expected:
            found = sorted(map(str, state_dict)) if isinstance(state_dict, dict) else type(state_dict)
            raise ValueError(f"{owner}: a dict with the keys {sorted(expected)} is expected, not {found}")
        groups = len(self.optimizer.param_groups)
        for name in {"base_lrs", "_last_lr", "min_lrs"} & expected:
            if not isinstance(state_dict[name], list) or len(state_dict[name]) != groups:
                raise ValueError(
                    f"{owner}: {name} is {state_dict[name]!r}, but {groups} numbers are expected, one a group"
                )
        for name, value in state_dict.items():
            own = getattr(self, name)
            if type(value) is not type(own) and not (name == "best" and None in (value, own)):
                raise ValueError(f"{owner}: {name} is {value!r}, but {type(own).__name__} is expected")
        for name, value in state_dict.items():
            setattr(self, name, list(value) if isinstance(value, list) else value)

    def _count_groups(self, optimizer: Optimizer) -> int:
        if not isinstance(optimizer, Optimizer):
            found = type(optimizer).__name__
            raise TypeError(f"{type(self).__name__}: optimizer is {found}, but an Optimizer is expected")
        return len(optimizer.param_groups)

    def _current(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set(self, lrs: list[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, lrs, strict=True):
            group["lr"] = lr
        self._last_lr = self._current()


class LambdaLR(LRScheduler):
    """Any function of the epoch.

        lr_e = lr_0 · lr_lambda(e)

    `lr_lambda` is one function, or a list with one for each group. A function cannot be saved: `state_dict`
    leaves it out, and who resumes gives it again.

    Errors: ValueError for a list of another length; TypeError for what cannot be called.

    LeNet-5's learning rates, as published: 5e-4 for two passes over MNIST, 2e-4 for three, 1e-4 for three,
    5e-5 for four, then 1e-5 (Y. LeCun et al., "Gradient-based learning applied to document recognition",
    1998, section III.B). With lr=1.0 the function's values are the learning rates themselves:

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> def lenet5(epoch):
    ...     for end, lr in ((2, 5e-4), (5, 2e-4), (8, 1e-4), (12, 5e-5)):
    ...         if epoch < end:
    ...             return lr
    ...     return 1e-5
    >>> optimizer = optim.SGD([nn.Parameter(np.zeros(3))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.LambdaLR(optimizer, lenet5)
    >>> rates = []
    >>> for epoch in range(13):
    ...     rates += scheduler.get_last_lr()
    ...     scheduler.step()
    >>> rates
    [0.0005, 0.0005, 0.0002, 0.0002, 0.0002, 0.0001, 0.0001, 0.0001, 5e-05, 5e-05, 5e-05, 5e-05, 1e-05]
    """

    def __init__(
        self, optimizer: Optimizer, lr_lambda: Callable[[int], float] | Sequence[Callable[[int], float]]
    ) -> None:
        groups = self._count_groups(optimizer)
        given: Any = lr_lambda if isinstance(lr_lambda, list | tuple) else [lr_lambda] * groups
        self.lr_lambdas: list[Callable[[int], float]] = list(given)
        for function in self.lr_lambdas:
            if not callable(function):
                raise TypeError(f"LambdaLR: lr_lambda is {function!r}, but a function is expected")
        if len(self.lr_lambdas) != groups:
            raise ValueError(
                f"LambdaLR: lr_lambda has {len(self.lr_lambdas)} functions, but the optimiser {groups} groups"
            )
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        factors = [float(function(self.last_epoch)) for function in self.lr_lambdas]
        return [base * factor for base, factor in zip(self.base_lrs, factors, strict=True)]


class StepLR(LRScheduler):
    """Multiply by a factor every few epochs.

        lr_e = gamma · lr_(e-1) if e is a multiple of step_size, else lr_(e-1);   lr_e = lr_0 · gamma^⌊e /
        step_size⌋

    Errors: ValueError or TypeError unless step_size is an int of at least 1 and gamma is at least 0.

    GoogLeNet's schedule, 4 % less every 8 epochs (C. Szegedy et al., "Going deeper with convolutions", 2015,
    section 6):

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter(np.zeros(3))], lr=0.01)
    >>> scheduler = optim.lr_scheduler.StepLR(optimizer, step_size=8, gamma=0.96)
    >>> for epoch in range(24):
    ...     scheduler.step()
    >>> f"{scheduler.get_last_lr()[0]:.6f}"  # 0.01 · 0.96³
    '0.008847'
    """

    saved = (*LRScheduler.saved, "step_size", "gamma")

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = _whole("StepLR", "step_size", step_size, 1)
        self.gamma = _number("StepLR", "gamma", gamma)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        due = self.last_epoch > 0 and self.last_epoch % self.step_size == 0
        return [lr * self.gamma if due else lr for lr in self._current()]


class MultiStepLR(LRScheduler):
    """Multiply by a factor at given epochs.

        lr_e = gamma^n · lr_(e-1), where n is how often e is among the milestones

    Errors: ValueError or TypeError unless the milestones are ints of at least 0 and gamma is at least 0.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter(np.zeros(3))], lr=0.5)
    >>> scheduler = optim.lr_scheduler.MultiStepLR(optimizer, milestones=[2, 3], gamma=0.5)
    >>> rates = []
    >>> for epoch in range(4):
    ...     rates += scheduler.get_last_lr()
    ...     scheduler.step()
    >>> rates
    [0.5, 0.5, 0.25, 0.125]
    """

    saved = (*LRScheduler.saved, "milestones", "gamma")

    def __init__(self, optimizer: Optimizer, milestones: Iterable[int], gamma: float = 0.1) -> None:
        self.milestones = sorted(_whole("MultiStepLR", "milestones", m, 0) for m in milestones)
        self.gamma = _number("MultiStepLR", "gamma", gamma)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        n = bisect_right(self.milestones, self.last_epoch) - bisect_left(self.milestones, self.last_epoch)
        return [lr * self.gamma**n for lr in self._current()]


class ExponentialLR(LRScheduler):
    """Multiply by a factor at every epoch.

        lr_e = gamma · lr_(e-1);   lr_e = lr_0 · gamma^e

    Errors: ValueError or TypeError unless gamma is at least 0.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter(np.zeros(3))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    >>> for epoch in range(3):
    ...     scheduler.step()
    >>> scheduler.get_last_lr()
    [0.125]
    """

    saved = (*LRScheduler.saved, "gamma")

    def __init__(self, optimizer: Optimizer, gamma: float) -> None:
        self.gamma = _number("ExponentialLR", "gamma", gamma)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return [lr * self.gamma if self.last_epoch > 0 else lr for lr in self._current()]


class CosineAnnealingLR(LRScheduler):
    """Half a cosine wave from lr_0 down to eta_min, in T_max epochs; then up again, and so on.

        h(e) = (1 + cos(π e / T_max)) / 2
        lr_e = eta_min + (lr_(e-1) - eta_min) · h(e) / h(e-1);   lr_e = eta_min + (lr_0 - eta_min) · h(e)

    Errors: ValueError or TypeError unless T_max is an int of at least 1 and eta_min is at least 0.

    Source: I. Loshchilov, F. Hutter, "SGDR: stochastic gradient descent with warm restarts", ICLR 2017,
    equation 5, without the restarts.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter(np.zeros(3))], lr=1.0)
    >>> scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4)
    >>> rates = []
    >>> for epoch in range(5):
    ...     rates += scheduler.get_last_lr()
    ...     scheduler.step()
    >>> [f"{lr:.3f}" for lr in rates]
    ['1.000', '0.854', '0.500', '0.146', '0.000']
    """

    saved = (*LRScheduler.saved, "T_max", "eta_min")

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = _whole("CosineAnnealingLR", "T_max", T_max, 1)
        self.eta_min = _number("CosineAnnealingLR", "eta_min", eta_min)
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        if self.last_epoch == 0:
            return self._current()
        height, before = self._height(self.last_epoch), self._height(self.last_epoch - 1)
        if before == 0:  # the wave's lowest point, from which no factor leads up
            return [self.eta_min + (base - self.eta_min) * height for base in self.base_lrs]
        return [self.eta_min + (lr - self.eta_min) * (height / before) for lr in self._current()]

    def _height(self, epoch: int) -> float:
        return (1 + cos(pi * epoch / self.T_max)) / 2


class ReduceLROnPlateau(LRScheduler):
    """Reduce the learning rate when a measured number, such as the validation loss, stops improving.

        lr = max(factor · lr, min_lr)   after more than `patience` epochs in a row without a new best

    `step(metrics)` takes the number. In mode "min" it is a new best if it is below best · (1 - threshold)
    with threshold_mode="rel", or below best - threshold with "abs"; in mode "max", above the same with a plus
    sign. (A number that may be negative needs "abs".) After a reduction, `cooldown` epochs are not counted. A
    reduction by `eps` or less is not made. `min_lr` is one number, or a list with one for each group.

    Errors: ValueError or TypeError for a mode or threshold_mode that is unknown, unless 0 <= factor < 1, and
    unless the other numbers are at least 0.

    >>> import numpy as np
    >>> from minicnn import nn, optim
    >>> optimizer = optim.SGD([nn.Parameter(np.zeros(3))], lr=0.1)
    >>> scheduler = optim.lr_scheduler.ReduceLROnPlateau(optimizer, factor=0.1, patience=1)
    >>> rates = []
    >>> for loss in (1.0, 0.5, 0.5, 0.6):
    ...     scheduler.step(loss)
    ...     rates += scheduler.get_last_lr()
    >>> [f"{lr:.3f}" for lr in rates]
    ['0.100', '0.100', '0.100', '0.010']
    """

    saved = (
        *("last_epoch", "best", "num_bad_epochs", "cooldown_counter"),
        *("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown", "min_lrs", "eps"),
    )

    def __init__(
        self,
        optimizer: Optimizer,
        mode: str = "min",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        min_lr: float | Sequence[float] = 0.0,
        eps: float = 1e-8,
    ) -> None:
        owner = type(self).__name__
        self.mode = _choice(owner, "mode", mode, ("min", "max"))
        self.factor = _number(owner, "factor", factor, below=1.0)
        self.patience = _whole(owner, "patience", patience, 0)
        self.threshold = _number(owner, "threshold", threshold)
        self.threshold_mode = _choice(owner, "threshold_mode", threshold_mode, ("rel", "abs"))
        self.cooldown = _whole(owner, "cooldown", cooldown, 0)
        self.eps = _number(owner, "eps", eps)
        self.best: float | None = None  # None before the first number, since JSON has no infinity
        self.num_bad_epochs = 0
        self.cooldown_counter = 0
        groups = self._count_groups(optimizer)
        floors = list(min_lr) if isinstance(min_lr, list | tuple) else [min_lr] * groups
        if len(floors) != groups:
            raise ValueError(f"{owner}: min_lr has {len(floors)} numbers, but the optimiser {groups} groups")
        self.min_lrs = [_number(owner, "min_lr", floor) for floor in floors]
        super().__init__(optimizer)

    def get_lr(self) -> list[float]:
        return self._current()

    def step(self, metrics: float) -> None:  # type: ignore[override]
        """Go to the next epoch, given the number that was measured in this one."""
        self.last_epoch += 1
        metric = float(metrics)
        if self._is_better(metric):
            self.best = metric
            self.num_bad_epochs = 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter = self.cooldown
            self.num_bad_epochs = 0
            reduced = [max(lr * self.factor, m) for lr, m in zip(self._current(), self.min_lrs, strict=True)]
        else:
            reduced = self._current()
        self._set(
            [new if lr - new > self.eps else lr for lr, new in zip(self._current(), reduced, strict=True)]
        )

    def _is_better(self, metric: float) -> bool:
        if self.best is None:
            return metric < inf if self.mode == "min" else metric > -inf
        margin = self.threshold * (self.best if self.threshold_mode == "rel" else 1.0)
        return metric < self.best - margin if self.mode == "min" else metric > self.best + margin


def _number(owner: str, name: str, value: Any, below: float = inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{owner}: {name} is {value!r}, but a number is expected")
    if not (0 <= value < below):
        raise ValueError(f"{owner}: {name} is {value}, but 0 <= {name} < {below:g} is expected")
    return float(value)


def _whole(owner: str, name: str, value: Any, lowest: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{owner}: {name} is {value!r}, but an int is expected")
    if value < lowest:
        raise ValueError(f"{owner}: {name} is {value}, but at least {lowest} is expected")
    return value


def _choice(owner: str, name: str, value: Any, choices: tuple[str, ...]) -> str:
    if value not in choices:
        raise ValueError(f"{owner}: {name} is {value!r}, but {' or '.join(map(repr, choices))} is expected")
    return value
