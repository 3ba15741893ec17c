"""The data sets by name."""

import difflib
import os

import numpy as np

from minicnn.data.dataset import Dataset, build
from minicnn.data.digits import read_digits
from minicnn.data.mnist import read_mnist
from minicnn.data.sampling import split_generator, stratified_split

NAMES = ("digits", "mnist")

DIGITS = tuple("0123456789")

DIGITS_HELD_OUT = 270
"""Images in each of the test and the (default) validation split of "digits": 15 % of 1,797."""

MNIST_VALIDATION = 5000


def load(
    name: str,
    *,
    size: int | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    validation: int | float | None = None,
    seed: int = 0,
    download: bool = True,
    progress: bool = True,
) -> Dataset:
    """Load a data set by name, split and normalised.

    ==========  ==================================================  =======  ==========  ======
    name        what it is                                            train  validation    test
    ==========  ==================================================  =======  ==========  ======
    digits      8×8 grey digits, in the package (`digits.py`)         1,257         270     270
    mnist       28×28 grey digits, from files (`mnist.py`)           55,000       5,000  10,000
    ==========  ==================================================  =======  ==========  ======

    Images are scaled to `size` × `size` pixels (28 unless told otherwise), to 0..1 and then normalised
    with the mean and standard deviation of the training split: see :class:`Dataset`.

    `validation` images are drawn, stratified, from those that are not test images: a count (int; 0 is
    none) or a fraction of them (float).  `seed` decides which, and for "digits" also which are test
    images, so figures for two seeds are figures for two test sets.  MNIST's test images are its own.

    `data_dir`, `download` and `progress` concern "mnist" only: see :func:`read_mnist`.

    Shapes: images (N, 1, size, size), labels (N,).  Dtypes: float32, int64.

    Raises ValueError for an unknown name, with the nearest one, for `data_dir` with data that is in the
    package, and for a `size` or `validation` that cannot be; :class:`DataError` (a ValueError) and
    :class:`DownloadError` (an OSError) as :func:`read_mnist` does.

    >>> data = load("digits")
    >>> data.train.images.shape, len(data.validation), len(data.test)
    ((1257, 1, 28, 28), 270, 270)
    >>> load("minst")
    Traceback (most recent call last):
    ValueError: load: there is no data set 'minst', did you mean 'mnist'? (known: digits, mnist)
    """
    if name not in NAMES:
        near = difflib.get_close_matches(str(name).lower(), NAMES, n=1, cutoff=0.4)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"load: there is no data set {name!r}{hint} (known: {', '.join(NAMES)})")
    size = 28 if size is None else size
    if isinstance(size, bool) or not isinstance(size, int | np.integer):
        raise TypeError(f"load: size is {size!r}, but an integer is expected")
    if size < 1:
        raise ValueError(f"load: size is {size}, but at least 1 is expected")

    if name == "digits":
        if data_dir is not None:
            raise ValueError(
                f"load: data_dir={str(data_dir)!r}, but 'digits' is in the package, not in a folder"
            )
        images, labels = read_digits()
        rest, test = stratified_split(labels, DIGITS_HELD_OUT, split_generator(seed, "test"))
        parts = images[rest], labels[rest], images[test], labels[test]
        default = DIGITS_HELD_OUT
    else:
        parts = read_mnist(data_dir, download=download, progress=progress)
        default = MNIST_VALIDATION
    validation = default if validation is None else validation
    return build(name, *parts, class_names=DIGITS, size=size, validation=validation, seed=seed)
