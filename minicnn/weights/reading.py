"""Which format a file has, and its arrays."""

import os
from pathlib import Path

import numpy as np

from minicnn.weights import keras_file, npz_file, safe_file, torch_file
from minicnn.weights.errors import Unreadable, WeightsError, shown
from minicnn.weights.zip_file import Archive

# How files begin that are taken for weights now and then, and what to say of them.
OTHERS = (
    (b"\x93NUMPY", "a single array without a name; np.savez keeps several with their names"),
    (b"<", "a web page, not weights; perhaps the download needs another address"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the weights; fetch them with `git lfs pull`"),
    (b"\x1f\x8b", "packed by gzip; unpack it first"),
)


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """The arrays in a file of weights, by name; the file's content says which format it has.

    ================== ===================================================================================
    safetensors        as minicnn, timm and many others write it
    NumPy              ``.npz``, packed or not; arrays of numbers only
    PyTorch            ``.pth`` and ``.pt``, of all versions since 0.2: a state dict, or a checkpoint with one
                       under ``state_dict``, ``model_state_dict``, ``model_state``, ``model`` or ``net``
    Keras              ``.h5`` and ``.weights.h5``, in Keras's own layout, as "layer/kernel", "layer/bias", …;
                       needs h5py
    ================== ===================================================================================

    The arrays have the file's dtypes, but for bfloat16, which NumPy has not and which becomes float32. They
    are read-only, since several may be views of the same memory, as they were when they were saved.

    Nothing in a file is executed, and PyTorch is not needed: its pickles are read by a machine that knows
    tensors and containers only (:mod:`minicnn.weights.pickle_machine`). The memory taken is bounded by a
    multiple of the file's size.

    Raises :class:`WeightsError`, with one line, for a file that is absent, cannot be read, is damaged or
    hostile, or holds something else.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/w.npz", **{"fc.weight": np.eye(2), "fc.bias": np.zeros(2)})
    ...     arrays = read(f"{folder}/w.npz")
    >>> arrays["fc.weight"].shape, sorted(arrays)
    ((2, 2), ['fc.bias', 'fc.weight'])
    """
    path = Path(path)
    try:
        check_file(path)
        arrays = _read(path)
    except Unreadable as reason:
        raise WeightsError(f"{path}: {reason}") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({shown(error.strerror or error)})") from None
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


def check_file(path: Path) -> None:
    """Raise Unreadable unless there is a file; a pipe, which might keep one waiting, is none."""
    if not path.exists():
        raise Unreadable("there is no such file")
    if not path.is_file():
        raise Unreadable("not a file")


def _read(path: Path) -> dict[str, np.ndarray]:
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(64)
        if not start:
            raise Unreadable("an empty file")
        if safe_file.is_header(start, size):
            return safe_file.read(path, _no_training)[0]
        if start.startswith(keras_file.SIGNATURE):
            return keras_file.read(path)
        if start.startswith(b"PK"):
            with Archive(path) as archive:
                if archive.names and all(name.endswith(".npy") for name in archive.names):
                    return npz_file.read(archive)
                return torch_file.read_zip(archive)
        if torch_file.is_legacy(start):
            file.seek(0)
            return torch_file.read_legacy(file, size)
    for beginning, what in OTHERS:
        if start.lstrip().startswith(beginning):
            raise Unreadable(what)
    raise Unreadable("not a file of weights: neither safetensors, .npz, PyTorch's .pth nor Keras's .h5")


def _no_training(metadata: dict[str, str]) -> None:
    if safe_file.TRAINING in metadata:
        raise Unreadable("a checkpoint of a training, not weights alone; see Trainer.load")
