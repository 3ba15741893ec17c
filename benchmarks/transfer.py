"""What pre-training brings: one half of the classes is learnt first, the other with few images of each.

A network learns the first half of the classes from all their training images. Then it is to learn the other
half from a few images of each class, in four ways, over and over with other images and other weights:

    scratch     from fresh weights
    start       the same from the pre-trained ones, the head excepted
    head        from the pre-trained ones, all frozen but the head
    tuned       then everything, at a tenth of the rate, for as many steps again

All are measured on all test images of those classes. "scratch" and "start" have as many steps as "head" and
"tuned" together, and of two rates the better one, chosen by its *test* accuracy: the favour is the same.
What is measured is kept seed by seed, and the same command goes on from there.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

import numpy as np

import minicnn as mc
from benchmarks import cifar10, machine, results
from benchmarks.measure import spread
from benchmarks.options import Parser, basic, parse_basic, whole
from benchmarks.problem import Problem, ended
from benchmarks.results import Row, stamp
from benchmarks.words import grid, percent
from minicnn import data, models, optim, weights
from minicnn.data import Split
from minicnn.optim.lr_scheduler import CosineAnnealingLR
from minicnn.random import Generator
from minicnn.train import DivergedError, Trainer, evaluate

WAYS = ("scratch", "start", "head", "tuned")
SHOTS = (1, 5, 20, 100)
BATCH, RATE = 32, 0.02
CLIP = 5.0
"""The bound of the gradients' norm: without one, some trainings on a handful of images diverge."""

KEY = ("seed", "images", "way")


class Task(NamedTuple):
    """Classes to learn: their training and test images."""

    train: Split
    test: Split


def main(arguments: list[str]) -> None:
    """Pre-train and transfer with every seed that is missing, and print what all of them say."""
    given = parse_basic(parser(), arguments)
    given.seeds = given.seeds or (1 if given.quick else 5)
    given.shots = given.shots or (SHOTS[:2] if given.quick else SHOTS)
    given.epochs = given.epochs or (1 if given.quick else 10)
    given.steps = given.steps or (4 if given.quick else 300)
    given.data = given.data or ("digits" if given.quick else cifar10.NAME)
    if given.threads:
        mc.set_num_threads(given.threads)
    source = cifar10.source(given.data)
    settings = {"data": Path(source).name, "model": given.model, "epochs": given.epochs, "steps": given.steps}
    described = machine.describe(mc.get_num_threads(), "numba") | {"settings": settings}
    rows = results.kept("transfer", described, given.out)
    try:
        tasks = halves(source, models.info(given.model).input_shape[1])
    except ValueError as error:
        raise Problem(f"--data {given.data}: {error}") from None
    for seed in range(given.seeds):
        missing = [n for n in given.shots if not any((r["seed"], r["images"]) == (seed, n) for r in rows)]
        if missing:
            base = pretrained(given, tasks[0], seed)
        for count in missing:
            found = accuracies(given, base, tasks[1], count, seed)
            print(
                f"  {count:>4} images a class: " + ", ".join(f"{w} {found[w]:.2%}" for w in WAYS), flush=True
            )
            rows += [
                {"seed": seed, "images": count, "way": way, "accuracy": found[way]} | stamp() for way in WAYS
            ]
            if given.out:
                results.save("transfer", rows, described, KEY, given.out)
    print(f"\n{table(rows)}\n{conclusion(rows)}")


def halves(source: str, size: int) -> list[Task]:
    """Two tasks: the first and the second half of the classes."""
    loaded = data.load(source, size=size, validation=0)
    classes, found = len(loaded.class_names), []
    for low, high in ((0, classes // 2), (classes // 2, classes)):
        parts = []
        for split in (loaded.train, loaded.test):
            own = split.take(np.flatnonzero((split.labels >= low) & (split.labels < high)))
            parts.append(Split(own.images[:], own.labels - low))
        found.append(Task(*parts))
    return found


def few(split: Split, count: int, seed: int) -> Split:
    """So many images of each class, drawn with a seed."""
    order = Generator(seed).fork(count).permutation(len(split))
    labels = split.labels[order]
    return split.take(np.concatenate([order[labels == c][:count] for c in np.unique(labels)]))


def fit(model: mc.nn.Module, split: Split, *, lr: float, epochs: int, seed: int) -> mc.nn.Module:
    """The model, after a training with a cosine schedule."""
    groups = optim.param_groups(model, decay_all=False)
    optimizer = optim.SGD(groups, lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = CosineAnnealingLR(optimizer, epochs)
    trainer = Trainer(
        model, optimizer, schedule, batch_size=min(BATCH, len(split)), seed=seed, clip_norm=CLIP
    )
    try:
        trainer.fit(split, epochs=epochs)
    except DivergedError as error:
        raise Problem(f"{error}; {type(model).__name__} cannot be trained with {lr:g} here") from None
    return model


def created(name: str, task: Task) -> mc.nn.Module:
    """A network for a task, with fresh weights."""
    classes, channels = int(task.test.labels.max()) + 1, task.train.images.shape[1]
    return models.create(name, num_classes=classes, in_channels=channels)


def pretrained(given: argparse.Namespace, task: Task, seed: int) -> dict[str, np.ndarray]:
    """Weights of a network that has learnt the first task, without those of its head."""
    start = time.perf_counter()
    mc.manual_seed(seed)
    base = fit(created(given.model, task), task.train, lr=RATE, epochs=given.epochs, seed=seed)
    score = evaluate(base, task.test).accuracy
    print(f"seed {seed}: pre-trained, {score:.2%} right, {time.perf_counter() - start:.0f} s", flush=True)
    head = models.transfer.head_name(base)  # which knows other classes, as many as they may be
    return {name: array for name, array in base.state_dict().items() if not name.startswith(f"{head}.")}


def accuracies(
    given: argparse.Namespace, base: dict[str, np.ndarray], task: Task, count: int, seed: int
) -> dict[str, float]:
    """The test accuracy of each way, with so many images of each class."""
    split = few(task.train, count, seed)
    epochs = max(1, round(given.steps / -(-len(split) // BATCH)))

    def begun(way: str) -> mc.nn.Module:
        mc.manual_seed(seed)
        model = created(given.model, task)
        if way != "scratch":
            weights.load(model, base, replace_head=True)
        return model

    def score(model: mc.nn.Module, lr: float, epochs: int, seed: int) -> float:
        return evaluate(fit(model, split, lr=lr, epochs=epochs, seed=seed), task.test).accuracy

    found = {}
    for way in ("scratch", "start"):
        found[way] = max(score(begun(way), lr, 2 * epochs, seed) for lr in (RATE, RATE / 5))
    model = begun("head")
    models.freeze(model)
    models.unfreeze(model, models.transfer.head_name(model))
    found["head"] = score(model, RATE, epochs, seed)
    models.unfreeze(model)
    found["tuned"] = score(model, RATE / 10, epochs, seed + 1)
    return found


def table(rows: Sequence[Row]) -> str:
    """The median accuracies with their range, for each number of images."""
    lines = []
    for count in dict.fromkeys(row["images"] for row in rows):
        cells = [percent(spread(list(of(rows, count, way).values()))) for way in WAYS]
        lines.append([f"{count}", *cells])
    return grid(["images of each class", *WAYS], lines)


def of(rows: Sequence[Row], count: int, way: str) -> dict[int, float]:
    """The accuracies of a way with so many images, by their seed."""
    return {row["seed"]: row["accuracy"] for row in rows if (row["images"], row["way"]) == (count, way)}


def conclusion(rows: Sequence[Row]) -> str:
    """What pre-training gained, seed by seed, over training from scratch."""
    said = []
    for count in dict.fromkeys(row["images"] for row in rows):
        scratch, tuned = of(rows, count, "scratch"), of(rows, count, "tuned")
        gains = [100 * (tuned[seed] - scratch[seed]) for seed in scratch]
        middle, low, high = spread(gains)
        better = sum(gain > 0 for gain in gains)
        said.append(
            f"with {count} {'image' if count == 1 else 'images'} {middle:+.1f} points ({low:+.1f} to "
            f"{high:+.1f}; better with {better} of {len(gains)} seeds)"
        )
    return f"“tuned” against “scratch”: {', '.join(said)}."


def parser() -> Parser:
    """What can be asked for."""
    made = basic(__doc__)
    made.add_argument("--data", help="a data set's name, or the path of images (cifar10)")
    made.add_argument("--model", default="cifar_model3", help="a network (cifar_model3)")
    made.add_argument("--seeds", type=whole, help="how often all of it is done (5)")
    made.add_argument("--epochs", type=whole, help="of the pre-training (10)")
    made.add_argument("--steps", type=whole, help="of each way with few images (300)")
    made.add_argument("--shots", type=whole, nargs="+", help="images of each class (1 5 20 100)")
    made.add_argument("--threads", type=whole, help="threads (all cores)")
    return made


if __name__ == "__main__":
    sys.exit(ended(main))
