"""What a training step costs when a network's base is frozen, and when its features are kept.

    python benchmarks/frozen.py --only vgg16

Three ways to train a new head on the same images: everything trained, the base frozen, and the base's
features computed once before. They take turns, and the medians are kept.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

import numpy as np

from benchmarks import options
from benchmarks.problem import ended
from benchmarks.words import grid, number

BATCHES = {"vgg16": 8, "resnet50": 8, "mobilenet_v2": 16}
"""The networks that are measured, and how many images a step has."""

CLASSES = 5


def ways(name: str, batch: int) -> dict[str, Callable[[], None]]:
    """A training step on the same images in each of the three ways."""
    import minicnn as mc
    from minicnn import data, models, nn, optim
    from minicnn.train import features, loop

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


def seconds(step: Callable[[], None], least: float) -> float:
    """How long a step takes, repeated until so much time has passed."""
    count, start = 0, time.perf_counter()
    while (passed := time.perf_counter() - start) < least or not count:
        step()
        count += 1
    return passed / count


def measure(name: str, rounds: int, least: float) -> dict[str, float]:
    """The median of each way's seconds a step; the ways take turns."""
    steps = ways(name, BATCHES[name])
    for step in steps.values():
        step()  # compiles, and allocates
    found: dict[str, list[float]] = {way: [] for way in steps}
    for _ in range(rounds):
        for way, step in steps.items():
            found[way].append(seconds(step, least))
    return {way: statistics.median(values) for way, values in found.items()}


def main(arguments: Sequence[str]) -> None:
    """Measure and print a table."""
    made = options.shared(__doc__, "networks", seconds=1.0)
    given = options.parse_shared(made, arguments)
    rows = []
    for name in options.chosen(BATCHES, given.only):
        times = measure(name, given.rounds, given.seconds)
        whole = times["everything"]
        cells = [f"{number(1000 * t)} ms ({number(whole / t)}×)" for t in times.values()]
        rows.append([f"{name} ({BATCHES[name]})", *cells])
        print(f"{rows[-1][0]}: {', '.join(f'{way} {cell}' for way, cell in zip(times, cells, strict=True))}")
    print()
    print(grid(["network (batch)", "everything trained", "base frozen", "features kept"], rows))


if __name__ == "__main__":
    sys.exit(ended(main))
