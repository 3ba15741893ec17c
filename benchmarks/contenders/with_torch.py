"""PyTorch's side, in either memory layout; the better of the two counts."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.contenders.contender import Base, sample
from benchmarks.layers import Layer
from benchmarks.networks import Network, fill

LAYOUTS = {"NCHW": torch.contiguous_format, "channels_last": torch.channels_last}


class Contender(Base):
    """Plain eager PyTorch, as its tutorials use it."""

    def __init__(self, backend: str, layout: str) -> None:
        super().__init__(backend)
        self.layout = LAYOUTS[layout]
        torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

    # Networks.

    def network(
        self, entry: Network, options: dict[str, Any], images: np.ndarray, labels: np.ndarray
    ) -> None:
        self.net = entry.twin(**options)
        for name, parameter in self.net.named_parameters():
            fill(name, parameter.detach().numpy())
        self.net.to(memory_format=self.layout)
        self.net.train(self.task == "train")
        self.x = torch.from_numpy(images).contiguous(memory_format=self.layout)
        self.labels = torch.from_numpy(labels)

    def loss(self) -> torch.Tensor:
        return cross_entropy(self.net(self.x), self.labels)

    def examine(self) -> dict[str, Any]:
        if self.task == "inference":
            with torch.inference_mode():
                logits = self.net(self.x)
                loss = cross_entropy(logits, self.labels)
            return {"loss": loss.item(), "arrays": {"logits": sample(logits.cpu().numpy())}}
        with self.without_dropout():
            loss = self.loss()
            loss.backward()
        gradients = {
            name: sample(p.grad.contiguous().cpu().numpy())
            for name, p in self.net.named_parameters()
            if p.grad is not None
        }
        return {"loss": loss.item(), "arrays": gradients}

    def stepper(self) -> Callable[[], Any]:
        if self.task == "inference":

            def infer() -> None:
                with torch.inference_mode():
                    self.net(self.x)

            return infer
        optimizer = torch.optim.SGD(self.net.parameters(), lr=1e-5, momentum=0.9)

        def step() -> None:
            optimizer.zero_grad()
            self.loss().backward()
            optimizer.step()

        return step

    # Layers.

    def tensors(self, layer: Layer, given: dict[str, np.ndarray]) -> None:
        self.geometry = layer
        self.x, self.w, self.gy = (
            torch.from_numpy(given[name]).contiguous(memory_format=self.layout) for name in ("x", "w", "gy")
        )

    def kernel(self, part: str, algorithm: str) -> Callable[[], torch.Tensor]:
        x, w, gy, layer = self.x, self.w, self.gy, self.geometry
        stride, padding = [layer.stride] * 2, [layer.padding] * 2
        if part == "forward":
            return lambda: torch.conv2d(x, w, None, stride, padding, groups=layer.groups)
        wanted = [part == "grad_input", part == "grad_weight", False]
        backward = torch.ops.aten.convolution_backward

        def work() -> torch.Tensor:
            both = backward(gy, x, w, None, stride, padding, [1, 1], False, [0, 0], layer.groups, wanted)
            return both[wanted.index(True)]

        return work

    def to_numpy(self, result: torch.Tensor) -> np.ndarray:
        return result.contiguous().numpy()
