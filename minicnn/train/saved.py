"""Networks that a training left: read again for use, or as the beginning of another training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import models, nn, weights
from minicnn.autograd import no_grad
from minicnn.data import Dataset, Split
from minicnn.data.pixels import Constant, Pixels, per_channel
from minicnn.models import transfer
from minicnn.nn.module import inference
from minicnn.tensor import zeros
from minicnn.train import checkpoint
from minicnn.train.checkpoint import Checkpoint, CheckpointError, best_of, check_fit
from minicnn.train.folders import CHECKPOINT, WEIGHTS
from minicnn.train.loop import home
from minicnn.train.options import Options, read


class Trained(NamedTuple):
    """A network as a training left it, with what is needed to use it.

    ``classes`` are the names of its logits; a pixel p in 0..1 goes into it as (p − mean) / std. ``epochs``
    are those that were finished. ``preprocessing`` says how an image file becomes like those it was trained
    on; None where it was trained on features.
    """

    model: nn.Module
    options: Options
    classes: tuple[str, ...]
    mean: Constant
    std: Constant
    epochs: int
    path: Path
    preprocessing: models.Preprocessing | None

    @property
    def channels(self) -> int | None:
        """Those of the images that it takes; None where it was trained on features."""
        return None if self.preprocessing is None else 1 if self.preprocessing.channels == "L" else 3

    def prepared(self, dataset: Dataset) -> Dataset:
        """A data set as the network knows it: in the normalisation of its training, its classes by name.

        Raises ValueError for a class that the network was not trained for, and for images that do not fit it.
        """
        if strange := [name for name in dataset.class_names if name not in self.classes]:
            raise ValueError(
                f"data: {dataset.name} has the class {strange[0]!r}, but {self.options.model} in {self.path} "
                f"was trained for {', '.join(self.classes[:12])}{', …' * (len(self.classes) > 12)}"
            )
        try:
            with inference(self.model), no_grad():
                self.model(zeros(1, *dataset.image_shape).to(home(self.model)))
        except ValueError as error:
            raise ValueError(f"data: {dataset.name} does not fit what is in {self.path}: {error}") from None
        places = np.array([self.classes.index(name) for name in dataset.class_names])
        known = renormalised(dataset, self.mean, self.std)
        splits = {name: Split(split.images, places[split.labels]) for name, split in known.splits().items()}
        return Dataset(dataset.name, **splits, class_names=self.classes, mean=self.mean, std=self.std)


def renormalised(dataset: Dataset, mean: Constant, std: Constant) -> Dataset:
    """The same images with other constants: what was (p − m) / s becomes (p − mean) / std.

    >>> from minicnn import data
    >>> digits = data.load("digits")
    >>> other = renormalised(digits, 0.0, 1.0)
    >>> float(other.train.images.min()), float(other.train.images.max().round(6))
    (0.0, 1.0)
    """
    splits = {
        name: Split(_renormalised(split.images, dataset, mean, std), split.labels)
        for name, split in dataset.splits().items()
    }
    return Dataset(dataset.name, **splits, class_names=dataset.class_names, mean=mean, std=std)


def _renormalised(
    images: np.ndarray | Pixels, dataset: Dataset, mean: Constant, std: Constant
) -> np.ndarray | Pixels:
    if isinstance(images, Pixels):
        return Pixels(images.source, images.indices, mean, std)
    if (dataset.mean, dataset.std) == (mean, std):
        return images
    factor = np.asarray(dataset.std) / np.asarray(std)
    shift = (np.asarray(dataset.mean) - np.asarray(mean)) / np.asarray(std)
    return images * per_channel(factor, images.dtype) + per_channel(shift, images.dtype)


def open_run(path: str | Path) -> Trained:
    """The network of a training's folder, or of its checkpoint, with its best weights so far.

    Raises :class:`CheckpointError` for anything else, in a line that begins with the file's name.
    """
    found = read_checkpoint(Path(path))
    try:
        about = found.document["about"]
        options, pixels = read(about["options"]), about["data"]
        mean, std = constant(pixels["mean"]), constant(pixels["std"])
        model = models.create(options.model, **about["network"])
        classes, epochs, how = tuple(about["classes"]), found.document["epoch"], about["preprocessing"]
        preprocessing = None if how is None else models.Preprocessing.from_dict(how)
    except KeyError as error:
        raise CheckpointError(
            f"{found.path}: does not say {error} of its network; if an older minicnn wrote it, train again"
        ) from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{found.path}: {error}") from None
    arrays = best_of(found.arrays)
    check_fit(found.path, model, arrays)
    model.load_state_dict(arrays)
    return Trained(model, options, classes, mean, std, epochs, found.path, preprocessing)


def is_training(path: Path) -> bool:
    """Whether this is what a training left, its folder or a file in it, and not weights alone."""
    beside = path.name == WEIGHTS and (path.parent / CHECKPOINT).is_file()
    return path.is_dir() or path.name == CHECKPOINT or beside


def constants(path: Path) -> tuple[Constant, Constant] | None:
    """The mean and deviation with which a training saw its images; None for a file of weights alone."""
    if not is_training(path):
        return None
    pixels = read_checkpoint(path).document.get("about", {}).get("data")
    return pixels and (constant(pixels["mean"]), constant(pixels["std"]))


def constant(value: Any) -> Constant:
    """A mean or deviation, of all channels or of each, out of JSON."""
    return tuple(map(float, value)) if isinstance(value, list) else float(value)


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint of a training's folder, or of a file in it.

    Raises :class:`CheckpointError` for anything else.
    """
    if path.is_dir():
        if not (path / CHECKPOINT).exists():
            raise CheckpointError(f"{path}: holds no {CHECKPOINT}, so it is not a training's folder")
        return checkpoint.read(path / CHECKPOINT)
    if path.name == WEIGHTS and (path.parent / CHECKPOINT).exists():
        return checkpoint.read(path.parent / CHECKPOINT)
    return checkpoint.read(path)


def start_from(model: nn.Module, path: Path, classes: Sequence[str] = ()) -> list[str]:
    """Give a model the weights of a file or of a training's folder; its head may be for other classes.

    The head of a training that was for others than ``classes`` is left out, be they as many. Returns the
    names of the head's parameters that stay as they are. Raises :class:`~minicnn.weights.WeightsError` or
    :class:`CheckpointError`, both of them ValueError, where something else does not fit; the model is then as
    it was.
    """
    if not is_training(path):
        return _left(weights.load(model, path, replace_head=True))
    found = read_checkpoint(path)
    arrays, about = best_of(found.arrays), found.document.get("about", {})
    if classes and about.get("classes", list(classes)) != list(classes):
        head = transfer.head_name(model) + "."
        arrays = {name: array for name, array in arrays.items() if not name.startswith(head)}
    try:
        return _left(weights.load(model, arrays, replace_head=True))
    except weights.WeightsError as error:
        raise CheckpointError(f"{found.path}: {str(error).removeprefix('arrays: ')}") from None


def _left(report: weights.LoadReport) -> list[str]:
    return [name for name, *_ in report.misshaped] + list(report.missing)
