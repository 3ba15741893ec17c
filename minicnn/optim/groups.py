"""Parameter groups by name: a rate of their own for some layers, and no weight decay where it does harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minicnn import nn
from minicnn.nn.module import Parameter, matches


def param_groups(
    model: nn.Module, options: Mapping[str, Mapping[str, Any]] | None = None, *, decay_all: bool = True
) -> list[dict[str, Any]]:
    """A model's trainable parameters as groups for an optimiser.

    ``options`` maps patterns to options of their own, such as ``{"features": {"lr": 1e-4}}``. A pattern is
    the name of a parameter or of a module with all that is inside it; ``*``, ``?`` and ``[…]`` stand for
    any characters (:func:`minicnn.nn.module.matches`). A parameter takes the options of the first pattern
    that it matches, and the optimiser's defaults if there is none.

    Without ``decay_all``, parameters of one axis, which are biases and batch norm's scales and shifts, are
    in groups of their own with ``weight_decay`` 0. They are few and overfit little, and a decaying scale
    changes nothing in a layer that is normalised after it but the effective learning rate. Source: T. He et
    al., "Bag of tricks for image classification with convolutional neural networks", CVPR 2019, section 3.1.

    Frozen parameters are left out. No group is empty; each has a ``name``.

    Raises ValueError for a pattern that fits no trainable parameter, and for a model without any.

    >>> from minicnn import models, optim
    >>> model = models.create("lenet5")
    >>> groups = optim.param_groups(model, {"output": {"lr": 0.5}}, decay_all=False)
    >>> optimizer = optim.SGD(groups, lr=0.1, weight_decay=1e-4)
    >>> for group in optimizer.param_groups:
    ...     print(group["name"], len(group["params"]), group["lr"], group["weight_decay"])
    others 4 0.1 0.0001
    others, without decay 4 0.1 0.0
    output 1 0.5 0.0001
    output, without decay 1 0.5 0.0
    """
    options = dict(options or {})
    trainable = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trainable:
        raise ValueError("param_groups: every parameter of the model is frozen, so there is nothing to train")
    found: dict[str | None, list[Parameter]] = {key: [] for key in (None, *options)}
    for name, parameter in trainable.items():
        found[next((pattern for pattern in options if matches(name, pattern)), None)].append(parameter)
    groups = []
    for pattern, parameters in found.items():
        if pattern is not None and not parameters:
            raise ValueError(f"param_groups: {pattern!r} fits no trainable parameter that is not taken yet")
        own, title = dict(options[pattern]) if pattern is not None else {}, pattern or "others"
        decaying = [p for p in parameters if decay_all or p.ndim > 1]
        others = [p for p in parameters if not (decay_all or p.ndim > 1)]
        if decaying:
            groups.append({"params": decaying, **own, "name": title})
        if others:
            groups.append({"params": others, **own, "weight_decay": 0.0, "name": f"{title}, without decay"})
    return groups
