"""Kinds of numbers in files."""

import numpy as np


def widened(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as 16-bit words, in float32: its upper half, so that nothing is lost.

    >>> widened(np.array([0x3F80, 0xC020], np.uint16))
    array([ 1. , -2.5], dtype=float32)
    """
    return (bits.astype(np.uint32) << 16).view(np.float32)


def is_plain(dtype: np.dtype) -> bool:
    """Whether a dtype is of numbers that networks hold: float of 2, 4 or 8 bytes, whole numbers, bool.

    >>> is_plain(np.dtype("float16")), is_plain(np.dtype("complex64"))
    (True, False)
    """
    return dtype.kind in "iub" or (dtype.kind == "f" and dtype.itemsize <= 8)
