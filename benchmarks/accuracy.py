"""How many test images networks get right that `minicnn train` has trained, beside what was published.

Each row is one command, run as a user would, with everything it writes in a folder of its own under --runs.
A training that was interrupted goes on where it was, and one that is finished is not repeated. All of them
take some hours on two cores; --only chooses. Nothing is chosen by the test images, which are looked at once.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import cifar10, machine, results
from benchmarks.options import basic, chosen, parse_basic, whole
from benchmarks.problem import Problem, ended
from benchmarks.results import Row, stamp
from benchmarks.workers import environment
from minicnn.train import folders

KEY = ("network", "engine", "epoch")


class Training(NamedTuple):
    """What is trained on and how, beside what is known: the published share of test images right."""

    data: str
    options: str
    published: float
    source: str


LENET = "LeCun et al. 1998, figure 9"
COURSE = "the course that it is from"
TRAININGS = {
    "lenet5": Training("mnist", "", 0.9905, LENET),
    "lenet5_1998": Training("mnist", "--epochs 20", 0.9905, LENET),
    "mnist_cnn": Training("mnist", "", 0.9919, COURSE),
    "cifar_model1": Training(cifar10.NAME, "--batch-size 32 --epochs 20", 0.707, COURSE),
    "cifar_model2": Training(cifar10.NAME, "--batch-size 32 --epochs 20", 0.683, COURSE),
    "cifar_model3": Training(cifar10.NAME, "--batch-size 32 --epochs 20", 0.781, COURSE),
    "cifar_resnet20": Training(
        cifar10.NAME,
        "--recipe resnet-cifar2015 --epochs 30 --schedule cosine --weight-decay 5e-4",
        0.9125,
        "He et al. 2015, table 6, after 182 epochs",
    ),
}
"""By the network's name."""


def main(arguments: list[str]) -> None:
    """Train what the arguments ask for, and keep how it went."""
    given = parse(__doc__, TRAININGS, arguments)
    for name in chosen(TRAININGS, given.only):
        words = command(name, quick=given.quick)
        print(f"== {spoken(words)}", flush=True)
        rows = trained(name, words, given.runs / name, given.threads)
        keep(rows, given)


def parse(about: str | None, names: Iterable[str], arguments: list[str]) -> argparse.Namespace:
    """The options of those who train these networks, with what was not given filled in."""
    made = basic(about, f"networks ({', '.join(names)})")
    made.add_argument("--runs", type=Path, default=Path("runs", "accuracy"), help="folder for the trainings")
    made.add_argument("--threads", type=whole, help="threads (all cores)")
    given = parse_basic(made, arguments)
    given.threads = given.threads or len(machine.cores())
    return given


def keep(rows: list[Row], given: argparse.Namespace) -> None:
    """Put the rows of one training into the folder for results, where there is one."""
    if given.out:
        results.save("accuracy", rows, machine.describe(given.threads, "numba"), KEY, given.out)


def command(name: str, quick: bool = False) -> list[str]:
    """The words after `minicnn` that train a network; a quick training is an epoch on little digits."""
    training = TRAININGS[name]
    if quick:
        return ["train", name, "--data", "digits", "--epochs", "1"]
    source = cifar10.source(training.data)
    return ["train", name, "--data", source, "--validation", "0", *training.options.split()]


def spoken(words: list[str]) -> str:
    """A command as it is printed: with the data's name, wherever they lie."""
    named = list(words)
    place = named.index("--data") + 1
    named[place] = Path(named[place]).name
    return " ".join(["minicnn", *named])


def trained(name: str, words: list[str], folder: Path, threads: int) -> list[Row]:
    """A row for each epoch of a training, which is begun, taken up or found finished; the test in the last.

    Problem where it ends with an error, or where the folder has a training with other options.
    """
    finished = folder / folders.RESULTS
    if not finished.exists():
        again = ["--resume"] if (folder / folders.CHECKPOINT).exists() else []
        asked = [sys.executable, "-m", "minicnn", *words, "--out", str(folder), *again]
        if subprocess.run(asked, env=environment(threads)).returncode:
            raise Problem(f"{name}: the training did not end well; what it saved is in {folder}")
    found = json.loads(finished.read_text(encoding="utf-8"))
    check_options(name, words, found["options"], folder)
    with (folder / folders.HISTORY).open(encoding="utf-8", newline="") as file:
        epochs = list(csv.DictReader(file))
    rows: list[Row] = [
        about(name, words, "minicnn")
        | {"epoch": int(epoch["number"])}
        | {column: float(epoch[column]) for column in ("loss", "accuracy", "seconds")}
        | {"test_accuracy": None, "images": None}
        | stamp()
        for epoch in epochs
    ]
    rows[-1] |= {"test_accuracy": found["test"]["accuracy"], "images": found["test"]["images"]}
    return rows


def about(name: str, words: list[str], engine: str) -> Row:
    """The columns that say which training it was, and who computed."""
    published = TRAININGS[name].published
    return {"network": name, "engine": engine, "command": spoken(words), "published": published}


def check_options(name: str, words: list[str], used: dict[str, Any], folder: Path) -> None:
    """Raise Problem unless a finished training had the options of this command, wherever its data lay."""
    asked = dict(zip(words[2::2], words[3::2], strict=True)) | {"model": name}
    for option, wanted in asked.items():
        had = used[option.removeprefix("--").replace("-", "_")]
        if option == "--data":
            had, wanted = Path(had).name, Path(wanted).name
        same = had == wanted if isinstance(had, str) else had == float(wanted)
        if not same:
            raise Problem(f"{folder}: is a training with {option} {had}, but here it is {wanted}")


if __name__ == "__main__":
    sys.exit(ended(main))
