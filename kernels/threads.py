"""How many cores compute: one number for the kernels that Numba compiles and for the BLAS inside NumPy."""

from __future__ import annotations

import operator
import os
import sys

from minicnn import backend

_chosen: int | None = None


def set_num_threads(number: int) -> None:
    """Let so many threads compute, on both backends and whichever Python thread asks for it.

    Until this is called, Numba and BLAS follow their own environment variables, or take every core. The
    results of Numba's kernels do not depend on the number; those of BLAS may, in the last digits. BLAS
    here is every one in the process that threadpoolctl knows: OpenBLAS, MKL and BLIS.

    Args:
        number: from 1 to the cores that this process may use, or to NUMBA_NUM_THREADS where that is set.

    Raises:
        TypeError: number is not a whole number.
        ValueError: number is below 1, or larger than Numba allows.

    >>> import minicnn as mc
    >>> before = mc.get_num_threads()
    >>> mc.set_num_threads(1)
    >>> mc.get_num_threads()
    1
    >>> mc.set_num_threads(before)
    """
    global _chosen
    if isinstance(number, bool) or not hasattr(number, "__index__"):
        raise TypeError(f"set_num_threads: number is {number!r}, but a whole number is expected")
    number = operator.index(number)
    if not 1 <= number <= most():
        raise ValueError(
            f"set_num_threads: number is {number}, but 1 to {most()} is expected, the cores that this "
            "process may use; for more, set NUMBA_NUM_THREADS before Python starts"
        )
    from threadpoolctl import threadpool_limits

    threadpool_limits(number, user_api="blas")
    _chosen = number


def get_num_threads() -> int:
    """How many threads compute on the backend that is set.

    >>> import minicnn as mc
    >>> mc.get_num_threads() >= 1
    True
    """
    if _chosen is not None:
        return _chosen
    if backend.cpu_backend() == "numba":
        return most()
    from threadpoolctl import threadpool_info

    counts = [library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"]
    return max(counts, default=most())


def chosen() -> int | None:
    """The number that was set, if any was."""
    return _chosen


def most() -> int:
    """The number of threads that Numba starts, by Numba's own rule where Numba is not loaded yet."""
    if "numba" in sys.modules:
        return sys.modules["numba"].config.NUMBA_NUM_THREADS
    return int(os.environ.get("NUMBA_NUM_THREADS") or cores())


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
