"""What pre-training brings: one half of the classes is learnt first, the other with few images of each.

    python benchmarks/transfer.py --data mnist --seeds 5
    python benchmarks/transfer.py --data DIR/cifar10-jpeg.zip --model cifar_resnet20 --seeds 5

A network learns the first half of the classes from all their training images. Then it is to learn the other
half from a few images of each class, in four ways, over and over with other images and other weights:

    scratch     from fresh weights
    start       the same from the pre-trained ones, the head excepted
    head        from the pre-trained ones, all frozen but the head
    tuned       then everything, at a tenth of the rate, for as many steps again

All are measured on all test images of those classes. "scratch" and "start" have as many steps as "head" and
"tuned" together, and of two rates the better one, chosen by its *test* accuracy: the favour is the same.
"""

from __future__ import annotations

import argparse
import csv
import io
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

import numpy as np

from benchmarks.options import Parser
from benchmarks.problem import ended, write_whole
from benchmarks.results import FOLDER
from benchmarks.words import grid

WAYS = ("scratch", "start", "head", "tuned")
SHOTS = (1, 5, 20, 100)
STEPS, BATCH, RATE = 300, 32, 0.05


def halves(data, classes: int):
    """Two data sets' worth of splits, of the first and of the second half of the classes."""
    from minicnn.data import Split

    found = []
    for low, high in ((0, classes // 2), (classes // 2, classes)):
        parts = []
        for split in (data.train, data.test):
            own = split.take(np.flatnonzero((split.labels >= low) & (split.labels < high)))
            parts.append(Split(own.images[:], own.labels - low))
        found.append(parts)
    return found


def few(split, count: int, seed: int):
    """So many images of each class, drawn with a seed."""
    from minicnn.random import Generator

    order = Generator(seed).fork(count).permutation(len(split))
    labels = split.labels[order]
    return split.take(np.concatenate([order[labels == c][:count] for c in np.unique(labels)]))


def trained(model, split, *, lr: float, epochs: int, seed: int):
    """The model, after a training with a cosine schedule."""
    from minicnn import optim
    from minicnn.optim.lr_scheduler import CosineAnnealingLR
    from minicnn.train import Trainer

    groups = optim.param_groups(model, decay_all=False)
    optimizer = optim.SGD(groups, lr=lr, momentum=0.9, weight_decay=5e-4)
    schedule = CosineAnnealingLR(optimizer, epochs)
    trainer = Trainer(model, optimizer, schedule, batch_size=min(BATCH, len(split)), seed=seed)
    trainer.fit(split, epochs=epochs)
    return model


def accuracies(name: str, base: dict[str, np.ndarray], split, test, seed: int, steps: int):
    """The test accuracy of each way."""
    import minicnn as mc
    from minicnn import models, weights
    from minicnn.train import evaluate

    epochs, classes = max(1, round(steps / -(-len(split) // BATCH))), int(test.labels.max()) + 1

    def fresh(pretrained: bool):
        mc.manual_seed(seed)
        model = models.create(name, num_classes=classes, in_channels=split.images.shape[1])
        if pretrained:
            head = models.transfer.head_name(model)  # which knows other classes, as many as they may be
            rest = {name: array for name, array in base.items() if not name.startswith(f"{head}.")}
            weights.load(model, rest, replace_head=True)
        return model

    found = {}
    for way in ("scratch", "start"):
        begun = [(fresh(way == "start"), lr) for lr in (RATE, RATE / 5)]
        runs = (trained(model, split, lr=lr, epochs=2 * epochs, seed=seed) for model, lr in begun)
        found[way] = max(evaluate(model, test).accuracy for model in runs)
    model = fresh(pretrained=True)
    models.freeze(model)
    models.unfreeze(model, models.transfer.head_name(model))
    trained(model, split, lr=RATE, epochs=epochs, seed=seed)
    found["head"] = evaluate(model, test).accuracy
    models.unfreeze(model)
    trained(model, split, lr=RATE / 10, epochs=epochs, seed=seed + 1)
    found["tuned"] = evaluate(model, test).accuracy
    return found


def main(arguments: Sequence[str]) -> None:
    """Pre-train, transfer, and write a table."""
    given = parser().parse_args(arguments)
    import minicnn as mc
    from minicnn import data, models
    from minicnn.train import evaluate

    _, size, _ = models.info(given.model).input_shape
    whole = data.load(given.data, size=size, validation=0)
    classes = len(whole.class_names)
    first, second = halves(whole, classes)
    rows = []
    for seed in range(given.seeds):
        start = time.perf_counter()
        mc.manual_seed(seed)
        base = models.create(given.model, num_classes=classes // 2, in_channels=whole.image_shape[0])
        trained(base, first[0], lr=RATE, epochs=given.epochs, seed=seed)
        score = evaluate(base, first[1]).accuracy
        print(f"seed {seed}: pre-trained, {score:.2%} right, {time.perf_counter() - start:.0f} s", flush=True)
        weights = {name: array.copy() for name, array in base.state_dict().items()}
        for count in given.shots:
            split = few(second[0], count, seed)
            found = accuracies(given.model, weights, split, second[1], seed, given.steps)
            rows += [{"seed": seed, "images": count, "way": way, "accuracy": found[way]} for way in WAYS]
            print(
                f"  {count:>4} images a class: " + ", ".join(f"{w} {found[w]:.2%}" for w in WAYS), flush=True
            )
    write(given, rows)


def write(given: argparse.Namespace, rows: list[dict]) -> None:
    """Keep every figure, and print their means with the lowest and the highest."""
    path = given.out / f"transfer-{given.model}-{Path(given.data).stem}.csv"
    text = io.StringIO()
    table = csv.DictWriter(text, ["seed", "images", "way", "accuracy"], lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_whole(path, text.getvalue())
    cells = []
    for count in given.shots:
        line = [str(count)]
        for way in WAYS:
            values = [row["accuracy"] for row in rows if (row["images"], row["way"]) == (count, way)]
            line.append(f"{statistics.mean(values):.1%} ({min(values):.1%} to {max(values):.1%})")
        cells.append(line)
    print()
    print(grid(["images of each class", *WAYS], cells))
    print(f"{given.model} on {Path(given.data).stem}, {given.seeds} seeds; every figure is in {path}")


def parser() -> Parser:
    """What can be asked for."""
    made = Parser(__doc__)
    made.add_argument("--data", default="mnist", help="a data set's name, or the path of images (mnist)")
    made.add_argument("--model", default="lenet5", help="a network (lenet5)")
    made.add_argument("--seeds", type=int, default=5, help="how often all of it is done (5)")
    made.add_argument("--epochs", type=int, default=5, help="of the pre-training (5)")
    made.add_argument("--steps", type=int, default=STEPS, help=f"of each way with few images ({STEPS})")
    made.add_argument("--shots", type=int, nargs="+", default=SHOTS, help="images of each class")
    made.add_argument(
        "--out", type=Path, default=FOLDER, help="the folder for the figures (benchmarks/results)"
    )
    return made


if __name__ == "__main__":
    sys.exit(ended(main))
