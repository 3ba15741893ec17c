"""The emulated module ``cupy``: the functions that make arrays and compute with them, and ``cupy.cuda``."""

import sys
import time
import types

import numpy as np

from emulator import arrays, graphs, host, memory, signatures
from emulator.arrays import checked_dtype, ndarray, on_device, view
from emulator.graphs import Stream
from emulator.memory import CUDARuntimeError
from emulator.signatures import bound

HOST_ARRAYS_ALLOWED = {("split", 1), ("array_split", 1)}
"""Functions that take a NumPy array as the argument of that number, which is for the host."""


def _unwrapped(name, value, position=None):
    if isinstance(value, ndarray):
        return value._host
    if isinstance(value, tuple | list):
        return type(value)(_unwrapped(name, one) for one in value)
    if isinstance(value, np.ndarray) and (name, position) not in HOST_ARRAYS_ALLOWED:
        if name == "copyto":
            raise ValueError("non-scalar numpy.ndarray cannot be used for copyto")
        raise TypeError(f"{name}: Unsupported type {type(value)}")
    return value


def _arrays_in(values):
    for value in values:
        if isinstance(value, ndarray):
            yield value
        elif isinstance(value, tuple | list):
            yield from _arrays_in(value)


def _wrapped(found, sources):
    """A result; a view where NumPy gave a view of one of the sources."""
    if isinstance(found, tuple | list):
        return type(found)(_wrapped(one, sources) for one in found)
    if isinstance(found, np.ndarray):
        for source in sources:
            if np.may_share_memory(found, source._host):
                return view(found, source)
    return on_device(found) if isinstance(found, np.ndarray | np.generic) else found


def _function(name, signature):
    def function(*args, **kwargs):
        given = bound(name, signature, args, kwargs)
        out = kwargs.get("out")
        args = [_unwrapped(name, value, position) for position, value in enumerate(given.args)]
        kwargs = {key: _unwrapped(name, value) for key, value in given.kwargs.items()}
        if name == "copyto" and kwargs.get("where", ...) is None:
            del kwargs["where"]
        found = getattr(np, name)(*args, **kwargs)
        return (
            out
            if out is not None
            else _wrapped(found, list(_arrays_in([*given.args, *given.kwargs.values()])))
        )

    function.__name__ = name
    return function


# Making arrays


def array(obj, dtype=None, copy=True, order="K", subok=False, ndmin=0, *, blocking=False):
    """A copy of anything, on the device."""
    if isinstance(obj, ndarray):
        host = obj._host
    elif isinstance(obj, tuple | list) and list(_arrays_in(obj)):
        host = np.array(_to_host(obj))
    else:
        host = np.asarray(obj)
    checked_dtype(host.dtype)
    if not isinstance(obj, ndarray) and host.ndim and host.size:
        graphs.copy_from_host(host.nbytes)
    if isinstance(obj, ndarray) and not copy and dtype in (None, obj.dtype):
        return obj
    return on_device(np.array(host, dtype, order="K" if order is None else order, ndmin=ndmin))


def _to_host(value):
    if isinstance(value, tuple | list):
        return [_to_host(one) for one in value]
    return value.get() if isinstance(value, ndarray) else value


def asarray(a, dtype=None, order=None, *, copy=None, blocking=False):
    """Anything on the device; an array that is there already as it is."""
    return array(a, dtype, bool(copy), order)


def ascontiguousarray(a, dtype=None):
    """The array, in C order."""
    if not isinstance(a, ndarray):
        raise TypeError(f"Argument 'a' has incorrect type (expected cupy.ndarray, got {type(a).__name__})")
    wanted = a.dtype if dtype is None else np.dtype(dtype)
    if a.flags.c_contiguous and wanted == a.dtype and a.ndim:
        return a
    return on_device(np.array(a._host, wanted, order="C", ndmin=1))


def asnumpy(a, stream=None, order="C", out=None, *, blocking=True):
    """A NumPy array: of an array of the device, a copy."""
    return a.get(order=order, out=out) if isinstance(a, ndarray) else np.asarray(a, order=order)


def empty(shape, dtype=float, order="C"):
    """Memory that was not written: NaNs here."""
    return ndarray(shape, dtype, order=order)


def full(shape, fill_value, dtype=None, order="C"):
    """One value throughout."""
    value = fill_value._host if isinstance(fill_value, ndarray) else fill_value
    return on_device(np.full(shape, value, dtype, order))


def zeros(shape, dtype=float, order="C"):
    """Zeros."""
    return on_device(np.zeros(shape, dtype, order))


def ones(shape, dtype=float, order="C"):
    """Ones."""
    return on_device(np.ones(shape, dtype, order))


def arange(start, stop=None, step=1, dtype=None):
    """Evenly spaced numbers."""
    return on_device(np.arange(*((0, start) if stop is None else (start, stop)), step, dtype))


def eye(N, M=None, k=0, dtype=float, order="C"):
    """Ones on a diagonal."""
    return on_device(np.eye(N, M, k, dtype, order))


def _like(numpys):
    def function(a, dtype=None, order="K", subok=None, shape=None):
        return on_device(numpys(arrays.on_host(a), dtype, order, subok=True, shape=shape))

    return function


def empty_like(a, dtype=None, order="K", subok=None, shape=None):
    """Memory that was not written, shaped like an array."""
    made = _like(np.empty_like)(a, dtype, order, subok, shape)
    made._memory.bytes[:] = memory.POISON
    return made


zeros_like, ones_like = _like(np.zeros_like), _like(np.ones_like)


def full_like(a, fill_value, dtype=None, order="K", subok=None, shape=None):
    """One value throughout, shaped like an array."""
    return on_device(np.full_like(arrays.on_host(a), fill_value, dtype, order, shape=shape))


def get_array_module(*args):
    """This module if one of the arguments is an array of the device, else NumPy."""
    return sys.modules["cupy"] if any(isinstance(a, ndarray) for a in args) else np


MAKING = (array, asarray, asnumpy, ascontiguousarray, empty, full, zeros, ones, arange, eye)
MAKING += (empty_like, full_like, get_array_module)

FUNCTIONS = {name: _function(name, signature) for name, signature in signatures.FUNCTIONS.items()}
FUNCTIONS |= {function.__name__: function for function in MAKING}
FUNCTIONS |= {"zeros_like": zeros_like, "ones_like": ones_like}
FUNCTIONS = {name: graphs.operation(function, name) for name, function in FUNCTIONS.items()}


TYPES = ("bool_", "uint8", "int8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
TYPES += ("float16", "float32", "float64", "dtype")

# cupy.cuda


class Event:
    """A moment. As everything runs at once here, the time between two is what the work between them took."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.moment = None

    def record(self, stream=None):
        self.moment = time.perf_counter()

    def synchronize(self):
        pass


def get_elapsed_time(start_event, end_event):
    """Milliseconds between two events."""
    return 1e3 * (end_event.moment - start_event.moment)


PROPERTIES = {
    "name": b"emulated on the CPU",
    "multiProcessorCount": 4,
    "totalGlobalMem": memory.TOTAL,
    "l2CacheSize": 1 << 20,
}


def _device_count(devices):
    if not devices:
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")
    return devices


def build(devices=1, **more):
    """A module to put into ``sys.modules`` as "cupy"; with no devices, CuPy on a machine without a GPU.

    ``more`` is put into it too: RawModule, say, which someone else emulates.
    """
    cupy = types.ModuleType("cupy", __doc__)
    cupy.is_emulated, cupy.__version__ = True, "14.2.0"
    cupy.is_available = lambda: devices > 0
    if devices:
        vars(cupy).update(FUNCTIONS)
    for name in signatures.UFUNCS:
        setattr(cupy, name, getattr(np, name))
    for name in TYPES:
        setattr(cupy, name, getattr(np, name))
    cupy.inf, cupy.nan, cupy.newaxis, cupy.ndarray = np.inf, np.nan, None, ndarray
    cupy.RawModule = host.RawModule
    cupy.get_default_memory_pool = lambda: memory.pool
    cupy.get_default_pinned_memory_pool = lambda: graphs.PINNED
    cupy.cuda = types.SimpleNamespace(
        Device=arrays.Device,
        Stream=Stream,
        Event=Event,
        get_elapsed_time=get_elapsed_time,
        nvrtc=types.SimpleNamespace(getVersion=lambda: (13, 0)),
        Memory=memory.from_driver,
        MemoryPointer=memory.MemoryPointer,
        MemoryPool=graphs.MemoryPool,
        UnownedMemory=graphs.UnownedMemory,
        get_current_stream=graphs.current_stream,
        set_pinned_memory_allocator=graphs.set_pinned_memory_allocator,
        using_allocator=graphs.using_allocator,
        is_available=cupy.is_available,
        memory=types.SimpleNamespace(OutOfMemoryError=memory.OutOfMemoryError),
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError,
            getDeviceCount=lambda: _device_count(devices),
            getDevice=lambda: 0,
            memGetInfo=lambda: arrays.Device(0).mem_info,
            getDeviceProperties=lambda device: dict(PROPERTIES),
            driverGetVersion=lambda: 13000,
            runtimeGetVersion=lambda: 13000,
        ),
    )
    vars(cupy).update(more)
    return cupy
