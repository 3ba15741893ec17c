"""CIFAR-10 and CIFAR-100: 50,000 images for training and 10,000 for testing each, in colour, of 32×32 pixels.

They are published in two archives of the same content: a *binary* one, which is downloaded where there is
none, and one for Python, whose pickles are read without being executed (:mod:`minicnn.data.cifar_pickle`).
Either is read packed or unpacked; of a packed one the wanted files are read in passing, and nothing is
written.

A binary file is one record after the other: the label, one byte (in CIFAR-100 two, of which the second is
that of the 100 classes), and 3,072 bytes: 32 rows of 32 pixels in red, then in green, then in blue.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009.
"""

import os
import tarfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minicnn.data.cifar_pickle import read_batch, read_names
from minicnn.data.idx import DataError
from minicnn.data.mnist import cache_folder, named_folder
from minicnn.download import fetch
from minicnn.weights.errors import Unreadable

RECORD = 3 * 32 * 32

MAX_FILE_BYTES = 2**28
"""More than any of the files has."""

URL = "https://www.cs.toronto.edu/~kriz/"


class Form(NamedTuple):
    """One of the archives: its name, the folder in it, and the files there."""

    archive: str
    folder: str
    train: tuple[str, ...]
    test: str
    names: str


@dataclass(frozen=True)
class Kind:
    """One of the two data sets.  `size` and `sha256` are those of the binary archive."""

    name: str
    title: str
    classes: int
    binary: Form
    python: Form
    size: int
    sha256: str


CIFAR10 = Kind(
    "cifar10",
    "CIFAR-10",
    classes=10,
    binary=Form(
        "cifar-10-binary.tar.gz",
        "cifar-10-batches-bin",
        tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
        "test_batch.bin",
        "batches.meta.txt",
    ),
    python=Form(
        "cifar-10-python.tar.gz",
        "cifar-10-batches-py",
        tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test_batch",
        "batches.meta",
    ),
    size=170_052_171,
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
)

CIFAR100 = Kind(
    "cifar100",
    "CIFAR-100",
    classes=100,
    binary=Form(
        "cifar-100-binary.tar.gz", "cifar-100-binary", ("train.bin",), "test.bin", "fine_label_names.txt"
    ),
    python=Form("cifar-100-python.tar.gz", "cifar-100-python", ("train",), "test", "meta"),
    size=168_513_733,
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
)


class Cifar(NamedTuple):
    """Images (N, 32, 32, 3) and labels (N,) for training and for testing, uint8, and the classes' names."""

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    class_names: tuple[str, ...]


def read_cifar(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    kind: Kind = CIFAR10,
    download: bool = True,
    progress: bool = True,
) -> Cifar:
    """One of the data sets, from `data_dir`, else the folder that ``MINICNN_DATA`` names, else the cache.

    In a folder, either archive is looked for, packed or unpacked, also in a folder of the data set's name
    there.  Only into the cache is the binary archive downloaded (170 MB), its SHA-256 compared.

    Raises :class:`DataError` when the files are not there and are not to be downloaded, which one to put
    where, and when one is not what it should be; :class:`DownloadError` when the archive cannot be
    downloaded.

    >>> read_cifar("/no/such/folder")
    Traceback (most recent call last):
    minicnn.data.idx.DataError: /no/such/folder: no such folder (given as data_dir) to read CIFAR-10 from
    """
    named = named_folder(data_dir)
    folder, origin = named or (cache_folder() / kind.name, "the cache")
    if named and not folder.is_dir():
        raise DataError(f"{folder}: no such folder (given as {origin}) to read {kind.title} from")
    found = _find(folder, kind)
    if found is None and named is None and download:
        path = folder / kind.binary.archive
        fetch(
            [URL + path.name],
            path,
            sha256=kind.sha256,
            packed=True,
            max_bytes=kind.size,
            max_unpacked=kind.size,
            progress=progress,
        )
        found = path, kind.binary
    if found is None:
        raise DataError(
            f"{folder}: {kind.title} is not there (given as {origin}); put {kind.binary.archive} there, "
            f"from {URL}"
        )
    return _read(*found, kind)


def _find(folder: Path, kind: Kind) -> tuple[Path, Form] | None:
    """The first that is there: a folder with the files, or an archive."""
    for above in (folder, folder / kind.name):
        for form in (kind.binary, kind.python):
            for path in (above / form.folder, above / form.archive):
                if path.exists():
                    return path, form
    return None


def _read(path: Path, form: Form, kind: Kind) -> Cifar:
    wanted = [*form.train, form.test, form.names]
    content = _unpacked(path, wanted) if path.is_dir() else _packed(path, form.folder, wanted)
    for name in wanted:
        if name not in content:
            raise DataError(f"{path}: has no file {name!r}, which belongs to {kind.title}")
    parts = {}
    for name in (*form.train, form.test):
        try:
            parts[name] = _batch(content.pop(name), form, kind)
        except Unreadable as error:
            raise DataError(f"{path}: {name}: {error}") from None
    try:
        names = _names(content[form.names], form, kind)
    except Unreadable as error:
        raise DataError(f"{path}: {form.names}: {error}") from None
    images, labels = (np.concatenate([parts[name][k] for name in form.train]) for k in (0, 1))
    return Cifar(images, labels, *parts[form.test], names)


def _unpacked(folder: Path, wanted: list[str]) -> dict[str, bytes]:
    """The wanted files in a folder."""
    content = {}
    for name in wanted:
        path = folder / name
        try:
            if path.is_file() and path.stat().st_size <= MAX_FILE_BYTES:
                content[name] = path.read_bytes()
        except OSError as error:
            raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
    return content


def _packed(path: Path, folder: str, wanted: list[str]) -> dict[str, bytes]:
    """The wanted files in an archive, which is gone through once; a name there is compared and never used."""
    content = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = member.name.removeprefix("./").removeprefix(f"{folder}/")
                file = archive.extractfile(member) if name in wanted and member.isreg() else None
                if file is not None and member.size <= MAX_FILE_BYTES:
                    content[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error, ValueError) as error:
        raise DataError(f"{path}: damaged, or no packed archive ({error})") from error
    return content


def _batch(content: bytes, form: Form, kind: Kind) -> tuple[np.ndarray, np.ndarray]:
    """The images (n, 32, 32, 3) and labels (n,) of one file."""
    if form is kind.python:
        pixels, labels = read_batch(content)
    else:
        before = 1 if kind.classes == 10 else 2
        if not content or len(content) % (before + RECORD):
            raise Unreadable(f"{len(content):,} bytes are no multiple of the {before + RECORD:,} of a record")
        records = np.frombuffer(content, np.uint8).reshape(-1, before + RECORD)
        labels, pixels = records[:, before - 1], records[:, before:]
    if labels.max() >= kind.classes:
        raise Unreadable(f"has the label {labels.max()}, but those of {kind.title} are 0..{kind.classes - 1}")
    return np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), labels.copy()


def _names(content: bytes, form: Form, kind: Kind) -> tuple[str, ...]:
    names = read_names(content) if form is kind.python else content.decode("latin-1").split()
    if len(names) != kind.classes:
        raise Unreadable(f"has the names of {len(names)} classes, but {kind.title} has {kind.classes}")
    return tuple(names)
