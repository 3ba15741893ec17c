"""Exercises on convolution: the loops forward, and the three gradients."""

from __future__ import annotations

from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn.autograd import no_grad
from minicnn.exercises.checking import NO_SLIP, Array, Case, Exercise, Outputs, Slips, differences
from minicnn.kernels.geometry import Window
from minicnn.random import Generator
from minicnn.tensor import tensor


def _windows(name: str) -> tuple[Case, ...]:
    """Ways in which windows can stand on an image; each tells two mistakes apart."""
    rows = [
        ("3×3", (1, 1, 5, 5), (1, 1, 3, 3), 1, 0),
        ("3×3, padding 1", (1, 2, 4, 5), (3, 2, 3, 3), 1, 1),
        ("1×1, two images", (2, 3, 3, 4), (2, 3, 1, 1), 1, 0),
        ("2×2, stride 2", (2, 2, 6, 4), (2, 2, 2, 2), 2, 0),
        ("3×3, stride 2, padding 1", (2, 2, 5, 6), (3, 2, 3, 3), 2, 1),
        ("2×3, stride 3 with pixels left over", (1, 2, 6, 8), (2, 2, 2, 3), 3, 0),
    ]
    generator = Generator(7)
    cases = []
    for words, x_shape, w_shape, stride, padding in rows:
        x, w, b = (generator.normal(s, dtype="float64") for s in (x_shape, w_shape, w_shape[:1]))
        arguments: dict[str, Any] = {"x": x, "w": w, "b": b, "stride": stride, "padding": padding}
        if name == "conv2d_backward":
            sizes = Window(w_shape[2:], (stride,) * 2, ((padding,) * 2,) * 2).output_size(*x_shape[2:])
            gy = generator.normal((x_shape[0], w_shape[0], *sizes), dtype="float64")
            arguments = {"gy": gy} | {key: arguments[key] for key in ("x", "w", "stride", "padding")}
        cases.append(Case(words, arguments))
    return tuple(cases)


def _forward(x: Array, w: Array, stride: int, padding: int, b: Array | None = None) -> Array:
    """The engine's own convolution, by the reference kernels."""
    with no_grad():
        return F.conv2d(
            tensor(x), tensor(w), None if b is None else tensor(b), stride=stride, padding=padding
        ).numpy()


# ------------------------------------------------------------------------------------------------ forward


def _forward_attempt(
    x: Array, w: Array, b: Array, stride: int, padding: int, slips: Slips = NO_SLIP
) -> Outputs:
    if "flipped" in slips:
        w = w[:, :, ::-1, ::-1]
    step = 1 if "stride" in slips else stride
    before = 0 if "one side" in slips else padding
    if "not padded" not in slips:
        x = np.pad(x, ((0, 0), (0, 0), (before, 2 * padding - before), (before, 2 * padding - before)))
    KH, KW = w.shape[2:]
    OH, OW = (x.shape[2] - KH) // stride + 1, (x.shape[3] - KW) // stride + 1
    y = np.zeros((x.shape[0], w.shape[0], OH, OW))
    for oh in range(OH):
        for ow in range(OW):
            window = x[:, None, :, oh * step : oh * step + KH, ow * step : ow * step + KW]
            channels = -1 if "last channel" in slips else slice(None)
            products = (window * w)[:, :, channels]
            y[:, :, oh, ow] = products.reshape(*y.shape[:2], -1).sum(axis=2)
    times = 0 if "no bias" in slips else w[0].size if "bias in the sum" in slips else 1
    return {"y": y + times * b[:, None, None]}


CONV2D_FORWARD = Exercise(
    name="conv2d_forward",
    words="convolution by loops: a window slides, multiplies and adds up",
    outputs=("y",),
    cases=_windows("conv2d_forward"),
    truth=lambda case: {"y": _forward(**case.arguments)},
    attempt=_forward_attempt,
    slips={
        "flipped": "the filter is flipped: networks multiply it as it stands (a cross-correlation)",
        "stride": "the window moves by one pixel, whatever the stride",
        "one side": "all of the padding comes below and right of the image",
        "last channel": "the channels overwrite each other, and only the last is left",
        "not padded": "the image is not padded",
        "no bias": "the bias is left out",
        "bias in the sum": "the bias is added to each product of the sum, not once to the sum",
    },
)


# ----------------------------------------------------------------------------------------------- backward


def _backward_attempt(
    gy: Array, x: Array, w: Array, stride: int, padding: int, slips: Slips = NO_SLIP
) -> Outputs:
    gx = _grad_input(gy, w, x.shape, stride, padding, slips)
    gw = _grad_weight(gy, x, w.shape, stride, padding, slips)
    gb = gy.sum(axis=(0, 2, 3))
    if "batch not summed" in slips:
        gb = gy[-1].sum(axis=(1, 2))
    if "batch averaged" in slips:
        gw, gb = gw / len(x), gb / len(x)
    if "positions averaged" in slips:
        positions = gy.shape[2] * gy.shape[3]
        gw, gb = gw / positions, gb / positions
    return {"gx": gx, "gw": gw, "gb": gb}


def _grad_input(gy: Array, w: Array, x_shape: tuple, stride: int, padding: int, slips: Slips) -> Array:
    """Each gy goes back to every pixel of its window, times the weight that stood there; overlaps add up."""
    N, C, H, W = x_shape
    if "filter flipped" in slips:
        w = w[:, :, ::-1, ::-1]
    KH, KW = w.shape[2:]
    step = 1 if "stride ignored" in slips else stride
    if "all overwritten" in slips:  # the last filter is the last to write
        gy, w = gy[:, -1:], w[-1:]
    padded = np.zeros((N, C, H + 2 * padding, W + 2 * padding))
    for oh in range(gy.shape[2]):
        for ow in range(gy.shape[3]):
            at = np.s_[:, :, oh * step : oh * step + KH, ow * step : ow * step + KW]
            back = np.einsum("no,ocij->ncij", gy[:, :, oh, ow], w)
            if {"overwritten", "all overwritten"} & slips:
                padded[at] = back
            else:
                padded[at] += back
    if "padding left" in slips:
        return padded
    cut = 0 if "padding kept" in slips else padding
    return padded[:, :, cut : cut + H, cut : cut + W]


def _grad_weight(gy: Array, x: Array, w_shape: tuple, stride: int, padding: int, slips: Slips) -> Array:
    """Each weight met one pixel at every position of its window, and there it was multiplied to gy."""
    step = 1 if "stride ignored" in slips else stride
    width = 0 if "padding forgotten" in slips else padding
    x = np.pad(x, ((0, 0), (0, 0), (width, 2 * padding - width), (width, 2 * padding - width)))
    if {"batch not summed", "all overwritten"} & slips:
        x, gy = x[-1:], gy[-1:]
    gw = np.zeros(w_shape)
    for oh in range(gy.shape[2]):
        for ow in range(gy.shape[3]):
            window = x[:, :, oh * step : oh * step + w_shape[2], ow * step : ow * step + w_shape[3]]
            part = np.einsum("no,ncij->ocij", gy[:, :, oh, ow], window)
            gw = part if {"last window", "all overwritten"} & slips else gw + part
    return gw[:, :, ::-1, ::-1] if "filter flipped" in slips else gw


def _backward_truth(case: Case) -> Outputs:
    arguments: dict[str, Any] = dict(case.arguments)
    gy = arguments.pop("gy")
    arguments["b"] = np.zeros(len(arguments["w"]))
    return differences(_forward, arguments, {"gx": "x", "gw": "w", "gb": "b"}, gy)


CONV2D_BACKWARD = Exercise(
    name="conv2d_backward",
    words="the three gradients of a convolution: to the image, to the filters, to the bias",
    outputs=("gx", "gw", "gb"),
    cases=_windows("conv2d_backward"),
    truth=_backward_truth,
    attempt=_backward_attempt,
    slips={
        "overwritten": "windows that overlap overwrite each other, in place of adding up",
        "all overwritten": "each product overwrites what stood there, in place of being added to it",
        "last window": "each window overwrites what the one before has left, in place of adding up",
        "filter flipped": "the filter is flipped once too often, or not where it must be",
        "padding kept": "the padding is not cut off, and the first rows and columns are taken for the image",
        "padding left": "the padding is not cut off at all",
        "padding forgotten": "the image is padded below and right only, not on all sides as in the forward",
        "stride ignored": "the window moves by one pixel, whatever the stride",
        "batch not summed": "the images of a batch overwrite each other, and only the last is left",
        "batch averaged": "the sum over the batch is divided by its size, which is the loss's business",
        "positions averaged": "the sum over all positions of the window is divided by their number",
    },
)
