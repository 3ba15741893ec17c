"""A document for a terminal: each scene once, with one of its steps worked out."""

from __future__ import annotations

import io

from rich.console import Console
from rich.text import Text

from minicnn.explain.document import Explanation, Grid, Scene, lit
from minicnn.explain.words import number

TERMS = 12
"""The most parts of a sum that are written out."""


def plain(explanation: Explanation, width: int) -> str:
    """The text, without colours."""
    stream = io.StringIO()
    write(explanation, Console(file=stream, width=width, color_system=None))
    return stream.getvalue()


def write(explanation: Explanation, console: Console) -> None:
    """Write everything to a console; marked cells stand in brackets, coloured where there is colour."""
    console.print(Text(explanation.title, "bold"))
    console.print(Text(explanation.words))
    for equation in explanation.equations:
        console.print(Text(f"  {equation}", "cyan"))
    for name, value in explanation.facts:
        console.print(Text(f"  {name:<8} {value}"))
    for scene in explanation.scenes:
        _write_scene(explanation, scene, console)
    if explanation.kernels:
        console.print(Text(f"\ncomputed by {', '.join(explanation.kernels)}", "dim"))


def _write_scene(explanation: Explanation, scene: Scene, console: Console) -> None:
    step = example(explanation, scene)
    marked = lit(explanation, scene, step)
    console.print()
    console.print(Text(scene.title, "bold underline"))
    if scene.equation:
        console.print(Text(f"  {scene.equation}", "cyan"))
    for paragraph in scene.text:
        console.print(Text(paragraph))
    now = scene.steps[step]
    console.print(Text(f"\nStep {step + 1} of {len(scene.steps)}: {now.note}", "italic"))
    for key in scene.layout:
        if key not in explanation.grids:
            continue
        grid = explanation.grids[key]
        cells = {*marked.get(key, ()), *now.chosen.get(key, ())}
        cells |= set(now.cells) if key == scene.subject else set()
        for line in lines(grid, step, cells, console.width):
            console.print(line, overflow="crop", no_wrap=True)
    for key, cell in _worked_out(explanation, scene, step):
        for line in formula(explanation, explanation.grids[key], cell, step):
            console.print(Text(line))


def _worked_out(explanation: Explanation, scene: Scene, step: int) -> list[tuple[str, int]]:
    """The cells whose formulas are shown: the step's own; if it is made of nothing, those that it reaches."""
    cell = scene.steps[step].cells[0]
    if explanation.grids[scene.subject].made_of(cell, step):
        return [(scene.subject, cell)]
    reached = lit(explanation, scene, step).items()
    return [(key, cells[0]) for key, cells in reached if explanation.grids[key].made_of(cells[0], step)]


def example(explanation: Explanation, scene: Scene) -> int:
    """The step that is shown: the first of those that mark the most cells."""
    sizes = [sum(map(len, lit(explanation, scene, step).values())) for step in range(len(scene.steps))]
    return sizes.index(max(sizes))


def lines(grid: Grid, step: int, marked: set[int], width: int) -> list[Text]:
    """A grid as lines, its panels one below another; what does not fit the width is cut off, visibly."""
    panels, rows, columns = grid.panels
    values = grid.frame(step)
    words = [_cell(grid, cell, float(value)) for cell, value in enumerate(values)]
    cell_width = max(map(len, words)) + 2
    fitting = max(1, (width - 6) // cell_width)
    found = [Text(f"  {grid.caption or grid.name}", "bold")]
    for panel in range(panels):
        if panels > 1:
            first = panel * rows * columns
            found.append(Text(f"   {_panel_name(grid, panel)}", "dim") if first < len(words) else Text())
        for row in range(rows):
            line = Text("   ")
            for column in range(min(columns, fitting)):
                cell = (panel * rows + row) * columns + column
                word = f"[{words[cell]}]" if cell in marked else f" {words[cell]} "
                line.append(word.rjust(cell_width), "bold yellow" if cell in marked else "")
            line.append(" …" if columns > fitting else "")
            found.append(line)
    return found


def formula(explanation: Explanation, grid: Grid, cell: int, step: int) -> list[str]:
    """What a cell is made of, and its finite difference."""
    terms, value = grid.made_of(cell, step), number(float(grid.frame(step)[cell]))
    name, found = grid.label(cell), []
    if cell in grid.texts:
        found.append(f"  {name} = {grid.texts[cell]} = {value}")
    elif terms:
        parts = [
            " · ".join(_factor(explanation, factor, step) for factor in factors) for _, *factors in terms
        ]
        parts = parts[:TERMS] + ([f"… ({len(parts) - TERMS} more)"] if len(parts) > TERMS else [])
        whole = f"max({', '.join(parts)})" if grid.how == "max" else " + ".join(parts)
        found.append(f"  {name} = {whole} = {value}")
    differences = grid.frame_of_differences(step)
    if differences is not None:
        found.append(f"  by finite differences: {name} = {float(differences[cell]):.6f}".replace("-", "−"))
    return found


def _factor(explanation: Explanation, factor: str | tuple[str, int], step: int) -> str:
    if isinstance(factor, str):
        return factor
    grid = explanation.grids[factor[0]]
    value = number(float(grid.frame(step)[factor[1]]))
    return f"({value})" if value.startswith("−") else value


def _cell(grid: Grid, cell: int, value: float) -> str:
    return grid.outside if grid.outside and grid.in_border(cell) else number(value)


def _panel_name(grid: Grid, panel: int) -> str:
    index, leading = [], grid.shape[:-2]
    for size in reversed(leading):
        panel, rest = divmod(panel, size)
        index.append(str(rest))
    return f"{grid.name}[{', '.join(reversed(index))}]"
