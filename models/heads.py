"""Heads: small networks for features that another network has computed (`minicnn features`).

Features are maps (C, H, W), or vectors as maps of one pixel. Each head takes the mean of every map, which
makes it fit any size, and goes on with dense layers; the last is called ``output``.
"""

from collections import OrderedDict

from minicnn import nn
from minicnn.models.checks import check_positive, check_size
from minicnn.models.registry import register
from minicnn.tensor import Tensor


class Head(nn.Sequential):
    """The mean of each map, then dense layers; ``hidden`` 0 is none but the last."""

    def __init__(self, name: str, num_classes: int, in_channels: int, hidden: int, dropout: float) -> None:
        check_positive(name, num_classes=num_classes, in_channels=in_channels)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        layers["avgpool"], layers["flatten"] = nn.AdaptiveAvgPool2d(1), nn.Flatten()
        if hidden:
            check_positive(name, hidden=hidden)
            layers["dense1"], layers["act1"] = nn.Linear(in_channels, hidden), nn.ReLU()
            layers["dropout1"] = nn.Dropout(dropout)
        layers["output"] = nn.Linear(hidden or in_channels, num_classes)
        super().__init__(layers)
        self.name, self.in_channels = name, in_channels

    def forward(self, x: Tensor) -> Tensor:
        """Features (N, in_channels, H, W) of any size to logits (N, num_classes); ValueError for others."""
        check_size(self.name, x, self.in_channels)
        return super().forward(x)


@register(input_shape=(512, 1, 1), parameters=5_130, macs=5_120)
def linear_head(num_classes: int = 10, in_channels: int = 512) -> Head:
    """Softmax regression on features: 5,130 parameters."""
    return Head("linear_head", num_classes, in_channels, hidden=0, dropout=0.0)


@register(input_shape=(512, 1, 1), parameters=133_898, macs=133_632)
def mlp_head(num_classes: int = 10, in_channels: int = 512, hidden: int = 256, dropout: float = 0.5) -> Head:
    """One hidden layer with dropout on features: 133,898 parameters."""
    return Head("mlp_head", num_classes, in_channels, hidden, dropout)
