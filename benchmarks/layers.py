"""The convolution layers that are measured: from LeNet's to MobileNet's."""

from __future__ import annotations

import zlib
from typing import NamedTuple

import numpy as np

PARTS = ("forward", "grad_input", "grad_weight")
"""The three passes of a convolution, by the names of their kernels."""


class Layer(NamedTuple):
    """A convolution of N images of C × H × H by OC filters of K × K."""

    N: int
    C: int
    H: int
    OC: int
    K: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def OH(self) -> int:
        """Rows, and columns, of the result."""
        return (self.H + 2 * self.padding - self.K) // self.stride + 1

    @property
    def macs(self) -> int:
        """Multiply-accumulates of each pass by the definition, products with padding included."""
        return self.N * self.OC * self.OH**2 * (self.C // self.groups) * self.K**2

    def few(self) -> Layer:
        """The same layer on at most two images: enough to compare results."""
        return self._replace(N=min(self.N, 2))

    def __str__(self) -> str:
        text = f"{self.N}×{self.C}×{self.H}×{self.H} → {self.OC}, {self.K}×{self.K}"
        text += f", stride {self.stride}" if self.stride > 1 else ""
        return text + (f", groups {self.groups}" if self.groups > 1 else "")


LAYERS = {
    "lenet-c1": Layer(64, 1, 28, 6, 5, padding=2),
    "lenet-c3": Layer(64, 6, 14, 16, 5),
    "alexnet-conv1": Layer(16, 3, 224, 64, 11, stride=4, padding=2),
    "alexnet-conv2": Layer(16, 64, 27, 192, 5, padding=2),
    "alexnet-conv3": Layer(16, 192, 13, 384, 3, padding=1),
    "vgg-conv1_1": Layer(4, 3, 224, 64, 3, padding=1),
    "vgg-conv1_2": Layer(4, 64, 224, 64, 3, padding=1),
    "vgg-conv3_2": Layer(4, 256, 56, 256, 3, padding=1),
    "vgg-conv5_1": Layer(4, 512, 14, 512, 3, padding=1),
    "resnet-conv1": Layer(8, 3, 224, 64, 7, stride=2, padding=3),
    "resnet-layer1": Layer(8, 64, 56, 64, 3, padding=1),
    "resnet-layer2-stride": Layer(8, 64, 56, 128, 3, stride=2, padding=1),
    "resnet-layer3": Layer(8, 256, 14, 256, 3, padding=1),
    "resnet-layer4": Layer(8, 512, 7, 512, 3, padding=1),
    "resnet-reduce": Layer(8, 256, 56, 64, 1),
    "resnet-expand": Layer(8, 64, 56, 256, 1),
    "resnet20-layer1": Layer(64, 16, 32, 16, 3, padding=1),
    "mobilenet-conv1": Layer(8, 3, 224, 32, 3, stride=2, padding=1),
    "mobilenet-depthwise": Layer(8, 32, 112, 32, 3, padding=1, groups=32),
    "mobilenet-depthwise-stride": Layer(8, 96, 112, 96, 3, stride=2, padding=1, groups=96),
    "mobilenet-depthwise-late": Layer(8, 384, 14, 384, 3, padding=1, groups=384),
    "mobilenet-pointwise": Layer(8, 32, 112, 16, 1),
    "mobilenet-pointwise-late": Layer(8, 384, 14, 64, 1),
}


def arrays(layer: Layer) -> dict[str, np.ndarray]:
    """x, w and gy, the same numbers in every process; of fewer images, the first ones."""

    def draw(name: str, *shape: int) -> np.ndarray:
        generator = np.random.default_rng(zlib.crc32(name.encode()))
        return generator.standard_normal(shape, dtype=np.float32)

    return {
        "x": draw("x", layer.N, layer.C, layer.H, layer.H),
        "w": draw("w", layer.OC, layer.C // layer.groups, layer.K, layer.K),
        "gy": draw("gy", layer.N, layer.OC, layer.OH, layer.OH),
    }
