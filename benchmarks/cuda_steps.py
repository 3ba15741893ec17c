"""One training step of each network on a GPU: forward, cross-entropy, backward, SGD with momentum.

minicnn and eager PyTorch (in NCHW and in channels_last) start from the same weights, and must agree in the
loss and in the gradient to every parameter, in float32, before anything is timed. minicnn's steps are
launched kernel by kernel, and "captured", as CUDA graphs. The batch lies on the GPU already. A time is what
the host sees: many steps in a row, until the GPU has done the last one. Memory is what the library's pool
took from the GPU for steps that are launched kernel by kernel.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import gpu, results
from benchmarks.contenders import KINDS, is_installed
from benchmarks.cuda_layers import OURS, add_precisions, cache, contenders
from benchmarks.measure import alternate, better, ratio, repetitions_for, spread
from benchmarks.networks import find, refuse_unequal
from benchmarks.options import Teller, chosen, parse_shared, progress, shared, whole
from benchmarks.problem import Problem, ended
from benchmarks.results import Row
from benchmarks.steps import MB
from benchmarks.workers import Worker

BATCHES = {
    "lenet5": 64,
    "cifar_resnet20": 128,
    "alexnet": 128,
    "vgg16": 64,
    "googlenet": 64,
    "resnet50": 64,
    "mobilenet_v2": 64,
}
"""Those that these networks are usually trained with, on a GPU."""

KEY = ("network", "precision", "contender", "way")
Entry = tuple[str, str]  # a worker's kind, and its way of doing a step


def main(arguments: list[str]) -> None:
    """Measure what the arguments ask for; Problem at the end if something went wrong on the way."""
    made = shared(__doc__, "networks", seconds=0.1)
    add_precisions(made)
    made.add_argument("--batch", type=whole, help="images of a step (as usual for each network)")
    given = parse_shared(made, arguments)
    gpu.require()
    names = chosen(BATCHES, given.only, quick=["lenet5"] if given.quick else None)
    wrong = []
    with ExitStack() as stack:
        teller = stack.enter_context(progress())
        workers, about = contenders(stack, "fp32", given, teller)
        for name in names:
            try:
                rows = measure(name, workers, given, teller)
            except Problem as problem:  # the GPU may be of no more use to these processes
                wrong.append(str(problem))
                teller.note(f"{name}: {problem}")
                for worker in workers.values():
                    worker.restart()
                    worker.call("prepare", precision="fp32", cache=cache(given.quick))
                continue
            if given.out:
                file = f"cuda-{gpu.slug(about['name'])}-steps"
                results.save(file, rows, gpu.machine_with(about), KEY, given.out)
    if wrong:
        raise Problem(f"{len(wrong)} went wrong: {'; '.join(wrong)}")


def measure(name: str, workers: dict[str, Worker], given: argparse.Namespace, teller: Teller) -> list[Row]:
    """One network in all precisions; Problem where the libraries disagree."""
    if find(name).torchvision and not is_installed("torchvision"):
        teller.note(f"{name}: torchvision is not installed; minicnn is measured alone")
        workers = {OURS: workers[OURS]}
    batch = given.batch or (2 if given.quick else BATCHES[name])
    losses = build(name, batch, workers, teller)
    rows = []
    for precision in given.precisions:
        for kind, worker in workers.items():
            worker.call("set_precision", precision=precision)
            refuse_far(name, precision, worker, losses[kind])
        times, repetitions = race(name, precision, workers, given, teller)
        peers = {entry: values for entry, values in times.items() if entry[0] != OURS}
        for entry, values in times.items():
            seconds = spread(values)
            row: Row = {"network": name, "precision": precision, "contender": entry[0], "way": entry[1]}
            row |= {"batch": batch, "images_per_s": batch / seconds.middle, "ms": 1e3 * seconds.middle}
            row |= {"ms_low": 1e3 * seconds.low, "ms_high": 1e3 * seconds.high}
            row |= dict.fromkeys(("ratio", "ratio_low", "ratio_high", "against"))
            if peers and entry[0] == OURS:
                row["against"] = better(peers)[0]
                row["ratio"], row["ratio_low"], row["ratio_high"] = ratio(values, peers[better(peers)])
            row["peak_mb"] = workers[entry[0]].call("memory")["peak"] / MB if entry[1] == "step" else None
            row |= {"rounds": len(values), "repetitions": repetitions[entry]}
            rows.append(row | results.stamp())
            teller.note(line(rows[-1]))
    return rows


def build(name: str, batch: int, workers: dict[str, Worker], teller: Teller) -> dict[str, float]:
    """The network in every worker, which all have to agree in float32: kind -> its loss."""
    checks: dict[str, dict[str, Any]] = {}
    for kind, worker in workers.items():
        teller.now(f"{name}: {worker.label} gets ready")
        worker.call("set_precision", precision="fp32")
        worker.call("build", task="train", network=name, batch=batch, options={})
        checks[kind] = worker.call("check")
        if kind != OURS:
            refuse_unequal(name, checks[OURS], checks[kind], worker.label)
    return {kind: check["loss"] for kind, check in checks.items()}


def refuse_far(name: str, precision: str, worker: Worker, exact: float) -> None:
    """Raise Problem if rounded factors lead to quite another loss."""
    rounded = worker.call("loss_now")
    if not abs(rounded - exact) <= 0.05 * abs(exact):
        raise Problem(
            f"{name}: {worker.label} has the loss {exact:.6g} in float32, but {rounded:.6g} in {precision}, "
            "so nothing is timed"
        )


def race(
    name: str, precision: str, workers: dict[str, Worker], given: argparse.Namespace, teller: Teller
) -> tuple[dict[Entry, list[float]], dict[Entry, int]]:
    """The seconds of a step in every round, and how many steps a turn had."""
    turns, repetitions = {}, {}
    for kind, worker in workers.items():
        for way, why_not in worker.call("ways").items():
            if why_not:
                teller.note(f"{name}, {precision}: no {way} step: {why_not}")
                continue
            later = worker.call("warm_up", work=way)["later"]
            repetitions[kind, way] = repetitions_for(later, given.seconds)
            turns[kind, way] = partial(worker.call, "run", work=way, repetitions=repetitions[kind, way])

    def tell(entry: Entry, number: int) -> None:
        who = f"{KINDS[entry[0]].label} {entry[1]}"
        teller.now(f"{name}, {precision}: round {number + 1} of {given.rounds}, {who}")

    return alternate(turns, given.rounds, tell), repetitions


def line(row: Row) -> str:
    """A row as it is printed."""
    who = f"{KINDS[row['contender']].label} {row['way']}"
    text = f"{row['network']} ({row['batch']}), {row['precision']}, {who}: {row['images_per_s']:.4g} images/s"
    text += f", {row['peak_mb']:.4g} MB" if row["peak_mb"] is not None else ""
    if row["ratio"] is not None:
        text += "; time {ratio:.2f} of the better one's ({ratio_low:.2f} to {ratio_high:.2f})".format(**row)
    return text


if __name__ == "__main__":
    sys.exit(ended(main))
