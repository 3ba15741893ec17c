"""Experiments that train one network for each variant and seed, and look at it after every epoch.

Accuracies are of the network as it is used, in inference mode, after the epoch: on up to 2,000 of the images
that it trains on, as they are, and on test images. Nothing is chosen by the test images.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from benchmarks import charts
from benchmarks.experiments.experiment import Cell, Experiment, Found, Tell
from benchmarks.experiments.networks import Build, Shape
from benchmarks.experiments.words import count, figure, last
from benchmarks.results import Row
from minicnn import data, manual_seed, optim, summary, train
from minicnn.data import Split, augment
from minicnn.random import Generator
from minicnn.train.recipes import make_schedule

LOOKED_AT = 2000
"""Training images whose accuracy is measured."""

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKS = "osD^"
DASHES = ("-", "--")

SETTING: Row = {
    "data": "cifar10",
    "size": 32,
    "images": 8000,
    "test_images": 2000,
    "epochs": 12,
    "batch": 64,
    "momentum": 0.9,
    "weight_decay": 0.0,
    "schedule": "constant",
    "width": 64,
}
QUICK: Row = {"data": "digits", "images": 32, "test_images": 32, "epochs": 2, "batch": 16, "width": 8}

COLUMNS: dict[str, Cell] = {
    "training accuracy": last("train_accuracy"),
    "test accuracy": last("test_accuracy"),
}
SIZES: dict[str, Cell] = {
    "parameters": last("parameters", count),
    "multiplications an image": last("macs", count),
}
COSTS: dict[str, Cell] = SIZES | {"seconds an epoch": last("seconds", figure)}


class Variant(NamedTuple):
    """What is trained: the network, its rate, and what is done to the images."""

    build: Build
    lr: float = 0.05
    augment: str = "none"


def training(
    name: str,
    about: str | None,
    question: str,
    variants: Mapping[str, Variant],
    conclude: Callable[[Found], list[str]],
    *,
    published: Mapping[str, str],
    columns: Mapping[str, Cell] = COLUMNS,
    panels: Sequence[str] = ("train_accuracy", "test_accuracy"),
    families: int = 1,
    **setting: Any,
) -> Experiment:
    """An experiment of this kind.

    ``panels`` are the columns that are drawn over the epochs. The variants may come in ``families``, one
    after the other, of as many each: those have their colours in common, and lines of their own.
    """
    return Experiment(
        name=name,
        about=about,
        question=question,
        variants=variants,
        published=published,
        setting=SETTING | setting,
        quick=QUICK,
        measure=trained,
        columns=columns,
        draw=functools.partial(curves, panels=panels, size=len(variants) // families),
        conclude=conclude,
        load=of,
    )


class Images(NamedTuple):
    """What is trained on and what is tested on."""

    train: Split
    test: Split
    classes: int


@functools.lru_cache(maxsize=2)
def images(name: str, size: int, count: int, test_count: int) -> Images:
    """So many images of a data set, of each class its proportion; the same ones for every run."""
    loaded = data.load(name, size=size, validation=0)
    if count > len(loaded.train):
        raise ValueError(
            f"has {len(loaded.train):,} images for training, but {count:,} are wanted (--images)"
        )
    return Images(part(loaded.train, count), part(loaded.test, test_count), len(loaded.class_names))


def of(setting: Row) -> Images:
    """The images of a setting."""
    return images(setting["data"], setting["size"], setting["images"], setting["test_images"])


def part(split: Split, count: int) -> Split:
    """So many images of a split, decoded."""
    if count < len(split):
        split = split.take(data.stratified_split(split.labels, count, Generator(0))[1])
    return dataclasses.replace(split, images=np.ascontiguousarray(split.images[:]))


class Watch(train.Callback):
    """Measures after each epoch."""

    def __init__(self, given: Images, tell: Tell) -> None:
        self.seen, self.test, self.tell = part(given.train, LOOKED_AT), given.test, tell
        self.rows: list[Row] = []
        self.of = (0, 0)

    def on_start(self, trainer: train.Trainer, epochs: int, steps: int) -> None:
        self.of = epochs, steps

    def on_step(self, trainer: train.Trainer) -> None:
        epochs, steps = self.of
        self.tell(f"epoch {trainer.epoch + 1} of {epochs}, step {trainer.sums.steps} of {steps}")

    def on_epoch(self, trainer: train.Trainer) -> None:
        epoch = trainer.history[-1]
        self.rows.append(
            {
                "epoch": epoch.number,
                "loss": epoch.loss,
                "train_accuracy": train.evaluate(trainer.model, self.seen).accuracy,
                "test_accuracy": train.evaluate(trainer.model, self.test).accuracy,
                "seconds": epoch.seconds,
            }
        )


def trained(variant: Variant, seed: int, setting: Row, tell: Tell) -> list[Row]:
    """Train a variant: a row for each epoch, and one without numbers where it diverged."""
    given = of(setting)
    manual_seed(seed)
    _, *shape = given.train.images.shape
    image = (shape[0], shape[1], shape[2])
    model = variant.build(Shape(image, given.classes, setting["width"]))
    counts = summary.summarize(model, image)
    optimizer = optim.SGD(
        model.parameters(),
        lr=variant.lr,
        momentum=setting["momentum"],
        weight_decay=setting["weight_decay"],
    )
    watch, made = Watch(given, tell), augment.by_name(variant.augment)
    trainer = train.Trainer(
        model,
        optimizer,
        make_schedule(setting["schedule"], optimizer, setting["epochs"]),
        batch_size=setting["batch"],
        seed=seed,
        augment=made if made.transforms else None,
    )
    try:
        trainer.fit(given.train, epochs=setting["epochs"], callbacks=[watch])
    except train.DivergedError:
        nothing = dict.fromkeys(("loss", "train_accuracy", "test_accuracy", "seconds"))
        watch.rows.append({"epoch": trainer.epoch + 1, **nothing})
    return [row | {"parameters": counts.parameters, "macs": counts.macs} for row in watch.rows]


def curves(found: Found, variants: Sequence[str], panels: Sequence[str], size: int) -> bytes:
    """Columns over the epochs: of each variant the median over the seeds, and in paler colour the range."""
    made, axes = charts.figure(4.6 * len(panels), 4.2, len(panels))
    for axis, column in zip(axes, panels, strict=True):
        for i, variant in enumerate(variants):
            curve = found.curve(variant, column)
            style = {"color": COLOURS[i % size], "marker": MARKS[i % size], "linestyle": DASHES[i // size]}
            width = 1 + 0.8 * (size - 1 - i % size)  # so that of equal lines each is seen
            draw_curve(axis, [np.array(values) for values in zip(*curve, strict=True)], width, style, variant)
        axis.grid(True, color="0.9")
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.set_xlabel("epoch")
        axis.set_ylabel(column.replace("_", " ").replace("train ", "training "))
        if column.endswith("accuracy"):
            axis.yaxis.set_major_formatter(lambda value, place: f"{100 * value:.0f} %")
    handles, labels = axes[0].get_legend_handles_labels()
    made.legend(handles, labels, loc="outside upper center", ncols=min(4, len(labels)), frameon=False)
    return charts.png(made)


def draw_curve(axis: Any, curve: list[np.ndarray], width: float, style: dict[str, str], label: str) -> None:
    """One line with its range; a variant whose every run diverged has its name in the legend only."""
    middle, low, high = curve or (np.array([]),) * 3
    epochs = np.arange(1, len(middle) + 1)
    name = label if len(middle) else f"{label} (diverged)"
    axis.plot(epochs, middle, label=name, linewidth=width, markersize=2.5 + width, **style)
    axis.fill_between(epochs, low, high, color=style["color"], alpha=0.18, linewidth=0)
