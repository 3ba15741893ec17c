"""How quickly images are decoded and augmented, and how long training waits for them, by number of workers.

The images are JPEGs made for this, of CIFAR's size and of ImageNet's; nothing is kept decoded. The waiting is
the share of a training's time that passes until the next batch is there.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

import numpy as np
from PIL import Image

from benchmarks import machine, results
from benchmarks.options import basic, chosen, parse_basic
from benchmarks.problem import ended
from benchmarks.results import Row, stamp
from minicnn import data, models, nn, optim, train, use
from minicnn.data import DataLoader, Dataset, augment, pixels

WORKERS = (0, 1, 2, 4)


class Case(NamedTuple):
    """Images, what is done to them, and the network that waits for them."""

    width: int
    height: int
    size: int
    count: int
    names: str
    network: str
    batch: int


CASES = {
    "cifar": Case(32, 32, 32, 1024, "cifar", "cifar_resnet20", 64),
    "cifar-photos": Case(32, 32, 32, 1024, "photos", "cifar_resnet20", 64),
    "photos": Case(500, 375, 224, 160, "imagenet", "resnet18", 8),
    "photos-affine": Case(500, 375, 224, 160, "photos", "resnet18", 8),
}


def main(arguments: list[str]) -> None:
    """Measure what the arguments ask for."""
    given = parse_basic(basic(__doc__, f"cases ({', '.join(CASES)})"), arguments)
    cores = len(machine.cores())
    rows: list[Row] = []
    for name in chosen(CASES, given.only, quick=["cifar"] if given.quick else None):
        case = CASES[name]._replace(**({"count": 96, "batch": 8} if given.quick else {}))
        with tempfile.TemporaryDirectory() as folder:
            dataset = _dataset(Path(folder), case)
            for workers in [w for w in WORKERS if w <= cores]:
                rate, cpu = _rate(dataset, case, workers)
                waits = _waiting(dataset, case, workers, steps=2 if given.quick else 8)
                speed = f"{rate:7,.0f} images/s, {1e6 * cpu:6,.0f} µs of a core each"
                waiting = f"{case.network} waits {100 * waits:.0f} % of its time"
                print(f"{name:<14} {workers} workers: {speed}; {waiting}", flush=True)
                row = {"case": name, "workers": workers, "rate": rate, "cpu": cpu, "waits": waits}
                rows.append(row | stamp())
    if given.out:
        results.save("loading", rows, machine.describe(cores, "numba"), ("case", "workers"), given.out)


def _dataset(folder: Path, case: Case) -> Dataset:
    """Images as smooth as photographs, with a camera's noise."""
    rng = np.random.default_rng(0)
    for i in range(case.count):
        coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
        smooth = np.asarray(coarse.resize((case.width, case.height), Image.Resampling.BICUBIC), np.float32)
        noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        path = folder / "ab"[i % 2] / f"{i}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noisy).save(path, quality=90)
    pixels.CACHE_BYTES = 0
    return data.load(folder, size=case.size, validation=0, test=2)


def _loader(dataset: Dataset, case: Case, workers: int) -> DataLoader:
    made = augment.by_name(case.names)
    return DataLoader(dataset.train, case.batch, shuffle=True, augment=made, workers=workers)


def _rate(dataset: Dataset, case: Case, workers: int) -> tuple[float, float]:
    """Images a second, and seconds of a core for each; of the second epoch, when files are in memory."""
    loader = _loader(dataset, case, workers)
    for _ in loader.epoch(0):
        pass
    start, cpu = time.perf_counter(), time.process_time()
    images = sum(len(labels) for _, labels in loader.epoch(1))
    return images / (time.perf_counter() - start), (time.process_time() - cpu) / images


def _waiting(dataset: Dataset, case: Case, workers: int, steps: int) -> float:
    """The share of the time that a training waits for its batches."""
    waited = 0.0

    def watched(batches: Iterable[data.loader.Batch]) -> Iterator[data.loader.Batch]:
        nonlocal waited
        iterator = iter(batches)
        while True:
            start = time.perf_counter()
            batch = next(iterator, None)
            waited += time.perf_counter() - start
            if batch is None:
                return
            yield batch

    with use("numba"):
        model = models.create(case.network, num_classes=2)
        optimizer = optim.SGD(model.parameters(), lr=0.01)
        batches = islice(_loader(dataset, case, workers).epoch(0), steps + 1)
        taken = train.train(model, watched(batches), nn.CrossEntropyLoss(), optimizer)
        next(taken)  # which compiles
        start, waited = time.perf_counter(), 0.0
        for _ in taken:
            pass
        return waited / (time.perf_counter() - start)


if __name__ == "__main__":
    sys.exit(ended(main))
