"""How kernels are compiled and run: on all cores, once per machine, and by one Python thread at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

# Sums may be reordered into vector lanes, always in the same way; no more of IEEE arithmetic is given up.
REORDER = {"reassoc", "contract", "nsz"}

_lock = threading.Lock()
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def compiled(function: Callable[..., None] | None = None, *, reorder: bool = False) -> Any:
    """Compile a function on first use, for all cores, and keep the machine code on disk.

    Numba's simplest threading layer ends the process when two threads enter it at once, so that calls
    from several Python threads take turns. A forked process has lost the worker threads: there a
    kernel raises RuntimeError rather than wait for them for ever.
    """
    if function is None:
        return lambda function: compiled(function, reorder=reorder)
    dispatcher = njit(
        parallel=True,
        nogil=True,
        cache=True,
        error_model="numpy",
        fastmath=REORDER if reorder else False,
    )(function)

    def call(*arguments: Any) -> None:
        if _forked:
            raise RuntimeError(
                "a forked process cannot run Numba's kernels; start it with multiprocessing's 'spawn', or "
                "choose the NumPy kernels there: minicnn.use('numpy')"
            )
        with _lock:
            dispatcher(*arguments)

    call.__doc__, call.__name__ = function.__doc__, function.__name__
    return call


def plain(x: np.ndarray) -> np.ndarray:
    """x as compiled functions expect arrays: contiguous and writable, since others are other types to Numba.

    Without this a read-only array, say, would have every kernel that meets it compiled once more.
    """
    x = np.ascontiguousarray(x)
    return x if x.flags.writeable else x.copy()
