"""Batches of a split, in an order that can be taken up again in the middle, made ahead of the training."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from minicnn.data.ahead import ahead
from minicnn.data.augment import Compose
from minicnn.data.dataset import Batch, Split
from minicnn.data.pixels import Pixels
from minicnn.data.sampling import own_numbers
from minicnn.kernels.threads import cores
from minicnn.random import Generator

Piece = slice | np.ndarray
"""Which images make a batch."""

PREFETCH = 2
"""Batches that lie ready beside those that are being made."""

MOST_WORKERS = 8
"""Threads that are begun unasked, at the most."""


def batches(
    split: Split, batch_size: int, *, order: np.ndarray | None = None, workers: int | None = None
) -> Iterator[Batch]:
    """Images and labels of `split`, `batch_size` at a time; the last batch may be smaller.

    `order` holds the indices to go through, and may leave some out or repeat some; without it the
    split is gone through as it stands, and the batches of an array are views into it rather than copies.
    `workers` is as for :class:`DataLoader`.

    Shapes: images (n, C, H, W), labels (n,) with n ≤ batch_size.  Dtypes: float32 and int64.

    Raises, at the call, TypeError when `batch_size` or `order` are no integers, ValueError when
    `batch_size` is below one, `order` is not one-dimensional, or an index is out of range.  At a batch with a
    file that is broken: :class:`DataError`, with its name.

    >>> split = Split(np.zeros((5, 1, 2, 2), np.float32), np.arange(5))
    >>> [labels.tolist() for images, labels in batches(split, 2)]
    [[0, 1], [2, 3], [4]]
    >>> [labels.tolist() for images, labels in batches(split, 2, order=np.array([4, 1, 0]))]
    [[4, 1], [0]]
    """
    _check_count("batches: batch_size", batch_size, at_least=1)
    workers = _workers("batches", workers, split, None)
    if order is None:
        return ahead(split.read, _slices(0, len(split), batch_size), workers, PREFETCH)
    order = np.asarray(order)
    if order.size and not np.issubdtype(order.dtype, np.integer):
        raise TypeError(f"batches: order has dtype {order.dtype}, but integers are expected")
    if order.ndim != 1:
        raise ValueError(f"batches: order has shape {order.shape}, but one dimension is expected")
    if order.size and not 0 <= order.min() <= order.max() < len(split):
        raise ValueError(
            f"batches: order holds indices {order.min()}..{order.max()}, but split has {len(split)} images"
        )
    pieces = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return ahead(split.read, pieces, workers, PREFETCH)


class DataLoader:
    """Batches of a split, epoch after epoch, shuffled anew in each of them.

    The order of epoch e is a pure function of (`seed`, e): a training that stopped after k batches of
    epoch e goes on with ``loader.epoch(e, start=k)`` and sees exactly what it would have seen.  This
    is also why a loader is not iterable by itself, unlike PyTorch's: it would not know its epoch.

    ``len(loader)`` is the number of batches in an epoch.  The last batch holds what remains, unless
    `drop_last` leaves it out.

    `augment` changes each image by random numbers that are a function of (`seed`, epoch, the image's place in
    the split) and of nothing else.  `workers` threads make batches while the training is busy with others; 0
    makes each when it is asked for.  Unless told, there are as many as half the cores, at least one, where
    images are decoded or augmented, and none where rows are only taken from an array.  Their number changes
    nothing but the speed.  `workers` + `prefetch` batches at most are in memory.

    Raises TypeError and ValueError for a `batch_size` that is no integer or below one, for a `seed` that is
    none (0 .. 2**64 - 1 are), and for `workers` and `prefetch` below zero; ValueError when `split` has too
    few images for a single batch, or is held out and is to be augmented.  At a batch with a file that is
    broken: :class:`DataError`, with its name.

    >>> split = Split(np.zeros((5, 1, 2, 2), np.float32), np.arange(5))
    >>> loader = DataLoader(split, 2, shuffle=True, seed=1)
    >>> len(loader)
    3
    >>> whole = [labels.tolist() for images, labels in loader.epoch(7)]
    >>> sorted(sum(whole, []))
    [0, 1, 2, 3, 4]
    >>> [labels.tolist() for images, labels in loader.epoch(7, start=1)] == whole[1:]
    True
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        *,
        shuffle: bool = False,
        seed: int = 0,
        drop_last: bool = False,
        augment: Compose | None = None,
        workers: int | None = None,
        prefetch: int = PREFETCH,
    ) -> None:
        _check_count("DataLoader: batch_size", batch_size, at_least=1)
        _check_count("DataLoader: prefetch", prefetch, at_least=0)
        if augment is not None and not isinstance(augment, Compose):
            raise TypeError(
                f"DataLoader: augment is {type(augment).__name__}, but augment.Compose is expected"
            )
        if augment is not None and split.held_out:
            raise ValueError("DataLoader: split is held out for validation or testing: it is never augmented")
        if augment is not None and augment.framing and split.images.shape[2] != split.images.shape[3]:
            raise ValueError(
                f"DataLoader: {augment.framing!r} makes square images, but those of split have shape "
                f"{split.images.shape[1:]}"
            )
        self.split = split
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.augment = augment if augment is not None and augment.transforms else None
        self.workers = _workers("DataLoader", workers, split, self.augment)
        self.prefetch = prefetch
        self._generator = Generator(seed)
        if len(self) == 0:
            raise ValueError(
                f"DataLoader: split has {len(split)} images, too few for one batch "
                f"(batch_size={batch_size}, drop_last={drop_last})"
            )

    def __len__(self) -> int:
        whole, rest = divmod(len(self.split), self.batch_size)
        return whole + (rest > 0 and not self.drop_last)

    def order(self, epoch: int) -> np.ndarray | None:
        """The order in which `epoch` takes the images; None stands for the order they have.

        >>> split = Split(np.zeros((5, 1, 2, 2), np.float32), np.arange(5))
        >>> DataLoader(split, 2).order(3) is None
        True
        """
        _check_count("DataLoader: epoch", epoch, at_least=0)
        if not self.shuffle:
            return None
        return self._generator.fork(epoch).permutation(len(self.split))

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of `epoch` from batch number `start` on (none, where that is ``len(loader)``).

        Raises ValueError when `epoch` or `start` is negative, or `start` is beyond the end.

        >>> split = Split(np.zeros((5, 1, 2, 2), np.float32), np.arange(5))
        >>> [labels.tolist() for images, labels in DataLoader(split, 2, drop_last=True).epoch(0, start=1)]
        [[2, 3]]
        """
        _check_count("DataLoader: start", start, at_least=0)
        if start > len(self):
            raise ValueError(f"DataLoader: start={start}, but an epoch has {len(self)} batches")
        first, end = start * self.batch_size, min(len(self) * self.batch_size, len(self.split))
        order = self.order(epoch)
        pieces: Sequence[Piece] = (
            _slices(first, end, self.batch_size)
            if order is None
            else [order[at : min(at + self.batch_size, end)] for at in range(first, end, self.batch_size)]
        )
        read = partial(self._read, self._generator.fork(epoch, *b"augment"))
        return ahead(read, pieces, self.workers, self.prefetch)

    def _read(self, generator: Generator, piece: Piece) -> Batch:
        """One batch; any thread may make it."""
        if self.augment is None:
            return self.split.read(piece)
        indices = np.arange(piece.start, piece.stop) if isinstance(piece, slice) else piece
        return self.split.augmented(piece, self.augment, own_numbers(generator, indices, self.augment.draws))


def _slices(first: int, end: int, batch_size: int) -> list[Piece]:
    """The images first..end-1 as they stand."""
    return [slice(start, min(start + batch_size, end)) for start in range(first, end, batch_size)]


def _workers(caller: str, workers: int | None, split: Split, augment: Compose | None) -> int:
    """How many threads, where that was not told."""
    if workers is not None:
        _check_count(f"{caller}: workers", workers, at_least=0)
        return workers
    busy = augment is not None or isinstance(split.images, Pixels)
    return min(max(1, cores() // 2), MOST_WORKERS) if busy else 0


def _check_count(name: str, value: int, *, at_least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} is {value!r}, but an integer is expected")
    if value < at_least:
        raise ValueError(f"{name} is {value}, but at least {at_least} is expected")
