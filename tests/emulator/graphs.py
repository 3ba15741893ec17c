"""Streams, memory pools and CUDA graphs of the emulated device.

While a stream that captures is the current one, nothing is done: kernels are written down with their bare
pointers, operations on arrays with the places that they read and write. An operation is run once all the
same, as only that tells its result's shape; then memory is put back as it was, and the result is poisoned, so
that whoever looks at it before the graph was launched sees that nothing is there.

What a real capture refuses is an error: copies to the host or from it, libraries that cannot be captured, and
what waits for numbers. So are faults that a GPU would not notice: memory from the common pool, which others
are given too once it is free, and a launch of a graph whose memory has gone.
"""

import ctypes
import functools
import weakref
from contextlib import contextmanager

import numpy as np

from emulator import memory
from emulator.memory import CUDARuntimeError

ON_THE_HOST = frozenset("may_share_memory shares_memory shape size ndim get_array_module".split())  # noqa: SIM905
"""Functions that look at no number of the device."""

REFUSED = {
    **dict.fromkeys(("matmul", "dot", "einsum"), "cuBLAS cannot be captured"),
    **dict.fromkeys(("sort", "argsort", "nonzero", "count_nonzero"), "Thrust waits for its result"),
    **dict.fromkeys(("array2string", "asnumpy"), "the host waits for numbers"),
}

# Memory


class PooledMemory:
    """A part of a pool's memory, given back to it when nobody holds it."""

    device_id = 0

    def __init__(self, raw, size, pool):
        self.raw, self.size, self.ptr, self.pool = raw, size, raw.ptr, pool

    bytes = property(lambda self: self.raw.bytes[: self.size])

    def damage(self):
        return self.raw.damage()

    def restore_guards(self):
        self.raw.restore_guards()

    def __del__(self):
        if (pool := self.pool()) is not None:
            pool.free[self.raw.size].append(self.raw)


class MemoryPool:
    """A pool of one's own. It hands out again what was given back, with the numbers that lie there, and takes
    everything with it when it goes, whoever may hold it."""

    def __init__(self, allocator=None):
        self._allocator = allocator or (lambda size: memory.MemoryPointer(memory.from_driver(size), 0))
        self.free, self._raw = {}, []

    def malloc(self, size):
        room = -(-max(size, 1) // memory.ALIGNMENT) * memory.ALIGNMENT
        free = self.free.setdefault(room, [])
        if not free:
            self._raw.append(self._allocator(room).mem)
            free.append(self._raw[-1])
        return memory.MemoryPointer(PooledMemory(free.pop(), size, weakref.ref(self)), 0)

    def total_bytes(self):
        return sum(raw.size for raw in self._raw)

    def __del__(self):
        for raw in self._raw:
            raw.bytes[:] = memory.POISON


class UnownedMemory:
    """Memory that somebody else sees to."""

    def __init__(self, ptr, size, owner, device_id=-1):
        self.ptr, self.size, self.device_id, self._owner = ptr, size, device_id, owner
        self.bytes = np.frombuffer((ctypes.c_uint8 * size).from_address(ptr), np.uint8) if size else b""

    def damage(self):
        return ""


_allocators = []


@contextmanager
def using_allocator(allocator):
    """A block in which memory comes from there."""
    _allocators.append(allocator)
    try:
        yield
    finally:
        _allocators.pop()


def allocate(size):
    """Memory for an array."""
    if not _allocators:
        assert capturing() is None, "a graph would use memory of the common pool, which others are given too"
        return memory.pool.malloc(size)
    return _allocators[-1](size)


class _Pinned:
    """The usual pool of pinned memory."""

    def malloc(self, size):
        """Nothing is needed."""


PINNED = _Pinned()
_pinned = [PINNED.malloc]


def set_pinned_memory_allocator(allocator):
    """What is asked for memory of the host that the device can copy from."""
    _pinned[0] = allocator


def copy_from_host(size):
    """What every copy of the host's numbers to the device begins with."""
    _pinned[0](size)
    check_not_capturing("a copy from the host")


# Streams


class Stream:
    """A stream in which everything has run by the time anyone looks, unless it captures."""

    def __init__(self, null=False, non_blocking=False, ptds=False):
        self.ptr = 0 if null else id(self)
        self._capture = None

    def __enter__(self):
        _streams.append(self)
        return self

    def __exit__(self, *_):
        assert _streams.pop() is self

    def begin_capture(self, mode=None):
        if self.ptr == 0:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self._capture = Capture()

    def end_capture(self):
        capture, self._capture = self._capture, None
        if capture is None or capture.invalid:
            raise CUDARuntimeError("cudaErrorStreamCaptureInvalidated")
        return Graph(capture)

    def is_capturing(self):
        return self._capture is not None

    def use(self):
        _streams[-1] = self
        return self

    def synchronize(self):
        check_not_capturing("synchronize")


Stream.null = Stream(null=True)
_streams = [Stream.null]


def current_stream():
    """The stream in which everything is done."""
    return _streams[-1]


def capturing():
    """The capture of the current stream, or None."""
    return _streams[-1]._capture


def check_not_capturing(what):
    """Raise what CUDA raises for what no graph can hold, and spoil the capture."""
    if (capture := capturing()) is not None:
        capture.invalid = True
        raise CUDARuntimeError(f"cudaErrorStreamCaptureUnsupported: {what}")


# Graphs


class Place:
    """Where an array lies, without holding it there."""

    device_id = 0

    def __init__(self, owner):
        self.ptr, self.size, self.bytes = owner.ptr, owner.size, owner.bytes

    def damage(self):
        return ""


class Capture:
    """What is written down."""

    def __init__(self):
        self.steps, self.invalid, self.busy = [], False, False
        self.memory = []  # weak references to what must be there

    def kernel(self, launch, arrays):
        """A kernel, with the pointers that it was given."""
        for array in arrays:
            self._needs(array._memory)
        self.steps.append(launch)

    def operation(self, function, args, kwargs):
        """An operation on arrays; its result, poisoned."""
        given = list(_arrays((args, kwargs)))
        detached_args, detached_kwargs = _detached(args), _detached(kwargs)
        before = [(array._memory.bytes, array._memory.bytes.copy()) for array in given if array.size]
        self.busy = True
        try:
            with np.errstate(all="ignore"):
                result = function(*args, **kwargs)
        finally:
            self.busy = False
            for now, then in before:
                now[:] = then
        old = {id(array._memory) for array in given}
        new = [array for array in _arrays(result) if id(array._memory) not in old]
        for array in (*given, *new):
            self._needs(array._memory)
        for array in new:
            array._memory.bytes[:] = memory.POISON
        places = [_detached(array) for array in new]

        def again():
            found = function(*detached_args, **detached_kwargs)
            known = {array._memory.ptr for array in _arrays((detached_args, detached_kwargs))}
            fresh = [array for array in _arrays(found) if array._memory.ptr not in known]
            for place, array in zip(places, fresh, strict=True):
                place._host[...] = array._host

        self.steps.append(again)
        return result

    def _needs(self, owner):
        self.memory.append(getattr(owner, "pool", None) or weakref.ref(owner))


class Graph:
    """What was written down, to be done as often as wanted."""

    def __init__(self, capture):
        self._steps, self._memory = capture.steps, capture.memory

    def launch(self, stream=None):
        check_not_capturing("a graph in a graph")
        assert all(reference() is not None for reference in self._memory), (
            "a graph reads memory that has been freed since"
        )
        with np.errstate(all="ignore"):  # a GPU warns of nothing
            for step in self._steps:
                step()


def operation(function, name=None):
    """An operation on arrays that is written down while the current stream captures."""
    name = name or function.__name__

    @functools.wraps(function)
    def run(*args, **kwargs):
        capture = capturing()
        if capture is None or capture.busy or name in ON_THE_HOST:
            return function(*args, **kwargs)
        called = args[1].__name__ if name == "__array_ufunc__" else name
        if called in REFUSED:
            check_not_capturing(f"{called}: {REFUSED[called]}")
        if called == "__getitem__":
            _check_index(args[1])
        if called in ("concatenate", "stack") and len(args[0]) > 8:
            copy_from_host(8 * len(args[0]))  # CuPy makes a table of pointers
        return capture.operation(function, args, kwargs)

    return run


def _check_index(index):
    for part in index if isinstance(index, tuple) else (index,):
        if isinstance(part, list | np.ndarray):
            copy_from_host(np.asarray(part).nbytes)
        elif hasattr(part, "_host") and part.dtype.kind == "b":
            check_not_capturing("a mask, whose true entries the host waits to count")


def _arrays(value):
    """The device's arrays in a value."""
    if hasattr(value, "_host"):
        yield value
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _arrays(one)
    elif isinstance(value, dict):
        yield from _arrays(list(value.values()))


def _detached(value):
    """The same value, with arrays that do not hold their memory."""
    if hasattr(value, "_host"):
        array = type(value).__new__(type(value))
        array._host, array._memory, array.base = value._host, Place(value._memory), None
        return array
    if type(value) in (tuple, list):
        return type(value)(map(_detached, value))
    return {key: _detached(one) for key, one in value.items()} if isinstance(value, dict) else value
