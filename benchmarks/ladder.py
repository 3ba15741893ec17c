"""The ladder: one layer of ResNet-18, forward, from plain loops to the fastest kernel.

The slowest rungs are timed on a part of the layer, whose share the table gives, and their time for the whole
is computed from it: for loops it is proportional to the number of products, for the Toeplitz matrix to the
number of pairs of an input and an output channel.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import results
from benchmarks.contenders import KINDS, TORCH
from benchmarks.conv import ready
from benchmarks.layers import LAYERS, Layer
from benchmarks.measure import alternate, repetitions_for, spread
from benchmarks.options import chosen, parse, parser, peers, progress
from benchmarks.problem import ended
from benchmarks.results import Row
from benchmarks.workers import Worker

LAYER = LAYERS["resnet-layer1"]
PARTS_OF_IT = {
    "naive": LAYER._replace(N=1, OC=1),
    "compiled loops": LAYER._replace(N=1),
    "toeplitz": LAYER._replace(C=1, OC=1),
}
IDEAS = {
    "naive": "the definition: seven nested loops in Python",
    "compiled loops": "the same loops through a compiler, on one core",
    "toeplitz": "one product with a matrix that is nearly all zeros",
    "taps": "a matrix product for each filter tap, and their sum",
    "im2col": "pixels copied so that all taps are one matrix product",
    "narrow": "sums stay in registers; vectors run over pixels, for few channels",
    "direct": "sums stay in registers; vectors run over channels",
    "winograd": "fewer multiplications, by interpolating polynomials",
}


def main(arguments: list[str]) -> None:
    """Climb."""
    given = parse(parser(__doc__, "rungs"), arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minicnn-benchmark-")))
        workers = {
            kind: stack.enter_context(Worker(kind, given.threads, given.backend))
            for kind in ("minicnn", *peers(*TORCH))
        }
        ours = [name for name in workers["minicnn"].call("algorithms") if name != "depthwise"]
        known = [*ours, "compiled loops", *(kind for kind in workers if kind != "minicnn")]
        rungs = chosen(known, given.only, quick=["im2col", "direct"] if given.quick else None)
        if "naive" in known and "naive" not in rungs:
            rungs.append("naive")  # what all others are measured by
        with progress() as teller:
            rows = climb(rungs, workers, folder, given, teller.now)
            for row in rows:
                teller.note(
                    f"{row['rung']:22} {row['ms']:12.2f} ms {row['gflops']:9.3g} GFLOP/s, "
                    f"{row['times_naive']:9.0f} times as fast as plain loops, error {row['error']:.0e}"
                )
    if given.out:
        results.save("ladder", rows, given.machine, ("rung",), given.out)


def climb(rungs, workers, folder, given, tell) -> list[Row]:
    """Measure the rungs and order them, the slowest first."""
    turns, answers, layers = {}, {}, {}
    for rung in rungs:
        tell(f"{rung}: comparing")
        layers[rung] = PARTS_OF_IT.get(rung, LAYER)
        kind, algorithm = (rung, "its own") if rung in workers else ("minicnn", rung)
        found = _take_up(kind, algorithm, layers[rung], workers, folder)
        if found is None:
            continue
        answers[rung] = found
        work = f"forward {algorithm}"
        times = repetitions_for(workers[kind].call("warm_up", work=work)["later"], given.seconds)
        turns[rung] = partial(workers[kind].call, "run", work=work, repetitions=times)
    peak = workers["minicnn"].call("sgemm")
    seconds = alternate(
        turns, given.rounds, lambda rung, number: tell(f"{rung}: round {number + 1} of {given.rounds}")
    )
    whole = {
        rung: spread([one * LAYER.macs / layers[rung].macs for one in values])
        for rung, values in seconds.items()
    }
    rows = [
        {
            "rung": rung,
            "label": KINDS[rung].label if rung in KINDS else rung,
            "ran": answers[rung]["ran"],
            "idea": next((idea for name, idea in IDEAS.items() if rung.startswith(name)), ""),
            "timed_share": layers[rung].macs / LAYER.macs,
            "ms": 1e3 * time.middle,
            "ms_low": 1e3 * time.low,
            "ms_high": 1e3 * time.high,
            "gflops": 2e-9 * LAYER.macs / time.middle,
            "of_peak": 2e-9 * LAYER.macs / time.middle / peak,
            "times_naive": whole["naive"].middle / time.middle,
            "error": answers[rung]["error"],
        }
        | results.stamp()
        for rung, time in whole.items()
    ]
    return sorted(rows, key=lambda row: -row["ms"])


def _take_up(kind: str, algorithm: str, layer: Layer, workers: dict[str, Worker], folder: Path) -> Row | None:
    """Let a worker make one rung ready on its part of the layer; None where it has no kernel for it."""
    truth = str(folder / "truth.npz")
    workers["minicnn"].call("reference", layer=layer, path=truth)
    workers[kind].call("layer", layer=layer, truth=truth)
    if algorithm == "compiled loops":
        return workers[kind].call("compiled_loops")
    found = ready("ladder", layer, "forward", {kind: workers[kind]}, [algorithm], slow=True)
    return found.get((kind, algorithm))


if __name__ == "__main__":
    sys.exit(ended(main))
