"""What all tests share: fixed random numbers, kernels as they were, and GPU tests skipped visibly.

They run on the reference kernels, which need no compiling, unless MINICNN_BACKEND names others.
"""

import os

import numpy as np
import pytest
from hypothesis import settings

import minicnn as mc
from minicnn import backend

# Every run draws the same examples: a test that fails on one machine fails on all.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("fixed")

if backend.BACKEND_VARIABLE not in os.environ:
    os.environ[backend.BACKEND_VARIABLE] = "numpy"  # for the processes that tests start
    mc.use("numpy")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and "cuda" not in backend.DEVICES:
        pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def _same_start():
    """Each test begins with seed 0 and leaves the choice of kernels as it found it."""
    mc.manual_seed(0)
    with mc.use(backend.backend_of(np.empty(0))):
        yield
