"""The options of a training: those given, those the recipes complete, and those a checkpoint remembers."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from minicnn.backend import unknown
from minicnn.kernels.registry import PRECISIONS
from minicnn.train.recipes import OPTIMIZERS, SCHEDULES, recipe_for


@dataclass(frozen=True)
class Options:
    """What a training's result is a function of. Where its files are is not among it.

    ``validation`` None stands for the data set's own number, ``momentum`` None for an optimiser without.
    """

    model: str
    data: str
    validation: int | float | None
    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    momentum: float | None
    weight_decay: float
    label_smoothing: float
    schedule: str
    seed: int
    precision: str

    def __str__(self) -> str:
        """How the network is trained, in a line.

        >>> print(complete({"model": "mnist_cnn"}))
        sgd, lr 0.02 (cosine), momentum 0.9, weight decay 0.0005, batch size 32, 20 epochs, seed 0
        """
        words = [f"{self.optimizer}, lr {self.lr:g} ({self.schedule})"]
        words += [f"momentum {self.momentum:g}"] if self.momentum is not None else []
        words += [f"weight decay {self.weight_decay:g}"] if self.weight_decay else []
        words += [f"label smoothing {self.label_smoothing:g}"] if self.label_smoothing else []
        words += [f"multiplications in {self.precision}"] if self.precision != "fp32" else []
        words += [f"batch size {self.batch_size}, {self.epochs} epochs, seed {self.seed}"]
        return ", ".join(words)


def complete(given: dict[str, Any]) -> Options:
    """Options of which ``model`` and perhaps others were given: the recipes have the others.

    Raises ValueError for a data set, optimiser, schedule or precision that is unknown, with the nearest.

    >>> options = complete({"model": "lenet5", "optimizer": "adam"})
    >>> options.data, options.lr
    ('digits', 0.001)
    """
    given = {"data": "digits", **given}
    recipe = recipe_for(given["model"], given["data"])
    for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
        if name in given and given[name] not in known:
            raise ValueError(f"{name}: {unknown(given[name], known)}")
    kind = OPTIMIZERS[given.get("optimizer", recipe.optimizer)]
    own = kind is OPTIMIZERS[recipe.optimizer]
    defaults = {
        "validation": None,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer,
        "lr": recipe.lr if own and recipe.lr is not None else kind.lr,
        "momentum": kind.momentum,
        "weight_decay": recipe.weight_decay if own and recipe.weight_decay is not None else kind.weight_decay,
        "label_smoothing": recipe.label_smoothing,
        "schedule": recipe.schedule,
        "seed": 0,
        "precision": "fp32",
    }
    return Options(**{**defaults, **given})


def resumed(saved: Any, given: dict[str, Any], finished: int) -> Options:
    """The options of a saved training, where what was given now does not contradict them.

    Another number of epochs is taken where the schedule does not depend on it and no fewer than ``finished``
    are asked for.

    Raises ValueError that names every contradiction.

    >>> saved = vars(complete({"model": "mnist_cnn", "schedule": "constant"}))
    >>> resumed(saved, {"epochs": 99}, finished=4).epochs
    99
    >>> resumed(saved, {"lr": 0.1, "epochs": 3}, finished=4)
    Traceback (most recent call last):
    ValueError: --lr 0.1 contradicts the training's 0.02; --epochs 3, but 4 are finished
    """
    names = {field.name for field in fields(Options)}
    if not isinstance(saved, dict) or set(saved) != names:
        raise ValueError("it does not say with which options it was trained")
    options = Options(**saved)
    faults = []
    for name, value in given.items():
        own = getattr(options, name)
        if value == own:
            continue
        option = name if name == "model" else "--" + name.replace("_", "-")
        if name != "epochs":
            faults.append(f"{option} {value} contradicts the training's {own}")
        elif SCHEDULES[options.schedule].fixed_length:
            faults.append(f"--epochs {value}, but the schedule {options.schedule!r} was laid out for {own}")
        elif value < finished:
            faults.append(f"--epochs {value}, but {finished} are finished")
    if faults:
        raise ValueError("; ".join(faults))
    return replace(options, epochs=given.get("epochs", options.epochs))
