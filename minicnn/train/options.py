"""The options of a training: those given, those the recipes complete, and those a checkpoint remembers."""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any

from minicnn.backend import unknown
from minicnn.kernels.registry import PRECISIONS
from minicnn.train.recipes import OPTIMIZERS, PAPERS, SCHEDULES, recipe_for

DECAYS = {"all": "all parameters", "weights": "all but biases and what batch norm has"}
"""What weight decay may draw to zero."""


@dataclass(frozen=True)
class Options:
    """What a training's result is a function of. Where its files are is not among it.

    ``validation`` None stands for the data set's own number, ``momentum`` None for an optimiser without.
    Options with defaults came later: checkpoints without them were trained with the default.
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
    precision: str = "fp32"
    recipe: str | None = None
    decay: str = "all"
    clip: float | None = None
    clip_value: float | None = None
    accumulate: int = 1
    ema: float | None = None
    early_stopping: int | None = None
    augment: str | None = None
    on_error: str = "raise"
    mixup: float | None = None
    cutmix: float | None = None
    weights: str | None = None
    freeze: str | None = None
    unfreeze: str | None = None
    lr_of: str | None = None

    def __str__(self) -> str:
        """How the network is trained, in a line.

        >>> print(complete({"model": "mnist_cnn"}))
        sgd, lr 0.02 (cosine), momentum 0.9, weight decay 0.0005, batch size 32, 20 epochs, seed 0
        """
        words = [f"{self.optimizer}, lr {self.lr:g} ({self.schedule})"]
        words += [f"momentum {self.momentum:g}"] if self.momentum is not None else []
        if self.weight_decay:
            spared = "" if self.decay == "all" else f" for {DECAYS[self.decay]}"
            words += [f"weight decay {self.weight_decay:g}{spared}"]
        words += [f"lr {self.lr_of}"] if self.lr_of is not None else []
        words += [f"label smoothing {self.label_smoothing:g}"] if self.label_smoothing else []
        words += [f"multiplications in {self.precision}"] if self.precision != "fp32" else []
        words += [f"gradients' norm up to {self.clip:g}"] if self.clip is not None else []
        words += [f"gradients up to ±{self.clip_value:g}"] if self.clip_value is not None else []
        words += [f"average of weights {self.ema:g}"] if self.ema is not None else []
        words += [f"augmented by {self.augment}"] if self.augment is not None else []
        words += [f"mixup {self.mixup:g}"] if self.mixup is not None else []
        words += [f"cutmix {self.cutmix:g}"] if self.cutmix is not None else []
        pieces = f" in {self.accumulate} pieces" if self.accumulate > 1 else ""
        early = "" if self.early_stopping is None else f" or until {self.early_stopping} bring nothing"
        words += [
            f"batch size {self.batch_size}{pieces}",
            f"{self.epochs} epoch{'s' * (self.epochs > 1)}{early}",
            f"seed {self.seed}",
        ]
        return ", ".join(words)


KNOWN: dict[str, Any] = {
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "precision": PRECISIONS,
    "recipe": PAPERS,
    "decay": DECAYS,
    "on_error": ("raise", "skip"),
}
"""The options that are names, and what they may be."""


def complete(given: dict[str, Any]) -> Options:
    """Options of which ``model`` and perhaps others were given: the recipes have the others.

    A ``recipe`` of the literature among what was given takes the place of the data set's and the network's.

    Raises ValueError for a data set, recipe, optimiser, schedule or other name that is unknown, with the
    nearest.

    >>> options = complete({"model": "lenet5", "optimizer": "adam"})
    >>> options.data, options.lr
    ('digits', 0.001)
    """
    given = {"data": "digits", **given}
    recipe = recipe_for(given["model"], given["data"])
    for name, known in KNOWN.items():
        if given.get(name) is not None and given[name] not in known:
            raise ValueError(f"{name}: {unknown(given[name], known)}")
    recipe = PAPERS[given["recipe"]] if given.get("recipe") is not None else recipe
    kind = OPTIMIZERS[given.get("optimizer", recipe.optimizer)]
    own = kind is OPTIMIZERS[recipe.optimizer]
    defaults = {
        "validation": recipe.validation,
        "epochs": recipe.epochs,
        "batch_size": recipe.batch_size,
        "optimizer": recipe.optimizer,
        "lr": recipe.lr if own and recipe.lr is not None else kind.lr,
        "momentum": recipe.momentum if own and recipe.momentum is not None else kind.momentum,
        "weight_decay": recipe.weight_decay if own and recipe.weight_decay is not None else kind.weight_decay,
        "label_smoothing": recipe.label_smoothing,
        "schedule": recipe.schedule,
        "augment": recipe.augment,
        "seed": 0,
    }
    return Options(**{**defaults, **given})


def read(saved: Any) -> Options:
    """The options that a checkpoint, which may be an older one, was trained with.

    Raises ValueError for anything else.

    >>> read({**vars(complete({"model": "lenet5"})), "warmth": 3})
    Traceback (most recent call last):
    ValueError: it was trained with an option that this minicnn does not know: warmth
    """
    needed = {field.name for field in fields(Options) if field.default is MISSING}
    if not isinstance(saved, dict) or not needed <= saved.keys():
        raise ValueError("it does not say with which options it was trained")
    if strange := sorted(saved.keys() - {field.name for field in fields(Options)}):
        raise ValueError(f"it was trained with an option that this minicnn does not know: {strange[0]}")
    return Options(**saved)


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
    options = read(saved)
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


def repeated(saved: Any, given: dict[str, Any]) -> Options:
    """The options for doing a saved training again: those that are given, and its own for the rest.

    With another optimiser, rate, momentum and weight decay are that one's defaults unless given.

    Raises ValueError for another model or recipe, which would be another training.

    >>> saved = vars(complete({"model": "lenet5", "lr": 0.3, "epochs": 2}))
    >>> options = repeated(saved, {"epochs": 5})
    >>> options.epochs, options.lr
    (5, 0.3)
    >>> repeated(saved, {"optimizer": "adam"}).lr
    0.001
    >>> repeated(saved, {"model": "mnist_cnn"})
    Traceback (most recent call last):
    ValueError: model mnist_cnn contradicts the training's lenet5
    """
    own = asdict(read(saved))
    for name, option in (("model", "model"), ("recipe", "--recipe")):
        if given.get(name, own[name]) != own[name]:
            raise ValueError(f"{option} {given[name]} contradicts the training's {own[name] or 'none'}")
    if given.get("optimizer", own["optimizer"]) != own["optimizer"]:
        for name in ("lr", "momentum", "weight_decay"):
            del own[name]
    return complete({**own, **given})
