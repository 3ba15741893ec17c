"""How kernels are compiled and run: on all cores, once per machine, and by one Python thread at a time."""

from __future__ import annotations

import functools
import hashlib
import os
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba import njit
from numba.core import caching, event

from minicnn.kernels import threads
from minicnn.kernels.numba.parallel import on_all_cores

# Sums may be reordered into vector lanes, always in the same way; no more of IEEE arithmetic is given up.
REORDER = {"reassoc", "contract", "nsz"}

_lock = threading.Lock()
_forked = False


def _after_fork() -> None:
    global _forked
    _forked = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def helper(function: Callable[..., Any] | None = None, *, reorder: bool = False) -> Any:
    """A part of kernels, compiled into each of them that calls it."""
    if function is None:
        return lambda function: helper(function, reorder=reorder)
    return njit(**_options(reorder, no_cpython_wrapper=True))(function)


def _options(reorder: bool, **others: bool) -> dict[str, Any]:
    """Numba's options. A wrapper is what lets Python or C call a function: it would have to be compiled."""
    fastmath = REORDER if reorder else False
    return {"error_model": "numpy", "nogil": True, "fastmath": fastmath, "no_cfunc_wrapper": True, **others}


@helper
def share(core, jobs):
    """The numbers of the jobs, of so many, that are this core's: neighbouring ones."""
    number, cores = core
    return range(jobs * number // cores, jobs * (number + 1) // cores)


def compiled(function: Callable[..., None] | None = None, *, reorder: bool = False) -> Any:
    """Compile a function on first use, and keep the machine code on disk; call it on all cores.

    Its first parameter is not the caller's: ``core`` says on which core it runs, of how many, as two numbers,
    of which :func:`share` makes the jobs that are to be done there.

    Numba's simplest threading layer ends the process when two threads enter it at once, so that calls
    from several Python threads take turns. A forked process has lost the worker threads: there a
    kernel raises RuntimeError rather than wait for them for ever.
    """
    if function is None:
        return lambda function: compiled(function, reorder=reorder)
    dispatcher = on_all_cores(function, **_options(reorder))
    _Announcement.keeps &= _keep_on_disk(dispatcher)

    def call(*arguments: Any) -> None:
        if _forked:
            raise RuntimeError(
                "a forked process cannot run Numba's kernels; start it with multiprocessing's 'spawn', or "
                "choose the NumPy kernels there: minicnn.use('numpy')"
            )
        with _lock:
            if (number := threads.chosen()) is None:
                failed = dispatcher(*arguments)
            else:
                failed = _limited(number, dispatcher, arguments)
        if failed:
            raise MemoryError(f"{call.__name__}: no memory left for what it needs besides its arrays")

    call.__doc__, call.__name__ = function.__doc__, function.__name__
    return call


def _limited(number: int, dispatcher: Callable[..., bool], arguments: tuple) -> bool:
    """Call with at most so many threads.

    Numba keeps one number for each Python thread. It is put back, so that outside of a call it is never less
    than inside: kernels provide scratch memory for each of the threads that Numba then speaks of.
    """
    before = numba.get_num_threads()
    if number >= before:
        return dispatcher(*arguments)
    numba.set_num_threads(number)
    try:
        return dispatcher(*arguments)
    finally:
        numba.set_num_threads(before)


def _keep_on_disk(dispatcher: Any) -> bool:
    """Keep machine code beside the source, else in the user's cache folder, if either can be written to.

    No folder that others can write to is tried instead: what lies in a cache is run.
    """
    try:
        dispatcher._cache = _Cache(dispatcher.py_func)
    except RuntimeError:  # "no locator available"
        return False
    # Numba itself would take the code for fresh as long as the function's own file stays the same.
    dispatcher._cache._cache_file._source_stamp = _stamp(dispatcher.py_func.__module__)
    return True


class _Cache(caching.FunctionCache):
    """Numba's cache, but a disk that is full, say, does not end the run.

    Numba writes under another name first, so that nothing is left half-written.
    """

    told = False

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except OSError as error:
            if not _Cache.told and not os.environ.get("MINICNN_QUIET"):
                why = error.strerror or str(error)
                line = f"minicnn: compiled kernels cannot be kept in {self.cache_path}: {why}"
                print(line, file=sys.stderr, flush=True)
            _Cache.told = True


@functools.cache
def _stamp(module: str) -> bytes:
    """A digest of a module's source and of the modules that it imports from families of kernels."""
    path = sys.modules[module].__file__
    assert path is not None
    source = Path(path).read_bytes()
    digest = hashlib.sha256(source)
    for imported in re.findall(rb"^from (minicnn\.kernels\.\w+\.\w+) import", source, re.MULTILINE):
        digest.update(_stamp(imported.decode()))
    return digest.digest()


class _Announcement(event.Listener):
    """Says once, on stderr, that kernels are being compiled: a user wonders what takes so long."""

    keeps = True  # whether the machine code is kept for the next process
    made = False

    def on_start(self, start: Any) -> None:
        """Numba begins to compile a function that it has not found on disk."""
        ours = start.data["dispatcher"].py_func.__module__.startswith(__package__)
        if self.made or not ours or os.environ.get("MINICNN_QUIET"):
            return
        _Announcement.made = True
        line = "minicnn: compiling kernels for this machine; this takes about a quarter of a minute"
        line += (
            ", once" if self.keeps else ", each time: set NUMBA_CACHE_DIR to a folder that can be written to"
        )
        print(line, file=sys.stderr, flush=True)

    def on_end(self, end: Any) -> None:
        """The function is compiled."""


event.register("numba:compile", _Announcement())


def plain(x: np.ndarray) -> np.ndarray:
    """x as compiled functions expect arrays: contiguous and writable, since others are other types to Numba.

    Without this a read-only array, say, would have every kernel that meets it compiled once more.
    """
    x = np.ascontiguousarray(x)
    return x if x.flags.writeable else x.copy()
