"""What all tests share: fixed random numbers, kernels as they were, and GPU tests skipped visibly."""

import numpy as np
import pytest
from hypothesis import settings

import minicnn as mc
from minicnn import backend

# Every run draws the same examples: a test that fails on one machine fails on all.
settings.register_profile("fixed", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("fixed")


def pytest_runtest_setup(item):
    if item.get_closest_marker("gpu") and "cuda" not in backend.DEVICES:
        pytest.skip("needs an NVIDIA GPU")


@pytest.fixture(autouse=True)
def _same_start():
    """Each test begins with seed 0 and leaves the choice of kernels as it found it."""
    mc.manual_seed(0)
    with mc.use(backend.backend_of(np.empty(0))):
        yield
