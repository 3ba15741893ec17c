"""safetensors: a header in JSON, then the arrays as they are; the format that minicnn itself writes.

The library checks a file before it gives anything out: that the header is sound, that the arrays lie one
after another, and that they fill the file. Only bfloat16, which NumPy has not, is read here.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from minicnn.weights.dtypes import widened
from minicnn.weights.errors import Unreadable, shown

TRAINING = "minicnn-checkpoint"
"""The metadata's key by which a training's checkpoint differs from weights."""

LONGEST_HEADER = 2**24
DTYPES = {"F64", "F32", "F16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL", "BF16"}


def is_header(start: bytes, size: int) -> bool:
    """Whether a file of ``size`` bytes that starts like this is safetensors: a length, then JSON.

    >>> is_header((2).to_bytes(8, "little") + b"{}", 10)
    True
    """
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= size - 8


def read(
    path: Path, check: Callable[[dict[str, str]], None] = lambda metadata: None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of a file; ``check`` sees the metadata before any array is read.

    Raises Unreadable for a file that is damaged, or holds numbers of a kind that NumPy has not.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with path.open("rb") as file:
            header, start = _header(file)
            with safe_open(path, framework="numpy") as arrays:
                metadata = arrays.metadata() or {}
                check(metadata)
                names = list(arrays.keys())
                for name in names:
                    if header[name]["dtype"] not in DTYPES:
                        raise Unreadable(f"{shown(name)} is of type {shown(header[name]['dtype'])}")
                return {
                    name: _bfloat16(file, start, header[name])
                    if header[name]["dtype"] == "BF16"
                    else arrays.get_tensor(name)
                    for name in names
                }, metadata
    except (SafetensorError, ValueError) as error:  # the latter: a shape that NumPy cannot have
        raise Unreadable(f"damaged or no safetensors file ({shown(error, 200)})") from None


def _header(file: BinaryIO) -> tuple[dict, int]:
    """The header, and where the arrays begin."""
    length = int.from_bytes(file.read(8), "little")
    if length > LONGEST_HEADER:
        raise Unreadable(f"damaged or no safetensors file (a header of {length:,} bytes)")
    try:
        header = json.loads(file.read(length))
    except (ValueError, RecursionError):
        raise Unreadable("damaged or no safetensors file (its header is no JSON)") from None
    return header, 8 + length


def _bfloat16(file: BinaryIO, start: int, entry: dict) -> np.ndarray:
    """An array of bfloat16 as float32; the library has checked where it lies."""
    first, end = entry["data_offsets"]
    file.seek(start + first)
    return widened(np.frombuffer(file.read(end - first), "<u2")).reshape(entry["shape"])
