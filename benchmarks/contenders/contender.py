"""The commands that a contender obeys, whatever its library.

A command takes and returns what JSON can say; arrays stay in the process. What is to be timed is first made,
under a name (``build``, ``choose``), and then called under that name (``run``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks import machine
from benchmarks.layers import Layer, arrays
from benchmarks.measure import clock
from benchmarks.networks import Network, find

SHORT = 0.1
SAMPLES = 64

DROPOUTS = ("Dropout", "StochasticDepth")
"""The layers that drop something, by the names that they have in every library."""


class Base:
    """What all libraries share: the commands, in terms of seven methods that each one defines."""

    net: Any
    COMMANDS: tuple[str, ...] = ("build", "check", "warm_up", "run", "memory", "layer", "choose", "forget")

    def __init__(self, backend: str) -> None:
        self.works: dict[str, Callable[[], Any]] = {}
        self.took: dict[str, float] = {}
        self.before: int | None = None

    def forget(self) -> None:
        """Drop everything that was made."""
        self.works.clear()

    # What each library defines.

    def network(
        self, entry: Network, options: dict[str, Any], images: np.ndarray, labels: np.ndarray
    ) -> None:
        """Build a network for ``self.task``, fill its parameters by name, and take up a batch."""
        raise NotImplementedError

    def loss(self) -> Any:
        """The loss of the network for the batch."""
        raise NotImplementedError

    def examine(self) -> dict[str, Any]:
        """What :meth:`check` returns."""
        raise NotImplementedError

    def stepper(self) -> Callable[[], Any]:
        """A function that does one training step or one inference."""
        raise NotImplementedError

    def tensors(self, layer: Layer, given: dict[str, np.ndarray]) -> None:
        """Take up a layer's arrays."""
        raise NotImplementedError

    def kernel(self, part: str, algorithm: str) -> Callable[[], Any]:
        """A function that computes one pass of the layer."""
        raise NotImplementedError

    def to_numpy(self, result: Any) -> np.ndarray:
        """What such a function returned, as NumPy's array in NCHW."""
        raise NotImplementedError

    # Networks.

    @contextmanager
    def without_dropout(self) -> Iterator[None]:
        """A block in which the network ``self.net`` drops nothing, so that everybody computes the same."""
        dropouts = [module for module in self.net.modules() if type(module).__name__ in DROPOUTS]
        rates = [module.p for module in dropouts]
        for module in dropouts:
            module.p = 0.0
        yield
        for module, rate in zip(dropouts, rates, strict=True):
            module.p = rate

    def build(self, task: str, network: str, batch: int, options: dict[str, Any]) -> None:
        """Build a network with the weights that everybody gives it, and a batch; "train" or "inference"."""
        self.before = machine.memory_in_use()
        self.task = task
        entry = find(network)
        shape = entry.shape(options)
        images = np.random.default_rng(0).standard_normal((batch, *shape), dtype=np.float32)
        self.network(entry, options, images, np.arange(batch) % entry.classes)

    def check(self) -> dict[str, Any]:
        """The outcome of one pass without dropout, loss and gradients or logits; and how long it took.

        It is the first pass, so that it compiles what must be compiled. The memory of that is forgotten.
        """
        start = time.perf_counter()
        found = self.examine()
        found["seconds"] = time.perf_counter() - start
        machine.forget_peak()
        self.works["step"] = self.stepper()
        return found

    def memory(self) -> dict[str, int | None]:
        """Bytes at most: of the whole process, and beyond what it held before the network was built."""
        peak = machine.peak_memory()
        grown = None if peak is None or self.before is None else peak - self.before
        return {"peak": peak, "growth": grown}

    # Single layers.

    def layer(self, layer: list[int], truth: str) -> None:
        """Take up a layer: its arrays, and where the true results of its first images are kept."""
        self.shape, self.truth = Layer(*layer), truth
        self.tensors(self.shape, arrays(self.shape))

    def choose(self, part: str, algorithm: str) -> dict[str, Any]:
        """Make "part algorithm" ready to run; its error on the first images, relative to the largest value.

        None for the error: there is no such kernel for this layer.
        """
        few = self.shape.few()
        self.tensors(few, arrays(few))
        result, ran = self.trial(part, algorithm)
        if result is None:
            return {"error": None, "ran": ran}
        with np.load(self.truth, allow_pickle=False) as truth:
            error = float(np.abs(result - truth[part]).max() / np.abs(truth[part]).max())
        if few != self.shape:
            self.tensors(self.shape, arrays(self.shape))
            if algorithm == "auto":  # which may choose otherwise for more images
                _, ran = self.trial(part, algorithm)
        self.works[f"{part} {algorithm}"] = self.kernel(part, algorithm)
        return {"error": error, "ran": ran}

    def trial(self, part: str, algorithm: str) -> tuple[np.ndarray | None, str]:
        """The result of one run, None where the algorithm is not for this layer; and which kernel ran."""
        return self.to_numpy(self.kernel(part, algorithm)()), ""

    # Time.

    def warm_up(self, work: str = "step") -> dict[str, float]:
        """Seconds of the first call, which may compile, and of a later one."""
        first = self.clock(self.works[work])
        if first < SHORT or first > 1:  # else one more call says enough
            self.clock(self.works[work])
        self.took[work] = self.clock(self.works[work])
        return {"first": first, "later": self.took[work]}

    def run(self, work: str, repetitions: int) -> float:
        """Seconds per call."""
        if self.took[work] < SHORT:  # caches hold what another process left there
            self.works[work]()
        return self.clock(self.works[work], repetitions)

    def clock(self, work: Callable[[], Any], repetitions: int = 1) -> float:
        """Seconds that one call takes, of so many in a row."""
        return clock(work, repetitions)


def sample(array: np.ndarray) -> dict[str, Any]:
    """A few numbers that stand for an array: its shape, and entries evenly spread over it."""
    flat = array.reshape(-1)
    return {"shape": list(array.shape), "entries": flat[:: max(1, flat.size // SAMPLES)].tolist()}
