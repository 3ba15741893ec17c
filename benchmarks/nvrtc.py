"""NVRTC without CuPy, a GPU or a driver: compiles CUDA sources, and says what the code needs.

The compiler comes from the wheel ``nvidia-cuda-nvrtc``, and is given the options that CuPy gives it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from minicnn.kernels.cuda.compiling import OPTIONS

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_89", "sm_90")
"""Turing, the two Amperes, Ada and Hopper: what the kernels are for."""

AS_CUPY = (*OPTIONS, "-ftz=true", "--device-as-default-execution-space")
NAMES = re.compile(r"libnvrtc\.so\.\d+|nvrtc64_\d+_\d+\.dll")
ENTRY = re.compile(
    r"Compiling entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, "
    r"(\d+) bytes spill loads.*?Used (\d+) registers(?:[^\n]*?, (\d+) bytes smem)?",
    re.DOTALL,
)


class Needs(NamedTuple):
    """What one block of a kernel takes of a multiprocessor, and what of it did not fit into registers."""

    kernel: str
    registers: int  # of each thread
    shared: int  # bytes, those known to the compiler
    stack: int  # bytes of each thread in local memory, which is slow
    spilled: int  # bytes of these that the compiler wanted in registers


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiler, or None if the wheel is not installed."""
    for path in in_wheels("*nvrtc*"):
        if NAMES.fullmatch(path.name):
            return ctypes.CDLL(str(path))
    return None


def in_wheels(pattern: str) -> Iterator[Path]:
    """The files of such names in NVIDIA's wheels, later versions first."""
    try:
        spec = importlib.util.find_spec("nvidia")
    except ModuleNotFoundError:
        return
    for folder in (spec.submodule_search_locations if spec else None) or ():
        yield from sorted(Path(folder).rglob(pattern), reverse=True)


def compiled(text: str, architecture: str) -> tuple[list[Needs], str]:
    """What each kernel of a source needs, and whatever else the compiler had to say, such as warnings.

    Raises:
        RuntimeError: the source has errors.
    """
    said = _made(text, architecture)[1]
    rest = [line for line in said.splitlines() if line.strip() and not line.startswith("ptxas")]
    rest += [line for line in said.splitlines() if line.startswith("ptxas") and "warning" in line.lower()]
    return [_needs(match) for match in ENTRY.finditer(said)], "\n".join(rest)


def binary(text: str, architecture: str) -> bytes:
    """The code that runs, as a file of its own (cubin).

    Raises:
        RuntimeError: the source has errors.
    """
    return _made(text, architecture)[0]


@functools.lru_cache(maxsize=1)  # one source after the other, but several questions about each
def _made(text: str, architecture: str) -> tuple[bytes, str]:
    """The code, and what the compiler said."""
    nvrtc = library()
    if nvrtc is None:
        raise RuntimeError("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    program = ctypes.c_void_p()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), b"kernels.cu", 0, None, None)
    options = [f"-arch={architecture}", *AS_CUPY, "--ptxas-options=-v"]
    strings = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = nvrtc.nvrtcCompileProgram(program, len(options), strings)
    said = _read(program, nvrtc.nvrtcGetProgramLogSize, nvrtc.nvrtcGetProgramLog).rstrip(b"\0").decode()
    code = b"" if failed else _read(program, nvrtc.nvrtcGetCUBINSize, nvrtc.nvrtcGetCUBIN)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise RuntimeError(f"NVRTC for {architecture}:\n{said}")
    return code, said


def _read(program: ctypes.c_void_p, size_of: Any, get: Any) -> bytes:
    size = ctypes.c_size_t()
    size_of(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    get(program, text)
    return text.raw


def _needs(match: re.Match[str]) -> Needs:
    name, stack, stores, loads, registers, shared = match.groups()
    return Needs(name, int(registers), int(shared or 0), int(stack), int(stores) + int(loads))
