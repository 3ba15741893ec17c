"""Stratified splits, random numbers of each image's own, and labels as one-hot rows."""

import numpy as np

from minicnn.kernels.numpy.philox import philox4x32, uniform_float32
from minicnn.random import Generator


def split_generator(seed: int, purpose: str) -> Generator:
    """The generator that draws one split (`purpose` is its name) of the data set loaded with `seed`.

    Each has a stream of its own, apart also from those that shuffle the epochs with the same seed.

    >>> split_generator(0, "test").seed == split_generator(0, "validation").seed
    False
    """
    return Generator(seed).fork(*b"split:" + purpose.encode("ascii"))


def stratified_split(
    labels: np.ndarray, part: int | float, generator: Generator, *, name: str = "part"
) -> tuple[np.ndarray, np.ndarray]:
    """Divide the indices of `labels` into those that stay and those that are drawn.

    `part` is how many to draw, as a count (int) or as a fraction of all (float, in 0..1, rounded to
    the nearest count).  Every class gives its proportion: with n_c of the N labels, class c gives
    part · n_c / N rounded down or up, rounded up where the remainder is largest, so that the sum is
    exact.  Who is drawn within a class is decided by `generator`; `name` is what errors call `part`.

    Shapes: labels (N,); the two results together hold 0..N-1 once each, both ascending, int64.

    Raises TypeError when `part` is no number, ValueError when it is negative or would leave none.

    >>> stay, drawn = stratified_split(np.array([0, 0, 0, 0, 1, 1, 1, 1]), 0.5, Generator(0))
    >>> np.bincount(np.array([0, 0, 0, 0, 1, 1, 1, 1])[drawn]).tolist()
    [2, 2]
    >>> sorted([*stay.tolist(), *drawn.tolist()])
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    total = len(labels)
    count = _count(part, total, name)
    classes, sizes = np.unique(labels, return_counts=True)
    exact = count * sizes  # of `total` parts each, so that all of this is integer arithmetic
    quota = exact // total
    largest_remainders = np.argsort(-(exact % total), kind="stable")[: count - quota.sum()]
    quota[largest_remainders] += 1

    drawn = np.zeros(total, bool)
    for label, wanted in zip(classes, quota, strict=True):
        members = np.flatnonzero(labels == label)
        drawn[members[generator.permutation(len(members))[:wanted]]] = True
    return np.flatnonzero(~drawn), np.flatnonzero(drawn)


def _count(part: int | float, total: int, name: str) -> int:
    if isinstance(part, bool) or not isinstance(part, int | float | np.integer | np.floating):
        raise TypeError(f"{name} is {part!r}, but a count (int) or a fraction (float) is expected")
    if isinstance(part, float | np.floating) and not 0 <= part < 1:
        raise ValueError(f"{name}={part} is not a fraction: at least 0 and below 1 is expected")
    count = round(part * total) if isinstance(part, float | np.floating) else int(part)
    if not 0 <= count < total:
        raise ValueError(f"{name}={part} of {total} images: at least 0 and at most {total - 1} are expected")
    return count


def own_numbers(generator: Generator, indices: np.ndarray, count: int) -> np.ndarray:
    """`count` uniform numbers in [0, 1) for each of the images at `indices`, whoever else is in the batch.

    Image i takes its words from the blocks i·b .. i·b + b - 1 of the generator's stream, b = ⌈count / 4⌉, so
    that its numbers are a function of the generator's seed and of i alone: any worker can draw them.

    Shapes: indices (n,), the result (n, count).  Dtype: float32.

    >>> all_three = own_numbers(Generator(0), np.array([4, 0, 9]), 6)
    >>> bool((own_numbers(Generator(0), np.array([9]), 6) == all_three[2]).all())
    True
    """
    blocks = -(-count // 4)
    first = np.asarray(indices, np.uint64) * np.uint64(blocks)
    block = np.add.outer(first, np.arange(blocks, dtype=np.uint64)).ravel()
    zero = np.zeros_like(block)
    counter = np.stack([block & np.uint64(0xFFFFFFFF), block >> np.uint64(32), zero, zero])
    words = philox4x32(counter, (generator.seed & 0xFFFFFFFF, generator.seed >> 32))
    return uniform_float32(words.T.reshape(len(indices), 4 * blocks)[:, :count])


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels as rows that are 1 in the label's column and 0 elsewhere: y[n, c] = 1 if labels[n] = c.

    Shapes: (N,) to (N, classes).  Dtypes: any integers to float32, ready to be a cross-entropy target
    (where PyTorch's ``one_hot`` gives integers).

    Raises TypeError for labels that are no integers, ValueError for another shape, labels out of
    range, and `classes` below one.

    >>> one_hot(np.array([2, 0]), 3)
    array([[0., 0., 1.],
           [1., 0., 0.]], dtype=float32)
    """
    labels = np.asarray(labels)
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"one_hot: labels has dtype {labels.dtype}, but integers are expected")
    if labels.ndim != 1:
        raise ValueError(f"one_hot: labels has shape {labels.shape}, but (N,) is expected")
    if classes < 1:
        raise ValueError(f"one_hot: classes={classes}, but at least 1 is expected")
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        position = int(np.argmax(wrong))
        raise ValueError(
            f"one_hot: labels[{position}] is {labels[position]}, but 0..{classes - 1} are expected"
        )
    y = np.zeros((len(labels), classes), np.float32)
    y[np.arange(len(labels)), labels] = 1
    return y
