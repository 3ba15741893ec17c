"""Which operations can be explained, with which options: one table, for the command line and for Python."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from minicnn.backend import unknown
from minicnn.explain.batch_norm import batch_norm
from minicnn.explain.convolutions import conv1x1, conv2d, depthwise_conv2d
from minicnn.explain.cross_entropy import cross_entropy
from minicnn.explain.document import Explanation
from minicnn.explain.elementwise import add, cat, dropout, relu
from minicnn.explain.linear import linear
from minicnn.explain.options import OPTIONS, as_flag, as_words
from minicnn.explain.pooling import avg_pool2d, max_pool2d
from minicnn.explain.response_norm import local_response_norm
from minicnn.explain.words import by
from minicnn.kernels import trace, use

AXES = {"CHW": ("C×H×W", "N×C×H×W"), "NC": ("C", "N×C"), "NCHW": ("N×C", "N×C×H×W")}
"""The shapes that an operation takes; a batch of one is put before what has none."""


@dataclass(frozen=True)
class Operation:
    """What makes its page, what it does in a few words, and its options with their defaults.

    ``axes`` is a key of AXES. An option that is None takes its value from the others.
    """

    build: Callable[..., Explanation]
    words: str
    axes: str
    options: dict[str, Any]

    def usage(self) -> str:
        """Its options with their defaults, and in brackets those that are off or follow from others.

        >>> OPERATIONS["conv1x1"].usage()
        '--input 3x3x3 --outputs 2 --stride 1 --seed 0'
        """
        words = []
        for name, default in self.options.items():
            option, given = OPTIONS[name], as_words({name: default})
            flag = option.switch[0] if option.switch else f"{as_flag(name)} {option.metavar}"
            words += given or [f"[{flag}]"]
        return " ".join(words)


def _sliding(**more: Any) -> dict[str, Any]:
    return {"input": (1, 5, 5), "kernel": 3, "stride": 2, "padding": 1, **more, "seed": 0}


OPERATIONS = {
    "conv2d": Operation(
        conv2d,
        "filters slide over an image: windows, im2col, Toeplitz, and three gradients",
        "CHW",
        _sliding(dilation=1, groups=1, outputs=None),
    ),
    "depthwise_conv2d": Operation(
        depthwise_conv2d,
        "each channel with a filter of its own (groups = C)",
        "CHW",
        {**_sliding(dilation=1), "input": (2, 4, 4), "stride": 1},
    ),
    "conv1x1": Operation(
        conv1x1,
        "at each pixel, the channels are mixed",
        "CHW",
        {"input": (3, 3, 3), "outputs": 2, "stride": 1, "seed": 0},
    ),
    "max_pool2d": Operation(
        max_pool2d,
        "the largest of each window, and the winner's gradient",
        "CHW",
        {**_sliding(ceil_mode=False), "stride": 1, "padding": 0},
    ),
    "avg_pool2d": Operation(
        avg_pool2d,
        "the mean of each window, and equal shares",
        "CHW",
        _sliding(ceil_mode=False, count_include_pad=True),
    ),
    "batch_norm": Operation(
        batch_norm,
        "statistics over the batch, and the three terms of gx",
        "NCHW",
        {"input": (2, 2, 2, 2), "eps": 1e-5, "seed": 0},
    ),
    "local_response_norm": Operation(
        local_response_norm,
        "neighbouring channels damp each other (AlexNet)",
        "CHW",
        {"input": (5, 1, 2), "size": 3, "alpha": 1.0, "beta": 0.75, "k": 1.0, "seed": 0},
    ),
    "relu": Operation(relu, "a gate for each number", "CHW", {"input": (1, 4, 4), "seed": 0}),
    "dropout": Operation(
        dropout, "the mask, and its factor", "CHW", {"input": (1, 4, 4), "p": 0.5, "seed": 0}
    ),
    "linear": Operation(
        linear, "a matrix product, and two more in backward", "NC", {"input": (2, 4), "outputs": 3, "seed": 0}
    ),
    "cross_entropy": Operation(
        cross_entropy,
        "softmax and its loss, whose gradient is p − q",
        "NC",
        {"input": (2, 4), "label_smoothing": 0.0, "seed": 0},
    ),
    "cat": Operation(
        cat, "channels put one after another", "CHW", {"input": (1, 2, 2), "second": (2, 2, 2), "seed": 0}
    ),
    "add": Operation(add, "the shortcut of a residual block", "CHW", {"input": (1, 3, 3), "seed": 0}),
}


ELSEWHERE = {
    "softmax": "cross_entropy",
    "concat": "cat",
    "shortcut": "add",
    "residual": "add",
    "pool": "max_pool2d",
    "fc": "linear",
    "dense": "linear",
    "lrn": "local_response_norm",
}
"""What people ask for by another name than PyTorch's."""


def explain(operation: str, options: dict[str, Any]) -> Explanation:
    """The explanation of an operation; see :func:`minicnn.explain`."""
    if operation in ELSEWHERE:
        raise ValueError(f"explain: {operation} is explained as {ELSEWHERE[operation]!r}")
    if operation not in OPERATIONS:
        raise ValueError(f"explain: operation {unknown(operation, OPERATIONS)}")
    about = OPERATIONS[operation]
    for name in options:
        if name not in about.options:
            raise ValueError(f"explain {operation}: option {unknown(name, about.options)}")
    values = {}
    for name, default in about.options.items():
        given = default if options.get(name) is None else options[name]
        values[name] = _read(operation, name, given)
    for name in ("input", "second"):
        if name in values:
            values[name] = _with_batch(operation, name, values[name])
    with use("numpy", conv2d="auto"), trace() as ran:
        try:
            found = about.build(**values)
        except ValueError as error:
            text = str(error).removeprefix(f"{operation}: ")
            raise ValueError(f"explain {operation}: {text}") from error
    found.command = " ".join(["minicnn explain", operation, *as_words(options)])
    found.kernels = sorted({repr(one) for one in ran})
    return found


def _read(operation: str, name: str, given: Any) -> Any:
    if given is None:
        return None
    option = OPTIONS[name]
    value = option.read(given)
    if value is None:
        raise ValueError(f"explain {operation}: {name} must be {option.expected}, got {given!r}")
    return value


def _with_batch(operation: str, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with its batch, or ValueError."""
    axes = OPERATIONS[operation].axes
    fitting = [form for form in AXES[axes] if form.count("×") == len(shape) - 1]
    if not fitting:
        raise ValueError(f"explain {operation}: {name} must be {' or '.join(AXES[axes])}, got {by(shape)}")
    return shape if fitting[0].startswith("N") else (1, *shape)
