"""Which device an array lives on, and which kernels compute there.

This is the lowest room: it knows nothing of kernels or tensors, only two settings that the rooms
above ask for. A *backend* is a family of kernels ("numpy"); an *algorithm* is one of several
kernels for the same operation ("im2col"). Both are set, globally or for a block, by :func:`use`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

import numpy as np

DEVICES = ("cpu",)
"""The devices whose arrays can be computed with."""

_cpu_backend = "numpy"
_algorithms: dict[str, str] = {}

# Filled by the kernel registry: operation -> the algorithms known for it, on any backend.
known_algorithms: dict[str, set[str]] = {}
known_backends: set[str] = set()


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


def algorithm_for(operation: str) -> str:
    """The algorithm set for an operation such as "conv2d.grad_input": "auto" unless told otherwise."""
    return _algorithms.get(operation) or _algorithms.get(operation.partition(".")[0], "auto")


class use:
    """Choose kernels, globally (a plain call) or for one block (``with``).

    Args:
        backend: a family of kernels: ``"numpy"``.
        algorithms: operation -> algorithm, where an operation may name one of its parts:
            ``{"conv2d": "im2col", "conv2d.grad_weight": "naive"}``. ``"auto"`` hands the choice back.
        **by_name: the same for operations without a dot: ``conv2d="taps"``.

    The setting belongs to the process, not to a thread. Backward looks at it when backward runs,
    so a block should hold both passes.

    Raises:
        ValueError: an unknown backend, operation or algorithm.

    >>> import minicnn as mc
    >>> x, w = mc.randn(1, 3, 8, 8), mc.randn(4, 3, 3, 3)
    >>> with mc.use(conv2d="taps"), mc.trace() as ran:
    ...     y = mc.functional.conv2d(x, w)
    >>> ran
    [conv2d.forward[numpy:taps]]
    """

    def __init__(
        self, backend: str | None = None, algorithms: Mapping[str, str] | None = None, **by_name: str
    ) -> None:
        global _cpu_backend, _algorithms
        wanted = {**(algorithms or {}), **by_name}
        if backend is not None and backend not in known_backends:
            raise ValueError(f"backend: {unknown(backend, known_backends)}")
        for operation, algorithm in wanted.items():
            if operation not in known_algorithms:
                raise ValueError(f"use: operation {unknown(operation, known_algorithms)}")
            choices = {"auto", *known_algorithms[operation]}
            if algorithm not in choices:
                raise ValueError(f"use: {operation} algorithm {unknown(algorithm, choices)}")
        self._before = (_cpu_backend, _algorithms)
        _cpu_backend = backend or _cpu_backend
        _algorithms = {**_algorithms, **wanted}

    def __enter__(self) -> use:
        return self

    def __exit__(self, *_: object) -> None:
        global _cpu_backend, _algorithms
        _cpu_backend, _algorithms = self._before


def unknown(name: object, choices: Iterable[str]) -> str:
    """The words for a name that is not among the choices, with the nearest one suggested.

    >>> unknown("im2coll", ["im2col", "naive"])
    "'im2coll' is unknown; did you mean 'im2col'? (known: im2col, naive)"
    """
    names = sorted(choices)
    near = difflib.get_close_matches(str(name), names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return f"{name!r} is unknown{hint} (known: {', '.join(names)})"
