"""Where a classifier comes from: weights that were published, a file of them, or a training of one's own."""

from __future__ import annotations

import json
import os
from pathlib import Path

from minicnn import models, nn
from minicnn.data import imagenet_classes
from minicnn.models import Preprocessing, pretrained
from minicnn.models.preprocessing import CHANNELS, convention, of_keras
from minicnn.predict.classifier import Classifier
from minicnn.train.folders import RESULTS, WEIGHTS
from minicnn.weights import WeightsError, load

LARGEST_RESULTS = 1 << 27
"""Bytes of a training's results that are read at most."""


def from_weights(
    network: str,
    weights: str | os.PathLike[str] = pretrained.DEFAULT,
    *,
    preprocessing: str | None = None,
    class_names: tuple[str, ...] = (),
    offline: bool = False,
    progress: bool = True,
) -> Classifier:
    """A classifier from weights as :func:`minicnn.models.create` takes them.

    ``preprocessing`` names one of ``minicnn.models.preprocessing.CONVENTIONS``. Where it is None, published
    weights bring their own; Keras's files (.h5) have Keras's; any other file has that of the network's
    published weights, or torchvision's. Networks of 1,000 classes are taken to know ImageNet's, unless
    ``class_names`` says otherwise; other networks get as many classes as there are names.

    Raises what :func:`minicnn.models.create` raises, and ValueError where there are no published weights, and
    for a network of grey images whose preprocessing nothing tells.
    """
    about = models.info(network)
    if weights == pretrained.DEFAULT and not models.get_model_weights(network):
        raise ValueError(
            f"{network} has no published weights: give a file of weights, or the folder of a training"
        )
    found = pretrained.find(network, weights)
    how = _preprocessing(about, found, preprocessing)
    origin = str(found.path)
    if found.published is not None:
        origin = f"{found.published.name} of {found.published.publisher}"
    classes = {"num_classes": len(class_names)} if class_names and found.published is None else {}
    model = models.create(network, weights=weights, offline=offline, progress=progress, **classes)
    if not class_names and about.options["num_classes"] == len(imagenet_classes()):
        class_names = tuple(row.name for row in imagenet_classes())
    return Classifier(network, origin, model, how, class_names)


def from_run(folder: str | os.PathLike[str]) -> Classifier:
    """A classifier from the folder that ``minicnn train`` left: its network, classes and preprocessing.

    Raises :class:`minicnn.weights.WeightsError`, naming the folder, when no finished training is in it.
    """
    folder = Path(folder)
    for name in (RESULTS, WEIGHTS):
        if not (folder / name).is_file():
            raise WeightsError(
                f"{folder}: is not the folder of a finished training, there is no {name} in it"
            )
    try:
        with (folder / RESULTS).open("rb") as file:
            results = json.loads(file.read(LARGEST_RESULTS))
        network, data = results["options"]["model"], results["options"]["data"]
        class_names = tuple(map(str, results["classes"]))
        how = Preprocessing.from_dict(results["preprocessing"])
        known = models.info(network).options
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise WeightsError(f"{folder / RESULTS}: does not say what was trained on what ({error})") from None
    options = {"num_classes": len(class_names), "in_channels": CHANNELS[how.channels]}
    with nn.init.skip():
        model = models.create(network, **{key: value for key, value in options.items() if key in known})
    load(model, folder / WEIGHTS)
    return Classifier(network, f"trained on {data}", model, how, class_names)


def _preprocessing(about: models.ModelInfo, found: pretrained.Found, name: str | None) -> Preprocessing:
    """The one that is asked for, or else the one that suits the weights."""
    C, size, _ = about.input_shape
    if name is not None:
        return convention(name, size)
    if found.published is not None:
        return found.published.preprocessing
    if found.of_keras and (how := of_keras(about.name, size)):
        return how
    if published := models.get_model_weights(about.name):
        return published[-1].preprocessing
    if C == 3:
        return convention("torchvision", size)
    raise ValueError(
        f"how images were prepared for the weights in {found.path} is not known; "
        "the folder of a training says it too: give that instead of a file"
    )
