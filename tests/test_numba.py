"""What is particular to compiled kernels: threads, forks, scratch memory, repeatable sums."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import minicnn as mc
from minicnn import functional as F
from minicnn.kernels.numba.scratch import scratch

FORK = """
import os, sys
import minicnn as mc
mc.use("numba")
x = mc.ones(2, 3)
mc.functional.relu(x)
child = os.fork()
if child == 0:
    try:
        mc.functional.relu(x)
    except RuntimeError as error:
        print(error, flush=True)
        os._exit(0)
    os._exit(1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_is_told_what_to_do():
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "'spawn'" in done.stdout
    assert "minicnn.use('numpy')" in done.stdout


def step(seed):
    generator = mc.random.Generator(seed)
    x = mc.randn(2, 5, 9, 9, generator=generator, requires_grad=True)
    w = mc.randn(7, 5, 3, 3, generator=generator, requires_grad=True)
    F.conv2d(x, w, padding=1, stride=1 + seed % 2).relu().sum().backward()
    return x.grad, w.grad


def test_python_threads_do_not_disturb_each_other():
    with mc.use("numba"):
        alone = [step(seed) for seed in range(4)]
        together = [[] for _ in alone]

        def work(seed):
            for _ in range(10):
                together[seed].append(step(seed))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for expected, found in zip(alone, together, strict=True):
        assert len(found) == 10
        for gradients in found:
            assert all(np.array_equal(a, b) for a, b in zip(gradients, expected, strict=True))


def test_scratch_memory_is_used_again_and_grows():
    first = scratch("test", (4, 5), np.dtype(np.float32))
    again = scratch("test", (2, 10), np.dtype(np.float32))
    other = scratch("another", (4, 5), np.dtype(np.float32))
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, other)
    assert scratch("test", (100,), np.dtype(np.float32)).shape == (100,)
