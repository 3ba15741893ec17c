"""The section on GPUs: a part for each that results are kept of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks import gpu, results
from benchmarks.contenders import TORCH_CUDA
from benchmarks.cuda_layers import OURS
from benchmarks.layers import LAYERS, PARTS
from benchmarks.measure import better
from benchmarks.results import Row
from benchmarks.words import grid, machine_line, number, paragraph, spread


def section(folder: Path) -> str:
    """What has been measured on GPUs, one after the other; empty if nothing has."""
    kept = [results.load(path.stem, folder) for path in sorted(folder.glob("cuda-*-*.json"))]
    names = dict.fromkeys(found.machine["gpu"] for found in kept if found)
    return "\n".join(_gpu(name, folder) for name in names)


def _gpu(name: str, folder: Path) -> str:
    text = f"### {name}\n"
    if found := results.load(f"cuda-{gpu.slug(name)}-steps", folder):
        text += f"\n{steps(found.rows)}{machine_line(found)}"
    if found := results.load(f"cuda-{gpu.slug(name)}-layers", folder):
        for precision in dict.fromkeys(row["precision"] for row in found.rows):
            text += f"\n{layers([row for row in found.rows if row['precision'] == precision])}"
        text += LEGEND + machine_line(found)
    return text


def steps(rows: Sequence[Row]) -> str:
    """Training steps: images per second of both ways, and the ratio of the better one."""
    lines = []
    for network, precision in dict.fromkeys((row["network"], row["precision"]) for row in rows):
        mine = [row for row in rows if (row["network"], row["precision"]) == (network, precision)]
        ours = {row["way"]: row for row in mine if row["contender"] == OURS}
        theirs = {row["contender"]: row for row in mine if row["contender"] in TORCH_CUDA}
        best = min(ours.values(), key=lambda row: row["ms"])
        against = theirs.get(best["against"])
        layout = " (cl)" if best["against"] == TORCH_CUDA[1] else ""
        speeds = [number(ours[way]["images_per_s"]) if way in ours else "–" for way in ("step", "captured")]
        lines.append(
            [
                f"{network} ({best['batch']})",
                precision,
                *speeds,
                number(against["images_per_s"]) + layout if against else "–",
                spread(best),
                number(ours["step"]["peak_mb"]) if "step" in ours else "–",
                number(against["peak_mb"]) if against else "–",
            ]
        )
    head = [
        "network (batch)",
        "precision",
        "minicnn, images/s",
        "captured",
        "PyTorch",
        "time",
        "MB",
        "PyTorch's",
    ]
    return grid(head, lines, words=2) + paragraph(
        "A training step; captured: as a CUDA graph. PyTorch is eager, in the better of NCHW and "
        "channels_last (cl), in the same precision. The time is that of minicnn's better way to PyTorch's, "
        "the median over the rounds with its range: below 1 minicnn is faster. Memory is what the pools took."
    )


def layers(rows: Sequence[Row]) -> str:
    """Layers in one precision: the kernel that "auto" chose beside PyTorch and the ceiling that counts."""
    lines = []
    for layer in dict.fromkeys(row["layer"] for row in rows):
        mine = [row for row in rows if row["layer"] == layer]
        cells = [_cell(layer, [row for row in mine if row["pass"] == part]) for part in PARTS]
        lines.append([layer, mine[0]["shape"], *cells])
    first = rows[0]
    return grid(["layer", f"{first['precision']}: N×C×H×W → OC, K×K", *PARTS], lines, words=2) + paragraph(
        f"In {first['precision']} cuBLAS reached {number(first['gemm'])} TFLOP/s, and a copy "
        f"{number(first['copy'])} GB/s."
    )


LEGEND = paragraph(
    'The kernel that "auto" chose, its TFLOP/s and how much that is of cuBLAS\'s, those of PyTorch in the '
    "better layout, and the ratio of times, minicnn : PyTorch. Of depthwise convolutions the GB/s, and how "
    "much that is of a copy's."
)


def _cell(layer: str, rows: Sequence[Row]) -> str:
    ours = [row for row in rows if row["contender"] == OURS and row["algorithm"] == "auto"]
    if not ours:
        return "–"
    depthwise = layer in LAYERS and LAYERS[layer].groups > 1
    figure, share = ("gbs", "of_copy") if depthwise else ("tflops", "of_gemm")
    text = f"{ours[0]['ran'].partition(':')[2]} {number(ours[0][figure])} ({ours[0][share]:.0%})"
    theirs = {row["contender"]: row for row in rows if row["contender"] in TORCH_CUDA}
    if not theirs:
        return text
    best = theirs[better({kind: [row["ms"]] for kind, row in theirs.items()})]
    return f"{text}, {number(best[figure])}, {ours[0]['ratio']:.2f}"
