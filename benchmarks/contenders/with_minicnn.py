"""minicnn's side of the benchmarks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import minicnn as mc
from benchmarks.contenders.contender import Base, sample
from benchmarks.layers import PARTS, Layer, arrays
from benchmarks.measure import clock
from benchmarks.networks import Network, fill
from minicnn import functional as F
from minicnn import kernels
from minicnn.backend import move
from minicnn.kernels import Window


class Contender(Base):
    """Networks through the public interface, layers through the registry of kernels."""

    COMMANDS = (*Base.COMMANDS, "algorithms", "reference", "sgemm", "compiled_loops")

    def __init__(self, backend: str) -> None:
        super().__init__(backend)
        mc.use(backend)
        kernels.registered()  # loads the compiler, which is no part of a network's memory

    # Networks.

    def network(
        self, entry: Network, options: dict[str, Any], images: np.ndarray, labels: np.ndarray
    ) -> None:
        self.net = entry.ours(**options)
        for name, parameter in self.net.named_parameters():
            fill(name, parameter.data)
        self.net.train(self.task == "train")
        self.x, self.labels = mc.from_numpy(images), labels

    def loss(self) -> Any:
        return F.cross_entropy(self.net(self.x), self.labels)

    def examine(self) -> dict[str, Any]:
        if self.task == "inference":
            with mc.no_grad():
                logits = self.net(self.x)
                loss = F.cross_entropy(logits, self.labels)
            return {"loss": loss.item(), "arrays": {"logits": sample(move(logits.data, "cpu"))}}
        with self.without_dropout():
            loss = self.loss()
            loss.backward()
        gradients = {name: sample(move(p.grad, "cpu")) for name, p in self.net.named_parameters()}
        return {"loss": loss.item(), "arrays": gradients}

    def stepper(self) -> Callable[[], Any]:
        if self.task == "inference":

            def infer() -> None:
                with mc.no_grad():
                    self.net(self.x)

            return infer
        # A rate so small that the weights, and with them the work, stay what they are.
        optimizer = mc.optim.SGD(self.net.parameters(), lr=1e-5, momentum=0.9)

        def step() -> None:
            optimizer.zero_grad()
            self.loss().backward()
            optimizer.step()

        return step

    # Layers.

    def tensors(self, layer: Layer, given: dict[str, np.ndarray]) -> None:
        self.given = {part: arguments(layer, given, part) for part in PARTS}

    def kernel(self, part: str, algorithm: str) -> Callable[[], np.ndarray]:
        given = self.given[part]

        def work() -> np.ndarray:
            with mc.use(algorithms={"conv2d": algorithm}):
                return kernels.run(f"conv2d.{part}", *given)

        return work

    def trial(self, part: str, algorithm: str) -> tuple[np.ndarray | None, str]:
        with mc.trace() as ran:
            result = self.kernel(part, algorithm)()
        # A kernel that is not for this layer leaves it to "auto", which is measured under its own name.
        suits = algorithm in ("auto", ran[0].algorithm)
        return (result if suits else None), f"{ran[0].backend}:{ran[0].algorithm}"

    def to_numpy(self, result: np.ndarray) -> np.ndarray:
        return result

    def algorithms(self) -> list[str]:
        """Every algorithm that the registry has for all three passes of a convolution."""
        found = [
            {ran.algorithm for ran in kernels.registered() if ran.operation == f"conv2d.{part}"}
            for part in PARTS
        ]
        return sorted(set.intersection(*found))

    def reference(self, layer: list[int], path: str) -> None:
        """Write the three results on the first images, computed in float64 by im2col."""
        few = Layer(*layer).few()
        given = {name: array.astype(np.float64) for name, array in arrays(few).items()}
        with mc.use("numpy", conv2d="im2col"):
            true = {part: kernels.run(f"conv2d.{part}", *arguments(few, given, part)) for part in PARTS}
        np.savez(path, **true)

    def sgemm(self, size: int = 1536) -> float:
        """GFLOP/s of NumPy's product of two large float32 matrices: what the machine can do."""
        a, b = np.random.default_rng(0).standard_normal((2, size, size), dtype=np.float32)
        out = np.empty_like(a)
        return 2 * size**3 / min(clock(lambda: np.matmul(a, b, out=out)) for _ in range(30)) / 1e9

    def compiled_loops(self, part: str = "forward") -> dict[str, Any]:
        """Make "forward compiled loops" ready: the definition's loops through a compiler, nothing else."""
        from benchmarks.contenders.loops import convolution

        x, w, _, window = self.given[part]
        self.works["forward compiled loops"] = lambda: convolution(
            x, w, window.stride[0], window.padding[0][0]
        )
        with np.load(self.truth, allow_pickle=False) as truth:
            true = truth[part]
        found = self.works["forward compiled loops"]()[: len(true)]
        return {"error": float(np.abs(found - true).max() / np.abs(true).max()), "ran": "benchmarks:loops"}


def arguments(layer: Layer, given: dict[str, np.ndarray], part: str) -> tuple[Any, ...]:
    """What the kernel of a pass takes."""
    around = (layer.padding, layer.padding)
    window = Window((layer.K,) * 2, (layer.stride,) * 2, (around, around), groups=layer.groups)
    x, w, gy = given["x"], given["w"], given["gy"]
    if part == "forward":
        return x, w, None, window
    return (gy, w, x.shape, window) if part == "grad_input" else (gy, x, w.shape, window)
