"""The same numbers as PyTorch: values and gradients of every operation and layer, and the layers' names."""

import numpy as np
import pytest
from cases import (
    BATCH_NORMS,
    CONVOLUTIONS,
    DILATED_POOLS,
    DTYPES,
    LOCAL_RESPONSE_NORMS,
    POOLS,
    assert_close,
    distinct,
    named,
    normal,
    on_device,
    on_host,
    run,
    there,
)

import minicnn as mc
from minicnn import functional as F
from minicnn import nn
from minicnn.backend import default_device

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
TF = torch.nn.functional
THEIRS = "cuda" if default_device() == "cuda" and torch.cuda.is_available() else "cpu"
torch.backends.cudnn.allow_tf32 = False  # float32 is to be float32
torch.set_num_threads(1)  # its threads and those of NumPy's BLAS get in each other's way: six times slower
pytestmark = pytest.mark.oracle

both_dtypes = pytest.mark.parametrize("dtype", DTYPES)


def tolerance(dtype):
    return 1e-10 if dtype == np.float64 else 2e-5


def their(values, **settings):
    """PyTorch's tensor, on the GPU where ours are there and PyTorch can use it."""
    return torch.tensor(values, device=THEIRS, **settings)


def run_torch(function, arrays, gy):
    """Values and gradients by PyTorch, as ``cases.run`` gives ours."""
    tensors = [their(array, requires_grad=True) for array in arrays]
    y = function(*tensors)
    y.backward(their(gy))
    gradients = [torch.zeros_like(t) if t.grad is None else t.grad for t in tensors]
    return [y.detach().cpu().numpy(), *(gradient.cpu().numpy() for gradient in gradients)]


def assert_parity(ours, theirs, arrays):
    """Both functions of tensors agree on the arrays, with a random upstream gradient."""
    dtype = arrays[0].dtype
    with mc.no_grad():
        shape = ours(*(on_device(array) for array in arrays)).shape
    gy = normal("upstream", shape, dtype)
    assert_close(run(ours, arrays, gy), run_torch(theirs, arrays, gy), tolerance(dtype))


# Convolution, pooling, normalisation: the case table, and random geometries


def torch_conv2d(x, w, b=None, stride=1, padding=0, dilation=1, groups=1):
    """PyTorch has neither padding that differs from side to side nor "same" with a stride: pad beforehand."""
    if isinstance(padding, str) or np.ndim(padding) == 2:
        stride, dilation = np.broadcast_to(stride, 2), np.broadcast_to(dilation, 2)
        if padding == "same":
            extents = [d * (k - 1) + 1 for d, k in zip(dilation, w.shape[2:], strict=True)]
            totals = [
                max(int((-(-size // s) - 1) * s + extent - size), 0)
                for size, s, extent in zip(x.shape[2:], stride, extents, strict=True)
            ]
            padding = [(total // 2, total - total // 2) for total in totals]
        elif padding == "valid":
            padding = (0, 0), (0, 0)
        x = TF.pad(x, (*padding[1], *padding[0]))
        stride, dilation, padding = stride.tolist(), dilation.tolist(), 0
    return TF.conv2d(x, w, b, stride, padding, dilation, groups)


@both_dtypes
@pytest.mark.parametrize("case", named(CONVOLUTIONS))
def test_conv2d(case, dtype):
    assert_parity(
        lambda *tensors: F.conv2d(*tensors, **case.settings),
        lambda *tensors: torch_conv2d(*tensors, **case.settings),
        case.arrays(dtype),
    )


@pytest.mark.filterwarnings("ignore:Using padding='same'")
def test_same_padding_of_an_even_window():
    """The odd row and column come after the image."""
    arrays = [normal("x", (1, 2, 5, 6)), normal("w", (3, 2, 4, 2))]
    same = {"padding": "same"}
    assert_parity(lambda *ts: F.conv2d(*ts, **same), lambda *ts: TF.conv2d(*ts, **same), arrays)


@pytest.mark.parametrize("seed", range(40))
def test_conv2d_of_random_geometry(seed):
    random = np.random.default_rng(seed)
    groups, C, OC = (int(n) for n in random.integers(1, 4, 3))
    KH, KW, sh, sw, dh, dw, ph, pw = (int(n) for n in random.integers([1] * 6 + [0] * 2, [6, 6] + [4] * 6))
    H = max(1, dh * (KH - 1) + 1 - 2 * ph) + random.integers(0, 12)
    W = max(1, dw * (KW - 1) + 1 - 2 * pw) + random.integers(0, 12)
    shapes = (random.integers(1, 4), groups * C, H, W), (groups * OC, C, KH, KW), (groups * OC,)
    settings = {"stride": (sh, sw), "padding": (ph, pw), "dilation": (dh, dw), "groups": groups}
    assert_parity(
        lambda *tensors: F.conv2d(*tensors, **settings),
        lambda *tensors: TF.conv2d(*tensors, **settings),
        [random.standard_normal(shape) for shape in shapes],
    )


@both_dtypes
@pytest.mark.parametrize("case", named(POOLS + DILATED_POOLS))
def test_max_pool2d(case, dtype):
    assert_parity(
        lambda x: F.max_pool2d(x, **case.settings),
        lambda x: TF.max_pool2d(x, **case.settings),
        [distinct(case.name, case.shapes[0], dtype)],
    )


@pytest.mark.parametrize("case", named(POOLS + DILATED_POOLS))
def test_max_pool2d_of_equal_pixels(case):
    assert_parity(
        lambda x: F.max_pool2d(x, **case.settings),
        lambda x: TF.max_pool2d(x, **case.settings),
        [np.round(normal(case.name, case.shapes[0]))],
    )


def test_max_pool2d_of_nan():
    x, gy = normal("x", (2, 3, 6, 6)), normal("upstream", (2, 3, 3, 3))
    x[0, :, 1, ::2] = x[1, 0, 3:5, 2:4] = np.nan
    settings = {"kernel_size": 3, "stride": 2, "padding": 1}
    results = run(lambda x: F.max_pool2d(x, **settings), [x], gy)
    expected = run_torch(lambda x: TF.max_pool2d(x, **settings), [x], gy)
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)


@both_dtypes
@pytest.mark.parametrize("count_include_pad", [True, False])
@pytest.mark.parametrize("case", named(POOLS))
def test_avg_pool2d(case, count_include_pad, dtype):
    settings = {**case.settings, "count_include_pad": count_include_pad}
    assert_parity(
        lambda x: F.avg_pool2d(x, **settings),
        lambda x: TF.avg_pool2d(x, **settings),
        [distinct(case.name, case.shapes[0], dtype)],
    )


@pytest.mark.parametrize("seed", range(60))
def test_pooling_of_random_geometry(seed):
    random = np.random.default_rng(seed)
    kernel = random.integers(1, 6, 2)
    padding = [random.integers(0, k // 2 + 1) for k in kernel]
    size = [random.integers(max(1, k - 2 * p), k + 9) for k, p in zip(kernel, padding, strict=True)]
    settings = {"kernel_size": kernel, "stride": random.integers(1, 6, 2), "padding": padding}
    settings = {name: tuple(int(n) for n in pair) for name, pair in settings.items()}
    settings["ceil_mode"] = bool(random.integers(2))
    x = distinct(f"{seed}", (2, 2, *size))
    assert_parity(lambda x: F.max_pool2d(x, **settings), lambda x: TF.max_pool2d(x, **settings), [x])
    settings["count_include_pad"] = bool(random.integers(2))
    assert_parity(lambda x: F.avg_pool2d(x, **settings), lambda x: TF.avg_pool2d(x, **settings), [x])


@both_dtypes
@pytest.mark.parametrize("output_size", [1, 2, 3, 5, (2, 7), (4, 9), (None, 3), (7, 1)])
@pytest.mark.parametrize("name", ["adaptive_avg_pool2d", "adaptive_max_pool2d"])
def test_adaptive_pooling(name, output_size, dtype):
    assert_parity(
        lambda x: getattr(F, name)(x, output_size),
        lambda x: getattr(TF, name)(x, output_size),
        [distinct(name, (2, 3, 7, 8), dtype)],
    )


@both_dtypes
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("case", named(BATCH_NORMS))
def test_batch_norm(case, training, dtype):
    C = case.shapes[0][1]
    mean, var = normal("mean", C, dtype), np.square(normal("var", C, dtype)) + dtype(0.5)
    our_mean, our_var = mc.tensor(mean), mc.tensor(var)
    their_mean, their_var = their(mean), their(var)
    settings = {"training": training, "momentum": 0.0 if training else 0.1, **case.settings}
    assert_parity(
        lambda x, *wb: F.batch_norm(x, our_mean, our_var, *wb, **settings),
        lambda x, *wb: TF.batch_norm(x, their_mean, their_var, *wb, **settings),
        case.arrays(dtype),
    )


@both_dtypes
@pytest.mark.parametrize("case", named(LOCAL_RESPONSE_NORMS))
def test_local_response_norm(case, dtype):
    assert_parity(
        lambda x: F.local_response_norm(x, **case.settings),
        lambda x: TF.local_response_norm(x, **case.settings),
        case.arrays(dtype),
    )


# Activations, the linear layer, losses


@both_dtypes
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("relu", {}),
        ("relu6", {}),
        ("leaky_relu", {"negative_slope": 0.2}),
        ("leaky_relu", {}),
        ("tanh", {}),
        ("sigmoid", {}),
        ("silu", {}),
        ("softmax", {"dim": 1}),
        ("softmax", {"dim": -1}),
        ("log_softmax", {"dim": 0}),
    ],
)
def test_activations(name, settings, dtype):
    theirs = getattr(torch, name, None) or getattr(TF, name)
    x = 10 * distinct(name, (4, 5, 6), dtype)
    assert_parity(lambda x: getattr(F, name)(x, **settings), lambda x: theirs(x, **settings), [x])


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "abs", "sqrt"])
def test_gradients_at_a_kink(name):
    theirs = getattr(torch, name, None) or getattr(TF, name)
    x = np.array([0.0, 1.0]) if name != "sqrt" else np.array([4.0, 1.0])
    assert_parity(getattr(F, name), theirs, [x])


@both_dtypes
@pytest.mark.parametrize("shape", [(4, 6), (6,), (2, 3, 6)], ids=str)
def test_linear(shape, dtype):
    arrays = [normal("x", shape, dtype), normal("w", (5, 6), dtype), normal("b", 5, dtype)]
    assert_parity(F.linear, TF.linear, arrays)
    assert_parity(F.linear, TF.linear, arrays[:2])


TARGETS = {
    "labels": ((6, 4), np.array([0, 3, 1, 1, 2, 0])),
    "pixels": ((2, 4, 3, 2), np.array([[[0, 3], [1, 1], [2, 0]], [[2, 2], [0, 3], [1, 2]]])),
    "probabilities": ((6, 4), None),
    "probabilities of pixels": ((2, 4, 3, 2), None),
}


@both_dtypes
@pytest.mark.parametrize("ignore_index", [-100, 2])
@pytest.mark.parametrize("label_smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("target", TARGETS)
def test_cross_entropy(target, reduction, weighted, label_smoothing, ignore_index, dtype):
    shape, labels = TARGETS[target]
    labels = np.abs(normal("target", shape, dtype)) if labels is None else labels
    options = {"reduction": reduction, "label_smoothing": label_smoothing}
    if labels.dtype.kind == "i":  # PyTorch objects to an index beside probabilities
        options["ignore_index"] = ignore_index
    weight = np.array([0.5, 2.0, 1.0, 0.25], dtype) if weighted else None
    their_weight = their(weight) if weighted else None
    our_weight = there(weight) if weighted else None
    assert_parity(
        lambda x: F.cross_entropy(x, there(labels), our_weight, **options),
        lambda x: TF.cross_entropy(x, their(labels), their_weight, **options),
        [3 * normal("x", shape, dtype)],
    )


@both_dtypes
@pytest.mark.parametrize("ignore_index", [-100, 0])
@pytest.mark.parametrize("weighted", [False, True], ids=["", "weighted"])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("target", ["labels", "pixels"])
def test_nll_loss(target, reduction, weighted, ignore_index, dtype):
    shape, labels = TARGETS[target]
    options = {"reduction": reduction, "ignore_index": ignore_index}
    weight = np.array([0.5, 2.0, 1.0, 0.25], dtype) if weighted else None
    their_weight = their(weight) if weighted else None
    our_weight = there(weight) if weighted else None
    assert_parity(
        lambda x: F.nll_loss(x, there(labels), our_weight, **options),
        lambda x: TF.nll_loss(x, their(labels), their_weight, **options),
        [normal("x", shape, dtype)],
    )


@both_dtypes
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["binary_cross_entropy", "binary_cross_entropy_with_logits", "mse_loss"])
def test_losses_of_pairs(name, reduction, dtype):
    x = distinct("x", (4, 5), dtype)
    x = (x + 1) / 2 if name == "binary_cross_entropy" else 4 * x
    t = (distinct("t", (4, 5), dtype) + 1) / 2
    assert_parity(
        lambda x, t: getattr(F, name)(x, t, reduction=reduction),
        lambda x, t: getattr(TF, name)(x, t, reduction=reduction),
        [x, t],
    )


def test_binary_cross_entropy_where_logarithms_stop():
    x, t, gy = np.array([0.0, 1, 0, 1, 0.5]), np.array([0.0, 1, 1, 0, 1]), normal("upstream", 5)
    results = run(lambda x: F.binary_cross_entropy(x, there(t), "none"), [x], gy)
    expected = run_torch(lambda x: TF.binary_cross_entropy(x, their(t), reduction="none"), [x], gy)
    assert_close(results, expected, 1e-8)  # the denominator's least value is PyTorch's 1e-12, a float32


# Arithmetic, reductions, shapes: tensors' methods have the same names


X = normal("x", (3, 4, 5))
POSITIVE = np.abs(X) + 0.1


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        pytest.param(lambda x, y: x + y, [X, normal("y", (4, 1))], id="add"),
        pytest.param(lambda x, y: x - y, [X, normal("y", (1, 5))], id="sub"),
        pytest.param(lambda x, y: x * y, [X, normal("y", (3, 1, 1))], id="mul"),
        pytest.param(lambda x, y: x / y, [normal("y", (4, 5)), POSITIVE], id="div"),
        pytest.param(lambda x: 2 - x * 3 + 1 / x, [POSITIVE], id="numbers on either side"),
        pytest.param(lambda x: x**3 - x**2 + x**-1.5, [POSITIVE], id="pow of a number"),
        pytest.param(lambda x: x**2 + x**1 + x**0, [np.array([0.0, -2.0])], id="pow at zero"),
        pytest.param(lambda x: 3**x, [X], id="number to a power"),
        pytest.param(lambda x, y: x**y, [POSITIVE, normal("y", (4, 1))], id="pow"),
        pytest.param(lambda x: x.exp() + x.tanh() + x.sigmoid(), [X], id="exp"),
        pytest.param(lambda x: x.log() + x.sqrt(), [POSITIVE], id="log, sqrt"),
        pytest.param(lambda x: x.abs() - -x, [X], id="abs, neg"),
        pytest.param(lambda x: x.sum(), [X], id="sum"),
        pytest.param(lambda x: x.sum(1), [X], id="sum over one"),
        pytest.param(lambda x: x.sum((0, -1), keepdim=True), [X], id="sum over two"),
        pytest.param(lambda x: x.mean(), [X], id="mean"),
        pytest.param(lambda x: x.mean(dim=(0, 2)), [X], id="mean over two"),
        pytest.param(lambda x: x.var(), [X], id="var"),
        pytest.param(lambda x: x.var(dim=1, correction=0, keepdim=True), [X], id="var over one"),
        pytest.param(lambda x: x.var(dim=(0, 2)), [X], id="var over two"),
        pytest.param(lambda x: x.max() * x.min(), [X], id="max, min"),
        pytest.param(lambda x: x.max(dim=1).values, [X], id="max over one"),
        pytest.param(lambda x: x.min(dim=-1, keepdim=True).values, [X], id="min over one"),
        pytest.param(lambda x: x.max(1).values + x.min(1).values, [np.round(X)], id="max, min of equals"),
        pytest.param(lambda x: x.amax((0, 1)) + x.amin((0, 1)), [np.round(X)], id="amax, amin of equals"),
        pytest.param(lambda x: x.amax() + x.amin(2)[0, 0], [X], id="amax of all"),
        pytest.param(lambda x, y: x @ y, [X, normal("y", (5, 2))], id="matmul broadcast"),
        pytest.param(lambda x, y: x @ y, [normal("y", (2, 1, 3, 4)), X], id="matmul of batches"),
        pytest.param(lambda x, y: x @ y, [normal("y", 4), X], id="matmul vector and batch"),
        pytest.param(lambda x, y: x @ y, [X, normal("y", 5)], id="matmul batch and vector"),
        pytest.param(lambda x, y: x @ y, [normal("y", 4), normal("z", 4)], id="matmul of vectors"),
        pytest.param(lambda x: x.reshape(5, -1).T @ x.reshape(5, 12), [X], id="reshape"),
        pytest.param(lambda x: x.permute(2, 0, 1).transpose(0, -1) * 2, [X], id="permute, transpose"),
        pytest.param(
            lambda x: x.flatten(1).unsqueeze(1).squeeze() * 2, [X], id="flatten, unsqueeze, squeeze"
        ),
        pytest.param(lambda x: x.expand(2, 3, -1, 5) * 2, [X[:, :1]], id="expand"),
        pytest.param(lambda x: x[1:, ::2, -1] * 2, [X], id="slices"),
        pytest.param(lambda x: x[..., None, 2] * 2, [X], id="ellipsis and None"),
        pytest.param(lambda x: x[[0, 2, 0]], [X], id="list, an entry twice"),
        pytest.param(lambda x: x[np.array([0, 1]), np.array([3, 3])], [X], id="two arrays"),
        pytest.param(lambda x: x[:, [1, 1, 0], 2:4], [X], id="slice, list, slice"),
        pytest.param(lambda x: x[(0, 0), :], [X], id="tuple within, an entry twice"),
        pytest.param(lambda x: x[np.abs(X) > 0.5], [X], id="mask"),
        pytest.param(lambda x: sum(part.sum(1) for part in x.split([1, 3], 1)), [X], id="split by sizes"),
        pytest.param(lambda x: x.split(2, 2)[2] * x.split(2, 2)[0].sum(), [X], id="split"),
        pytest.param(lambda x: x.clip(-0.5, 0.7) + x.clip(min=0) * x.clip(max=1), [X], id="clip"),
    ],
)
def test_methods(function, arrays):
    assert_parity(function, function, arrays)


Y = normal("y", X.shape)


@pytest.mark.parametrize(
    ("function", "arrays"),
    [
        pytest.param(lambda lib, x, y: lib.cat([x, y, x], 1), [X, normal("y", (3, 2, 5))], id="cat"),
        pytest.param(lambda lib, x, y: lib.cat([x, y], dim=-1), [X, normal("y", (3, 4, 1))], id="cat last"),
        pytest.param(lambda lib, x, y: lib.stack([x, y, x], dim=2), [X, Y], id="stack"),
        pytest.param(lambda lib, x, y: lib.where(x > y, x, y * 2), [X, Y[0]], id="where"),
        pytest.param(lambda lib, x, y: lib.maximum(x, y), [np.round(X), np.round(Y[0])], id="maximum"),
        pytest.param(lambda lib, x, y: lib.minimum(x, y), [np.round(X), np.round(Y[0])], id="minimum"),
        pytest.param(lambda lib, x, y: lib.matmul(x, y), [X, normal("y", (3, 5, 2))], id="matmul"),
        pytest.param(lambda lib, x: lib.clip(x, 0.0, 1.0), [np.array([-1, 0, 0.5, 1, 2])], id="clip at ends"),
    ],
)
def test_functions(function, arrays):
    assert_parity(lambda *ts: function(mc, *ts), lambda *ts: function(torch, *ts), arrays)


@pytest.mark.parametrize("widths", [(1, 2), (0, 1, 2, 0), (1, 1, 0, 2, 3, 0)], ids=str)
def test_pad(widths):
    assert_parity(lambda x: F.pad(x, widths, value=1.5), lambda x: TF.pad(x, widths, value=1.5), [X])


# Layers

LAYERS = [
    ("Conv2d", (3, 8, 3), {}),
    ("Conv2d", (4, 6, (3, 5)), {"stride": 2, "padding": (1, 2), "groups": 2, "bias": False}),
    ("Linear", (7, 5), {}),
    ("Linear", (7, 5), {"bias": False}),
    ("BatchNorm1d", (6,), {}),
    ("BatchNorm2d", (6,), {}),
    ("BatchNorm2d", (6,), {"affine": False}),
    ("BatchNorm2d", (6,), {"track_running_stats": False}),
]


@pytest.mark.parametrize(("name", "sizes", "settings"), LAYERS)
def test_names_and_shapes_in_state_dicts(name, sizes, settings):
    ours, theirs = (getattr(lib, name)(*sizes, **settings).state_dict() for lib in (nn, torch.nn))
    theirs = {key: value.numpy() for key, value in theirs.items()}
    assert list(ours) == list(theirs)
    for key, value in ours.items():
        assert (value.shape, value.dtype) == (theirs[key].shape, theirs[key].dtype)


def test_names_in_a_nested_network():
    def network(nn):
        return nn.Sequential(
            nn.Conv2d(1, 4, 3),
            nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()),
            nn.ModuleList([nn.Linear(3, 2), nn.Identity(), nn.Linear(2, 2, bias=False)]),
            nn.ModuleDict({"left": nn.Linear(1, 1), "right": nn.Flatten()}),
        )

    ours, theirs = network(nn), network(torch.nn)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert [name for name, _ in ours.named_modules()] == [name for name, _ in theirs.named_modules()]


@pytest.mark.parametrize(("name", "sizes", "settings"), LAYERS[:4])
def test_default_initialisation(name, sizes, settings):
    """The same uniform distribution, seen by its bound and its variance."""
    sizes = (sizes[0] * 16, sizes[1] * 16, *sizes[2:])
    ours, theirs = getattr(nn, name)(*sizes, **settings), getattr(torch.nn, name)(*sizes, **settings)
    for (key, our), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        bound = (other.shape[0] / ours.weight.numel()) ** 0.5
        for values in (on_host(our), other.detach().numpy()):
            assert np.abs(values).max() <= bound, key
            assert np.abs(values).max() > 0.9 * bound, key
            assert values.std() == pytest.approx(bound / 3**0.5, rel=0.2 if values.ndim == 1 else 0.03)


@pytest.mark.parametrize("momentum", [0.1, 0.7, None, 0.0, 1.0])
@pytest.mark.parametrize(
    ("name", "shape"),
    [("BatchNorm1d", (6, 3)), ("BatchNorm1d", (4, 3, 2)), ("BatchNorm2d", (4, 3, 2, 5))],
)
def test_running_statistics_over_several_batches(name, shape, momentum):
    ours = getattr(nn, name)(3, momentum=momentum, dtype=np.float64)
    theirs = getattr(torch.nn, name)(3, momentum=momentum, dtype=torch.float64, device=THEIRS)
    for i in range(5):
        x = 3 * normal(f"batch {i}", shape) + i
        ours.train(i < 4)
        theirs.train(i < 4)
        y, expected = on_host(ours(mc.tensor(x))), theirs(their(x)).detach().cpu().numpy()
        np.testing.assert_allclose(y, expected, rtol=1e-10, atol=1e-12)
        for key, value in theirs.state_dict().items():
            np.testing.assert_allclose(on_host(ours.state_dict()[key]), value.cpu().numpy(), rtol=1e-12)


def test_a_network_with_the_weights_of_its_twin():
    """Weights travel by name; outputs, loss and every gradient are the same."""

    def network(nn):
        return nn.Sequential(
            nn.Conv2d(2, 6, 3, padding=1),
            nn.BatchNorm2d(6),
            nn.LeakyReLU(0.1),
            nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=True),
            nn.Conv2d(6, 6, 3, stride=2, groups=3, bias=False),
            nn.LocalResponseNorm(3, alpha=1.0),
            nn.SiLU(),
            nn.AvgPool2d(2, stride=1, padding=1, count_include_pad=False),
            nn.AdaptiveAvgPool2d((2, 3)),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(36, 5),
            nn.BatchNorm1d(5),
            nn.Sigmoid(),
            nn.Softmax(1),
        )

    ours, theirs = network(nn).double(), network(torch.nn).double().to(THEIRS)
    ours.load_state_dict({name: value.cpu().numpy() for name, value in theirs.state_dict().items()})
    x, labels = normal("x", (4, 2, 9, 10)), [0, 4, 2, 2]
    for training in (True, False):
        for net in (ours, theirs):
            net.train(training)
            net.zero_grad()
        loss = nn.CrossEntropyLoss(label_smoothing=0.1)(ours(mc.tensor(x)), labels)
        loss.backward()
        criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.1)
        their_loss = criterion(theirs(their(x)), their(labels))
        their_loss.backward()
        assert loss.item() == pytest.approx(their_loss.item(), rel=1e-12)
        their_gradients = dict(theirs.named_parameters())
        for name, parameter in ours.named_parameters():
            assert_close([on_host(parameter.grad)], [their_gradients[name].grad.cpu().numpy()], 1e-9)
