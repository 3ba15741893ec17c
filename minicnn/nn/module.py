"""Module: what holds parameters, and other modules."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, Self

import numpy as np

from minicnn import backend
from minicnn.autograd import Array, as_variable
from minicnn.tensor import Tensor, is_device


class Parameter(Tensor):
    """A tensor that training changes; set as an attribute of a module it is one of its parameters."""

    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = True) -> None:
        super().__init__(as_variable(data)._data, requires_grad)

    def __repr__(self) -> str:
        return "Parameter containing:\n" + super().__repr__()


class HookHandle:
    """What register_forward_hook returns: ``remove()`` takes the hook away; so does leaving a ``with``."""

    def __init__(self, hooks: dict[int, Callable], key: int) -> None:
        self._hooks, self._key = hooks, key

    def remove(self) -> None:
        self._hooks.pop(self._key, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.remove()


class Module:
    """A layer or a network: a function with parameters.

    A subclass sets parameters, buffers and other modules as attributes in ``__init__``, after
    ``super().__init__()``, and computes in ``forward``. Names are paths: the weight of the second
    layer of ``features`` is "features.1.weight".

    >>> import minicnn as mc
    >>> from minicnn import nn
    >>> class Net(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.conv = nn.Conv2d(1, 6, 5)
    ...         self.head = nn.Linear(6, 10)
    ...
    ...     def forward(self, x):
    ...         return self.head(self.conv(x).relu().mean(dim=(2, 3)))
    >>> net = Net()
    >>> net(mc.zeros(2, 1, 28, 28)).shape
    (2, 10)
    >>> [name for name, _ in net.named_parameters()]
    ['conv.weight', 'conv.bias', 'head.weight', 'head.bias']
    """

    training: bool
    frozen = False  # whether train() leaves this module in inference mode; models.freeze sets it
    _hook_numbers = itertools.count()

    def __init__(self) -> None:
        # Straight into __dict__, because __setattr__ below looks into these.
        self.__dict__.update(_parameters={}, _buffers={}, _modules={}, _hooks={}, training=True)

    def forward(self, *inputs: Any) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def __call__(self, *inputs: Any, **options: Any) -> Any:
        output = self.forward(*inputs, **options)
        for hook in tuple(self._hooks.values()):
            replacement = hook(self, inputs, output)
            output = output if replacement is None else replacement
        return output

    # Attributes

    def __setattr__(self, name: str, value: Any) -> None:
        if "_parameters" not in self.__dict__:
            raise AttributeError(f"{type(self).__name__}: call super().__init__() before setting {name!r}")
        homes = self._parameters, self._modules, self._buffers
        home = next((home for home in homes if name in home), None)
        if isinstance(value, Parameter):
            home = self._parameters
        elif isinstance(value, Module):
            home = self._modules
        elif (
            home is not None
            and value is not None
            and not (home is self._buffers and isinstance(value, Tensor))
        ):
            kind = {id(h): kind for h, kind in zip(homes, ("Parameter", "Module", "Tensor"), strict=True)}[
                id(home)
            ]
            raise TypeError(f"{name}: expected a {kind} or None, got {type(value).__name__}")
        for other in (*homes, self.__dict__):
            if other is not home:
                other.pop(name, None)
        (self.__dict__ if home is None else home)[name] = value

    def __getattr__(self, name: str) -> Any:
        for home in ("_parameters", "_modules", "_buffers"):
            found = self.__dict__.get(home, {})
            if name in found:
                return found[name]
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    def __delattr__(self, name: str) -> None:
        for home in (self._parameters, self._modules, self._buffers):
            if name in home:
                del home[name]
                return
        super().__delattr__(name)

    def register_buffer(self, name: str, tensor: Tensor | None) -> None:
        """Hold a tensor that is saved with the module but not trained, such as a running mean."""
        self._check_new(name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(f"register_buffer: {name} must be a Tensor or None, got {type(tensor).__name__}")
        self._buffers[name] = tensor

    def register_parameter(self, name: str, parameter: Parameter | None) -> None:
        """Hold a parameter; None says that there is none under this name."""
        self._check_new(name)
        if parameter is not None and not isinstance(parameter, Parameter):
            raise TypeError(f"register_parameter: {name} must be a Parameter, got {type(parameter).__name__}")
        self._parameters[name] = parameter

    def add_module(self, name: str, module: Module | None) -> None:
        """Hold a module under a name, which may be a number as in Sequential."""
        self._check_new(name)
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"add_module: {name} must be a Module, got {type(module).__name__}")
        self._modules[name] = module

    def _check_new(self, name: str) -> None:
        if not name or "." in name or hasattr(self, name):
            raise ValueError(f"{type(self).__name__}: {name!r} is taken or no name for an attribute")

    # Walking

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module (under the name "") and all inside it, outer before inner, each once."""
        seen: set[int] = set()
        pending: list[tuple[str, Module]] = [(prefix, self)]
        while pending:
            name, module = pending.pop()
            if id(module) in seen:
                continue
            seen.add(id(module))
            yield name, module
            dot = f"{name}." if name else ""
            inner = [(dot + key, child) for key, child in module._modules.items() if child is not None]
            pending.extend(reversed(inner))

    def modules(self) -> Iterator[Module]:
        """This module and all inside it."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules directly inside this one."""
        return ((name, module) for name, module in self._modules.items() if module is not None)

    def children(self) -> Iterator[Module]:
        """The modules directly inside this one, without their names."""
        return (module for _, module in self.named_children())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """Every parameter here and inside, with its path; a shared one once."""
        return self._named("_parameters")

    def parameters(self) -> Iterator[Parameter]:
        """Every parameter here and inside."""
        return (parameter for _, parameter in self.named_parameters())

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Every buffer here and inside, with its path."""
        return self._named("_buffers")

    def buffers(self) -> Iterator[Tensor]:
        """Every buffer here and inside."""
        return (buffer for _, buffer in self.named_buffers())

    def _named(self, home: str, shared: bool = False) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        for prefix, module in self.named_modules():
            for name, value in module.__dict__[home].items():
                if value is not None and (shared or id(value) not in seen):
                    seen.add(id(value))
                    yield (f"{prefix}.{name}" if prefix else name), value

    def get_submodule(self, path: str) -> Module:
        """The module at a path such as "features.0"; "" is this one."""
        module = self
        for name in path.split(".") if path else ():
            if name not in module._modules or module._modules[name] is None:
                known = ", ".join(name for name, _ in module.named_children()) or "none"
                raise ValueError(f"get_submodule: {path!r} has no {name!r}; modules there: {known}")
            module = module._modules[name]
        return module

    # State

    def state_dict(self) -> dict[str, Array]:
        """Path -> array, parameters and buffers, in the order of definition. The arrays are the live ones,
        on the device where they live.

        >>> from minicnn import nn
        >>> list(nn.BatchNorm2d(8).state_dict())
        ['weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked']
        """
        return {name: tensor._data for name, tensor in self._named_state()}

    def _named_state(self) -> Iterator[tuple[str, Tensor]]:
        for prefix, module in self.named_modules():
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None:
                    yield (f"{prefix}.{name}" if prefix else name), tensor

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Copy arrays or tensors, from any device, into the parameters and buffers of the same names.

        Nothing is copied unless everything fits. ``strict=False`` allows names to be missing or
        unexpected, but never another shape.

        Raises:
            ValueError: lists every missing, unexpected and mis-shaped entry.
            TypeError: an entry is no array of numbers.
        """
        own = dict(self._named_state())
        arrays = {name: _state_array(name, value) for name, value in state.items()}
        faults = []
        if strict:
            faults += [f"missing: {name} {own[name].shape}" for name in own if name not in arrays]
            faults += [f"unexpected: {name} {arrays[name].shape}" for name in arrays if name not in own]
        faults += [
            f"shape: {name} is {array.shape}, expected {own[name].shape}"
            for name, array in arrays.items()
            if name in own and array.shape != own[name].shape
        ]
        if faults:
            raise ValueError(f"load_state_dict: {type(self).__name__} does not fit; " + "; ".join(faults))
        for name, array in arrays.items():
            if name in own:
                own[name]._data[...] = backend.move(array, own[name].device)
                own[name].mark_changed()

    # Modes and kinds

    def train(self, mode: bool = True) -> Self:
        """Training mode, here and inside: dropout drops, batch norm uses the batch's statistics.

        Beyond PyTorch, frozen modules stay in inference mode; see :func:`minicnn.models.freeze`.
        """
        for module in self.modules():
            module.training = mode and not module.frozen
        return self

    def eval(self) -> Self:
        """Inference mode, here and inside."""
        return self.train(False)

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Train all parameters, or freeze them."""
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def zero_grad(self) -> None:
        """Forget all gradients."""
        for parameter in self.parameters():
            parameter.grad = None

    def to(self, target: Any) -> Self:
        """Move to a device, or to a floating dtype, which whole-number buffers do not take; in place.

        Gradients move too, and an optimiser's state follows at its next step.
        """
        to_device = is_device(target)
        if not to_device and np.dtype(target).kind != "f":
            raise TypeError(f"to: expected a device or a floating dtype, got {np.dtype(target)}")
        for _, tensor in self._named_state():
            if tensor.dtype.kind == "f" or to_device:
                data = Tensor(tensor._data).to(target)._data
                if data is not tensor._data:
                    tensor.data = data
                if tensor.grad is not None:
                    tensor.grad = Tensor(tensor.grad).to(target)._data
        return self

    def cpu(self) -> Self:
        """Everything on the CPU, in place."""
        return self.to("cpu")

    def cuda(self) -> Self:
        """Everything on the GPU, in place."""
        return self.to("cuda")

    def double(self) -> Self:
        """All floating-point parameters and buffers in float64."""
        return self.to(np.float64)

    def float(self) -> Self:
        """All floating-point parameters and buffers in float32."""
        return self.to(np.float32)

    def apply(self, function: Callable[[Module], Any]) -> Self:
        """Call a function on every module, inner before outer; for initialisation."""
        for child in self.children():
            child.apply(function)
        function(self)
        return self

    def register_forward_hook(self, hook: Callable[[Module, tuple, Any], Any]) -> HookHandle:
        """Call ``hook(module, inputs, output)`` after each forward.

        What the hook returns, unless None, takes the output's place.

        >>> import minicnn as mc
        >>> from minicnn import nn
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU())
        >>> seen = {}
        >>> handle = net[1].register_forward_hook(lambda module, inputs, output: seen.update(linear=output))
        >>> _ = net(mc.ones(2, 1, 2, 2))
        >>> handle.remove()
        >>> seen["linear"].shape
        (2, 3)
        """
        key = next(Module._hook_numbers)
        self._hooks[key] = hook
        return HookHandle(self._hooks, key)

    def extra_repr(self) -> str:
        """What a layer says of itself between the brackets of its repr."""
        return ""

    def __repr__(self) -> str:
        lines = [f"({name}): {child!r}".replace("\n", "\n  ") for name, child in self.named_children()]
        extra = self.extra_repr()
        if not lines:
            return f"{type(self).__name__}({extra})"
        return f"{type(self).__name__}({extra}\n  " + "\n  ".join(lines) + "\n)"


def matches(path: str, pattern: str) -> bool:
    """Whether a pattern names this module or parameter, or a module that it is in.

    ``*``, ``?`` and ``[…]`` stand for any characters, dots among them.

    >>> matches("features.0.weight", "features"), matches("features.0.weight", "features.[2-9]")
    (True, False)
    """
    names = path.split(".")
    prefixes = (".".join(names[: i + 1]) for i in range(len(names)))
    return any(fnmatchcase(prefix, pattern) for prefix in prefixes)


def _state_array(name: str, value: Any) -> Array:
    array = value._data if isinstance(value, Tensor) else value
    array = array if backend.is_array(array) else np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"load_state_dict: {name} is {array.dtype}, expected numbers")
    return array


@contextmanager
def inference(model: Module) -> Iterator[None]:
    """Inference mode for a block; afterwards each module, frozen ones too, is in the mode it was in.

    >>> from minicnn import nn
    >>> net = nn.Sequential(nn.Dropout(0.5))
    >>> with inference(net):
    ...     net[0].training
    False
    >>> net[0].training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
