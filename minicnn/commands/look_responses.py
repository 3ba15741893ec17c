"""``minicnn look --responds``: what a network's units respond to most in a data set."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import numpy as np

import minicnn
from minicnn.commands.arguments import user_input

if TYPE_CHECKING:
    from minicnn.data import Dataset, Split
    from minicnn.models import Preprocessing
    from minicnn.predict import Classifier

CHANNELS, MOST = 6, 16
"""The channels that are drawn unless they are named; the most of them, or of images of one, on a sheet."""


def draw(given: argparse.Namespace, classifier: Classifier) -> None:
    """Go through the images, draw the sheet and say what is on it."""
    from minicnn import files
    from minicnn.explain.observe import find_layer
    from minicnn.explain.response_sheet import draw_responses
    from minicnn.explain.responses import BATCH, TOP, patches, strongest_responses
    from minicnn.explain.sensitivity import without_relu
    from minicnn.train.display import counted

    with user_input():
        layer, channels = units(given.responds)
        top = given.top or TOP
        if top > MOST:
            raise ValueError(f"look: --top {top}, but the picture has room for {MOST}")
        what, split = _images(given, classifier)
        found = find_layer(classifier.model, split.images[:1], layer)
        C = found.shape[1]
        if any(c >= C for c in channels):
            raise ValueError(f"look: --responds {given.responds}: {found.name} has channels 0 to {C - 1}")
        with counted("looking at images", len(split)) as on_batch:
            responses = strongest_responses(
                classifier.model, split, found.name, top=top, batch_size=BATCH, on_batch=on_batch
            )
        chosen = channels or sorted(responses.strongest(CHANNELS))
        rows = {channel: patches(classifier.model, split, responses, channel) for channel in chosen}
    why = "" if channels else ", those with the strongest responses"
    which = "" if layer else ", the last layer whose maps have more than one pixel,"
    title = f"{classifier}\nwhat {found.name}{which} responds to most in {what}"
    rule = without_relu(classifier.model)
    path = given.out / "responses.png"
    given.out.mkdir(parents=True, exist_ok=True)
    files.write(path, draw_responses(rows, title, rule))
    each = len(rows[chosen[0]])
    print(
        f"{path}: what {found.name}{which} responds to most in {what}: {len(chosen)} of {C} channels{why}, "
        f"{each} image{'s' * (each > 1)} for each{rule}"
    )


def units(text: str) -> tuple[str | None, list[int]]:
    """A layer and channels out of "LAYER:3,17", where both may be missing; ValueError for what is neither.

    >>> units("features.16:3,17"), units("c1"), units("")
    (('features.16', [3, 17]), ('c1', []), (None, []))
    """
    layer, colon, numbers = text.rpartition(":") if ":" in text else (text, "", "")
    parts = numbers.split(",") if colon else []
    if not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"look: --responds {text}: LAYER:CHANNELS is expected, as features.16:3,17")
    channels = list(dict.fromkeys(map(int, parts)))
    if len(channels) > MOST:
        raise ValueError(f"look: --responds: the picture has room for {MOST} channels, not {len(channels)}")
    return layer or None, channels


def _images(given: argparse.Namespace, classifier: Classifier) -> tuple[str, Split]:
    """What the images are called, and they as the network wants them; ValueError where there are none."""
    if given.network in minicnn.models.list():
        name, dataset = _by_name(given, classifier.preprocessing)
    else:
        name, dataset = _of_training(given)
    which = given.split or "test"
    split = dataset.splits()[which]
    if not len(split):
        raise ValueError(f"look: --split {which}: {name} has no such images")
    if given.limit is not None and given.limit < len(split):
        split = split.take(np.arange(given.limit) * len(split) // given.limit)
    return f"{len(split):,} {which} images of {dataset.name}", split


def _by_name(given: argparse.Namespace, how: Preprocessing) -> tuple[str, Dataset]:
    """The data as published weights, or those of a file, want them."""
    from minicnn import data
    from minicnn.data.catalogue import is_path
    from minicnn.train.prepare import is_features
    from minicnn.train.saved import renormalised

    if given.data is None:
        raise ValueError(f"look {given.network}: --responds needs --data NAME, or a folder of images")
    if is_features(given.data):
        raise ValueError(f"look: --data {given.data}: features are no images")
    if how.channels == "BGR":
        raise ValueError("look: --responds knows no networks that want blue first, as these weights do")
    of_files: dict[str, Any] = {}
    if is_path(given.data):
        of_files = {"channels": 1 if how.channels == "L" else 3, "crop": how.crop / (how.resize or how.crop)}
    dataset = data.load(
        given.data, size=how.crop, data_dir=given.data_dir, download=not given.offline, **of_files
    )
    constants = (tuple(how.scale / 255 * value for value in values) for values in (how.mean, how.std))
    return given.data, renormalised(dataset, *constants)


def _of_training(given: argparse.Namespace) -> tuple[str, Dataset]:
    """The data as the training saw them, with its splits; of other data, whatever their classes."""
    from minicnn.train.prepare import is_features, load_data
    from minicnn.train.saved import open_run, renormalised

    trained = open_run(given.network)
    name = given.data or trained.options.data
    if is_features(name):
        raise ValueError(f"look: --data {name}: features are no images")
    dataset = load_data(
        trained.options, name, given.data_dir, channels=trained.channels, offline=given.offline
    )
    return name, renormalised(dataset, trained.mean, trained.std)
