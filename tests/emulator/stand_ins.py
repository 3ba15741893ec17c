"""Kernels for the GPU that are none: the reference on the CPU, with arrays copied there and back.

They let everything around the kernels be tested with a GPU whose own kernels would take hours to emulate.
"""

import sys
from contextlib import contextmanager

import numpy as np
import pytest

from minicnn import backend, kernels
from minicnn.kernels import registry


@contextmanager
def stand_ins():
    """In this block, every operation that the reference computes, it computes on the GPU's arrays too."""
    kernels.registered("numpy")  # which loads them
    kernels.registered("cuda")
    with pytest.MonkeyPatch.context() as patch:
        for table in (registry._kernels, registry._choosers):
            for operation, family in list(table):
                if family == "cuda":
                    patch.delitem(table, (operation, family))
        for operation, family in list(registry._kernels):
            if family == "numpy":
                patch.setitem(registry._kernels, (operation, "cuda"), {"stand-in": _stand_in(operation)})
        yield


def _stand_in(operation):
    def kernel(*args):
        cupy = sys.modules["cupy"]
        inside = _over(cupy.ndarray, _numbers, args)
        algorithm = registry._auto(operation, "numpy", inside)
        result = registry._kernels[operation, "numpy"][algorithm](*inside)
        if operation.endswith(".update"):  # in place
            _copy_back(cupy, args, inside)
        return _over(np.ndarray | np.generic, cupy.asarray, result)

    return kernel


def _numbers(array):
    """A copy on the host; behind the emulator's back, as a kernel on the GPU would need none."""
    if backend.capture is not None:
        raise backend.CaptureError("a stand-in computes on the host")
    return array._host.copy() if hasattr(array, "_host") else array.get()


def _over(kind, function, value):
    """A value with the function applied to what is of this kind, however deep in lists and tuples."""
    if type(value) in (list, tuple):
        return type(value)(_over(kind, function, one) for one in value)
    return function(value) if isinstance(value, kind) else value


def _copy_back(cupy, before, after):
    for old, new in zip(before, after, strict=True):
        if isinstance(old, list | tuple):
            _copy_back(cupy, old, new)
        elif isinstance(old, cupy.ndarray):
            old[...] = cupy.asarray(new)
