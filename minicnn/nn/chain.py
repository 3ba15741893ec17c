"""One layer after another, where neighbours that can share a trip to memory do so."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn import kernels
from minicnn.autograd import Array, is_grad_enabled
from minicnn.nn.containers import Row
from minicnn.nn.layers import BatchNorm2d, Conv2d
from minicnn.nn.module import Module
from minicnn.nn.stateless import ReLU, ReLU6, SiLU

CLIPPING: dict[type[Module], str] = {ReLU: "relu", ReLU6: "relu6"}  # what can be joined to a convolution
FOLLOWING = CLIPPING | {SiLU: "silu"}  # and to a batch norm in training, without a shortcut


class Sequential(Row):
    """Modules one after another; from arguments, or from a dict of names.

    >>> import minicnn as mc
    >>> from minicnn import nn
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 10))
    >>> net(mc.zeros(2, 1, 28, 28)).shape
    (2, 10)
    >>> len(net), net[1].out_features
    (4, 100)
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__()
        named = (
            modules[0].items()
            if len(modules) == 1 and isinstance(modules[0], Mapping)
            else enumerate(modules)
        )
        for name, module in named:
            self.add_module(str(name), module)

    def forward(self, x: Any) -> Any:
        return chain(x, *self._modules.values())

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return Sequential(dict(list(self._modules.items())[index]))
        return list(self._modules.values())[index]


class Plus:
    """In a chain: y = x + shortcut, as where the branches of a residual block meet.

    >>> import minicnn as mc
    >>> from minicnn import nn
    >>> nn.chain(mc.tensor([-3.0, 1.0]), nn.Plus(mc.tensor([1.0, 1.0])), nn.ReLU())
    tensor([0., 2.])
    """

    def __init__(self, shortcut: Any) -> None:
        self.shortcut = shortcut

    def __call__(self, x: Any) -> Any:
        return x + self.shortcut


def chain(x: Any, *layers: Any) -> Any:
    """``layers[-1](… layers[1](layers[0](x)))``, in fewer steps where kernels can do several at once.

    The numbers are those of the layers one by one, but for rounding. What is joined:

        convolution, ReLU                               the results are clipped as they are stored
        batch norm, Plus (or none), ReLU (or none)      one pass in place of three, and one backward
        batch norm in training, SiLU                    one pass in place of two, and one backward
        convolution, batch norm, ReLU (or none)         in inference: a convolution with other weights,
                                                        w·s and (b − mean)·s + shift; s = scale/√(var + ε)

    where ReLU6 may stand for ReLU. A layer with a forward hook is called by itself, as are subclasses of
    these layers. ``mc.use(fuse=False)`` joins nothing.

    >>> import minicnn as mc
    >>> from minicnn import nn
    >>> conv, norm, relu = nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU()
    >>> x = mc.randn(2, 3, 6, 6)
    >>> bool(abs(nn.chain(x, conv, norm, relu) - relu(norm(conv(x)))).max() < 1e-5)
    True
    """
    rest = deque(_opened(layers))
    while rest:
        layer = rest.popleft()
        if _is(layer, Conv2d):
            if _folds(x, layer, rest):
                x = _folded(x, layer, rest.popleft(), _activation(rest, CLIPPING))
            else:
                x = layer.forward(x, _activation(rest, CLIPPING))
        elif _is(layer, BatchNorm2d):
            shortcut = _shortcut(x, rest)
            alone = layer.training and shortcut is None
            x = layer.forward(x, shortcut, _activation(rest, FOLLOWING if alone else CLIPPING))
        else:
            x = layer(x)
    return x


def _is(layer: Any, kind: type[Module]) -> bool:
    """Whether a layer is of this very kind, and nobody wants to see its own result."""
    return type(layer) is kind and not layer._hooks and kernels.fusing()


def _opened(layers: Iterable[Any]) -> Iterator[Any]:
    """The layers, and in place of a Sequential those inside it."""
    for layer in layers:
        if _is(layer, Sequential):
            yield from _opened(layer)
        else:
            yield layer


def _activation(rest: deque, joined: Mapping[type[Module], str]) -> str | None:
    """Take an activation from the head of the chain, if there is one that can be joined."""
    if rest and type(rest[0]) in joined and not rest[0]._hooks:
        return joined[type(rest.popleft())]
    return None


def _shortcut(x: Any, rest: deque) -> Any:
    """Take what is to be added, if it comes next and is like x."""
    if rest and type(rest[0]) is Plus and getattr(rest[0].shortcut, "shape", None) == x.shape:
        return rest.popleft().shortcut
    return None


def _folds(x: Any, conv: Conv2d, rest: deque) -> bool:
    """Whether conv and the batch norm after it are one convolution: with fixed statistics, and no graph."""
    if not rest or not _is(rest[0], BatchNorm2d):
        return False
    norm = rest[0]
    if norm.training or not norm.track_running_stats or norm.num_features != conv.out_channels:
        return False
    if len(rest) > 1 and type(rest[1]) is Plus:
        return False  # the batch norm can add the shortcut, the convolution cannot
    inputs = (x, *conv.parameters(), *norm.parameters())
    return not (is_grad_enabled() and any(getattr(tensor, "requires_grad", False) for tensor in inputs))


def _folded(x: Any, conv: Conv2d, norm: BatchNorm2d, activation: str | None) -> Any:
    """The convolution whose results are already normalised."""
    scale, shift = _affine(norm)
    weight = conv.weight.data * scale[:, None, None, None]
    bias = shift if conv.bias is None else shift + conv.bias.data * scale
    return F.conv2d(x, weight, bias, conv.stride, conv.padding, conv.dilation, conv.groups, activation)


def _affine(norm: BatchNorm2d) -> tuple[Array, Array]:
    """Batch norm in inference as y = scale · x + shift."""
    scale = 1 / np.sqrt(norm.running_var.data + norm.eps)
    if norm.weight is not None:
        scale = scale * norm.weight.data
    shift = -norm.running_mean.data * scale
    if norm.bias is not None:
        shift = shift + norm.bias.data
    return scale.astype(norm.running_var.dtype), shift.astype(norm.running_var.dtype)
