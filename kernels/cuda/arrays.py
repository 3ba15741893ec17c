"""Arrays for kernels: results, and inputs as kernels expect them."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import backend as devices

VECTOR = {"float32": 4, "float64": 2}
"""Numbers in 16 bytes, the longest load there is."""

FREE = (-np.inf, np.inf)
"""Bounds that bound nothing, for kernels that clip what they store."""


def empty(shape: tuple[int, ...], like: Any) -> Any:
    """Memory for a result on the GPU, of another array's dtype; its numbers are whatever lay there."""
    return devices.module_of(like).empty(shape, like.dtype)


def aligned(x: Any) -> bool:
    """Whether 16 bytes, four float32 numbers, can be fetched at once from where the array's first one is."""
    return x.data.ptr % 16 == 0


def plain(x: Any) -> Any:
    """x with its numbers one after another, as kernels index them: a copy where they are not."""
    return devices.module_of(x).ascontiguousarray(x)
