"""What is particular to compiled kernels: threads, forks, scratch memory, repeatable sums."""

import os
import platform
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from cases import normal

import minicnn as mc
from minicnn import functional as F
from minicnn import kernels
from minicnn.kernels import Window
from minicnn.kernels.numba.compiling import compiled, share
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


@compiled
def mark(core, both, step):
    first, (second,) = both
    for job in share(core, first.size):
        first[job] += step
        second[job] += core[0] + 1


@pytest.mark.parametrize("jobs", [0, 1, 2, 3, 100])
def test_every_job_is_done_once_and_neighbours_on_one_core(jobs):
    done, where = np.zeros(jobs, np.int64), np.zeros(jobs, np.int64)
    mark((done, (where,)), 7)
    assert (done == 7).all()
    assert (np.diff(where) >= 0).all()
    assert set(where) <= set(range(1, mc.get_num_threads() + 1))


@compiled
def reserve(core, numbers):
    memory = np.empty(numbers)
    for job in share(core, 1):
        memory[job] = 0


def test_a_kernel_that_finds_no_memory():
    reserve(10)
    with pytest.raises(MemoryError, match="reserve"):
        reserve(1 << 55)
    reserve(10)


def test_scratch_memory_is_used_again_and_grows():
    first = scratch("test", (4, 5), np.dtype(np.float32))
    again = scratch("test", (2, 10), np.dtype(np.float32))
    other = scratch("another", (4, 5), np.dtype(np.float32))
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, other)
    assert scratch("test", (100,), np.dtype(np.float32)).shape == (100,)


ROOT = Path(__file__).parent.parent
USE = """
import minicnn as mc
mc.use("numba")
mc.functional.relu(mc.ones(3))
mc.functional.tanh(mc.ones(3))
"""
NOWHERE = """
from numba.core import caching
caching.CacheImpl._locator_classes = []
"""


def words(code, folder=ROOT, **environment):
    """What a fresh process says on stderr."""
    known = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "MINICNN_QUIET")}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={**known, "PYTHONPATH": str(folder), **environment},
    )
    assert done.stdout == ""
    return done.stderr.splitlines()


DEFAULT = """
import minicnn as mc
with mc.trace() as ran:
    mc.functional.relu(mc.ones(3))
assert ran == [("relu.forward", "numba", "one_pass")], ran
"""


def test_what_is_not_said_is_numba(monkeypatch):
    monkeypatch.delenv("MINICNN_BACKEND")
    words(DEFAULT)
    with pytest.raises(subprocess.CalledProcessError):
        words(DEFAULT, MINICNN_BACKEND="numpy")


def test_the_first_process_says_that_it_compiles(tmp_path):
    first, second = (words(USE, NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(2))
    assert len(first) == 1
    assert first[0].startswith("minicnn: compiling kernels for this machine")
    assert first[0].endswith("once")
    assert second == []


BITS = """
import sys, zlib
import numpy as np
import minicnn as mc
from minicnn.kernels.numba.norm import batch_norm_training
x, shortcut = mc.randn(2, 4, 16, 16).numpy(), mc.randn(2, 4, 16, 16).numpy()
w, b = mc.randn(4).numpy(), mc.randn(4).numpy()
y, *_ = batch_norm_training(x, w, b, 1e-5, shortcut, (0, np.inf))
print(zlib.crc32(y.tobytes()), file=sys.stderr)
"""


def test_the_process_that_compiles_computes_the_same_bits(tmp_path):
    first, second = (words(BITS, NUMBA_CACHE_DIR=str(tmp_path))[-1] for _ in range(2))
    assert first == second


def test_without_a_folder_to_write_to():
    (line,) = words(NOWHERE + USE)
    assert line.startswith("minicnn: compiling kernels for this machine")
    assert line.endswith("set NUMBA_CACHE_DIR to a folder that can be written to")
    assert words(NOWHERE + USE, MINICNN_QUIET="1") == []


FULL = """
import errno, io, os
from numba.core import caching

def full(self, text):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

class Full(io.BufferedWriter):
    write = full

def opened(name, mode, open=open):
    return Full(io.FileIO(name, mode)) if "w" in mode else open(name, mode)

caching.open = opened
"""


def test_a_disk_that_is_full(tmp_path):
    said = words(FULL + USE, NUMBA_CACHE_DIR=str(tmp_path))
    assert len(said) == 2
    assert "minicnn: compiled kernels cannot be kept in" in said[1]
    assert "No space left" in said[1]
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(words(USE, NUMBA_CACHE_DIR=str(tmp_path))) == 1
    assert words(USE, NUMBA_CACHE_DIR=str(tmp_path)) == []


def test_what_a_kernel_imports_may_change(tmp_path):
    for name in ("minicnn", "kernels", "models"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    words(USE, tmp_path)
    with (tmp_path / "kernels" / "numba" / "pool.py").open("a") as file:
        file.write("# not imported by element-wise kernels\n")
    assert words(USE, tmp_path) == []
    with (tmp_path / "kernels" / "numba" / "exponential.py").open("a") as file:
        file.write("# inlined into tanh\n")
    assert len(words(USE, tmp_path)) == 1


FRESH_PAGES = """
import resource
import numpy as np
import minicnn as mc
mc.use("numba")
mc.functional.relu(mc.ones(3))
def step():
    arrays = [np.ones(1 << 18, np.float32) for _ in range(8)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
step()
first = step()
print(max(step() for _ in range(10)) - first)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is told to keep memory")
def test_freed_memory_is_kept():
    """Eight megabytes, ten times: 20,000 pages of 4 KiB if each time they were fresh."""
    known = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_", "LD_PRELOAD"))}
    done = subprocess.run(
        [sys.executable, "-c", FRESH_PAGES], capture_output=True, text=True, check=True, env=known
    )
    assert int(done.stdout) < 1000


# Depthwise: vectors read over the ends of rows and planes


def depthwise(backend, part, a, b, shape, stride):
    window = Window((3, 3), (stride, stride), ((1, 1), (1, 1)), groups=3)
    with mc.use(backend, conv2d="depthwise" if backend == "numba" else "taps"):
        return kernels.run(f"conv2d.{part}", a, b, shape, window)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(5, 3), (9, 14), (6, 33)])
def test_depthwise_takes_nothing_from_neighbours(size, stride):
    """A NaN reaches the results whose windows meet it, and no others, not even where vectors read it."""
    x, w = normal("x", (2, 3, *size)), normal("w", (3, 1, 3, 3))
    y = depthwise("numpy", "forward", x, w, None, stride)
    spoilt = [x.copy(), y.copy()]
    for image in spoilt:
        image[:, 1] = image[1, 2, 1, -1] = image[0, 2, 2, 0] = np.nan
    for part, clean, dirty in [
        ("forward", (x, w, None), (spoilt[0], w, None)),
        ("grad_input", (y, w, x.shape), (spoilt[1], w, x.shape)),
        ("grad_weight", (y, x, w.shape), (y, spoilt[0], w.shape)),
        ("grad_weight", (y, x, w.shape), (spoilt[1], x, w.shape)),
    ]:
        result, wanted = (depthwise(backend, part, *dirty, stride) for backend in ("numba", "numpy"))
        reached = np.isnan(wanted)
        assert reached.any()
        assert not reached.all()
        np.testing.assert_array_equal(np.isnan(result), reached)
        unspoilt = depthwise("numba", part, *clean, stride)
        np.testing.assert_array_equal(result[~reached], unspoilt[~reached])
