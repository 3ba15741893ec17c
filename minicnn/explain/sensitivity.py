"""Which pixels matter: the gradient to the image, and three other rules of walking back to it.

All four hand a gradient back from a score, or from a unit, to the pixels. They differ at a rectifier
y = max(x, 0), whose upstream gradient is gy:

    saliency            gx = gy where x > 0             the gradient itself
    deconvolution       gx = max(gy, 0)                 only what speaks for the unit goes on
    guided backprop     gx = max(gy, 0) where x > 0     both
    receptive field     gx = gy                         whatever could matter, for some image

Max-pooling hands gy to the pixel that won, which is what Zeiler and Fergus call its switch. Everything else
passes gradients as always; transposed filters are what a convolution's gradient uses anyway.

Sources: K. Simonyan, A. Vedaldi and A. Zisserman, "Deep inside convolutional networks", 2014, section 3.
M. Zeiler and R. Fergus, "Visualizing and understanding convolutional networks", 2014, section 2.1.
J. T. Springenberg et al., "Striving for simplicity", 2015, section 3.4.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend, kernels, nn
from minicnn import functional as F
from minicnn.autograd import Array, Function
from minicnn.explain.observe import (
    NothingToSee,
    as_input,
    find_layer,
    hooked,
    observed,
    on_the_cpu,
    recorded,
    score_gradient,
    scores,
)
from minicnn.explain.receptive import Box, reach
from minicnn.tensor import Tensor

Hook = Callable[[nn.Module, tuple, Any], Any]

Unit = tuple[int, int, int]
"""Channel, row and column of a layer's maps."""

RECTIFIERS = {nn.ReLU: "relu", nn.ReLU6: "relu6"}
SMOOTH = (nn.LeakyReLU, nn.Tanh, nn.Sigmoid, nn.SiLU)

GUIDED = "the gradient, where every ReLU lets only what is positive pass"
"""Guided backprop in words."""


def gradient(model: nn.Module, x: Any, label: int | None = None) -> Array:
    """∂S/∂x, where S is the score (logit) of a class: of ``label``, or of each image's highest.

    Shapes: x (N, C, H, W) to (N, C, H, W). The scores are those of inference mode.

    Raises ValueError for what is no batch of images, a label that there is not, and a model without scores.

    >>> import minicnn as mc
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    >>> g = gradient(model, np.ones((1, 1, 2, 2), np.float32), label=2)
    >>> bool((g.reshape(-1) == model[1].weight.data[2]).all())
    True
    """
    pixels = as_input(model, x)
    with observed(model):
        logits = scores(model, pixels)
        if not logits.requires_grad:
            return np.zeros(pixels.shape, pixels.dtype)  # scores that do not depend on the image
        logits.backward(score_gradient(logits, label))
    return _grad_of(pixels)


def saliency(model: nn.Module, x: Any, label: int | None = None) -> Array:
    """M = max_c |∂S/∂x_c|: how much the class's score would move with each pixel (Simonyan et al. 2014).

    Shapes: x (N, C, H, W) to (N, H, W). Otherwise as :func:`gradient`.
    """
    return np.abs(gradient(model, x, label)).max(axis=1)


def guided_backprop(model: nn.Module, x: Any, label: int | None = None) -> Array:
    """:func:`gradient`, but at every ReLU only what is positive, where the unit was on, goes on.

    Shapes: x (N, C, H, W) to (N, C, H, W).
    """
    with hooked(rectifiers(model), _rule(guided=True)):
        return gradient(model, x, label)


class Projection(NamedTuple):
    """What a unit looks at, and which one it is.

    ``pixels`` (N, C, H, W); ``layer``'s name; for each image the ``units`` (channel, row, column).
    """

    pixels: Array
    layer: str
    units: list[Unit]

    @property
    def words(self) -> str:
        """What is to be seen of the first image."""
        channel, row, column = self.units[0]
        return f"what made unit ({row}, {column}) of map {channel}, the strongest of {self.layer}"


def deconvolution(
    model: nn.Module, x: Any, layer: str | None = None, channel: int | None = None
) -> Projection:
    """What in each image made a layer's strongest activation so strong (Zeiler and Fergus 2014, section 2.1).

    All of the layer but its largest activation is set to zero, and that goes back to the pixels: unpooled to
    the places that won, rectified, convolved with the transposed filters.

    Args:
        layer: its path; the last whose maps have more than one pixel if None.
        channel: the map to look for the largest activation in; any if None.

    Shapes: x (N, C, H, W), and the pixels likewise.

    Raises ValueError for a layer or channel that there is not.
    """
    found = find_layer(model, x, layer)
    _check_channel(channel, found.shape[1])
    units: list[Unit] = []

    def strongest(maps: Array) -> list[Unit]:
        chosen = slice(None) if channel is None else slice(channel, channel + 1)
        for image in maps[:, chosen]:
            c, row, column = (int(i) for i in np.unravel_index(image.argmax(), image.shape))
            units.append((c + (channel or 0), row, column))
        return units

    return Projection(project(model, x, found.name, strongest)[0], found.name, units)


def project(
    model: nn.Module, x: Any, layer: str, choose: Callable[[Array], list[Unit]]
) -> tuple[Array, list[Box]]:
    """What made one unit of a layer as strong as it is, in each image, and all that it could see.

    ``choose`` takes the layer's maps (N, C', H', W') and says which unit it is to be in each. The first
    result is by deconvolution, of the shape of x, (N, C, H, W).
    """
    with hooked(rectifiers(model), _rule(guided=False)):
        pixels, maps, last = recorded(model, x, layer)
    values = on_the_cpu(maps.data)
    gy, boxes = np.zeros_like(values), []
    for n, (c, row, column) in enumerate(choose(values)):
        gy[n, c, row, column] = values[n, c, row, column]
        boxes.append(reach(last, maps.shape, row, column, pixels))
    return _back(pixels, maps, gy), boxes


class Field(NamedTuple):
    """A unit's receptive field.

    ``strength`` (H, W) is how much each pixel could move it; ``box`` is around the pixels that could at all
    (:func:`minicnn.explain.receptive.reach`).
    """

    strength: Array
    layer: str
    unit: tuple[int, int]
    box: Box


def receptive_field(
    model: nn.Module, x: Any, layer: str | None = None, unit: tuple[int, int] | None = None
) -> Field:
    """The pixels that can reach a unit, and how much each could move it.

    Which they are, the layers' windows say. How much is the gradient of the sum of all channels at its place.
    That must not depend on the image, so activations pass every gradient, and a maximum is taken to be a
    mean. The image matters for its size alone, except where layers multiply (squeeze and excitation, response
    normalisation).

    Args:
        layer: as in :func:`deconvolution`.
        unit: row and column in the layer's maps; their middle if None.

    Shapes: x (1, C, H, W).

    Raises ValueError for a layer or a unit that there is not, NothingToSee for dilated max-pooling.

    >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 1, 3))
    >>> receptive_field(model, np.zeros((1, 1, 20, 20), np.float32), unit=(1, 2)).box  # 8 = 3 + 1 + 2·2
    Box(top=2, bottom=10, left=4, right=12)
    """
    found = find_layer(model, x, layer)
    OH, OW = found.shape[2:]
    row, column = unit = unit or (OH // 2, OW // 2)
    if not (0 <= row < OH and 0 <= column < OW):
        raise ValueError(f"unit is {unit}, but {found.name} has {OH}×{OW} of them")

    passing = (*RECTIFIERS, *SMOOTH, nn.MaxPool2d, nn.AdaptiveMaxPool2d)
    modules = [module for module in model.modules() if isinstance(module, passing)]
    with hooked(modules, _pass_everything):
        pixels, maps, last = recorded(model, x, found.name)
    box = reach(last, maps.shape, row, column, pixels)  # before backward frees the graph
    gy = np.zeros(maps.shape, maps.dtype)
    gy[:, :, row, column] = 1
    return Field(np.abs(_back(pixels, maps, gy)).sum(axis=(0, 1)), found.name, unit, box)


def rectifiers(model: nn.Module) -> list[nn.Module]:
    """The modules at which the rules differ."""
    return [module for module in model.modules() if type(module) in RECTIFIERS]


def without_relu(model: nn.Module) -> str:
    """What is to be said of deconvolution and guided backprop where the rules do not differ."""
    return "" if rectifiers(model) else "; without a ReLU in the network, a plain gradient"


class _Rectified(Function):
    """A rectifier's y, already computed;  gx = max(gy, 0), if guided only where the rectifier passes."""

    def __init__(self, y: Array, activation: str | None) -> None:
        self.y, self.activation = y, activation

    def forward(self, x: Array) -> Array:
        return self.y

    def backward(self, gy: Array) -> Array:
        gx = kernels.run("relu.forward", gy)
        return gx if self.activation is None else kernels.run(f"{self.activation}.backward", gx, self.y)


def _rule(guided: bool) -> Hook:
    def replace(module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        return _Rectified(output.data, RECTIFIERS[type(module)] if guided else None)(inputs[0])

    return replace


def _pass_everything(module: nn.Module, inputs: tuple, output: Tensor) -> Any:
    """Activations as if they were not there, maxima as means."""
    (x,) = inputs
    if isinstance(module, nn.MaxPool2d):
        if module.dilation not in (1, (1, 1)):
            raise NothingToSee("the model has dilated max-pooling, which no mean can stand in for")
        return F.avg_pool2d(x, module.kernel_size, module.stride, module.padding, module.ceil_mode)
    if isinstance(module, nn.AdaptiveMaxPool2d):
        return F.adaptive_avg_pool2d(x, module.output_size)
    return x + 0  # a result of its own, as a hook's None would mean the activation's


def _back(pixels: Tensor, maps: Tensor, gy: Array) -> Array:
    """The gradient to the image of a layer's output whose upstream gradient is gy."""
    maps.backward(Tensor(backend.move(gy, maps.device)))
    return _grad_of(pixels)


def _grad_of(pixels: Tensor) -> Array:
    return np.zeros(pixels.shape, pixels.dtype) if pixels.grad is None else on_the_cpu(pixels.grad)


def _check_channel(channel: int | None, C: int) -> None:
    if channel is not None and not 0 <= channel < C:
        raise ValueError(f"channel is {channel!r}, but one of 0 to {C - 1} is expected")
