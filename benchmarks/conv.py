"""Single convolution layers, three passes each: every algorithm of the registry, PyTorch and JAX.

Each result is compared with float64 before it is timed; the error that is printed is the largest, relative to
the largest true value. GFLOP/s count the multiply-accumulates of the definition, two operations each,
whatever an algorithm does instead, so that Winograd may exceed the machine's peak.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import results
from benchmarks.contenders import KINDS, TORCH
from benchmarks.layers import LAYERS, PARTS, Layer
from benchmarks.measure import alternate, better, ratio, repetitions_for, spread
from benchmarks.options import Teller, chosen, parse, parser, peers, progress
from benchmarks.problem import Problem, ended
from benchmarks.results import Row
from benchmarks.workers import Worker

WRONG = 1e-3
"""Beyond this error a result is not a matter of rounding."""

LOOPS, ENTRIES = 2_000_000, 16_000_000
"""What the algorithms that are written to be read can bear: a product takes plain loops a microsecond, and
the Toeplitz matrix has an entry for each pair of an input and an output."""

Entry = tuple[str, str]  # a worker's kind, and the algorithm it is asked for


def main(arguments: list[str]) -> None:
    """Measure what the arguments ask for."""
    made = parser(__doc__, "layers")
    made.add_argument("--passes", nargs="+", choices=PARTS, default=PARTS, help="which passes (all)")
    made.add_argument("--algorithms", nargs="+", metavar="NAME", help="of minicnn's only these")
    made.add_argument("--slow", action="store_true", help="plain loops and Toeplitz on large layers too")
    given = parse(made, arguments)
    names = chosen(LAYERS, given.only, quick=["lenet-c3"] if given.quick else None)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minicnn-benchmark-")))
        workers = {
            kind: stack.enter_context(Worker(kind, given.threads, given.backend))
            for kind in ("minicnn", *peers(*TORCH, "jax"))
        }
        known = ["auto", *workers["minicnn"].call("algorithms")]
        algorithms = chosen(known, given.algorithms)
        with progress() as teller:
            teller.now("measuring the machine's peak")
            peak = workers["minicnn"].call("sgemm")
            teller.note(f"sgemm, NumPy's product of large matrices: {peak:.0f} GFLOP/s")
            for name in names:
                layer = LAYERS[name]._replace(N=2) if given.quick else LAYERS[name]
                rows = measure(name, layer, peak, workers, algorithms, folder, given, teller)
                if given.out:
                    key = ("layer", "pass", "contender", "algorithm")
                    results.save("conv", rows, given.machine, key, given.out)


def measure(
    name: str,
    layer: Layer,
    peak: float,
    workers: dict[str, Worker],
    algorithms: list[str],
    folder: Path,
    given: argparse.Namespace,
    teller: Teller,
) -> list[Row]:
    """One layer in all its passes; Problem where a result is wrong."""
    teller.note(f"\n{name}: {layer}, {layer.macs / 1e6:.3g} million products")
    truth = str(folder / "truth.npz")
    workers["minicnn"].call("reference", layer=layer, path=truth)
    for worker in workers.values():
        worker.call("forget")
        worker.call("layer", layer=layer, truth=truth)
    rows = []
    for part in given.passes:
        teller.now(f"{name}, {part}: comparing")
        entries = ready(name, layer, part, workers, algorithms, given.slow)
        times = race(part, entries, workers, given, lambda text: teller.now(f"{name}, {text}"))
        theirs = {entry: values for entry, values in times.items() if entry[0] in TORCH}
        for (kind, algorithm), values in times.items():
            seconds = spread(values)
            row = {
                "layer": name,
                "shape": str(layer),
                "pass": part,
                "contender": kind,
                "algorithm": algorithm,
                "ran": entries[kind, algorithm]["ran"],
                "ms": 1e3 * seconds.middle,
                "ms_low": 1e3 * seconds.low,
                "ms_high": 1e3 * seconds.high,
                "gflops": 2e-9 * layer.macs / seconds.middle,
                "sgemm": peak,
                "of_peak": 2e-9 * layer.macs / seconds.middle / peak,
                "error": entries[kind, algorithm]["error"],
            }
            row |= dict.fromkeys(("ratio", "ratio_low", "ratio_high"))
            if theirs and kind == "minicnn":
                against = theirs[better(theirs)]
                row["ratio"], row["ratio_low"], row["ratio_high"] = ratio(values, against)
            rows.append(row | results.stamp())
            teller.note(line(rows[-1]))
    return rows


def ready(
    name: str, layer: Layer, part: str, workers: dict[str, Worker], algorithms: list[str], slow: bool
) -> dict[Entry, Row]:
    """Who can compute this pass, with error and kernel; Problem where somebody computes something else."""
    found = {}
    for kind, worker in workers.items():
        for algorithm in algorithms if kind == "minicnn" else ["its own"]:
            if not slow and is_slow(algorithm, layer):
                continue
            answer = worker.call("choose", part=part, algorithm=algorithm)
            if answer["error"] is None:
                continue
            if not answer["error"] <= WRONG:
                raise Problem(
                    f"{name}, {part}: {worker.label} {algorithm} is wrong by {answer['error']:.1e}, "
                    "so nothing is timed"
                )
            found[kind, algorithm] = answer
    return found


def is_slow(algorithm: str, layer: Layer) -> bool:
    """Whether an algorithm is one of the slow ones, and this layer too large for it."""
    matrix = layer.C * layer.H**2 * layer.OC * layer.OH**2 // layer.groups**2
    return (algorithm == "naive" and layer.macs > LOOPS) or (algorithm == "toeplitz" and matrix > ENTRIES)


def race(part, entries, workers, given, tell) -> dict[Entry, list[float]]:
    """The seconds of every round for each entry."""
    turns: dict[Entry, Callable[[], float]] = {}
    for kind, algorithm in entries:
        work = f"{part} {algorithm}"
        tell(f"{work}: warming up {workers[kind].label}")
        later = workers[kind].call("warm_up", work=work)["later"]
        times = repetitions_for(later, given.seconds)
        turns[kind, algorithm] = partial(workers[kind].call, "run", work=work, repetitions=times)
    return alternate(
        turns,
        given.rounds,
        lambda entry, number: tell(f"{part}: round {number + 1} of {given.rounds}, {' '.join(entry)}"),
    )


def line(row: Row) -> str:
    """A row as it is printed."""
    who = KINDS[row["contender"]].label
    who += f" {row['algorithm']}" if row["contender"] == "minicnn" else ""
    who += f" ({row['ran']})" if row["algorithm"] == "auto" else ""
    text = f"  {row['pass']:12} {who:32} {row['ms']:9.3f} ms {row['gflops']:8.3g} GFLOP/s"
    text += f" {row['of_peak']:6.1%} of peak, error {row['error']:.0e}"
    return text + (f", time ×{row['ratio']:.2f}" if row["ratio"] is not None else "")


if __name__ == "__main__":
    sys.exit(ended(main))
