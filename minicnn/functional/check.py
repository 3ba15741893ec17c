"""Checks of arguments that several operations share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.autograd import Variable, as_variable, check_one_device
from minicnn.kernels import Window

Pair = tuple[int, int]

CONVERT = "convert with .to('float32')"


def pair(name: str, argument: str, value: Any, least: int) -> Pair:
    """One whole number for both directions, or one for rows and one for columns; each ≥ least."""
    both = (value, value) if isinstance(value, int | np.integer) else value
    if (
        not isinstance(both, Sequence)
        or isinstance(both, str)
        or len(both) != 2
        or not all(isinstance(size, int | np.integer) and not isinstance(size, bool) for size in both)
        or min(both) < least
    ):
        raise ValueError(f"{name}: {argument} must be a whole number ≥ {least} or two of them, got {value!r}")
    return int(both[0]), int(both[1])


def dimension(name: str, dim: Any, ndim: int) -> int:
    """The number of an axis, counted from 0, where negative numbers count from the end."""
    if isinstance(dim, bool) or not isinstance(dim, int | np.integer):
        raise TypeError(f"{name}: dim must be a whole number, got {dim!r}")
    if not -ndim <= dim < ndim:
        raise ValueError(f"{name}: dim {dim} is out of range for {ndim} axes")
    return int(dim) % ndim


def floating(name: str, x: Any) -> Variable:
    """x as a Variable of floating-point data, or TypeError."""
    x = as_variable(x)
    if x._data.dtype.kind != "f":
        raise TypeError(f"{name}: expected floating-point data, got {x.dtype}; {CONVERT}")
    return x


def same_dtype(name: str, **variables: Variable | None) -> None:
    """Raise TypeError unless all are of one floating dtype, and on one device."""
    check_one_device(name, variables)
    first = None
    for argument, variable in variables.items():
        if variable is None:
            continue
        dtype = variable._data.dtype
        if dtype.kind != "f":
            raise TypeError(f"{name}: {argument} is {dtype}, expected floating-point data; {CONVERT}")
        if first is None:
            first = argument, dtype
        elif dtype != first[1]:
            raise TypeError(
                f"{name}: {argument} is {dtype}, but {first[0]} is {first[1]}; convert one with .to(dtype)"
            )


def images(name: str, x: Variable) -> None:
    """Raise unless x is a batch of images, (N, C, H, W)."""
    if x.ndim != 4:
        raise ValueError(f"{name}: x must be images (N, C, H, W), got shape {x.shape}")
    if x.dtype.kind != "f":
        raise TypeError(f"{name}: x is {x.dtype}, expected floating-point data; {CONVERT}")


def fits(name: str, x: Variable, window: Window) -> None:
    """Raise ValueError if the window is larger than the padded image."""
    H, W = x.shape[2:]
    (top, bottom), (left, right) = window.padding
    extent = window.extent
    if extent[0] > H + top + bottom or extent[1] > W + left + right:
        raise ValueError(
            f"{name}: the window covers {extent[0]}×{extent[1]} pixels, but the padded image has only "
            f"{H + top + bottom}×{W + left + right} (x has shape {x.shape}, padding {window.padding})"
        )
