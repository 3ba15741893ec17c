"""Checkpoints: safetensors files, so that arrays are only arrays and nothing in them runs.

A checkpoint holds named arrays, and in the file's metadata one JSON document with everything else and a
SHA-256 of both. Weights alone, which a training leaves as well, are in :mod:`minicnn.weights`.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import files, nn
from minicnn.weights import safe_file
from minicnn.weights.errors import Unreadable
from minicnn.weights.reading import check_file

Arrays = dict[str, np.ndarray]

VERSION = 1

_KEY, _DIGEST = safe_file.TRAINING, "minicnn-sha256"


class CheckpointError(ValueError):
    """A file that is no sound checkpoint, or not of this training; the message begins with its name."""


class Checkpoint(NamedTuple):
    """What a file held: arrays by name, and the document with everything else."""

    path: Path
    arrays: Arrays
    document: dict[str, Any]


def write(path: str | os.PathLike[str], arrays: Arrays, document: dict[str, Any]) -> None:
    """Replace the file with a checkpoint of the arrays and of a document that JSON can hold.

    Raises OSError, and then the old file is as it was; ValueError for a document with NaN or infinity.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder) / "c.safetensors", {"w": np.arange(3.0)}, {"epoch": 2})
    ...     read(Path(folder) / "c.safetensors")[1:]
    ({'w': array([0., 1., 2.])}, {'epoch': 2})
    """
    from safetensors.numpy import save

    text = json.dumps({"version": VERSION, **document}, allow_nan=False)
    files.write(path, save(arrays, {_KEY: text, _DIGEST: _digest(arrays, text)}))


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Read a checkpoint and check that it is as it was written.

    Raises :class:`CheckpointError` for a file that is absent, cannot be read, is no checkpoint, is cut off or
    altered, or is of another version.
    """
    path = Path(path)
    arrays, metadata = open_arrays(path, _KEY, "a safetensors file, but no checkpoint of minicnn")
    if metadata.get(_DIGEST) != _digest(arrays, metadata[_KEY]):
        raise CheckpointError(f"{path}: damaged, its contents do not have the checksum written with them")
    try:
        document = json.loads(metadata[_KEY])
        version = document.pop("version")
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        raise CheckpointError(f"{path}: its description is not what minicnn writes") from None
    if version != VERSION:
        raise CheckpointError(f"{path}: has format version {version!r}, but this minicnn reads {VERSION}")
    return Checkpoint(path, arrays, document)


def open_arrays(path: Path, key: str, otherwise: str) -> tuple[Arrays, dict[str, str]]:
    """Arrays and metadata of a safetensors file that has this key in its metadata.

    Raises :class:`CheckpointError`, ``otherwise`` if it has not.
    """

    def check(metadata: dict[str, str]) -> None:
        if key not in metadata:
            raise Unreadable(otherwise)

    try:
        check_file(path)
        return safe_file.read(path, check)
    except Unreadable as reason:
        raise CheckpointError(f"{path}: {reason}") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from None


def best_of(arrays: Arrays) -> Arrays:
    """Of a checkpoint's arrays the weights to use: the best ones, else the averaged, else the last.

    >>> best_of({"model.w": np.zeros(1), "best.w": np.ones(1), "optimizer.0.m": np.zeros(1)})
    {'w': array([1.])}
    """
    for part in ("best", "average", "model"):
        own = {name.removeprefix(f"{part}."): a for name, a in arrays.items() if name.startswith(f"{part}.")}
        if own:
            return own
    return {}


def check_fit(path: Path, model: nn.Module, arrays: Arrays) -> None:
    """Raise :class:`CheckpointError` unless the arrays have the names, shapes and dtypes of the model's."""
    own = model.state_dict()
    faults = [f"{name} is missing" for name in own if name not in arrays]
    faults += [f"{name} is unexpected" for name in arrays if name not in own]
    faults += [
        f"{name} is {array.dtype} {array.shape}, expected {own[name].dtype} {own[name].shape}"
        for name, array in arrays.items()
        if name in own and (array.shape, array.dtype) != (own[name].shape, own[name].dtype)
    ]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise CheckpointError(f"{path}: does not fit {type(model).__name__}: {', '.join(faults[:5])}{more}")


def _digest(arrays: Arrays, text: str) -> str:
    sha = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
