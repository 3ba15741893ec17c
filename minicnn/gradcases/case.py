"""One row of the table: a function, what its inputs are drawn from, and which kernels must compute it."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend, kernels, nn, random
from minicnn.autograd import Array
from minicnn.gradcheck import gradcheck
from minicnn.kernels import Ran
from minicnn.tensor import tensor

Draw = Callable[[random.Generator], Any]

# A network has hundreds of maxima, and one in ten draws puts one of them so near its kink that differences
# mean nothing. Such a draw proves nothing, and another one is tried; a wrong gradient fails at once.
ATTEMPTS = 5


class Row(NamedTuple):
    """What came of a case.

    ``algorithm`` names the kernels that ran, as "numpy:im2col"; empty where the operation needs none, and
    "several" where a network needs many.
    ``error`` is the worst relative error, infinite where the check could not be made; ``detail`` says
    where it was, or what went wrong.
    """

    operation: str
    algorithm: str
    case: str
    error: float
    ok: bool
    detail: str


@dataclass(frozen=True)
class Case:
    """A function and its inputs.

    Attributes:
        operation: the name that selects it.
        description: what is special about this one.
        fn: takes the inputs, then the module's parameters if there is a module, and returns one tensor.
        inputs: a Draw for each input to be checked; anything else is handed over as it is.
        parts: the operations in the kernel registry whose every algorithm is to be tried; where None, those
            that begin with the name, as "relu.forward" and "relu.backward" for "relu".
        kernels: the kernels that must have computed the parts, once an algorithm has been chosen.
        module: makes the layer or network which fn applies (its first argument then).
        training: whether the module is in training mode.
    """

    operation: str
    description: str
    fn: Callable[..., Any]
    inputs: tuple[Any, ...]
    parts: tuple[str, ...] | None = None
    kernels: tuple[Ran, ...] = ()
    module: Callable[[], nn.Module] | None = None
    training: bool = True

    def on_each_algorithm(self) -> list[Case]:
        """This case once for every algorithm that is registered for its parts."""
        families: dict[tuple[str, str], list[Ran]] = {}
        for ran in kernels.registered():
            own = ran.operation.partition(".")[0] == self.operation
            if own if self.parts is None else ran.operation in self.parts:
                families.setdefault((ran.backend, ran.algorithm), []).append(ran)
        return [replace(self, kernels=tuple(family)) for family in families.values()] or [self]

    def build(self, seed: int, attempt: int = 0) -> tuple[Callable[..., Any], tuple[Any, ...], list[str]]:
        """The function to check, its inputs, and what to call them."""
        own_key = zlib.crc32(f"{self.operation}: {self.description}".encode())
        generator = random.Generator(seed).fork(own_key, attempt)
        inputs = tuple(value(generator) if callable(value) else value for value in self.inputs)
        if self.module is None:
            return self.fn, inputs, [""] * len(inputs)
        random.manual_seed(generator.seed)  # which draws the module's weights
        module = self.module().double().train(self.training)
        spread_vectors(module, generator)
        parameters = dict(module.named_parameters())

        def fn(*values: Any) -> Any:
            random.manual_seed(seed)  # dropout must draw one mask at every call
            return self.fn(module, *values[: len(inputs)])

        return fn, (*inputs, *parameters.values()), [""] * len(inputs) + list(parameters)

    def check(self, mode: str = "directional", seed: int = 0) -> Row | None:
        """Run the check. What goes wrong on the way is a row that failed, too.

        None where the kernel is for other arguments than this case's, and did not run.
        """
        wanted = dict.fromkeys(self.parts or (), "auto") | {
            ran.operation: ran.algorithm for ran in self.kernels
        }
        chosen = kernels.use(self.kernels[0].backend, wanted) if self.kernels else nullcontext()
        with own_random_numbers(), chosen, kernels.trace() as trace:
            try:
                for attempt in range(ATTEMPTS):
                    fn, inputs, names = self.build(seed, attempt)
                    report = gradcheck(fn, inputs, mode=mode, seed=seed, raise_exception=False)
                    if not report.kink:
                        break
            except Exception as problem:
                return self.row(trace, np.inf, False, f"{type(problem).__name__}: {problem}")
        if strange := self.unexpected(trace):
            return self.row(trace, np.inf, False, strange)
        if self.kernels and not any(kernel in trace for kernel in self.kernels):
            return None
        report = replace(report, name=names[report.input])
        return self.row(trace, report.error, report.ok, str(report))

    def row(self, trace: list[Ran], error: float, ok: bool, detail: str) -> Row:
        """A row; the algorithm is the one that was asked for, else whatever ran."""
        ran = dict.fromkeys(f"{ran.backend}:{ran.algorithm}" for ran in self.kernels or trace)
        algorithm = ", ".join(ran) if len(ran) < 3 else "several"
        return Row(self.operation, algorithm, self.description, error, ok, detail)

    def unexpected(self, trace: list[Ran]) -> str:
        """Which of the kernels did not run, or what ran in place of one; empty if all is as it should be.

        In place of a kernel that is for some arguments only, another may have run.
        """
        for kernel in self.kernels:
            ran = {other for other in trace if other.operation == kernel.operation}
            if ran != {kernel} and not (ran and kernels.for_some(kernel)):
                return f"{kernel} should have run, but what ran is {', '.join(map(str, ran)) or 'nothing'}"
        return ""


def case(
    operation: str,
    description: str,
    fn: Callable[..., Any],
    *inputs: Any,
    parts: tuple[str, ...] | None = None,
) -> Case:
    """A case for a function."""
    return Case(operation, description, fn, inputs, parts)


def layer(
    operation: str,
    description: str,
    module: Callable[[], nn.Module],
    *inputs: Any,
    training: bool = True,
    fn: Callable[..., Any] = lambda module, *inputs: module(*inputs),
) -> Case:
    """A case for a module: the gradients to its inputs and to each of its parameters."""
    return Case(operation, description, fn, inputs, module=module, training=training)


@contextmanager
def own_random_numbers() -> Iterator[None]:
    """Leave the default generator as it was before the block."""
    state = random.default_generator.get_state()
    try:
        yield
    finally:
        random.default_generator.set_state(state)


def spread_vectors(module: nn.Module, generator: random.Generator) -> None:
    """Give biases, scales and statistics other values than 0 and 1, which would hide a forgotten factor."""
    for name, vector in (*module.named_parameters(), *module.named_buffers()):
        if vector.ndim == 1:
            low, high = (-0.5, 0.5) if name.endswith("bias") else (0.5, 1.5)
            vector.data = backend.move(generator.uniform(vector.shape, low, high, np.float64), vector.device)


# What inputs are drawn from.


def normal(*shape: int) -> Draw:
    """Normal random numbers."""
    return lambda generator: generator.normal(shape, dtype=np.float64)


def uniform(low: float, high: float, *shape: int) -> Draw:
    """Uniform random numbers."""
    return lambda generator: generator.uniform(shape, low, high, np.float64)


def distinct(*shape: int) -> Draw:
    """Evenly spaced numbers from −2 to 2 in random order: none equal, as max needs, none near 0, as ReLU."""

    def draw(generator: random.Generator) -> Array:
        count = int(np.prod(shape))
        return (generator.permutation(count).reshape(shape) + (0.25 - count / 2)) * (4 / count)

    return draw


def probabilities(*shape: int) -> Draw:
    """Positive numbers that add up to 1 along axis 1, to be used as targets: tensors that are not checked."""

    def draw(generator: random.Generator) -> Any:
        raw = generator.uniform(shape, 0.1, 1.0, np.float64)
        return tensor(raw / raw.sum(axis=1, keepdims=True))

    return draw


def labels(classes: int, *shape: int) -> Draw:
    """Whole numbers 0 … classes − 1 in random order, each as often as the others (or nearly)."""
    return lambda generator: tensor((generator.permutation(int(np.prod(shape))) % classes).reshape(shape))
