"""MNIST and Fashion-MNIST: 60,000 images for training and 10,000 for testing each, of 28×28 grey pixels.

MNIST is handwritten digits, Fashion-MNIST photographs of clothes in files of the same names and format.
Where the four files are looked for, in this order: the folder given as `data_dir`; the folder named by the
environment variable ``MINICNN_DATA``; the user's cache folder, into which they are downloaded (12 MB) where
they are absent.  A folder that was named is the only one looked in: nothing is downloaded then.

Sources: Y. LeCun, L. Bottou, Y. Bengio, P. Haffner, "Gradient-based learning applied to document
recognition", Proceedings of the IEEE 86(11), 1998, section III.A; H. Xiao, K. Rasul, R. Vollgraf,
"Fashion-MNIST: a novel image dataset for benchmarking machine learning algorithms", arXiv:1708.07747, 2017.
"""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minicnn.data.idx import DataError, read_pair
from minicnn.download import fetch

ENVIRONMENT_VARIABLE = "MINICNN_DATA"

PACKED_BOUND = 16 * 2**20
"""More bytes than any of the files takes when compressed (the largest: 9.9 MB)."""


@dataclass(frozen=True)
class File:
    """One of the four files: its name, and the size and SHA-256 of its content when unpacked.

    Where `packed`, the SHA-256 is that of the packed file, of which there is only one then.
    """

    stem: str
    size: int
    sha256: str
    packed: bool = False

    def spellings(self) -> tuple[str, ...]:
        """The names it goes by, in the order of preference.

        >>> MNIST.files[3].spellings()[:2]
        ('t10k-labels-idx1-ubyte', 't10k-labels-idx1-ubyte.gz')
        """
        dotted = self.stem.replace("-idx", ".idx")
        return (self.stem, f"{self.stem}.gz", dotted, f"{dotted}.gz")


@dataclass(frozen=True)
class Kind:
    """A data set in MNIST's format: where it is looked for in a folder, and where it is downloaded from.

    `name` is that of its folder in the cache.
    """

    name: str
    title: str
    subfolders: tuple[str, ...]
    mirrors: tuple[str, ...]
    files: tuple[File, ...]
    class_names: tuple[str, ...]


def _files(*sha256: str, packed: bool = False) -> tuple[File, ...]:
    """The four files, in the order that everything here has them in."""
    stems = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    sizes = (47_040_016, 60_008, 7_840_016, 10_008)
    return tuple(File(*row, packed) for row in zip(stems, sizes, sha256, strict=True))


MNIST = Kind(
    "mnist",
    "MNIST",
    subfolders=("", "mnist", "MNIST/raw"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    files=_files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    class_names=tuple("0123456789"),
)

FASHION_MNIST = Kind(
    "fashion_mnist",
    "Fashion-MNIST",
    subfolders=("fashion_mnist", "fashion-mnist", "FashionMNIST/raw", ""),  # in the last may be MNIST itself
    mirrors=(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
    ),
    files=_files(
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        packed=True,
    ),
    class_names=(
        "T-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"
    ),
)  # fmt: skip


def read_mnist(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    kind: Kind = MNIST,
    download: bool = True,
    progress: bool = True,
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
    named = named_folder(data_dir)
    if named is not None:
        folder, origin = named
        return _read(find_files(folder, origin, kind), kind)
    folder = cache_folder() / kind.name
    if download:
        for file in kind.files:
            if _present(folder, file) is None:
                _download(file, kind, folder, progress)
    elif missing := [file for file in kind.files if _present(folder, file) is None]:
        raise DataError(
            f"{folder}: {kind.title} is not there, and downloading was not allowed; put "
            f"{', '.join(f'{file.stem}.gz' for file in missing)} there, from {kind.mirrors[0]}"
        )
    try:
        return _read(find_files(folder, "the cache", kind), kind)
    except DataError as error:
        raise DataError(f"{error}; delete that file to have it downloaded again") from error


def cache_folder() -> Path:
    """Where downloaded files are kept: the folder that the operating system has for a user's caches.

    >>> cache_folder().name
    'minicnn'
    """
    import platformdirs

    return Path(platformdirs.user_cache_dir("minicnn", appauthor=False))


def find_files(folder: str | os.PathLike[str], origin: str = "data_dir", kind: Kind = MNIST) -> list[Path]:
    """The four files, in the order of a kind's `files`, from `folder`, its ``mnist/`` or ``MNIST/raw/``.

    All four must be in one folder: halves of two data sets in two folders are not put together.
    `origin` says in errors where the folder's name came from.

    Raises :class:`DataError` that names the folder and what is missing.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for file in MNIST.files:
    ...         _ = (Path(folder) / file.spellings()[3]).write_bytes(b"")
    ...     [path.name for path in find_files(folder)][0]
    'train-images.idx3-ubyte.gz'
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder (given as {origin}) to read {kind.title} from")
    candidates = [
        [_present(folder / subfolder, file) for file in kind.files] for subfolder in kind.subfolders
    ]
    best = max(candidates, key=lambda paths: sum(path is not None for path in paths))
    if None in best:
        missing = [f"{file.stem}[.gz]" for file, path in zip(kind.files, best, strict=True) if path is None]
        inside = " and in ".join(f"{subfolder}/" for subfolder in kind.subfolders if subfolder)
        raise DataError(
            f"{folder}: {kind.title} is not there (given as {origin}); looked in it, in {inside}, "
            f"missing {', '.join(missing)}"
        )
    return [path for path in best if path is not None]


def named_folder(data_dir: str | os.PathLike[str] | None) -> tuple[Path, str] | None:
    """The folder that was named to look for data in, and how.

    >>> folder, origin = named_folder("there")
    >>> str(folder), origin
    ('there', 'data_dir')
    """
    if data_dir is not None:
        return Path(data_dir), "data_dir"
    if from_environment := os.environ.get(ENVIRONMENT_VARIABLE):
        return Path(from_environment), ENVIRONMENT_VARIABLE
    return None


def _present(folder: Path, file: File) -> Path | None:
    paths = (folder / name for name in file.spellings())
    return next((path for path in paths if path.is_file()), None)


def _download(file: File, kind: Kind, folder: Path, progress: bool) -> None:
    name = f"{file.stem}.gz"
    fetch(
        [mirror + name for mirror in kind.mirrors],
        folder / name,
        sha256=file.sha256,
        packed=file.packed,
        max_bytes=PACKED_BOUND,
        max_unpacked=PACKED_BOUND if file.packed else file.size,
        progress=progress,
    )


def _read(paths: list[Path], kind: Kind) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    train_images, train_labels, test_images, test_labels = paths
    parts = *read_pair(train_images, train_labels), *read_pair(test_images, test_labels)
    if kind is not MNIST and _is_mnist(parts[3]):
        raise DataError(f"{test_labels}: are MNIST's labels, but those of {kind.title} are expected")
    return parts


def _is_mnist(test_labels: np.ndarray) -> bool:
    """Whether labels are those of MNIST's test images, whose files have the same names."""
    header = bytes([0, 0, 8, 1]) + len(test_labels).to_bytes(4, "big")
    return hashlib.sha256(header + test_labels.tobytes()).hexdigest() == MNIST.files[3].sha256
