"""Checkpoints and weights: safetensors files, so that arrays are only arrays and nothing in them runs.

A checkpoint holds named arrays, and in the file's metadata one JSON document with everything else and a
SHA-256 of both. A weights file holds a model's ``state_dict`` and nothing more: any program that reads
safetensors reads it, and such a file from elsewhere can be loaded if its names are the model's.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn import nn
from minicnn.backend import move
from minicnn.train import files

Arrays = dict[str, np.ndarray]

VERSION = 1

_KEY, _DIGEST = "minicnn-checkpoint", "minicnn-sha256"


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
    arrays, metadata = open_arrays(path, wanted=_KEY)
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


def save_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a model's parameters and buffers, under the names of its ``state_dict``.

    Raises OSError, and then a file that was there is as it was.
    """
    write_weights(path, {name: move(array, "cpu") for name, array in model.state_dict().items()})


def write_weights(path: str | os.PathLike[str], arrays: Arrays) -> None:
    """Write a ``state_dict`` whose arrays are on the CPU; see :func:`save_weights`."""
    from safetensors.numpy import save

    files.write(path, save(arrays, {"made-by": "minicnn"}))


def load_weights(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Read a model's parameters and buffers from a safetensors file with the names of its ``state_dict``.

    Raises :class:`CheckpointError` for a file that is absent, cannot be read, is cut off, or does not fit the
    model: names, shapes and dtypes must be the same. The model is then as it was.

    >>> import tempfile
    >>> from minicnn import models
    >>> a, b = models.create("lenet5"), models.create("lenet5")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(a, f"{folder}/lenet5.safetensors")
    ...     load_weights(b, f"{folder}/lenet5.safetensors")
    >>> bool((a.output.weight.data == b.output.weight.data).all())
    True
    """
    path = Path(path)
    arrays, metadata = open_arrays(path)
    if _KEY in metadata:
        raise CheckpointError(f"{path}: a checkpoint of a training, not weights alone; see Trainer.load")
    check_fit(path, model, arrays)
    model.load_state_dict(arrays)


def read_weights(path: Path) -> Arrays:
    """The weights in a safetensors file, be it of weights alone or a checkpoint, of which the best are taken.

    Raises :class:`CheckpointError` for a file that is absent, cannot be read, or is damaged.
    """
    arrays, metadata = open_arrays(path)
    if _KEY not in metadata:
        return arrays
    return best_of(read(path).arrays)


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


def check_fit(path: Path, model: nn.Module, arrays: Arrays, spared: Sequence[str] = ()) -> None:
    """Raise :class:`CheckpointError` unless the arrays have the names, shapes and dtypes of the model's.

    Those that are ``spared`` may be missing.
    """
    own = model.state_dict()
    faults = [f"{name} is missing" for name in own if name not in arrays and name not in spared]
    faults += [f"{name} is unexpected" for name in arrays if name not in own]
    faults += [
        f"{name} is {array.dtype} {array.shape}, expected {own[name].dtype} {own[name].shape}"
        for name, array in arrays.items()
        if name in own and (array.shape, array.dtype) != (own[name].shape, own[name].dtype)
    ]
    if faults:
        more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
        raise CheckpointError(f"{path}: does not fit {type(model).__name__}: {', '.join(faults[:5])}{more}")


def open_arrays(path: Path, wanted: str | None = None) -> tuple[Arrays, dict[str, str]]:
    """Arrays and metadata of a safetensors file; where a key is ``wanted`` in the metadata, no array is read
    from a file without it."""
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise CheckpointError(f"{path}: there is no such file")
    if not path.is_file():
        raise CheckpointError(f"{path}: not a file")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if wanted is not None and wanted not in metadata:
                raise CheckpointError(f"{path}: a safetensors file, but no checkpoint of minicnn")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118 (no dict)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: damaged or no safetensors file ({_one_line(error)})") from None
    except (OSError, TypeError, AttributeError) as error:  # the latter two: a dtype that NumPy has not
        raise CheckpointError(f"{path}: cannot be read ({_one_line(error)})") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _digest(arrays: Arrays, text: str) -> str:
    sha = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        sha.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        sha.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return sha.hexdigest()
