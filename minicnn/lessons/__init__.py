"""The lessons: a path from one neuron to fast kernels, each a short script that
prints and draws.

A lesson is a module whose docstring says what it is about and whose
``main(draw)`` computes, prints and draws, with nothing but what a user of
minicnn has. Read its source beside its output; change it and run it again:

    minicnn lesson 4

>>> len(LESSONS), title(1)
(16, 'A neuron, and its gradient by hand')
"""

import importlib
from pathlib import Path
from types import ModuleType

from minicnn import use
from minicnn.lessons.drawing import Sketchbook

LESSONS = {
    "neuron": "numpy",
    "chain_rule": "numpy",
    "finite_differences": "numpy",
    "three_convolutions": "numpy",
    "three_gradients": "numpy",
    "pooling": "numpy",
    "cross_entropy": "numpy",
    "initialisation": "numpy",
    "lenet": "numba",
    "alexnet": "numba",
    "vgg": "numpy",
    "inception": "numpy",
    "batch_norm": "numpy",
    "residual": "numba",
    "transfer": "numba",
    "fast_kernels": "numba",
}
"""The modules in order, lesson 1 first, and the kernels that they run on: compiled ones where they pay."""


def run(number: int, folder: Path) -> None:
    """Run a lesson; its pictures go to the folder."""
    with use(LESSONS[list(LESSONS)[number - 1]]):
        lesson(number).main(Sketchbook(folder, f"lesson-{number:02}"))


def lesson(number: int) -> ModuleType:
    """The module of a lesson; raises ValueError for a number that has none."""
    if not 1 <= number <= len(LESSONS):
        raise ValueError(f"lesson: number is {number}, but there are lessons 1 to {len(LESSONS)}")
    return importlib.import_module(f"minicnn.lessons.{list(LESSONS)[number - 1]}")


def title(number: int) -> str:
    """The first line of a lesson."""
    return (lesson(number).__doc__ or "").splitlines()[0].removesuffix(".")
