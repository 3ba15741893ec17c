"""Features: what a network computes of images before its head, worked out once and kept.

A frozen base gives the same features for an image in every epoch. Where they are kept, training a head on
them takes seconds, whatever the base costs:

>>> from minicnn import data, models, nn, optim, train
>>> digits, base = data.load("digits"), models.create("lenet5")  # imagine that it is trained
>>> found = extract(base, digits.test)
>>> found.images.shape  # 84 numbers for each image, as images of one pixel
(270, 84, 1, 1)
>>> head = nn.Sequential(nn.Flatten(), nn.Linear(84, 10))
>>> train.Trainer(head, optim.Adam(head.parameters())).fit(found, epochs=2)
>>> _ = models.replace_head(base, head[1])  # and the network is whole again
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files, nn
from minicnn.autograd import no_grad
from minicnn.data import Dataset, Split, batches
from minicnn.models.transfer import Trunk, head_name
from minicnn.nn.module import inference
from minicnn.tensor import Tensor, from_numpy
from minicnn.train.checkpoint import Arrays, CheckpointError, open_arrays
from minicnn.train.loop import home

KEY = "minicnn-features"


def extract(
    model: nn.Module,
    split: Split,
    layer: str | None = None,
    *,
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> Split:
    """What a layer gives for each image of a split, in inference mode; without one, what goes into the head.

    ``on_batch`` is called after each batch with the number of images seen so far.

    Shapes: images (N, C, H, W) to features (N, C', H', W'), or (N, F, 1, 1) where the layer gives vectors.

    Raises ValueError for a layer that there is not, an empty split, and a model without a head.
    """
    if not len(split):
        raise ValueError("extract: split has no images")
    compute = _Input(model) if layer is None else Trunk(model, layer)
    found = []
    with inference(model), no_grad():
        for images, _ in batches(split, batch_size):
            found.append(compute(from_numpy(images).to(home(model))).cpu().numpy().copy())
            if on_batch:
                on_batch(sum(map(len, found)))
    features = np.concatenate(found)
    if features.ndim == 2:
        features = features[:, :, None, None]
    if features.ndim != 4:
        raise ValueError(f"extract: {layer} gives {features.shape}, but (N, C, H, W) or (N, F) is expected")
    return Split(features, split.labels)


class _Input:
    """What goes into a model's head."""

    def __init__(self, model: nn.Module) -> None:
        self._model, self._head = model, model.get_submodule(head_name(model))

    def __call__(self, x: Tensor) -> Tensor:
        seen: list[Tensor] = []
        with self._head.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0])):
            self._model(x)
        return seen[-1]


def extract_all(
    model: nn.Module,
    dataset: Dataset,
    layer: str | None = None,
    *,
    batch_size: int = 64,
    on_batch: Callable[[int], None] | None = None,
) -> Dataset:
    """The features of a whole data set, as a data set; see :func:`extract`."""
    found: dict[str, Split] = {}

    def tell(seen: int) -> None:
        if on_batch:
            on_batch(sum(map(len, found.values())) + seen)

    for name, split in dataset.splits().items():
        if len(split):
            found[name] = extract(model, split, layer, batch_size=batch_size, on_batch=tell)
    train, test = found["train"], found["test"]
    validation = found.get("validation", train.take([]))
    return Dataset(dataset.name, train, validation, test, dataset.class_names)


def save(path: str | os.PathLike[str], dataset: Dataset, about: dict[str, Any] | None = None) -> None:
    """Write features to a safetensors file, with anything else that JSON can hold as ``about``.

    Raises OSError, and then a file that was there is as it was.

    >>> import tempfile
    >>> split = Split(np.ones((2, 3, 1, 1), np.float32), np.array([0, 1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(f"{folder}/f.safetensors", Dataset("dots", split, split.take([]), split, ("dark", "light")))
    ...     load(f"{folder}/f.safetensors").class_names
    ('dark', 'light')
    """
    from safetensors.numpy import save as to_bytes

    arrays: Arrays = {}
    for name, split in dataset.splits().items():
        arrays |= {f"{name}.images": split.images[:], f"{name}.labels": split.labels}
    document = {"name": dataset.name, "classes": list(dataset.class_names), "about": about or {}}
    files.write(path, to_bytes(arrays, {KEY: json.dumps(document)}))


def load(path: str | os.PathLike[str]) -> Dataset:
    """Read features again.

    Raises :class:`CheckpointError`, in a line that begins with the file's name, for anything else.
    """
    path = Path(path)
    arrays, metadata = open_arrays(path, KEY, "holds no features; `minicnn features` writes such files")
    try:
        document = json.loads(metadata[KEY])
        splits = [
            Split(arrays[f"{name}.images"], arrays[f"{name}.labels"])
            for name in ("train", "validation", "test")
        ]
        train, validation, test = splits
        return Dataset(str(document["name"]), train, validation, test, tuple(map(str, document["classes"])))
    except (ValueError, TypeError, LookupError, RecursionError) as error:
        raise CheckpointError(f"{path}: its features are not what minicnn writes ({error})") from None
