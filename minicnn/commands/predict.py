"""``minicnn predict``: what a trained network says of images."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import minicnn
from minicnn.backend import resolve
from minicnn.commands.arguments import FAILED, Stop, add_device, add_offline, one_of, user_input, whole

if TYPE_CHECKING:
    from minicnn.predict import Classifier
    from minicnn.predict.picture import Prediction

BATCH = 8
"""Images that are asked about at a time."""


def run(given: argparse.Namespace) -> int:
    """Say what is in images, with published weights or a network of one's own."""
    with user_input():
        device = resolve(given.device)
        paths = list(_images(given.images))
        if given.save:
            _check_picture(given.save, len(paths))
        classifier = open_classifier(given)
        classifier.model.to(device)
    plain: list[dict[str, Any]] = []
    drawn: list[Prediction] = []
    broken = 0
    for batch in (paths[i : i + BATCH] for i in range(0, len(paths), BATCH)):
        predictions, failures = _predict(classifier, batch, given.top, given.invert)
        for line in failures:
            print(f"minicnn: {line}", file=sys.stderr)
        if not given.json:
            _show(predictions, None if plain else str(classifier))
        plain += [{"file": p.name, "guesses": [g._asdict() for g in p.guesses]} for p in predictions]
        drawn += predictions if given.save else ()  # or a folder's images would all be kept
        broken += len(failures)
    if given.json:
        about = {"minicnn": minicnn.__version__, "network": classifier.network, "weights": classifier.weights}
        print(json.dumps({**about, "images": plain}, indent=1))
    if drawn:
        from minicnn import files
        from minicnn.predict import picture

        files.write(given.save, picture.draw(drawn, str(classifier)))
        if not given.json:
            print(f"saved in {given.save}")
    if broken:
        raise Stop(FAILED, f"predict: {broken} of {len(paths)} images could not be read")
    return 0


def _check_picture(path: Path, images: int) -> None:
    """What would be a pity to find out after everything else was done; ValueError."""
    from minicnn.predict.picture import LARGEST

    if images > LARGEST:
        raise ValueError(f"--save draws {LARGEST} images at most, but these are {images:,}")
    if path.suffix.lower() != ".png":
        raise ValueError(f"--save {path}: the picture is a PNG, so a name that ends in .png is expected")
    if not path.parent.is_dir():
        raise ValueError(f"--save {path}: there is no folder {path.parent}")


def open_classifier(given: argparse.Namespace) -> Classifier:
    """What ``model``, ``weights``, ``preprocessing`` and ``classes`` ask for; ValueError if there is none."""
    from minicnn.models.pretrained import DEFAULT
    from minicnn.predict import from_run, from_weights
    from minicnn.train.saved import is_training

    names = _class_names(given.classes)
    if given.weights is not None and is_training(Path(given.weights)):
        if given.preprocessing or names:
            raise ValueError("--preprocessing and --classes are not for a training's folder, which says both")
        classifier = from_run(given.weights)
        if given.model not in (None, classifier.network):
            raise ValueError(
                f"--model {given.model}, but in {given.weights} {classifier.network} was trained"
            )
        return classifier
    if given.model is None:
        raise ValueError("--model is needed, one that `minicnn models` lists")
    return from_weights(
        given.model,
        given.weights or DEFAULT,
        preprocessing=given.preprocessing,
        class_names=names,
        offline=given.offline,
        progress=not given.json,
    )


def _class_names(path: Path | None) -> tuple[str, ...]:
    """A class's name for each line of a text file."""
    if path is None:
        return ()
    try:
        names = tuple(path.read_text(encoding="utf-8").splitlines())
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file with a class's name in each line") from None
    for number, name in enumerate(names or ("",), 1):
        if not name.strip():
            raise ValueError(f"{path}: has no name in line {number}")
    return names


def _images(arguments: Sequence[Path]) -> Iterator[Path]:
    """The files that are named, and the images in the folders that are; ValueError for what is not there."""
    from minicnn.data.images import EXTENSIONS

    for path in arguments:
        if not path.exists():
            raise ValueError(f"{path}: there is no such file")
        if not path.is_dir():
            yield path
            continue
        found = sorted(
            file
            for file in path.rglob("*")
            if file.suffix.lower() in EXTENSIONS and file.is_file() and not file.name.startswith(".")
        )
        if not found:
            raise ValueError(f"{path}: there are no images in this folder")
        yield from found


def _predict(
    classifier: Classifier, paths: Sequence[Path], top: int, invert: bool
) -> tuple[list[Prediction], list[str]]:
    """What the network says of these images, and a line for each that cannot be read."""
    import numpy as np

    from minicnn.data import DataError, read_image
    from minicnn.predict.picture import Prediction

    seen, failures = [], []
    for path in paths:
        try:
            seen.append((str(path), *read_image(path, classifier.preprocessing, invert)))
        except DataError as error:
            failures.append(str(error))
    if not seen:
        return [], failures
    with user_input():
        guesses = classifier.guesses(np.stack([x for _, _, x in seen]), top)
    found = [Prediction(name, image, of_it) for (name, image, _), of_it in zip(seen, guesses, strict=True)]
    return found, failures


def _show(predictions: Sequence[Prediction], title: str | None) -> None:
    """A small table for each image; the title comes before the first."""
    from rich.console import Console
    from rich.table import Table

    from minicnn.predict.picture import percent

    console = Console()
    if title is not None and predictions:
        console.print(title, highlight=False, markup=False, soft_wrap=True)
    for name, _, guesses in predictions:
        table = Table(box=None, show_header=False, padding=(0, 1))
        table.add_column(justify="right", min_width=7)
        table.add_column()
        for rank, guess in enumerate(guesses):
            table.add_row(percent(guess.probability), guess.name, style="" if rank else "bold")
        console.print()
        console.print(name, highlight=False, markup=False, soft_wrap=True)
        console.print(table, highlight=False, markup=False)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    from minicnn.models.preprocessing import CONVENTIONS

    parser.add_argument(
        "images", metavar="IMAGE", nargs="+", type=Path, help="image files, or folders of them"
    )
    known = minicnn.models.list()
    parser.add_argument("--model", metavar="NAME", type=one_of(known), help="one that `minicnn models` lists")
    parser.add_argument(
        "--weights",
        metavar="WEIGHTS",
        help="a published one's name (`minicnn models NAME` lists them; the best), a file, or a training's "
        "folder",
    )
    parser.add_argument(
        "--invert",
        action="store_true",
        help="light for dark: for ink on paper, where a network knows light on dark",
    )
    parser.add_argument("--top", metavar="N", type=whole(1), default=5, help="guesses for each image (5)")
    parser.add_argument("--save", metavar="FILE", type=Path, help="draw images and guesses into this PNG")
    parser.add_argument(
        "--classes", metavar="FILE", type=Path, help="text file with a class's name in each line"
    )
    parser.add_argument(
        "--preprocessing",
        metavar="NAME",
        type=one_of(CONVENTIONS),
        help=f"how images are prepared: {', '.join(CONVENTIONS)} (as suits the weights)",
    )
    add_device(parser)
    add_offline(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def epilog() -> str:
    """What to try first."""
    return (
        "examples:\n"
        "  minicnn predict cat.jpg --model resnet50 --save cat.png\n"
        "  minicnn predict photos/ --model efficientnet_b0 --top 3 --json\n"
        "  minicnn predict seven.png --weights runs/lenet5-mnist --invert"
    )
