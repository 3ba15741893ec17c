"""What operations say to bad input: the type of the error, and that it names what was given and expected."""

import re

import numpy as np
import pytest
from cases import there

import minicnn as mc
from minicnn import functional as F
from minicnn import nn


def x4(*shape, dtype=np.float32):
    return mc.zeros(*(shape or (2, 3, 8, 8)), dtype=dtype)


def w4(*shape, dtype=np.float32):
    return mc.zeros(*(shape or (4, 3, 3, 3)), dtype=dtype)


X, W = x4(), w4()

# A call, the error that it must raise, and what the message must hold, in this order.

CONVOLUTION = [
    (lambda: F.conv2d(x4(3, 8, 8), W), ValueError, "conv2d: x ... images (N, C, H, W) ... (3, 8, 8)"),
    (lambda: F.conv2d(X, w4(4, 3, 3)), ValueError, "conv2d: weight ... (OC, C/groups, KH, KW) ... (4, 3, 3)"),
    (lambda: F.conv2d(X, w4(4, 3, 0, 3)), ValueError, "conv2d: weight ... (4, 3, 0, 3)"),
    (
        lambda: F.conv2d(X, w4(4, 5, 3, 3)),
        ValueError,
        "conv2d: x has 3 channels ... expects 5 ... (4, 5, 3, 3)",
    ),
    (
        lambda: F.conv2d(X, w4(4, 3, 3, 3), groups=2),
        ValueError,
        "conv2d: x has 3 channels ... expects 3 in each of 2 groups",
    ),
    (
        lambda: F.conv2d(X, W, groups=3),
        ValueError,
        "conv2d: groups ... divide the 4 output channels ... got 3",
    ),
    (lambda: F.conv2d(X, W, groups=0), ValueError, "conv2d: groups ... got 0"),
    (lambda: F.conv2d(X, W, groups=1.5), ValueError, "conv2d: groups ... got 1.5"),
    (lambda: F.conv2d(X, W, mc.zeros(3)), ValueError, "conv2d: bias ... (3,) ... expected (4,)"),
    (lambda: F.conv2d(X, W, stride=0), ValueError, "conv2d: stride ... ≥ 1 ... got 0"),
    (lambda: F.conv2d(X, W, stride=(1, 2, 3)), ValueError, "conv2d: stride ... got (1, 2, 3)"),
    (lambda: F.conv2d(X, W, stride=1.0), ValueError, "conv2d: stride ... whole number ... got 1.0"),
    (lambda: F.conv2d(X, W, stride=True), ValueError, "conv2d: stride ... got True"),
    (lambda: F.conv2d(X, W, stride="2"), ValueError, "conv2d: stride ... got '2'"),
    (lambda: F.conv2d(X, W, dilation=(1, 0)), ValueError, "conv2d: dilation ... got (1, 0)"),
    (lambda: F.conv2d(X, W, padding=-1), ValueError, "conv2d: padding ... ≥ 0 ... got -1"),
    (lambda: F.conv2d(X, W, padding="sane"), ValueError, "conv2d: padding ... 'same' ... got 'sane'"),
    (
        lambda: F.conv2d(X, W, padding=(1, 1, 1, 1)),
        ValueError,
        "conv2d: padding ... ((top, bottom), (left, right)) ... got (1, 1, 1, 1)",
    ),
    (lambda: F.conv2d(X, W, padding=((1, 1), (1, -1))), ValueError, "conv2d: padding ... ((1, 1), (1, -1))"),
    (lambda: F.conv2d(X, W, padding=((1, 1), 1)), ValueError, "conv2d: padding ... ((1, 1), 1)"),
    (
        lambda: F.conv2d(X, w4(4, 3, 9, 2)),
        ValueError,
        "conv2d: the window covers 9×2 ... only 8×8 ... (2, 3, 8, 8)",
    ),
    (lambda: F.conv2d(X, W, dilation=5), ValueError, "conv2d: the window covers 11×11 ... 8×8"),
    (lambda: F.conv2d(x4(1, 3, 1, 1), W, padding=((1, 0), (1, 1))), ValueError, "covers 3×3 ... only 2×3"),
    (
        lambda: F.conv2d(x4(dtype=np.float64), W),
        TypeError,
        "conv2d: weight is float32 ... x is float64 ... .to(",
    ),
    (
        lambda: F.conv2d(x4(dtype=np.uint8), W),
        TypeError,
        "conv2d: x is uint8 ... floating-point ... .to('float32')",
    ),
    (lambda: F.conv2d(X, W, mc.zeros(4, dtype=np.float64)), TypeError, "conv2d: bias is float64 ... float32"),
    (lambda: F.conv2d("image", W), TypeError, "expected numbers ... str"),
]

POOLING = [
    (lambda: F.max_pool2d(x4(3, 8, 8), 2), ValueError, "max_pool2d: x ... images (N, C, H, W) ... (3, 8, 8)"),
    (lambda: F.max_pool2d(X, 0), ValueError, "max_pool2d: kernel_size ... ≥ 1 ... got 0"),
    (lambda: F.max_pool2d(X, (2, 2, 2)), ValueError, "max_pool2d: kernel_size ... (2, 2, 2)"),
    (lambda: F.max_pool2d(X, 2, stride=-1), ValueError, "max_pool2d: stride ... got -1"),
    (
        lambda: F.max_pool2d(X, 3, padding=2),
        ValueError,
        "max_pool2d: padding (2, 2) ... half of the window (3, 3)",
    ),
    (lambda: F.max_pool2d(X, 2, dilation=0), ValueError, "max_pool2d: dilation ... got 0"),
    (lambda: F.max_pool2d(X, 9), ValueError, "max_pool2d: the window covers 9×9 ... only 8×8"),
    (lambda: F.max_pool2d(X, 20, 2, ceil_mode=True), ValueError, "covers 20×20 ... only 8×8"),
    (lambda: F.max_pool2d(x4(dtype=np.int64), 2), TypeError, "max_pool2d: x is int64 ... floating-point"),
    (lambda: F.avg_pool2d(x4(8, 8), 2), ValueError, "avg_pool2d: x ... (8, 8)"),
    (lambda: F.avg_pool2d(X, 2, padding="same"), ValueError, "avg_pool2d: padding ... got 'same'"),
    (lambda: F.avg_pool2d(X, (9, 1)), ValueError, "avg_pool2d: the window covers 9×1 ... only 8×8"),
    (lambda: F.adaptive_avg_pool2d(X, 0), ValueError, "adaptive_avg_pool2d: output_size ... ≥ 1 ... got 0"),
    (
        lambda: F.adaptive_avg_pool2d(X, (1, 2, 3)),
        ValueError,
        "adaptive_avg_pool2d: output_size ... (1, 2, 3)",
    ),
    (lambda: F.adaptive_max_pool2d(X, 2.5), ValueError, "adaptive_max_pool2d: output_size ... got 2.5"),
    (lambda: F.adaptive_max_pool2d(x4(3, 8, 8), 2), ValueError, "adaptive_max_pool2d: x ... (3, 8, 8)"),
]

ONES, VECTOR = mc.ones(3), mc.zeros(4, 3)

NORMALISATION = [
    (lambda: F.batch_norm(mc.zeros(3), None, None), ValueError, "batch_norm: x ... (N, C, …) ... (3,)"),
    (
        lambda: F.batch_norm(VECTOR, mc.zeros(4), ONES),
        ValueError,
        "batch_norm: running_mean ... (4,) ... expected (3,)",
    ),
    (
        lambda: F.batch_norm(VECTOR, ONES, ONES, mc.zeros(1)),
        ValueError,
        "batch_norm: weight ... (1,) ... (3,)",
    ),
    (lambda: F.batch_norm(VECTOR, None, ONES), ValueError, "batch_norm: inference ... running_mean"),
    (
        lambda: F.batch_norm(mc.zeros(1, 3), None, None, training=True),
        ValueError,
        "batch_norm: training ... more than one entry ... (1, 3)",
    ),
    (
        lambda: F.batch_norm(mc.zeros(4, 3, dtype=np.float64), ONES, ONES),
        TypeError,
        "batch_norm: running_mean is float32 ... x is float64",
    ),
    (
        lambda: F.batch_norm(mc.tensor([[1, 2, 3]]), ONES, ONES),
        TypeError,
        "batch_norm: x is int64 ... floating",
    ),
    (lambda: F.local_response_norm(mc.zeros(2, 3), 5), ValueError, "local_response_norm: x ... (2, 3)"),
    (lambda: F.local_response_norm(X, 0), ValueError, "local_response_norm: size ... ≥ 1 ... got 0"),
    (
        lambda: F.local_response_norm(X, 2.0),
        ValueError,
        "local_response_norm: size ... whole number ... got 2.0",
    ),
    (
        lambda: F.local_response_norm(x4(dtype=np.int8), 5),
        TypeError,
        "local_response_norm: x is int8 ... floating",
    ),
    (lambda: F.dropout(X, 1.5), ValueError, "dropout: p ... between 0 and 1 ... got 1.5"),
    (lambda: F.dropout(X, -0.1), ValueError, "dropout: p ... got -0.1"),
    (lambda: F.dropout(X, float("nan")), ValueError, "dropout: p ... got nan"),
    (lambda: F.dropout(x4(dtype=np.int64)), TypeError, "dropout: x is int64 ... floating-point"),
    (
        lambda: F.stochastic_depth(X, 2, "row"),
        ValueError,
        "stochastic_depth: p ... between 0 and 1 ... got 2",
    ),
    (lambda: F.stochastic_depth(X, 0.5, "rows"), ValueError, "stochastic_depth: mode 'rows' ... 'row'"),
    (lambda: F.stochastic_depth(mc.ones(()), 0.5, "row"), ValueError, "stochastic_depth: x ... (N, …)"),
    (lambda: F.dropout2d(mc.zeros(3)), ValueError, "dropout2d: x ... (N, C, …) ... (3,)"),
]

LINEAR_AND_ACTIVATIONS = [
    (
        lambda: F.linear(mc.zeros(2, 400), mc.zeros(10, 256)),
        ValueError,
        "linear: x has 400 ... expects 256 ... (10, 256)",
    ),
    (lambda: F.linear(mc.zeros(2, 3), mc.zeros(3)), ValueError, "linear: ... weight (out, in) ... (3,)"),
    (lambda: F.linear(mc.tensor(1.0), mc.zeros(3, 1)), ValueError, "linear: ... (…, in) ... ()"),
    (
        lambda: F.linear(mc.zeros(2, 3), mc.zeros(5, 3), mc.zeros(3)),
        ValueError,
        "linear: bias ... (3,) ... expected (5,)",
    ),
    (
        lambda: F.linear(mc.zeros(2, 3, dtype=np.float64), mc.zeros(5, 3)),
        TypeError,
        "linear: weight is float32 ... float64",
    ),
    (lambda: F.softmax(VECTOR, 2), ValueError, "softmax: dim 2 ... 2 axes"),
    (lambda: F.softmax(VECTOR, None), TypeError, "softmax: dim ... got None"),
    (lambda: F.log_softmax(VECTOR, -3), ValueError, "log_softmax: dim -3 ... 2 axes"),
    *[
        (
            lambda name=name: getattr(F, name)(mc.tensor([1, 2])),
            TypeError,
            f"{name}: expected floating ... int64 ... .to(",
        )
        for name in (
            "relu",
            "relu6",
            "leaky_relu",
            "tanh",
            "sigmoid",
            "silu",
            "softmax",
            "log_softmax",
            "exp",
            "log",
            "sqrt",
        )
    ],
]

LOGITS = mc.zeros(2, 3)

LOSSES = [
    (lambda: F.cross_entropy(LOGITS, [0, 3]), ValueError, "cross_entropy: label 3 ... 3 classes ... 0 … 2"),
    (lambda: F.cross_entropy(LOGITS, [0, -1]), ValueError, "cross_entropy: label -1 ... 3 classes"),
    (lambda: F.cross_entropy(LOGITS, [0, 1, 2]), ValueError, "cross_entropy: target ... (3,) ... (2,)"),
    (
        lambda: F.cross_entropy(LOGITS, [[1, 0, 0], [0, 1, 0]]),
        ValueError,
        "cross_entropy: target is int64 ... (2, 3) ... class numbers ... probabilities (float32)",
    ),
    (
        lambda: F.cross_entropy(LOGITS, [0.0, 1.0]),
        TypeError,
        "cross_entropy: target is float64 ... class numbers",
    ),
    (
        lambda: F.cross_entropy(LOGITS, mc.zeros(2, 3, dtype="float64")),
        TypeError,
        "target is float64 ... x is float32",
    ),
    (lambda: F.cross_entropy(mc.zeros(3), [0]), ValueError, "cross_entropy: x ... (N, C) ... (3,)"),
    (lambda: F.cross_entropy(mc.tensor([[1, 2]]), [0]), TypeError, "cross_entropy: x is int64 ... floating"),
    (
        lambda: F.cross_entropy(LOGITS, [0, 1], mc.ones(2)),
        ValueError,
        "cross_entropy: weight ... (2,) ... (3,)",
    ),
    (
        lambda: F.cross_entropy(LOGITS, [0, 1], reduction="avg"),
        ValueError,
        "cross_entropy: reduction ... mean ... 'avg'",
    ),
    (lambda: F.cross_entropy(LOGITS, [0, 1], label_smoothing=1.1), ValueError, "label_smoothing ... got 1.1"),
    (lambda: F.nll_loss(LOGITS, [3, 0]), ValueError, "nll_loss: label 3 ... 3 classes"),
    (lambda: F.nll_loss(LOGITS, mc.zeros(2, 3)), TypeError, "nll_loss: target is float32 ... class numbers"),
    (lambda: F.mse_loss(mc.zeros(3), mc.zeros(3, 1)), ValueError, "mse_loss: x has shape (3,) ... (3, 1)"),
    (
        lambda: F.mse_loss(mc.zeros(3), mc.zeros(3, dtype="float64")),
        TypeError,
        "mse_loss: ... float32 ... float64",
    ),
    (lambda: F.mse_loss(mc.tensor([1]), mc.tensor([2])), TypeError, "mse_loss: x is int64 ... floating"),
    (
        lambda: F.binary_cross_entropy(mc.tensor([0.5, 1.5]), mc.ones(2)),
        ValueError,
        "binary_cross_entropy: x ... between 0 and 1 ... 0.5 … 1.5 ... binary_cross_entropy_with_logits",
    ),
    (
        lambda: F.binary_cross_entropy(mc.tensor([float("nan")]), mc.ones(1)),
        ValueError,
        "binary_cross_entropy: x ... between 0 and 1 ... nan",
    ),
    (lambda: F.one_hot([0, 3], 3), ValueError, "one_hot: label 3 ... 3 classes"),
    (lambda: F.one_hot([0.5], 3), TypeError, "one_hot: labels are float64 ... whole numbers"),
    (lambda: F.one_hot([0], 0), ValueError, "one_hot: num_classes ... got 0"),
]

SHAPES = [
    (lambda: F.pad(VECTOR, 1), ValueError, "pad: expected ... even number ... got 1"),
    (lambda: F.pad(VECTOR, (1,)), ValueError, "pad: expected ... even number ... (1,)"),
    (lambda: F.pad(VECTOR, (1,) * 6), ValueError, "pad: expected ... at most 4"),
    (lambda: F.pad(VECTOR, (1, -1)), ValueError, "pad: expected ... ≥ 0 ... (1, -1)"),
    (lambda: F.pad(VECTOR, (1, 1), mode="reflect"), ValueError, "pad: mode 'reflect' ... constant"),
    (lambda: mc.cat([]), ValueError, "cat: expected ... at least one"),
    (lambda: mc.cat([VECTOR, mc.zeros(4, 2)]), ValueError, "cat: tensor 1 ... (4, 2) ... (4, 3) ... dim 0"),
    (lambda: mc.cat([VECTOR, VECTOR], 2), ValueError, "cat: dim 2 ... 2 axes"),
    (lambda: mc.cat([VECTOR, VECTOR.double()]), TypeError, "cat: tensor 1 is float64 ... float32"),
    (lambda: mc.cat([mc.tensor(1.0)]), ValueError, "cat: tensor 0 ... single number"),
    (lambda: mc.stack([VECTOR, mc.zeros(4, 2)]), ValueError, "stack: tensor 1 ... (4, 2) ... (4, 3)"),
    (lambda: mc.split(VECTOR, [1, 1], 1), ValueError, "split: sizes [1, 1] ... add up to 3"),
    (lambda: mc.split(VECTOR, 0), ValueError, "split: expected ... ≥ 1 ... got 0"),
    (lambda: VECTOR.transpose(0, "1"), TypeError, "transpose: dim ... got '1'"),
    (lambda: VECTOR.sum("0"), TypeError, "sum: dim ... got '0'"),
    (lambda: VECTOR.mean(1.0), TypeError, "mean: dim ... got 1.0"),
    (lambda: F.amin(mc.zeros(0, 3), 0), ValueError, "amin: shape (0, 3) ... no entries"),
    (lambda: mc.minimum(VECTOR, mc.zeros(4)), ValueError, "minimum: shapes ... (4, 3) ... (4,)"),
    (lambda: mc.clip(VECTOR), ValueError, "clip: ... min and max"),
]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    CONVOLUTION + POOLING + NORMALISATION + LINEAR_AND_ACTIVATIONS + LOSSES + SHAPES,
    ids=lambda value: value[:60] if isinstance(value, str) else "",
)
def test_bad_input_is_refused_by_name(call, error, words):
    with pytest.raises(error) as raised:
        call()
    message = str(raised.value)
    assert re.search(".*".join(map(re.escape, words.split(" ... "))), message), message
    assert "\n" not in message


# Which kernels


@pytest.mark.parametrize(
    ("call", "parts"),
    [
        (
            lambda: mc.use("numpy", conv2d="im2coll"),
            ["conv2d algorithm 'im2coll'", "did you mean 'im2col'", "naive"],
        ),
        (
            lambda: mc.use("numpy", {"conv2d.grad_weight": "tops"}),
            ["conv2d.grad_weight", "did you mean 'taps'"],
        ),
        (lambda: mc.use(conv3d="im2col"), ["operation 'conv3d'", "did you mean 'conv2d'"]),
        (lambda: mc.use("numpy", max_pool2d="im2col"), ["max_pool2d algorithm 'im2col'", "naive, taps"]),
        (lambda: mc.use("nunpy"), ["backend: 'nunpy'", "did you mean 'numpy'"]),
    ],
)
def test_unknown_kernels_suggest_the_nearest(call, parts):
    with pytest.raises(ValueError, match="unknown") as raised:
        call()
    for part in parts:
        assert part in str(raised.value)


def test_a_refused_choice_changes_nothing():
    with mc.use("numpy", conv2d="taps"):
        with pytest.raises(ValueError, match="unknown"):
            mc.use("numpy", max_pool2d="naive", conv2d="fast")
        with mc.trace() as ran:
            F.max_pool2d(F.conv2d(x4(), w4()), 2)
    assert [one.algorithm for one in ran] == ["taps", "taps"]


def test_a_device_that_is_not_there():
    with pytest.raises(ValueError, match="device: 'cuda:7', but one GPU is used, which is 'cuda'"):
        mc.zeros(1).to("cuda:7")


# Nothing is changed before an error


def test_running_statistics_stay_where_batch_norm_refuses():
    mean, var = mc.zeros(3), mc.ones(3)
    for x in (mc.zeros(1, 3), mc.zeros(4, 3, dtype=np.float64), mc.zeros(4, 5)):
        with pytest.raises((ValueError, TypeError)):
            F.batch_norm(x, mean, var, training=True)
    assert mean.tolist() == [0, 0, 0]
    assert var.tolist() == [1, 1, 1]


def test_dropout_that_is_refused_draws_nothing():
    before = mc.random.default_generator.get_state()
    with pytest.raises(ValueError, match="p must be"):
        F.dropout(x4(), 2.0)
    assert mc.random.default_generator.get_state() == before


# NumPy's numbers are as good as Python's, and do not press their dtype upon a result


@pytest.mark.parametrize(
    "call",
    [
        lambda x, n: F.conv2d(x, mc.ones(4, 1, 3, 3), stride=n(2), padding=n(1), dilation=n(1), groups=n(4)),
        lambda x, n: F.max_pool2d(x, n(2), n(1), n(1)),
        lambda x, n: F.adaptive_avg_pool2d(x, n(3)),
        lambda x, n: F.local_response_norm(x, n(3), np.float64(1e-2), np.float64(0.5), np.float64(2)),
        lambda x, n: F.batch_norm(
            x, None, None, training=True, momentum=np.float64(0.1), eps=np.float64(1e-3)
        ),
        lambda x, n: F.leaky_relu(x, np.float64(0.1)),
        lambda x, n: F.dropout(x, np.float64(0.3)),
        lambda x, n: mc.clip(x, np.float64(-0.5), np.float64(0.5)),
        lambda x, n: F.softmax(x, n(1)) * np.sqrt(2) + np.float64(1) / (x + 9),
        lambda x, n: F.cross_entropy(x[..., 0, 0], [n(1), n(0)], label_smoothing=np.float64(0.1)),
        lambda x, n: x.sum(n(1)) ** np.float64(2),
        lambda x, n: F.pad(x, (n(1), n(0)), value=np.float64(3)),
    ],
)
@pytest.mark.parametrize("whole", [np.int64, np.int32, np.uint8])
def test_numpy_scalars_as_settings(call, whole):
    x = mc.rand(2, 4, 6, 6, requires_grad=True)
    y = call(x, whole)
    assert y.dtype == np.float32
    y.backward(there(np.full(y.shape, 0.5, np.float32)))
    assert x.grad.dtype == np.float32


def test_layers_refuse_at_once_what_their_operations_would_refuse_later():
    for call, part in [
        (lambda: nn.Conv2d(3, 4, 0), "kernel_size"),
        (lambda: nn.Conv2d(3, 4, 3, padding="sane"), "padding"),
        (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups"),
        (lambda: nn.Conv2d(3.0, 4, 3), "in_channels"),
        (lambda: nn.Linear(0, 4), "in_features"),
        (lambda: nn.BatchNorm2d(-1), "num_features"),
        (lambda: nn.BatchNorm2d(3, momentum=2), "momentum"),
        (lambda: nn.BatchNorm2d(3, eps=-1), "eps"),
        (lambda: nn.LocalResponseNorm(0), "size"),
        (lambda: nn.Dropout(1.5), "p must be"),
    ]:
        with pytest.raises(ValueError, match=part):
            call()
