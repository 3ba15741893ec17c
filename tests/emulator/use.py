"""The GPU for tests: a real one through CuPy where there is one, else the emulated one."""

import functools
import sys
from contextlib import contextmanager, suppress

import pytest

from emulator import host, memory, module
from minicnn import backend


@functools.cache
def kind():
    """What tests of the GPU run on: "GPU", "emulated GPU", or nothing ("") without a compiler for that."""
    before = sys.modules.get("cupy")
    if not getattr(before, "is_emulated", False) and not backend.why_no_gpu():
        return "GPU"
    return "" if host.COMPILER is None else "emulated GPU"


MISSING = "needs an NVIDIA GPU, or a C++ compiler to emulate one"


@contextmanager
def gpu():
    """CuPy, or in this block what stands in for it; no emulated kernel may have written beside its arrays."""
    if kind() == "GPU":
        import cupy

        yield cupy
        return
    before = sys.modules.get("cupy")
    emulated = before if getattr(before, "is_emulated", False) else module.build()
    sys.modules["cupy"] = emulated
    with suppress(memory.GuardError):
        memory.pool.check_guards()  # some tests write beside arrays to see it noticed; that was theirs
    try:
        yield emulated
        memory.pool.check_guards()
    finally:
        if before is None:
            del sys.modules["cupy"]
        else:
            sys.modules["cupy"] = before


@pytest.fixture
def cupy():
    """CuPy or what stands in for it; the test is skipped where neither can be had."""
    if not kind():
        pytest.skip(MISSING)
    with gpu() as found:
        yield found
