"""What all tests share: fixed random numbers, kernels as they were, and GPU tests skipped visibly.

They run on the reference kernels, which need no compiling, unless MINICNN_BACKEND names others. With "cuda"
the tensors of all tests are made on the GPU, or without one on the emulated GPU.
"""

import contextlib
import importlib
import importlib.util
import os
from collections.abc import Iterator

import pytest
from emulator import use
from emulator.stand_ins import stand_ins
from http_server import Server
from hypothesis import settings

import minicnn as mc
from minicnn import backend, cli

# Every run draws the same examples: a test that fails on one machine fails on all.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("fixed")

_until_the_end = contextlib.ExitStack()
if os.environ.setdefault(backend.BACKEND_VARIABLE, "numpy") == "cuda":
    os.environ[backend.BACKEND_VARIABLE] = "numpy"  # for the processes that tests start: they emulate nothing
    _until_the_end.enter_context(use.gpu())
else:
    mc.use(os.environ[backend.BACKEND_VARIABLE])


def pytest_configure(config):
    """With `-n`, processes share the cores: a thread that waits is to sleep, for another one's to compute."""
    if config.getoption("numprocesses", None):
        os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # which the processes inherit


def pytest_report_header():
    """What the tests that need a GPU run on."""
    return (
        f"tests of the GPU: on the {use.kind()}" if use.kind() else f"tests of the GPU: none, {use.MISSING}"
    )


def pytest_unconfigure():
    """Take the emulated GPU away."""
    _until_the_end.close()


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and use.kind() != "GPU":
        pytest.skip("needs an NVIDIA GPU")


GPU = pytest.param("GPU", marks=pytest.mark.gpu) if use.kind() == "GPU" else pytest.param("emulated")


@pytest.fixture(params=[GPU])
def gpu(request):
    """CuPy, real or emulated, with the reference in place of its kernels: for what is around them.

    New tensors are made on the CPU, as long as nothing else is said, whichever device the other tests are on.
    """
    with use.gpu() as cupy, stand_ins(), mc.use(backend.cpu_backend()):
        yield cupy


@pytest.fixture(autouse=True)
def _same_start():
    """Each test begins with seed 0 and leaves the choice of kernels as it found it."""
    mc.manual_seed(0)
    with mc.use(backend.current_backend()):
        yield


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A web server on this machine."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")
    server = Server()
    yield server
    server.close()


@pytest.fixture
def run(capsys):
    """Run a command; return its exit code and what it printed on stdout and stderr."""

    def call(*arguments):
        code = cli.main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="module")
def torchvision():
    """torchvision.models.

    A torchvision built for another PyTorch cannot load its own operators, and fails where it describes them.
    No network here needs them, so it is enough to declare them.
    """
    torch = pytest.importorskip("torch")
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed")
    try:
        models = importlib.import_module("torchvision.models")
    except RuntimeError:
        arguments = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", arguments)
        models = importlib.import_module("torchvision.models")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # two pools of threads that wait for each other take longer than one
    yield models
    torch.set_num_threads(threads)
