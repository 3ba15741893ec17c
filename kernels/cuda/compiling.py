"""From a ``.cu`` file to a kernel that runs: compiled by NVRTC through CuPy, once for each source."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from minicnn import backend as devices
from minicnn.kernels.cuda.sources import REAL, source

OPTIONS = ("--std=c++17",)

BLOCK_LIMITS = (1024, 1024, 64)
GRID_LIMITS = (2**31 - 1, 65535, 65535)
"""The most threads of a block and blocks of a grid along each axis, on all GPUs since 2012."""
MOST_THREADS = 1024
MOST_NUMBERS = 2**31 - 1  # in one array: kernels count with 32 bits, half the registers that 64 take
SHARED = 48 * 1024  # bytes of shared memory that a block has without asking

Constants = tuple[tuple[str, str | int], ...]

_declared: dict[str, list[Constants]] = {}  # file -> what it may be compiled with
_lock = threading.Lock()


def declare(
    file: str, dtypes: Iterable[str] = ("float32", "float64"), *tables: Mapping[str, str | int]
) -> None:
    """Say what a file may be compiled with: each of the dtypes, with each table of constants.

    Every launcher's module does so for its file, and the tests compile all that was declared.

    Args:
        dtypes: what ``real`` may stand for in the file; none if it does not say ``real``.
        *tables: the file's other constants, name -> value.
    """
    reals: list[dict[str, str | int]] = [{"real": REAL[name]} for name in dtypes]
    every = [_constants({**real, **table}) for real in reals or [{}] for table in tables or ({},)]
    _declared.setdefault(file, []).extend(every)


def declared() -> Iterator[tuple[str, Constants]]:
    """Every file with all that it may be compiled with."""
    for file, every in _declared.items():
        for constants in every:
            yield file, constants


def function(file: str, name: str, dtype: Any = None, **constants: str | int) -> Any:
    """The kernel of this name in a file of this folder, compiled when it is first asked for.

    Args:
        dtype: of the arrays, where the file is written for several.
        **constants: the file's other constants, as declared.
    """
    real = {} if dtype is None else {"real": REAL[np.dtype(dtype).name]}
    return _function(file, name, _constants(real | constants))


def _constants(table: dict[str, Any]) -> Constants:
    return tuple(sorted(table.items()))


@functools.cache
def _function(file: str, name: str, constants: Constants) -> Any:
    if constants not in _declared.get(file, ()):
        raise ValueError(f"function: {file} with {dict(constants)} was not declared")
    with _lock, _announced():
        return _module(file, constants).get_function(name)


@functools.cache
def _module(file: str, constants: Constants) -> Any:
    """CuPy's module, which compiles when a function of it is wanted, or finds what it compiled on disk."""
    code = source(file, constants)
    return devices.module_of("cuda").RawModule(code=code, options=OPTIONS, backend="nvrtc")


class _announced:
    """Say once, on stderr, that kernels are compiled, if it takes so long that someone may wonder.

    CuPy does not tell whether it has a kernel on disk. If so, it takes milliseconds.
    """

    PATIENCE = 0.3  # seconds
    told = False

    def __enter__(self) -> None:
        self._timer = threading.Timer(self.PATIENCE, self.tell)
        self._timer.daemon = True
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    @classmethod
    def tell(cls) -> None:
        """Print the line."""
        if not cls.told and not os.environ.get("MINICNN_QUIET"):
            line = "minicnn: compiling CUDA kernels for this GPU; each is kept for the next time"
            print(line, file=sys.stderr, flush=True)
        cls.told = True


def launch(
    function: Any, grid: int | tuple[int, ...], block: int | tuple[int, ...], args: tuple, shared: int = 0
) -> None:
    """Run a kernel with so many blocks of so many threads, and ``shared`` bytes of dynamic shared memory.

    Arrays are passed as pointers to their first number, None as a null pointer. A Python integer is passed as
    C's ``int``; anything else as the NumPy scalar that says what it is, such as ``x.dtype.type(eps)``.
    """
    grid, block = _three("grid", grid, GRID_LIMITS), _three("block", block, BLOCK_LIMITS)
    if block[0] * block[1] * block[2] > MOST_THREADS:
        raise ValueError(f"launch: block is {block}, but has more than {MOST_THREADS} threads")
    if 0 in grid:
        return  # nothing to do: an empty batch
    if shared > SHARED:
        function.max_dynamic_shared_size_bytes = shared
    function(grid, block, tuple(_argument(arg) for arg in args), shared_mem=shared)


def _three(name: str, size: int | tuple[int, ...], limits: tuple[int, ...]) -> tuple[int, ...]:
    """A size with three axes, none of them above its limit."""
    size = (size,) if isinstance(size, int) else tuple(size)
    for axis, (length, limit) in enumerate(zip(size, limits, strict=False)):
        if not 0 <= length <= limit:
            raise ValueError(f"launch: {name} is {size}, but axis {axis} goes up to {limit}")
    return size + (1,) * (3 - len(size))


def _argument(arg: Any) -> Any:
    """An argument as CuPy passes it on with the type that the kernel expects."""
    if arg is None or isinstance(arg, np.generic):
        return arg
    if isinstance(arg, bool | float):
        raise TypeError(f"launch: {arg!r} could be several C types; pass a NumPy scalar")
    if isinstance(arg, int):
        if not -(2**31) <= arg < 2**31:
            raise OverflowError(f"launch: {arg} does not fit into the 32 bits that kernels count with")
        return np.int32(arg)
    if arg.size > MOST_NUMBERS:
        raise OverflowError(
            f"launch: an array of shape {arg.shape} has {arg.size} numbers, but kernels count up to "
            f"{MOST_NUMBERS}; take a smaller batch"
        )
    return arg


def blocks(size: int, each: int) -> int:
    """How many blocks it takes if each does so many.

    >>> blocks(1000, 256)
    4
    """
    return -(-size // each)
