"""minicnn's side on a GPU: its own kernels, on CuPy's arrays."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import cupy
import numpy as np

import minicnn as mc
from benchmarks import gpu
from benchmarks.contenders import OF_16_BITS, with_minicnn
from benchmarks.contenders.on_gpu import OnGPU
from benchmarks.contenders.with_minicnn import arguments
from benchmarks.layers import PARTS, Layer
from benchmarks.networks import Network
from minicnn import functional as F
from minicnn import kernels
from minicnn.backend import CaptureError
from minicnn.train.capture import capture, dependencies

ROUNDING = {"tf32": ["tf32"], "bf16": ["bf16"], "fp16": ["fp16"]}
"""Precision -> the algorithms that are for it alone."""


class Contender(OnGPU, with_minicnn.Contender):
    """As on the CPU, with everything moved to the GPU."""

    COMMANDS = (*OnGPU.COMMANDS, "algorithms", "reference")

    def describe(self) -> dict[str, Any]:
        return gpu.describe()

    def set_precision(self, precision: str) -> None:
        # For CuPy's own products, which ask once, before the first: only the ceiling is one.
        os.environ["CUPY_TF32"] = str(int(precision == "tf32"))
        mc.use(precision=precision)

    def moved(self, array: np.ndarray, times: int = 1) -> Any:
        return cupy.concatenate([cupy.asarray(array)] * times)

    def factor(self, array: Any) -> Any:
        # CuPy has no product of bfloat16, but tensor cores multiply float16 in the same time.
        return array.astype(np.float16) if self.precision in OF_16_BITS else array

    def fill(self, array: Any) -> None:
        array.fill(0)

    def event(self) -> Any:
        event = cupy.cuda.Event()
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        return cupy.cuda.get_elapsed_time(start, end) / 1e3

    def finish(self) -> None:
        cupy.cuda.Device().synchronize()

    # Networks.

    def network(
        self, entry: Network, options: dict[str, Any], images: np.ndarray, labels: np.ndarray
    ) -> None:
        self.works.clear()  # what was built before makes room
        self.net = self.x = self.labels = None
        cupy.get_default_memory_pool().free_all_blocks()
        with mc.use("numpy"):
            super().network(entry, options, images, labels)
        self.net.to("cuda")
        self.x, self.labels = self.x.to("cuda"), mc.tensor(labels, device="cuda")
        self.batch = images, labels

    def ways(self) -> dict[str, str]:
        """Launched kernel by kernel, and as a CUDA graph of forward and backward."""
        self.works["step"]()  # which compiles what is missing: CUDA captures no compiling
        try:
            self.works["captured"] = self.captured()
        except CaptureError as error:
            return {"step": "", "captured": str(error)}
        return {"step": "", "captured": ""}

    def captured(self) -> Callable[[], None]:
        """A training step that launches one graph, and then the optimiser's kernel."""
        self.net.zero_grad()
        now = list(dependencies(self.net, F.cross_entropy))
        step = capture(now, self.net, F.cross_entropy, *self.batch)
        optimizer = mc.optim.SGD(self.net.parameters(), lr=1e-5, momentum=0.9)

        def run() -> None:
            step.graph.launch()
            for parameter, gradient in step.gradients:
                parameter.grad = gradient
            optimizer.step()

        return run

    def check(self) -> dict[str, Any]:
        found = super().check()
        cupy.get_default_memory_pool().free_all_blocks()
        return found

    def memory(self) -> dict[str, int | None]:
        """Bytes of the GPU that CuPy's pool took, which keeps what it has taken."""
        return {"peak": cupy.get_default_memory_pool().total_bytes(), "growth": None}

    # Layers.

    def tensors(self, layer: Layer, given: dict[str, np.ndarray]) -> None:
        self.given = {}
        cupy.get_default_memory_pool().free_all_blocks()
        there = {name: self.moved(given[name], 1 if name == "w" else self.times) for name in given}
        self.given = {part: arguments(layer, there, part) for part in PARTS}

    def to_numpy(self, result: Any) -> Any:
        return result  # which is compared where it is

    def algorithms(self) -> list[str]:
        """Every algorithm of this precision that the registry has for a pass of a convolution."""
        found = {
            ran.algorithm
            for ran in kernels.registered("cuda")
            if ran.operation.removeprefix("conv2d.") in PARTS
        }
        other = {
            name for precision, names in ROUNDING.items() if precision != self.precision for name in names
        }
        wanted = ROUNDING.get(self.precision, sorted(found - other))
        return ["auto", *(name for name in wanted if name in found)]
