"""PyTorch's ``.pth`` and ``.pt``, without PyTorch and without executing the pickle that they are made of.

A file holds a pickle that describes the dictionary, and outside it the numbers, in storages. A tensor is a
view of a storage: offset, shape and strides, all in elements; several tensors may share one. Since torch 1.6
the file is a zip archive,

    NAME/data.pkl        the pickle
    NAME/data/0, 1, …    the storages, uncompressed
    NAME/byteorder       "little" or "big"

and before that, as most of torchvision's older files still are, five pickles in a row (a magic number, a
version, the machine, the dictionary, the storages' keys) and then each storage: its length, its bytes.

Source: torch/serialization.py and torch/_utils.py, of torch 0.3 to 2.13.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from minicnn.weights.dtypes import widened
from minicnn.weights.errors import Unreadable, shown
from minicnn.weights.pickle_machine import LONGEST, Function, Machine, checked_key
from minicnn.weights.zip_file import Archive

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001

# The dtype of a storage's elements. NumPy has no bfloat16: its words are read as they are, then widened.
BFLOAT16 = np.dtype([("bfloat16", "<u2")])
STORAGES = {
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.BFloat16Storage": BFLOAT16,
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}

# Where in a checkpoint the state dict is, the first that is there; the file's whole dictionary otherwise.
STATE_DICTS = ("state_dict", "model_state_dict", "model_state", "model", "net")


class Storage(NamedTuple):
    """A stretch of ``length`` elements from ``start`` on in the storage ``key``, which has ``size``."""

    key: str
    dtype: np.dtype
    size: int
    start: int
    length: int


class Stored(NamedTuple):
    """A tensor that the pickle describes, before its numbers are read."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def is_legacy(start: bytes) -> bool:
    """Whether a file that starts like this is a pickle."""
    return start[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_zip(archive: Archive) -> dict[str, np.ndarray]:
    """The state dict in an archive of torch 1.6 or newer."""
    pickles = [name for name in archive.names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise Unreadable("a zip archive that neither PyTorch nor NumPy wrote")
    folder = pickles[0].removesuffix("data.pkl")
    if folder + "constants.pkl" in archive:
        raise Unreadable("a TorchScript programme, not weights alone; save its state_dict() with torch.save")
    if archive.size(pickles[0]) > LONGEST:
        raise Unreadable(f"its pickle has more than {LONGEST:,} bytes")
    order = archive.read(folder + "byteorder") if folder + "byteorder" in archive else b"little"
    if order not in (b"little", b"big"):
        raise Unreadable(f"its byte order is {shown(order)}")

    known: dict[str, Storage] = {}
    machine = Machine(archive.read(pickles[0]), NAMES, lambda reference: _zip_storage(reference, known))
    tensors = state_dict(machine.run())
    numbers = {}
    for key in {stored.storage.key: None for stored in tensors.values()}:
        name, storage = f"{folder}data/{key}", known[key]
        if name not in archive or archive.size(name) != storage.size * storage.dtype.itemsize:
            raise Unreadable(f"damaged, it has no storage {shown(key)} of {storage.size:,} elements")
        dtype = storage.dtype.newbyteorder(">" if order == b"big" else "<")
        numbers[key] = _native(np.frombuffer(archive.read(name), dtype))
    return _arrays(tensors, numbers)


def read_legacy(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    """The state dict in a file of a torch before 1.6, or of torch.save's older format."""
    data, end = file.read(LONGEST), 0

    def unpickled(load: Callable[[Any], Any] | None = None) -> Any:
        nonlocal end
        machine = Machine(data, NAMES, load, position=end)
        value = machine.run()
        end = machine.position
        return value

    if unpickled() != MAGIC or unpickled() != VERSION:
        raise Unreadable("a pickle, but not one that torch.save writes")
    machine = unpickled()
    if not isinstance(machine, dict) or machine.get("little_endian") is not True:
        raise Unreadable("damaged, or from a big-endian machine")
    known: dict[str, Storage] = {}
    tensors = state_dict(unpickled(lambda reference: _legacy_storage(reference, known)))
    keys = unpickled()
    if type(keys) is not list or len(set(map(checked_key, keys))) != len(keys) or not set(keys) <= set(known):
        raise Unreadable("damaged, its list of storages is not that of its tensors")

    wanted = {stored.storage.key for stored in tensors.values()}
    if not wanted <= set(keys):
        raise Unreadable("damaged, a storage is missing")
    numbers = {}
    for key in keys:
        file.seek(end)
        length, dtype = int.from_bytes(file.read(8), "little"), known[key].dtype
        end += 8 + length * dtype.itemsize
        if length != known[key].size or end > size:
            raise Unreadable(f"damaged or cut off, storage {shown(key)} is not all there")
        if key in wanted:
            numbers[key] = _native(np.frombuffer(file.read(length * dtype.itemsize), dtype))
    return _arrays(tensors, numbers)


# From the pickle to tensors


def state_dict(document: Any) -> dict[str, Stored]:
    """The tensors by name in what was pickled: a state dict, or a checkpoint with one under a usual key.

    Raises Unreadable for anything else.
    """
    if isinstance(document, dict):
        nested = (document[key] for key in STATE_DICTS if isinstance(document.get(key), dict))
        document = next(nested, document)
    if not isinstance(document, dict) or not document:
        raise Unreadable("it holds no dictionary of tensors")
    for name, value in document.items():
        if not isinstance(name, str):
            raise Unreadable(f"not a state dict, as {shown(name)} in it is no name")
        if not isinstance(value, Stored):
            raise Unreadable(
                f"not a state dict, as {shown(name)} is of type {type(value).__name__}, nor a dictionary "
                f"with one as {', '.join(map(repr, STATE_DICTS))}"
            )
    return document


def _whole(*numbers: Any) -> None:
    """Refuse anything but whole numbers from 0 on that a file can mean."""
    if not all(type(number) is int and 0 <= number < 2**48 for number in numbers):
        raise Unreadable(f"damaged, a size in it is {shown(numbers)}")


def _storage(reference: Any, count: int, known: dict[str, Storage]) -> tuple[Storage, tuple]:
    """The storage that a persistent id of so many parts refers to, and those parts that come after."""
    if type(reference) is not tuple or len(reference) != count or reference[0] != "storage":
        raise Unreadable("damaged, its pickle refers to something other than a storage")
    _, kind, key, _, size, *more = reference
    if not isinstance(kind, np.dtype) or not isinstance(key, str):
        raise Unreadable("damaged, a storage has no type or no key")
    _whole(size)
    storage = Storage(key, kind, size, 0, size)
    if known.setdefault(key, storage) != storage:
        raise Unreadable(f"damaged, storage {shown(key)} is of two kinds")
    return storage, tuple(more)


def _zip_storage(reference: Any, known: dict[str, Storage]) -> Storage:
    return _storage(reference, 5, known)[0]


def _legacy_storage(reference: Any, known: dict[str, Storage]) -> Storage:
    """A storage, or a view of one, which older torch wrote as (key, offset, length)."""
    storage, (view,) = _storage(reference, 6, known)
    if view is None:
        return storage
    if type(view) is not tuple or len(view) != 3:
        raise Unreadable("damaged, a view of a storage is not three numbers")
    _, start, length = view
    _whole(start, length)
    if start + length > storage.size:
        raise Unreadable("damaged, a view reaches beyond its storage")
    return storage._replace(start=start, length=length)


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> Stored:
    """A tensor, once it is certain that all its elements lie in its storage, each at a place of its own."""
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise Unreadable("damaged, a tensor has no storage, shape or strides")
    if len(shape) != len(strides) or len(shape) > 32:
        raise Unreadable("damaged, a tensor's shape and strides do not agree")
    _whole(offset, *shape, *strides)
    count = math.prod(n for n in shape if n)  # an empty array's shape must be one that NumPy can have, too
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if count > 2**40 or (0 not in shape and (count > storage.length or last >= storage.length)):
        raise Unreadable(
            f"a tensor of shape {shown(shape)} reaches beyond its storage of {storage.length:,} elements"
        )
    return Stored(storage, offset, shape, strides)


def _parameter(data: Any, *_: Any) -> Stored:
    if not isinstance(data, Stored):
        raise Unreadable("damaged, a parameter is no tensor")
    return data


def _ordered_dict(items: Any = ()) -> dict:
    """An ordered dictionary, empty or, as Python 2 wrote it, from a list of pairs."""
    if not isinstance(items, list | tuple):
        raise Unreadable("damaged, a dictionary is made of what is no list")
    if not all(isinstance(item, list | tuple) and len(item) == 2 for item in items):
        raise Unreadable("damaged, a dictionary is not made of pairs")
    return {checked_key(key): value for key, value in items}


_CALLS: Mapping[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor": _rebuild_tensor,  # torch 0.3 and before
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.nn.parameter.Parameter": _parameter,  # torch 0.3 and before
    "torch.Size": lambda sizes=(): tuple(sizes) if isinstance(sizes, list | tuple) else (),
}
NAMES: Mapping[str, Any] = {**STORAGES, **{name: Function(name, call) for name, call in _CALLS.items()}}
"""All that a pickle may name."""


# From tensors to arrays


def _native(numbers: np.ndarray) -> np.ndarray:
    """In this machine's byte order, and bfloat16 as float32."""
    if numbers.dtype.names:
        return widened(numbers["bfloat16"])
    return numbers.astype(numbers.dtype.newbyteorder("="), copy=False)


def _arrays(tensors: Mapping[str, Stored], numbers: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: _array(stored, numbers[stored.storage.key]) for name, stored in tensors.items()}


def _array(stored: Stored, numbers: np.ndarray) -> np.ndarray:
    """The view that a tensor is of its storage."""
    flat = numbers[stored.storage.start + stored.offset :]
    if 0 in stored.shape:
        return np.empty(stored.shape, flat.dtype)
    steps: Iterable[int] = (
        flat.itemsize * s if n > 1 else 0 for n, s in zip(stored.shape, stored.strides, strict=True)
    )
    return np.lib.stride_tricks.as_strided(flat, stored.shape, tuple(steps), writeable=False)
