"""MNIST: 70,000 handwritten digits of 28×28 grey pixels, 60,000 for training and 10,000 for testing.

Where the four files are looked for, in this order: the folder given as `data_dir`; the folder named by
the environment variable ``MINICNN_DATA``; the user's cache folder, into which they are downloaded (12 MB)
where they are absent.  A folder that was named is the only one looked in: nothing is downloaded then.

Source: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11), 1998, section III.A.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicnn.data.idx import DataError, read_pair
from minicnn.download import fetch

ENVIRONMENT_VARIABLE = "MINICNN_DATA"

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)

SUBFOLDERS = ("", "mnist", "MNIST/raw")

PACKED_BOUND = 16 * 2**20
"""More bytes than any of the files takes when compressed (the largest: 9.9 MB)."""


@dataclass(frozen=True)
class File:
    """One of the four files: its name, and the size and SHA-256 of its content when unpacked."""

    stem: str
    size: int
    sha256: str

    def spellings(self) -> tuple[str, ...]:
        """The names it goes by, in the order of preference.

        >>> FILES[3].spellings()[:2]
        ('t10k-labels-idx1-ubyte', 't10k-labels-idx1-ubyte.gz')
        """
        dotted = self.stem.replace("-idx", ".idx")
        return (self.stem, f"{self.stem}.gz", dotted, f"{dotted}.gz")


FILES = (
    File(
        "train-images-idx3-ubyte",
        47_040_016,
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    File(
        "train-labels-idx1-ubyte",
        60_008,
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    File(
        "t10k-images-idx3-ubyte",
        7_840_016,
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    File(
        "t10k-labels-idx1-ubyte",
        10_008,
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
)


def read_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, download: bool = True, progress: bool = True
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images and labels, test images and labels, as the files hold them.

    Shapes: (60000, 28, 28), (60000,), (10000, 28, 28), (10000,); other counts in files of your own are
    taken as they are.  Dtype: uint8.

    Raises :class:`DataError` when a folder was named and the files are not in it, when they are nowhere
    and `download` is false, and when a file is not what it should be; :class:`DownloadError` when they
    cannot be downloaded.

    >>> read_mnist("/no/such/folder")
    Traceback (most recent call last):
    minicnn.data.idx.DataError: /no/such/folder: no such folder (given as data_dir) to read MNIST from
    """
    named = _named_folder(data_dir)
    if named is not None:
        folder, origin = named
        return _read(find_files(folder, origin))
    folder = cache_folder()
    if download:
        for file in FILES:
            if _present(folder, file) is None:
                _download(file, folder, progress)
    try:
        return _read(find_files(folder, "the cache; downloading was not allowed"))
    except DataError as error:
        if not download:
            raise
        raise DataError(f"{error}; delete that file to have it downloaded again") from error


def cache_folder() -> Path:
    """Where downloaded files are kept: the folder that the operating system has for a user's caches.

    >>> cache_folder().name
    'mnist'
    """
    import platformdirs

    return Path(platformdirs.user_cache_dir("minicnn", appauthor=False)) / "mnist"


def find_files(folder: str | os.PathLike[str], origin: str = "data_dir") -> list[Path]:
    """The four files, in the order of :data:`FILES`, from `folder`, its ``mnist/`` or ``MNIST/raw/``.

    All four must be in one folder: halves of two data sets in two folders are not put together.
    `origin` says in errors where the folder's name came from.

    Raises :class:`DataError` that names the folder and what is missing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for file in FILES:
    ...         _ = (Path(folder) / file.spellings()[3]).write_bytes(b"")
    ...     [path.name for path in find_files(folder)][0]
    'train-images.idx3-ubyte.gz'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (given as {origin}) to read MNIST from")
    candidates = [[_present(folder / subfolder, file) for file in FILES] for subfolder in SUBFOLDERS]
    best = max(candidates, key=lambda paths: sum(path is not None for path in paths))
    if None in best:
        missing = [f"{file.stem}[.gz]" for file, path in zip(FILES, best, strict=True) if path is None]
        raise DataError(
            f"{folder}: MNIST is not there (given as {origin}); looked in it, in mnist/ and in MNIST/raw/, "
            f"missing {', '.join(missing)}"
        )
    return [path for path in best if path is not None]


def _named_folder(data_dir: str | os.PathLike[str] | None) -> tuple[Path, str] | None:
    if data_dir is not None:
        return Path(data_dir), "data_dir"
    if from_environment := os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(from_environment), ENVIRONMENT_VARIABLE
    return None


def _present(folder: Path, file: File) -> Path | None:
    paths = (folder / name for name in file.spellings())
    return next((path for path in paths if path.is_file()), None)


def _download(file: File, folder: Path, progress: bool) -> None:
    name = f"{file.stem}.gz"
    fetch(
        [mirror + name for mirror in MIRRORS],
        folder / name,
        sha256=file.sha256,
        max_bytes=PACKED_BOUND,
        max_unpacked=file.size,
        progress=progress,
    )


def _read(paths: list[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    train_images, train_labels, test_images, test_labels = paths
    return *read_pair(train_images, train_labels), *read_pair(test_images, test_labels)
