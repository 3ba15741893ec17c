"""Cases for convolution and pooling: one for each way in which windows can stand on an image."""

from typing import Any

from minicnn import functional as F
from minicnn.gradcases.case import Case, case, distinct, normal, uniform

CONVOLUTION = ("conv2d.forward", "conv2d.grad_input", "conv2d.grad_weight")
MAX_POOLING = ("max_pool2d.forward", "max_pool2d.backward")
AVG_POOLING = ("avg_pool2d.forward", "avg_pool2d.backward")


def conv(description: str, x: tuple, w: tuple, bias: bool = True, **settings: Any) -> Case:
    """conv2d of images and filters of these shapes."""
    inputs = (normal(*x), normal(*w), normal(w[0])) if bias else (normal(*x), normal(*w))
    return case(
        "conv2d", description, lambda *inputs: F.conv2d(*inputs, **settings), *inputs, parts=CONVOLUTION
    )


def channels_last(x: Any, w: Any) -> Any:
    """A convolution of arrays whose memory, and whose upstream gradient's, is not in the usual order."""
    y = F.conv2d(F.permute(x, 0, 3, 1, 2), F.permute(w, 3, 2, 0, 1), stride=2, padding=1)
    return F.permute(y, 0, 2, 3, 1)


CONVOLUTIONS = [
    conv("3×3", (2, 3, 5, 6), (4, 3, 3, 3)),
    conv("3×3 without bias", (2, 2, 5, 4), (3, 2, 3, 3), bias=False),
    conv("1×1", (2, 3, 3, 4), (4, 3, 1, 1)),
    conv("1×1, stride 2", (2, 3, 4, 5), (4, 3, 1, 1), stride=2),
    conv("1×1, padding 1", (1, 2, 3, 3), (2, 2, 1, 1), padding=1),
    conv("1×5", (1, 2, 3, 7), (3, 2, 1, 5), padding=(0, 2)),
    conv("5×1", (1, 2, 7, 3), (3, 2, 5, 1), padding=(2, 0)),
    conv("2×2, even", (2, 2, 4, 5), (3, 2, 2, 2)),
    conv("4×2, even, padding 1", (1, 2, 5, 4), (2, 2, 4, 2), padding=1),
    conv("as large as the image", (2, 2, 4, 3), (3, 2, 4, 3)),
    conv("7×7, stride 2, padding 3", (1, 1, 9, 8), (2, 1, 7, 7), stride=2, padding=3),
    conv("11×11, stride 4", (1, 1, 15, 15), (2, 1, 11, 11), stride=4),
    conv("stride 2 with a remainder", (2, 2, 6, 8), (3, 2, 3, 3), stride=2),
    conv("stride 2 and 3", (2, 2, 6, 8), (2, 2, 3, 3), stride=(2, 3)),
    conv("stride above the window", (2, 2, 7, 8), (2, 2, 2, 2), stride=3),
    conv("padding 1", (2, 2, 4, 4), (3, 2, 3, 3), padding=1),
    conv("padding 2 and 1", (1, 2, 3, 4), (2, 2, 3, 3), padding=(2, 1)),
    conv("another padding on each side", (1, 2, 4, 4), (2, 2, 3, 3), padding=((0, 2), (3, 1))),
    conv("padding wider than the window", (1, 1, 2, 3), (2, 1, 2, 2), padding=3),
    conv('"same"', (1, 2, 4, 5), (2, 2, 3, 3), padding="same"),
    conv('"same", even window', (1, 2, 4, 5), (2, 2, 2, 4), padding="same"),
    conv('"same", stride 2', (1, 2, 5, 6), (2, 2, 3, 3), padding="same", stride=2),
    conv("dilation 2", (1, 2, 7, 6), (2, 2, 3, 3), dilation=2),
    conv("dilation 1 and 3, padding 2", (1, 2, 5, 6), (2, 2, 2, 3), dilation=(1, 3), padding=2),
    conv("2 groups", (2, 4, 4, 4), (6, 2, 3, 3), groups=2),
    conv("3 groups of one output", (2, 6, 4, 4), (3, 2, 2, 2), groups=3),
    conv("depthwise", (2, 3, 5, 5), (3, 1, 3, 3), groups=3, padding=1),
    conv("depthwise, stride 2", (2, 3, 5, 6), (3, 1, 3, 3), groups=3, stride=2, padding=1),
    conv("depthwise, two outputs a channel", (1, 3, 4, 4), (6, 1, 3, 3), groups=3),
    conv(
        "everything at once",
        (2, 4, 6, 7),
        (4, 2, 3, 2),
        stride=(2, 1),
        padding=((2, 1), (0, 3)),
        dilation=(1, 2),
        groups=2,
    ),
    case(
        "conv2d",
        "memory in another order",
        channels_last,
        normal(2, 5, 4, 2),
        normal(3, 3, 2, 3),
        parts=CONVOLUTION,
    ),
]


def pool(operation: Any, description: str, x: tuple, *window: Any, **settings: Any) -> Case:
    """Max or average pooling of images of this shape."""
    parts = MAX_POOLING if operation is F.max_pool2d else AVG_POOLING
    inputs = distinct(*x) if operation is F.max_pool2d else normal(*x)
    fn = lambda x: operation(x, *window, **settings)  # noqa: E731  (a case holds a function)
    return case(operation.__name__, description, fn, inputs, parts=parts)


def pooled_channels_last(x: Any) -> Any:
    """Max pooling of an array whose memory is not in the usual order."""
    return F.permute(F.max_pool2d(F.permute(x, 0, 3, 1, 2), 3, 2, 1), 0, 2, 3, 1)


def averaged_channels_last(x: Any) -> Any:
    """Average pooling of an array whose memory is not in the usual order."""
    return F.permute(F.avg_pool2d(F.permute(x, 0, 3, 1, 2), 3, 2, 1), 0, 2, 3, 1)


WINDOWS: list[Any] = [
    ("2×2", (2, 3, 4, 6), 2),
    ("2×2 with a remainder", (2, 2, 5, 7), 2),
    ("overlapping: 3×3, stride 2", (2, 2, 7, 5), 3, 2),
    ("overlapping: 3×3, stride 1, padding 1", (1, 2, 4, 4), 3, 1, 1),
    ("3×2, stride 1 and 2", (1, 2, 5, 6), (3, 2), (1, 2)),
    ("1×3, padding 0 and 1", (1, 2, 3, 6), (1, 3), 2, (0, 1)),
    ("stride above the window", (1, 2, 7, 8), 2, 3),
    ("the whole image", (2, 3, 4, 5), (4, 5)),
    ("1×1, stride 2", (1, 2, 4, 5), 1, 2),
]

POOLING = [pool(operation, *window) for operation in (F.max_pool2d, F.avg_pool2d) for window in WINDOWS]
POOLING += [
    pool(F.max_pool2d, "ceil mode", (1, 2, 6, 6), 3, 2, ceil_mode=True),
    pool(F.max_pool2d, "ceil mode, padding 1", (1, 2, 6, 5), 3, 2, 1, ceil_mode=True),
    pool(F.max_pool2d, "dilation 2", (1, 2, 6, 7), 3, 1, 1, 2),
    pool(F.max_pool2d, "dilation 2, ceil mode", (1, 2, 6, 7), 2, 2, 0, (2, 1), ceil_mode=True),
    case(
        "max_pool2d", "memory in another order", pooled_channels_last, distinct(2, 5, 4, 3), parts=MAX_POOLING
    ),
    pool(F.avg_pool2d, "padding counts not", (1, 2, 4, 5), 3, 2, 1, count_include_pad=False),
    pool(F.avg_pool2d, "ceil mode", (1, 2, 6, 6), 3, 2, ceil_mode=True),
    pool(F.avg_pool2d, "ceil mode, padding 1", (1, 2, 6, 5), 3, 2, 1, ceil_mode=True),
    pool(
        F.avg_pool2d,
        "ceil mode, padding counts not",
        (1, 2, 6, 5),
        3,
        2,
        1,
        ceil_mode=True,
        count_include_pad=False,
    ),
    case(
        "avg_pool2d", "memory in another order", averaged_channels_last, normal(2, 5, 4, 3), parts=AVG_POOLING
    ),
]

ADAPTIVE = [
    case(operation.__name__, description, lambda x, size=size, f=operation: f(x, size), draw(*shape))
    for operation, draw in ((F.adaptive_avg_pool2d, normal), (F.adaptive_max_pool2d, distinct))
    for description, size, shape in [
        ("to one pixel", 1, (2, 3, 4, 5)),
        ("to bins of one size", 2, (2, 2, 4, 6)),
        ("to bins that overlap", (3, 2), (1, 2, 5, 7)),
        ("to more bins than pixels", (5, 3), (1, 2, 3, 2)),
        ("one size kept", (None, 2), (1, 2, 3, 5)),
    ]
]


def clipped(description: str, x: tuple, w: tuple, activation: str, **settings: Any) -> Case:
    """conv2d and an activation, by the kernels that do both; without such, one after the other."""
    fn = lambda x, w, b: F.conv2d(x, w, b, activation=activation, **settings)  # noqa: E731
    inputs = (normal(*x), uniform(-2, 2, *w), normal(w[0]))
    return case("conv2d", f"{description}, {activation}", fn, *inputs, parts=("conv2d.forward_clipped",))


CLIPPED = [
    clipped("3×3, padding 1", (2, 3, 5, 6), (4, 3, 3, 3), "relu", padding=1),
    clipped("3×3, padding 1", (2, 3, 5, 6), (4, 3, 3, 3), "relu6", padding=1),
    clipped("3×3, stride 2", (2, 3, 5, 6), (4, 3, 3, 3), "relu", stride=2),
    clipped("1×1", (2, 3, 3, 4), (4, 3, 1, 1), "relu6"),
    clipped("depthwise", (2, 3, 5, 5), (3, 1, 3, 3), "relu6", groups=3, padding=1),
]

TABLE = [*CONVOLUTIONS, *CLIPPED, *POOLING, *ADAPTIVE]
