"""Networks that a training left: read again for use, or as the beginning of another training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicnn import models, nn
from minicnn.data import Dataset, Split
from minicnn.models import transfer
from minicnn.train import checkpoint
from minicnn.train.checkpoint import Arrays, Checkpoint, CheckpointError, best_of, check_fit
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
    mean: float
    std: float
    epochs: int
    path: Path

    def normalise(self, dataset: Dataset) -> Dataset:
        """A data set in the normalisation that the network was trained with."""
        if (dataset.mean, dataset.std) == (self.mean, self.std):
            return dataset
        factor, shift = dataset.std / self.std, (dataset.mean - self.mean) / self.std
        splits = {
            name: Split(split.images * np.float32(factor) + np.float32(shift), split.labels)
            for name, split in dataset.splits().items()
        }
        return replace(dataset, **splits, mean=self.mean, std=self.std)


def open_run(path: str | Path) -> Trained:
    """The network of a training's folder, or of its checkpoint, with its best weights so far.

    Raises :class:`CheckpointError` for anything else, in a line that begins with the file's name.
    """
    found = _checkpoint(Path(path))
    try:
        about = found.document["about"]
        options, pixels = read(about["options"]), (about["data"]["mean"], about["data"]["std"])
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
    return Trained(model, options, classes, *pixels, epochs, found.path)


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

    Returns the names of the head's parameters that do not fit and were left as they are. Raises
    :class:`CheckpointError` where something else does not fit; the model is then as it was.
    """
    where, arrays = _weights(path)
    own = model.state_dict()
    inside = transfer.head_name(model) + "."
    left = [
        name
        for name in own
        if name.startswith(inside) and (name not in arrays or arrays[name].shape != own[name].shape)
    ]
    arrays = {name: array for name, array in arrays.items() if name not in left}
    check_fit(where, model, arrays, spared=left)
    model.load_state_dict(arrays, strict=False)
    return left


def _weights(path: Path) -> tuple[Path, Arrays]:
    """The weights in a file, in a checkpoint, or in a training's folder; and which file that was."""
    if path.is_dir():
        path = path / (CHECKPOINT if (path / CHECKPOINT).exists() else WEIGHTS)
    return path, checkpoint.read_weights(path)
