"""A network's explanation as one HTML file: ``common.js`` and ``network.js`` beside this file draw it.

Maps are signed bytes: each number as a part of its map's largest, times 127. All other numbers are written
out, with six digits.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable
from typing import Any

import numpy as np

from minicnn import nn
from minicnn.autograd import Array
from minicnn.explain.drawing import around_grey
from minicnn.explain.network import SIDE, Layer, NetworkExplanation, Statistics, shrink
from minicnn.explain.page import assemble
from minicnn.explain.training_step import TrainingStep
from minicnn.explain.units import Worked
from minicnn.explain.views import View

LARGEST = 5_000_000
"""The most bytes that the page of a network may have."""

NEVER = math.inf
"""The place in the order of what did not run."""

VIEW = 128
"""The most rows or columns of a picture of what the answer rests on."""

SLICES = 4
"""The most input channels with which a filter is shown."""


def page(explanation: NetworkExplanation) -> str:
    """The whole page; ValueError for a network with too many layers."""
    advice = "the network has too many layers for one; --text gives a table"
    styles = ["page.css", "network.css"]
    return assemble(explanation.name, data(explanation), styles, "network.js", LARGEST, advice)


def data(e: NetworkExplanation) -> dict[str, Any]:
    """Everything that the page shows."""
    calls: dict[str, list[dict[str, Any]]] = {}
    for layer in e.layers:
        calls.setdefault(layer.path, []).append(_layer(layer, e.model.get_submodule(layer.path)))
    order = {path: k for k, path in enumerate(dict.fromkeys(layer.path for layer in e.layers))}
    return {
        "title": e.name,
        "weights": e.weights,
        "command": e.command,
        "label": e.class_names[e.label],
        "guessed": e.guessed,
        "parameters": e.summary.parameters,
        "macs": e.summary.macs,
        "layers": sum(row.output_shape is not None for row in e.summary.rows),
        "limits": {"maps": max((layer.maps for layer in e.layers), default=0), "side": SIDE},
        "input": list(e.x.shape[1:]),
        "picture": _picture(e.picture),
        "tree": _tree("", e.model, calls, order),
        "step": _step(e, e.step),
        "views": [_view(view) for view in e.views],
    }


def pixels(maps: Array) -> list[str]:
    """Maps (C, H, W) as signed bytes in base64, each scaled by its largest absolute value.

    What is not finite is drawn as 0.

    >>> pixels(np.array([[[0.0, 2.0, -1.0]]])), base64.b64decode("AH/A")
    (['AH/A'], b'\\x00\\x7f\\xc0')
    """
    found = []
    for one in np.where(np.isfinite(maps), maps, 0).astype(np.float64):
        scale = np.abs(one).max(initial=0) or 1
        found.append(_base64(np.rint(one * (127 / scale)).astype(np.int8)))
    return found


def _tree(path: str, module: nn.Module, calls: dict[str, Any], order: dict[str, int]) -> dict[str, Any]:
    """A module with those inside it, in the order in which they ran; those that did not run come last."""
    inside = [(f"{path}.{name}" if path else name, child) for name, child in module.named_children()]
    children = [_tree(below, child, calls, order) for below, child in inside]
    own = calls.get(path, [])
    first = min([_first(child) for child in children] + [order.get(path, NEVER)])
    return {
        "path": path,
        "kind": type(module).__name__,
        "about": module.extra_repr()[:200],
        "parameters": sum(p.data.size for p in module.parameters()),
        "macs": sum(call["macs"] for call in own) + sum(child["macs"] for child in children),
        "calls": own,
        "first": None if first == NEVER else first,
        "children": sorted(children, key=_first),
    }


def _first(node: dict[str, Any]) -> float:
    return NEVER if node["first"] is None else node["first"]


def _layer(layer: Layer, module: nn.Module) -> dict[str, Any]:
    found: dict[str, Any] = {
        "macs": layer.macs,
        "x": None if layer.x_shape is None else list(layer.x_shape),
        "y": list(layer.y.shape),
        "activations": _statistics(layer.y),
        "gradients": None if layer.gy is None else _statistics(layer.gy),
        "units": [_unit(unit) for unit in layer.units],
    }
    if layer.y.ndim == 3 and layer.maps:
        maps = shrink(layer.y[: layer.maps])
        found |= {"size": list(maps.shape[1:]), "maps": pixels(maps)}
        if layer.gy is not None:
            found["gmaps"] = pixels(shrink(layer.gy[: layer.maps]))
    if isinstance(module, nn.Conv2d) and layer.maps and max(module.kernel_size) > 1:
        w = module.weight.data[: layer.maps, :SLICES]
        found["filters"] = {
            "size": list(w.shape[2:]),
            "of": [*module.weight.shape[:2], w.shape[1]],
            "pixels": [_slices(one) for one in w],
        }
    return found


def _slices(w: Array) -> list[str]:
    """A filter (C, KH, KW), its channels on one scale."""
    scale = np.abs(w).max(initial=0) or 1
    return [_base64(np.rint(one * (127 / scale)).astype(np.int8)) for one in w.astype(np.float64)]


def _unit(unit: Worked) -> dict[str, Any]:
    found: dict[str, Any] = {"at": list(unit.unit), "y": _n(unit.y), "gy": _n(unit.gy), "box": list(unit.box)}
    if unit.count:
        small = 1e-6 * max(abs(unit.y), float(np.abs(unit.products).max(initial=0)))
        found |= {
            "count": unit.count,
            "places": unit.places.tolist(),
            "x": _ns(unit.x),
            "d": _ns(unit.derivatives),
            "xd": _ns(unit.products),
            "sent": _ns(unit.sent),
            "gw": None if unit.to_weights is None else _ns(unit.to_weights),
            "others": _n(unit.others),
            "constant": _n(unit.constant) if abs(unit.constant) > small else 0,
        }
    return found


def _view(view: View) -> dict[str, Any]:
    """A map as those of layers are; gradients of three channels as the bytes of colours around grey."""
    values = np.where(np.isfinite(view.values), view.values, 0).astype(np.float64)
    about = {"title": view.title, "words": view.words}
    if values.ndim == 2:
        (values,) = shrink(values[None], VIEW)
        return about | {"size": list(values.shape), "map": pixels(values[None])[0]}
    seen = np.rint(around_grey(shrink(values, VIEW)) * 255).astype(np.uint8)
    seen = seen.transpose(1, 2, 0) if len(seen) == 3 else seen[0]
    return about | {"picture": _picture(seen)}


def _statistics(array: Array) -> list[Any]:
    s = Statistics.of(array)
    return _ns([s.mean, s.std, s.zeros, s.least, s.largest])


def _step(e: NetworkExplanation, step: TrainingStep) -> dict[str, Any]:
    before, after = step.probabilities_before, step.probabilities_after
    return {
        "lr": step.lr,
        "before": _n(step.loss_before),
        "after": _n(step.loss_after),
        "expected": _n(step.expected),
        "likeliest": [
            [[e.class_names[int(k)], _n(before[k]), _n(after[k]), int(k) == e.label] for k in _five(p)]
            for p in (before, after)
        ],
        "right": [_n(before[e.label]), _n(after[e.label])],
        "updates": [[u.name, u.size, *_ns([u.norm, u.gradient_norm, u.update_norm])] for u in step.updates],
        "largest": [[c.name, list(c.index), *_ns([c.before, c.gradient, c.after])] for c in step.largest],
    }


def _five(p: Array) -> Array:
    return np.argsort(-p, kind="stable")[:5]


def _picture(picture: Array) -> dict[str, Any]:
    grey = picture.ndim == 2
    return {"size": list(picture.shape[:2]), "grey": grey, "pixels": _base64(picture)}


def _base64(array: Array) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def _ns(values: Iterable[float]) -> list[Any]:
    return [_n(value) for value in values]


def _n(value: float) -> float | int | None:
    """Six digits; None for what is not finite."""
    value = float(value)
    if not math.isfinite(value):
        return None
    value = float(f"{value:.6g}")
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
