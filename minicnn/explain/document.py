"""What a page holds: grids of numbers, what each number is made of, and scenes that step through them.

Python computes and describes; whatever shows a document (:mod:`.page` for a browser, :mod:`.text` for a
terminal) only looks up. A cell of a grid is known by its number in reading order.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import files
from minicnn.autograd import Array
from minicnn.kernels.geometry import Pair

if TYPE_CHECKING:
    from rich.console import Console

Term = tuple
"""(value, factor, …): one part of a number. A factor is (key of a grid, cell) or a text such as "1/4"."""

Made = Mapping[int, Sequence[Term]]
"""For cells of one grid, the parts that they are made of."""


@dataclass(eq=False)
class Grid:
    """An array as it is shown, and where its numbers come from.

    Attributes:
        key: by which scenes and terms name it.
        name: what its cells are called: "gx" makes gx[0, 0, 2, 1].
        values: (…, rows, columns), each leading index a panel of its own; with ``frames`` there is one axis
            more in front, and each step of a scene shows its own.
        caption: a line above it.
        frames: whether the numbers change from step to step.
        border: ((top, bottom), (left, right)): padding that the values include, and names do not count.
        outside: what stands in the border; the values there if empty.
        labels: the cells' names where ``name`` and an index are not it.
        made: what the cells are made of; with ``frames`` one for each step.
        how: how the parts become the number: "sum", "max", or "" where only ``texts`` say it.
        texts: how single cells came about, in words.
        differences: the same derivatives by finite differences, where the grid holds derivatives.
    """

    key: str
    name: str
    values: Array
    caption: str = ""
    frames: bool = False
    border: tuple[Pair, Pair] = ((0, 0), (0, 0))
    outside: str = ""
    labels: Sequence[str] | None = None
    made: Made | Sequence[Made] = field(default_factory=dict)
    how: str = "sum"
    texts: Mapping[int, str] = field(default_factory=dict)
    differences: Array | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one frame."""
        return self.values.shape[1:] if self.frames else self.values.shape

    @property
    def panels(self) -> tuple[int, int, int]:
        """How many tables there are, and the rows and columns of each."""
        *leading, rows, columns = (1, 1, *self.shape)[-max(2, len(self.shape)) :]
        return prod(leading), rows, columns

    def frame(self, step: int) -> Array:
        """The numbers at one step, flat."""
        return (self.values[step] if self.frames else self.values).reshape(-1)

    def differences_at(self, step: int) -> Array:
        """The finite differences at one step, flat."""
        assert self.differences is not None
        return (self.differences[step] if self.frames else self.differences).reshape(-1)

    def made_of(self, cell: int, step: int) -> Sequence[Term]:
        """What a cell is made of."""
        made: Any = self.made[step] if self.frames and self.made else self.made
        return made.get(cell, ()) if made else ()

    def label(self, cell: int) -> str:
        """What a cell is called.

        >>> Grid("x", "x", np.zeros((1, 4, 4)), border=((1, 1), (1, 1))).label(5)
        'x[0, 0, 0]'
        """
        if self.labels is not None:
            return self.labels[cell]
        if not self.shape:
            return self.name
        index = [int(i) for i in np.unravel_index(cell, self.shape)]
        if self.in_border(cell):
            return "padding"
        if len(index) > 1:
            index[-2] -= self.border[0][0]
            index[-1] -= self.border[1][0]
        return f"{self.name}[{', '.join(map(str, index))}]"

    def in_border(self, cell: int) -> bool:
        """Whether a cell is padding."""
        _, rows, columns = self.panels
        row, column = divmod(cell % (rows * columns), columns)
        (top, bottom), (left, right) = self.border
        return not (top <= row < rows - bottom and left <= column < columns - right)


@dataclass(eq=False)
class Step:
    """One moment of a scene.

    Attributes:
        cells: the cells of the scene's subject that it is about; whoever chooses one of them comes here.
        note: what happens.
        lit: cells that are marked, by grid; what the first of ``cells`` is made of if None.
        chosen: cells that are marked more strongly, by grid: a maximum's winner, say.
    """

    cells: Sequence[int]
    note: str
    lit: Mapping[str, Sequence[int]] | None = None
    chosen: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(eq=False)
class Scene:
    """Grids side by side, and the steps in which one of them, the subject, comes about.

    ``layout`` has the keys of the grids, and between them signs such as "=".
    """

    key: str
    title: str
    text: Sequence[str]
    layout: Sequence[str]
    subject: str
    steps: Sequence[Step]
    equation: str = ""


class Shown(ABC):
    """What has a page of its own: it can be saved, and shows itself in a notebook."""

    @abstractmethod
    def page(self) -> str:
        """One HTML document that needs nothing else: no network, no other file."""

    def save(self, path: Any) -> Path:
        """Write the page to a file, whole or not at all, and return where it is."""
        path = Path(path)
        files.write(path, self.page().encode("utf-8"))
        return path

    def _repr_html_(self) -> str:
        from minicnn.explain import page

        return page.inline(self.page())


@dataclass(eq=False, repr=False)
class Explanation(Shown):
    """Everything about one operation, with real numbers; in a notebook it shows itself.

    >>> import minicnn as mc
    >>> shown = mc.explain("relu", input="1x2x2")
    >>> print(shown.text()[:4])
    relu
    >>> len(shown.page()) < 2_000_000
    True
    """

    title: str
    words: str
    equations: Sequence[str]
    facts: Sequence[tuple[str, str]]
    grids: dict[str, Grid]
    scenes: Sequence[Scene]
    command: str = ""
    kernels: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"<Explanation of {self.title}: .save(path) writes its page, .text() is for a terminal>"

    def page(self) -> str:
        """One HTML document that needs nothing else: no network, no other file.

        Raises:
            ValueError: it would be larger than 2 MB.
        """
        from minicnn.explain import page

        return page.page(self)

    def text(self, width: int = 100) -> str:
        """The same for a terminal, without colours."""
        from minicnn.explain import text

        return text.plain(self, width)

    def write(self, console: Console) -> None:
        """The text to a console, with its colours and width."""
        from minicnn.explain import text

        text.write(self, console)


def lit(explanation: Explanation, scene: Scene, number: int) -> dict[str, list[int]]:
    """The cells that a step marks, by grid."""
    step = scene.steps[number]
    if step.lit is not None:
        return {key: list(cells) for key, cells in step.lit.items()}
    found: dict[str, list[int]] = {}
    subject = explanation.grids[scene.subject]
    for _, *factors in subject.made_of(step.cells[0], number):
        for factor in factors:
            if not isinstance(factor, str):
                found.setdefault(factor[0], []).append(factor[1])
    return found
