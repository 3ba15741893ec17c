"""IDX files, the format that MNIST and its relatives are published in.

An IDX file is a header and then the array's bytes in C order:

    byte 0, 1     zero
    byte 2        what one element is; 0x08 stands for an unsigned byte
    byte 3        the number of dimensions, d
    4·d bytes     the d sizes, each an unsigned 32-bit integer, most significant byte first
    the rest      the elements

Files come from anywhere, so nothing in one is believed before it has been checked: at no time is
more read, decompressed or allocated than the header announced, and the header is checked first.

Source: Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits", section
"File formats".
"""

import gzip
import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

MAX_BYTES = 64 * 2**20
"""The largest array that is read unless told otherwise: MNIST's largest has 47,040,000 bytes."""

MAX_DIMENSIONS = 4

CHUNK = 2**20

_GZIP_MAGIC = b"\x1f\x8b"
_UNSIGNED_BYTE = 0x08
_ELEMENT_TYPES = {
    0x08: "unsigned bytes",
    0x09: "signed bytes",
    0x0B: "16-bit integers",
    0x0C: "32-bit integers",
    0x0D: "32-bit floats",
    0x0E: "64-bit floats",
}


class DataError(ValueError):
    """A data file, or a folder of them, is not what it should be.

    The message is one line: the path, what was found and what was expected.

    >>> issubclass(DataError, ValueError)
    True
    """


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Read one IDX file of unsigned bytes, plain or (when its name ends in ``.gz``) gzip-compressed.

    Shapes: one to four dimensions, as the header says, none of them zero.  Dtype: uint8.
    `max_bytes` bounds the array, and the file itself, before either is read.

    Raises :class:`DataError`, and nothing else, when the file cannot be opened, is no IDX file, holds
    other elements than unsigned bytes, announces more than `max_bytes`, or is shorter or longer than
    announced; also when the compressed stream is corrupt or unpacks to more than was announced.

    Source: LeCun, Cortes, Burges, "The MNIST database", "File formats".

    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "labels-idx1-ubyte"
    >>> _ = path.write_bytes(bytes([0, 0, 8, 1]) + bytes([0, 0, 0, 3]) + bytes([7, 2, 1]))
    >>> read_idx(path)
    array([7, 2, 1], dtype=uint8)
    >>> folder.cleanup()
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise DataError(f"{path}: {'not a regular file' if path.exists() else 'no such file'}")
        if path.stat().st_size > max_bytes + CHUNK:
            raise DataError(f"{path}: the file has {path.stat().st_size:,} bytes, the bound is {max_bytes:,}")
        with path.open("rb") as file:
            _check_wrapping(file, path)
            if path.suffix != ".gz":
                return _read_array(file, path, max_bytes)
            with gzip.GzipFile(fileobj=file, mode="rb") as unpacked:
                return _read_array(unpacked, path, max_bytes)
    except DataError:
        raise
    except EOFError as error:
        raise DataError(f"{path}: truncated, the gzip stream breaks off before its end") from error
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: corrupt gzip stream ({error})") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error})") from error


def read_pair(
    images_path: str | os.PathLike[str],
    labels_path: str | os.PathLike[str],
    *,
    size: int = 28,
    classes: int = 10,
    max_bytes: int = MAX_BYTES,
) -> tuple[np.ndarray, np.ndarray]:
    """Read a file of images and the file of labels that belongs to it.

    Shapes: images (N, size, size), labels (N,) with values 0..classes-1.  Dtype: uint8, both.

    Raises :class:`DataError` as :func:`read_idx` does, when one file is given in the other's place, for
    images of another size, labels out of range, and when the two counts differ.

    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> images, labels = (pathlib.Path(folder.name) / name for name in ("images", "labels"))
    >>> write_idx(images, np.zeros((2, 28, 28), np.uint8))
    >>> write_idx(labels, np.array([4, 9], np.uint8))
    >>> x, y = read_pair(images, labels)
    >>> x.shape, y.tolist()
    ((2, 28, 28), [4, 9])
    >>> read_pair(labels, labels)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    minicnn.data.idx.DataError: ...labels: holds labels (shape (2,)), images (N, 28, 28) were expected
    >>> folder.cleanup()
    """
    images, labels = (read_idx(path, max_bytes=max_bytes) for path in (images_path, labels_path))
    if images.ndim != 3 or images.shape[1:] != (size, size):
        raise DataError(f"{images_path}: holds {_contents(images)}, images (N, {size}, {size}) were expected")
    if labels.ndim != 1:
        raise DataError(f"{labels_path}: holds {_contents(labels)}, labels (N,) were expected")
    if labels.max() >= classes:
        where = int(np.argmax(labels >= classes))
        raise DataError(
            f"{labels_path}: label {labels[where]} at position {where}, labels are 0..{classes - 1}"
        )
    if len(images) != len(labels):
        raise DataError(
            f"{labels_path}: {len(labels):,} labels for the {len(images):,} images of {images_path}"
        )
    return images, labels


def write_idx(path: str | os.PathLike[str], array: np.ndarray) -> None:
    """Write an array of unsigned bytes as an IDX file, gzip-compressed when `path` ends in ``.gz``.

    Raises TypeError when `array` is not uint8 and ValueError when it has no elements or dimensions.

    >>> import pathlib, tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> path = pathlib.Path(folder.name) / "three.gz"
    >>> write_idx(path, np.array([[1, 2, 3]], np.uint8))
    >>> read_idx(path)
    array([[1, 2, 3]], dtype=uint8)
    >>> folder.cleanup()
    """
    if array.dtype != np.uint8:
        raise TypeError(f"write_idx: array has dtype {array.dtype}, but uint8 is expected")
    if not 1 <= array.ndim <= MAX_DIMENSIONS or array.size == 0:
        raise ValueError(
            f"write_idx: array has shape {array.shape}, but 1 to {MAX_DIMENSIONS} dimensions and at least "
            "one element are expected"
        )
    header = bytes([0, 0, _UNSIGNED_BYTE, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.tobytes()
    path = Path(path)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _check_wrapping(file: BinaryIO, path: Path) -> None:
    """Compare what the name promises (gzip or not) with the first bytes, and rewind."""
    start = file.read(4)
    file.seek(0)
    if not start:
        raise DataError(f"{path}: the file is empty")
    if path.suffix == ".gz" and start[:2] != _GZIP_MAGIC:
        hint = ", which an unpacked IDX file does: drop .gz from its name" if start[:2] == b"\0\0" else ""
        raise DataError(f"{path}: named .gz, but not gzip (it starts with {start!r}{hint})")
    if path.suffix != ".gz" and start[:2] == _GZIP_MAGIC:
        raise DataError(f"{path}: gzip-compressed, but its name does not end in .gz: add that to the name")


def _read_array(stream: BinaryIO | gzip.GzipFile, path: Path, max_bytes: int) -> np.ndarray:
    shape = _read_header(stream, path, max_bytes)
    count = math.prod(shape)
    # One byte more than announced is asked for: it must not come.  Asking for it also makes gzip
    # reach its trailer, where the checksum of everything before is compared.
    content = _read_up_to(stream, count + 1)
    if len(content) < count:
        raise DataError(
            f"{path}: truncated, {len(content):,} bytes of the {count:,} that its header announces "
            f"(shape {shape})"
        )
    if len(content) > count:
        raise DataError(
            f"{path}: goes on after the {count:,} bytes that its header announces (shape {shape})"
        )
    return np.frombuffer(content, np.uint8).reshape(shape)


def _read_header(stream: BinaryIO | gzip.GzipFile, path: Path, max_bytes: int) -> tuple[int, ...]:
    magic = _read_up_to(stream, 4)
    if len(magic) < 4:
        raise DataError(f"{path}: truncated in its header, after {len(magic)} bytes")
    element, dimensions = magic[2], magic[3]
    if magic[:2] != b"\0\0" or element not in _ELEMENT_TYPES:
        raise DataError(f"{path}: not an IDX file (it starts with {bytes(magic)!r})")
    if element != _UNSIGNED_BYTE:
        raise DataError(f"{path}: holds {_ELEMENT_TYPES[element]}, unsigned bytes were expected")
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise DataError(f"{path}: announces {dimensions} dimensions, 1 to {MAX_DIMENSIONS} were expected")
    sizes = _read_up_to(stream, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise DataError(f"{path}: truncated in its header, after {4 + len(sizes)} bytes")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    if 0 in shape:
        raise DataError(f"{path}: announces an array without elements (shape {shape})")
    if math.prod(shape) > max_bytes:
        raise DataError(
            f"{path}: announces {math.prod(shape):,} bytes (shape {shape}), the bound is {max_bytes:,}"
        )
    return shape


def _read_up_to(stream: BinaryIO | gzip.GzipFile, count: int) -> bytearray:
    """Read `count` bytes, or what there is: in chunks, so that a lying header costs no memory."""
    content = bytearray()
    while len(content) < count:
        chunk = stream.read(min(CHUNK, count - len(content)))
        if not chunk:
            break
        content += chunk
    return content


def _contents(array: np.ndarray) -> str:
    kind = {1: "labels", 3: "images"}.get(array.ndim, "an array")
    return f"{kind} (shape {array.shape})"
