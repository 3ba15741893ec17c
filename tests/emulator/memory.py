"""Memory of the emulated device: aligned as CuPy's, poisoned when fresh, with guard zones on both sides.

Beyond the guard zones lie pages that nobody may touch, not even to read: a kernel that does is stopped.
"""

import ctypes
import functools
import mmap
import weakref

import numpy as np

ALIGNMENT = 512  # bytes, as in CuPy's pool
PAGE = mmap.PAGESIZE
GUARD_BYTE = 0xFF  # what is read beside an allocation is NaN too
POISON = 0xFF  # fresh memory: NaN in every floating dtype, −1 in integers
TOTAL = 8 << 30  # bytes that the device claims to have


class OutOfMemoryError(MemoryError):
    """More was asked for than the pool's limit, or the device, has."""

    def __init__(self, size, total, limit=0):
        limited = f", limit set to: {limit:,} bytes" if limit else ""
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes{limited})."
        )


class CUDARuntimeError(RuntimeError):
    """What a call to the driver raises."""


class GuardError(AssertionError):
    """Something wrote beside the memory that it was given."""


class MemoryPool:
    """The allocations that live, and the limit that they must keep. Frees at once what nobody holds."""

    def __init__(self):
        self._used, self._limit = 0, 0
        self._living = weakref.WeakSet()
        self._damaged = []  # what allocations that are gone had to report

    def malloc(self, size):
        limit = self._limit or TOTAL
        if self._used + size > limit:
            raise OutOfMemoryError(size, self._used, self._limit)
        memory = Memory(self, size)
        self._living.add(memory)
        return MemoryPointer(memory, 0)

    def used_bytes(self):
        return self._used

    def total_bytes(self):
        return self._used

    def get_limit(self):
        return self._limit

    def set_limit(self, size=None, fraction=None):
        self._limit = int(TOTAL * fraction) if size is None else size

    def free_all_blocks(self):
        """Nothing is kept that could be freed."""

    def check_guards(self):
        """Raise GuardError if anything was written beside an allocation; each is reported once."""
        found = self._damaged + [text for memory in self._living if (text := memory.damage())]
        self._damaged = []
        if found:
            for memory in self._living:
                memory.restore_guards()
            raise GuardError("; ".join(found))


@functools.cache
def _protect():
    """The system's mprotect, looked up when it is needed: some systems have none."""
    mprotect = ctypes.CDLL(None, use_errno=True).mprotect
    mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
    return mprotect


def pages(room):
    """At least so many bytes, up to the end of a page, between two pages that must not be touched."""
    inner = -(-room // PAGE) * PAGE
    every = np.frombuffer(mmap.mmap(-1, inner + 2 * PAGE), np.uint8)
    for page in (0, PAGE + inner):
        if _protect()(every.ctypes.data + page, PAGE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    return every[PAGE:-PAGE]


class Memory:
    """One allocation. Its guard zones are looked at when it goes, and whenever someone asks."""

    def __init__(self, pool, size):
        self.size, self.device_id, self._pool = size, 0, pool
        room = -(-max(size, 1) // ALIGNMENT) * ALIGNMENT
        self._bytes = pages(room)
        self._start = self._bytes.size - room
        self.ptr = self._bytes.ctypes.data + self._start if size else 0
        self.restore_guards()
        self.bytes[:] = POISON
        pool._used += size

    @property
    def bytes(self):
        """What may be written."""
        return self._bytes[self._start : self._start + self.size]

    def _guards(self):
        return {
            "before": self._bytes[: self._start],
            "after": self._bytes[self._start + self.size :],
        }

    def restore_guards(self):
        for guard in self._guards().values():
            guard[:] = GUARD_BYTE

    def damage(self):
        """What was written where it must not be; empty if nothing was."""
        for side, guard in self._guards().items():
            (hit,) = np.nonzero(guard != GUARD_BYTE)
            if hit.size:
                distance = guard.size - hit[-1] if side == "before" else hit[0] + 1
                where = f"{side} an allocation of {self.size}, the nearest {distance} away"
                return f"{hit.size} bytes written {where}"
        return ""

    def __del__(self):
        self._pool._used -= self.size
        if text := self.damage():
            self._pool._damaged.append(text)


class MemoryPointer:
    """An address in an allocation: what ``array.data`` is."""

    def __init__(self, mem, offset):
        self.mem, self.ptr = mem, mem.ptr + offset
        self.device_id = mem.device_id


pool = MemoryPool()
driver = MemoryPool()  # where other pools have their memory from


def from_driver(size):
    """``cupy.cuda.Memory``: an allocation that is in no pool."""
    try:
        return driver.malloc(size).mem
    except OutOfMemoryError as error:
        raise CUDARuntimeError(f"cudaErrorMemoryAllocation: out of memory ({error})") from None


class Device:
    """The only GPU."""

    id = 0
    compute_capability = "90"
    pci_bus_id = "0000:00:00.0"
    mem_info = property(lambda self: (TOTAL - pool.used_bytes(), TOTAL))
    attributes = {"MultiProcessorCount": 4, "MaxSharedMemoryPerBlockOptin": 232448}  # noqa: RUF012

    def __init__(self, device=0):
        if device != 0:
            raise ValueError(f"device is {device}, but the emulator has number 0 only")

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device)

    __hash__ = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def use(self):
        pass

    def synchronize(self):
        pass

    def __repr__(self):
        return "<emulated CUDA Device 0>"
