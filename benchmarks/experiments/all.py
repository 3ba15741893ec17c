"""All experiments, the first seed of each, then the second, and so on: three seeds take three or four hours.

Ends in between where --hours says so, or when interrupted; the same command goes on from there. --only
chooses among the experiments; --data is for those on CIFAR-10.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # so that this file can be run from anywhere

from benchmarks.experiments import (
    augmentation,
    batch_norm,
    dropout,
    initialisation,
    reduction,
    relu,
    residual,
    response_norm,
    small_filters,
)
from benchmarks.experiments.experiment import Experiment
from benchmarks.experiments.harness import forget, options, parse, run
from benchmarks.options import chosen
from benchmarks.problem import Problem, ended

ALL = {
    experiment.EXPERIMENT.name: experiment.EXPERIMENT
    for experiment in (
        initialisation,
        reduction,
        relu,
        batch_norm,
        dropout,
        response_norm,
        small_filters,
        augmentation,
        residual,
    )
}


def main(arguments: list[str]) -> None:
    """Run what the arguments ask for, seed by seed."""
    given = parse(options(__doc__, f"experiments ({', '.join(ALL)})"), arguments)
    for name in ("images", "epochs"):
        if getattr(given, name) is not None:
            raise Problem(f"--{name} is for one experiment: each has its own")
    names = chosen(ALL, given.only)
    for name in names if given.anew else ():
        forget(ALL[name], given.out)
    for seeds in [given.seeds] if given.quick else range(1, given.seeds + 1):
        for name in names:
            print(f"== {name}, {seeds} of {given.seeds} seeds", flush=True)
            if not run(ALL[name], _suited(given, ALL[name]), list(ALL[name].variants), seeds):
                return


def _suited(given: Namespace, experiment: Experiment) -> Namespace:
    """The options for one experiment, whose data may be of another kind."""
    own = Namespace(**vars(given))
    own.data = given.data if experiment.setting.get("data") == "cifar10" else None
    return own


if __name__ == "__main__":
    sys.exit(ended(main))
