"""``minicnn look``: pictures of a trained network at work, on an image or on a whole data set."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minicnn.backend import resolve
from minicnn.commands.arguments import (
    WRONG,
    Stop,
    add_data,
    add_device,
    one_of,
    user_input,
    whole,
)
from minicnn.commands.eval import SPLITS
from minicnn.commands.networks import add_network, add_seed, find_label, open_network

if TYPE_CHECKING:
    from minicnn.explain.pictures import Subject
    from minicnn.predict import Classifier

OF_IMAGES = ("label", "layer", "only", "invert")
OF_RESPONSES = ("data", "data_dir", "split", "limit", "top")
"""The options that go with ``--image``, and those with ``--responds``."""


def run(given: argparse.Namespace) -> int:
    """Draw a network's filters, its maps, which pixels its answer rests on, and what its units respond to."""
    _check(given)
    with user_input():
        if given.out.exists() and not given.out.is_dir():
            raise ValueError(f"look: --out {given.out}: a folder is expected, but this is a file")
        device = resolve(given.device)
        classifier = open_network(given, "look", given.network, given.seed, quiet=False)
        classifier.model.to(device)
    if given.responds is not None:
        from minicnn.commands.look_responses import draw

        draw(given, classifier)
    else:
        _draw(given, classifier)
    return 0


def _check(given: argparse.Namespace) -> None:
    """Stop unless one thing is asked for, with the options that go with it."""
    if (given.image is None) == (given.responds is None):
        words = "is needed" if given.image is None else "make different pictures: one at a time is expected"
        raise Stop(WRONG, f"look: --image FILE {'or' if given.image is None else 'and'} --responds {words}")
    foreign, other = (OF_IMAGES, "image") if given.image is None else (OF_RESPONSES, "responds")
    for name in foreign:
        if getattr(given, name):
            raise Stop(WRONG, f"look: --{name.replace('_', '-')} goes with --{other}")


def _draw(given: argparse.Namespace, classifier: Classifier) -> None:
    """The pictures of one image."""
    from minicnn import files
    from minicnn.explain.observe import NothingToSee
    from minicnn.explain.pictures import PICTURES

    with user_input():
        subject = _subject(given, classifier)
    print(f"{classifier}: {given.image.name}, asked about: {subject.asked}")
    given.out.mkdir(parents=True, exist_ok=True)
    for name in given.only or PICTURES:
        path = given.out / f"{name}.png"
        try:
            content, line = PICTURES[name](subject)
        except NothingToSee as nothing:
            if given.only:
                raise Stop(WRONG, f"look: --only {name}: {nothing}") from None
            print(f"{path}: not drawn, as {nothing}")
            continue
        files.write(path, content)
        print(f"{path}: {line}")


def _subject(given: argparse.Namespace, classifier: Classifier) -> Subject:
    from minicnn.data import read_image
    from minicnn.explain.observe import check_label, find_layer
    from minicnn.explain.pictures import Subject
    from minicnn.predict.picture import percent

    image, x = read_image(given.image, classifier.preprocessing, given.invert)
    pixels = np.asarray(image, np.float32) / 255
    p = classifier.probabilities(x[None])[0]
    label = find_label(given.label, classifier.class_names)
    label = int(p.argmax()) if label is None else check_label(label, len(p))
    name, likely = classifier.class_name, int(p.argmax())
    best = "" if label == likely else f"; most probable is {name(likely)} ({percent(p[likely])})"
    if given.layer is not None:
        find_layer(classifier.model, x[None], given.layer)
    return Subject(
        str(classifier),
        classifier.model,
        pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1),
        x[None],
        label,
        f"{name(label)} ({percent(p[label])}){best}",
        given.layer,
        bgr=classifier.preprocessing.channels == "BGR",
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    from minicnn.explain.pictures import PICTURES

    parser.add_argument(
        "network", metavar="MODEL|RUN", help="one that `minicnn models` lists, or the folder of a training"
    )
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("look"), help="for the PNGs (look)")
    add_network(parser)
    add_seed(parser)
    add_device(parser)
    image = parser.add_argument_group("what it makes of an image")
    add = image.add_argument
    add("--image", metavar="FILE", type=Path, help="an image file")
    add("--label", metavar="K", help="the class asked about, name or number (the likeliest)")
    add("--layer", metavar="NAME", help="the layer looked into (the last whose maps have several pixels)")
    add("--only", metavar="NAME", nargs="+", type=one_of(PICTURES), help=f"of {', '.join(PICTURES)}")
    add("--invert", action="store_true", help="light for dark, as for ink on paper")
    units = parser.add_argument_group("what its units respond to most in a data set")
    add = units.add_argument
    add(
        "--responds",
        metavar="LAYER[:CHANNELS]",
        nargs="?",
        const="",
        help="as features.16 or features.16:3,17 (the last layer whose maps have several pixels, and its six "
        "channels with the strongest responses)",
    )
    add_data(units, "whose images (what it was trained on)")
    add("--split", metavar="NAME", type=one_of(SPLITS), help=f"{', '.join(SPLITS)} (test)")
    add("--limit", metavar="N", type=whole(1), help="look at N images, evenly spread (all)")
    add("--top", metavar="N", type=whole(1), help="images for each channel (8)")


def epilog() -> str:
    """What to try first."""
    return (
        "examples:\n"
        "  minicnn train lenet5 && minicnn look runs/lenet5-digits --image seven.png --invert\n"
        "  minicnn look resnet18 --image cat.jpg --only grad_cam occlusion\n"
        "  minicnn look vgg16 --image cat.jpg --label 'tiger cat' --layer features.16\n"
        "  minicnn look runs/lenet5-digits --responds\n"
        "  minicnn look vgg16 --responds features.16:3,17 --data photos/"
    )
