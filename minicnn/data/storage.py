"""A folder of files, or a zip of one, seen alike: names in order, and the content of each.

Nothing is ever unpacked to the disk: a name in an archive is only a name, wherever it points.
"""

import io
import os
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from minicnn.data.idx import DataError

MAX_FILE_BYTES = 2**28
"""More than any photograph takes; a zip's member that says it is larger is refused."""


class Folder:
    """The files under a folder, at any depth.

    `names` are paths relative to the folder with ``/``, sorted; `folders` those of the folders.  Hidden files
    and folders are left out, as are those that systems leave behind (``__MACOSX``).  A folder that is reached
    twice, by a link, is gone into once.

    Raises :class:`DataError` when there is no such folder.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise DataError(f"{self.path}: no such folder or zip")
        self.names: list[str] = []
        self.folders: list[str] = []
        for folder, files in _walk(self.path):
            self.folders += [folder.as_posix()] if folder.parts else []
            self.names += [(folder / file).as_posix() for file in files]
        self.names.sort()

    def open(self, name: str) -> BinaryIO:
        """The content of a file, to be read."""
        try:
            return (self.path / name).open("rb")
        except OSError as error:
            raise DataError(f"{self.full(name)}: cannot be read ({error.strerror or error})") from error

    def full(self, name: str) -> str:
        """A file's name as errors tell it."""
        return str(self.path / name)

    def alike(self, name: str) -> tuple[int, ...]:
        """What two files of the same content have in common without being read: their size."""
        try:
            return ((self.path / name).stat().st_size,)
        except OSError as error:
            raise DataError(f"{self.full(name)}: cannot be read ({error.strerror or error})") from error


class Archive:
    """The files in a zip, as :class:`Folder` has those of a folder; one is unpacked when it is opened.

    Raises :class:`DataError` when there is no such file, it is no zip, or two of its files have one name.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "pets.zip"
    ...     with zipfile.ZipFile(path, "w") as file:
    ...         file.writestr("pets/cat/1.png", b"...")
    ...         file.writestr("__MACOSX/pets/cat/._1.png", b"...")
    ...     archive = Archive(path)
    ...     print(archive.names, archive.folders, archive.open("pets/cat/1.png").read())
    ...     archive.close()
    ['pets/cat/1.png'] ['pets', 'pets/cat'] b'...'
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        try:
            self._zip = zipfile.ZipFile(self.path)
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror or error})") from error
        except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
            raise DataError(f"{self.path}: no sound zip file ({error})") from error
        self._one_at_a_time = threading.Lock()  # a ZipFile counts its readers, and not for several threads
        found = [info for info in self._zip.infolist() if not _is_hidden(info.filename)]
        self.names = sorted(info.filename for info in found if not info.is_dir())
        twice = [name for name, count in Counter(self.names).items() if count > 1]
        if twice:
            raise DataError(f"{self.path}: holds {twice[0]!r} more than once")
        inner = {info.filename.rpartition("/")[0] for info in found}
        above = {path for folder in inner for path in (PurePosixPath(folder), *PurePosixPath(folder).parents)}
        self.folders = sorted(str(path) for path in above if path.name)

    def open(self, name: str) -> BinaryIO:
        """The content of a file, in memory."""
        size = self._zip.getinfo(name).file_size
        if size > MAX_FILE_BYTES:
            raise DataError(
                f"{self.full(name)}: {size:,} bytes are more than the bound of {MAX_FILE_BYTES:,}"
            )
        try:
            with self._one_at_a_time:
                return io.BytesIO(self._zip.read(name))
        except Exception as error:  # a zip has as many ways to be wrong as it has methods of compression
            raise DataError(f"{self.full(name)}: cannot be unpacked ({error})") from error

    def full(self, name: str) -> str:
        """A file's name as errors tell it."""
        return f"{self.path}/{name}"

    def alike(self, name: str) -> tuple[int, ...]:
        """What two files of the same content have in common without being read: their size and CRC."""
        info = self._zip.getinfo(name)
        return info.file_size, info.CRC

    def close(self) -> None:
        """Close the file."""
        self._zip.close()


Storage = Folder | Archive


def _walk(root: Path) -> Iterator[tuple[PurePosixPath, list[str]]]:
    """Each folder under `root`, relative to it, with the names of its files."""
    seen = set()
    for path, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(folder for folder in folders if not _is_hidden(folder))
        yield PurePosixPath(Path(path).relative_to(root).as_posix()), [f for f in files if not _is_hidden(f)]


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))
