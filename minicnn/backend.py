"""Which device an array lives on, which module makes arrays there, and which kernels compute with them.

This is the lowest room: it knows nothing of kernels or tensors. Arrays of the CPU are NumPy's, those of the
GPU are CuPy's. CuPy is imported in this file only, and not before somebody asks for the GPU.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

DEVICES = ("cpu", "cuda")
"""The devices whose arrays can be computed with: the processor, and one NVIDIA GPU."""

CPU_BACKENDS = ("numpy", "numba")
"""The families of kernels for NumPy arrays: the reference, and those compiled for this machine."""

BACKENDS = (*CPU_BACKENDS, "cuda")
"""All families of kernels."""

BACKEND_VARIABLE = "MINICNN_BACKEND"
"""The environment variable that names one of them."""

INSTALL = 'pip install "cupy-cuda12x[ctk]" or "cupy-cuda13x[ctk]", as the driver is for CUDA 12 or 13'

_named = os.environ.get(BACKEND_VARIABLE, "numba")
if _named not in BACKENDS:
    raise ValueError(f"{BACKEND_VARIABLE} is {_named!r}, but one of {', '.join(BACKENDS)} is expected")
_cpu_backend = "numba" if _named == "cuda" else _named
_device = "cuda" if _named == "cuda" else "cpu"  # where new tensors are made
_told = False  # whether somebody was told that there is a CuPy without a GPU

capture: Any = None
"""While work on the GPU is written down instead of done: a `cuda_graphs.Recording`, else None."""


class CaptureError(RuntimeError):
    """This work cannot be written down, to be done later: it needs something of the host in each run."""


# Settings


def current_backend() -> str:
    """The family that computes with new tensors."""
    return "cuda" if _device == "cuda" else _cpu_backend


def cpu_backend() -> str:
    """The family that computes on NumPy arrays."""
    return _cpu_backend


def default_device() -> str:
    """Where new tensors are made."""
    return _device


def set_backend(name: str) -> tuple[str, str]:
    """Make new tensors where this family computes, and return the setting before, for :func:`restore`.

    Raises ValueError for an unknown name, and for "cuda" where there is no GPU.
    """
    check_backend(name)
    before = _cpu_backend, _device
    restore((_cpu_backend, "cuda") if name == "cuda" else (name, "cpu"))
    return before


def check_backend(name: str) -> None:
    """Raise ValueError unless this is a family of kernels that can compute here."""
    if name not in BACKENDS:
        raise ValueError(f"backend: {unknown(name, BACKENDS)}")
    if name == "cuda":
        check_device("cuda")


def restore(setting: tuple[str, str]) -> None:
    """Take up a setting that :func:`set_backend` returned."""
    global _cpu_backend, _device
    _cpu_backend, _device = setting


# Arrays


def is_array(value: Any) -> bool:
    """Whether this is an array of one of the devices."""
    return isinstance(value, np.ndarray) or _on_gpu(value)


def _on_gpu(value: Any) -> bool:
    cupy = sys.modules.get("cupy")  # whoever has an array of CuPy's has imported it
    return cupy is not None and isinstance(value, cupy.ndarray)


def device_of(array: Any) -> str:
    """The device that holds this array: "cpu" or "cuda"; TypeError for what is no array."""
    if isinstance(array, np.ndarray):
        return "cpu"
    if _on_gpu(array):
        return "cuda"
    raise TypeError(f"expected a NumPy or CuPy array, got {type(array).__name__}; see minicnn.tensor")


def backend_of(array: Any) -> str:
    """The family of kernels that computes on this array."""
    return _cpu_backend if isinstance(array, np.ndarray) else _family_on(device_of(array))


def _family_on(device: str) -> str:
    return "cuda" if device == "cuda" else _cpu_backend


def module_of(place: Any) -> Any:
    """NumPy or CuPy: the module that makes arrays on a device, given by its name or by an array there.

    Functions of arrays need no such choice: NumPy's own hand an array of the GPU on to CuPy.
    """
    device = check_device(place) if isinstance(place, str) else device_of(place)
    return np if device == "cpu" else _import_cupy()


def move(value: Any, device: str) -> Any:
    """An array (or numbers that NumPy makes one of) on a device; itself where it is there already."""
    there = _on_gpu(value)
    if capture is not None and (there if device == "cpu" else not there and np.ndim(value)):
        where = "from" if there else "to"
        raise CaptureError(f"numbers were copied {where} the GPU, where a graph can hold no such copy")
    if device == "cpu":
        return value.get() if there else np.asarray(value)
    return module_of(device).asarray(value)  # a single number goes along with the kernel that writes it


# Devices


def check_device(device: str) -> str:
    """The device's name, "cpu" or "cuda", if it can be computed on.

    Raises ValueError, in one line, for an unknown device, and for a GPU that is not there or cannot be used.
    """
    name, _, index = str(device).partition(":")
    if name not in DEVICES or (index and name == "cpu"):
        raise ValueError(f"device: {unknown(device, DEVICES)}")
    if index not in ("", "0"):
        raise ValueError(
            f"device: {device!r}, but one GPU is used, which is 'cuda' (or 'cuda:0'); "
            f"the environment variable CUDA_VISIBLE_DEVICES={index} makes that one it"
        )
    if name == "cuda" and (reason := why_no_gpu()):
        raise ValueError(f"device: 'cuda' cannot be used: {reason}")
    return name


def resolve(device: str) -> str:
    """The device that is meant, where "auto" is the GPU if there is one and else the CPU.

    Where CuPy is installed, somebody expects a GPU: that there is none is said once, on stderr.
    """
    global _told
    if device != "auto":
        return check_device(device)
    reason = why_no_gpu()
    if reason and not _told and sys.modules.get("cupy") is not None:
        _told = True
        print(f"minicnn: using the CPU: {reason}", file=sys.stderr)
    return "cpu" if reason else "cuda"


def why_no_gpu() -> str:
    """Why nothing can be computed on a GPU, in one line; empty if it can."""
    try:
        cupy = _import_cupy()
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "cupy":
            return f"CuPy is not installed; {INSTALL}"
        return f"CuPy cannot be imported ({one_line(error)}); {INSTALL}"
    if cupy.is_available():
        return ""
    try:
        cupy.cuda.runtime.getDeviceCount()
        found = "no device"
    except RuntimeError as error:
        found = one_line(error)
    return f"CuPy is installed, but finds no NVIDIA GPU with a driver that fits ({found})"


def _import_cupy() -> Any:
    return importlib.import_module("cupy")


def gpu_name() -> str:
    """What the GPU calls itself."""
    name = _import_cupy().cuda.runtime.getDeviceProperties(0)["name"]
    return name.decode() if isinstance(name, bytes) else str(name)


class OutOfGPUMemory(MemoryError):
    """The GPU has less memory than was asked for; the message is one line that says what to do."""


@contextlib.contextmanager
def explained_memory(advice: str) -> Iterator[None]:
    """A block in which the GPU's running out of memory is :class:`OutOfGPUMemory`: asked, free, advice."""
    try:
        yield
    except MemoryError as error:
        cupy = sys.modules.get("cupy")
        if cupy is None or not isinstance(error, cupy.cuda.memory.OutOfMemoryError):
            raise
        pool = cupy.get_default_memory_pool()
        free, total = cupy.cuda.runtime.memGetInfo()
        free += pool.total_bytes() - pool.used_bytes()
        asked = one_line(error).removesuffix(".")
        asked = asked[:1].lower() + asked[1:]
        raise OutOfGPUMemory(
            f"on the GPU: {asked}; {free / 2**30:.2f} of its {total / 2**30:.2f} GiB are free; {advice}"
        ) from None


# Words


def one_line(error: BaseException) -> str:
    """What an error says, in one line of bearable length."""
    return " ".join(str(error).split())[:300]


def unknown(name: object, choices: Iterable[str]) -> str:
    """The words for a name that is not among the choices, with the nearest one suggested.

    >>> unknown("im2coll", ["im2col", "naive"])
    "'im2coll' is unknown; did you mean 'im2col'? (known: im2col, naive)"
    """
    names = sorted(choices)
    bare = {name.lstrip("-"): name for name in names}  # that options all begin alike makes none of them near
    near = [bare[found] for found in difflib.get_close_matches(str(name).lstrip("-"), bare, n=1)]
    if near and len(names) > 20:  # a long list would bury the suggestion
        return f"{name!r} is unknown; did you mean {near[0]!r}?"
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name!r} is unknown{hint} (known: {', '.join(names)})"
