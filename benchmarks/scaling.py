"""How the cost of a training step grows with batch, channels, image size and depth, and where it bends.

The network is ``depth`` times convolution, batch norm and ReLU, of one width throughout. One of the four
numbers is varied at a time; minicnn and PyTorch are measured side by side. What is said of each curve is
worked out from its measured points.
"""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import results
from benchmarks.contenders import KINDS, TORCH
from benchmarks.options import chosen, parse, parser, peers, progress
from benchmarks.problem import ended
from benchmarks.results import Row
from benchmarks.steps import race
from benchmarks.workers import Worker

BASE = {"batch": 8, "channels": 32, "size": 32, "depth": 4}
AXES = {
    "batch": (1, 2, 4, 8, 16, 32, 64),
    "channels": (2, 4, 8, 16, 32, 64, 128, 256),
    "size": (4, 8, 16, 32, 64, 128),
    "depth": (1, 2, 4, 8, 16, 32),
}
POWER = {"batch": 1, "channels": 2, "size": 2, "depth": 1}
"""By which power of it the arithmetic grows."""


def main(arguments: list[str]) -> None:
    """Measure what the arguments ask for."""
    given = parse(parser(__doc__, f"axes ({', '.join(AXES)})"), arguments)
    axes = chosen(AXES, given.only, quick=["batch"] if given.quick else None)
    with ExitStack() as stack:
        workers = {
            kind: stack.enter_context(Worker(kind, given.threads, given.backend))
            for kind in ("minicnn", *peers(*TORCH))
        }
        with progress() as teller:
            for axis in axes:
                rows: list[Row] = []
                for value in AXES[axis][:2] if given.quick else AXES[axis]:
                    point = BASE | {axis: value}
                    rows += _point(axis, point, workers, given, teller)
                for text in explained(rows, given.machine["caches"]):
                    teller.note(text)
                if given.out:
                    results.save("scaling", rows, given.machine, ("axis", "value", "contender"), given.out)


def _point(axis: str, point: dict[str, int], workers, given, teller) -> list[Row]:
    options = {key: point[key] for key in ("channels", "depth", "size")}
    raced = race(workers, "train", "stack", point["batch"], options, given, teller)
    rows: list[Row] = []
    for measured in raced.values():
        row: Row = {"axis": axis, "value": point[axis]} | point | measured
        row["gflops"] = 6e-9 * macs(point) / (row["ms"] / 1e3)
        for column in ("peak_mb", "growth_mb", "images_per_s"):  # of a process that has done much else
            del row[column]
        rows.append(row | results.stamp())
    times = [f"{KINDS[row['contender']].label} {row['ms']:.3g} ms" for row in rows]
    teller.note(f"{axis} {point[axis]}: {', '.join(times)}")
    return rows


def macs(point: dict[str, Any]) -> int:
    """Multiply-accumulates of the convolutions, forward; a training step has three such passes."""
    return point["batch"] * point["depth"] * 9 * point["channels"] ** 2 * point["size"] ** 2


def map_bytes(point: dict[str, Any]) -> int:
    """Bytes that one layer reads and writes for the whole batch."""
    return 2 * 4 * point["batch"] * point["channels"] * point["size"] ** 2


def explained(rows: Sequence[Row], caches: dict[str, int]) -> list[str]:
    """What minicnn's points of one axis say: how the time grows, where it bends, and what lies there."""
    points = [row for row in rows if row["contender"] == "minicnn"]
    if len(points) < 3:
        return []
    axis = points[0]["axis"]
    slopes = [
        math.log(b["ms"] / a["ms"]) / math.log(b["value"] / a["value"]) for a, b in itertools.pairwise(points)
    ]
    first, last = points[0], points[-1]
    lines = [
        f"{axis}: from {first['value']} to {last['value']} the step goes from {first['ms']:.2g} to "
        f"{last['ms']:.3g} ms; the time grows like {axis}^{slopes[0]:.1f} at first and like "
        f"{axis}^{slopes[-1]:.1f} at the end, the arithmetic like {axis}^{POWER[axis]}."
    ]
    bend = next((i for i, slope in enumerate(slopes) if slope > POWER[axis] / 2), 0)
    if bend:
        point, fixed = points[bend], 1e3 * first["ms"] / first["depth"]
        lines.append(
            f"{axis}: it bends near {point['value']}. Below, most of the {point['ms']:.2g} ms does not "
            f"depend on the arithmetic: {fixed:.0f} µs a layer at {first['value']}."
        )
    best = max(points, key=lambda row: row["gflops"])
    lines.append(
        f"{axis}: the arithmetic runs at {first['gflops']:.3g} GFLOP/s at {first['value']}, and at best at "
        f"{best['gflops']:.3g}, at {best['value']}."
    )
    if first.get("ratio") and last.get("ratio"):
        lines.append(
            f"{axis}: of the time that PyTorch takes, minicnn takes {first['ratio']:.2f} at {first['value']} "
            f"and {last['ratio']:.2f} at {last['value']}."
        )
    if last["gflops"] < 0.85 * best["gflops"]:
        lines.append(
            f"{axis}: at {last['value']} it is down to {last['gflops']:.3g}; {_memory(best, last, caches)}"
        )
    return lines


def _memory(best: Row, last: Row, caches: dict[str, int]) -> str:
    fewer, more = map_bytes(best), map_bytes(last)
    between = [name for name, size in caches.items() if fewer <= size < more]
    text = f"what a layer reads and writes has grown from {fewer / 2**20:.2g} to {more / 2**20:.3g} MiB"
    if between:
        name = between[-1]
        return f"{text}, past the {name} cache of {caches[name] / 2**20:.3g} MiB."
    return f"{text}, past no cache's size, so that memory does not explain it."


if __name__ == "__main__":
    sys.exit(ended(main))
