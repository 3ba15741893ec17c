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
from types import ModuleType

LESSONS = (
    "neuron",
    "chain_rule",
    "finite_differences",
    "three_convolutions",
    "three_gradients",
    "pooling",
    "cross_entropy",
    "initialisation",
    "lenet",
    "alexnet",
    "vgg",
    "inception",
    "batch_norm",
    "residual",
    "transfer",
    "fast_kernels",
)
"""The modules in order; lesson 1 is the first."""


def lesson(number: int) -> ModuleType:
    """The module of a lesson; raises ValueError for a number that has none."""
    if not 1 <= number <= len(LESSONS):
        raise ValueError(f"lesson: number is {number}, but there are lessons 1 to {len(LESSONS)}")
    return importlib.import_module(f"minicnn.lessons.{LESSONS[number - 1]}")


def title(number: int) -> str:
    """The first line of a lesson."""
    return (lesson(number).__doc__ or "").splitlines()[0].removesuffix(".")
