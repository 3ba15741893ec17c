"""Networks that a training left: read again for use, or as the beginning of another training."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import models, nn, weights
from minicnn.data import Dataset, Split
from minicnn.data.pixels import Constant, Pixels, per_channel
from minicnn.train import checkpoint
from minicnn.train.checkpoint import Checkpoint, CheckpointError, best_of, check_fit
from minicnn.train.folders import CHECKPOINT, WEIGHTS
from minicnn.train.options import Options, read


class Trained(NamedTuple):
    """A network as a training left it, with what is needed to use it.

    ``classes`` are the names of its logits; a pixel p in 0..1 goes into it as (p − mean) / std. ``epochs``
    are those that were finished.
    """

    model: nn.Module
    options: Options
    classes: tuple[str, ...]
    mean: Constant
    std: Constant
    epochs: int
    path: Path

    def prepared(self, dataset: Dataset) -> Dataset:
        """A data set as the network knows it: in the normalisation of its training, its classes by name.

        Raises ValueError for a class that the network was not trained for.
        """
        if strange := [name for name in dataset.class_names if name not in self.classes]:
            raise ValueError(
                f"data: {dataset.name} has the class {strange[0]!r}, but {self.options.model} in {self.path} "
                f"was trained for {', '.join(self.classes[:12])}{', …' * (len(self.classes) > 12)}"
            )
        places = np.array([self.classes.index(name) for name in dataset.class_names])
        splits = {
            name: Split(self._normalised(dataset, split.images), places[split.labels])
            for name, split in dataset.splits().items()
        }
        return Dataset(dataset.name, **splits, class_names=self.classes, mean=self.mean, std=self.std)

    def _normalised(self, dataset: Dataset, images: np.ndarray | Pixels) -> np.ndarray | Pixels:
        if isinstance(images, Pixels):
            return Pixels(images.source, images.indices, self.mean, self.std)
        if (dataset.mean, dataset.std) == (self.mean, self.std):
            return images
        mean, std = (np.asarray(constant) for constant in (self.mean, self.std))
        factor, shift = np.asarray(dataset.std) / std, (np.asarray(dataset.mean) - mean) / std
        return images * per_channel(factor, images.dtype) + per_channel(shift, images.dtype)


def open_run(path: str | Path) -> Trained:
    """The network of a training's folder, or of its checkpoint, with its best weights so far.

    Raises :class:`CheckpointError` for anything else, in a line that begins with the file's name.
    """
    found = _checkpoint(Path(path))
    try:
        about = found.document["about"]
        options, pixels = read(about["options"]), about["data"]
        mean, std = _constant(pixels["mean"]), _constant(pixels["std"])
        model = models.create(options.model, **about["network"])
        classes, epochs = tuple(about["classes"]), found.document["epoch"]
    except KeyError as error:
        raise CheckpointError(
            f"{found.path}: does not say {error} of its network; if an older minicnn wrote it, train again"
        ) from None
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{found.path}: {error}") from None
    arrays = best_of(found.arrays)
    check_fit(found.path, model, arrays)
    model.load_state_dict(arrays)
    return Trained(model, options, classes, mean, std, epochs, found.path)


def _constant(value: Any) -> Constant:
    """A mean or deviation, of all channels or of each, out of JSON."""
    return tuple(map(float, value)) if isinstance(value, list) else float(value)


def _checkpoint(path: Path) -> Checkpoint:
    if path.is_dir():
        if not (path / CHECKPOINT).exists():
            raise CheckpointError(f"{path}: holds no {CHECKPOINT}, so it is not a training's folder")
        return checkpoint.read(path / CHECKPOINT)
    if path.name == WEIGHTS and (path.parent / CHECKPOINT).exists():
        return checkpoint.read(path.parent / CHECKPOINT)
    return checkpoint.read(path)


def start_from(model: nn.Module, path: Path) -> list[str]:
    """Give a model the weights of a file or of a training's folder; its head may be for other classes.

    Returns the names of the head's parameters that did not fit and were left as they are. Raises
    :class:`~minicnn.weights.WeightsError` or :class:`CheckpointError`, both of them ValueError, where
    something else does not fit; the model is then as it was.
    """
    if path.is_dir() or path.name == CHECKPOINT:
        found = _checkpoint(path)
        try:
            report = weights.load(model, best_of(found.arrays), replace_head=True)
        except weights.WeightsError as error:
            raise CheckpointError(f"{found.path}: {str(error).removeprefix('arrays: ')}") from None
    else:
        report = weights.load(model, path, replace_head=True)
    return [name for name, *_ in report.misshaped] + list(report.missing)
