"""Which kernel runs: registration, selection and a trace of what ran.

A kernel computes one part of an operation ("conv2d.grad_input") for one backend by one algorithm.
An operation asks for it by name and hands over arrays; the arrays say which backend, the setting
(:class:`minicnn.backend.use`) says which algorithm. A new backend registers its kernels under the
same names, and no operation needs to change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from minicnn import backend as setting

Kernel = Callable[..., Any]

_kernels: dict[tuple[str, str], dict[str, Kernel]] = {}  # (operation, backend) -> {algorithm: kernel}
_choosers: dict[tuple[str, str], Callable[..., str]] = {}  # (operation, backend) -> what "auto" means
_traces: list[list[Ran]] = []


class Ran(NamedTuple):
    """One entry of a trace: the operation, and the backend and algorithm that computed it."""

    operation: str
    backend: str
    algorithm: str

    def __repr__(self) -> str:
        return f"{self.operation}[{self.backend}:{self.algorithm}]"


def kernel(operation: str, backend: str, algorithm: str) -> Callable[[Kernel], Kernel]:
    """Register a function as the kernel for an operation. The first one registered is "auto"'s choice."""

    def register(function: Kernel) -> Kernel:
        algorithms = _kernels.setdefault((operation, backend), {})
        if algorithm in algorithms:
            raise ValueError(f"kernel: {operation}[{backend}:{algorithm}] is registered twice")
        algorithms[algorithm] = function
        setting.known_backends.add(backend)
        for name in (operation, operation.partition(".")[0]):
            setting.known_algorithms.setdefault(name, set()).add(algorithm)
        return function

    return register


def chooser(operation: str, backend: str) -> Callable[[Callable[..., str]], Callable[..., str]]:
    """Register what "auto" means for an operation: a function of the kernel's arguments."""

    def register(function: Callable[..., str]) -> Callable[..., str]:
        _choosers[operation, backend] = function
        return function

    return register


def run(operation: str, *args: Any) -> Any:
    """Run the kernel selected for an operation; the first argument is an array and names the backend."""
    backend = setting.backend_of(args[0])
    algorithms = _kernels.get((operation, backend))
    if algorithms is None:
        raise ValueError(f"{operation}: there is no kernel for backend {backend!r}")
    algorithm = setting.algorithm_for(operation)
    if algorithm == "auto":
        choose = _choosers.get((operation, backend))
        algorithm = choose(*args) if choose else next(iter(algorithms))
    elif algorithm not in algorithms:
        raise ValueError(f"{operation}: algorithm {setting.unknown(algorithm, algorithms)} on {backend!r}")
    for ran in _traces:
        ran.append(Ran(operation, backend, algorithm))
    return algorithms[algorithm](*args)


@contextmanager
def trace() -> Iterator[list[Ran]]:
    """List the kernels that run inside the block, in order."""
    ran: list[Ran] = []
    _traces.append(ran)
    try:
        yield ran
    finally:
        _traces[:] = [other for other in _traces if other is not ran]


def registered() -> list[Ran]:
    """Every kernel there is: what a test or a benchmark walks through."""
    return [Ran(op, backend, name) for (op, backend), names in _kernels.items() for name in names]
