"""Which device an array lives on, and which family of kernels computes there.

This is the lowest room: it knows nothing of kernels or tensors.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

import numpy as np

DEVICES = ("cpu",)
"""The devices whose arrays can be computed with."""

CPU_BACKENDS = ("numpy", "numba")
"""The families of kernels for NumPy arrays: the reference, and those compiled for this machine."""

BACKEND_VARIABLE = "MINICNN_BACKEND"
"""The environment variable that names one of them."""

_cpu_backend = os.environ.get(BACKEND_VARIABLE, "numba")
if _cpu_backend not in CPU_BACKENDS:
    raise ValueError(
        f"{BACKEND_VARIABLE} is {_cpu_backend!r}, but one of {', '.join(CPU_BACKENDS)} is expected"
    )


def cpu_backend() -> str:
    """The family that computes on NumPy arrays."""
    return _cpu_backend


def set_cpu_backend(name: str) -> str:
    """Let this family compute on NumPy arrays, and return the one that did before."""
    global _cpu_backend
    if name not in CPU_BACKENDS:
        raise ValueError(f"backend: {unknown(name, CPU_BACKENDS)}")
    before, _cpu_backend = _cpu_backend, name
    return before


def backend_of(array: np.ndarray) -> str:
    """The family of kernels that computes on this array."""
    if isinstance(array, np.ndarray):
        return _cpu_backend
    raise TypeError(f"expected a NumPy array, got {type(array).__name__}; see minicnn.tensor")


def device_of(array: np.ndarray) -> str:
    """The device that holds this array: "cpu"."""
    if isinstance(array, np.ndarray):
        return "cpu"
    raise TypeError(f"expected a NumPy array, got {type(array).__name__}; see minicnn.tensor")


def check_device(device: str) -> str:
    """Return the device's name if it can be computed on, else raise ValueError."""
    if device not in DEVICES:
        raise ValueError(f"device: {device!r} is not available here; available: {', '.join(DEVICES)}")
    return device


def unknown(name: object, choices: Iterable[str]) -> str:
    """The words for a name that is not among the choices, with the nearest one suggested.

    >>> unknown("im2coll", ["im2col", "naive"])
    "'im2coll' is unknown; did you mean 'im2col'? (known: im2col, naive)"
    """
    names = sorted(choices)
    near = difflib.get_close_matches(str(name), names, n=1)
    if near and len(names) > 20:  # a long list would bury the suggestion
        return f"{name!r} is unknown; did you mean {near[0]!r}?"
    hint = f" did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is unknown;{hint} (known: {', '.join(names)})"
