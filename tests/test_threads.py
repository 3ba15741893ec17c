"""How many threads compute: the number holds for Numba and BLAS, everywhere, and changes no result."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from numba import get_num_threads as numba_threads
from numba import set_num_threads as set_numba_threads
from threadpoolctl import threadpool_info, threadpool_limits

import minicnn as mc
from minicnn import functional as F
from minicnn.kernels import threads
from minicnn.kernels.numba.compiling import compiled, share


def blas_threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def _as_before(monkeypatch):
    monkeypatch.setattr(threads, "_chosen", None)
    with threadpool_limits(None):
        yield


pytestmark = pytest.mark.filterwarnings('ignore:Cannot cache compiled function "count"')

two = pytest.mark.skipif(threads.most() < 2, reason="this process has a single core")


@compiled
def count(core, found):
    for index in share(core, found.size):
        found[index] = numba_threads()


def threads_of_a_kernel():
    found = np.zeros(4, np.int64)
    count(found)
    assert len(set(found)) == 1
    return int(found[0])


@pytest.mark.parametrize("number", [0, -1, 10_000])
def test_a_number_that_no_machine_has(number):
    with pytest.raises(ValueError, match=rf"set_num_threads: number is {number}, but 1 to \d+ is expected"):
        mc.set_num_threads(number)


@pytest.mark.parametrize("number", [1.0, "2", None, True])
def test_no_whole_number(number):
    with pytest.raises(TypeError, match=f"set_num_threads: number is {number!r}, but a whole number"):
        mc.set_num_threads(number)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_what_was_set_is_what_is_told(backend):
    with mc.use(backend):
        for number in {1, threads.most()}:
            mc.set_num_threads(np.int64(number))
            assert mc.get_num_threads() == number


def test_before_anything_is_set():
    with mc.use("numba"):
        assert mc.get_num_threads() == threads_of_a_kernel()
    with mc.use("numpy"), threadpool_limits(1, user_api="blas"):
        assert mc.get_num_threads() == 1


@two
def test_blas_and_kernels_follow():
    for number in (1, 2):
        mc.set_num_threads(number)
        assert blas_threads() <= {number}
        assert threads_of_a_kernel() == number


@two
def test_every_python_thread_follows():
    found = []
    mc.set_num_threads(1)
    for number in (1, 2, 1):
        mc.set_num_threads(number)
        worker = threading.Thread(target=lambda: found.append(threads_of_a_kernel()))
        worker.start()
        worker.join()
    assert found == [1, 2, 1]


@two
def test_what_numba_was_told_stays_and_is_a_bound_as_well():
    mc.set_num_threads(1)
    threads_of_a_kernel()
    assert numba_threads() == threads.most()
    mc.set_num_threads(2)
    set_numba_threads(1)
    try:
        assert threads_of_a_kernel() == 1
    finally:
        set_numba_threads(threads.most())


@pytest.mark.parametrize(
    ("given", "looks", "left"),
    [
        ({}, "10000", "None"),
        ({"OMP_WAIT_POLICY": "passive"}, "0", "None"),
        ({"GOMP_SPINCOUNT": "77"}, "77", "77"),
    ],
)
def test_waiting_threads_soon_sleep_unless_the_environment_says_otherwise(given, looks, left):
    """And what is set for them is gone for the programs that are begun from here."""
    code = "import os, minicnn.kernels.numba; print('left', os.environ.get('GOMP_SPINCOUNT'))"
    environment = {k: v for k, v in os.environ.items() if k not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    environment |= {"OMP_DISPLAY_ENV": "verbose", **given}
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert found.stdout == f"left {left}\n"
    if "GOMP_SPINCOUNT" not in found.stderr:
        pytest.skip("Numba's threads are not those of GNU's OpenMP here")
    assert f"GOMP_SPINCOUNT = '{looks}'" in found.stderr


def test_numba_is_not_loaded_for_it_and_follows_when_it_is():
    code = """
import sys
import minicnn as mc
mc.set_num_threads(1)
print(mc.get_num_threads(), "numba" in sys.modules)
limit = mc.kernels.threads.most()
import numba
print(limit == numba.config.NUMBA_NUM_THREADS == 3)
try:
    mc.set_num_threads(4)
except ValueError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "3"},
    )
    assert done.stderr == ""
    assert done.stdout.splitlines()[:2] == ["1 False", "True"]
    assert "NUMBA_NUM_THREADS" in done.stdout.splitlines()[2]


CASES = [  # x's shape, w's, groups, and which algorithm for which passes
    ((3, 8, 17, 15), (20, 8, 5, 3), 1, {"conv2d": "direct"}),
    ((4, 16, 38, 38), (16, 16, 3, 3), 1, {"conv2d": "winograd"}),
    ((4, 16, 38, 38), (16, 16, 3, 3), 1, {"conv2d": "winograd2"}),
    ((3, 6, 17, 15), (12, 1, 3, 3), 6, {"conv2d": "depthwise"}),
    ((3, 20, 17, 15), (9, 20, 1, 1), 1, {"conv2d.forward": "pointwise", "conv2d.grad_input": "pointwise"}),
]


def three_passes(x_shape, w_shape, groups, algorithms):
    generator = mc.random.Generator(7)
    x, w = (mc.tensor(generator.normal(s, 0, 1, np.float32), requires_grad=True) for s in (x_shape, w_shape))
    with mc.use("numba", algorithms), mc.trace() as ran:
        y = F.conv2d(x, w, padding=w_shape[2] // 2, groups=groups)
        y.backward(generator.normal(y.shape, 0, 1, np.float32))
    assert {one.algorithm for one in ran} >= set(algorithms.values())
    return y.data, x.grad, w.grad


@two
@pytest.mark.parametrize("case", CASES, ids=lambda case: next(iter(case[3].values())))
def test_results_do_not_depend_on_the_number(case):
    before = three_passes(*case)
    mc.set_num_threads(1)
    after = three_passes(*case)
    set_numba_threads(1)  # which kernels see when they choose how much to do at a time
    try:
        alone = three_passes(*case)
    finally:
        set_numba_threads(threads.most())
    for a, b, c in zip(before, after, alone, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a, c)
