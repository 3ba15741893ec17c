"""Optimisers and schedules by name, and the settings that `minicnn train` takes where none are given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minicnn import optim
from minicnn.backend import unknown
from minicnn.data.catalogue import is_path, unknown_data
from minicnn.optim import Optimizer
from minicnn.optim import lr_scheduler as schedules
from minicnn.optim.lr_scheduler import LRScheduler
from minicnn.optim.optimizer import Params


@dataclass(frozen=True)
class OptimizerKind:
    """An optimiser's class, the options that its name fixes, and the values its settings have by default.

    ``momentum`` is None for one that has no such option.
    """

    create: type[Optimizer]
    lr: float
    momentum: float | None = None
    weight_decay: float = 0.0
    fixed: tuple[tuple[str, Any], ...] = ()


OPTIMIZERS = {
    "sgd": OptimizerKind(optim.SGD, lr=0.02, momentum=0.9, weight_decay=5e-4),
    "nesterov": OptimizerKind(
        optim.SGD, lr=0.02, momentum=0.9, weight_decay=5e-4, fixed=(("nesterov", True),)
    ),
    "rmsprop": OptimizerKind(optim.RMSprop, lr=1e-3, momentum=0.0),
    "adam": OptimizerKind(optim.Adam, lr=1e-3),
    "adamw": OptimizerKind(optim.AdamW, lr=1e-3, weight_decay=1e-2),
    "adamax": OptimizerKind(optim.Adamax, lr=2e-3),
    "nadam": OptimizerKind(optim.NAdam, lr=1e-3),
}


def make_optimizer(
    name: str, parameters: Params, *, lr: float, momentum: float | None, weight_decay: float
) -> Optimizer:
    """Create an optimiser by its name in :data:`OPTIMIZERS`, for parameters or groups of them.

    Raises ValueError for an unknown name, with the nearest, for momentum with one that has none, and for
    values out of range.

    >>> import minicnn as mc
    >>> w = mc.nn.Parameter(mc.zeros(3))
    >>> make_optimizer("nesterov", [w], lr=0.1, momentum=0.9, weight_decay=0.0).param_groups[0]["nesterov"]
    True
    """
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer: {unknown(name, OPTIMIZERS)}")
    kind = OPTIMIZERS[name]
    options = dict(kind.fixed, lr=lr, weight_decay=weight_decay)
    if kind.momentum is not None:
        options["momentum"] = momentum
    elif momentum is not None:
        able = ", ".join(name for name, kind in OPTIMIZERS.items() if kind.momentum is not None)
        raise ValueError(f"momentum: {name} has no such option ({able} have)")
    return kind.create(parameters, **options)


@dataclass(frozen=True)
class ScheduleKind:
    """How to create a schedule, what it does in words, and whether it depends on the number of epochs."""

    create: Callable[[Optimizer, int], LRScheduler | None]
    description: str
    fixed_length: bool = False


LENET_FACTORS = ((2, 1.0), (5, 0.4), (8, 0.2), (12, 0.1))
"""LeNet-5's published rates 5e-4, 2e-4, 1e-4, 5e-5 and then 1e-5, relative to the first, each with the
number of the epoch where it ends."""


def lenet_factor(epoch: int) -> float:
    """The learning rate of LeNet-5's published schedule in an epoch, relative to the first epoch's.

    Source: LeCun et al. 1998, section III.B.

    >>> [lenet_factor(epoch) for epoch in (0, 2, 5, 8, 12, 19)]
    [1.0, 0.4, 0.2, 0.1, 0.02, 0.02]
    """
    return next((factor for end, factor in LENET_FACTORS if epoch < end), 0.02)


SCHEDULES = {
    "constant": ScheduleKind(lambda optimizer, epochs: None, "the same rate throughout"),
    "step": ScheduleKind(
        lambda optimizer, epochs: schedules.StepLR(optimizer, max(1, -(-epochs // 3))),
        "× 0.1 after each third of the epochs",
        fixed_length=True,
    ),
    "cosine": ScheduleKind(
        lambda optimizer, epochs: schedules.CosineAnnealingLR(optimizer, epochs),
        "half a cosine wave down to 0 at the end",
        fixed_length=True,
    ),
    "exponential": ScheduleKind(
        lambda optimizer, epochs: schedules.ExponentialLR(optimizer, 0.9), "× 0.9 after each epoch"
    ),
    "plateau": ScheduleKind(
        lambda optimizer, epochs: schedules.ReduceLROnPlateau(optimizer, patience=2),
        "× 0.1 after three epochs without a lower validation loss",
    ),
    "halves": ScheduleKind(
        lambda optimizer, epochs: schedules.MultiStepLR(optimizer, [epochs // 2, epochs * 3 // 4]),
        "× 0.1 after half of the epochs, and again after three quarters",
        fixed_length=True,
    ),
    "lenet": ScheduleKind(
        lambda optimizer, epochs: schedules.LambdaLR(optimizer, lenet_factor),
        "LeNet-5's published steps: × 1, 0.4, 0.2, 0.1, 0.02 from epochs 1, 3, 6, 9, 13 on",
    ),
}


def make_schedule(name: str, optimizer: Optimizer, epochs: int) -> LRScheduler | None:
    """Create a schedule by its name in :data:`SCHEDULES`; None for the constant rate.

    Raises ValueError for an unknown name, with the nearest.
    """
    if name not in SCHEDULES:
        raise ValueError(f"schedule: {unknown(name, SCHEDULES)}")
    return SCHEDULES[name].create(optimizer, epochs)


@dataclass(frozen=True)
class Recipe:
    """What suits a data set, or one network on it.

    ``lr``, ``momentum`` and ``weight_decay`` go with the recipe's own optimiser; None is that optimiser's own
    value. ``source`` says where a recipe was published, and what differs here.
    """

    epochs: int
    batch_size: int
    optimizer: str = "sgd"
    schedule: str = "cosine"
    lr: float | None = None
    momentum: float | None = None
    weight_decay: float | None = None
    label_smoothing: float = 0.0
    validation: int | float | None = None
    augment: str | None = None
    source: str = ""


RECIPES = {
    "digits": Recipe(epochs=20, batch_size=32),
    "mnist": Recipe(epochs=10, batch_size=64),
    "fashion_mnist": Recipe(epochs=10, batch_size=64),
    "cifar10": Recipe(epochs=30, batch_size=128),
    "cifar100": Recipe(epochs=30, batch_size=128),
}

TUNED = {
    # So few images are learnt by heart within ten epochs. With seeds 0 to 14, a strong decay and smoothed
    # labels brought the mean test accuracy from 97.6 to 98.6 %.
    ("lenet5", "digits"): Recipe(epochs=30, batch_size=32, lr=0.1, weight_decay=3e-3, label_smoothing=0.1),
    ("lenet5", "mnist"): Recipe(epochs=10, batch_size=64, lr=0.05),
    # Its logits are squared distances in 84 dimensions: at the usual rates the units saturate for good.
    ("lenet5_1998", "digits"): Recipe(epochs=20, batch_size=32, lr=0.001),
    ("lenet5_1998", "mnist"): Recipe(epochs=10, batch_size=64, lr=0.001),
}


FEATURES_SUFFIX = ".safetensors"

IMAGES = Recipe(epochs=30, batch_size=32)
"""For images in a folder or a zip."""

FEATURES = Recipe(epochs=50, batch_size=64, optimizer="adam")
"""For a head on features that were computed before."""

PAPERS = {
    "lenet1998": Recipe(
        epochs=20,
        batch_size=1,
        schedule="lenet",
        lr=0.01,
        momentum=0.0,
        weight_decay=0.0,
        source="LeCun et al. 1998, section III.B: 20 passes, one image a step, five rates; their steps were "
        "scaled by second derivatives, to effective rates of 7e-5 to 0.016, so lr 0.01 is ours",
    ),
    "alexnet2012": Recipe(
        epochs=90,
        batch_size=128,
        schedule="plateau",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        augment="alexnet",
        source="Krizhevsky et al. 2012, sections 4.1 and 5: the rate was divided by 10, three times, when "
        "the validation error stopped falling",
    ),
    "vgg2014": Recipe(
        epochs=74,
        batch_size=256,
        schedule="plateau",
        lr=0.01,
        momentum=0.9,
        weight_decay=5e-4,
        augment="vgg",
        source="Simonyan and Zisserman 2014, section 3.1: the rate was divided by 10, three times, when the "
        "validation accuracy stopped rising",
    ),
    "resnet-cifar2015": Recipe(
        epochs=182,
        batch_size=128,
        schedule="halves",
        lr=0.1,
        momentum=0.9,
        weight_decay=1e-4,
        validation=0.1,
        augment="cifar",
        source="He et al. 2015, section 4.2: 64,000 steps on 45,000 images, rate divided by 10 after 32,000 "
        "and 48,000",
    ),
}
"""Set-ups of the literature, for ``--recipe``."""


def recipe_for(model: str, data: str) -> Recipe:
    """The recipe for a network on a data set; that of the data set where the network has none of its own.

    The path of images has a recipe too, and that of features, whose name ends in ``.safetensors``. Raises
    ValueError for an unknown data set, with the nearest.

    >>> recipe_for("lenet5", "mnist").lr, recipe_for("mnist_cnn", "mnist").lr
    (0.05, None)
    """
    if data.endswith(FEATURES_SUFFIX):
        return FEATURES
    if data not in RECIPES and not is_path(data):
        raise ValueError(f"data: {unknown_data(data)}")
    return TUNED.get((model, data), RECIPES.get(data, IMAGES))
