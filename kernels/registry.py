"""Which kernel runs: registration, selection and a trace of what ran.

A kernel computes one part of an operation ("conv2d.grad_input") for one backend by one algorithm.
An operation asks for it by name and hands over arrays; the arrays say which backend, the setting
(:class:`use`) says which algorithm. A new backend registers its kernels under the same names, and no
operation needs to change.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from minicnn import backend as devices

Kernel = Callable[..., Any]
Chooser = Callable[..., list[str]]

FAMILIES = {"numpy": ("numpy",), "numba": ("numba", "numpy"), "cuda": ("cuda",)}
"""The families of kernels that each backend may use, its own first: Numba leaves the rest to NumPy."""

PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
"""What factors of float32 may be rounded to: nothing, 10 bits of fraction, 7, and 10 of a smaller range."""

_kernels: dict[tuple[str, str], dict[str, Kernel]] = {}  # (operation, family) -> {algorithm: kernel}
_suits: dict[Ran, Callable[..., bool]] = {}  # for kernels that are for some arguments only: for which
_choosers: dict[tuple[str, str], Chooser] = {}  # (operation, family) -> what "auto" means
_forbidden: frozenset[str] = frozenset()  # algorithms that "auto" does not take
_measure = False  # whether "auto" tries them
_fuse = True  # whether operations that follow each other may run as one
_precision = "fp32"  # how exactly "auto" multiplies float32 on a GPU
_measured: dict[tuple, str] = {}  # what was found
_algorithms: dict[str, str] = {}  # operation, or the part before the dot -> the algorithm set for it
_loaded: set[str] = set()  # backends whose families have been imported
_traces: list[list[Ran]] = []


class Ran(NamedTuple):
    """One entry of a trace: the operation, and the backend and algorithm that computed it."""

    operation: str
    backend: str
    algorithm: str

    def __repr__(self) -> str:
        return f"{self.operation}[{self.backend}:{self.algorithm}]"


def kernel(
    operation: str, backend: str, algorithm: str, suits: Callable[..., bool] | None = None
) -> Callable[[Kernel], Kernel]:
    """Register a function as the kernel for an operation. The first one registered is "auto"'s choice.

    ``suits`` says of the kernel's arguments whether it is for them, where it is not for all. Chosen by
    name, it computes what suits it and leaves the rest to "auto".
    """

    def register(function: Kernel) -> Kernel:
        algorithms = _kernels.setdefault((operation, backend), {})
        if algorithm in algorithms:
            raise ValueError(f"kernel: {operation}[{backend}:{algorithm}] is registered twice")
        algorithms[algorithm] = function
        if suits is not None:
            _suits[Ran(operation, backend, algorithm)] = suits
        return function

    return register


def chooser(operation: str, backend: str) -> Callable[[Chooser], Chooser]:
    """Register what "auto" means for an operation: of the kernel's arguments, the algorithms, best first."""

    def register(function: Chooser) -> Chooser:
        _choosers[operation, backend] = function
        return function

    return register


def run(operation: str, *args: Any) -> Any:
    """Run the kernel selected for an operation.

    The first argument names the backend: an array, or a list of arrays on one device.
    """
    backend = devices.backend_of(args[0][0] if isinstance(args[0], list) else args[0])
    _load(backend)
    wanted = _wanted(operation, backend)
    for family in FAMILIES[backend]:
        algorithms = _kernels.get((operation, family))
        if algorithms is None or (wanted != "auto" and wanted not in algorithms):
            continue
        algorithm = wanted
        if wanted != "auto" and _suits and not suits(Ran(operation, family, wanted), *args):
            algorithm = "auto"
        if algorithm == "auto":
            algorithm = _auto(operation, family, args)
        for ran in _traces:
            ran.append(Ran(operation, family, algorithm))
        return algorithms[algorithm](*args)
    raise ValueError(f"{operation}: there is no kernel for backend {backend!r} and algorithm {wanted!r}")


def _wanted(operation: str, backend: str) -> str:
    """The algorithm set for this part, or for the whole operation if it has a kernel for this part."""
    wanted = _set_for(operation)
    if operation in _algorithms or wanted == "auto":
        return wanted
    return wanted if any(wanted in _kernels.get((operation, f), ()) for f in FAMILIES[backend]) else "auto"


def _set_for(operation: str) -> str:
    """What was set for a part, for the part that it does and more ("…_clipped"), or for the whole."""
    part = operation.removesuffix("_clipped").removesuffix("_silu")
    for name in (operation, part, operation.partition(".")[0]):
        if name in _algorithms:
            return _algorithms[name]
    return "auto"


def tracing() -> bool:
    """Whether somebody lists the kernels that run."""
    return bool(_traces)


def settings() -> tuple[Any, ...]:
    """What :class:`use` has set, as words and numbers that are equal where the settings are."""
    families, count = (devices.current_backend(), devices.cpu_backend()), len(_algorithms)
    chosen = (word for pair in _algorithms.items() for word in pair)
    return *families, _measure, _fuse, _precision, count, *chosen, *sorted(_forbidden)


def fusing() -> bool:
    """Whether operations that follow each other may run as one: the setting ``fuse`` of :class:`use`."""
    return _fuse


def precision() -> str:
    """What factors may be rounded to: the setting ``precision`` of :class:`use`, which choosers look at."""
    return _precision


def offers(operation: str, like: Any) -> bool:
    """Whether a part that does more than one operation, such as "conv2d.forward_clipped", is there to be run.

    It is not if the backend of this array has no kernel for it, if an algorithm was set by name which has
    none, or if nothing is to be fused.
    """
    backend = devices.backend_of(like)
    _load(backend)
    names = {name for family in FAMILIES[backend] for name in _kernels.get((operation, family), ())}
    return _fuse and bool(names) and _set_for(operation) in names | {"auto"}


def _auto(operation: str, family: str, args: tuple) -> str:
    """The best of the algorithms that are not forbidden: as the chooser has it, or as measured."""
    choose = _choosers.get((operation, family))
    names = choose(*args) if choose else list(_kernels[operation, family])[:1]
    allowed = [name for name in names if name not in _forbidden]
    if not allowed:
        raise ValueError(f"{operation}: every algorithm for these arguments is forbidden: {', '.join(names)}")
    return _fastest(operation, family, allowed, args) if _measure and len(allowed) > 1 else allowed[0]


def _fastest(operation: str, family: str, names: list[str], args: tuple) -> str:
    """The algorithm that took the least time for arguments like these: tried when they first come."""
    like = tuple((a.shape, a.dtype.str) if hasattr(a, "dtype") else a for a in args)
    key = operation, family, tuple(names), like
    if key not in _measured:
        times = {}
        for name in names:
            function = _kernels[operation, family][name]
            function(*args)  # compiles, and brings memory into the caches
            begin = time.perf_counter()
            function(*args)
            times[name] = time.perf_counter() - begin
        _measured[key] = min(times, key=times.__getitem__)
    return _measured[key]


def _load(backend: str) -> None:
    """Import a backend's families when a kernel is first needed, as a compiler is slow to import."""
    if backend not in _loaded:
        for family in FAMILIES[backend]:
            importlib.import_module(f"minicnn.kernels.{family}")
        _loaded.add(backend)


def suits(ran: Ran, *args: Any) -> bool:
    """Whether a kernel is for these arguments."""
    return ran not in _suits or _suits[ran](*args)


def for_some(ran: Ran) -> bool:
    """Whether a kernel is for some arguments only."""
    return ran in _suits


def registered(backend: str | None = None) -> list[Ran]:
    """Every kernel that a backend, by default the one that is set, may use: what tests walk through."""
    backend = devices.current_backend() if backend is None else backend
    _load(backend)
    families = FAMILIES[backend]
    return [
        Ran(op, family, name)
        for (op, family), names in _kernels.items()
        if family in families
        for name in names
    ]


def _algorithms_of(name: str, backend: str) -> set[str]:
    """The algorithms known for an operation, or for one part of it; none if there is no such operation."""
    of_parts = f"{name}."
    return {
        algorithm
        for (operation, family), names in _kernels.items()
        if family in FAMILIES[backend] and (operation == name or operation.startswith(of_parts))
        for algorithm in names
    }


class use:
    """Choose kernels, globally (a plain call) or for one block (``with``).

    Args:
        backend: ``"numba"``, compiled for this machine and the default, or ``"numpy"``, the reference; new
            tensors are then made on the CPU. ``"cuda"``: they are made on the GPU, which its own kernels
            compute with. Tensors that are there already stay where they are, see ``Tensor.to``.
        algorithms: operation -> algorithm, where an operation may name one of its parts:
            ``{"conv2d": "im2col", "conv2d.grad_weight": "naive"}``. ``"auto"`` hands the choice back.
        forbid: algorithms that "auto" is not to take, one name or several: ``"winograd"`` for results as
            accurate as direct sums. An algorithm that is set by name runs all the same.
        measure: whether "auto", for each new geometry, tries the algorithms once and remembers the fastest,
            instead of going by a rule. The first step then takes several times as long, and results may
            differ in rounding from one run to the next.
        fuse: whether operations that follow each other may run as one, as convolution and ReLU (the default;
            see :func:`minicnn.nn.chain`). Without, each computes what it is called, one after another.
        precision: how exactly "auto" multiplies float32 on a GPU, see below: ``"fp32"`` (the default),
            ``"tf32"``, ``"bf16"`` or ``"fp16"``.
        **by_name: the same as ``algorithms`` for operations without a dot: ``conv2d="taps"``.

    **Precision.** Tensor cores, which GPUs have from compute capability 8.0 on (7.5 for float16), multiply
    many times faster than anything else there, but not float32. With ``round`` to 10 bits of fraction (TF32,
    float16) or to 7 (bfloat16), convolutions and fully connected layers and their gradients become

        y = Σ round(x) · round(w) + b

    where only the factors are rounded, on their way into the multiplication: each product is exact, and the
    sum is float32. Each factor errs by 2⁻¹¹ or 2⁻⁸ at most, so y by 2⁻¹⁰ or 2⁻⁷ of Σ |x·w| and usually, as
    errors cancel, by 4e-4 or 4e-3 of its size. Every array stays float32: weights (there is no other copy of
    them, so a step too small for bfloat16 is not lost), activations, gradients and what optimisers keep.

    TF32 and bfloat16 have float32's range. float16 goes up to 65,504, beyond which is infinity, and below
    6e-5 it loses digits; a gradient is therefore multiplied, before it is rounded, by the power of two that
    brings its largest number near the end, and the sum is divided by it: no loss needs scaling.

    All else (norms, pooling, losses, steps) is computed in float32, as are
    depthwise convolutions and those of few channels, which memory bounds. float64 is never rounded. CPU
    kernels take no notice, as there is nothing to gain, and nor do GPUs without such cores; an algorithm that
    is set by name runs whatever the precision. :func:`trace` tells which kernels ran.

    The setting belongs to the process, not to a thread. Backward looks at it when backward runs,
    so a block should hold both passes.

    Raises:
        ValueError: an unknown backend, operation, algorithm or precision; "cuda" where there is no GPU.

    >>> import minicnn as mc
    >>> x, w = mc.randn(1, 3, 8, 8), mc.randn(4, 3, 3, 3)
    >>> with mc.use(conv2d="taps"), mc.trace() as ran:
    ...     y = mc.functional.conv2d(x, w)
    >>> ran
    [conv2d.forward[numpy:taps]]
    """

    def __init__(
        self,
        backend: str | None = None,
        algorithms: Mapping[str, str] | None = None,
        forbid: str | Iterable[str] | None = None,
        measure: bool | None = None,
        fuse: bool | None = None,
        precision: str | None = None,
        **by_name: str,
    ) -> None:
        global _algorithms, _forbidden, _measure, _fuse, _precision
        wanted = {**(algorithms or {}), **by_name}
        if precision is not None:
            check_precision("use", precision)
        if backend is not None:
            devices.check_backend(backend)
        if wanted:
            _check(wanted, backend)
        if forbid is not None:
            forbid = frozenset([forbid] if isinstance(forbid, str) else forbid)
            _check_forbidden(forbid)
        self._backend_before = None if backend is None else devices.set_backend(backend)
        self._before = _algorithms, _forbidden, _measure, _fuse, _precision
        if wanted:
            # What was set for a part of an operation gives way to what is now said of the whole.
            rest = {name: one for name, one in _algorithms.items() if name.partition(".")[0] not in wanted}
            _algorithms = {**rest, **wanted}
        _forbidden = _forbidden if forbid is None else forbid
        _measure = _measure if measure is None else bool(measure)
        _fuse = _fuse if fuse is None else bool(fuse)
        _precision = _precision if precision is None else precision

    def __enter__(self) -> use:
        return self

    def __exit__(self, *_: object) -> None:
        global _algorithms, _forbidden, _measure, _fuse, _precision
        if self._backend_before is not None:
            devices.restore(self._backend_before)
        _algorithms, _forbidden, _measure, _fuse, _precision = self._before


def check_precision(where: str, name: Any) -> None:
    """Raise ValueError, which names the caller, for a precision that there is not."""
    if name not in PRECISIONS:
        raise ValueError(f"{where}: precision {devices.unknown(name, PRECISIONS)}")


def _check(wanted: Mapping[str, str], backend: str | None) -> None:
    backend = devices.current_backend() if backend is None else backend
    _load(backend)
    for operation, algorithm in wanted.items():
        known = _algorithms_of(operation, backend)
        if not known:
            parts = {ran.operation for ran in registered(backend)}
            wholes = {part.partition(".")[0] for part in parts}
            raise ValueError(f"use: operation {devices.unknown(operation, parts | wholes)}")
        if algorithm not in known | {"auto"}:
            raise ValueError(f"use: {operation} algorithm {devices.unknown(algorithm, known | {'auto'})}")


def _check_forbidden(names: frozenset[str]) -> None:
    known = {ran.algorithm for backend in FAMILIES for ran in registered(backend)}
    for name in names - known:
        raise ValueError(f"use: forbid: algorithm {devices.unknown(name, known)}")


@contextmanager
def trace() -> Iterator[list[Ran]]:
    """List the kernels that run inside the block, in order."""
    ran: list[Ran] = []
    _traces.append(ran)
    try:
        yield ran
    finally:
        _traces[:] = [other for other in _traces if other is not ran]
