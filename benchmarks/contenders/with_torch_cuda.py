"""PyTorch's side on a GPU: cuDNN's kernels, in either memory layout."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from benchmarks.contenders import with_torch
from benchmarks.contenders.on_gpu import OnGPU
from benchmarks.layers import Layer
from benchmarks.networks import Network

DEVICE = "cuda"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


class Contender(OnGPU, with_torch.Contender):
    """Plain eager PyTorch, where cuDNN may try its algorithms beforehand.

    In bfloat16 and float16 its arrays are that too, for networks as autocast decides, where minicnn's stay
    float32.
    """

    def describe(self) -> dict[str, Any]:
        if not torch.cuda.is_available():
            raise RuntimeError("this PyTorch computes on no GPU")
        return {
            "name": torch.cuda.get_device_name(),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
        }

    def set_precision(self, precision: str) -> None:
        self.precision = precision
        torch.backends.cudnn.benchmark = True
        torch.backends.cudnn.allow_tf32 = precision == "tf32"
        torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"

    def moved(self, array: np.ndarray, times: int = 1) -> Any:
        return torch.from_numpy(array).to(DEVICE).repeat(times, *[1] * (array.ndim - 1))

    def factor(self, array: Any) -> Any:
        return array.to(DTYPES.get(self.precision, torch.float32))

    def fill(self, array: Any) -> None:
        array.zero_()

    def event(self) -> Any:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def seconds(self, start: Any, end: Any) -> float:
        return start.elapsed_time(end) / 1e3

    def finish(self) -> None:
        torch.cuda.synchronize()

    # Networks.

    def network(
        self, entry: Network, options: dict[str, Any], images: np.ndarray, labels: np.ndarray
    ) -> None:
        self.net = self.x = self.labels = None  # what was built before makes room
        torch.cuda.empty_cache()
        super().network(entry, options, images, labels)
        self.net.to(DEVICE)
        self.x, self.labels = self.x.to(DEVICE), self.labels.to(DEVICE)

    def loss(self) -> torch.Tensor:
        dtype = DTYPES.get(self.precision)
        with torch.autocast(DEVICE, dtype, enabled=dtype is not None):
            return super().loss()

    def check(self) -> dict[str, Any]:
        found = super().check()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        return found

    def memory(self) -> dict[str, int | None]:
        """Bytes of the GPU that PyTorch's pool took at most."""
        return {"peak": torch.cuda.max_memory_reserved(), "growth": None}

    # Layers.

    def tensors(self, layer: Layer, given: dict[str, np.ndarray]) -> None:
        self.geometry, self.x, self.w, self.gy = layer, None, None, None
        torch.cuda.empty_cache()
        self.x, self.w, self.gy = (
            self.factor(self.moved(given[name], 1 if name == "w" else self.times)).contiguous(
                memory_format=self.layout
            )
            for name in ("x", "w", "gy")
        )

    def trial(self, part: str, algorithm: str) -> tuple[Any, str]:
        return self.kernel(part, algorithm)(), ""
