"""``minicnn train``: trains a network and leaves a folder with everything about it."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import minicnn
from minicnn.commands.arguments import (
    FAILED,
    WRONG,
    Stop,
    above_zero,
    add_data,
    add_device,
    add_model,
    add_offline,
    number,
    one_of,
    part,
    share,
    user_input,
    whole,
)

EXAMPLES = {
    "minicnn train lenet5": "digits that come with minicnn",
    "minicnn train resnet18 --data photos/ --augment photos": "photos/cat/1.jpg, photos/dog/1.jpg, …",
    "minicnn train resnet18 --data photos/ --weights DEFAULT --freeze base": "a new head for what was learnt",
    "minicnn train lenet5 --resume": "after an interruption",
    "minicnn train --repeat runs/lenet5-digits --seed 1": "once more, with other random numbers",
}


def run(given: argparse.Namespace) -> int:
    """Train a network and write what came out of it to a folder."""
    from rich.console import Console

    from minicnn.train.options import Options
    from minicnn.train.prepare import prepare
    from minicnn.train.run import RunError

    if given.model is None and given.repeat is None:
        raise Stop(WRONG, "train: MODEL is needed, one that `minicnn models` lists")
    if given.repeat is not None and given.resume:
        raise Stop(WRONG, "train: --resume goes on with a training, --repeat begins it anew: one of them")
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
            repeat=given.repeat,
            device=given.device,
            workers=given.workers,
            offline=given.offline,
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
    from minicnn.train.options import DECAYS
    from minicnn.train.recipes import OPTIMIZERS, PAPERS, RECIPES, SCHEDULES

    # The defaults are None here, so that --resume and --repeat can tell what was given from what was not.
    def option(name: str, metavar: str, help: str, type: Callable[[str], Any] = str) -> None:
        parser.add_argument(name, metavar=metavar, help=help, type=type, default=None)

    add_model(parser, "MODEL", nargs="?")
    add_data(parser, f"{', '.join(RECIPES)}, a folder or zip of images, or a file of features (digits)")
    add_offline(parser)
    option("--recipe", "NAME", "a set-up of the literature, see below", one_of(PAPERS))
    option("--validation", "N", "images held out of the training: a number, or a fraction", part)
    option("--epochs", "N", "passes over the training images", whole(1))
    option("--batch-size", "N", "images in a step", whole(1))
    option("--optimizer", "NAME", "see below", one_of(OPTIMIZERS))
    option("--lr", "RATE", "learning rate", number)
    option("--momentum", "M", "for sgd, nesterov and rmsprop", number)
    option("--weight-decay", "D", "how strongly weights are drawn to zero", number)
    option("--decay", "WHAT", "; ".join(f"{k}: {v}" for k, v in DECAYS.items()) + " (all)", one_of(DECAYS))
    option("--label-smoothing", "S", "the share of a label that goes to all classes alike", share)
    option("--schedule", "NAME", "of the learning rate, see below", one_of(SCHEDULES))
    option("--augment", "NAMES", "what is done to training images, such as flip,crop4; see `minicnn augment`")
    option("--on-error", "WHAT", "at a broken image: raise, or skip it (raise)", one_of(("raise", "skip")))
    option("--early-stopping", "N", "end when N epochs in a row were no better on validation", whole(1))
    option("--clip", "NORM", "bound of the norm of all gradients together", above_zero)
    option("--clip-value", "V", "bound of each entry of the gradients", above_zero)
    option("--accumulate", "N", "take a batch in N pieces, for a N-th of the memory", whole(1))
    option("--ema", "D", "decay of a moving average of the weights, which is measured and kept", share)
    option("--mixup", "ALPHA", "let images shine through each other", above_zero)
    option("--cutmix", "ALPHA", "put rectangles of images into others", above_zero)
    option("--weights", "WEIGHTS", "begin with these: a published name, a file, or a training's folder")
    option(
        "--freeze", "NAMES", "layers to leave as they are, such as conv1,layer[1-3]; base: all but the head"
    )
    option("--unfreeze", "NAMES", "layers to train all the same")
    option("--lr-of", "NAME=RATE", "a rate of their own for some layers: layer4=1e-4,layer3=1e-5")
    words = "what factors may be rounded to on a GPU: tf32, bf16, fp16, or fp32: not at all (fp32)"
    option("--precision", "NAME", words, one_of(PRECISIONS))
    option("--seed", "N", "for the splits, the weights, the order and dropout (0)", whole(0))
    parser.add_argument("--workers", metavar="N", type=whole(0), help="threads that read images ahead")
    add_device(parser)
    option("--out", "DIR", "folder for everything that is written (runs/MODEL-DATA)", Path)
    parser.add_argument("--resume", action="store_true", help="go on where a training was interrupted")
    words = "begin a training anew with all its options, but for those given; MODEL may be left out"
    parser.add_argument("--repeat", metavar="RUN", type=Path, help=words)
    parser.add_argument("--no-plots", dest="plots", action="store_false", help="draw no pictures")


def epilog() -> str:
    """What is chosen where nothing is given, and what there is to choose from."""
    from minicnn.train import folders
    from minicnn.train.options import complete
    from minicnn.train.recipes import OPTIMIZERS, PAPERS, RECIPES, SCHEDULES, TUNED

    def section(title: str, rows: dict[str, str], width: int = 18) -> str:
        return "\n".join([title, *(f"  {name:<{width}} {words}" for name, words in rows.items())])

    recipes = {}
    for model, data in [*TUNED, *(("others", name) for name in (*RECIPES, "./images", "x.safetensors"))]:
        recipes[f"{model} on {data}"] = str(complete({"model": model, "data": data}))
    papers = {}
    for name, recipe in PAPERS.items():
        source = textwrap.fill(f"{recipe.source}", 80, initial_indent=21 * " ", subsequent_indent=21 * " ")
        papers[name] = f"{complete({'model': 'lenet5', 'recipe': name})}\n{source}"
    optimizers = {
        name: f"lr {kind.lr:g}, weight decay {kind.weight_decay:g}"
        + ("" if kind.momentum is None else f", momentum {kind.momentum:g}")
        for name, kind in OPTIMIZERS.items()
    }
    return "\n\n".join(
        [
            section("examples:", EXAMPLES, 72),
            section("what is in the folder then:", folders.OUTPUTS, 24),
            section("where nothing else is given:", recipes, max(map(len, recipes))),
            section("recipes of the literature (--recipe):", papers),
            section("optimizers, and their own defaults:", optimizers),
            section("schedules:", {name: kind.description for name, kind in SCHEDULES.items()}),
        ]
    )
