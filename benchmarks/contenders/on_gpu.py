"""What the contenders on a GPU share: its time, its memory, and layers of a batch that fills it.

A GPU works on while the host goes on, so that a time is taken between two events that the GPU itself notes,
or until it has nothing left to do.
"""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.contenders.contender import Base
from benchmarks.layers import Layer, arrays
from minicnn.kernels.registry import PRECISIONS

LEAD = 0.5e-3
"""Seconds for which the GPU is kept busy before a call is timed."""


class OnGPU(Base):
    """The commands, in terms of eight more methods that each library defines."""

    COMMANDS: tuple[str, ...] = (
        *Base.COMMANDS,
        "describe",
        "prepare",
        "set_precision",
        "cold",
        "gemm",
        "copy",
        "ways",
        "loss_now",
    )

    precision = PRECISIONS[0]

    # What each library defines.

    def describe(self) -> dict[str, Any]:
        """Versions and whatever else the library knows of the GPU; an error where it has none."""
        raise NotImplementedError

    def set_precision(self, precision: str) -> None:
        """Let factors be rounded to this, of minicnn's precisions, from now on."""
        raise NotImplementedError

    def moved(self, array: np.ndarray, times: int = 1) -> Any:
        """An array on the GPU, repeated so many times along its first axis."""
        raise NotImplementedError

    def factor(self, array: Any) -> Any:
        """An array as cuBLAS multiplies it in this precision."""
        raise NotImplementedError

    def fill(self, array: Any) -> None:
        """Overwrite an array with zeros."""
        raise NotImplementedError

    def event(self) -> Any:
        """The moment at which the GPU has done what it was given so far."""
        raise NotImplementedError

    def seconds(self, start: Any, end: Any) -> float:
        """The time between two events."""
        raise NotImplementedError

    def finish(self) -> None:
        """Wait until the GPU has nothing to do."""
        raise NotImplementedError

    # Time.

    def prepare(self, precision: str, cache: int) -> None:
        """Comes first: the precision, and how many bytes to write between two calls to empty the caches."""
        self.precision = precision
        self.set_precision(precision)
        self.junk = self.moved(np.zeros(cache, np.uint8))
        self.fill(self.junk)
        self.fills = max(1, math.ceil(LEAD / self.clock(lambda: self.fill(self.junk), 10)))

    def clock(self, work: Callable[[], Any], repetitions: int = 1) -> float:
        """Seconds of one call as the host sees them: until the last of so many in a row is done."""
        self.finish()
        start = time.perf_counter()
        for _ in range(repetitions):
            work()
        self.finish()
        return (time.perf_counter() - start) / repetitions

    def cold(self, work: str, repetitions: int) -> float:
        """Seconds that the GPU takes for one call that finds nothing in its caches: the median of several.

        Before each call, memory is written that no cache holds. While that lasts, the host hands over the
        call, so that a GPU faster than the host does not wait for it between the events.
        """
        events = []
        for _ in range(repetitions):
            for _ in range(self.fills):
                self.fill(self.junk)
            start = self.event()
            self.works[work]()
            events.append((start, self.event()))
        self.finish()
        return statistics.median(self.seconds(*pair) for pair in events)

    # Networks.

    def ways(self) -> dict[str, str]:
        """The names of the works that each do a training step; of those that cannot be done, why not."""
        return {"step": ""}

    def loss_now(self) -> float:
        """The loss of the network as it was built, in the precision that is set."""
        with self.without_dropout():
            return self.loss().item()

    # What a layer can be held against.

    def gemm(self, size: int, repetitions: int) -> float:
        """TFLOP/s of cuBLAS for the product of two large matrices in this precision."""
        few = min(size, 1024)
        a, b = np.random.default_rng(0).standard_normal((2, few, size), dtype=np.float32)
        a, b = self.factor(self.moved(a, size // few)), self.factor(self.moved(b, size // few))
        self.works["gemm"] = lambda: a @ b
        self.clock(self.works["gemm"])
        return 2 * size**3 / self.cold("gemm", repetitions) / 1e12

    def copy(self, size: int, repetitions: int) -> float:
        """GB/s, read and written, of copying so many bytes from one place in the GPU's memory to another."""
        source, target = (self.moved(np.zeros(size // 4, np.float32)) for _ in range(2))

        def work() -> None:
            target[...] = source

        self.works["copy"] = work
        self.clock(work)
        return 2 * size / self.cold("copy", repetitions) / 1e9

    # Single layers.

    def layer(self, layer: list[int], truth: str) -> None:
        """Take up a layer; the images after the first ones are these again, so that all results are known."""
        self.shape, self.truth = Layer(*layer), truth
        few = self.shape.few()
        self.times = self.shape.N // few.N
        if self.times * few.N != self.shape.N:
            raise ValueError(f"layer: a batch of {self.shape.N}, but an even one is expected")
        self.tensors(self.shape, arrays(few))

    def choose(self, part: str, algorithm: str) -> dict[str, Any]:
        """Make "part algorithm" ready to run; its largest error on the whole batch, relative to the largest
        true value, or None where there is no such kernel for this layer."""
        result, ran = self.trial(part, algorithm)
        if result is None:
            return {"error": None, "ran": ran}
        with np.load(self.truth, allow_pickle=False) as truth:
            error = self.error(result, truth[part], part)
        self.works[f"{part} {algorithm}"] = self.kernel(part, algorithm)
        return {"error": error, "ran": ran}

    def error(self, result: Any, true: np.ndarray, part: str) -> float:
        """How far a result is off. The gradient to the weights grows with the number of images."""
        if part == "grad_weight":
            true = self.times * true
        expected, few = self.moved(true.astype(np.float32)), len(true)
        worst = [float(abs(result[i : i + few] - expected).max()) for i in range(0, len(result), few)]
        return max(worst, key=lambda away: math.inf if math.isnan(away) else away) / float(np.abs(true).max())
