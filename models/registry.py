"""Every network under one name: ``@register`` enters it, ``create`` builds it, ``names`` lists them.

A network's entry is a function that returns a module. Its keyword arguments are the options ``create``
accepts, and the first line of its docstring is the description shown in lists. ``minicnn.models`` exports
``names`` as ``list``.
"""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minicnn import nn


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a network without drawing its weights.

    ``input_shape`` is that of one image, (C, H, W), with the default options; ``options`` maps the
    name of each option of :func:`create` to its default.
    """

    name: str
    input_shape: tuple[int, int, int]
    description: str
    options: dict[str, Any]

    @property
    def parameters(self) -> int:
        """The number of parameters with the default options; takes milliseconds, as no weights are drawn.

        >>> info("lenet5").parameters
        61706
        """
        with nn.init.skip():
            return sum(p.data.size for p in create(self.name).parameters())


Builder = Callable[..., nn.Module]

_entries: dict[str, tuple[Builder, ModelInfo]] = {}


def register(*, input_shape: tuple[int, int, int], name: str | None = None) -> Callable[[Builder], Builder]:
    """Enter the decorated function in the registry, under its own name unless another is given.

    Every argument of the function must be named and have a default, so that ``create(name)`` alone always
    builds the network that the literature means by that name.

    Raises ValueError when the name is taken, and TypeError when an argument has no default or the function
    has no docstring to describe it.

    >>> @register(input_shape=(1, 28, 28))
    ... def one_layer(num_classes: int = 10) -> nn.Module:
    ...     \"\"\"Softmax regression: a single dense layer.\"\"\"
    ...     return nn.Sequential(nn.Flatten(), nn.Linear(784, num_classes))
    >>> info("one_layer").description
    'Softmax regression: a single dense layer.'
    >>> forget("one_layer")
    """

    def enter(build: Builder) -> Builder:
        key = name or build.__name__
        if key in _entries:
            raise ValueError(f"register: there is already a network named {key!r}")
        doc = inspect.getdoc(build)
        if not doc:
            raise TypeError(f"register: {key} needs a docstring, whose first line describes it in lists")
        options = {}
        for option in inspect.signature(build).parameters.values():
            if option.default is option.empty or option.kind is option.POSITIONAL_ONLY:
                raise TypeError(f"register: {key}'s option {option.name!r} must be named and have a default")
            options[option.name] = option.default
        _entries[key] = (build, ModelInfo(key, input_shape, doc.splitlines()[0], options))
        return build

    return enter


def create(name: str, **options: Any) -> nn.Module:
    """Build a registered network, freshly initialised and in training mode.

    Raises ValueError for a name that is not registered, with the nearest one that is, and TypeError for an
    option that the network does not have, with those it has.

    >>> create("lenet5", num_classes=26).output.weight.shape
    (26, 84)
    >>> create("lenet")
    Traceback (most recent call last):
    ValueError: create: there is no network named 'lenet'; did you mean 'lenet5'?
    """
    build, about = _find("create", name)
    unknown = [option for option in options if option not in about.options]
    if unknown:
        accepted = ", ".join(f"{key}={value!r}" for key, value in about.options.items()) or "no options"
        raise TypeError(f"create: {name} has no option {unknown[0]!r}; it accepts {accepted}")
    return build(**options)


def info(name: str) -> ModelInfo:
    """Look up a network's input shape, description and options; raises ValueError as :func:`create` does.

    >>> info("lenet5").options
    {'num_classes': 10, 'in_channels': 1}
    """
    return _find("info", name)[1]


def names() -> list[str]:
    """List the names of all registered networks in alphabetical order.

    >>> "lenet5" in names()
    True
    """
    return sorted(_entries)


def forget(name: str) -> None:
    """Take a network out of the registry, so that an interactive session can define it again.

    Raises ValueError for a name that is not registered.
    """
    _find("forget", name)
    del _entries[name]


def _find(caller: str, name: str) -> tuple[Builder, ModelInfo]:
    if not isinstance(name, str):
        raise TypeError(f"{caller}: name must be a string, but is {type(name).__name__}")
    if name not in _entries:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), _entries, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(names())}"
        raise ValueError(f"{caller}: there is no network named {name!r}; {hint}")
    return _entries[name]
