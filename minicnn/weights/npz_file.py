"""NumPy's ``.npz``: a zip archive of ``.npy`` files, each a short header and an array as it is."""

import io
import math
import warnings

import numpy as np

from minicnn.weights.dtypes import is_plain
from minicnn.weights.errors import Unreadable, shown
from minicnn.weights.zip_file import Archive

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read(archive: Archive) -> dict[str, np.ndarray]:
    """The arrays under their names without ``.npy``.

    Raises Unreadable for entries that are no arrays of numbers; no pickle in an array is read.
    """
    return {name.removesuffix(".npy"): _array(name, archive.read(name)) for name in archive.names}


def _array(name: str, content: bytes) -> np.ndarray:
    """An array, after its header and the number of its bytes have proved to agree."""
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python 2 wrote its numbers in another way
            shape, column_major, dtype = _HEADERS[np.lib.format.read_magic(file)](file)
    except Exception:  # a header is parsed as Python, and may fail in as many ways
        raise Unreadable(f"damaged, {shown(name)} in it has no header that NumPy writes") from None
    if not is_plain(dtype):
        raise Unreadable(f"{shown(name)} in it holds {shown(dtype)}, not numbers")
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content) - file.tell():
        raise Unreadable(f"damaged, {shown(name)} in it declares the shape {shown(shape)}, its bytes another")
    array = np.frombuffer(content, dtype, offset=file.tell()).astype(dtype.newbyteorder("="), copy=False)
    return array.reshape(shape, order="F" if column_major else "C")
