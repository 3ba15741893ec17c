"""Batches: all images, in the right order, resumable in the middle of an epoch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minicnn.data import DataLoader, Split, batches


def numbered(n: int) -> Split:
    """A split whose image i is full of the number i, as is its label."""
    images = np.broadcast_to(np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1), (n, 1, 2, 2))
    return Split(images.copy(), np.arange(n))


def labels_of(pairs) -> list[list[int]]:
    """The labels of each batch, after a check that the images are those of the labels."""
    result = []
    for images, labels in pairs:
        assert images.dtype == np.float32
        assert labels.dtype == np.int64
        np.testing.assert_array_equal(images[:, 0, 1, 0], labels)
        result.append(labels.tolist())
    return result


def flat(pieces: list[list[int]]) -> list[int]:
    return [label for piece in pieces for label in piece]


@pytest.mark.parametrize("n", [0, 1, 6, 7])
@pytest.mark.parametrize("batch_size", [1, 2, 3, 10])
def test_batches_hold_everything_once(n: int, batch_size: int) -> None:
    pieces = labels_of(batches(numbered(n), batch_size))
    assert flat(pieces) == list(range(n))
    assert all(len(piece) == batch_size for piece in pieces[:-1])
    assert all(piece for piece in pieces)


def test_batches_in_an_order() -> None:
    order = np.array([6, 2, 2, 0, 5])
    assert labels_of(batches(numbered(7), 2, order=order)) == [[6, 2], [2, 0], [5]]
    assert labels_of(batches(numbered(7), 2, order=np.array([], int))) == []


@pytest.mark.parametrize(
    ("batch_size", "order", "error", "message"),
    [
        (0, None, ValueError, "batch_size is 0, but at least 1"),
        (-3, None, ValueError, "batch_size is -3"),
        (2.0, None, TypeError, r"batch_size is 2\.0, but an integer"),
        (True, None, TypeError, "batch_size is True"),
        (2, np.array([0.0, 1.0]), TypeError, "order has dtype float64"),
        (2, np.array([True, False, True]), TypeError, "order has dtype bool"),
        (2, np.array([[0, 1]]), ValueError, r"order has shape \(1, 2\)"),
        (2, np.array([0, 7]), ValueError, r"order holds indices 0\.\.7, but split has 7 images"),
        (2, np.array([-1, 3]), ValueError, r"order holds indices -1\.\.3"),
    ],
)
def test_bad_batches_are_refused_at_the_call(
    batch_size: int, order: np.ndarray | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        batches(numbered(7), batch_size, order=order)


@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 12),
    epoch=st.integers(0, 1000),
    seed=st.integers(0, 2**40),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    data=st.data(),
)
def test_an_epoch_can_be_taken_up_at_any_batch(
    n: int, batch_size: int, epoch: int, seed: int, shuffle: bool, drop_last: bool, data: st.DataObject
) -> None:
    if drop_last:
        batch_size = min(batch_size, n)
    options = {"shuffle": shuffle, "seed": seed, "drop_last": drop_last}
    loader = DataLoader(numbered(n), batch_size, **options)
    whole = labels_of(loader.epoch(epoch))
    assert len(whole) == len(loader)
    kept = n // batch_size * batch_size if drop_last else n
    seen = flat(whole)
    assert len(seen) == kept == len(set(seen))
    if not shuffle:
        assert seen == list(range(kept))

    start = data.draw(st.integers(0, len(loader)))
    another = DataLoader(numbered(n), batch_size, **options)
    assert labels_of(another.epoch(epoch, start=start)) == whole[start:]


def test_the_order_depends_on_seed_and_epoch_only() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return flat(labels_of(DataLoader(numbered(50), 8, shuffle=True, seed=seed).epoch(epoch)))

    loader = DataLoader(numbered(50), 8, shuffle=True, seed=3)
    fifth = labels_of(loader.epoch(5))
    labels_of(loader.epoch(6))
    assert labels_of(loader.epoch(5)) == fifth
    assert flat(fifth) == order(3, 5)
    assert len({tuple(order(seed, epoch)) for seed in range(4) for epoch in range(4)}) == 16


def test_a_shuffle_leaves_the_split_alone() -> None:
    split = numbered(9)
    for images, _ in DataLoader(split, 4, shuffle=True).epoch(0):
        images += 1
    np.testing.assert_array_equal(split.images, numbered(9).images)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: DataLoader(numbered(5), 0), ValueError, "batch_size is 0"),
        (lambda: DataLoader(numbered(5), "8"), TypeError, "batch_size is '8'"),
        (lambda: DataLoader(numbered(0), 4), ValueError, "split has 0 images, too few for one batch"),
        (lambda: DataLoader(numbered(5), 8, drop_last=True), ValueError, "split has 5 images, too few"),
        (lambda: DataLoader(numbered(5), 2).epoch(-1), ValueError, "epoch is -1"),
        (lambda: DataLoader(numbered(5), 2).epoch(0.5), TypeError, r"epoch is 0\.5"),
        (lambda: DataLoader(numbered(5), 2).epoch(0, start=-1), ValueError, "start is -1"),
        (lambda: DataLoader(numbered(5), 2).epoch(0, start=4), ValueError, "start=4, but an epoch has 3"),
        (lambda: DataLoader(numbered(5), 2, seed=-1), ValueError, "seed"),
        (lambda: DataLoader(numbered(5), 2, seed="x"), TypeError, "seed"),
        (lambda: iter(DataLoader(numbered(5), 2)), TypeError, "not iterable"),
    ],
)
def test_bad_loaders_are_refused_at_the_call(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()
