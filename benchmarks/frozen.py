"""What a training step costs when a network's base is frozen, and when its features are kept.

Three ways to train a new head on the same images: everything trained, the base frozen, and the base's
features computed once before. They take turns, and the medians are kept.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

import numpy as np

import minicnn as mc
from benchmarks import measure, options, results
from benchmarks.problem import ended
from benchmarks.results import Row, stamp
from minicnn import data, models, nn, optim
from minicnn.train import features, loop

BATCHES = {"vgg16": 8, "resnet50": 8, "mobilenet_v2": 16}
"""The networks that are measured, and how many images a step has."""

CLASSES = 5


def ways(name: str, batch: int) -> dict[str, Callable[[], None]]:
    """A training step on the same images in each of the three ways."""
    mc.manual_seed(0)
    shape = models.info(name).input_shape
    images = mc.random.Generator(1).normal((batch, *shape))
    labels = np.arange(batch) % CLASSES
    made: dict[str, Callable[[], None]] = {}
    for way in ("everything", "base frozen", "features kept"):
        model = models.create(name, num_classes=CLASSES)
        x = images
        if way != "everything":
            head = models.transfer.head_name(model)
            models.freeze(model)
            models.unfreeze(model, head)
            if way == "features kept":
                x = features.extract(model, data.Split(images, labels)).images
                model = nn.Sequential(nn.Flatten(), model.get_submodule(head))
        optimizer = optim.SGD(optim.param_groups(model), lr=1e-3, momentum=0.9)

        def step(model=model, optimizer=optimizer, x=x) -> None:
            next(loop.train(model.train(), [(x, labels)], nn.CrossEntropyLoss(), optimizer))

        made[way] = step
    return made


def timed(name: str, batch: int, rounds: int, least: float) -> list[Row]:
    """A row for each way, with the median of its milliseconds a step; the ways take turns."""
    steps = ways(name, batch)
    turns = {}
    for way, step in steps.items():
        step()  # compiles, and allocates
        count = measure.repetitions_for(measure.clock(step), least)
        turns[way] = lambda step=step, count=count: measure.clock(step, count)
    found = measure.alternate(turns, rounds)
    return [
        {"network": name, "batch": batch, "way": way, "ms": 1e3 * statistics.median(times)} | stamp()
        for way, times in found.items()
    ]


def main(arguments: list[str]) -> None:
    """Measure what the arguments ask for."""
    given = options.parse(options.parser(__doc__, f"networks ({', '.join(BATCHES)})"), arguments)
    mc.set_num_threads(given.threads)
    with mc.use(given.backend):
        for name in options.chosen(BATCHES, given.only, quick=["mobilenet_v2"] if given.quick else None):
            rows = timed(name, 1 if given.quick else BATCHES[name], given.rounds, given.seconds)
            said = ", ".join(f"{row['way']} {row['ms']:,.3g} ms" for row in rows)
            print(f"{name}: {said}", flush=True)
            if given.out:
                results.save("frozen", rows, given.machine, ("network", "way"), given.out)


if __name__ == "__main__":
    sys.exit(ended(main))
