"""Using what a network has learnt for something else: freeze it, cut it, give it another head.

>>> from minicnn import models, optim
>>> net = models.create("mlp_300_100")  # imagine that it reads digits
>>> head = models.replace_head(net, 2)  # odd or even
>>> models.freeze(net)
>>> models.unfreeze(net, head)
>>> sum(p.numel() for p in net.parameters()), sum(p.numel() for p in net.parameters() if p.requires_grad)
(265802, 202)
>>> optimizer = optim.SGD(optim.param_groups(net), lr=0.1)

Source: J. Yosinski et al., "How transferable are features in deep neural networks?", NIPS 2014.
"""

from __future__ import annotations

from typing import Any

from minicnn import nn
from minicnn.autograd import no_grad
from minicnn.nn.module import Module, inference, matches
from minicnn.tensor import zeros


def freeze(model: Module, *patterns: str) -> None:
    """Keep training from changing the modules and parameters that a pattern names; all, without any.

    Frozen parameters get no gradients, and where nothing before a layer is trained, no work is done for what
    would be passed back through it. Frozen modules are fixed functions: ``model.train()`` leaves them in
    inference mode, so that batch norm keeps the statistics it has and dropout drops nothing. (PyTorch wants
    ``eval()`` called on them after each ``train()``.)

    A pattern is the name of a module or parameter; ``*``, ``?`` and ``[…]`` stand for any characters. Every
    module inside one that is named is frozen too.

    Raises ValueError for a pattern that names nothing, with some of the names that there are.

    >>> from minicnn import models
    >>> net = models.create("resnet18", width=8)
    >>> models.freeze(net, "conv1", "bn1", "layer[1-3]")
    >>> [name for name, module in net.train().named_children() if module.training]
    ['relu', 'maxpool', 'layer4', 'avgpool', 'flatten', 'fc']
    """
    _set(model, "freeze", patterns, True)


def unfreeze(model: Module, *patterns: str) -> None:
    """Let training change again what the patterns name; everything, without any. See :func:`freeze`."""
    _set(model, "unfreeze", patterns, False)


def _set(model: Module, owner: str, patterns: tuple[str, ...], frozen: bool) -> None:
    parameters, modules = dict(model.named_parameters()), dict(model.named_modules())
    for pattern in patterns:
        if not any(matches(name, pattern) for name in (*parameters, *modules) if name):
            names = ", ".join(name for name, _ in model.named_children())
            raise ValueError(f"{owner}: {pattern!r} names nothing in {type(model).__name__} (it has {names})")
    for name, parameter in parameters.items():
        if not patterns or any(matches(name, pattern) for pattern in patterns):
            parameter.requires_grad = not frozen
            parameter.grad = None
    for name, module in modules.items():
        if not patterns or (name and any(matches(name, pattern) for pattern in patterns)):
            module.frozen = frozen
            module.training = module.training and not frozen


def head_name(model: Module) -> str:
    """The name of the layer that gives the logits: the last dense layer, auxiliary heads apart.

    Raises ValueError for a model without dense layers.

    >>> from minicnn import models
    >>> models.transfer.head_name(models.create("lenet5"))
    'output'
    """
    dense = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    found = [name for name in dense if not _is_auxiliary(name)]
    if not found:
        raise ValueError(
            f"head_name: {type(model).__name__} has no dense layer (nn.Linear) that gives logits"
        )
    return found[-1]


def _is_auxiliary(name: str) -> bool:
    return any(part.lower().startswith("aux") for part in name.split("."))


def replace_head(model: Module, head: int | Module, layer: str | None = None) -> str:
    """Put a new head in the place of a network's own, and return the name of that place.

    ``head`` is a number of classes, for a freshly drawn dense layer, or any module. ``layer`` names what is
    replaced: by default the last dense layer, and with a number of classes those of auxiliary heads as well.

    Raises ValueError for a name that there is not, and a number of classes below 1.

    >>> from minicnn import models
    >>> net = models.create("vgg11", width=4, hidden=8)
    >>> models.replace_head(net, 5)
    'classifier.6'
    >>> net.classifier[6]
    Linear(8, 5)
    """
    name = head_name(model) if layer is None else layer
    old = model.get_submodule(name)
    if isinstance(head, Module):
        _put(model, name, head)
        return name
    if not isinstance(old, nn.Linear):
        raise ValueError(
            f"replace_head: {name} is {type(old).__name__}; give a module in place of a number of classes"
        )
    places = {name: old}
    if layer is None:
        places |= {
            other: module
            for other, module in model.named_modules()
            if isinstance(module, nn.Linear)
            and _is_auxiliary(other)
            and module.out_features == old.out_features
        }
    for place, module in places.items():
        new = nn.Linear(module.in_features, head, module.bias is not None, module.weight.dtype)
        _put(model, place, new.to(module.weight.device))
    return name


def _put(model: Module, name: str, module: Module) -> None:
    outer, _, last = name.rpartition(".")
    place = model.get_submodule(outer)
    place._modules[last] = module  # a number, in a Sequential, is no name of an attribute


class Trunk(Module):
    """A network up to one of its layers; :func:`cut` makes it."""

    def __init__(self, body: Module, layer: str) -> None:
        super().__init__()
        self.body, self.layer = body, layer

    def forward(self, x: Any) -> Any:
        def stop(module: Module, inputs: tuple, output: Any) -> None:
            raise _Reached(output)

        with self.body.get_submodule(self.layer).register_forward_hook(stop):
            try:
                self.body(x)
            except _Reached as reached:
                return reached.output
        raise ValueError(f"cut: the network did not come to its layer {self.layer!r}")

    def extra_repr(self) -> str:
        return f"up to {self.layer!r}"


class _Reached(Exception):
    """Carries what the layer gave out of the network, past all that would come after it."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def cut(model: Module, layer: str, input_shape: tuple[int, ...]) -> Trunk:
    """The network up to and including a named layer, whatever branches lead there.

    What comes after that layer is taken out of ``model``, which should not be used by itself any more; the
    layers before it, their names and weights are the same (under ``body``). Which those are is found by
    running one image of zeros, of ``input_shape`` (C, H, W).

    Raises ValueError for a layer that there is not, or that an image does not come to.

    >>> import minicnn as mc
    >>> from minicnn import models
    >>> trunk = models.cut(models.create("vgg16", width=8), "features.16", (3, 32, 32))  # after block 3
    >>> trunk(mc.zeros(2, 3, 32, 32)).shape
    (2, 32, 4, 4)
    """
    trunk = Trunk(model, layer)
    ran: set[str] = set()
    handles = [
        module.register_forward_hook(lambda *_, name=name: ran.add(name))  # returns None: changes nothing
        for name, module in model.named_modules()
        if name != layer
    ]
    own = next(model.parameters(), None)
    like: dict[str, Any] = {} if own is None else {"dtype": own.dtype, "device": own.device}
    try:
        with inference(model), no_grad():
            trunk(zeros(1, *input_shape, **like))
    finally:
        for handle in handles:
            handle.remove()
    _prune(model, "", ran | {layer})
    return trunk


def _prune(module: Module, prefix: str, ran: set[str]) -> None:
    """Take out the modules in which nothing ran. What names them without using them finds an Identity."""
    for name, child in list(module.named_children()):
        path = f"{prefix}{name}"
        if path in ran:
            continue  # all that is inside it was needed, or was passed over by its own choice
        if any(other.startswith(f"{path}.") for other in ran):
            _prune(child, f"{path}.", ran)
        else:
            module._modules[name] = nn.Identity()


def count(model: Module) -> tuple[int, int]:
    """How many parameters a model has, and how many of them are trained.

    >>> from minicnn import models
    >>> net = models.create("lenet5")
    >>> models.freeze(net, "c1")
    >>> models.transfer.count(net)
    (61706, 61550)
    """
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained)
