"""A result that is the sum of parts, see parts.cu."""

from __future__ import annotations

from typing import Any

from minicnn.kernels.cuda.arrays import empty
from minicnn.kernels.cuda.compiling import blocks, declare, function, launch

FILE = "parts.cu"
THREADS = 256

declare(FILE)


def place_for(number: int, result: Any) -> Any:
    """Where blocks write so many parts of a result: to the result itself if there is one part only."""
    return result if number == 1 else empty((number, *result.shape), like=result)


def add_parts(parts: Any, result: Any, bias: Any = None) -> Any:
    """The result, of parts that are not there yet; plus a bias along its last axis."""
    if parts is not result:
        add = function(FILE, "add_parts", result.dtype)
        sizes = len(parts), result.size, result.shape[-1]
        launch(add, blocks(result.size, THREADS), THREADS, (parts, bias, result, *sizes))
    return result
