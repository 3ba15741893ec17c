"""``minicnn look``: pictures of a trained network at work on an image."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import minicnn
from minicnn.backend import resolve, unknown
from minicnn.commands.arguments import WRONG, Stop, add_device, one_of, user_input

if TYPE_CHECKING:
    from minicnn.explain.pictures import Subject
    from minicnn.predict import Classifier


def run(given: argparse.Namespace) -> int:
    """Draw a network's filters, its feature maps, and which pixels of an image its answer rests on."""
    from minicnn import files
    from minicnn.explain.observe import NothingToSee
    from minicnn.explain.pictures import PICTURES

    with user_input():
        if given.out.exists() and not given.out.is_dir():
            raise ValueError(f"look: --out {given.out}: a folder is expected, but this is a file")
        device = resolve(given.device)
        classifier = _classifier(given)
        classifier.model.to(device)
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
    return 0


def _classifier(given: argparse.Namespace) -> Classifier:
    from minicnn.models.pretrained import DEFAULT
    from minicnn.predict import from_run, from_weights

    known = minicnn.models.list()
    if given.network in known:
        return from_weights(given.network, given.weights or DEFAULT, offline=given.offline)
    if not Path(given.network).exists():
        raise ValueError(f"look: network {unknown(given.network, known)}, nor is there such a folder")
    if given.weights is not None:
        raise ValueError(f"look: --weights is for a network by name; {given.network} has its own")
    return from_run(given.network)


def _subject(given: argparse.Namespace, classifier: Classifier) -> Subject:
    from minicnn.data import read_image
    from minicnn.explain.pictures import Subject
    from minicnn.predict.picture import percent

    image, x = read_image(given.image, classifier.preprocessing, given.invert)
    pixels = np.asarray(image, np.float32) / 255
    p = classifier.probabilities(x[None])[0]
    label = int(p.argmax()) if given.label is None else _label(given.label, classifier, len(p))
    names = classifier.class_names or [f"class {k}" for k in range(len(p))]
    best = "" if label == p.argmax() else f"; most probable is {names[p.argmax()]} ({percent(p.max())})"
    if given.layer is not None:
        from minicnn.explain.observe import find_layer

        find_layer(classifier.model, x[None], given.layer)
    return Subject(
        str(classifier),
        classifier.model,
        pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1),
        x[None],
        label,
        f"{names[label]} ({percent(p[label])}){best}",
        given.layer,
        bgr=classifier.preprocessing.channels == "BGR",
    )


def _label(text: str, classifier: Classifier, classes: int) -> int:
    """A class by its name or number; ValueError if there is none."""
    if text in classifier.class_names:
        return classifier.class_names.index(text)
    if text.isascii() and text.isdigit() and int(text) < classes:
        return int(text)
    raise ValueError(
        f"look: --label {text!r}, but a class's name or its number, 0 to {classes - 1}, is expected"
    )


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options after the command."""
    from minicnn.explain.pictures import PICTURES

    parser.add_argument(
        "network", metavar="MODEL|RUN", help="one that `minicnn models` lists, or the folder of a training"
    )
    parser.add_argument("--image", metavar="FILE", type=Path, required=True, help="an image file")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("look"), help="for the PNGs (look)")
    parser.add_argument("--label", metavar="K", help="the class asked about, name or number (the likeliest)")
    parser.add_argument(
        "--layer", metavar="NAME", help="the layer looked into (the last whose maps have several pixels)"
    )
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", type=one_of(PICTURES), help=f"of {', '.join(PICTURES)}"
    )
    parser.add_argument("--weights", metavar="WEIGHTS", help="a published one's name, or a file (the best)")
    parser.add_argument("--invert", action="store_true", help="light for dark, as for ink on paper")
    add_device(parser)
    parser.add_argument("--offline", action="store_true", help="download nothing")


def epilog() -> str:
    """What to try first."""
    return (
        "examples:\n"
        "  minicnn train lenet5 && minicnn look runs/lenet5-digits --image seven.png --invert\n"
        "  minicnn look resnet18 --image cat.jpg --only grad_cam occlusion\n"
        "  minicnn look vgg16 --image cat.jpg --label 'tiger cat' --layer features.16"
    )
