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

from minicnn import random
from minicnn.autograd import Array, enable_grad, no_grad
from minicnn.tensor import Tensor

STEP = 1e-5  # the cut-off error falls with h², rounding grows with 1/h; near 1e-5 both are about 1e-10
TOLERANCE = 1e-6
MODES = ("directional", "elementwise")


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
        kink: whether the function bends so near the element that differences mean nothing there.
    """

    ok: bool
    error: float
    input: int
    element: tuple[int, ...] | None
    analytic: float
    numeric: float
    kink: bool = False

    def __bool__(self) -> bool:
        return self.ok

    def __str__(self) -> str:
        where = f"input {self.input}"
        where += f", element {self.element}" if self.element is not None else ", along a random direction"
        text = (
            f"{'right' if self.ok else 'wrong'}: worst relative error {self.error:.1e} at {where}: "
            f"backward says {self.analytic:.10g}, finite differences say {self.numeric:.10g}"
        )
        if self.kink:
            text += "; the function has a kink (of a maximum, say) near this point: try other inputs"
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

    The relative error of a derivative is |backward − differences| / max(|backward|, |differences|, s), where
    the scale s is ‖gx‖ along a direction, whose entries are ±1, and ‖gx‖∞ · 10⁻³ for one element.

    Args:
        fn: takes the inputs and returns one tensor; must give the same numbers each time it is called.
        inputs: float64 tensors or arrays, one or several. Every array, and every tensor with
            requires_grad, is checked; a module's parameters may be listed among them, as they are
            changed in place (and restored): ``gradcheck(lambda x, *_: net(x), (x, *net.parameters()))``.
        mode: "directional", or "elementwise" for every entry by itself.
        directions: how many random directions are tried for each input.
        step: h.
        tolerance: the largest relative error that passes.
        seed: for the upstream gradient and the directions.
        raise_exception: raise rather than return a report that is false.

    Raises:
        GradientError: a gradient is wrong; the message names the worst element and both numbers.
        TypeError, ValueError: inputs that are not float64, or a fn that cannot be checked.

    >>> import minicnn as mc
    >>> x = mc.randn(2, 3, 6, 6, dtype="float64")
    >>> w = mc.randn(4, 3, 3, 3, dtype="float64")
    >>> bool(mc.gradcheck(lambda x, w: mc.functional.conv2d(x, w, stride=2), (x.numpy(), w.numpy())))
    True
    """
    if mode not in MODES:
        raise ValueError(f"gradcheck: mode must be one of {', '.join(MODES)}, got {mode!r}")
    tensors = _prepare(inputs)
    checked = [i for i, x in enumerate(tensors) if isinstance(x, Tensor) and x.requires_grad]
    if not checked:
        raise ValueError("gradcheck: none of the inputs requires a gradient")
    generator = random.Generator(seed)
    L = _Projection(fn, tensors, generator)
    gradients = L.gradients(checked)
    found = []
    for i in checked:
        report = None
        if mode == "directional":
            trials = [
                _along(L, i, gradients[i], _signs(gradients[i].shape, generator), step)
                for _ in range(directions)
            ]
            report = max(trials, key=lambda trial: trial.error)
        if report is None or report.error > tolerance:
            report = _worst_element(L, i, gradients[i], step, report)
        found.append(report)
    worst = max(found, key=lambda report: report.error if report.error == report.error else np.inf)
    report = replace(worst, ok=worst.error <= tolerance)
    if raise_exception and not report.ok:
        raise GradientError(f"gradcheck: {report}")
    return report


class _Projection:
    """L = Σ gy · fn(inputs), with gy drawn once."""

    def __init__(self, fn: Callable[..., Any], tensors: list[Any], generator: random.Generator) -> None:
        self.fn, self.tensors = fn, tensors
        y = self.outputs()
        if not np.array_equal(y, self.outputs(), equal_nan=True):
            raise ValueError("gradcheck: fn gave two results for the same inputs; fix its random numbers")
        if not np.isfinite(y).all():
            raise ValueError("gradcheck: fn returned NaN or infinity")
        self.gy = generator.normal(y.shape, dtype=np.float64)

    def outputs(self) -> Array:
        """fn's result as an array, without a graph."""
        with no_grad():
            y = self.fn(*self.tensors)
        if not isinstance(y, Tensor) or y.dtype != np.float64:
            kind = y.dtype if isinstance(y, Tensor) else type(y).__name__
            raise TypeError(f"gradcheck: fn must return one float64 tensor, got {kind}")
        return y.numpy()

    def gradients(self, checked: Sequence[int]) -> dict[int, Array]:
        """Backward's gradient for each checked input; the inputs' own .grad stay as they were."""
        before = {i: self.tensors[i].grad for i in checked}
        copies = {i: self.tensors[i].numpy().copy() for i in checked}
        for i in checked:
            self.tensors[i].grad = None
        with enable_grad():
            y = self.fn(*self.tensors)
            if y.requires_grad:
                y.backward(self.gy)
        gradients = {}
        for i in checked:
            x = self.tensors[i]
            if not np.array_equal(x.numpy(), copies[i]):
                raise GradientError(f"gradcheck: fn or its backward changed input {i}")
            gradients[i] = np.zeros_like(x.numpy()) if x.grad is None else x.grad
            x.grad = before[i]
        return gradients

    def difference(self, i: int, v: Array, step: float) -> tuple[float, float]:
        """dL/dv by central differences; and how much the slopes on both sides differ."""
        x = self.tensors[i].numpy()
        original = x.copy()
        ys = []
        for sign in (-1, 0, 1):
            np.add(original, sign * step * v, out=x)
            ys.append(self.outputs())
        x[...] = original
        # Outputs are subtracted before they are added up: what does not change then adds no rounding.
        left, right = (self.gy * (ys[1] - ys[0])).sum() / step, (self.gy * (ys[2] - ys[1])).sum() / step
        return float((self.gy * (ys[2] - ys[0])).sum() / (2 * step)), float(abs(right - left))


def _prepare(inputs: Any) -> list[Any]:
    """Inputs as tensors; checked ones are float64 leaves in memory that may be changed."""
    several = inputs if isinstance(inputs, tuple | list) else (inputs,)
    tensors: list[Any] = []
    for i, value in enumerate(several):
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            value = Tensor(value.copy(), requires_grad=True)
        if isinstance(value, Tensor) and value.requires_grad and value.dtype != np.float64:
            raise TypeError(
                f"gradcheck: input {i} is {value.dtype}; expected float64, as the rounding of anything "
                "shorter is larger than the differences"
            )
        tensors.append(value)
    return tensors


def _along(L: _Projection, i: int, gx: Array, v: Array, step: float) -> Report:
    analytic, (numeric, _) = float((gx * v).sum()), L.difference(i, v, step)
    return Report(
        False, _error(analytic, numeric, float(np.sqrt((gx * gx).sum()))), i, None, analytic, numeric
    )


def _worst_element(L: _Projection, i: int, gx: Array, step: float, found: Report | None) -> Report:
    """Every entry by itself. A direction's larger error stands if no single entry explains it."""
    scale = float(np.abs(gx).max(initial=0)) * 1e-3
    worst = None
    for element in np.ndindex(gx.shape):
        v = np.zeros_like(gx)
        v[element] = 1
        numeric, bend = L.difference(i, v, step)
        analytic = float(gx[element])
        error = _error(analytic, numeric, scale)
        if worst is None or not error <= worst.error:
            kink = bend > 0.1 * max(abs(analytic), abs(numeric))
            worst = Report(False, error, i, element, analytic, numeric, kink)
    if worst is None:
        return Report(False, 0.0, i, None, 0.0, 0.0)
    explained = found is None or worst.error >= min(found.error, 1e-6)
    return worst if explained or found is None else found


def _error(analytic: float, numeric: float, scale: float) -> float:
    size = max(abs(analytic), abs(numeric), scale)
    return 0.0 if size == 0 else abs(analytic - numeric) / size


def _signs(shape: tuple[int, ...], generator: random.Generator) -> Array:
    return np.where(generator.uniform(shape) < 0.5, -1.0, 1.0)
