"""Watching a network compute: its layers in the order in which they ran, what they gave, and its scores.

Nothing of the network is changed: it computes in inference mode, its parameters receive no gradients, and
afterwards every mode and flag is as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend, nn
from minicnn import functional as F
from minicnn.autograd import Array, Function, as_variable, enable_grad, no_grad
from minicnn.backend import unknown
from minicnn.nn.module import inference
from minicnn.tensor import Tensor
from minicnn.train.loop import home

NO_MAPS = "the model has no layer whose maps have more than one pixel"


class NothingToSee(ValueError):
    """A network does not have what a picture would show."""


class Layer(NamedTuple):
    """A layer that ran: its path, its kind, and the shape of what it gave, with the batch."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def has_maps(self) -> bool:
        """Whether it gave images (N, C, H, W) of more than one pixel."""
        return len(self.shape) == 4 and self.shape[2] * self.shape[3] > 1


@contextmanager
def observed(model: nn.Module) -> Iterator[None]:
    """Inference mode with a graph, in which parameters take no part; afterwards all is as it was."""
    before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    model.requires_grad_(False)
    try:
        with inference(model), enable_grad():
            yield
    finally:
        for parameter, requires_grad in before:
            parameter.requires_grad = requires_grad


@contextmanager
def hooked(modules: Iterable[nn.Module], hook: Callable[[nn.Module, tuple, Any], Any]) -> Iterator[None]:
    """A forward hook on each module, for a block. Layers with hooks are not joined with their neighbours."""
    with ExitStack() as handles:
        for module in modules:
            handles.enter_context(module.register_forward_hook(hook))
        yield


def as_input(model: nn.Module, x: Any, requires_grad: bool = True) -> Tensor:
    """Images as a leaf of the graph where the model is; ValueError or TypeError for what is none."""
    array = as_variable(x).data
    if array.ndim != 4 or 0 in array.shape:
        raise ValueError(f"x must be images (N, C, H, W), got shape {array.shape}")
    if array.dtype.kind != "f":
        raise TypeError(f"x must be of a floating dtype, got {array.dtype}")
    return Tensor(backend.move(array, home(model)), requires_grad=requires_grad)


def scores(model: nn.Module, x: Tensor) -> Tensor:
    """The logits (N, classes); ValueError where the model gives something else."""
    logits = model(x)
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = getattr(logits, "shape", type(logits).__name__)
        raise ValueError(f"the model must give scores (N, classes), but gave {shape}")
    return logits


def probabilities(logits: Tensor) -> Array:
    """p = softmax(logits) in NumPy's hands, (N, classes), float64."""
    return F.softmax(logits.detach().cpu().double()).numpy()


def which(logits: Tensor, label: int | None) -> Array:
    """The class asked about for each image: the label, or without one the class with the highest score.

    Shapes: logits (N, classes) to (N,).
    """
    N, classes = logits.shape
    if label is None:
        return on_the_cpu(logits.data).argmax(axis=1)
    return np.full(N, check_label(label, classes))


def check_label(label: Any, classes: int) -> int:
    """The label; ValueError if there is no such class."""
    if not isinstance(label, int | np.integer) or not 0 <= label < classes:
        raise ValueError(f"label is {label!r}, but one of 0 to {classes - 1} is expected")
    return int(label)


def score_gradient(logits: Tensor, label: int | None) -> Tensor:
    """∂S/∂logits, where S is the score of :func:`which` class: 1 there, 0 elsewhere."""
    gy = np.zeros(logits.shape, logits.dtype)
    gy[np.arange(len(gy)), which(logits, label)] = 1
    return Tensor(backend.move(gy, logits.device))


def layers(model: nn.Module, x: Any) -> list[Layer]:
    """The layers inside a model in the order in which they finished; one that ran twice, where it did last.

    A container that gives what the last layer in it gave is left out, as is adaptive pooling, whose output
    has the size that somebody wanted, and no more pixels of its own.

    >>> from minicnn import models
    >>> found = layers(models.create("lenet5"), np.zeros((1, 1, 28, 28), np.float32))
    >>> [layer.name for layer in found if layer.has_maps]
    ['c1', 'tanh1', 's2', 'c3', 'tanh3', 's4']
    """
    return [layer for layer, own in _ran(model, x) if own]


def _ran(model: nn.Module, x: Any) -> list[tuple[Layer, bool]]:
    """All modules inside a model that gave a tensor, and whether :func:`layers` counts them."""
    names = {id(module): name for name, module in model.named_modules() if name}
    found: dict[str, tuple[Layer, bool]] = {}
    last: list[Any] = [None]

    def note(module: nn.Module, inputs: tuple, output: Any) -> None:
        if isinstance(output, Tensor):
            name = names[id(module)]
            adaptive = isinstance(module, nn.AdaptiveAvgPool2d | nn.AdaptiveMaxPool2d)
            found.pop(name, None)
            layer = Layer(name, type(module).__name__, output.shape)
            found[name] = layer, output is not last[0] and not adaptive
            last[0] = output

    inside = [module for module in model.modules() if id(module) in names]
    with inference(model), no_grad(), hooked(inside, note):
        model(as_input(model, x, requires_grad=False))
    return list(found.values())


def last_maps(model: nn.Module, x: Any) -> Layer:
    """The last layer whose maps have more than one pixel; NothingToSee if there is none."""
    with_maps = [layer for layer in layers(model, x) if layer.has_maps]
    if not with_maps:
        raise NothingToSee(NO_MAPS)
    return with_maps[-1]


def find_layer(model: nn.Module, x: Any, name: str | None) -> Layer:
    """The layer, or block of them, of that name, or without one :func:`last_maps`.

    Raises ValueError for one that gives no maps.
    """
    if name is None:
        return last_maps(model, x)
    known = {layer.name: layer for layer, _ in _ran(model, x) if len(layer.shape) == 4}
    if name not in known:
        raise ValueError(f"layer {unknown(name, known)}")
    return known[name]


def feature_maps(model: nn.Module, x: Any, names: Iterable[str] | None = None) -> dict[str, Array]:
    """What layers make of images; without names, the last layer of each size of maps.

    Shapes: x (N, C, H, W) to name -> (N, C', H', W').

    Raises ValueError for a layer that gives no maps, NothingToSee where none does.

    >>> from minicnn import models
    >>> found = feature_maps(models.create("lenet5"), np.zeros((1, 1, 28, 28), np.float32))
    >>> [(name, maps.shape[1:]) for name, maps in found.items()]
    [('tanh1', (6, 28, 28)), ('s2', (6, 14, 14)), ('tanh3', (16, 10, 10)), ('s4', (16, 5, 5))]
    """
    if names is None:
        by_size = {layer.shape[2:]: layer.name for layer in layers(model, x) if layer.has_maps}
        if not by_size:
            raise NothingToSee(NO_MAPS)
        names = by_size.values()
    else:
        names = [find_layer(model, x, name).name for name in names]
    return outputs(model, x, names)


def outputs(model: nn.Module, x: Any, names: Iterable[str]) -> dict[str, Array]:
    """What layers that there are give, without a graph; of one that runs twice, the last."""
    modules = {id(model.get_submodule(name)): name for name in names}
    found: dict[str, Array] = {}

    def keep(module: nn.Module, inputs: tuple, output: Any) -> None:
        found[modules[id(module)]] = on_the_cpu(output.data)

    with inference(model), no_grad(), hooked(map(model.get_submodule, modules.values()), keep):
        model(as_input(model, x, requires_grad=False))
    return {name: found[name] for name in modules.values()}


def recorded(model: nn.Module, x: Any, name: str) -> tuple[Tensor, Tensor, Function]:
    """The pixels, what a layer made of them, and the last function of the graph between.

    No parameter has a part in it.

    Raises NothingToSee where the layer does not depend on the image.
    """
    pixels = as_input(model, x)
    seen: list[Tensor] = []
    module = model.get_submodule(name)
    with observed(model), hooked([module], lambda module, inputs, output: seen.append(output)):
        model(pixels)
    last = seen[-1].grad_fn
    if last is None:
        raise NothingToSee(f"layer {name!r} does not depend on the image")
    return pixels, seen[-1], last


def filters(model: nn.Module) -> tuple[str, Array]:
    """The first convolution whose filters have more than one weight a side: its path and (OC, C, KH, KW).

    Raises NothingToSee, a ValueError, if there is none.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.shape[2] * module.weight.shape[3] > 1:
            return name, on_the_cpu(module.weight.data).copy()
    raise NothingToSee("the model has no convolution whose filters could be looked at")


def on_the_cpu(array: Array) -> Array:
    """An array in NumPy's hands."""
    return backend.move(array, "cpu")
