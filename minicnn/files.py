"""Files that are never half written."""

import os
import secrets
from pathlib import Path


def write(path: str | os.PathLike[str], content: bytes) -> None:
    """Put ``content`` into a file so that whoever reads it, whenever the process or the machine dies, finds
    either what was there before or the whole of the new.

    The bytes go to a temporary file in the same folder, since a rename is atomic only there; they reach the
    disk before the name does.

    Raises OSError, and then the file is as it was.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(Path(folder) / "note.txt", b"whole")
    ...     [(path.name, path.read_bytes()) for path in Path(folder).iterdir()]
    [('note.txt', b'whole')]
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.part")
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:  # which names the temporary file, or, where a write failed, none
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def is_leftover(path: Path) -> bool:
    """Whether a file is one that :func:`write` left when its process was killed.

    >>> is_leftover(Path("run/.curves.png.0123456789ab.part")), is_leftover(Path("run/a.part"))
    (True, False)
    """
    name, _, number = path.name.removesuffix(".part").rpartition(".")
    return path.name.endswith(".part") and name.startswith(".") and len(number) == 12


def _sync_folder(folder: Path) -> None:
    """Bring a rename to the disk, on systems where folders can be opened."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    except OSError:
        pass
    finally:
        os.close(descriptor)
