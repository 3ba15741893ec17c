"""Zip archives of which nothing is trusted: PyTorch's files and NumPy's are such archives.

A few hundred bytes can unpack to gigabytes, and sizes in an archive's directory can be lies. So entries are
read by exact name, never unpacked to disk, no byte beyond the size they declare; and all that is read from
an archive together is bounded by a multiple of the file's own size.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minicnn.weights.errors import Unreadable, shown

LONGEST_DIRECTORY = 2**22  # bytes, some forty thousand entries

# How much may be read from a file. Weights hardly shrink when they are packed; networks of which most is
# zero do, and small files with many zeros.
TIMES, BESIDES = 20, 2**26


class _BoundedFile(io.FileIO):
    """A file that refuses to be read at one go beyond a bound, as zipfile reads an archive's directory."""

    bound: int | None = LONGEST_DIRECTORY

    def read(self, size: int | None = -1, /) -> bytes:
        if self.bound is not None and size is not None and size > self.bound:
            raise Unreadable(f"its directory claims {size:,} bytes")
        return super().read(-1 if size is None else size) or b""


class Archive:
    """The entries of an archive: ``names`` in their order, ``in``, ``size(name)`` and ``read(name)``.

    Raises Unreadable for an archive that is damaged, encrypted, or has two entries of one name.
    """

    def __init__(self, path: Path) -> None:
        self._file = _BoundedFile(path)
        try:
            with _damage():
                self._zip = zipfile.ZipFile(self._file)
        except BaseException:
            self._file.close()
            raise
        self._file.bound = None
        self._left = TIMES * path.stat().st_size + BESIDES
        self._entries: dict[str, zipfile.ZipInfo] = {}
        for entry in self._zip.infolist():
            if entry.filename in self._entries:
                self.close()
                raise Unreadable(f"it has two entries named {shown(entry.filename)}")
            self._entries[entry.filename] = entry
        self.names = list(self._entries)

    def __contains__(self, name: str) -> bool:
        return name in self._entries

    def size(self, name: str) -> int:
        """How many bytes an entry declares."""
        return self._entries[name].file_size

    def read(self, name: str) -> bytes:
        """The bytes of an entry; the archive's checksum of them has been compared."""
        entry = self._entries[name]
        if entry.flag_bits & 1:
            raise Unreadable(f"{shown(name)} in it is encrypted")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise Unreadable(f"{shown(name)} in it is packed in an unusual way")
        self._left -= entry.file_size
        if self._left < 0:
            raise Unreadable("it unpacks to far more than its own size")
        with _damage(), self._zip.open(entry) as file:
            content = file.read(entry.file_size)  # never read(): that would unpack to the end at once
        if len(content) != entry.file_size:
            raise Unreadable(f"damaged, {shown(name)} in it ends too early")
        return content

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
        self._file.close()

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextmanager
def _damage() -> Iterator[None]:
    """zipfile's many ways of saying that an archive is not sound, as one."""
    try:
        yield
    except (
        zipfile.BadZipFile,
        zlib.error,
        struct.error,
        EOFError,
        IndexError,
        NotImplementedError,
        OSError,
        OverflowError,
        RuntimeError,
        ValueError,
    ) as error:
        raise Unreadable(f"damaged ({shown(error) or type(error).__name__})") from None
