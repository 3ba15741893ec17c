"""The tables of the READMEs and the charts, made anew from the kept results; measures nothing.

Each benchmark has a place in one of the two, between markers, of which only what is between them changes:

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

from benchmarks import charts, machine, report_cuda, report_experiments, results, scaling, transfer
from benchmarks.accuracy import TRAININGS
from benchmarks.cifar10 import NOTES
from benchmarks.contenders import KINDS, TORCH
from benchmarks.layers import LAYERS, PARTS
from benchmarks.loading import CASES
from benchmarks.measure import better
from benchmarks.options import Parser
from benchmarks.problem import Problem, ended, write_whole
from benchmarks.results import FOLDER, Results, Row
from benchmarks.words import grid, machine_line, number, paragraph, spread

PAGES = {
    "README.md": ("accuracy", "train_step"),
    "benchmarks/README.md": (
        "inference",
        "ladder",
        "conv",
        "scaling",
        "frozen",
        "transfer",
        "loading",
        "experiments",
        "cuda",
    ),
}
"""What stands in which file of the checkout."""


def main(arguments: list[str]) -> None:
    """Write the charts and the pages."""
    parser = Parser(__doc__)
    parser.add_argument("--results", type=Path, default=FOLDER, help="the folder with the results")
    parser.add_argument("--pages", type=Path, default=machine.ROOT, help=f"that with {' and '.join(PAGES)}")
    given = parser.parse_args(arguments)
    write(given.pages, given.results)


def write(pages: Path, folder: Path) -> None:
    """Draw the charts into the folder, and put the tables of what has been measured into the pages."""
    for page, names in PAGES.items():
        path = pages / page
        before = text = path.read_text(encoding="utf-8")
        for name in names:
            content = section(name, folder, path)
            if content:
                text = put(text, name, content, page)
            else:
                print(f"{name}: nothing is kept in {folder}; its place stays as it is")
        if text != before:
            write_whole(path, text)


def section(name: str, folder: Path, page: Path) -> str:
    """A benchmark's table and chart, which is drawn; empty where nothing has been measured."""
    if name == "cuda":
        return report_cuda.section(folder)
    if name == "experiments":
        return report_experiments.section(folder, page)
    found = results.load(name, folder)
    if found is None:
        return ""
    chart = folder / f"{name}.png"
    if name in charts.DRAW and (picture := charts.DRAW[name](found.rows)):
        write_whole(chart, picture)
    content = TABLES[name](found) + machine_line(found)
    if chart.exists():
        content += f"\n![{name}]({Path(os.path.relpath(chart, page.parent)).as_posix()})\n"
    return content


def put(text: str, name: str, content: str, page: str) -> str:
    """A page's text with new content between a benchmark's markers; Problem where they are missing.

    >>> old = "a\\n<!-- benchmark:conv -->\\nold\\n<!-- /benchmark:conv -->\\nb"
    >>> print(put(old, "conv", "new\\n", "README.md"))
    a
    <!-- benchmark:conv -->
    new
    <!-- /benchmark:conv -->
    b
    """
    first, last = f"<!-- benchmark:{name} -->\n", f"<!-- /benchmark:{name} -->"
    if text.count(first) != 1 or text.count(last) != 1 or text.index(first) > text.index(last):
        raise Problem(f"{page} needs the two lines {first.strip()} and {last}, once each and in this order")
    before, _, rest = text.partition(first)
    return before + first + content + last + rest.partition(last)[2]


def accuracy(found: Results) -> str:
    """Networks trained on real images: the share of the test images right, ours and the published one."""
    rows, data = [], set()
    for name in dict.fromkeys(row["network"] for row in found.rows):
        engines = ("minicnn", "PyTorch")
        mine, other = (of_engine(found.rows, name, engine) for engine in engines)
        last = mine[-1]
        words = last["command"].split()
        data.add(words[words.index("--data") + 1])
        rows.append(
            [
                f"`{last['command']}`",
                f"{100 * last['test_accuracy']:.2f} %",
                f"{100 * other[-1]['test_accuracy']:.2f} %" if other else "–",
                f"{100 * last['published']:g} %, {TRAININGS[name].source}",
                f"{100 * last['accuracy']:.1f} %",
                number(sum(row["seconds"] for row in mine) / 60),
            ]
        )
    head = ["command", "test images right", "in PyTorch", "published", "training images right", "minutes"]
    notes = "".join(f"{name}: {NOTES[name].strip(' ()')}. " for name in sorted(data & NOTES.keys()))
    return grid(head, rows) + paragraph(
        f"{notes}One run each, with seed 0, all training images, and the last epoch's weights. In PyTorch: "
        "the same training on the same images in the same order, by `accuracy_torch.py`, where no dropout "
        "makes that impossible. The training images right are those of the last epoch as it went, augmented "
        "and with dropout where there is any. The minutes are those of a machine that did other work, too."
    )


def of_engine(rows: Sequence[Row], network: str, engine: str) -> list[Row]:
    """A training's epochs; none where this engine has not been through it."""
    return [row for row in rows if (row["network"], row["engine"]) == (network, engine)]


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


def transferred(found: Results) -> str:
    """What pre-training on other classes gains, by the number of images."""
    about = found.machine["settings"]
    seeds = len({row["seed"] for row in found.rows})
    images = f"{about['data']}{NOTES.get(about['data'], '')}"
    return transfer.table(found.rows) + paragraph(
        f"{transfer.conclusion(found.rows)} {about['model']} on {images}, {about['epochs']} epochs of "
        f"pre-training, {about['steps']} steps with few images; medians of {seeds} seeds, with their range."
    )


def frozen(found: Results) -> str:
    """Networks: milliseconds of a training step in each way."""
    lines = []
    for network in dict.fromkeys(row["network"] for row in found.rows):
        mine = {row["way"]: row for row in found.rows if row["network"] == network}
        whole = mine["everything"]
        cells = [f"{number(row['ms'])} ({number(whole['ms'] / row['ms'])}×)" for row in mine.values()]
        lines.append([f"{network} ({whole['batch']})", *cells])
    head = ["network (batch)", "everything trained, ms", "base frozen, ms", "features kept, ms"]
    return grid(head, lines) + paragraph("A training step; in brackets, how many times as fast.")


def loads(found: Results) -> str:
    """Images read and augmented, and how long a training waits for them, by the number of workers."""
    lines = [
        [
            row["case"],
            f"{row['workers']}",
            number(row["rate"]),
            number(1e6 * row["cpu"]),
            f"{100 * row['waits']:.0f} %",
        ]
        for row in found.rows
    ]
    head = ["images", "workers", "images/s", "µs of a core for each", "share of its time that training waits"]
    cases = "; ".join(
        f"{name}: JPEGs of {case.width}×{case.height}, made {case.size}×{case.size} and augmented by "
        f"“{case.names}”, for {case.network} in batches of {case.batch}"
        for name, case in CASES.items()
    )
    return grid(head, lines) + paragraph(f"{cases}.")


TABLES = {
    "accuracy": accuracy,
    "train_step": steps,
    "inference": steps,
    "ladder": ladder,
    "conv": conv,
    "scaling": scales,
    "frozen": frozen,
    "transfer": transferred,
    "loading": loads,
}


if __name__ == "__main__":
    sys.exit(ended(main))
