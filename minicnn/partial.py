"""The beginning of a file that is being downloaded: kept when the download breaks off, where that is of use.

It is in ``.NAME.part`` beside the file NAME that it is to become, and ``.NAME.part.version`` says of which
address and which version of its file it is the beginning.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import BinaryIO


class Refused(Exception):
    """Why what a server sends is not taken; nothing of it is kept."""


def part_name(target: Path) -> Path:
    """Where the beginning of a file is kept.

    >>> part_name(Path("cache/a.pth")).name
    '.a.pth.part'
    """
    return target.with_name(f".{target.name}.part")


@contextlib.contextmanager
def beside(target: Path) -> Iterator["Part"]:
    """The :class:`Part` for a file, with what is left of an earlier try; afterwards kept, or removed.

    It is beside the target, since a rename is atomic only there.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = Part(target)
    try:
        yield part
    except Refused:
        part.clear()
        raise
    finally:
        part.close()


class Part:
    """The file that a download grows in.

    Its name is one that the next try finds, if this process can lock that file. If another process is
    writing to it, or there are no locks here, the name is a random one, and nothing is kept.
    """

    def __init__(self, target: Path) -> None:
        self.path = part_name(target)
        file = _open_alone(self.path)
        self._note = None if file is None else self.path.with_name(f"{self.path.name}.version")
        if file is None:
            self.path = target.with_name(f".{target.name}.{secrets.token_hex(6)}.part")
            file = self.path.open("xb", buffering=0)
        self._file = file
        self._moved = False
        self.size = os.fstat(file.fileno()).st_size
        if not self.kept:
            self.clear()

    @property
    def kept(self) -> bool:
        """Whether the next try can go on from here."""
        return self.size > 0 and self._noted() is not None

    def conditions(self, url: str) -> dict[str, str]:
        """The headers that ask for no more than what is missing, if this is the beginning of that file."""
        noted = self._noted() if self.size else None
        if noted is None or noted[0] != url:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": noted[1]}

    def begin(self, url: str, headers: Message, partial: bool) -> int | None:
        """Get ready for what a server is about to send, the missing bytes (``partial``) or all of them.

        Returns the size of the whole file, where the server tells it. Raises Refused for other bytes.
        """
        if partial:
            pattern = r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15}|\*)"
            said = re.fullmatch(pattern, headers["Content-Range"] or "")
            if said is None or int(said[1]) != self.size:
                raise Refused(f"does not send what was asked for, the bytes from {self.size:,} on")
            return None if said[2] == "*" else int(said[2])
        self.clear()
        etag = headers["ETag"] or ""
        version = headers["Last-Modified"] if not etag or etag.startswith("W/") else etag
        if version and headers["Accept-Ranges"] == "bytes" and self._note is not None:
            self._note.write_text(f"{url}\n{version}", encoding="utf-8")
        announced = headers["Content-Length"] or ""
        return int(announced) if announced.isascii() and announced.isdigit() else None

    def write(self, chunk: bytes) -> None:
        """Append."""
        self._file.write(chunk)
        self.size += len(chunk)

    def clear(self) -> None:
        """Begin anew."""
        self._file.truncate(0)
        self._file.seek(0)
        self.size = 0
        if self._note is not None:
            self._note.unlink(missing_ok=True)

    def become(self, target: Path) -> None:
        """Take the target's name, once everything is on the disk."""
        os.fsync(self._file.fileno())
        self.path.replace(target)
        self._moved = True
        if self._note is not None:
            self._note.unlink(missing_ok=True)

    def close(self) -> None:
        """Remove the file unless it is kept, before another process can lock it."""
        if not self._moved and not self.kept:
            self.clear()
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _noted(self) -> tuple[str, str] | None:
        """The address and the version of which this is the beginning."""
        if self._note is None or not self._note.is_file():
            return None
        url, _, version = self._note.read_text(encoding="utf-8", errors="replace").partition("\n")
        return (url, version) if version and version.isprintable() else None


def _open_alone(path: Path) -> BinaryIO | None:
    """Open a file to append to it, locked against other processes; None where that cannot be."""
    try:
        import fcntl
    except ImportError:  # Windows
        return None
    file = path.open("ab", buffering=0)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(file.fileno()), path.stat()):  # no other has renamed it meanwhile
            return file
    except OSError:
        pass
    file.close()
    return None
