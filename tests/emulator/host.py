"""CuPy's RawModule, with the host's C++ compiler in NVRTC's place and the CPU in the GPU's.

What a GPU would take for granted, or read as other bytes, is an error here: arguments whose number or types
are not the kernel's, more threads or shared memory than there may be, memory touched beside an array, a
barrier that not all threads reach.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import platformdirs

from emulator import graphs

HERE = Path(__file__).parent
COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
"""The host's C++ compiler, or None: then no kernel can run, and tests that need one are to be skipped."""

FLAGS = (
    *("-std=c++20", "-O1", "-shared", "-fPIC", "-w", "-ffp-contract=off", "-fno-strict-aliasing"),
    *("-U_FORTIFY_SOURCE", "-fvisibility=hidden"),
    *("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error"),
)
KERNEL = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\s*\(([^)]*)\)\s*)?(\w+)\s*\(")
DYNAMIC = re.compile(r"extern\s+__shared__\s+(?:__align__\(\d+\)\s+)?([\w ]+?)\s+(\w+)\[\];")
TYPES = {"f": "f4", "d": "f8", "i": "i4", "I": "u4", "l": "i8", "L": "u8", "b": "i1", "B": "u1"}
TYPES |= {"h": "i2", "H": "u2", "?": "b1"}
"""The letters that cuda_on_cpu::signature uses, and NumPy's kind and size; other types are not compared."""

SHARED, MOST_SHARED = 48 * 1024, 227 * 1024  # bytes for one block, without and with asking for more


class RawModule:
    """Kernels in CUDA C++, compiled for the CPU when one of them is first asked for."""

    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        assert isinstance(options, tuple), "CuPy takes a tuple"
        assert backend == "nvrtc", "a GPU's user has no nvcc"
        self.code, self.options = code, options

    def compile(self, log_stream: Any = None) -> None:
        """Compile it now."""
        library(self.code, self.options)

    def get_function(self, name: str) -> RawKernel:
        """The kernel of this name."""
        return RawKernel(library(self.code, self.options), name)


class RawKernel:
    """One kernel, to be launched as CuPy's are."""

    def __init__(self, library: ctypes.CDLL, name: str) -> None:
        self.name = name
        self.max_dynamic_shared_size_bytes = SHARED
        self._launch = getattr(library, f"launch_{name}")
        self._launch.restype = ctypes.c_char_p
        signature = getattr(library, f"signature_{name}")
        signature.restype = ctypes.c_char_p
        letters = signature().decode()
        self.parameters = [letters[i : i + 2] for i in range(0, len(letters), 2)]
        self._static_shared = library.static_shared()
        bound = getattr(library, f"bound_{name}")()
        self.max_threads_per_block = bound or 1024

    def __call__(self, grid: tuple, block: tuple, args: tuple, *, shared_mem: int = 0) -> None:
        grid, block = ((*map(int, size), 1, 1)[:3] for size in (grid, block))
        self._check_sizes(grid, block, shared_mem)
        assert len(args) == len(self.parameters), (
            f"{self.name} has {len(self.parameters)} parameters, given are {len(args)}"
        )
        values = [self._value(n, a, p) for n, (a, p) in enumerate(zip(args, self.parameters, strict=True))]
        sizes = [(ctypes.c_uint * 3)(*size) for size in (grid, block)]

        def launch() -> None:
            pointers = (ctypes.c_void_p * len(values))(*(value.ctypes.data for value in values))
            failed = self._launch(pointers, *sizes, ctypes.c_size_t(shared_mem))
            if failed:
                raise RuntimeError(f"{self.name}: {failed.decode()}")

        if graphs.capturing() is not None:
            graphs.capturing().kernel(launch, [arg for arg in args if is_array(arg)])
            return
        launch()
        for n, arg in enumerate(args):
            if is_array(arg) and (damage := arg.data.mem.damage()):
                arg.data.mem.restore_guards()  # what is said here is not to be said again later
                raise RuntimeError(f"{self.name}: argument {n}: {damage}")

    def _check_sizes(self, grid: tuple, block: tuple, shared: int) -> None:
        assert 1 <= np.prod(block) <= self.max_threads_per_block, f"{self.name}: block {block}"
        assert all(1 <= n <= most for n, most in zip(block, (1024, 1024, 64), strict=True)), block
        assert all(1 <= n <= most for n, most in zip(grid, (2**31 - 1, 65535, 65535), strict=True)), grid
        assert self.max_dynamic_shared_size_bytes <= MOST_SHARED
        assert self._static_shared <= SHARED, f"{self.name}: {self._static_shared} bytes of shared memory"
        allowed = max(self.max_dynamic_shared_size_bytes, SHARED - self._static_shared)
        assert shared <= allowed, f"{self.name}: {shared} bytes of dynamic shared memory, {allowed} allowed"

    def _value(self, number: int, arg: Any, parameter: str) -> np.ndarray:
        """The bytes that the kernel reads for an argument, as CuPy would make them."""
        pointer, letter = parameter[0] == "*", parameter[1]
        name = f"{self.name}: argument {number}"
        if arg is None or is_array(arg):
            assert pointer, f"{name} is an array, but the kernel takes a number"
            if arg is not None and letter in TYPES:
                given = np.dtype(arg.dtype)
                assert given.kind + str(given.itemsize) == TYPES[letter], f"{name}: an array of {given}"
            return np.array(0 if arg is None else arg.data.ptr, np.uintp)
        assert not pointer, f"{name} is {arg!r}, but the kernel takes a pointer"
        value = np.asarray(arg)  # Python's own numbers become int64 and float64, as in CuPy
        assert value.ndim == 0
        kind = value.dtype.kind + str(value.dtype.itemsize)
        assert kind == TYPES[letter], f"{name} is {kind}, but the kernel takes {TYPES[letter]}"
        return value


def is_array(arg: Any) -> bool:
    """Whether this is an array of the imagined GPU, not a number."""
    return hasattr(arg, "data") and hasattr(arg.data, "ptr")


@functools.cache
def library(code: str, options: tuple[str, ...]) -> ctypes.CDLL:
    """The machine code for a source, from the cache folder or fresh from the compiler."""
    assert COMPILER is not None, "there is no C++ compiler"
    text = translated(code)
    flags = (*FLAGS, *(option for option in options if option.startswith("-D")))
    digest = hashlib.sha256("\0".join((COMPILER, *flags, text)).encode())
    for header in sorted(HERE.glob("*.h")):
        digest.update(header.read_bytes())
    folder = Path(platformdirs.user_cache_dir("minicnn")) / "emulator"
    path = folder / f"{digest.hexdigest()}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        compile_to(path, text, flags)
    return ctypes.CDLL(str(path))


def compile_to(path: Path, text: str, flags: tuple[str, ...]) -> None:
    """Compile under another name first, so that no other process finds half a file."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        source, made = Path(folder) / "kernels.cpp", Path(folder) / "kernels.so"
        source.write_text(text, encoding="utf-8")
        command = (str(COMPILER), *flags, f"-I{HERE}", str(source), "-o", str(made))
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"the C++ compiler does not take this source:\n{done.stderr}")
        os.replace(made, path)


def translated(code: str) -> str:
    """A .cu file as C++: dynamic shared memory becomes a pointer, each kernel a function that launches it."""
    code = re.sub(r"^#include <.*$", "", code, flags=re.MULTILINE)
    code = DYNAMIC.sub(r"\1 *\2 = reinterpret_cast<\1 *>(cuda_on_cpu::dynamic_shared);", code)
    exported = 'extern "C" __attribute__((visibility("default")))'
    lines = ['#include "cuda_on_cpu.h"', code]
    for bounds, name in KERNEL.findall(code):
        lines += [
            f"{exported} const char *launch_{name}(void **args, const unsigned *grid, const unsigned *block,",
            "                                      size_t shared) {",
            f"    return cuda_on_cpu::launch({name}, args, grid, block, shared);",
            "}",
            f"{exported} const char *signature_{name}() {{ return cuda_on_cpu::signature({name}); }}",
            f"{exported} int bound_{name}() {{ return {bounds.split(',')[0] or 0}; }}",
        ]
    lines += [f"{exported} int static_shared() {{ return cuda_on_cpu::static_shared(); }}"]
    return "\n".join(lines)
