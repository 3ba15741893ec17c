"""Every network under one name: ``@register`` enters it, ``create`` builds it, ``names`` lists them.

A network's entry is a function that returns a module. Its keyword arguments are the options ``create``
accepts, and the first line of its docstring is the description shown in lists. ``minicnn.models`` exports
``names`` as ``list``.
"""

import contextlib
import difflib
import inspect
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minicnn import nn
from minicnn.models import pretrained
from minicnn.weights import load


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a network without building it.

    ``input_shape`` is that of one image, (C, H, W), with the default options; ``options`` maps the
    name of each option of :func:`create` to its default.

    ``year`` is that of the paper which describes the network. ``parameters``, ``buffers`` (running means and
    variances) and ``macs``, the multiply-accumulates for one image, are the numbers that
    :func:`minicnn.summary.summarize` counts. What the registration did not say is None (of buffers, 0).
    """

    name: str
    input_shape: tuple[int, int, int]
    description: str
    options: dict[str, Any]
    year: int | None = None
    parameters: int | None = None
    buffers: int = 0
    macs: int | None = None


Builder = Callable[..., nn.Module]

_entries: dict[str, tuple[Builder, ModelInfo]] = {}


def register(
    *,
    input_shape: tuple[int, int, int],
    name: str | None = None,
    year: int | None = None,
    parameters: int | None = None,
    buffers: int = 0,
    macs: int | None = None,
) -> Callable[[Builder], Builder]:
    """Enter the decorated function in the registry, under its own name unless another is given.

    Every argument of the function must be named and have a default, so that ``create(name)`` alone always
    builds the network that the literature means by that name. The others describe it: see
    :class:`ModelInfo`. They are stated rather than counted, so that listing the networks builds none.

    Raises ValueError when the name is taken, and TypeError when an argument has no default or the function
    has no docstring to describe it.

    >>> @register(input_shape=(1, 28, 28), parameters=7850, macs=7840)
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
        about = ModelInfo(key, input_shape, doc.splitlines()[0], options, year, parameters, buffers, macs)
        _entries[key] = (build, about)
        return build

    return enter


def create(
    name: str,
    *,
    weights: str | os.PathLike[str] | None = None,
    replace_head: bool = False,
    offline: bool = False,
    progress: bool = True,
    **options: Any,
) -> nn.Module:
    """Build a registered network, in training mode: freshly initialised, or with weights from a file.

    ``weights`` is the name of published weights, which are downloaded once ("DEFAULT" for the best of them;
    :func:`minicnn.models.get_model_weights` lists them), or the path of a file that
    :func:`minicnn.weights.load` reads. Nothing is drawn then. The network has those options that the
    file was made for (``transform_input`` for googlenet's), unless they are given. ``offline`` and
    ``progress`` concern the download: see :func:`minicnn.models.pretrained.download`.

    A file has a last layer for its own classes. For another ``num_classes``, ``replace_head=True`` takes
    everything but the last layer from the file and draws that one anew.

    Raises ValueError for a name that is not registered, with the nearest one that is, for weights that there
    are not, and for ``num_classes`` that are not the file's (without ``replace_head``); TypeError for an
    option that the network does not have, with those it has; :class:`minicnn.weights.WeightsError`, a
    ValueError, for a file that does not fit; :class:`minicnn.download.DownloadError`, an OSError.

    >>> create("lenet5", num_classes=26).output.weight.shape
    (26, 84)
    >>> create("lenet")
    Traceback (most recent call last):
    ValueError: create: there is no network named 'lenet'; did you mean 'lenet5'?
    >>> create("resnet50", weights="IMAGENET1K_V1", num_classes=10)
    Traceback (most recent call last):
    ValueError: create: resnet50's weights IMAGENET1K_V1 are for 1000 classes, but num_classes is 10; with
    replace_head=True the last layer is drawn anew
    """
    build, about = _find("create", name)
    unknown = [option for option in options if option not in about.options]
    if unknown:
        accepted = ", ".join(f"{key}={value!r}" for key, value in about.options.items()) or "no options"
        raise TypeError(f"create: {name} has no option {unknown[0]!r}; it accepts {accepted}")
    if weights is None:
        if replace_head:
            raise ValueError("create: replace_head=True, but there are no weights whose head to replace")
        return build(**options)

    found = pretrained.find(name, weights)
    if found.published:
        classes = options.get("num_classes", about.options["num_classes"])
        if classes != found.published.classes and not replace_head:
            raise ValueError(
                f"create: {name}'s weights {found.published.name} are for {found.published.classes} classes, "
                f"but num_classes is {classes}; with replace_head=True the last layer is drawn anew"
            )
    options = {**found.options, **options}
    path = found.path or pretrained.download(found.published, offline=offline, progress=progress)
    with contextlib.nullcontext() if replace_head else nn.init.skip():
        model = build(**options)
    load(model, path, replace_head=replace_head)
    return model


def info(name: str) -> ModelInfo:
    """Look up what is known of a network; raises ValueError as :func:`create` does.

    >>> info("lenet5").options
    {'num_classes': 10, 'in_channels': 1}
    >>> info("lenet5").parameters, info("lenet5").macs
    (61706, 416520)
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
