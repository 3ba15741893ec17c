"""Batches made ahead: in order, bounded, with errors where they belong, and nothing left behind."""

import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from minicnn import data
from minicnn.data import DataLoader, Split, loader
from minicnn.data.ahead import ahead
from minicnn.data.augment import by_name


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("minicnn-data")]


@pytest.fixture(autouse=True)
def _nothing_left_behind():
    yield
    assert not threads()


class Maker:
    """Makes numbers slowly, the first ones slowest, and counts how many are made and waiting."""

    def __init__(self) -> None:
        self.begun: list[int] = []

    def __call__(self, item: int) -> int:
        self.begun.append(item)
        time.sleep(0.02 / (1 + item))
        if item == 13:
            raise data.DataError("13 is broken")
        return 10 * item


@pytest.mark.parametrize(("workers", "prefetch"), [(0, 0), (1, 0), (1, 3), (4, 0), (3, 2)])
def test_the_order_is_kept(workers: int, prefetch: int) -> None:
    assert list(ahead(Maker(), range(12), workers, prefetch)) == [10 * i for i in range(12)]
    assert list(ahead(Maker(), [], workers, prefetch)) == []


@pytest.mark.parametrize(("workers", "prefetch"), [(1, 0), (2, 2), (4, 1)])
def test_no_more_is_made_than_was_allowed(workers: int, prefetch: int) -> None:
    make = Maker()
    made = ahead(make, range(100), workers, prefetch)
    assert make.begun == []  # and nothing before the first is asked for
    for taken in range(1, 6):
        next(made)
        time.sleep(0.05)
        assert len(make.begun) == workers + prefetch + taken - 1
    made.close()
    begun = len(make.begun)
    assert not threads()
    time.sleep(0.05)
    assert len(make.begun) == begun


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_error_comes_where_its_result_would_have(workers: int) -> None:
    seen = []
    with pytest.raises(data.DataError, match="13 is broken"):  # noqa: PT012
        for item in ahead(Maker(), range(9, 99), workers, 2):
            seen.append(item)
    assert seen == [90, 100, 110, 120]


def test_work_goes_on_while_the_consumer_is_busy() -> None:
    begun = threading.Event()

    def make(item: int) -> int:
        if item == 1:
            begun.set()
        return item

    made = ahead(make, range(3), workers=1, prefetch=1)
    next(made)
    assert begun.wait(5)
    made.close()


def test_a_dropped_iterator_stops_its_threads() -> None:
    made = ahead(Maker(), range(100), 2, 2)
    next(made)
    del made
    assert not threads()


def test_an_interruption_stops_the_threads() -> None:
    def take() -> None:
        for item in ahead(Maker(), range(100), 2, 2):
            if item == 50:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take()


def test_the_interpreter_ends_in_the_middle_of_an_epoch() -> None:
    code = """
import numpy as np
from minicnn.data import DataLoader, Split, augment
split = Split(np.zeros((500, 1, 8, 8), np.float32), np.arange(500))
batches = DataLoader(split, 5, augment=augment.by_name("rotate"), workers=2).epoch(0)
print(len(next(batches)[1]))
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "5\n", "")


# ---- how many there are, unless told


def test_workers_are_there_where_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    in_memory = Split(np.zeros((8, 3, 4, 4), np.float32), np.arange(8) % 2)
    lazy = data.from_arrays(
        np.arange(384, dtype=np.uint8).reshape(8, 4, 4, 3), np.arange(8) % 2, test=2
    ).train
    for cores, wanted in ((1, 1), (2, 1), (4, 2), (64, 8)):
        monkeypatch.setattr(loader, "cores", lambda cores=cores: cores)
        assert DataLoader(in_memory, 2).workers == 0
        assert DataLoader(in_memory, 2, augment=by_name("none")).workers == 0
        assert DataLoader(in_memory, 2, augment=by_name("flip")).workers == wanted
        assert DataLoader(lazy, 2).workers == wanted
        assert DataLoader(lazy, 2, workers=5).workers == 5
    one, other = (list(data.batches(lazy, 3, workers=workers)) for workers in (0, 3))
    for (x, y), (x2, y2) in zip(one, other, strict=True):
        np.testing.assert_array_equal(x, x2)
        np.testing.assert_array_equal(y, y2)
