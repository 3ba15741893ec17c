"""Operations that run as one: the same numbers and gradients as one after another, and when they may."""

import numpy as np
import pytest
from cases import BATCH_NORMS, CONVOLUTIONS, DTYPES, applies, assert_close, named, normal, run

import minicnn as mc
from minicnn import functional as F
from minicnn import kernels, nn
from minicnn.functional import composed
from minicnn.functional.activation import CLIPPING

ACTIVATION = {"relu": F.relu, "relu6": F.relu6}
CLOSE = {np.float32: 1e-4, np.float64: 1e-12}


@pytest.fixture(autouse=True)
def _numba():
    """The family that has kernels for several operations at once; both are tested here, whichever is set."""
    with mc.use("numba"):
        yield


def test_every_activation_that_clips_is_tested():
    assert set(ACTIVATION) == set(CLIPPING)


# Convolution


def clipping_kernels():
    """Every case with every algorithm that clips what it stores."""
    found = [ran for ran in kernels.registered("numba") if ran.operation == "conv2d.forward_clipped"]
    assert len(found) >= 5
    return [
        pytest.param(case, ran.algorithm, id=f"{case.name}-{ran.algorithm}")
        for case in CONVOLUTIONS
        for ran in found
        if applies(ran, case)
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("case", "algorithm"), clipping_kernels())
def test_clipped_convolution_equals_convolution_and_activation(case, algorithm, dtype):
    activation = "relu6" if case.settings else "relu"

    def fused(x, w, b=None):
        return F.conv2d(x, 3 * w, b, activation=activation, **case.settings)

    def apart(x, w, b=None):
        return ACTIVATION[activation](F.conv2d(x, 3 * w, b, **case.settings))

    with mc.use(conv2d=algorithm):
        with mc.trace() as ran:
            results = run(fused, case.arrays(dtype))
        expected = run(apart, case.arrays(dtype))
    operations = [one.operation for one in ran if one.operation.partition(".")[0] != "mul"]
    assert operations[:2] == ["conv2d.forward_clipped", f"{activation}.backward"]
    assert ran[0].algorithm == algorithm
    for result, wanted in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, wanted)  # the same sums in the same order, then clipped


@pytest.mark.parametrize("algorithm", ["direct", "winograd", "winograd2", "im2col"])
def test_algorithm_set_by_name_is_the_one_that_runs(algorithm):
    x, w = mc.randn(2, 8, 6, 6), mc.randn(8, 8, 3, 3)
    for setting in ({"conv2d": algorithm}, {"conv2d.forward": algorithm}):
        with mc.use(algorithms=setting), mc.trace() as ran:
            F.conv2d(x, w, activation="relu")
        assert ran[0].algorithm == algorithm
        expected = ["conv2d.forward", "relu.forward"] if algorithm == "im2col" else ["conv2d.forward_clipped"]
        assert [one.operation for one in ran] == expected


def test_gradient_of_clipped_convolution():
    arrays = normal("x", (2, 3, 5, 5)), normal("w", (4, 3, 3, 3)), normal("b", 4)
    with mc.trace() as ran:
        assert mc.gradcheck(lambda *inputs: F.conv2d(*inputs, padding=1, activation="relu"), arrays)
    assert "conv2d.forward_clipped" in {one.operation for one in ran}


def test_nan_passes_through_a_clipped_convolution():
    """As through ReLU: a fault must not be hidden."""
    x = mc.zeros(1, 16, 8, 8)
    x.data[0, 3, 2, 2] = np.nan
    for kernel in (1, 3):
        w = mc.ones(16, 16, kernel, kernel)
        for algorithm in ("auto", "direct"):
            with mc.use(conv2d=algorithm):
                assert np.isnan(F.conv2d(x, w, padding=kernel // 2, activation="relu").data[0, :, 2, 2]).all()


# Batch norm


def arrays_with_shortcut(case, dtype):
    x, *parameters = case.arrays(dtype)
    return [3 * x + 10, normal("shortcut", x.shape, dtype), *parameters]


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("activation", [None, *ACTIVATION])
@pytest.mark.parametrize("with_shortcut", [True, False], ids=["shortcut", "alone"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", named(BATCH_NORMS))
def test_batch_norm_with_what_follows_equals_its_twin(case, dtype, with_shortcut, activation, training):
    C = case.shapes[0][1]

    def statistics():
        return mc.Tensor(np.linspace(9, 11, C).astype(dtype)), mc.Tensor(np.linspace(5, 12, C).astype(dtype))

    def fused(x, s, *parameters):
        shortcut = s if with_shortcut else None
        y = F.batch_norm(
            x, *fused_statistics, *parameters, training=training, shortcut=shortcut, activation=activation,
            **case.settings,
        )  # fmt: skip
        return y if with_shortcut else y + 0 * s

    def apart(x, s, *parameters):
        y = composed.batch_norm(x, *own_statistics, *parameters, training=training, **case.settings)
        return ACTIVATION.get(activation, lambda y: y)(y + s if with_shortcut else y + 0 * s)

    fused_statistics, own_statistics = statistics(), statistics()
    with mc.trace() as ran:
        results = run(fused, arrays_with_shortcut(case, dtype))
    expected = run(apart, arrays_with_shortcut(case, dtype))
    name = "batch_norm.training" if training else "batch_norm.inference"
    assert ran[0].operation == (f"{name}_clipped" if with_shortcut or activation else name)
    assert_close(results, expected, 20 * CLOSE[dtype])
    for moved, wanted in zip(fused_statistics, own_statistics, strict=True):
        np.testing.assert_allclose(moved.data, wanted.data, rtol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", named(BATCH_NORMS))
def test_batch_norm_and_silu_equal_their_twins(case, dtype):
    def fused(x, *parameters):
        return F.batch_norm(x, None, None, *parameters, training=True, activation="silu", **case.settings)

    def apart(x, *parameters):
        return composed.silu(composed.batch_norm(x, None, None, *parameters, training=True, **case.settings))

    x, *parameters = case.arrays(dtype)
    with mc.trace() as ran:
        results = run(fused, [3 * x + 10, *parameters])
    assert [one.operation for one in ran] == ["batch_norm.training_silu", "batch_norm.training_backward_silu"]
    assert_close(results, run(apart, [3 * x + 10, *parameters]), 20 * CLOSE[dtype])


@pytest.mark.parametrize("training", [True, False])
def test_gradient_of_batch_norm_with_what_follows(training):
    x, s = normal("x", (4, 3, 3, 2)), normal("s", (4, 3, 3, 2))
    w, b = normal("w", 3), normal("b", 3)
    statistics = mc.zeros(3, dtype="float64"), mc.ones(3, dtype="float64")

    def function(x, s, w, b):
        settings = {"training": training, "momentum": 0.0, "shortcut": s, "activation": "relu"}
        return F.batch_norm(x, *statistics, w, b, **settings)

    assert mc.gradcheck(function, (x, s, w, b))


def test_faults_are_named():
    x = mc.zeros(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"batch_norm: shortcut has shape \(2, 3, 4, 1\), but x has"):
        F.batch_norm(x, None, None, training=True, shortcut=mc.zeros(2, 3, 4, 1))
    for call in (
        lambda: F.conv2d(x, mc.zeros(2, 3, 1, 1), activation="tanh"),
        lambda: F.batch_norm(x, None, None, training=True, activation="tanh"),
    ):
        with pytest.raises(ValueError, match="activation 'tanh' is unknown.*known: relu, relu6"):
            call()


# Chains


def conv(C=4, M=4, **settings):
    return nn.Conv2d(C, M, 3, padding=1, **settings)


def norm(C=4):
    """A batch norm that is not the identity."""
    layer = nn.BatchNorm2d(C)
    for name, tensor in layer.state_dict().items():
        if name != "num_batches_tracked":
            tensor[...] = mc.rand(C).data + 0.5
    return layer


class OwnReLU(nn.ReLU):
    """Somebody's own layer: nobody knows what it does."""

    def forward(self, x):
        return F.relu(x - 0.25)


CHAINS = {
    "convolution and ReLU": (
        lambda x: [conv(), nn.ReLU()],
        "conv2d.forward_clipped",
        "conv2d.forward_clipped",
    ),
    "convolution with bias and ReLU6": (
        lambda x: [conv(), nn.ReLU6(), nn.ReLU()],
        "conv2d.forward_clipped relu.forward",
        "conv2d.forward_clipped relu.forward",
    ),
    "convolution and batch norm": (
        lambda x: [conv(), norm()],
        "conv2d.forward batch_norm.training",
        "conv2d.forward",
    ),
    "convolution, batch norm, ReLU": (
        lambda x: [conv(bias=False), norm(), nn.ReLU()],
        "conv2d.forward batch_norm.training_clipped",
        "conv2d.forward_clipped",
    ),
    "residual": (
        lambda x: [conv(bias=False), norm(), nn.Plus(x), nn.ReLU()],
        "conv2d.forward batch_norm.training_clipped",
        "conv2d.forward batch_norm.inference_clipped",
    ),
    "residual without activation": (
        lambda x: [conv(bias=False), norm(), nn.Plus(x), nn.Tanh()],
        "conv2d.forward batch_norm.training_clipped tanh.forward",
        "conv2d.forward batch_norm.inference_clipped tanh.forward",
    ),
    "a shortcut that is repeated": (
        lambda x: [norm(), nn.Plus(x[:, :, :1, :1]), nn.ReLU()],
        "batch_norm.training relu.forward",
        "batch_norm.inference relu.forward",
    ),
    "batch norm, ReLU, convolution": (
        lambda x: [norm(), nn.ReLU(), conv()],
        "batch_norm.training_clipped conv2d.forward",
        "batch_norm.inference_clipped conv2d.forward",
    ),
    "Sequentials are opened": (
        lambda x: [nn.Sequential(conv(), nn.Sequential(norm())), nn.ReLU()],
        "conv2d.forward batch_norm.training_clipped",
        "conv2d.forward_clipped",
    ),
    "somebody's own layer": (
        lambda x: [conv(), norm(), OwnReLU()],
        "conv2d.forward batch_norm.training relu.forward",
        "conv2d.forward relu.forward",
    ),
    "statistics of the batch in inference, too": (
        lambda x: [conv(), nn.BatchNorm2d(4, track_running_stats=False), nn.ReLU()],
        "conv2d.forward batch_norm.training_clipped",
        "conv2d.forward batch_norm.training_clipped",
    ),
    "without scale and shift": (
        lambda x: [conv(bias=False), nn.BatchNorm2d(4, affine=False), nn.ReLU()],
        "conv2d.forward batch_norm.training_clipped",
        "conv2d.forward_clipped",
    ),
    "depthwise": (
        lambda x: [conv(groups=4, bias=False), norm(), nn.ReLU6()],
        "conv2d.forward batch_norm.training_clipped",
        "conv2d.forward_clipped",
    ),
    "convolution, batch norm, SiLU": (
        lambda x: [conv(bias=False), norm(), nn.SiLU()],
        "conv2d.forward batch_norm.training_silu",
        "conv2d.forward silu.forward",
    ),
    "a shortcut and SiLU": (
        lambda x: [norm(), nn.Plus(x), nn.SiLU()],
        "batch_norm.training_clipped silu.forward",
        "batch_norm.inference_clipped silu.forward",
    ),
    "nothing": (lambda x: [], "", ""),
}


def apply(make, training, fuse, backend="numba"):
    """What a chain computes, its gradients, its statistics, and what ran forward."""
    mc.manual_seed(3)
    x = mc.randn(2, 4, 5, 5, dtype="float64", requires_grad=training)
    layers = make(x)
    modules = [layer.double().train(training) for layer in layers if isinstance(layer, nn.Module)]
    with mc.use(backend, fuse=fuse), mc.set_grad_enabled(training):
        with mc.trace() as ran:
            y = nn.chain(x, *layers)
        forward = [one for one in ran if one.operation != "batch_norm.update"]  # which is never joined
        if training and y is not x:
            y.backward(normal("upstream", y.shape))
    tensors = [tensor for module in modules for tensor in (*module.parameters(), *module.buffers())]
    gradients = [tensor.grad for tensor in [x, *tensors] if tensor.grad is not None]
    return [y.data, *gradients, *(tensor.data for tensor in tensors)], forward


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", CHAINS)
def test_chain(name, training):
    make, in_training, in_inference = CHAINS[name]
    results, ran = apply(make, training, fuse=True)
    assert " ".join(one.operation for one in ran) == (in_training if training else in_inference)
    apart, ran = apply(make, training, fuse=False)
    assert not any(one.operation.endswith(("_clipped", "_silu")) for one in ran)
    reference, ran = apply(make, training, fuse=True, backend="numpy")
    assert not any(one.operation.endswith(("_clipped", "_silu")) for one in ran)
    assert_close(results, apart, 1e-10)
    assert_close(results, reference, 1e-10)


def test_nothing_is_folded_while_a_graph_is_recorded():
    x, layers = mc.randn(2, 4, 5, 5), [conv().eval(), norm().eval()]
    with mc.trace() as ran:
        y = nn.chain(x, *layers)
    assert [one.operation for one in ran] == ["conv2d.forward", "batch_norm.inference"]
    y.sum().backward()
    assert all(parameter.grad is not None for layer in layers for parameter in layer.parameters())


@pytest.mark.parametrize("hooked", [0, 1, 2])
def test_layer_with_a_hook_shows_its_own_result(hooked):
    layers = [conv().eval(), norm().eval(), nn.ReLU().eval()]
    x, seen = mc.randn(2, 4, 5, 5), []
    layers[hooked].register_forward_hook(lambda module, inputs, output: seen.append(output))
    with mc.no_grad():
        y = nn.Sequential(*layers)(x)
        expected = x
        for layer in layers[: hooked + 1]:
            expected = layer.forward(expected)
        np.testing.assert_allclose(seen[0].data, expected.data, atol=1e-6)
        with mc.use(fuse=False):
            np.testing.assert_allclose(y.data, nn.Sequential(*layers)(x).data, atol=1e-5)


def test_layers_that_do_not_fit_say_so():
    with mc.no_grad(), pytest.raises(ValueError, match="batch_norm: running_mean has shape"):
        nn.chain(mc.zeros(1, 4, 5, 5), conv(4, 8).eval(), norm(4).eval())


def test_setting_is_given_back():
    with mc.use(fuse=False):
        assert not kernels.fusing()
        with mc.use(conv2d="direct"):
            assert not kernels.fusing()
    assert kernels.fusing()


NETWORKS = {
    "alexnet": {"width": 8, "hidden": 32},
    "cifar_resnet20": {"width": 8, "n": 1},
    "densenet121": {"growth": 8, "width": 16, "depths": (1, 2, 1, 1)},
    "efficientnet_b0": {"width": 0.25, "stochastic_depth": 0.0},
    "googlenet": {"width": 16, "aux_logits": False},
    "mobilenet_v2": {"width_mult": 0.25},
    "resnet18": {"width": 8},
    "resnet50": {"width": 8, "depths": (1, 1, 1, 1)},
    "resnetv2_50": {"width": 8, "depths": (1, 1, 1, 1)},
    "vgg11_bn": {"width": 8, "hidden": 32},
}


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, training):
    """Every family of networks: the same logits, gradients and statistics, in fewer kernels."""
    mc.manual_seed(0)
    net = mc.models.create(name, num_classes=5, **NETWORKS[name]).double().train(training)
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    size = 32 if name.startswith("cifar") else 64
    x = mc.randn(2, 3, size, size, dtype="float64")
    start = {key: array.copy() for key, array in net.state_dict().items()}
    found, kernels_run = [], []
    for fuse in (True, False):
        net.load_state_dict(start)
        net.zero_grad()
        with mc.use(fuse=fuse), mc.trace() as ran, mc.set_grad_enabled(training):
            y = net(x)
            if training:
                y.backward(normal("upstream", y.shape))
        gradients = [parameter.grad for parameter in net.parameters()] if training else []
        found.append([y.data, *gradients, *(buffer.data.copy() for buffer in net.buffers())])
        kernels_run.append(len(ran))
    assert kernels_run[0] < 0.95 * kernels_run[1]
    scale = max(np.abs(gradient).max() for gradient in found[1][: 1 + len(gradients)])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9 * scale)
