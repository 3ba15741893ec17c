"""Exercises on pooling: who won, and who shares."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.autograd import no_grad
from minicnn.exercises.checking import NO_SLIP, Array, Case, Exercise, Outputs, Slips, differences
from minicnn.kernels.geometry import Window
from minicnn.random import Generator
from minicnn.tensor import tensor


def _pooled(shape: tuple[int, ...], kernel_size: int, stride: int, padding: int) -> tuple[int, ...]:
    """The shape after pooling; nothing is computed when a module is imported."""
    window = Window((kernel_size,) * 2, (stride,) * 2, ((padding,) * 2,) * 2)
    return *shape[:2], *window.output_size(*shape[2:])


def _max(x: Array, kernel_size: int, stride: int) -> Array:
    with no_grad():
        return F.max_pool2d(tensor(x), kernel_size, stride).numpy()


def _mean(x: Array, kernel_size: int, stride: int, padding: int) -> Array:
    with no_grad():
        return F.avg_pool2d(tensor(x), kernel_size, stride, padding).numpy()


# ------------------------------------------------------------------------------------------------ maximum


def _max_cases() -> tuple[Case, ...]:
    generator = Generator(8)

    def case(words: str, x: Array, kernel_size: int, stride: int, kink: bool = False) -> Case:
        gy = generator.normal(_pooled(x.shape, kernel_size, stride, 0), dtype="float64")
        return Case(words, {"gy": gy, "x": x, "kernel_size": kernel_size, "stride": stride}, kink)

    def distinct(*shape: int) -> Array:
        """Numbers of both signs of which no two are equal or near each other."""
        count = int(np.prod(shape))
        return (generator.permutation(count).reshape(shape) + 0.25 - count / 2) / 8

    ties = np.array([[1.0, 1.0, 0.0, 2.0], [1.0, 0.0, 2.0, 2.0]]).reshape(1, 1, 2, 4)
    return (
        case("2×2, stride 2", distinct(2, 2, 4, 6), 2, 2),
        case("3×3, stride 2: windows overlap", distinct(1, 2, 7, 7), 3, 2),
        case("3×3, stride 1", distinct(1, 1, 5, 6), 3, 1),
        case("2×2, stride 3: pixels in no window", distinct(1, 2, 6, 8), 2, 3),
        case("equal numbers in a window: the first one wins", ties, 2, 2, kink=True),
    )


def _max_attempt(gy: Array, x: Array, kernel_size: int, stride: int, slips: Slips = NO_SLIP) -> Outputs:
    K = kernel_size
    step = K if "stride" in slips else stride
    gx = np.zeros_like(x)
    for n, c, oh, ow in np.ndindex(gy.shape):
        window = x[n, c, oh * step : oh * step + K, ow * step : ow * step + K]
        back = gx[n, c, oh * step : oh * step + K, ow * step : ow * step + K]
        if window.size == 0:  # where a wrong step leads out of the image
            continue
        value = 1.0 if "no gy" in slips else gy[n, c, oh, ow]
        order = np.abs(window) if "magnitude" in slips else window
        if "spread" in slips:
            back += value / window.size
        elif {"ties", "shared"} & slips:
            equal = order == order.max()
            back += value * equal / (equal.sum() if "shared" in slips else 1)
        else:
            winners = np.argwhere(order == order.max())
            winner = tuple(winners[-1 if "last" in slips else 0])
            back[winner] = value if "overwritten" in slips else back[winner] + value
    return {"gx": gx}


def _max_truth(case: Case) -> Outputs:
    arguments = dict(case.arguments)
    gy = arguments.pop("gy")
    if not case.kink:
        return differences(_max, arguments, {"gx": "x"}, gy)
    x = tensor(arguments["x"], requires_grad=True)
    F.max_pool2d(x, case.arguments["kernel_size"], case.arguments["stride"]).backward(gy)
    assert x.grad is not None
    return {"gx": x.grad}


MAX_POOL2D_BACKWARD = Exercise(
    name="max_pool2d_backward",
    words="the gradient of a maximum over windows: the winner takes it",
    outputs=("gx",),
    cases=_max_cases(),
    truth=_max_truth,
    attempt=_max_attempt,
    slips={
        "overwritten": "a pixel that wins in two windows keeps the last gradient only: they must add up",
        "ties": "of equal numbers in a window each gets the whole gradient: only the first may",
        "shared": "of equal numbers in a window each gets a share: by convention the first takes it all",
        "last": "of equal numbers in a window the last wins: by convention the first does",
        "spread": "the gradient is spread over the window, as for a mean: the winner takes all",
        "no gy": "the winner gets 1: by the chain rule it is gy",
        "magnitude": "the winner is the largest in magnitude: -3 does not win over 2",
        "stride": "windows are taken side by side, a window's size apart, whatever the stride",
    },
)


# --------------------------------------------------------------------------------------------------- mean


def _mean_cases() -> tuple[Case, ...]:
    generator = Generator(9)
    rows = [
        ("2×2, stride 2", (2, 2, 4, 6), 2, 2, 0),
        ("3×3, stride 1: windows overlap", (1, 2, 5, 4), 3, 1, 0),
        ("3×3, stride 2, padding 1", (2, 1, 5, 7), 3, 2, 1),
        ("2×2, stride 3: pixels in no window", (1, 2, 6, 8), 2, 3, 0),
    ]
    cases = []
    for words, shape, kernel_size, stride, padding in rows:
        settings = {"kernel_size": kernel_size, "stride": stride, "padding": padding}
        x = generator.normal(shape, dtype="float64")
        gy = generator.normal(_pooled(x.shape, **settings), dtype="float64")
        cases.append(Case(words, {"gy": gy, "x_shape": shape, **settings}))
    return tuple(cases)


def _mean_attempt(
    gy: Array, x_shape: tuple, kernel_size: int, stride: int, padding: int, slips: Slips = NO_SLIP
) -> Outputs:
    N, C, H, W = x_shape
    K = kernel_size
    inside = np.pad(np.ones((H, W)), padding)
    padded = np.zeros((N, C, H + 2 * padding, W + 2 * padding))
    for oh in range(gy.shape[2]):
        for ow in range(gy.shape[3]):
            step = 1 if "stride ignored" in slips else stride
            rows, columns = (slice(i * step, i * step + K) for i in (oh, ow))
            divisor = inside[rows, columns].sum() if "inside only" in slips else K * K
            if "one side" in slips:
                divisor = K
            share = gy[:, :, oh, ow, None, None] / (1 if "divisor" in slips else divisor)
            if "overwritten" in slips:
                padded[:, :, rows, columns] = share
            else:
                padded[:, :, rows, columns] += share
    if "padding left" in slips:
        return {"gx": padded}
    cut = 0 if "padding kept" in slips else padding
    return {"gx": padded[:, :, cut : cut + H, cut : cut + W]}


def _mean_truth(case: Case) -> Outputs:
    settings = {key: case.arguments[key] for key in ("kernel_size", "stride", "padding")}
    arguments = {"x": np.zeros(case.arguments["x_shape"])} | settings  # a mean's slope is the same everywhere
    return differences(_mean, arguments, {"gx": "x"}, case.arguments["gy"])


AVG_POOL2D_BACKWARD = Exercise(
    name="avg_pool2d_backward",
    words="the gradient of a mean over windows: every pixel has its share",
    outputs=("gx",),
    cases=_mean_cases(),
    truth=_mean_truth,
    attempt=_mean_attempt,
    slips={
        "divisor": "the division by the size of the window is forgotten",
        "one side": "the division is by one side of the window, in place of its area",
        "overwritten": "windows that overlap overwrite each other, in place of adding up",
        "inside only": "the division is by the pixels inside the image: here the padding counts too",
        "padding kept": "the padding is not cut off, and the first rows and columns are taken for the image",
        "padding left": "the padding is not cut off at all",
        "stride ignored": "the window moves by one pixel, whatever the stride",
    },
)
