"""Arrays of the emulated device: NumPy's numbers behind CuPy's manners."""

import numpy as np

from emulator import graphs, memory
from emulator.memory import Device
from emulator.signatures import METHODS, UFUNCS, bound

SCALARS = (bool, int, float, complex, np.generic)
IMPLICIT = (
    "Implicit conversion to a NumPy array is not allowed. "
    "Please use `.get()` to construct a NumPy array explicitly."
)


class Flags:
    """What CuPy tells of an array's memory, and no more: nothing here is ever read-only."""

    def __init__(self, c_contiguous, f_contiguous, owndata):
        self.c_contiguous, self.f_contiguous, self.owndata = c_contiguous, f_contiguous, owndata
        self.forc = c_contiguous or f_contiguous

    def __getitem__(self, name):
        return getattr(self, name.lower())


class ndarray:
    """An array of the device. ``_host`` is a NumPy view of its memory, which only the emulator may touch."""

    __array_priority__ = 100
    __hash__ = None

    def __init__(self, shape, dtype=float, memptr=None, strides=None, order="C"):
        dtype = checked_dtype(dtype)
        shape = (shape,) if isinstance(shape, int | np.integer) else tuple(int(size) for size in shape)
        if memptr is None:
            size = dtype.itemsize
            for length in shape:
                size *= length
            memptr = graphs.allocate(size)
        start = memptr.ptr - memptr.mem.ptr
        self._memory, self.base = memptr.mem, None
        self._host = np.ndarray(shape, dtype, memptr.mem.bytes, start, strides, order or "C")

    # The array's description

    shape = property(lambda self: self._host.shape)
    strides = property(lambda self: self._host.strides)
    dtype = property(lambda self: self._host.dtype)
    ndim = property(lambda self: self._host.ndim)
    size = property(lambda self: self._host.size)
    itemsize = property(lambda self: self._host.itemsize)
    nbytes = property(lambda self: self._host.nbytes)
    T = property(lambda self: self if self.ndim < 2 else self.transpose())
    device = property(lambda self: Device(0))

    @property
    def data(self):
        offset = self._host.ctypes.data - self._memory.ptr if self.size else 0
        return memory.MemoryPointer(self._memory, offset)

    @property
    def flags(self):
        own = self._host.flags
        return Flags(own.c_contiguous, own.f_contiguous, self.base is None)

    @property
    def __cuda_array_interface__(self):
        return {
            "shape": self.shape,
            "typestr": self.dtype.str,
            "descr": self.dtype.descr,
            "strides": None if self.flags.c_contiguous else self.strides,
            "data": (self.data.ptr, False),
            "version": 3,
        }

    # To the host, when told so

    def get(self, stream=None, order="C", out=None, blocking=True):
        graphs.check_not_capturing("get")
        if out is not None:
            if (out.shape, out.dtype) != (self.shape, self.dtype):
                raise ValueError(f"{self.dtype} {self.shape} cannot be copied to {out.dtype} {out.shape}")
            out[...] = self._host
            return out
        return self._host.copy(order=order)

    def set(self, arr, stream=None):
        if not isinstance(arr, np.ndarray) or (arr.shape, arr.dtype) != (self.shape, self.dtype):
            raise TypeError("only a numpy.ndarray of the same shape and dtype can be set")
        if not self.flags.forc:
            raise RuntimeError("Cannot set to non-contiguous array")
        graphs.check_not_capturing("set")
        self._host[...] = arr

    def item(self):
        graphs.check_not_capturing("item")
        if self.size != 1:
            raise ValueError("can only convert an array of size 1 to a Python scalar")
        return self._host.item()

    def tolist(self):
        graphs.check_not_capturing("tolist")
        return self._host.tolist()

    def tobytes(self, order="C"):
        graphs.check_not_capturing("tobytes")
        return self._host.tobytes(order)

    def __array__(self, dtype=None, copy=None):
        raise TypeError(IMPLICIT)

    def __bool__(self):
        graphs.check_not_capturing("bool")
        return bool(self._host)

    def __int__(self):
        graphs.check_not_capturing("int")
        return int(self._host)

    def __float__(self):
        graphs.check_not_capturing("float")
        return float(self._host)

    def __repr__(self):
        graphs.check_not_capturing("repr")
        return repr(self._host)

    def __str__(self):
        graphs.check_not_capturing("str")
        return str(self._host)

    def __format__(self, spec):
        graphs.check_not_capturing("format")
        return format(self._host, spec)

    # Entries

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    @graphs.operation
    def __getitem__(self, index):
        if isinstance(index, ndarray) and index.dtype.kind in "iu":
            index = view(index._host % len(self), index)  # CuPy wraps what is out of range
        found = self._host[host_index(index)]
        return view(found, self) if np.may_share_memory(found, self._host) else on_device(found)

    @graphs.operation
    def __setitem__(self, index, value):
        if isinstance(value, ndarray):
            value = value._host
        elif isinstance(value, list | tuple) or (isinstance(value, np.ndarray) and value.ndim):
            raise ValueError("non-scalar numpy.ndarray cannot be used for fill")
        self._host[host_index(index)] = value

    # NumPy's functions

    @graphs.operation
    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **settings):
        if ufunc.__name__ not in UFUNCS or method not in ("__call__", "at"):
            return NotImplemented
        if strange := settings.keys() - {"dtype", "casting"}:
            raise TypeError(f"{ufunc.__name__} got an unexpected keyword argument {min(strange)!r}")
        if method == "at":
            array, index, *values = inputs
            return ufunc.at(on_host(array), host_index(index), *map(operand, values))
        if out:
            settings["out"] = tuple(on_host(array) for array in out)
        results = ufunc(*map(operand, inputs), **settings)
        return out[0] if out else on_device(results)

    def __array_function__(self, function, types, args, kwargs):
        from emulator.module import FUNCTIONS

        own = FUNCTIONS.get(function.__name__)
        if (
            own is None
            or function.__module__ != "numpy"
            or not all(issubclass(t, (ndarray, np.ndarray)) for t in types)
        ):
            return NotImplemented
        return own(*args, **kwargs)


# The host's side. Everything that computes takes its operands through these.


def checked_dtype(dtype):
    dtype = np.dtype(dtype)
    if dtype.char not in "?bhilqBHILQefdFD":
        raise ValueError(f"Unsupported dtype {dtype}")
    return dtype


def view(host, source):
    """The array of a part of another one's memory."""
    array = ndarray.__new__(ndarray)
    array._host, array._memory = host, source._memory
    array.base = source if source.base is None else source.base
    return array


def on_device(value):
    """NumPy's result in the device's memory; scalars become arrays without axes, tuples go through."""
    if isinstance(value, tuple | list):
        return type(value)(on_device(one) for one in value)
    if not isinstance(value, np.ndarray | np.generic):
        return value
    value = np.asarray(value)
    order = "F" if value.flags.f_contiguous and not value.flags.c_contiguous else "C"
    array = ndarray(value.shape, value.dtype, order=order)
    array._host[...] = value
    return array


def on_host(value):
    """The memory of an array of the device; nothing else will do."""
    if isinstance(value, ndarray):
        return value._host
    raise TypeError(f"Unsupported type {type(value)}")


def operand(value):
    """What may stand in arithmetic: arrays of the device, and numbers."""
    return value if isinstance(value, SCALARS) else on_host(value)


def host_index(index):
    """An index for NumPy. CuPy takes NumPy's arrays and lists here too, but one mask only."""
    parts = tuple(
        part._host if isinstance(part, ndarray) else part
        for part in (index if isinstance(index, tuple) else (index,))
    )
    arrays = [np.asarray(part) for part in parts if isinstance(part, np.ndarray | list)]
    if len(arrays) > 1 and any(array.dtype == bool for array in arrays):
        raise ValueError("currently, CuPy only supports slices that consist of one boolean array.")
    # With an ellipsis NumPy gives an array without axes, a view, where it else gives a scalar.
    return parts if any(part is ... for part in parts) else (*parts, ...)


def _method(name, signature):
    def method(self, *args, **kwargs):
        given = bound(name, signature, (self, *args), kwargs)
        settings = {key: value for key, value in given.kwargs.items() if key != "out"}
        plain = [value._host if isinstance(value, ndarray) else value for value in given.args[1:]]
        out = given.arguments.get("out")
        if out is not None and "out" not in kwargs:
            raise TypeError(f"{name}: the emulator takes out by name only")
        found = getattr(self._host, name)(*plain, **settings)
        if out is not None:
            on_host(out)[...] = found
            return out
        if found is self._host:
            return self
        shares = isinstance(found, np.ndarray) and np.may_share_memory(found, self._host)
        return view(found, self) if shares else on_device(found)

    method.__name__ = name
    return graphs.operation(method)


for _name, _signature in METHODS.items():
    setattr(ndarray, _name, _method(_name, _signature))


def _operator(symbol, ufunc, reflected=False):
    def method(self, other):
        if getattr(type(other), "__array_ufunc__", ...) is None:
            return NotImplemented  # as a tensor wants it
        if not isinstance(other, (ndarray, np.ndarray, *SCALARS)):
            return NotImplemented
        return ufunc(other, self) if reflected else ufunc(self, other)

    method.__name__ = symbol
    return method


def _in_place(symbol, ufunc):
    def method(self, other):
        ufunc(self, other, out=self)
        return self

    method.__name__ = symbol
    return method


BINARY = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.true_divide,
    "floordiv": np.floor_divide,
    "mod": np.remainder,
    "pow": np.power,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "lshift": np.left_shift,
    "rshift": np.right_shift,
    "matmul": np.matmul,
}
COMPARING = {
    "eq": np.equal,
    "ne": np.not_equal,
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
}
UNARY = {"neg": np.negative, "pos": np.positive, "abs": np.absolute, "invert": np.invert}
for _name, _ufunc in BINARY.items():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__", _ufunc))
    setattr(ndarray, f"__r{_name}__", _operator(f"__r{_name}__", _ufunc, reflected=True))
    if _name != "matmul":  # CuPy has no @=
        setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__", _ufunc))
for _name, _ufunc in COMPARING.items():
    setattr(ndarray, f"__{_name}__", _operator(f"__{_name}__", _ufunc))
for _name, _ufunc in UNARY.items():
    setattr(ndarray, f"__{_name}__", lambda self, ufunc=_ufunc: ufunc(self))
