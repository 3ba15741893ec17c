"""Gradients against finite differences: the proof that a backward is right.

Turn the outputs y of a function into one number L = Σ gy · y with random gy, the upstream gradient
(all ones would hide mistakes: where the outputs always add up to the same, as after a softmax, L would
be constant). For any direction v,

    Σ gx · v   must equal   (L(x + h v) − L(x − h v)) / 2h.

The left side comes from backward; the right side from nothing but forward. One random direction sees
every entry of gx at once (cheap); one direction for each entry tells which is wrong (for teaching).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minicnn import backend, random
from minicnn.autograd import Array, enable_grad, no_grad
from minicnn.tensor import Tensor, tensor

STEP = 1e-5  # the cut-off error grows with h², rounding with 1/h; near 1e-5 both are about 1e-10
TOLERANCE = 1e-6
MODES = ("directional", "elementwise")
EXHAUSTIVE = 1000  # of so many entries each is tried when a direction was wrong; of more, halves first


class GradientError(AssertionError):
    """A gradient that is not the derivative of its function."""


@dataclass(frozen=True)
class Report:
    """What a gradient check found. True if every gradient was right.

    Attributes:
        ok: whether ``error`` is within the tolerance.
        error: the worst relative error.
        input: the number of the input where that was.
        element: the entry of that input with the worst error; None where only directions were tried.
        analytic: the derivative by backward, in that direction or to that element.
        numeric: the same by finite differences.
        kink: whether the function bends so near that point that differences mean nothing there.
        name: what the text calls that input; "input 0" and so on where empty.
    """

    ok: bool
    error: float
    input: int
    element: tuple[int, ...] | None
    analytic: float
    numeric: float
    kink: bool = False
    name: str = ""

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        where = self.name or f"input {self.input}"
        where += f", element {self.element}" if self.element is not None else ", along a random direction"
        text = (
            f"{'right' if self.ok else 'wrong'}: worst relative error {self.error:.1e} at {where}: "
            f"backward says {self.analytic:.8g}, finite differences say {self.numeric:.8g}"
        )
        if self.kink:
            text += (
                "; its slopes on both sides differ: the function has a kink near here (of a maximum, say) "
                "or is constant but for rounding; try other inputs"
            )
        return text


def gradcheck(
    fn: Callable[..., Any],
    inputs: Any,
    *,
    mode: str = "directional",
    directions: int = 3,
    step: float = STEP,
    tolerance: float = TOLERANCE,
    seed: int = 0,
    raise_exception: bool = True,
) -> Report:
    """Compare backward's gradients of ``fn(*inputs)`` with central differences in float64.

    The relative error of a derivative is |backward − differences| / max(|backward|, |differences|, s).
    The scale s is ‖gx · v‖ along a direction v and ‖gx‖∞ · 10⁻³ for one element, but at least what makes
    rounding pass: the outputs carry an error of some 10⁻¹⁶ of their size, which the differences divide
    by 2h. Without that, a gradient that is truly 0 could never be confirmed.

    Args:
        fn: takes the inputs and returns one tensor; must give the same numbers each time it is called.
        inputs: float64 tensors or arrays, one or several; arrays become tensors where ``mc.use`` says.
            Every array, and every tensor with requires_grad, is checked; whole numbers and other tensors
            are handed to fn as they are. A module's parameters may be listed, as tensors are changed in
            place (and restored): ``gradcheck(lambda x, *_: net(x), (x, *net.parameters()))``. Parameters
            that fn uses unlisted keep the gradient of one backward, as after any other.
        mode: "directional", or "elementwise" for every entry by itself.
        directions: how many random directions are tried for each input.
        step: h.
        tolerance: the largest relative error that passes.
        seed: for the upstream gradient and the directions.
        raise_exception: raise rather than return a report that is false.

    Raises:
        GradientError: a gradient is wrong; the message names the worst element and both numbers. Or fn or
            its backward changes an input or the upstream gradient.
        TypeError, ValueError: inputs that are not float64, or a fn that cannot be checked.

    >>> import minicnn as mc
    >>> x = mc.randn(2, 3, 6, 6, dtype="float64")
    >>> w = mc.randn(4, 3, 3, 3, dtype="float64")
    >>> bool(mc.gradcheck(lambda x, w: mc.functional.conv2d(x, w, stride=2), (x.numpy(), w.numpy())))
    True
    """
    _check_settings(mode, directions, step, tolerance)
    tensors = _prepare(inputs)
    checked = [i for i, x in enumerate(tensors) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError(
            "gradcheck: no input to check; expected float64 arrays, or tensors with requires_grad"
        )
    generator = random.Generator(seed)
    originals = {i: x.copy() for i, x in enumerate(map(_array, tensors)) if x is not None}
    try:
        L = _Projection(fn, tensors, originals, generator, step, tolerance)
        gradients = L.gradients(checked)
        found = [
            _check_input(L, i, gradients[i], directions if mode == "directional" else 0, generator)
            for i in checked
        ]
    finally:
        for i, original in originals.items():
            if _array(tensors[i]).tobytes() != original.tobytes():
                _write(tensors[i], original)
    worst = max(found, key=_badness)
    ok = worst.error <= tolerance
    report = replace(worst, ok=ok, kink=worst.kink and not ok)
    if raise_exception and not report.ok:
        raise GradientError(f"gradcheck: {report}")
    return report


def _check_settings(mode: str, directions: int, step: float, tolerance: float) -> None:
    if mode not in MODES:
        raise ValueError(f"gradcheck: mode must be one of {', '.join(MODES)}, got {mode!r}")
    if not isinstance(directions, int) or directions < 1:
        raise ValueError(f"gradcheck: directions must be a whole number ≥ 1, got {directions!r}")
    for name, value in (("step", step), ("tolerance", tolerance)):
        if not 0 < value < np.inf:
            raise ValueError(f"gradcheck: {name} must be a number > 0, got {value!r}")


def _prepare(inputs: Any) -> list[Any]:
    """Inputs as tensors; checked ones are float64 leaves in memory that may be changed."""
    several = inputs if isinstance(inputs, tuple | list) else (inputs,)
    tensors: list[Any] = []
    for i, value in enumerate(several):
        if backend.is_array(value) and value.dtype.kind == "f":
            value = tensor(value, requires_grad=True)
        if isinstance(value, Tensor) and value.requires_grad:
            if value.dtype != np.float64:
                raise TypeError(
                    f"gradcheck: input {i} is {value.dtype}; expected float64, as the rounding of anything "
                    "shorter is larger than the differences"
                )
            if not value.is_leaf:
                raise ValueError(
                    f"gradcheck: input {i} is the result of an operation, where backward leaves no gradient; "
                    "pass its .numpy()"
                )
            if isinstance(value.data, np.ndarray) and not value.data.flags.writeable:
                raise ValueError(f"gradcheck: input {i} is read-only memory; pass a copy")
        tensors.append(value)
    return tensors


def _array(value: Any) -> Any:
    """The values of an input as a NumPy array, from wherever they are, or None if it holds none."""
    array = value.data if isinstance(value, Tensor) else value
    return backend.move(array, "cpu") if backend.is_array(array) else None


def _write(value: Any, array: Array) -> None:
    """Give an input these values, in place."""
    own = value.data if isinstance(value, Tensor) else value
    own[...] = backend.move(array, backend.device_of(own))


class _Projection:
    """L = Σ gy · fn(inputs), with gy drawn once."""

    def __init__(
        self,
        fn: Callable[..., Any],
        tensors: list[Any],
        originals: dict[int, Array],
        generator: random.Generator,
        step: float,
        tolerance: float,
    ) -> None:
        self.fn, self.tensors, self.originals = fn, tensors, originals
        self.step, self.tolerance = step, tolerance
        self.y = self.outputs()
        self.check_unchanged("fn")
        self.check_same(self.outputs())
        self.check_without_graph()
        if not np.isfinite(self.y).all():
            raise ValueError("gradcheck: fn returned NaN or infinity")
        self.gy = generator.normal(self.y.shape, dtype=np.float64)
        # Rounding puts some ε·|y| on each output, more where larger numbers lie on the way to it: hence 16.
        noise = 16 * np.finfo(np.float64).eps * np.linalg.norm(self.gy * self.y) / (2 * step)
        self.smallest_scale = float(noise) / tolerance

    def outputs(self) -> Array:
        """fn's result as an array of its own (fn may return a view of its input).

        Recorded, as for backward: without a graph, batch norm may become part of a convolution.
        """
        with enable_grad():
            return _array(self.checked_output(self.fn(*self.tensors))).copy()

    @staticmethod
    def checked_output(y: Any) -> Tensor:
        if not isinstance(y, Tensor) or y.dtype != np.float64:
            kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(f"gradcheck: fn must return one float64 tensor, got {kind}")
        return y

    def check_same(self, y: Array) -> None:
        if not np.array_equal(y, self.y, equal_nan=True):
            raise ValueError("gradcheck: fn gave two results for the same inputs; fix its random numbers")

    def check_without_graph(self) -> None:
        """The same result but for rounding, as other kernels may run."""
        with no_grad():
            y = _array(self.checked_output(self.fn(*self.tensors)))
        if not np.allclose(y, self.y, rtol=1e-9, atol=1e-12, equal_nan=True):
            raise ValueError("gradcheck: fn gave two results, with a graph and without one")

    def check_unchanged(self, who: str) -> None:
        for i, original in self.originals.items():
            if _array(self.tensors[i]).tobytes() != original.tobytes():
                raise GradientError(f"gradcheck: {who} changed input {i} in place")

    def gradients(self, checked: Sequence[int]) -> dict[int, Array]:
        """Backward's gradient for each checked input; the inputs' own .grad stay as they were."""
        before = {i: self.tensors[i].grad for i in checked}
        try:
            for i in checked:
                self.tensors[i].grad = None
            with enable_grad():
                y = self.checked_output(self.fn(*self.tensors))
            self.check_same(_array(y))
            gy = backend.move(self.gy.copy(), y.device)
            if y.requires_grad:
                y.backward(gy)
            self.check_unchanged("fn or its backward")
            if not np.array_equal(_array(gy), self.gy):
                raise GradientError("gradcheck: backward changed the upstream gradient in place")
            found = {i: _array(self.tensors[i].grad) for i in checked}
        finally:
            for i in checked:
                self.tensors[i].grad = before[i]
        return {i: np.zeros_like(self.originals[i]) if gx is None else gx for i, gx in found.items()}

    def along(self, i: int, gx: Array, v: Array, scale: float, element: Any = None) -> Report:
        """The derivative of L along v, a direction for input i, from both sides."""
        x, original = self.tensors[i], self.originals[i]
        _write(x, original - self.step * v)
        before = self.outputs()
        _write(x, original + self.step * v)
        after = self.outputs()
        _write(x, original)
        # Outputs are subtracted before they are added up: what does not change then adds no rounding.
        moved = v != 0  # a NaN elsewhere is not this direction's
        analytic = float(gx[moved] @ v[moved])
        numeric = float((self.gy * (after - before)).sum()) / (2 * self.step)
        bend = abs(float((self.gy * (after - 2 * self.y + before)).sum())) / self.step
        difference = abs(analytic - numeric)
        size = max(abs(analytic), abs(numeric), scale, self.smallest_scale)
        error = difference / size if size else 0.0
        # At a kink the slopes on both sides differ, by no less than their mean differs from either.
        return Report(False, error, i, element, analytic, numeric, kink=bend >= difference)


def _check_input(L: _Projection, i: int, gx: Array, directions: int, generator: random.Generator) -> Report:
    """The worst of some directions; of single entries where no direction is to be tried, or one is wrong."""
    along = None
    if directions:
        trials = []
        for _ in range(directions):
            v = _direction(gx.shape, generator)
            trials.append(L.along(i, gx, v, float(np.linalg.norm(gx * v))))
        along = max(trials, key=_badness)
        if along.error <= L.tolerance:
            return along
    entries = np.arange(gx.size)
    while along is not None and len(entries) > EXHAUSTIVE:
        entries = _worse_half(L, i, gx, entries, generator)
    scale = float(np.abs(gx).max(initial=0)) * 1e-3
    singles = []
    for entry in entries:
        element = tuple(int(position) for position in np.unravel_index(entry, gx.shape))
        v = np.zeros_like(gx)
        v[element] = 1
        singles.append(L.along(i, gx, v, scale, element))
    if not singles:
        return Report(False, 0.0, i, None, 0.0, 0.0)
    worst = max(singles, key=_badness)
    return along if along is not None and worst.error <= L.tolerance else worst


def _worse_half(L: _Projection, i: int, gx: Array, entries: Array, generator: random.Generator) -> Array:
    """The half of these entries along which backward and differences disagree more."""
    halves, disagreements = np.array_split(entries, 2), []
    for half in halves:
        v = np.zeros(gx.size)
        v[half] = _direction(half.shape, generator)
        report = L.along(i, gx, v.reshape(gx.shape), 0.0)
        gap = abs(report.analytic - report.numeric)
        disagreements.append(gap if gap == gap else np.inf)
    return halves[int(np.argmax(disagreements))]


def _direction(shape: tuple[int, ...], generator: random.Generator) -> Array:
    """Entries of random sign and of random size, 1/2 to 1.

    With entries of one size, two mistakes of one size (a maximum's gradient sent to the wrong pixel: −g here,
    +g there) would cancel in half of all directions.
    """
    signs = np.where(generator.uniform(shape) < 0.5, -1.0, 1.0)
    return signs * generator.uniform(shape, 0.5, 1.0, np.float64)


def _badness(report: Report) -> float:
    """For sorting: the error, where NaN is the worst."""
    return report.error if report.error == report.error else np.inf
