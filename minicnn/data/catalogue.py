"""The data sets by name, or by where they are."""

import difflib
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minicnn.data import cifar, mnist
from minicnn.data.assemble import assemble
from minicnn.data.dataset import Dataset, build
from minicnn.data.digits import read_digits
from minicnn.data.folder import load_images
from minicnn.data.pixels import ArraySource
from minicnn.data.sampling import split_generator, stratified_split

DIGITS_HELD_OUT = 270
"""Images in each of the test and the (default) validation split of "digits": 15 % of 1,797."""

PUBLISHED_VALIDATION = 5000
"""Images in the (default) validation split of the published data sets, which come with test images."""


class Known(NamedTuple):
    """How a data set of a name is loaded, and what is in it."""

    load: Callable[..., Dataset]
    words: str


def load(
    name: str | os.PathLike[str],
    *,
    size: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    validation: int | float | None = None,
    seed: int = 0,
    download: bool = True,
    progress: bool = True,
    **options: Any,
) -> Dataset:
    """Load a data set by its name, or the images in a folder or zip by its path, split and normalised.

    =============  =================================================  ======  ==========  ======
    name           what it is                                          train  validation    test
    =============  =================================================  ======  ==========  ======
    digits         8×8 grey digits, in the package (`digits.py`)       1,257         270     270
    mnist          28×28 grey digits, from files (`mnist.py`)         55,000       5,000  10,000
    fashion_mnist  28×28 grey clothes, from files (`mnist.py`)        55,000       5,000  10,000
    cifar10        32×32 colour, from an archive (`cifar.py`)         45,000       5,000  10,000
    cifar100       the same of 100 classes                            45,000       5,000  10,000
    a path         a folder for each class, or a zip (`folder.py`)
    =============  =================================================  ======  ==========  ======

    Images are scaled to `size` × `size` pixels (28 and 32 unless told otherwise), to 0..1 and then normalised
    with the mean and standard deviation of the training split: see :class:`Dataset`.

    `validation` images are drawn, stratified, from those that are not test images: a count (int; 0 is
    none) or a fraction of them (float).  `seed` decides which, and for "digits" also which are test
    images, so figures for two seeds are figures for two test sets.  The published test images are their own.

    `data_dir`, `download` and `progress` concern published data only: see :func:`read_mnist`,
    :func:`read_cifar`.  More `options` are for a path, :func:`load_images` has them, and `mean` and `std`
    instead of the training split's also for CIFAR.

    Shapes: images (N, C, size, size), labels (N,).  Dtypes: float32, int64.

    Raises ValueError for an unknown name, with the nearest one, for `data_dir` with data that is elsewhere,
    and for a `size` or `validation` that cannot be; TypeError for `options` that the data has not;
    :class:`DataError` (a ValueError) and :class:`DownloadError` (an OSError) as the functions named above do.

    >>> data = load("digits")
    >>> data.train.images.shape, len(data.validation), len(data.test)
    ((1257, 1, 28, 28), 270, 270)
    >>> load("minst")
    Traceback (most recent call last):
    ValueError: load: there is no data set 'minst', did you mean 'mnist'? (known: digits, mnist,
    fashion_mnist, cifar10, cifar100, or the path of a folder or zip)
    """
    if size is not None and (isinstance(size, bool) or not isinstance(size, int | np.integer)):
        raise TypeError(f"load: size is {size!r}, but an integer is expected")
    if size is not None and size < 1:
        raise ValueError(f"load: size is {size}, but at least 1 is expected")
    common: dict[str, Any] = {"size": size, "validation": validation, "seed": seed}
    published: dict[str, Any] = {"data_dir": data_dir, "download": download, "progress": progress}
    if name in KNOWN and name != "digits":
        return KNOWN[str(name)].load(**common, **published, **options)
    if data_dir is not None:
        where = "is in the package" if name == "digits" else "is a path itself"
        raise ValueError(f"load: data_dir={str(data_dir)!r}, but {str(name)!r} {where}, not in a folder")
    if name == "digits":
        return _digits(**common, **options)
    if not is_path(name):
        raise ValueError(f"load: {unknown_data(str(name))}")
    return load_images(name, **common, **options)


def unknown_data(name: str) -> str:
    """What is said of a name that is neither a data set's nor of a folder or file.

    >>> unknown_data("cifr10").partition("?")[0]
    "there is no data set 'cifr10', did you mean 'cifar10'"
    """
    near = difflib.get_close_matches(name.lower(), NAMES, n=1, cutoff=0.4)
    hint = f", did you mean {near[0]!r}?" if near else ""
    return f"there is no data set {name!r}{hint} (known: {', '.join(NAMES)}, or the path of a folder or zip)"


def is_path(name: str | os.PathLike[str]) -> bool:
    """Whether a name is meant as a path, though there may be nothing there.

    >>> is_path("mnist"), is_path("photos.zip")
    (False, True)
    """
    if not isinstance(name, str):
        return True
    return os.sep in name or name.endswith(".zip") or (name != "" and Path(name).exists())


def _digits(*, size: int | None, validation: int | float | None, seed: int) -> Dataset:
    images, labels = read_digits()
    rest, test = stratified_split(labels, DIGITS_HELD_OUT, split_generator(seed, "test"))
    return build(
        "digits",
        *(images[rest], labels[rest], images[test], labels[test]),
        class_names=mnist.MNIST.class_names,
        size=size or 28,
        validation=DIGITS_HELD_OUT if validation is None else validation,
        seed=seed,
    )


def _mnist(
    kind: mnist.Kind, *, size: int | None, validation: int | float | None, seed: int, **published: Any
) -> Dataset:
    return build(
        kind.name,
        *mnist.read_mnist(kind=kind, **published),
        class_names=kind.class_names,
        size=size or 28,
        validation=PUBLISHED_VALIDATION if validation is None else validation,
        seed=seed,
    )


def _cifar(
    kind: cifar.Kind,
    *,
    size: int | None,
    validation: int | float | None,
    seed: int,
    data_dir: str | os.PathLike[str] | None,
    download: bool,
    progress: bool,
    **constants: Any,
) -> Dataset:
    read = cifar.read_cifar(data_dir, kind=kind, download=download, progress=progress)
    parts = {
        "train": (ArraySource(read.images, size), read.labels.astype(np.int64)),
        "test": (ArraySource(read.test_images, size), read.test_labels.astype(np.int64)),
    }
    shares = {"validation": PUBLISHED_VALIDATION if validation is None else validation}
    return assemble(kind.name, parts, read.class_names, shares, seed=seed, exact=True, **constants)


KNOWN = {
    "digits": Known(_digits, "1,797 handwritten digits of 8×8 pixels, in the package"),
    "mnist": Known(partial(_mnist, mnist.MNIST), "70,000 handwritten digits of 28×28 pixels"),
    "fashion_mnist": Known(partial(_mnist, mnist.FASHION_MNIST), "70,000 clothes of 28×28 pixels"),
    "cifar10": Known(partial(_cifar, cifar.CIFAR10), "60,000 colour images of 32×32 pixels, 10 classes"),
    "cifar100": Known(partial(_cifar, cifar.CIFAR100), "60,000 colour images of 32×32 pixels, 100 classes"),
}

NAMES = tuple(KNOWN)
