"""A document as one HTML file: its data as JSON, and a small programme that draws it and steps through it.

``page.html``, ``page.css``, ``common.js`` and ``page.js`` beside this file are put together with the data.
Nothing is computed on the page: the programme looks numbers up and marks cells. A content security policy
forbids it every connection.
"""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np

from minicnn.autograd import Array
from minicnn.explain.document import Explanation, Grid, Scene, Term

LARGEST = 2_000_000
"""The most bytes that a page may have."""


def page(explanation: Explanation) -> str:
    """The whole page."""
    advice = "choose a smaller input or kernel"
    return assemble(explanation.title, data(explanation), ["page.css"], "page.js", LARGEST, advice)


def assemble(
    title: str, content: dict[str, Any], styles: Sequence[str], script: str, largest: int, advice: str
) -> str:
    """A page about any content that a script beside this file can draw.

    Raises:
        ValueError: it would have more than ``largest`` bytes; the line ends with the advice.
    """
    place = files("minicnn.explain")
    parts = {
        "TITLE": html.escape(title),
        "STYLE": "".join(place.joinpath(name).read_text("utf-8") for name in styles),
        "SCRIPT": "".join(place.joinpath(name).read_text("utf-8") for name in ("common.js", script)),
        "DATA": as_json(content),
    }
    before, *rest = place.joinpath("page.html").read_text("utf-8").split("{{")
    text = before + "".join(parts[name] + after for name, _, after in (one.partition("}}") for one in rest))
    encoded = text.encode("utf-8", errors="replace")  # a file's name may be no text
    size = len(encoded)
    if size > largest:
        raise ValueError(
            f"explain {title}: the page would have {size / 1e6:.1f} MB, and may have {largest / 1e6:.0f}: "
            f"{advice}"
        )
    return encoded.decode("utf-8")


def inline(text: str) -> str:
    """A page in a frame of its own, for a notebook; it can reach nothing of the notebook."""
    source = html.escape(text, quote=True)
    style = "width: 100%; height: 46rem; border: 1px solid #8886; border-radius: 6px"
    return f'<iframe sandbox="allow-scripts" style="{style}" srcdoc="{source}"></iframe>'


def as_json(content: Any) -> str:
    """JSON that may stand in a script element: nothing in it ends that element, or is anything but data.

    >>> as_json({"name": "</script><b>"})
    '{"name":"\\\\u003c/script\\\\u003e\\\\u003cb\\\\u003e"}'
    """
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def data(explanation: Explanation) -> dict[str, Any]:
    """Everything that the page shows, with grids by their number."""
    number_of = {key: number for number, key in enumerate(explanation.grids)}
    return {
        "title": explanation.title,
        "words": explanation.words,
        "equations": list(explanation.equations),
        "facts": [list(fact) for fact in explanation.facts],
        "command": explanation.command,
        "kernels": list(explanation.kernels),
        "grids": [_grid(grid, number_of) for grid in explanation.grids.values()],
        "scenes": [_scene(scene, number_of) for scene in explanation.scenes],
    }


def _grid(grid: Grid, number_of: dict[str, int]) -> dict[str, Any]:
    frames = range(len(grid.values)) if grid.frames else range(1)
    made = [
        {cell: [_term(term, number_of) for term in terms] for cell, terms in one.items()}
        for one in (grid.made if isinstance(grid.made, Sequence) else [grid.made])
    ]
    finite = grid.values[np.isfinite(grid.values)]
    found: dict[str, Any] = {
        "name": grid.name,
        "caption": grid.caption,
        "shape": list(grid.shape),
        "panels": list(grid.panels),
        "frames": grid.frames,
        "largest": _number(np.abs(finite).max(initial=0)),
        "values": [_numbers(grid.frame(step)) for step in frames],
        "made": made,
        "how": grid.how,
    }
    if np.any(grid.border):
        found |= {"border": [list(side) for side in grid.border], "outside": grid.outside}
    if grid.labels is not None:
        found["labels"] = list(grid.labels)
    if grid.texts:
        found["texts"] = dict(grid.texts)
    if grid.differences is not None:
        # Six digits after the point, as the page shows them: rounding puts an error of 10⁻¹⁰ on each.
        found["differences"] = [_numbers(grid.differences_at(step).round(6)) for step in frames]
        found["apart"] = float(f"{np.abs(grid.values - grid.differences).max(initial=0):.1e}")
    return found


def _scene(scene: Scene, number_of: dict[str, int]) -> dict[str, Any]:
    steps = []
    for step in scene.steps:
        one: dict[str, Any] = {"cells": [int(cell) for cell in step.cells], "note": step.note}
        for name, marks in (("lit", step.lit), ("chosen", step.chosen)):
            if marks is not None and (marks or name == "lit"):
                one[name] = {number_of[key]: [int(cell) for cell in cells] for key, cells in marks.items()}
        steps.append(one)
    return {
        "key": scene.key,
        "title": scene.title,
        "text": list(scene.text),
        "equation": scene.equation,
        "layout": [number_of.get(item, item) for item in scene.layout],
        "subject": number_of[scene.subject],
        "steps": steps,
    }


def _term(term: Term, number_of: dict[str, int]) -> list[Any]:
    value, *factors = term
    return [_number(value), *(f if isinstance(f, str) else [number_of[f[0]], int(f[1])] for f in factors)]


def _numbers(array: Array) -> list[Any]:
    return [_number(value) for value in array.tolist()]


def _number(value: float) -> float | int | None:
    """Nine digits, which is more than the page shows; None for what is not finite."""
    if not np.isfinite(value):
        return None
    value = float(f"{value:.9g}")
    return int(value) if value.is_integer() and abs(value) < 1e15 else value
