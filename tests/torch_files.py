"""Writing PyTorch's files by hand, sound ones and others, opcode by opcode."""

import math
import struct
import zipfile
from typing import Any, NamedTuple

import numpy as np

MAGIC = 0x1950A86A20F9469CFC6C


class Name(NamedTuple):
    """A GLOBAL: a name in a module."""

    module: str
    name: str


class Call(NamedTuple):
    """A REDUCE: a call of what a name stands for."""

    function: Any
    arguments: tuple


class Built(NamedTuple):
    """A BUILD: something, and the state to fill it with."""

    value: Any
    state: Any


class Reference(NamedTuple):
    """A persistent id."""

    parts: Any


class Raw(NamedTuple):
    """Opcodes as they are."""

    code: bytes


def encoded(value):
    """The opcodes, of protocol 2, that push a value."""
    match value:
        case Raw(code):
            return code
        case Name(module, name):
            return f"c{module}\n{name}\n".encode()
        case Call(function, arguments):
            return encoded(function) + encoded(arguments) + b"R"
        case Built(inner, state):
            return encoded(inner) + encoded(state) + b"b"
        case Reference(parts):
            return encoded(parts) + b"Q"
        case None:
            return b"N"
        case bool():
            return b"\x88" if value else b"\x89"
        case int():
            number = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            return b"\x8a" + bytes([len(number)]) + number
        case float():
            return b"G" + struct.pack(">d", value)
        case str():
            return b"X" + struct.pack("<I", len(value.encode())) + value.encode()
        case tuple():
            return b"(" + b"".join(map(encoded, value)) + b"t"
        case list():
            return b"](" + b"".join(map(encoded, value)) + b"e"
        case dict():
            return b"}(" + b"".join(encoded(part) for item in value.items() for part in item) + b"u"
    raise TypeError(f"no opcode for a {type(value).__name__}")


def pickled(value):
    return b"\x80\x02" + encoded(value) + b"."


KINDS = {
    "<f8": "DoubleStorage",
    "<f4": "FloatStorage",
    "<f2": "HalfStorage",
    "<i8": "LongStorage",
    "<i4": "IntStorage",
    "<i2": "ShortStorage",
    "|i1": "CharStorage",
    "|u1": "ByteStorage",
    "|b1": "BoolStorage",
}
REBUILD = Name("torch._utils", "_rebuild_tensor_v2")
ORDERED = Name("collections", "OrderedDict")


def tensor(key, shape, strides=None, offset=0, kind="FloatStorage", size=None, more=()):
    """A tensor in a storage of ``size`` elements, by default just as many as it has."""
    if strides is None:
        strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    size = math.prod(shape) if size is None else size
    storage = Reference(("storage", Name("torch", kind), key, "cpu", size, *more))
    return Call(REBUILD, (storage, offset, shape, strides, False, Call(ORDERED, ())))


def of_arrays(arrays, more=()):
    """A state dict with a storage for each array, and the storages' arrays."""
    described = {
        name: tensor(str(i), a.shape, kind=KINDS[a.dtype.newbyteorder("<").str], more=more)
        for i, (name, a) in enumerate(arrays.items())
    }
    return described, {str(i): np.ascontiguousarray(a) for i, a in enumerate(arrays.values())}


def write_zip(path, document, storages, *, folder="net", order="little", packing=zipfile.ZIP_STORED, more=()):
    """A file as torch has written them since 1.6; ``more`` are further entries."""
    with zipfile.ZipFile(path, "w", packing) as archive:
        archive.writestr(f"{folder}/data.pkl", document if isinstance(document, bytes) else pickled(document))
        archive.writestr(f"{folder}/byteorder", order)
        for key, array in storages.items():
            numbers = array.astype(array.dtype.newbyteorder(order), copy=False)
            archive.writestr(f"{folder}/data/{key}", numbers.tobytes())
        for name, content in more:
            archive.writestr(name, content)
    return path


def write_legacy(path, document, storages):
    """A file as torch wrote them before 1.6."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2}}
    parts = [pickled(MAGIC), pickled(1001), pickled(system), pickled(document), pickled(list(storages))]
    for array in storages.values():
        parts += [struct.pack("<q", array.size), array.tobytes()]
    path.write_bytes(b"".join(parts))
    return path
