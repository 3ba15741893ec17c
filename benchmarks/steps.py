"""Whole networks, measured side by side: what train_step.py, inference.py and scaling.py share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

from benchmarks import results
from benchmarks.contenders import KINDS, TORCH, is_installed
from benchmarks.measure import alternate, better, ratio, repetitions_for, spread
from benchmarks.networks import available, find, refuse_unequal
from benchmarks.options import Teller, chosen, peers, progress
from benchmarks.results import Row
from benchmarks.workers import Worker

MB = 2**20
COMPILED = 1.0
"""A first step that takes so many seconds more than a later one, and half as long again, has compiled."""


def race(
    workers: Mapping[str, Worker],
    task: str,
    network: str,
    batch: int,
    options: dict[str, Any],
    given: argparse.Namespace,
    teller: Teller,
) -> dict[str, Row]:
    """Build, compare, then time one network in every worker: kind -> row. Raises Problem if they disagree."""
    build = {"task": task, "network": network, "batch": batch, "options": options}
    name = " ".join([network, *(f"{key} {value}" for key, value in options.items())])

    def prepare(kind: str) -> tuple[dict[str, Any], dict[str, float]]:
        teller.now(f"{name}: {workers[kind].label} gets ready")
        workers[kind].call("build", **build)
        return workers[kind].call("check"), workers[kind].call("warm_up")

    checks, warm = {}, {}
    for kind, worker in workers.items():
        checks[kind], warm[kind] = prepare(kind)
        if "minicnn" in checks and kind != "minicnn":
            refuse_unequal(name, checks["minicnn"], checks[kind], worker.label)
    for kind, worker in workers.items():
        later = warm[kind]["later"]
        warm[kind]["first"] += checks[kind]["seconds"] - later
        if warm[kind]["first"] - later > max(COMPILED, later / 2):
            # The compiler's memory is no part of a step. What it made is on disk for a fresh process.
            worker.restart()
            warm[kind]["later"] = prepare(kind)[1]["later"]
    repetitions = {kind: repetitions_for(warm[kind]["later"], given.seconds) for kind in workers}
    times = alternate(
        {
            kind: partial(worker.call, "run", work="step", repetitions=repetitions[kind])
            for kind, worker in workers.items()
        },
        given.rounds,
        lambda kind, number: teller.now(
            f"{name}: round {number + 1} of {given.rounds}, {workers[kind].label}"
        ),
    )
    return {kind: _row(kind, times, workers, batch, repetitions, warm) for kind in workers}


def _row(kind, times, workers, batch, repetitions, warm) -> Row:
    seconds = spread(times[kind])
    memory = workers[kind].call("memory")
    row: Row = {
        "contender": kind,
        "batch": batch,
        "images_per_s": batch / seconds.middle,
        "ms": 1e3 * seconds.middle,
        "ms_low": 1e3 * seconds.low,
        "ms_high": 1e3 * seconds.high,
    }
    row |= dict.fromkeys(("ratio", "ratio_low", "ratio_high", "against"))
    peers = {other: values for other, values in times.items() if other != "minicnn"}
    if kind == "minicnn" and peers:
        against = better(peers)
        row["ratio"], row["ratio_low"], row["ratio_high"] = ratio(times[kind], times[against])
        row["against"] = against
    return row | {
        "peak_mb": None if memory["peak"] is None else memory["peak"] / MB,
        "growth_mb": None if memory["growth"] is None else memory["growth"] / MB,
        "first_s": warm[kind]["first"],
        "rounds": len(times[kind]),
        "repetitions": repetitions[kind],
    }


def table(task: str, name: str, given: argparse.Namespace) -> list[Row]:
    """Measure the chosen networks of the table, each in fresh processes, and keep each when it is done."""
    names = chosen(find_names(), given.only, quick=["lenet5"] if given.quick else None)
    present = peers(*TORCH)
    found: list[Row] = []
    with progress() as teller:
        for network in names:
            entry = find(network)
            if not available(network):
                teller.note(f"{network}: minicnn has no such network yet; left out")
                continue
            kinds = ["minicnn", *present]
            if entry.torchvision and present and not is_installed("torchvision"):
                teller.note(f"{network}: torchvision is not installed; minicnn is measured alone")
                kinds = ["minicnn"]
            batch = max(2, entry.batch // 8) if given.quick else entry.batch
            with ExitStack() as stack:
                workers = {
                    kind: stack.enter_context(Worker(kind, given.threads, given.backend)) for kind in kinds
                }
                rows = race(workers, task, network, batch, {}, given, teller)
            stamped = [{"network": network} | row | results.stamp() for row in rows.values()]
            found += stamped
            teller.note(_line(network, stamped))
            if given.out:
                results.save(name, stamped, given.machine, ("network", "contender"), given.out)
    return found


def find_names() -> list[str]:
    """The networks of the table."""
    from benchmarks.networks import NETWORKS

    return list(NETWORKS)


def _line(network: str, rows: Sequence[Row]) -> str:
    parts = [f"{KINDS[row['contender']].label} {row['images_per_s']:.4g}" for row in rows]
    text = f"{network} ({rows[0]['batch']}), images/s: {', '.join(parts)}"
    if rows[0]["ratio"] is not None:
        text += "; time {ratio:.2f} of the better one's ({ratio_low:.2f} to {ratio_high:.2f})".format(
            **rows[0]
        )
    return text
