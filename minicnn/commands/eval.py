"""``minicnn eval``: measures a network that a training left."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minicnn.commands.arguments import add_data, add_device, add_offline, one_of, user_input, whole

if TYPE_CHECKING:
    from minicnn.data import Dataset, Split
    from minicnn.train.loop import Evaluation
    from minicnn.train.saved import Trained

SPLITS = ("test", "validation", "train")


def run(given: argparse.Namespace) -> int:
    """Measure a trained network: accuracy, top-5, confusion matrix, each class's precision and recall."""
    from minicnn import backend, kernels
    from minicnn.train import evaluate, results
    from minicnn.train.display import counted
    from minicnn.train.prepare import load_data
    from minicnn.train.saved import open_run

    with user_input():
        trained = open_run(given.run_or_checkpoint)
        device = backend.resolve(given.device)
        name = given.data or trained.options.data
        known = {"channels": trained.channels, "offline": given.offline}
        dataset = trained.prepared(load_data(trained.options, name, given.data_dir, **known))
        split = _checked(trained, dataset, name, given.split)
        out = given.out or trained.path.parent / f"eval-{Path(name).stem}-{given.split}"
        if out.exists() and not out.is_dir():
            raise ValueError(f"--out {out}: is a file, but a folder to write to is expected")
    model, size = trained.model.to(device), given.batch_size
    with kernels.use(precision=trained.options.precision), counted(given.split, len(split)) as on_batch:
        found = evaluate(model, split, batch_size=size, on_batch=on_batch)
    figures = results.figures(found, split.labels, trained.classes)
    about = {"run": str(trained.path), "model": trained.options.model, "epochs": trained.epochs}
    document = {**about, "data": name, "split": given.split, **figures}
    if given.json:
        print(json.dumps(document, indent=1))
    else:
        _print(trained, f"{name}, {given.split}", figures)
    written = _write(out, document, (trained, dataset, split, found), given)
    if not given.json:
        print(f"saved in {out}: {', '.join(written)}")
    return 0


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    parser.add_argument(
        "run_or_checkpoint", metavar="RUN", type=Path, help="a training's folder, or its checkpoint"
    )
    add_data(parser, "what to measure it on (what it was trained on)")
    add_offline(parser)
    parser.add_argument(
        "--split", metavar="NAME", type=one_of(SPLITS), default="test", help=f"{', '.join(SPLITS)} (test)"
    )
    parser.add_argument("--batch-size", metavar="N", type=whole(1), default=64, help="images at a time (64)")
    add_device(parser)
    parser.add_argument("--out", metavar="DIR", type=Path, help="where to write (RUN/eval-DATA-SPLIT)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--no-plots", dest="plots", action="store_false", help="draw no pictures")


def _checked(trained: Trained, dataset: Dataset, name: str, which: str) -> Split:
    """The split, if there are images in it."""
    split = dataset.splits()[which]
    if not len(split):
        raise ValueError(f"split: {name} has no {which} images as {trained.path} was trained")
    return split


def _print(trained: Trained, what: str, figures: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from minicnn.train.display import percent

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class", no_wrap=True)
    for column in ("precision", "recall", "F1", "images"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, row in figures["classes"].items():
        shares = (f"{row[key]:.4f}" for key in ("precision", "recall", "f1"))
        table.add_row(Text(name), *shares, f"{row['images']:,}")
    words = [f"accuracy {percent(figures['accuracy'])}", f"loss {figures['loss']:.4f}"]
    if "top5" in figures:
        words.insert(1, f"top-5 {percent(figures['top5'])}")
    console = Console()
    epochs = f"{trained.epochs} epoch" + "s" * (trained.epochs != 1)
    heading = f"{trained.options.model} after {epochs}, {what}"
    console.print(heading, highlight=False, markup=False)
    console.print(f"{', '.join(words)} on {figures['images']:,} images", highlight=False)
    console.print(table, highlight=False)


def _write(
    out: Path,
    document: dict[str, Any],
    measured: tuple[Trained, Dataset, Split, Evaluation],
    given: argparse.Namespace,
) -> list[str]:
    """Write the figures and the pictures; return their names."""
    from minicnn import files
    from minicnn.train import results

    trained, dataset, split, found = measured
    contents = {"evaluation.json": (json.dumps(document, indent=1) + "\n").encode()}
    if given.plots:
        from minicnn.train import plots

        what = f"{trained.options.model} on {Path(document['data']).stem}"
        contents |= results.pictures(dataset, split, given.split, found, what)
        contents["classes.png"] = plots.classes(document["classes"], f"{what}: precision, recall and F1")
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        files.write(out / name, content)
    return list(contents)
