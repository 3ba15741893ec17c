"""A whole network at work on one image: every layer forward and backward, and one step of training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import nn
from minicnn.autograd import Array
from minicnn.explain import units
from minicnn.explain.document import Shown
from minicnn.explain.training_step import TrainingStep, training_step
from minicnn.explain.units import Worked
from minicnn.explain.views import View, views
from minicnn.explain.watch import Call, Pass, backward, watched
from minicnn.summary import Summary, summarize
from minicnn.tensor import Tensor

if TYPE_CHECKING:
    from rich.console import Console

MAPS = 12
"""The most feature maps of a layer that are shown, and units that are worked out: one in each map."""

SIDE = 64
"""The most rows or columns that a map is shown with: of a larger one, each pixel is a block's mean."""

BUDGET = 3_400_000
"""The bytes of a page that maps and units may take together."""


@dataclass(frozen=True)
class Statistics:
    """Of an array's numbers: mean, standard deviation, the share of zeros, the least and the largest.

    >>> Statistics.of(np.array([0.0, 0.0, 3.0, -1.0]))
    Statistics(mean=0.5, std=1.5, zeros=0.5, least=-1.0, largest=3.0)
    """

    mean: float
    std: float
    zeros: float
    least: float
    largest: float

    @classmethod
    def of(cls, array: Array) -> Statistics:
        """Computed in float64."""
        a = array.astype(np.float64)
        return cls(float(a.mean()), float(a.std()), float((a == 0).mean()), float(a.min()), float(a.max()))


@dataclass(frozen=True, eq=False)
class Layer:
    """What one call of a module computed: y (C, H, W) or (F,), gy = ∂loss/∂y, and some of its units."""

    path: str
    macs: int
    x_shape: tuple[int, ...] | None
    y: Array
    gy: Array | None
    maps: int
    units: Sequence[Worked]


@dataclass(eq=False, repr=False)
class NetworkExplanation(Shown):
    """A network, an image, and all that happened; in a notebook it shows itself.

    >>> import minicnn as mc
    >>> shown = mc.explain(mc.models.create("lenet5"), x=mc.rand(1, 1, 28, 28), label=3)
    >>> shown.label, [layer.path for layer in shown.layers][-1], len(shown.page()) < 5_000_000
    (3, '', True)
    """

    name: str
    weights: str
    model: nn.Module
    x: Array
    picture: Array
    label: int
    guessed: bool
    class_names: Sequence[str]
    summary: Summary
    layers: Sequence[Layer]
    step: TrainingStep
    views: Sequence[View] = ()
    command: str = ""

    def __repr__(self) -> str:
        return f"<Explanation of {self.name}: .save(path) writes its page, .text() is for a terminal>"

    def page(self) -> str:
        """One HTML document of at most 5 MB that needs nothing else; ValueError if it would be larger."""
        from minicnn.explain import network_page

        return network_page.page(self)

    def text(self, width: int = 120) -> str:
        """A table of the layers and of the step, for a terminal, without colours."""
        from minicnn.explain import network_text

        return network_text.plain(self, width)

    def write(self, console: Console) -> None:
        """The text to a console, with its colours and width."""
        from minicnn.explain import network_text

        network_text.write(self, console)


def explain_network(
    model: nn.Module,
    x: Any = None,
    label: int | None = None,
    lr: float = 0.01,
    *,
    name: str = "",
    weights: str = "",
    class_names: Sequence[str] = (),
    picture: Array | None = None,
    pictures: bool = True,
    bgr: bool = False,
    command: str = "",
) -> NetworkExplanation:
    """Explain what a network makes of one image; see :func:`minicnn.explain`.

    The model is left as it was: its weights, its gradients, its mode.

    Args:
        model: on the CPU; gives one logit for each class.
        x: the image as the network takes it, (1, C, H, W), in the dtype of the weights.
        label: the class that is right; the likeliest if it is not given.
        lr: the rate of the training step.
        name, weights: what the network is called, and where its weights are from.
        class_names: one for each logit, or none.
        pictures: whether to find out what the answer rests on, which the page draws and the text does not.
        bgr: whether the channels of x are blue, green, red.
        picture: x as one sees it, (H, W) or (H, W, 3) in 0..255; without it x, spread from black to white.

    Raises:
        TypeError: model is no module.
        ValueError: x is not one image, there is no such label, lr is not above 0, or the model is on a GPU.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"explain: expected a Module or an operation's name, got {type(model).__name__}")
    x = np.asarray(x.data if isinstance(x, Tensor) else x)
    if x.ndim != 4 or len(x) != 1:
        raise ValueError(f"explain: x must be one image, (1, C, H, W), got {x.shape or x}")
    if not 0 < lr < math.inf:
        raise ValueError(f"explain: lr must be a number above 0, got {lr}")
    if any(parameter.device != "cpu" for parameter in model.parameters()):
        raise ValueError("explain: the network is on a GPU; move it with .cpu()")
    name = name or type(model).__name__
    summary = summarize(model, x.shape[1:], name=name)
    guessed = label is None
    with watched(model, x, label) as run:
        classes = run.logits.shape[1]
        if class_names and len(class_names) != classes:
            raise ValueError(
                f"explain: the network has {classes} classes, but {len(class_names)} names were given"
            )
        class_names = class_names or [f"class {k}" for k in range(classes)]
        backward(run, model)
        layers = _layers(run, summary)
    step, label = training_step(model, run, lr), run.label
    del run  # and with it the graph and all gradients, before others are made
    seen = views(model, x, label, class_names[label], bgr) if pictures else ()
    return NetworkExplanation(
        name,
        weights,
        model,
        x,
        _visible(x[0]) if picture is None else np.asarray(picture, np.uint8),
        label,
        guessed,
        class_names,
        summary,
        layers,
        step,
        seen,
        command,
    )


def shrink(maps: Array, side: int = SIDE) -> Array:
    """Maps (C, H, W), of which those above ``side`` rows or columns become means of square blocks.

    >>> shrink(np.arange(130.0).reshape(1, 1, 130))[0, 0, [0, 42, 43]]
    array([  1., 127., 129.])
    """
    H, W = maps.shape[1:]
    block = -(-max(H, W) // side)
    if block == 1:
        return maps
    rows, columns = np.arange(0, H, block), np.arange(0, W, block)
    sums = np.add.reduceat(np.add.reduceat(maps, rows, axis=1), columns, axis=2)
    return sums / np.outer(np.diff(np.append(rows, H)), np.diff(np.append(columns, W)))


def _layers(run: Pass, summary: Summary) -> list[Layer]:
    macs: dict[str, list[int]] = {}
    for row in summary.rows:
        macs.setdefault(row.name, []).append(row.macs)
    shown = _shown(run.calls)
    found = []
    for call in run.calls:
        y, gy = call.y._data[0], None if call.gy is None else call.gy[0]
        maps = min(shown, len(y)) if call.new and y.ndim in (1, 3) else 0
        chosen = units.strongest(y, gy, maps) if maps else []
        of_path = macs.get(call.path, [])
        found.append(
            Layer(
                call.path,
                of_path.pop(0) if of_path else 0,
                None if call.x is None else call.x.shape[1:],
                y,
                gy,
                maps,
                units.work_out(call, chosen, run.x),
            )
        )
    return found


def _shown(calls: Sequence[Call]) -> int:
    """How many maps of each layer there is room for: two pictures of each, and a unit worked out."""
    each = 0
    for call in calls:
        if call.new:
            sides = call.y.shape[2:] if call.y.ndim == 4 else (0, 0)
            pixels = math.prod(-(-side // -(-max(sides) // SIDE)) for side in sides) if max(sides) else 0
            filters = isinstance(call.module, nn.Conv2d | nn.Linear)  # whose units have many inputs
            each += 2 * pixels * 4 // 3 + (units.TERMS * 65 if filters else 400)
    return max(1, min(MAPS, BUDGET // max(each, 1)))


def _visible(x: Array) -> Array:
    """An image (C, H, W) as bytes, its least number black and its largest white; three channels are RGB."""
    channels = x if len(x) == 3 else x[:1]
    low, high = float(channels.min()), float(channels.max())
    scaled = np.rint((channels - low) * (255 / (high - low or 1))).astype(np.uint8)
    return scaled.transpose(1, 2, 0) if len(x) == 3 else scaled[0]
