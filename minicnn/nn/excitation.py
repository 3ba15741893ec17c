"""Squeeze-and-excitation, as a layer."""

from __future__ import annotations

from typing import Any

from minicnn import functional as F
from minicnn import kernels
from minicnn.nn.layers import Conv2d, whole_number
from minicnn.nn.module import Module
from minicnn.nn.stateless import AdaptiveAvgPool2d, ReLU, Sigmoid, SiLU

JOINED = {ReLU: "relu", SiLU: "silu"}  # activations that functional.squeeze_excitation knows


class SqueezeExcitation(Module):
    """Each map of an image, multiplied by a number that two dense layers make of the means of all maps.

        y = x · s,    s = σ(fc2(a(fc1(mean(x)))))

    The names, and that the dense layers are 1×1 convolutions of one pixel, are torchvision's. With ReLU or
    SiLU for the activation a and the logistic σ it is one operation, see functional.squeeze_excitation;
    otherwise, or where one of its layers has a forward hook, its layers compute one after another.

    Shapes:
        (N, input_channels, H, W) -> the same; in between (N, squeeze_channels)

    Source: Hu, Shen, Sun 2018, "Squeeze-and-excitation networks", section 3, equations 2 to 4.

    >>> import minicnn as mc
    >>> layer = mc.nn.SqueezeExcitation(16, 4)
    >>> layer(mc.randn(2, 16, 5, 5)).shape
    (2, 16, 5, 5)
    """

    def __init__(
        self,
        input_channels: int,
        squeeze_channels: int,
        activation: type[Module] = ReLU,
        scale_activation: type[Module] = Sigmoid,
    ) -> None:
        super().__init__()
        C = whole_number("SqueezeExcitation", "input_channels", input_channels)
        M = whole_number("SqueezeExcitation", "squeeze_channels", squeeze_channels)
        self.avgpool = AdaptiveAvgPool2d(1)
        self.fc1 = Conv2d(C, M, 1)
        self.fc2 = Conv2d(M, C, 1)
        self.activation = activation()
        self.scale_activation = scale_activation()

    def forward(self, x: Any) -> Any:
        if self._is_one_operation():
            w1, w2 = (fc.weight.reshape(fc.weight.shape[:2]) for fc in (self.fc1, self.fc2))
            return F.squeeze_excitation(
                x, w1, self.fc1.bias, w2, self.fc2.bias, JOINED[type(self.activation)]
            )
        s = self.activation(self.fc1(self.avgpool(x)))  # N × squeeze_channels × 1 × 1
        return x * self.scale_activation(self.fc2(s))

    def _is_one_operation(self) -> bool:
        known = type(self.activation) in JOINED and type(self.scale_activation) is Sigmoid
        usual = type(self.fc1) is type(self.fc2) is Conv2d
        return known and usual and kernels.fusing() and not any(layer._hooks for layer in self.children())
