"""Single convolution layers on a GPU, three passes each: every CUDA algorithm beside PyTorch with cuDNN.

Both compute in the same precision: float32 throughout (PyTorch with allow_tf32 off), TF32, bfloat16 or
float16 (where PyTorch's arrays are that too, while minicnn rounds factors of float32). A time is what the GPU
takes between two events for a call that finds nothing in its caches. The whole result is compared with
float64 beforehand.

Beside it stand two ceilings that are measured too: cuBLAS's product of large matrices in this precision, and
the copying of memory, which is what limits depthwise convolution. TFLOP/s count the products of the
definition, two operations each; GB/s what has to be read and written once.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import gpu, machine, results
from benchmarks.contenders import KINDS, OF_16_BITS, TORCH_CUDA, is_installed
from benchmarks.layers import LAYERS, PARTS, Layer
from benchmarks.measure import alternate, better, ratio, repetitions_for, spread
from benchmarks.options import Teller, chosen, parse_shared, progress, shared, whole
from benchmarks.problem import Problem, ended
from benchmarks.results import Row
from benchmarks.workers import Worker
from minicnn.kernels.registry import PRECISIONS

OURS = "minicnn_cuda"
BATCH = 64
SMALL_BATCH = 512
"""Of images up to 32 × 32, of which it takes more to fill a GPU."""

WRONG = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 5e-2, "fp16": 1e-2}
"""Beyond this error a result is not a matter of rounding."""

LOOPS = 4e9
"""The products that a thread for each number of the result can bear: longer sums take it seconds."""

CACHE = 1 << 28
"""Bytes written between two calls, beyond any GPU's cache."""

MOST = 10
"""Calls of a turn: before each, the caches are emptied, which takes longer than most of the calls."""

KEY = ("layer", "pass", "precision", "contender", "algorithm")
Entry = tuple[str, str]  # a worker's kind, and the algorithm it is asked for


USUAL = ("fp32", "tf32", "bf16")
"""float16 is as fast as bfloat16, and for GPUs that have no other."""


def add_precisions(made: argparse.ArgumentParser) -> None:
    """The option which of them to measure."""
    words = f"which of {', '.join(PRECISIONS)} ({', '.join(USUAL)})"
    made.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=USUAL, metavar="P", help=words)


def main(arguments: list[str]) -> None:
    """Measure what the arguments ask for; Problem at the end if something went wrong on the way."""
    made = shared(__doc__, "layers", seconds=0.005)
    made.add_argument("--passes", nargs="+", choices=PARTS, default=PARTS, help="which passes (all)")
    add_precisions(made)
    made.add_argument(
        "--batch", type=whole, help=f"images ({BATCH}; of small ones {SMALL_BATCH}); an even number"
    )
    given = parse_shared(made, arguments)
    if given.batch and given.batch % 2:
        raise Problem(
            f"--batch {given.batch}, but an even number is expected: each pair of images is the same"
        )
    gpu.require()
    names = chosen(LAYERS, given.only, quick=["lenet-c3"] if given.quick else None)
    wrong: list[str] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="minicnn-benchmark-")))
        teller = stack.enter_context(progress())
        for precision in given.precisions:
            wrong += of_precision(precision, names, folder, given, teller)
    if wrong:
        raise Problem(f"{len(wrong)} went wrong: {'; '.join(wrong)}")


def of_precision(
    precision: str, names: list[str], folder: Path, given: argparse.Namespace, teller: Teller
) -> list[str]:
    """All layers in one precision, in fresh processes; returns what went wrong."""
    wrong = []
    with ExitStack() as stack:
        workers, about = contenders(stack, precision, given, teller)
        ceilings = measure_ceilings(workers[OURS], given.quick)
        teller.note(
            "\n{}, {}: cuBLAS {gemm:.3g} TFLOP/s, copying {copy:.4g} GB/s".format(
                about["name"], precision, **ceilings
            )
        )
        for name in names:
            layer = sized(LAYERS[name], given)
            try:
                rows = measure(name, layer, precision, ceilings, workers, folder, given, teller)
            except Problem as problem:  # the GPU may be of no more use to these processes
                wrong.append(f"{name} in {precision}: {problem}")
                teller.note(wrong[-1])
                for worker in workers.values():
                    worker.restart()
                    worker.call("prepare", precision=precision, cache=cache(given.quick))
                continue
            if given.out:
                file = f"cuda-{gpu.slug(about['name'])}-layers"
                results.save(file, rows, gpu.machine_with(about), KEY, given.out)
    return wrong


def contenders(
    stack: ExitStack, precision: str, given: argparse.Namespace, teller: Teller
) -> tuple[dict[str, Worker], dict]:
    """The workers that this machine has, ready for a precision, and what is known of the GPU."""
    workers = {}
    about: dict = {}
    for kind in (OURS, *TORCH_CUDA):
        if kind != OURS and not is_installed("torch"):
            continue
        teller.now(f"starting {KINDS[kind].label}")
        worker = stack.enter_context(Worker(kind, len(machine.cores()), "cuda"))
        try:
            found = worker.call("describe")
            worker.call("prepare", precision=precision, cache=cache(given.quick))
        except Problem as problem:
            if kind == OURS:
                raise
            teller.note(f"left out: {problem}")
            continue
        workers[kind] = worker
        about = found if kind == OURS else about | {"cudnn": found["cudnn"]}
    if not is_installed("torch"):
        teller.note("PyTorch is not installed: minicnn is measured alone")
    return workers, about


def cache(quick: bool) -> int:
    """How many bytes to write between two calls."""
    return CACHE >> 10 if quick else CACHE


def measure_ceilings(worker: Worker, quick: bool) -> dict[str, float]:
    """What cuBLAS and a copy reach."""
    size, copied, times = (64, 1 << 20, 2) if quick else (8192, 1 << 30, 10)
    return {
        "gemm": worker.call("gemm", size=size, repetitions=times),
        "copy": worker.call("copy", size=copied, repetitions=times),
    }


def sized(layer: Layer, given: argparse.Namespace) -> Layer:
    """The layer for a batch that keeps a GPU busy."""
    usual = 2 if given.quick else SMALL_BATCH if layer.H <= 32 and layer.C <= 16 else BATCH
    return layer._replace(N=given.batch or usual)


def measure(
    name: str,
    layer: Layer,
    precision: str,
    ceilings: dict[str, float],
    workers: dict[str, Worker],
    folder: Path,
    given: argparse.Namespace,
    teller: Teller,
) -> list[Row]:
    """One layer in all its passes; Problem where a result is wrong."""
    teller.note(f"\n{name}: {layer}, {layer.macs / 1e9:.3g} thousand million products, {precision}")
    truth = folder / f"{name}.npz"
    if not truth.exists():
        workers[OURS].call("reference", layer=layer, path=str(truth))
    for worker in workers.values():
        worker.call("forget")
        worker.call("layer", layer=layer, truth=str(truth))
    rows = []
    for part in given.passes:
        teller.now(f"{name}, {part}, {precision}: comparing")
        entries = ready(name, layer, part, precision, workers)
        times = race(part, entries, workers, given)
        theirs = {entry: values for entry, values in times.items() if entry[0] in TORCH_CUDA}
        for entry, values in times.items():
            itemsize = 2 if precision in OF_16_BITS and entry in theirs else 4
            row = figures(layer, values, ceilings, itemsize)
            row |= dict.fromkeys(("ratio", "ratio_low", "ratio_high"))
            if theirs and entry[0] == OURS:
                row["ratio"], row["ratio_low"], row["ratio_high"] = ratio(values, theirs[better(theirs)])
            labels = {"layer": name, "shape": str(layer), "pass": part, "precision": precision}
            labels |= {"contender": entry[0], "algorithm": entry[1]} | entries[entry]
            rows.append(labels | row | results.stamp())
            teller.note(line(rows[-1]))
    return rows


def ready(name: str, layer: Layer, part: str, precision: str, workers: dict[str, Worker]) -> dict[Entry, Row]:
    """Who can compute this pass, with error and kernel; Problem where somebody computes something else."""
    found = {}
    for kind, worker in workers.items():
        for algorithm in worker.call("algorithms") if kind == OURS else ["its own"]:
            if algorithm == "naive" and layer.macs > LOOPS:
                continue
            answer = worker.call("choose", part=part, algorithm=algorithm)
            if answer["error"] is None:
                continue
            if not answer["error"] <= WRONG[precision]:
                raise Problem(
                    f"{part}: {worker.label} {algorithm} is wrong by {answer['error']:.1e}, "
                    "so nothing is timed"
                )
            found[kind, algorithm] = answer
    return found


def race(
    part: str, entries: dict[Entry, Row], workers: dict[str, Worker], given: argparse.Namespace
) -> dict[Entry, list[float]]:
    """The GPU's seconds in every round for each entry."""
    turns = {}
    for kind, algorithm in entries:
        work = f"{part} {algorithm}"
        later = workers[kind].call("warm_up", work=work)["later"]
        times = min(MOST, repetitions_for(later, given.seconds))
        turns[kind, algorithm] = partial(workers[kind].call, "cold", work=work, repetitions=times)
    return alternate(turns, given.rounds, pause=0)


def figures(layer: Layer, values: list[float], ceilings: dict[str, float], itemsize: int) -> Row:
    """What the times of the rounds say."""
    seconds = spread(values)
    tflops, gbs = 2e-12 * layer.macs / seconds.middle, 1e-9 * itemsize * moved(layer) / seconds.middle
    return {
        "ms": 1e3 * seconds.middle,
        "ms_low": 1e3 * seconds.low,
        "ms_high": 1e3 * seconds.high,
        "tflops": tflops,
        "gemm": ceilings["gemm"],
        "of_gemm": tflops / ceilings["gemm"],
        "gbs": gbs,
        "copy": ceilings["copy"],
        "of_copy": gbs / ceilings["copy"],
    }


def moved(layer: Layer) -> int:
    """The numbers in x, w and y: each pass reads two of them, or of their gradients, and writes the third."""
    x = layer.N * layer.C * layer.H**2
    w = layer.OC * layer.C // layer.groups * layer.K**2
    return x + w + layer.N * layer.OC * layer.OH**2


def line(row: Row) -> str:
    """A row as it is printed."""
    who = KINDS[row["contender"]].label
    who += f" {row['algorithm']}" if row["contender"] == OURS else ""
    who += f" ({row['ran'].partition(':')[2]})" if row["algorithm"] == "auto" else ""
    text = f"  {row['pass']:12} {who:24} {row['ms']:9.4f} ms {row['tflops']:6.3g} TFLOP/s"
    text += f" {row['of_gemm']:6.1%} of cuBLAS, {row['of_copy']:6.1%} of copying, error {row['error']:.0e}"
    return text + (f", time ×{row['ratio']:.2f}" if row["ratio"] is not None else "")


if __name__ == "__main__":
    sys.exit(ended(main))
