"""One image through a network, forward and backward, with every module's input, output and gradient kept."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn import nn
from minicnn.autograd import Array, Function, enable_grad
from minicnn.explain.observe import as_input, hooked, scores, which
from minicnn.nn.module import inference
from minicnn.tensor import Tensor


class Watch(Function):
    """y = x;  gx = gy, and gy is kept."""

    returns_view = True
    gy: Array | None = None

    def forward(self, x: Array) -> Array:
        return x

    def backward(self, gy: Array) -> Array:
        self.gy = gy
        return gy


@dataclass(eq=False)
class Call:
    """One call of one module: its input, None unless that is a single tensor; its output; its place.

    ``new`` says whether the output is this module's own, and not only handed on from a module inside it.
    """

    path: str
    module: nn.Module
    x: Tensor | None
    y: Tensor
    watch: Watch
    new: bool

    @property
    def gy(self) -> Array | None:
        """∂loss/∂y, or None where the loss does not depend on y."""
        return self.watch.gy

    @property
    def leaf(self) -> bool:
        """Whether this module has no modules inside it."""
        return next(iter(self.module.children()), None) is None


@dataclass(eq=False)
class Pass:
    """What a network made of an image: its calls in the order in which they ended, its logits, the loss."""

    x: Tensor
    logits: Tensor
    label: int
    calls: list[Call] = field(default_factory=list)
    loss: float = 0.0
    gradients: dict[str, Array] = field(default_factory=dict)


@contextlib.contextmanager
def watched(model: nn.Module, x: Array, label: int | None) -> Any:
    """Forward in inference mode, with the graph kept for the block; backward follows by :func:`backward`.

    Without a label, it is the likeliest class. Inference mode: dropout lets everything pass, and batch norm
    takes its running statistics, as a single image has no batch to take them from.

    Raises ValueError where the network's output is not one logit for each class, or there is no such label.
    """
    image, paths = as_input(model, x), {id(module): path for path, module in model.named_modules()}
    calls: list[Call] = []
    seen: set[int] = set()

    def record(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if not isinstance(output, Tensor):
            return None
        single = inputs[0] if len(inputs) == 1 and isinstance(inputs[0], Tensor) else None
        watch, new = Watch(), id(output._data) not in seen
        seen.add(id(output._data))
        y = watch(output)
        calls.append(Call(paths[id(module)], module, single, y, watch, new))
        return y

    with hooked(model.modules(), record), inference(model), enable_grad():
        logits = scores(model, image)
        yield Pass(image, logits, int(which(logits, label)[0]), calls)


def backward(run: Pass, model: nn.Module) -> None:
    """The loss of a pass and its gradients; those that the parameters had before are theirs afterwards."""
    before = [(parameter, parameter.grad) for parameter in model.parameters()]
    model.zero_grad()
    try:
        loss = F.cross_entropy(run.logits, np.array([run.label]))
        run.loss = float(loss)
        loss.backward(retain_graph=True)
        run.gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    finally:
        for parameter, grad in before:
            parameter.grad = grad
