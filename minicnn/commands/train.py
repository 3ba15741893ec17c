"""``minicnn train``: trains a network and leaves a folder with everything about it."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minicnn
from minicnn.backend import BACKEND_VARIABLE, DEVICES, default_device
from minicnn.commands.arguments import FAILED, Stop, add_model, number, one_of, part, share, user_input, whole


def run(given: argparse.Namespace) -> int:
    """Train a network and write what came out of it to a folder."""
    from rich.console import Console

    from minicnn.train.options import Options
    from minicnn.train.run import RunError, prepare

    options = {
        name: value
        for name, value in vars(given).items()
        if name in Options.__dataclass_fields__ and value is not None
    }
    with user_input():
        run = prepare(
            options,
            data_dir=given.data_dir,
            out=given.out,
            resume=given.resume,
            device=given.device,
            version=minicnn.__version__,
        )
    try:
        run.execute(Console(), plots=given.plots)
    except RunError as error:
        raise Stop(FAILED, str(error)) from error
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    from minicnn.kernels.registry import PRECISIONS
    from minicnn.train.recipes import OPTIMIZERS, RECIPES, SCHEDULES

    # The defaults are None here, so that --resume can tell what was given from what was not.
    def option(name: str, metavar: str, help: str, type: Callable[[str], Any] = str) -> None:
        parser.add_argument(name, metavar=metavar, help=help, type=type, default=None)

    add_model(parser, "MODEL")
    option("--data", "NAME", f"{' or '.join(RECIPES)} (digits, which are in the package)", one_of(RECIPES))
    option("--data-dir", "DIR", "where the data's files are (MINICNN_DATA, else they are downloaded)")
    option("--validation", "N", "images held out of the training: a number, or a fraction", part)
    option("--epochs", "N", "passes over the training images", whole(1))
    option("--batch-size", "N", "images in a step", whole(1))
    option("--optimizer", "NAME", "see below", one_of(OPTIMIZERS))
    option("--lr", "RATE", "learning rate", number)
    option("--momentum", "M", "for sgd, nesterov and rmsprop", number)
    option("--weight-decay", "D", "how strongly weights are drawn to zero", number)
    option("--label-smoothing", "S", "the share of a label that goes to all classes alike", share)
    option("--schedule", "NAME", "of the learning rate, see below", one_of(SCHEDULES))
    words = "what factors may be rounded to on a GPU: tf32, bf16, or fp32: not at all (fp32)"
    option("--precision", "NAME", words, one_of(PRECISIONS))
    option("--seed", "N", "for the splits, the weights, the order and dropout (0)", whole(0))
    parser.add_argument(
        "--device",
        metavar="NAME",
        type=one_of((*DEVICES, "auto")),
        default=default_device() if BACKEND_VARIABLE in os.environ else "auto",
        help=f"cpu, cuda, or auto: the GPU if there is one ({BACKEND_VARIABLE}, else auto)",
    )
    option("--out", "DIR", "folder for everything that is written (runs/MODEL-DATA)", Path)
    parser.add_argument("--resume", action="store_true", help="go on where a training was interrupted")
    parser.add_argument("--no-plots", dest="plots", action="store_false", help="draw no pictures")


def epilog() -> str:
    """What is chosen where nothing is given, and what there is to choose from."""
    from minicnn.train.options import complete
    from minicnn.train.recipes import OPTIMIZERS, RECIPES, SCHEDULES, TUNED

    def section(title: str, rows: dict[str, str]) -> str:
        return "\n".join([title, *(f"  {name:<18} {words}" for name, words in rows.items())])

    recipes = {}
    for model, data in [*TUNED, *(("others", name) for name in RECIPES)]:
        recipes[f"{model} on {data}"] = str(complete({"model": model, "data": data}))
    optimizers = {
        name: f"lr {kind.lr:g}, weight decay {kind.weight_decay:g}"
        + ("" if kind.momentum is None else f", momentum {kind.momentum:g}")
        for name, kind in OPTIMIZERS.items()
    }
    return "\n\n".join(
        [
            section("where nothing else is given:", recipes),
            section("optimizers, and their own defaults:", optimizers),
            section("schedules:", {name: kind.description for name, kind in SCHEDULES.items()}),
        ]
    )
