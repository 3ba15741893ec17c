"""Exercises on what has no windows: the rectifier, the dense layer, dropout, and the loss."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.autograd import no_grad
from minicnn.exercises.checking import NO_SLIP, Array, Case, Exercise, Outputs, Slips, differences
from minicnn.random import Generator
from minicnn.tensor import tensor

_generator = Generator(10)


def _normal(*shape: int) -> Array:
    return _generator.normal(shape, dtype="float64")


# ---------------------------------------------------------------------------------------------- rectifier


def _relu_attempt(gy: Array, x: Array, slips: Slips = NO_SLIP) -> Outputs:
    gate = (gy if "sign of gy" in slips else x) > 0
    if "open at zero" in slips:
        gate = gate | (x == 0)
    if "no gate" in slips:
        gate = np.ones_like(gate)
    return {"gx": gate * (1.0 if "no gy" in slips else gy)}


def _relu_truth(case: Case) -> Outputs:
    x, gy = case.arguments["x"], case.arguments["gy"]
    if case.kink:
        t = tensor(x, requires_grad=True)
        F.relu(t).backward(gy)
        assert t.grad is not None
        return {"gx": t.grad}
    return differences(lambda x: np.maximum(x, 0), {"x": x}, {"gx": "x"}, gy)


RELU_BACKWARD = Exercise(
    name="relu_backward",
    words="the gradient of max(x, 0): a gate",
    outputs=("gx",),
    cases=(
        Case(
            "a row of numbers",
            {"gy": np.array([0.5, -1.25, 2.0, -0.5]), "x": np.array([-1.0, 2.0, -3.0, -4.0])},
        ),
        Case("images", {"gy": _normal(2, 3, 4, 4), "x": _normal(2, 3, 4, 4)}),
        Case("exactly zero", {"gy": np.array([1.5, -2.0, 3.0]), "x": np.array([0.0, 1.0, 0.0])}, kink=True),
    ),
    truth=_relu_truth,
    attempt=_relu_attempt,
    slips={
        "sign of gy": "the gate looks at the sign of gy, not of x",
        "open at zero": "the gate is open at x = 0: by convention the slope there is 0",
        "no gate": "gy passes everywhere",
        "no gy": "the slope alone is returned: by the chain rule it is multiplied by gy",
    },
)


# -------------------------------------------------------------------------------------------- dense layer


def _linear_attempt(gy: Array, x: Array, w: Array, slips: Slips = NO_SLIP) -> Outputs:
    gx = gy @ (w.T if "w not transposed" in slips and w.shape[0] == w.shape[1] else w)
    if "batch not summed" in slips:
        x, gy = x[-1:], gy[-1:]
    gw, gb = gy.T @ x, gy.sum(axis=0)
    if "batch averaged" in slips:
        gw, gb = gw / len(x), gb / len(x)
    if "gw transposed" in slips:
        gw = gw.T
    return {"gx": gx, "gw": gw, "gb": gb}


def _linear_truth(case: Case) -> Outputs:
    arguments = dict(case.arguments)
    gy = arguments.pop("gy")
    arguments["b"] = np.zeros(len(arguments["w"]))
    return differences(lambda x, w, b: x @ w.T + b, arguments, {"gx": "x", "gw": "w", "gb": "b"}, gy)


LINEAR_BACKWARD = Exercise(
    name="linear_backward",
    words="the three gradients of a dense layer y = x wᵀ + b",
    outputs=("gx", "gw", "gb"),
    cases=(
        Case("as many outputs as inputs", {"gy": _normal(3, 4), "x": _normal(3, 4), "w": _normal(4, 4)}),
        Case("5 inputs, 2 outputs", {"gy": _normal(4, 2), "x": _normal(4, 5), "w": _normal(2, 5)}),
        Case("one example", {"gy": _normal(1, 3), "x": _normal(1, 2), "w": _normal(3, 2)}),
    ),
    truth=_linear_truth,
    attempt=_linear_attempt,
    slips={
        "gw transposed": "gw lies on its side: its shape is that of w, (outputs, inputs)",
        "w not transposed": "gy is multiplied by wᵀ, as in the forward: here it is gy @ w",
        "batch averaged": "the sum over the batch is divided by its size, which is the loss's business",
        "batch not summed": "the examples of a batch overwrite each other, and only the last is left",
    },
)


# ------------------------------------------------------------------------------------------------ dropout


def _dropout_attempt(gy: Array, mask: Array, p: float, slips: Slips = NO_SLIP) -> Outputs:
    kept = ~mask if "inverted" in slips else mask
    if "no mask" in slips:
        kept = np.ones_like(mask)
    factor = 1 / p if "wrong rate" in slips else 1 - p if "multiplied" in slips else 1 / (1 - p)
    return {"gx": gy * kept * (1.0 if "not rescaled" in slips else factor)}


def _dropout_truth(case: Case) -> Outputs:
    gy, mask, p = case.arguments.values()
    x = np.zeros_like(gy)  # the forward is linear: its slope is the same everywhere
    return differences(lambda x: x * mask / (1 - p), {"x": x}, {"gx": "x"}, gy)


DROPOUT_BACKWARD = Exercise(
    name="dropout_backward",
    words="the gradient of dropout: the same mask, the same factor",
    outputs=("gx",),
    cases=tuple(
        Case(words, {"gy": _normal(*shape), "mask": _normal(*shape) > level, "p": p})
        for words, shape, level, p in (
            ("p = 0.5", (3, 8), 0.0, 0.5),
            ("p = 0.2, images", (2, 2, 3, 3), -0.8, 0.2),
            ("p = 0.9", (4, 5), 1.0, 0.9),
        )
    ),
    truth=_dropout_truth,
    attempt=_dropout_attempt,
    slips={
        "not rescaled": "what is kept is not divided by 1 − p, as the forward does",
        "wrong rate": "the division is by p, the share that is dropped, not by 1 − p",
        "multiplied": "what is kept is multiplied by 1 − p, where the forward divides",
        "inverted": "the mask is taken for those that were dropped: it is 1 where a value was kept",
        "no mask": "the mask is left out",
    },
)


# --------------------------------------------------------------------------------------------------- loss


def _softmax(logits: Array, axis: int | None = 1) -> Array:
    e = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


def _cross_entropy_attempt(logits: Array, labels: Array, slips: Slips = NO_SLIP) -> Outputs:
    N, classes = logits.shape
    g = _softmax(logits, axis=0 if "wrong axis" in slips else None if "no axis" in slips else 1)
    if "no softmax" in slips:
        g = logits.copy()
    if "no target" not in slips:
        g[np.arange(N), labels] -= 1
    if "sign" in slips:
        g = -g
    if "classes" in slips:
        return {"g": g / classes}
    return {"g": g if "not averaged" in slips else g / N}


def _cross_entropy(logits: Array, labels: Array) -> Array:
    with no_grad():
        return F.cross_entropy(tensor(logits), tensor(labels)).numpy()


CROSS_ENTROPY_BACKWARD = Exercise(
    name="cross_entropy_backward",
    words="the gradient of softmax and cross-entropy, mean over the batch, to the logits",
    outputs=("g",),
    cases=(
        Case("one example", {"logits": _normal(1, 3), "labels": np.array([2])}),
        Case("4 examples, 5 classes", {"logits": _normal(4, 5), "labels": np.array([0, 4, 4, 1])}),
        Case("large logits", {"logits": 1000 + _normal(2, 3), "labels": np.array([1, 0])}),
    ),
    truth=lambda case: differences(_cross_entropy, case.arguments, {"g": "logits"}, np.ones(())),
    attempt=_cross_entropy_attempt,
    slips={
        "not averaged": "the loss is a mean over the batch, and the gradient is not divided by its size",
        "classes": "the division is by the number of classes, not by the size of the batch",
        "no target": "the 1 of the right class is not taken off",
        "sign": "the sign is turned round: the loss would grow",
        "wrong axis": "the softmax runs over the batch, not over the classes",
        "no axis": "the softmax runs over the whole batch, not over each example's classes",
        "no softmax": "the logits stand where the softmax's probabilities should",
    },
)
