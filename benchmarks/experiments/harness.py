"""Runs an experiment, each variant with each seed; keeps the rows as they come, and reports what they say."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import minicnn as mc
from benchmarks import cifar10, machine, results
from benchmarks.experiments.experiment import Experiment, Found
from benchmarks.experiments.training import LOOKED_AT
from benchmarks.options import Parser, Teller, basic, chosen, parse_basic, positive, progress, whole
from benchmarks.problem import Problem, write_whole
from benchmarks.results import Results, Row
from benchmarks.words import grid, machine_line, paragraph

FOLDER = results.FOLDER / "experiments"
KEY = ("variant", "seed", "epoch")
QUICK = "Of a run with --quick, which only shows that it runs: the figures mean nothing."
ONCE = "There is but one run of some: what follows is a hint, and no more."
OWN = ("data", "images", "epochs")
"""Options that change an experiment's setting."""


def options(about: str | None, things: str) -> Parser:
    """The command line of every experiment; ``things`` is what --only chooses among."""
    made = basic(about, things)
    made.add_argument("--seeds", type=whole, help="how many seeds each variant is run with, from 0 on (3)")
    made.add_argument(
        "--data",
        help="a data set's name, or a folder or zip of images (most take cifar10, which is downloaded where "
        f"there is none, or {cifar10.JPEG}, where that is in the folder that MINICNN_DATA names)",
    )
    made.add_argument("--images", type=whole, help="train on so many images of the data")
    made.add_argument("--epochs", type=whole, help="train for so many epochs")
    made.add_argument("--hours", type=positive, help="begin nothing that would not be finished by then")
    made.add_argument("--threads", type=whole, help="threads (all cores)")
    made.add_argument("--backend", choices=("numba", "numpy"), default="numba", help="the kernels")
    made.add_argument("--anew", action="store_true", help="begin anew, and forget what is kept")
    return made


def parse(made: Parser, arguments: Sequence[str]) -> argparse.Namespace:
    """The options, with what was not given filled in."""
    given = parse_basic(made, arguments)
    given.out = FOLDER if given.out == results.FOLDER else given.out
    given.seeds = given.seeds or (2 if given.quick else 3)
    given.deadline = time.monotonic() + 3600 * given.hours if given.hours else float("inf")
    if given.threads:
        mc.set_num_threads(given.threads)
    return given


def main(experiment: Experiment, arguments: list[str]) -> None:
    """Run one experiment as its command line says."""
    names = ", ".join(f"“{name}”" for name in experiment.variants)
    given = parse(options(experiment.about, f"variants ({names})"), arguments)
    if given.anew:
        forget(experiment, given.out)
    run(experiment, given, chosen(experiment.variants, given.only), given.seeds)


def run(experiment: Experiment, given: argparse.Namespace, variants: Sequence[str], seeds: int) -> bool:
    """Run what is missing of so many seeds, then report; False where the time did not suffice."""
    setting = settled(experiment, given)
    described = machine.describe(mc.get_num_threads(), given.backend) | {"settings": place(setting)}
    rows = results.kept(experiment.name, described, given.out)
    wanted = [(variant, seed) for seed in range(seeds) for variant in variants]
    with mc.use(given.backend), progress() as teller:
        for number, (variant, seed) in enumerate(wanted, 1):
            found = Found(rows)
            if found.has(variant, seed):
                continue
            if time.monotonic() + (found.seconds(variant) or 0.0) > given.deadline:
                teller.note(f"{experiment.name}: no time for “{variant}” with seed {seed}; the rest is kept")
                return False
            ahead = [name for name, other in wanted[number - 1 :] if not found.has(name, other)]
            name = f"{experiment.name} {number}/{len(wanted)}: {variant}, seed {seed}"
            rows += _run(experiment, setting, variant, seed, teller, name + left(found, ahead))
            if given.out:
                results.save(experiment.name, rows, described, KEY, given.out)
        if all(Found(rows).has(variant, seed) for variant, seed in wanted):
            report(experiment, Results(rows, described), given, teller)
    return True


def forget(experiment: Experiment, out: Path | None) -> None:
    """Remove what is kept of an experiment."""
    if out is not None:
        for kind in ("csv", "json", "png", "md"):
            (out / f"{experiment.name}.{kind}").unlink(missing_ok=True)


def settled(experiment: Experiment, given: argparse.Namespace) -> Row:
    """The experiment's setting, with what the command line changes in it."""
    setting = experiment.setting | (experiment.quick if given.quick else {})
    for name in OWN:
        value = getattr(given, name)
        if value is not None and name not in setting:
            raise Problem(f"--{name}: {experiment.name} measures layers and trains nothing")
        setting |= {} if value is None else {name: value}
    return setting | ({"data": cifar10.source(setting["data"])} if "data" in setting else {})


def place(setting: Row) -> Row:
    """A setting as it is kept: with the data's name, wherever they lie."""
    return setting | ({"data": Path(setting["data"]).name} if "data" in setting else {})


def _run(
    experiment: Experiment, setting: Row, variant: str, seed: int, teller: Teller, name: str
) -> list[Row]:
    """The rows of one run."""
    teller.now(name)
    try:
        if experiment.load:
            experiment.load(setting)  # which is remembered
    except (ValueError, OSError) as error:
        raise Problem(f"data {setting['data']}: {error}") from None
    measured = experiment.measure(
        experiment.variants[variant], seed, setting, lambda text: teller.now(f"{name}; {text}")
    )
    rows = [{"variant": variant, "seed": seed} | row | results.stamp() for row in measured]
    cells = [f"{head} {cell(Found(rows), variant) or '–'}" for head, cell in experiment.columns.items()]
    teller.note(f"{experiment.name}: {variant}, seed {seed}: {', '.join(cells)}")
    return rows


def left(found: Found, ahead: Sequence[str]) -> str:
    """How long the runs ahead will take, where each variant has been run before."""
    seconds = [found.seconds(variant) for variant in ahead]
    known = [second for second in seconds if second is not None]
    return f", about {sum(known) / 60:.0f} minutes left" if known and len(known) == len(seconds) else ""


def report(experiment: Experiment, measured: Results, given: argparse.Namespace, teller: Teller) -> None:
    """Say what was found; the picture and the page go to the folder --out, where there is one."""
    found = Found(measured.rows)
    variants = [name for name in experiment.variants if found.has(name)]
    cells = experiment.columns.values()
    table = grid(
        ["", "in the literature", *experiment.columns],
        [
            [name, experiment.published.get(name, "–"), *(cell(found, name) or "–" for cell in cells)]
            for name in variants
        ],
        words=2,
    )
    sentences = [QUICK] * given.quick + conclusions(experiment, found)
    for sentence in sentences:
        teller.note(sentence)
    picture = experiment.draw(found, variants)
    if given.out is None:
        return
    page = f"# {experiment.question}\n\n{table}" + "".join(paragraph(text) for text in sentences)
    page += paragraph(described(experiment, measured)) + machine_line(measured)
    page += f"\n![{experiment.name}]({experiment.name}.png)\n"
    write_whole(given.out / f"{experiment.name}.png", picture)
    write_whole(given.out / f"{experiment.name}.md", page)
    teller.note(f"{experiment.name}: {given.out / experiment.name}.md, .png and .csv")


def conclusions(experiment: Experiment, found: Found) -> list[str]:
    """What the runs show, as sentences."""
    variants = [name for name in experiment.variants if found.has(name)]
    if len(variants) < len(experiment.variants):
        return ["Not all variants have been run: nothing is concluded."]
    sentences = experiment.conclude(found)
    return [ONCE, *sentences] if min(map(found.count, variants)) < 2 else sentences


def described(experiment: Experiment, measured: Results) -> str:
    """What was measured on, in a sentence."""
    setting = measured.machine["settings"]
    found = Found(measured.rows)
    counts = sorted({found.count(name) for name in experiment.variants if found.has(name)})
    middle = (
        f"Runs of each: {' to '.join(map(str, counts))}. Figures are medians, with the range in brackets."
    )
    if experiment.load is None:
        return middle
    data, seen = setting["data"], min(LOOKED_AT, setting["images"])
    return (
        f"{middle} In the picture lines are medians, and bands the range. Trained for {setting['epochs']} "
        f"epochs on {setting['images']:,} images of {data}{cifar10.NOTES.get(data, '')}, in batches of "
        f"{setting['batch']}. The training accuracy is that on {seen:,} of them, as they are; "
        f"the test accuracy is that on up to {setting['test_images']:,} test images."
    )
