"""The pickles of CIFAR's archive for Python, read without being executed.

They were written by Python 2 in 2009, whose texts are bytes: a dictionary with the labels, a list, and the
pixels, an array that NumPy pickles as a call of ``_reconstruct`` and a state that fills what that returns.
The :class:`~minicnn.weights.pickle_machine.Machine` knows these names and no others.
"""

from typing import Any

import numpy as np

from minicnn.weights.errors import Unreadable
from minicnn.weights.pickle_machine import Function, Machine


class _Array:
    """What will be an array, once its state is known: version, shape, dtype, whether columns first, bytes."""

    state: Any = None


class _Reader(Machine):
    kind = "CIFAR's files"

    def old_text(self, text: bytes) -> bytes:
        return text

    def build(self) -> None:
        """Give an array its state; that of a dtype is about byte order, which bytes have none of."""
        state, value = self.pop(), self.top()
        if isinstance(value, _Array):
            value.state = state


NAMES = {
    "numpy.core.multiarray._reconstruct": Function("_reconstruct", lambda kind, shape, code: _Array()),
    "numpy.ndarray": None,
    "numpy.dtype": Function("dtype", lambda code, align, copy: code),
}


def read_batch(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The pixels (n, 3072) and labels (n,) of a batch.  Dtype: uint8.

    Raises :class:`Unreadable` for a pickle of anything else.
    """
    batch = _dictionary(content)
    labels = batch.get(b"fine_labels", batch.get(b"labels"))
    pixels = _pixels(batch.get(b"data"))
    if not isinstance(labels, list) or not all(type(label) is int and 0 <= label < 256 for label in labels):
        raise Unreadable("has no list of labels")
    if len(labels) != len(pixels) or not labels:
        raise Unreadable(f"has {len(labels):,} labels for {len(pixels):,} images")
    return pixels, np.array(labels, np.uint8)


def read_names(content: bytes) -> list[str]:
    """The names of the classes.  Raises :class:`Unreadable` for a pickle of anything else."""
    meta = _dictionary(content)
    names = meta.get(b"fine_label_names", meta.get(b"label_names"))
    if not isinstance(names, list) or not all(isinstance(name, bytes) for name in names):
        raise Unreadable("has no list of the classes' names")
    return [name.decode("latin-1") for name in names]


def _dictionary(content: bytes) -> dict:
    value = _Reader(content, NAMES).run()
    if not isinstance(value, dict):
        raise Unreadable("is a pickle of something else")
    return value


def _pixels(array: Any) -> np.ndarray:
    """The array that a pickled state describes, if it is one of bytes in rows of an image each."""
    match getattr(array, "state", None):
        case (1, (int(n), 3072), b"u1", False, bytes(content)) if len(content) == n * 3072:
            return np.frombuffer(content, np.uint8).reshape(n, 3072)
    raise Unreadable("has no images, which are rows of 3,072 bytes")
