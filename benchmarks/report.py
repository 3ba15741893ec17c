"""The README's tables and the charts, made anew from the kept results; measures nothing.

In the README each benchmark has a place between two markers, of which only what is between them changes:

    <!-- benchmark:train_step -->
    <!-- /benchmark:train_step -->
"""

from __future__ import annotations

import os
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import charts, report_cuda, results, scaling
from benchmarks.contenders import KINDS, TORCH
from benchmarks.layers import LAYERS, PARTS
from benchmarks.measure import better
from benchmarks.options import Parser
from benchmarks.problem import Problem, ended, write_whole
from benchmarks.results import FOLDER, Results, Row
from benchmarks.words import grid, machine_line, number, paragraph, spread

README = Path(__file__).resolve().parents[1] / "README.md"
NAMES = ("train_step", "inference", "ladder", "conv", "scaling")


def main(arguments: list[str]) -> None:
    """Write the charts and the README."""
    parser = Parser(__doc__)
    parser.add_argument("--results", type=Path, default=FOLDER, help="the folder with the results")
    parser.add_argument("--readme", type=Path, default=README, help="the file to write in")
    given = parser.parse_args(arguments)
    write(given.readme, given.results)


def write(readme: Path, folder: Path) -> None:
    """Draw the charts into the folder, and put the tables of what has been measured into the README."""
    text = readme.read_text(encoding="utf-8")
    for name in NAMES:
        found = results.load(name, folder)
        if found is None:
            print(f"{name}: nothing is kept in {folder}; its place stays as it is")
            continue
        chart = folder / f"{name}.png"
        picture = charts.DRAW[name](found.rows)
        if picture is not None:
            write_whole(chart, picture)
        content = TABLES[name](found) + machine_line(found)
        if chart.exists():
            content += f"\n![{name}]({Path(os.path.relpath(chart, readme.parent)).as_posix()})\n"
        text = put(text, name, content)
    if content := report_cuda.section(folder):
        text = put(text, "cuda", content)
    if text != readme.read_text(encoding="utf-8"):
        write_whole(readme, text)


def put(text: str, name: str, content: str) -> str:
    """The text with new content between a benchmark's markers; Problem where they are missing.

    >>> print(put("a\\n<!-- benchmark:conv -->\\nold\\n<!-- /benchmark:conv -->\\nb", "conv", "new\\n"))
    a
    <!-- benchmark:conv -->
    new
    <!-- /benchmark:conv -->
    b
    """
    first, last = f"<!-- benchmark:{name} -->\n", f"<!-- /benchmark:{name} -->"
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise Problem(
            f"the README needs the two lines {first.strip()} and {last}, once each and in this order"
        )
    before, _, rest = text.partition(first)
    return before + first + content + last + rest.partition(last)[2]


def steps(found: Results) -> str:
    """Networks: speed, ratio and memory, beside the better of PyTorch's layouts."""
    rows = []
    for network in dict.fromkeys(row["network"] for row in found.rows):
        by = {row["contender"]: row for row in found.rows if row["network"] == network}
        ours, theirs = by.get("minicnn"), by.get((by.get("minicnn") or {}).get("against"))
        if ours is None:
            continue
        layout = " (cl)" if theirs and theirs["contender"] == "torch_channels_last" else ""
        rows.append(
            [
                f"{network} ({ours['batch']})",
                number(ours["images_per_s"]),
                number(theirs["images_per_s"]) + layout if theirs else "–",
                spread(ours),
                _memory(ours),
                _memory(theirs) if theirs else "–",
            ]
        )
    head = ["network (batch)", "minicnn, images/s", "PyTorch, images/s", "time, minicnn : PyTorch"]
    notes = paragraph(
        "PyTorch in the better of NCHW and channels_last (cl). The ratio is the median over the rounds "
        "of minicnn's time to PyTorch's in the same round, with its range: below 1 minicnn is faster. Memory "
        "is the most that the process held, and in brackets how much of it came with the network."
    )
    return grid([*head, "memory, MB", "PyTorch's, MB"], rows) + notes


def _memory(row: Row) -> str:
    if row["peak_mb"] is None:
        return "–"
    return f"{number(row['peak_mb'])} ({number(row['growth_mb'])})"


def ladder(found: Results) -> str:
    """The rungs, slowest first."""
    rows = [
        [
            row["label"],
            row["idea"] or "",
            number(row["ms"]) + ("" if row["timed_share"] == 1 else "*"),
            number(row["gflops"]),
            f"{number(100 * row['of_peak'])} %",
            f"{number(row['times_naive'])}×",
            f"{row['error']:.0e}",
        ]
        for row in sorted(found.rows, key=lambda row: -row["ms"])
    ]
    head = ["rung", "idea", "ms", "GFLOP/s", "of sgemm's peak", "times plain loops", "error"]
    layer = LAYERS["resnet-layer1"]
    return grid(head, rows, words=2) + paragraph(
        f"One layer, {layer}, forward: {layer.macs / 1e6:,.0f} million products. "
        "* computed from the time of a part of it."
    )


def conv(found: Results) -> str:
    """Layers: GFLOP/s of the kernel that "auto" chooses, and of PyTorch, in each pass."""
    rows = []
    for layer in dict.fromkeys(row["layer"] for row in found.rows):
        mine = [row for row in found.rows if row["layer"] == layer]
        cells = [_cell([row for row in mine if row["pass"] == part]) for part in PARTS]
        rows.append([layer, mine[0]["shape"], *cells])
    return grid(["layer", "N×C×H×W → OC, K×K", *PARTS], rows, words=2) + paragraph(
        'The kernel that "auto" chose and its GFLOP/s, those of PyTorch in the better layout, and the ratio '
        "of times, minicnn : PyTorch."
    )


def _cell(rows: Sequence[Row]) -> str:
    ours = [row for row in rows if row["contender"] == "minicnn" and row["algorithm"] == "auto"]
    if not ours:
        return "–"
    theirs = {row["contender"]: row for row in rows if row["contender"] in TORCH}
    text = f"{ours[0]['ran'].partition(':')[2]} {number(ours[0]['gflops'])}"
    if not theirs:
        return text
    best = theirs[better({kind: [row["ms"]] for kind, row in theirs.items()})]
    return f"{text}, {number(best['gflops'])}, {ours[0]['ratio']:.2f}"


def scales(found: Results) -> str:
    """What the measured points say, axis by axis."""
    lines = []
    for axis in dict.fromkeys(row["axis"] for row in found.rows):
        points = [row for row in found.rows if row["axis"] == axis]
        for line in scaling.explained(points, found.machine["caches"]):
            lines.append(textwrap.fill(line, 106, initial_indent="- ", subsequent_indent="  ") + "\n")
    labels = dict.fromkeys(KINDS[row["contender"]].label for row in found.rows)
    base = ", ".join(f"{name} {value}" for name, value in scaling.BASE.items())
    return f"{', '.join(labels)}; one of {base} varied at a time.\n" + "\n" * bool(lines) + "".join(lines)


TABLES = {"train_step": steps, "inference": steps, "ladder": ladder, "conv": conv, "scaling": scales}


if __name__ == "__main__":
    sys.exit(ended(main))
