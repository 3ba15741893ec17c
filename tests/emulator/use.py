"""The GPU for tests of CUDA kernels: CuPy where it finds one, else the emulated one."""

import importlib.util
import sys

import pytest

from emulator import host, module


def real():
    """CuPy, if it is installed and finds a GPU."""
    if importlib.util.find_spec("cupy") is None:
        return None
    import cupy

    return cupy if cupy.is_available() else None


@pytest.fixture
def cupy(monkeypatch):
    """CuPy or what stands in for it; the test is skipped where neither can be had."""
    if found := real():
        return found
    if host.COMPILER is None:
        pytest.skip("needs a C++ compiler to emulate a GPU")
    emulated = module.build()
    monkeypatch.setitem(sys.modules, "cupy", emulated)
    return emulated
