"""EfficientNet and ResNet-v2, beyond the tables of all networks: how one is scaled, the other's shortcut."""

import importlib
import re

import numpy as np
import pytest
from cases import assert_close, normal, run
from test_parity import run_torch
from zoo import SMALL_EFFICIENT, SMALL_RESNET, compare, lively, undrawn

import minicnn as mc
from minicnn import functional as F
from minicnn import nn
from minicnn.models.efficientnet import MBConv

# EfficientNet

SCALED = {
    # name: blocks and maps of each stage, ε of batch norm, dropout
    "efficientnet_b0": ((1, 2, 2, 3, 3, 4, 1), (16, 24, 40, 80, 112, 192, 320), 1e-5, 0.2),
    "efficientnet_b1": ((2, 3, 3, 4, 4, 5, 2), (16, 24, 40, 80, 112, 192, 320), 1e-5, 0.2),
    "efficientnet_b2": ((2, 3, 3, 4, 4, 5, 2), (16, 24, 48, 88, 120, 208, 352), 1e-5, 0.3),
    "efficientnet_b3": ((2, 3, 3, 5, 5, 6, 2), (24, 32, 48, 96, 136, 232, 384), 1e-5, 0.3),
    "efficientnet_b4": ((2, 4, 4, 6, 6, 8, 2), (24, 32, 56, 112, 160, 272, 448), 1e-5, 0.4),
    "efficientnet_b5": ((3, 5, 5, 7, 7, 9, 3), (24, 40, 64, 128, 176, 304, 512), 1e-3, 0.4),
    "efficientnet_b6": ((3, 6, 6, 8, 8, 11, 3), (32, 40, 72, 144, 200, 344, 576), 1e-3, 0.5),
    "efficientnet_b7": ((4, 7, 7, 10, 10, 13, 4), (32, 48, 80, 160, 224, 384, 640), 1e-3, 0.5),
}


@pytest.mark.parametrize("name", SCALED)
def test_scaling(name):
    depths, widths, eps, dropout = SCALED[name]
    model = undrawn(name)
    stages = list(model.features)[1:-1]
    assert tuple(len(stage) for stage in stages) == depths
    assert tuple(stage[0].block[-1][0].out_channels for stage in stages) == widths
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(eps, 0.1 if eps == 1e-5 else 0.01)}
    assert [module.p for module in model.modules() if isinstance(module, nn.Dropout)] == [dropout]
    blocks = [block for stage in stages for block in stage]
    found = [block.stochastic_depth.p for block in blocks]
    np.testing.assert_allclose(found, 0.2 * np.arange(len(blocks)) / len(blocks))


def test_silent_branches():
    """In training an image whose branch falls comes out as it went in; otherwise the branch counts more."""
    block = MBConv(8, 8, 3, 1, 2, stochastic_depth=0.5)
    x = mc.randn(64, 8, 3, 3)
    y = block(x)
    same = (y.data == x.data).all(axis=(1, 2, 3))
    assert 16 < same.sum() < 48
    block.stochastic_depth.p = 0.0
    whole = block(x).data - x.data
    np.testing.assert_allclose(y.data[~same] - x.data[~same], 2 * whole[~same], atol=1e-5)
    block.stochastic_depth.p = 1.0
    np.testing.assert_array_equal(block(x).data, x.data)
    assert not (block.eval()(x).data == x.data).all(axis=(1, 2, 3)).any()


def test_a_block_without_a_shortcut_is_never_silent():
    for block in (MBConv(8, 16, 3, 1, 2, 1.0), MBConv(8, 8, 3, 2, 2, 1.0)):
        assert block(mc.randn(4, 8, 5, 5)).data.any(axis=(1, 2, 3)).all()


def test_a_seed_repeats_a_training_step():
    """Of dropout and stochastic depth alike, on either family of kernels."""
    model = mc.models.create("efficientnet_b0", **SMALL_EFFICIENT | {"stochastic_depth": 0.9}).double()
    x, found = mc.randn(6, 3, 20, 20, dtype="float64"), []
    for backend, seed in (("numpy", 5), ("numba", 5), ("numpy", 6)):
        mc.manual_seed(seed)
        with mc.use(backend), mc.no_grad():
            found.append(model(x).data)
    np.testing.assert_allclose(found[0], found[1], rtol=1e-9, atol=1e-12)
    assert np.abs(found[0] - found[2]).max() > 1e-3


def test_squeezed_maps_are_a_quarter_of_the_narrow_ends():
    model = undrawn("efficientnet_b0")
    found = [m.fc1.out_channels for m in model.modules() if isinstance(m, nn.SqueezeExcitation)]
    assert found == [8, 4, 6, 6, 10, 10, 20, 20, 20, 28, 28, 28, 48, 48, 48, 48]


@pytest.mark.oracle
@pytest.mark.parametrize("activation", ["ReLU", "SiLU"])
def test_squeeze_excitation_is_torchvisions(torchvision, activation):
    import torch

    ops = importlib.import_module("torchvision.ops")
    ours = lively(nn.SqueezeExcitation(6, 4, getattr(nn, activation)), mc.random.Generator(3))
    other = ops.SqueezeExcitation(6, 4, getattr(torch.nn, activation)).double()
    other.load_state_dict({key: torch.from_numpy(value.copy()) for key, value in ours.state_dict().items()})
    x, gy = normal("x", (3, 6, 5, 4)), normal("gy", (3, 6, 5, 4))
    assert_close(run(ours, [x], gy), run_torch(other, [x], gy), 1e-12)
    for (key, a), b in zip(ours.named_parameters(), other.parameters(), strict=True):
        np.testing.assert_allclose(a.grad, b.grad.numpy(), rtol=1e-9, err_msg=key)


@pytest.mark.oracle
@pytest.mark.parametrize("mode", ["row", "batch"])
@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_stochastic_depth_is_torchvisions(torchvision, mode, p):
    """All but which images fall: those that are kept are scaled alike, and as many fall."""
    import torch

    theirs = importlib.import_module("torchvision.ops").stochastic_depth
    torch.manual_seed(1)
    x, calls = np.ones((50, 2, 1, 1)), 40
    found, expected = [], []
    for _ in range(calls):
        found.append(F.stochastic_depth(mc.tensor(x), p, mode).data)
        expected.append(theirs(torch.from_numpy(x), p, mode).numpy())
    found, expected = np.stack(found), np.stack(expected)
    np.testing.assert_allclose(np.unique(found), np.unique(expected), rtol=1e-12)
    decisions = calls * (50 if mode == "row" else 1)
    error = 6 * (p * (1 - p) / decisions) ** 0.5 + 1e-9
    for y in (found, expected):
        assert abs((y == 0).mean() - p) <= error
    for y in (
        F.stochastic_depth(mc.tensor(x), p, mode, False).data,
        theirs(torch.from_numpy(x), p, mode, False),
    ):
        np.testing.assert_array_equal(y, x)


# ResNet-v2


def test_a_branch_of_zeros_leaves_the_shortcut_as_it_is():
    """Nothing touches the sum: negative numbers pass as well."""
    block = mc.models.create("resnetv2_50", **SMALL_RESNET).stages[1].blocks[1]
    nn.init.zeros_(block.conv3.weight)
    x = mc.randn(2, block.norm1.num_features, 5, 5)
    np.testing.assert_array_equal(block(x).data, x.data)


def test_where_the_stride_is():
    for stride_on, strides in (("3x3", [(1, 1), (2, 2)]), ("1x1", [(2, 2), (1, 1)])):
        block = mc.models.create("resnetv2_50", **SMALL_RESNET, stride_on=stride_on).stages[1].blocks[0]
        assert [block.conv1.stride, block.conv2.stride] == strides


def test_initial_values_of_version_2():
    model = mc.models.create("resnetv2_50", width=16, depths=(1, 1, 1, 1))
    conv, fc = model.stages[3].blocks[0].conv2.weight.data, model.head.fc
    assert conv.std() == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert fc.weight.data.std() == pytest.approx(0.01, rel=0.02)
    assert not fc.bias.data.any()


def test_without_the_norm_of_the_stem():
    for name, parameters in (("resnetv2_50", 25_549_352), ("resnetv2_101", 44_541_480)):
        assert sum(p.numel() for p in undrawn(name, stem_norm=False).parameters()) == parameters


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["resnetv2_50", "resnetv2_101", "resnetv2_152"])
def test_names_and_shapes_are_timms(name):
    timm, torch = pytest.importorskip("timm"), pytest.importorskip("torch")
    with torch.device("meta"):
        other = timm.create_model(name)
    expected = [(key, tuple(value.shape)) for key, value in other.state_dict().items()]
    assert [(key, v.shape) for key, v in undrawn(name, stem_norm=False).state_dict().items()] == expected


def small_timm(_):
    """timm's network with a quarter of the maps and few blocks."""
    layers = pytest.importorskip("timm.layers")
    from timm.models.resnetv2 import ResNetV2

    return ResNetV2(
        [1, 2, 1, 1],
        (64, 128, 256, 512),
        num_classes=5,
        stem_chs=16,
        conv_layer=layers.create_conv2d,
        norm_layer=layers.BatchNormAct2d,
    )


def small_pytorchcv(stride_on):
    """pytorchcv's network of the same size, which has a norm after the first convolution."""

    def make(_):
        from torch import nn as tnn

        preresnet = pytest.importorskip("pytorchcv.models.preresnet")
        channels = [[64], [128, 128], [256], [512]]
        net = preresnet.PreResNet(channels, 16, True, stride_on == "1x1", num_classes=5)
        net.features.final_pool = tnn.AdaptiveAvgPool2d(1)  # theirs is for 7×7 pixels, where it is the same
        return net

    return make


def name_in_pytorchcv(key):
    """What pytorchcv calls a parameter or buffer of ours."""

    def block(found):
        return f"features.stage{int(found[1]) + 1}.unit{int(found[2]) + 1}"

    renamed = (
        (r"stages\.(\d)\.blocks\.(\d)", block),
        (r"downsample\.conv", "identity_conv"),
        (r"(unit\d)\.conv(\d)", r"\1.body.conv\2.conv"),
        (r"(unit\d)\.norm(\d)", r"\1.body.conv\2.bn"),
        (r"^stem\.conv", "features.init_block.conv"),
        (r"^stem\.norm", "features.init_block.bn"),
        (r"^norm", "features.post_activ.bn"),
        (r"^head\.fc", "output"),
    )
    for ours, theirs in renamed:
        key = re.sub(ours, theirs, key)
    return key


SMALL = {"width": 16, "depths": (1, 2, 1, 1)}
both_modes = pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
both_dtypes = pytest.mark.parametrize("dtype", ["float64", "float32"])


@pytest.mark.oracle
@both_dtypes
@both_modes
def test_timm_computes_the_same(torchvision, training, dtype):
    compare(torchvision, ("resnetv2_50", SMALL | {"stem_norm": False}, small_timm, 64), training, dtype)


@pytest.mark.oracle
@both_dtypes
@both_modes
@pytest.mark.parametrize("stride_on", ["1x1", "3x3"])
def test_pytorchcv_computes_the_same(torchvision, stride_on, training, dtype):
    pair = "resnetv2_50", SMALL | {"stride_on": stride_on}, small_pytorchcv(stride_on), 64
    compare(torchvision, pair, training, dtype, name_in_pytorchcv)


@pytest.mark.slow
@pytest.mark.oracle
@both_modes
def test_full_size_of_version_2(torchvision, training):
    timm = pytest.importorskip("timm")
    pair = "resnetv2_50", {"stem_norm": False}, lambda _: timm.create_model("resnetv2_50", num_classes=5), 96
    compare(torchvision, pair, training)
