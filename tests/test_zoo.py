"""The networks of the literature: counts, shapes and names as published, gradients, torchvision's numbers."""

import functools

import numpy as np
import pytest

import minicnn as mc
from minicnn import functional as F
from minicnn import nn
from minicnn.gradcases.case import spread_vectors
from minicnn.gradcheck import gradcheck
from minicnn.models.efficientnet import MBConv
from minicnn.models.mobilenet import rounded
from minicnn.summary import summarize

# A small variant of each family, and the side of the square images for it.
SMALL_CONV = {"width": 4, "hidden": 12, "num_classes": 5}
SMALL_RESNET = {"width": 4, "depths": (1, 2, 1, 1), "num_classes": 5}
SMALL_DENSE = {"width": 6, "growth": 4, "depths": (1, 2, 1, 1), "num_classes": 5}
SMALL_MBCONV = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 1))
SMALL_EFFICIENT = {"width": 0.25, "stages": SMALL_MBCONV, "stochastic_depth": 0.0, "num_classes": 5}
SMALL_NASNET = {"width": 4, "stem": 3, "cells": 1, "num_classes": 5}
SMALL_INCEPTION = {"width": 2, "num_classes": 5}
SMALL_SEPARABLE = ((16, 1), (32, 2), (32, 1), (48, 2))
SMALL_INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2))
TINY = {
    "alexnet": (SMALL_CONV, 63),
    "alexnet_2012": (SMALL_CONV, 227),
    "alexnet_2012_groups": (SMALL_CONV, 227),
    "alexnet_bn": (SMALL_CONV, 224),
    "cifar_plain20": ({"width": 4, "n": 1, "num_classes": 5}, 12),
    "cifar_resnet20": ({"width": 4, "n": 1, "num_classes": 5}, 12),
    "densenet121": (SMALL_DENSE, 40),
    "efficientnet_b0": (SMALL_EFFICIENT, 20),
    "googlenet": ({"width": 4, "num_classes": 5}, 65),
    "googlenet_2014": ({"width": 4, "num_classes": 5}, 33),
    "inception_resnet_v1": (SMALL_INCEPTION | {"depths": (1, 1, 1)}, 107),
    "inception_resnet_v2": (SMALL_INCEPTION | {"depths": (1, 1, 1)}, 107),
    "inception_v2": (SMALL_INCEPTION | {"width": 4, "bias": False}, 63),
    "inception_v3": (SMALL_INCEPTION, 75),
    "inception_v4": (SMALL_INCEPTION | {"depths": (1, 1, 1)}, 107),
    "lenet5": ({"num_classes": 5}, 28),
    "lenet5_1998": ({"num_classes": 5}, 32),
    "mnist_cnn": ({"num_classes": 5}, 28),
    "mobilenet_v1": ({"width_mult": 0.25, "table": SMALL_SEPARABLE, "num_classes": 5}, 20),
    "mobilenet_v2": ({"width_mult": 0.25, "table": SMALL_INVERTED, "num_classes": 5}, 20),
    "nasnetalarge": (SMALL_NASNET, 49),
    "nasnetamobile": (SMALL_NASNET, 49),
    "plain18": (SMALL_RESNET, 40),
    "resnet18": (SMALL_RESNET, 40),
    "resnet50": (SMALL_RESNET, 40),
    "resnetv2_50": (SMALL_RESNET, 40),
    "vgg11_bn": (SMALL_CONV, 33),
    "vgg11_lrn": (SMALL_CONV, 33),
    "vgg16": (SMALL_CONV, 33),
    "vgg16_c": (SMALL_CONV, 33),
    "xception": ({"width": 4, "depth": 1, "num_classes": 5}, 47),
}


def tiny(name, N=2, **options):
    """A small variant in float64, and images for it."""
    settings, side = TINY[name]
    generator = mc.random.Generator(2)
    model = lively(mc.models.create(name, **settings, **options), generator)
    C = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels
    return model, generator.normal((N, C, side, side), dtype=np.float64)


def lively(model, generator):
    """In float64; weights, scales, biases and statistics such that each matters to the logits, no dropout.

    With weights as small as some networks begin with, the first layers would hardly be felt at the end; with
    means above 0 taken off again and again, nothing at all would be left there in inference.
    """
    spread_vectors(model.double(), generator)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.data = buffer.data - 1
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def undrawn(name, **options):
    """The network at full size, with zeros for weights."""
    with nn.init.skip():
        model = mc.models.create(name, **options)
    for p in model.parameters():
        p.data[...] = 0
    return model


def losses(model, logits, labels):
    """Cross-entropy; of GoogLeNet in training, the paper's weighted sum."""
    if not isinstance(logits, tuple):
        return F.cross_entropy(logits, labels)
    main, upper, lower = (F.cross_entropy(y, labels) for y in logits)
    return main + 0.3 * (upper + lower)


class TestAsPublished:
    @pytest.mark.parametrize("name", mc.models.list())
    def test_costs(self, name):
        """What is stated where a network is registered is what its layers come to."""
        about = mc.models.info(name)
        with nn.init.skip():
            report = summarize(mc.models.create(name), about.input_shape)
        assert (report.parameters, report.trainable) == (about.parameters, about.parameters)
        assert (report.buffers, report.macs) == (about.buffers, about.macs)

    def test_years(self):
        """Of the paper; the course's own networks and heads for features have none."""
        without = {name for name in mc.models.list() if mc.models.info(name).year is None}
        courses = {
            name for name in mc.models.list() if "course" in mc.models.registry._entries[name][0].__module__
        }
        assert without == courses | {"alexnet_bn", "linear_head", "mlp_head"}
        assert all(1998 <= mc.models.info(name).year <= 2019 for name in set(mc.models.list()) - without)

    def test_auxiliary_heads(self):
        for name, parameters in (("googlenet", 13_004_888), ("googlenet_2014", 13_378_280)):
            with nn.init.skip():
                model = mc.models.create(name, aux_logits=True)
            assert sum(p.numel() for p in model.parameters()) == parameters

    def test_stride_on_the_1x1_convolution(self):
        """The paper's ResNet-50: the same parameters, less work."""
        report = summarize(undrawn("resnet50", stride_on="1x1"), (3, 224, 224))
        assert (report.parameters, report.macs) == (25_557_032, 3_857_973_248)

    def test_shortcut_options(self):
        """Projections are dearest everywhere (C), free of parameters where padded with zeros (A)."""
        counts = {}
        for option in "ABC":
            with nn.init.skip():
                model = mc.models.create("resnet34", shortcut=option)
            counts[option] = sum(p.numel() for p in model.parameters())
        assert counts["A"] == mc.models.info("plain34").parameters
        assert counts["B"] - counts["A"] == sum(C * 2 * C + 2 * 2 * C for C in (64, 128, 256))
        more = {64: 3, 128: 3, 256: 5, 512: 2}  # blocks that keep their shape
        assert counts["C"] - counts["B"] == sum(n * (C * C + 2 * C) for C, n in more.items())


STAGES = {
    "alexnet_2012": {"features": (256, 6, 6), "features.0": (96, 55, 55), "features.4": (256, 27, 27)},
    "alexnet_bn": {
        "features.0": (96, 54, 54),
        "features.3": (96, 26, 26),
        "features.4": (256, 26, 26),
        "features.7": (256, 12, 12),
        "features.8": (384, 10, 10),
        "features.11": (384, 8, 8),
        "features.14": (256, 6, 6),
        "features": (256, 2, 2),
    },
    "cifar_resnet20": {"layer1": (16, 32, 32), "layer2": (32, 16, 16), "layer3": (64, 8, 8)},
    "densenet121": {
        "features.pool0": (64, 56, 56),
        "features.denseblock1": (256, 56, 56),
        "features.transition1": (128, 28, 28),
        "features.denseblock2": (512, 28, 28),
        "features.denseblock3": (1024, 14, 14),
        "features": (1024, 7, 7),
    },
    "densenet169": {"features": (1664, 7, 7)},
    "densenet201": {"features": (1920, 7, 7)},
    "efficientnet_b0": {
        "features.0": (32, 112, 112),
        "features.1": (16, 112, 112),
        "features.2": (24, 56, 56),
        "features.3": (40, 28, 28),
        "features.4": (80, 14, 14),
        "features.5": (112, 14, 14),
        "features.6": (192, 7, 7),
        "features.7": (320, 7, 7),
        "features": (1280, 7, 7),
    },
    "googlenet": {"maxpool1": (64, 56, 56), "conv3": (192, 56, 56), "maxpool2": (192, 28, 28)},
    "inception_resnet_v1": {
        "conv2d_4b": (256, 35, 35),
        "repeat_1": (256, 35, 35),
        "mixed_6a": (896, 17, 17),
        "repeat_2": (896, 17, 17),
        "mixed_7a": (1792, 8, 8),
        "block8": (1792, 8, 8),
    },
    "inception_resnet_v2": {
        "maxpool_3a": (64, 73, 73),
        "conv2d_4a": (192, 71, 71),
        "mixed_5b": (320, 35, 35),
        "mixed_6a": (1088, 17, 17),
        "mixed_7a": (2080, 8, 8),
        "conv2d_7b": (1536, 8, 8),
    },
    "inception_v2": {
        "pool2_3x3_s2": (192, 28, 28),
        "inception_3b_pool": (256, 28, 28),
        "inception_3c_pool": (320, 14, 14),
        "inception_4a_pool": (576, 14, 14),
        "inception_4d_pool": (608, 14, 14),
        "inception_4e_pool": (608, 7, 7),
        "inception_5a_pool": (1056, 7, 7),
        "inception_5b_pool": (1024, 7, 7),
    },
    "inception_v3": {
        "Conv2d_1a_3x3": (32, 149, 149),
        "Conv2d_2b_3x3": (64, 147, 147),
        "Conv2d_4a_3x3": (192, 71, 71),
        "maxpool2": (192, 35, 35),
        "Mixed_5b": (256, 35, 35),
        "Mixed_5d": (288, 35, 35),
        "Mixed_6a": (768, 17, 17),
        "Mixed_6e": (768, 17, 17),
        "Mixed_7a": (1280, 8, 8),
        "Mixed_7c": (2048, 8, 8),
    },
    "inception_v4": {
        "features.2": (64, 147, 147),
        "features.3": (160, 73, 73),
        "features.4": (192, 71, 71),
        "features.9": (384, 35, 35),
        "features.17": (1024, 17, 17),
        "features.21": (1536, 8, 8),
    },
    "mobilenet_v1": {"features.0": (32, 112, 112), "features.2": (64, 112, 112), "features": (1024, 7, 7)},
    "mobilenet_v2": {
        "features.1": (16, 112, 112),
        "features.3": (24, 56, 56),
        "features.6": (32, 28, 28),
        "features.10": (64, 14, 14),
        "features.13": (96, 14, 14),
        "features.16": (160, 7, 7),
        "features.17": (320, 7, 7),
        "features": (1280, 7, 7),
    },
    "nasnetalarge": {
        "conv0": (96, 165, 165),
        "cell_stem_0": (168, 83, 83),
        "cell_stem_1": (336, 42, 42),
        "cell_5": (1008, 42, 42),
        "reduction_cell_0": (1344, 21, 21),
        "cell_11": (2016, 21, 21),
        "reduction_cell_1": (2688, 11, 11),
        "cell_17": (4032, 11, 11),
    },
    "nasnetamobile": {
        "conv0": (32, 111, 111),
        "cell_stem_0": (44, 56, 56),
        "cell_stem_1": (88, 28, 28),
        "cell_3": (264, 28, 28),
        "reduction_cell_0": (352, 14, 14),
        "cell_9": (528, 14, 14),
        "reduction_cell_1": (704, 7, 7),
        "cell_15": (1056, 7, 7),
    },
    "resnet18": {
        "maxpool": (64, 56, 56),
        "layer1": (64, 56, 56),
        "layer2": (128, 28, 28),
        "layer3": (256, 14, 14),
        "layer4": (512, 7, 7),
    },
    "resnet50": {
        "layer1": (256, 56, 56),
        "layer2": (512, 28, 28),
        "layer3": (1024, 14, 14),
        "layer4": (2048, 7, 7),
    },
    "resnetv2_50": {
        "stem": (64, 56, 56),
        "stages.0": (256, 56, 56),
        "stages.1": (512, 28, 28),
        "stages.2": (1024, 14, 14),
        "stages.3": (2048, 7, 7),
    },
    "vgg16": {
        "features.4": (64, 112, 112),
        "features.9": (128, 56, 56),
        "features.16": (256, 28, 28),
        "features.23": (512, 14, 14),
        "features": (512, 7, 7),
        "classifier.3": (4096,),
    },
    "xception": {
        "conv1": (32, 149, 149),
        "conv2": (64, 147, 147),
        "block1": (128, 74, 74),
        "block2": (256, 37, 37),
        "block3": (728, 19, 19),
        "block11": (728, 19, 19),
        "block12": (1024, 10, 10),
        "conv4": (2048, 10, 10),
    },
}


def watched(model, x, paths):
    """The shape of one image's output at each path."""
    seen = {}
    handles = [
        model.get_submodule(path).register_forward_hook(
            lambda module, inputs, output, path=path: seen.update({path: output.shape[1:]})
        )
        for path in paths
    ]
    with mc.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("name", STAGES)
def test_shapes_of_the_stages(name):
    x = mc.zeros(1, *mc.models.info(name).input_shape)
    assert watched(undrawn(name).eval(), x, STAGES[name]) == STAGES[name]


# Weights, multiply-accumulates and output of each module, biases not counted. The paper's table 1 rounds to
# units of 1,024 and of 1,000,000; the parameters of its 4c and 5a are 7 % too few and 5 % too many.
INCEPTION = {
    "3a": (163_328, 128_049_152, (256, 28, 28), 159, 128),
    "3b": (388_096, 304_267_264, (480, 28, 28), 380, 304),
    "4a": (375_552, 73_608_192, (512, 14, 14), 364, 73),
    "4b": (448_512, 87_908_352, (512, 14, 14), 437, 88),
    "4c": (509_440, 99_850_240, (512, 14, 14), 463, 100),
    "4d": (604_672, 118_515_712, (528, 14, 14), 580, 119),
    "4e": (867_328, 169_996_288, (832, 14, 14), 840, 170),
    "5a": (1_042_432, 51_079_168, (832, 7, 7), 1072, 54),
    "5b": (1_442_816, 70_697_984, (1024, 7, 7), 1388, 71),
}


def test_inception_modules_as_in_the_paper():
    model = undrawn("googlenet_2014")
    report = summarize(model, (3, 224, 224))
    shapes = watched(model.eval(), mc.zeros(1, 3, 224, 224), [f"inception{key}" for key in INCEPTION])
    for key, (weights, macs, shape, paper_weights, paper_operations) in INCEPTION.items():
        name = f"inception{key}"
        module = model.get_submodule(name)
        found = sum(p.numel() for p in module.parameters() if p.ndim == 4)
        assert (found, shapes[name]) == (weights, shape)
        assert sum(row.macs for row in report.rows if row.name.startswith(name)) == macs
        assert weights / 1024 == pytest.approx(paper_weights, rel=0.08)
        assert macs / 1e6 == pytest.approx(paper_operations, rel=0.06)


def test_alexnet_layer_by_layer():
    report = summarize(undrawn("alexnet_2012"), (3, 227, 227))
    layers = [(row.parameters, row.macs) for row in report.rows if row.parameters]
    assert layers == [
        (34_944, 105_415_200),
        (614_656, 447_897_600),
        (885_120, 149_520_384),
        (1_327_488, 224_280_576),
        (884_992, 149_520_384),
        (37_752_832, 37_748_736),
        (16_781_312, 16_777_216),
        (4_097_000, 4_096_000),
    ]
    convolutions, total = np.sum(layers[:5], axis=0), np.sum(layers, axis=0)
    assert convolutions[0] == 3_747_200
    np.testing.assert_allclose(convolutions / total, [0.06, 0.95], atol=0.005)
    biases = sum(np.prod(row.output_shape) for row in report.rows if row.kind == "Conv2d")
    assert total[1] + biases == 1_135_906_176  # where each convolution's bias counts as one more


# Parameters and multiply-accumulates of VGG's layers, and which of them are in the columns of the paper's
# table 1; D and E have all of a kind. In column C the last of three convolutions is 1×1.
VGG_LAYERS = {
    "1_1": (1_792, 86_704_128),
    "1_2": (36_928, 1_849_688_064),
    "2_1": (73_856, 924_844_032),
    "2_2": (147_584, 1_849_688_064),
    "3_1": (295_168, 924_844_032),
    "3_2": (590_080, 1_849_688_064),
    "3_3": (590_080, 1_849_688_064),
    "3_4": (590_080, 1_849_688_064),
    "4_1": (1_180_160, 924_844_032),
    "4_2": (2_359_808, 1_849_688_064),
    "4_3": (2_359_808, 1_849_688_064),
    "4_4": (2_359_808, 1_849_688_064),
    "5_1": (2_359_808, 462_422_016),
    "5_2": (2_359_808, 462_422_016),
    "5_3": (2_359_808, 462_422_016),
    "5_4": (2_359_808, 462_422_016),
    "fc6": (102_764_544, 102_760_448),
    "fc7": (16_781_312, 16_777_216),
    "fc8": (4_097_000, 4_096_000),
}
VGG_C = {"3_3": (65_792, 205_520_896), "4_3": (262_656, 205_520_896), "5_3": (262_656, 51_380_224)}
VGG_COLUMNS = {  # convolutions in each stage, and table 2's millions of parameters
    "vgg11": ((1, 1, 2, 2, 2), 133),
    "vgg13": ((2, 2, 2, 2, 2), 133),
    "vgg16_c": ((2, 2, 3, 3, 3), 134),
    "vgg16": ((2, 2, 3, 3, 3), 138),
    "vgg19": ((2, 2, 4, 4, 4), 144),
}


@pytest.mark.parametrize("name", VGG_COLUMNS)
def test_vgg_layer_by_layer(name):
    depths, millions = VGG_COLUMNS[name]
    report = summarize(undrawn(name), (3, 224, 224))
    found = [(row.parameters, row.macs) for row in report.rows if row.parameters]
    layers = [f"{i}_{j}" for i, depth in enumerate(depths, 1) for j in range(1, depth + 1)]
    expected = VGG_LAYERS | (VGG_C if name == "vgg16_c" else {})
    assert found == [expected[layer] for layer in (*layers, "fc6", "fc7", "fc8")]
    assert round(report.parameters / 1e6) == millions


def test_vgg16_is_mostly_its_first_dense_layer():
    parts = {name: p.numel() for name, p in undrawn("vgg16").named_parameters()}
    assert sum(n for name, n in parts.items() if name.startswith("features")) == 14_714_688
    assert parts["classifier.0.weight"] == 512 * 7 * 7 * 4096
    assert sum(p.numel() for p in undrawn("vgg19").features.parameters()) == 20_024_384


# The smallest side of an image.
LEAST = {
    "alexnet": 63,
    "cifar_resnet20": 1,
    "densenet121": 29,
    "efficientnet_b0": 1,
    "googlenet": 15,
    "googlenet_2014": 31,
    "inception_resnet_v1": 75,
    "inception_resnet_v2": 75,
    "inception_v3": 75,
    "inception_v4": 75,
    "mobilenet_v1": 1,
    "mobilenet_v2": 1,
    "nasnetalarge": 3,
    "nasnetamobile": 3,
    "resnet18": 1,
    "resnet50": 1,
    "resnetv2_50": 1,
    "vgg16": 32,
    "xception": 7,
}


class TestInput:
    @pytest.mark.parametrize("name", LEAST)
    def test_the_smallest_image_is_the_one_documented(self, name):
        model, least = tiny(name)[0].eval(), LEAST[name]
        with mc.no_grad():
            assert np.isfinite(model(mc.zeros(2, 3, least, least, dtype="float64")).data).all()
        if least > 1:
            expected = (
                rf"^{name}: x has shape \(2, 3, {least - 1}, 40\), but H and W of at least {least} .*: "
            )
            with pytest.raises(ValueError, match=expected):
                model(mc.zeros(2, 3, least - 1, 40, dtype="float64"))

    @pytest.mark.parametrize("name", LEAST)
    def test_less_would_not_fit(self, name, monkeypatch):
        """The smallest size is the network's own limit, not a number made up."""
        model, least = tiny(name)[0].eval(), LEAST[name]
        if least > 1:
            monkeypatch.setitem(type(model).forward.__globals__, "check_size", lambda *_: None)
            with pytest.raises(ValueError, match="window"):
                model(mc.zeros(2, 3, least - 1, least - 1, dtype="float64"))

    @pytest.mark.parametrize("name", TINY)
    def test_channels(self, name):
        model, x = tiny(name, in_channels=2)
        expected = rf"^{name}: x has shape \(2, 3, .*\), but \(N, 2, .*\) is expected$"
        with pytest.raises(ValueError, match=expected):
            model(mc.zeros(2, 3, *x.shape[2:], dtype="float64"))
        with mc.no_grad():
            assert model(mc.tensor(x)).shape == (2, 5)

    @pytest.mark.parametrize("name", TINY)
    def test_an_image_without_its_batch(self, name):
        model, x = tiny(name)
        with pytest.raises(ValueError, match=rf"^{name}: x has shape .* is expected$"):
            model(mc.tensor(x[0]))

    @pytest.mark.parametrize(
        ("name", "options", "message"),
        [
            ("resnet18", {"depths": (2, 2, 2)}, "resnet18: depths must be 4 numbers, .* is (2, 2, 2)"),
            (
                "resnet18",
                {"depths": (2, 2, 0, 2)},
                "resnet18: depths[2] must be a positive integer, but is 0",
            ),
            ("resnet18", {"shortcut": "D"}, "resnet18: shortcut must be one of A, B, C, none, but is 'D'"),
            ("resnet50", {"stride_on": "5x5"}, "resnet50: stride_on must be '3x3' or '1x1', but is '5x5'"),
            ("resnetv2_50", {"stride_on": 3}, "resnetv2_50: stride_on must be '3x3' or '1x1', but is 3"),
            ("cifar_resnet20", {"n": 0}, "cifar_resnet20: n must be a positive integer, but is 0"),
            ("cifar_resnet20", {"shortcut": 1}, "cifar_resnet20: shortcut must be one of A, B, C, none"),
            ("efficientnet_b0", {"width": 0}, "efficientnet_b0: width must be a number > 0, but is 0"),
            ("efficientnet_b3", {"depth": "2"}, "efficientnet_b3: depth must be a number > 0, but is '2'"),
            ("efficientnet_b0", {"stochastic_depth": 2}, "efficientnet_b0: stochastic_depth must be between"),
            ("googlenet", {"width": 6}, "googlenet: width must be a multiple of 4, but is 6"),
            ("mobilenet_v2", {"width_mult": 0}, "mobilenet_v2: width_mult must be a number > 0, but is 0"),
            ("densenet121", {"growth": 0}, "densenet121: growth must be a positive integer, but is 0"),
            ("lenet5_1998", {"num_classes": 11}, "num_classes is 11, but only ten digits are drawn"),
            ("nasnetamobile", {"width": 6}, "nasnetamobile: width must be a multiple of 4, but is 6"),
            ("nasnetalarge", {"cells": 0}, "nasnetalarge: cells must be a positive integer, but is 0"),
            ("vgg16", {"hidden": 0}, "vgg16: hidden must be a positive integer, but is 0"),
            ("alexnet", {"width": -1}, "alexnet: width must be a positive integer, but is -1"),
            ("vgg16", {"dropout": 2}, "Dropout: p must be between 0 and 1, got 2"),
        ],
    )
    def test_options(self, name, options, message):
        pattern = message.replace("(", r"\(").replace(")", r"\)").replace("[", r"\[").replace("]", r"\]")
        with pytest.raises(ValueError, match=pattern):
            mc.models.create(name, **options)

    def test_the_papers_heads_train_on_one_size(self):
        model, _ = tiny("googlenet_2014", aux_logits=True)
        x = mc.zeros(1, 3, 256, 256, dtype="float64")
        with pytest.raises(
            ValueError, match=r"^googlenet_2014: x has shape .* \(N, 3, 224, 224\) is expected"
        ):
            model(x)
        with mc.no_grad():
            assert [y.shape for y in model(x[:, :, :224, :224])] == [(1, 5)] * 3
            assert model.eval()(x).shape == (1, 5)


def test_rounded_maps():
    """Never more than a tenth below what was asked for."""
    assert [rounded(maps) for maps in (3, 8, 11, 12, 13.4, 48, 100)] == [8, 8, 16, 16, 16, 48, 104]
    for maps in range(1, 200):
        assert rounded(maps) % 8 == 0
        assert rounded(maps) >= 0.9 * maps


class TestBehaviour:
    def test_padded_shortcut(self):
        shortcut = mc.models.resnet.PaddedShortcut(2, 5, 2)
        x = mc.randn(1, 2, 5, 4)
        y = shortcut(x).data
        assert y.shape == (1, 5, 3, 2)
        np.testing.assert_array_equal(y[:, :2], x.data[:, :, ::2, ::2])
        assert not y[:, 2:].any()

    def test_blocks_that_begin_as_their_shortcuts(self):
        """Where the last scale is 0, what a block adds is 0: relu of its own input comes out."""
        for name in ("resnet18", "resnet50"):
            model = mc.models.create(name, width=4, depths=(2, 1, 1, 1), zero_init_residual=True)
            block = model.layer1[1]
            x = mc.randn(2, block.conv1.in_channels, 6, 6)
            np.testing.assert_array_equal(block(x).data, np.maximum(x.data, 0))

    def test_a_plain_network_has_no_shortcut(self):
        model = mc.models.create("plain18", width=4, depths=(1, 1, 1, 1))
        nn.init.zeros_(model.layer1[0].bn2.weight)
        y = model.layer1[0](mc.randn(2, 4, 6, 6))
        assert not y.data.any()

    def test_dense_layers_see_all_before_them(self):
        model, x = tiny("densenet121")
        block = model.features.get_submodule("denseblock2")
        C = block.get_submodule("denselayer1").conv1.in_channels
        x = mc.randn(1, C, 4, 4, dtype="float64")
        y = block(x)
        np.testing.assert_array_equal(y.data[:, :C], x.data)
        first = block.get_submodule("denselayer1")(x)
        np.testing.assert_array_equal(y.data[:, C : C + 4], first.data)

    def test_googlenet_heads_in_training_only(self):
        model, x = tiny("googlenet", aux_logits=True)
        output = model(mc.tensor(x))
        assert output._fields == ("logits", "aux_logits2", "aux_logits1")
        losses(model, output, mc.tensor([0, 3])).backward()
        assert all(p.grad is not None for p in model.parameters())
        assert model.eval()(mc.tensor(x)).shape == (2, 5)

    def test_two_groups_see_half_of_the_maps(self):
        one, two = tiny("alexnet_2012")[0], tiny("alexnet_2012_groups")[0]
        shapes = [
            (a.weight.shape, b.weight.shape)
            for a, b in zip(one.features, two.features, strict=True)
            if isinstance(a, nn.Conv2d)
        ]
        assert [a[1] // b[1] for a, b in shapes] == [1, 2, 1, 2, 2]

    def test_dropout_is_an_option(self):
        for name, options in (
            ("vgg16", SMALL_CONV),
            ("densenet121", SMALL_DENSE),
            ("efficientnet_b0", SMALL_EFFICIENT),
            ("mobilenet_v2", {}),
            ("googlenet", {"width": 4}),
            ("alexnet_2012", SMALL_CONV),
        ):
            model = mc.models.create(name, dropout=0.3, **options)
            assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.3}, name


@pytest.mark.parametrize(
    ("name", "path", "std"),
    [
        ("resnet18", "layer4.0.conv1", (2 / (512 * 9)) ** 0.5),
        ("cifar_resnet56", "layer3.1.conv1", (2 / (64 * 9)) ** 0.5),
        ("densenet121", "features.denseblock4.denselayer1.conv1", (2 / 512) ** 0.5),
        ("efficientnet_b0", "features.8.0", (2 / 1280) ** 0.5),
        ("efficientnet_b0", "classifier.1", 1000**-0.5 / 3**0.5),
        ("mobilenet_v2", "features.18.0", (2 / 1280) ** 0.5),
        ("mobilenet_v2", "classifier.1", 0.01),
        ("googlenet", "inception5b.branch1.conv", 0.01),
        ("resnet18", "fc", 512**-0.5 / 3**0.5),
    ],
)
def test_initial_values(name, path, std):
    weight = mc.models.create(name).get_submodule(path).weight.data
    assert weight.std() == pytest.approx(std, rel=0.02)
    assert abs(weight.mean()) < 0.02 * std


def test_initial_values_without_full_size():
    model = mc.models.create("vgg16", hidden=32)
    assert model.features[28].weight.data.std() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.02)
    assert model.classifier[0].weight.data.std() == pytest.approx(0.01, rel=0.02)
    assert not any(p.data.any() for name, p in model.named_parameters() if name.endswith("bias"))
    model = mc.models.create("alexnet_2012", width=8, hidden=16)
    biases = [p.data[0] for name, p in model.named_parameters() if name.endswith("bias")]
    assert biases == [0, 1, 0, 1, 1, 1, 1, 0]


def test_skipping_draws_nothing():
    state = mc.random.default_generator.get_state()
    with nn.init.skip():
        mc.models.create("cifar_resnet20")
        nn.Linear(3, 4)
        with nn.init.skip():
            pass
        nn.Linear(3, 4)
    assert mc.random.default_generator.get_state() == state
    nn.Linear(3, 4)
    assert mc.random.default_generator.get_state() != state


# Smaller steps than 1e-6 where batch norm of few values bends sharply.
STEPS = {
    "alexnet_bn": 1e-7,
    "googlenet": 1e-7,
    "inception_resnet_v1": 1e-7,
    "inception_v2": 3e-8,
    "inception_v3": 3e-8,
    "inception_v4": 3e-8,
    "nasnetalarge": 1e-7,
    "nasnetamobile": 1e-7,
}


@pytest.mark.parametrize("name", TINY)
def test_gradients(name):
    """Through the whole network, to the images and to every parameter, with statistics of the batch.

    Where there are hundreds, to every third to ninth, which is a kernel here, a scale or a bias there.
    """
    model, x = tiny(name, N=3)
    parameters = list(model.parameters())
    gradcheck(
        lambda x, *_: F.cross_entropy(model(x), [0, 3, 1]),
        (x, *parameters[:: len(parameters) // 40 | 1]),  # odd, so as not to meet every second kind alone
        directions=1,
        step=STEPS.get(name, 1e-6),
        seed=3,
    )


# Σ logits · cos(0, 1, 2, …) of the small variants, in training and then in inference.
GOLDEN = {
    "alexnet": (-8.0408350046393, -8.0408350046393),
    "alexnet_2012": (-2.2479068018491, -2.2479068018491),
    "alexnet_2012_groups": (-6.2288357753946, -6.2288357753946),
    "alexnet_bn": (2.1013679789844, 33.790029650231),
    "cifar_plain20": (-0.096269675410421, -3.1615045729154),
    "cifar_resnet20": (1.4395323536198, -2.1736209528708),
    "densenet121": (-2.4744661154439, -2.7612298727151),
    "efficientnet_b0": (0.4257913299330612, 2.287559583742983),
    "googlenet": (-3.6790853144881, -6.5624318994842),
    "googlenet_2014": (1.5953584999406, 1.5953584999406),
    "inception_resnet_v1": (-3.8494557288311, -14.1749133225),
    "inception_resnet_v2": (1.7866344454703, 0.78599680213997),
    "inception_v2": (-0.39143107077175, -7.5358913622683),
    "inception_v3": (-4.4311592664973, -6.2529109606765),
    "inception_v4": (-2.8514760760524, -4.912015103464),
    "lenet5": (1.1483838867362, 1.1483838867362),
    "lenet5_1998": (-87.527470889684, -87.527470889684),
    "mnist_cnn": (-31.134250371389, -31.134250371389),
    "mobilenet_v1": (1.5932712137818, 6.4757921860484),
    "mobilenet_v2": (-1.1268731353047, 5.6933627889758),
    "nasnetalarge": (1.5742143189984, -2.9365943964807),
    "nasnetamobile": (-2.8122044080051, -2.2845278001097),
    "plain18": (4.2087897319794, 4.1016856559428),
    "resnet18": (0.11370804083334, 20.640881585466),
    "resnet50": (3.168016907854, 21.287070160849),
    "resnetv2_50": (-0.8550646199094288, -71.00414553093562),
    "vgg11_bn": (-0.40278101094259, 1.7112802139597),
    "vgg11_lrn": (-4.9275649922071, -4.9275649922071),
    "vgg16": (20.010476074862, 20.010476074862),
    "vgg16_c": (0.85700582310604, 0.85700582310604),
    "xception": (2.2828587681484, 332.03394241916),
}


def assert_lively(logits):
    """What is in the image is felt in its logits."""
    assert np.abs(logits[0] - logits[1]).max() > 0.01 * np.abs(logits).max()


def fingerprints(name):
    """Two numbers that hardly any change to a network leaves as they are."""
    model, x = tiny(name)
    found = []
    for mode in (True, False):
        with mc.no_grad():
            logits = model.train(mode)(mc.tensor(x)).data
        assert_lively(logits)
        found.append(float(logits.ravel() @ np.cos(np.arange(logits.size))))
    return found


@pytest.mark.parametrize("name", TINY)
def test_golden_logits(name):
    np.testing.assert_allclose(fingerprints(name), GOLDEN[name], rtol=1e-9)


# PyTorch's own networks, as a second opinion


def theirs(torchvision, name, **options):
    """torchvision's network, without memory for its weights."""
    import torch

    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": False} | options
    with torch.device("meta"):
        return getattr(torchvision, name)(**options)


PUBLISHED = [
    "alexnet", "densenet121", "densenet169", "densenet201",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
    "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "googlenet", "inception_v3",
    "mobilenet_v2",
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_torchvisions(torchvision, name):
    for options in ({}, {"aux_logits": True}) if name in ("googlenet", "inception_v3") else ({},):
        expected = [
            (key, tuple(value.shape))
            for key, value in theirs(torchvision, name, **options).state_dict().items()
        ]
        assert [
            (key, value.shape) for key, value in undrawn(name, **options).state_dict().items()
        ] == expected


def small_vgg(torchvision, batch_norm=False):
    """torchvision's VGG-11 with narrow layers."""
    import torch.nn as tnn

    make = torchvision.vgg.make_layers
    maps = [4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"]
    model = torchvision.VGG(make(maps, batch_norm), num_classes=5, init_weights=False)
    model.classifier = tnn.Sequential(
        tnn.Linear(32 * 49, 12), tnn.ReLU(), tnn.Dropout(), tnn.Linear(12, 12), tnn.ReLU(), tnn.Dropout(),
        tnn.Linear(12, 5),
    )  # fmt: skip
    return model


def small_alexnet(torchvision):
    """torchvision's AlexNet with narrow dense layers."""
    import torch.nn as tnn

    model = torchvision.AlexNet(num_classes=5)
    model.classifier = tnn.Sequential(
        tnn.Dropout(), tnn.Linear(256 * 36, 12), tnn.ReLU(), tnn.Dropout(), tnn.Linear(12, 12), tnn.ReLU(),
        tnn.Linear(12, 5),
    )  # fmt: skip
    return model


def small_efficientnet(torchvision, **settings):
    """torchvision's EfficientNet of half the width, with few blocks; normalised as B0, or as given."""
    from functools import partial

    from torch.nn import BatchNorm2d

    t = torchvision.efficientnet
    stages, C = [], 32
    for expansion, K, stride, maps, n in SMALL_MBCONV:
        stages.append(t.MBConvConfig(expansion, K, stride, C, maps, n, width_mult=0.5))
        C = maps
    return t.EfficientNet(stages, 0.2, 0.0, num_classes=5, norm_layer=partial(BatchNorm2d, **settings))


def small_inception(torchvision):
    """torchvision's Inception version 3 with a sixteenth of the maps."""
    import torch.nn as tnn

    theirs = torchvision.inception

    def unit(C, M, **options):
        return theirs.BasicConv2d(C if C == 3 else C // 16, M // 16, **options)

    kinds = ("InceptionA", "InceptionB", "InceptionC", "InceptionD", "InceptionE", "InceptionAux")
    modules = [functools.partial(getattr(theirs, kind), conv_block=unit) for kind in kinds]
    model = torchvision.Inception3(5, inception_blocks=[unit, *modules], init_weights=False)
    model.fc, model.AuxLogits.fc = tnn.Linear(128, 5), tnn.Linear(48, 5)
    return model


# Our network, its options, torchvision's, and the side of the images.
PAIRS = {
    "alexnet": ("alexnet", {"hidden": 12}, small_alexnet, 90),
    "densenet": (
        "densenet121",
        SMALL_DENSE,
        lambda tv: tv.DenseNet(4, (1, 2, 1, 1), 6, num_classes=5),
        48,
    ),
    "efficientnet_b0": ("efficientnet_b0", SMALL_EFFICIENT | {"width": 0.5}, small_efficientnet, 48),
    "efficientnet_b5": (
        "efficientnet_b5",
        SMALL_EFFICIENT | {"width": 0.5, "depth": 1.0},
        lambda tv: small_efficientnet(tv, eps=1e-3, momentum=0.01),
        48,
    ),
    "googlenet": (
        "googlenet",
        {"aux_logits": True},
        lambda tv: tv.GoogLeNet(5, aux_logits=True, init_weights=False),
        48,
    ),
    "inception_v3": ("inception_v3", {"width": 2, "aux_logits": True}, small_inception, 299),
    "mobilenet_v2": (
        "mobilenet_v2",
        {"width_mult": 0.5, "table": SMALL_INVERTED},
        lambda tv: tv.MobileNetV2(5, 0.5, SMALL_INVERTED),
        48,
    ),
    "resnet18": ("resnet18", {}, lambda tv: tv.resnet18(num_classes=5), 48),
    "resnet50": (
        "resnet50",
        {"depths": (1, 2, 1, 1)},
        lambda tv: tv.ResNet(tv.resnet.Bottleneck, [1, 2, 1, 1], num_classes=5),
        48,
    ),
    "vgg11": ("vgg11", {"width": 4, "hidden": 12}, small_vgg, 64),
    "vgg11_bn": ("vgg11_bn", {"width": 4, "hidden": 12}, lambda tv: small_vgg(tv, True), 70),
}

# Every network of torchvision's at its full width and depth.
FULL_SIZE = {
    name: (
        name,
        {},
        lambda tv, name=name: theirs(tv, name, num_classes=5),
        107 if name == "inception_v3" else 64,
    )
    for name in PUBLISHED
}
for name in [name for name in PUBLISHED if name.startswith("efficientnet")]:  # without what is drawn
    FULL_SIZE[name] = (
        name,
        {"stochastic_depth": 0.0},
        lambda tv, name=name: theirs(tv, name, num_classes=5, stochastic_depth_prob=0.0),
        64,
    )


def assert_close(found, expected, message):
    """Equal to nine digits of the largest number, in float32 to four; what should be 0 is rounding."""
    assert found.dtype == expected.dtype, message
    tolerance, least = (1e-9, 1e-4) if found.dtype != np.float32 else (1e-4, 1e-2)
    scale = max(np.abs(expected).max(), least)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale, err_msg=message)


def compare(torchvision, pair, training, dtype="float64", named=lambda key: key):
    """Our network and torchvision's, with our weights in both.

    ``named`` says how the other network calls what we call by a name.
    """
    import torch

    name, options, make, side = pair
    ours = undrawn(name, **{"num_classes": 5} | options)  # lively draws its weights
    lively(ours, mc.random.Generator(4)).to(dtype).train(training)
    calm(ours)
    with torch.device("meta"):
        other = make(torchvision)
    other = other.to(getattr(torch, dtype)).to_empty(device="cpu").train(training)
    shapes = {key: value.shape for key, value in other.state_dict().items()}
    arrays = {named(key): np.array(value) for key, value in ours.state_dict().items()}
    other.load_state_dict(
        {key: torch.from_numpy(value).reshape(shapes[key]) for key, value in arrays.items()}
    )
    assert_one_network(ours, other, side, named)


def calm(model):
    """Let EfficientNet's blocks add little to their shortcuts.

    Added as they are, dozens of them amplify rounding: B4's logits moved by 6e-9 in inference, and their
    gradients by 1e-6, when its images were changed by 1e-15: no two implementations can agree to 1e-9.
    """
    for module in model.modules():
        if isinstance(module, MBConv) and module.has_shortcut:
            last_norm = module.block[-1][1]
            last_norm.weight.data *= 0.3


def assert_one_network(ours, other, side, named=None):
    """Logits; in float64 also running statistics and the loss's gradients to images and parameters.

    ``other`` is PyTorch's, its parameters and buffers in the order of ours, or called as ``named`` says.
    """
    import torch

    for module in other.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    x = mc.random.Generator(6).normal((4, 3, side, side), dtype=next(ours.parameters()).dtype)
    labels = np.array([2, 0, 4, 2])
    ours_x, other_x = mc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    found, expected = ours(ours_x), other(other_x)
    found, expected = (y if isinstance(y, tuple) else (y,) for y in (found, expected))
    for a, b in zip(found, expected, strict=True):
        assert_lively(a.data)
        assert_close(a.data, b.detach().numpy(), "logits")
    if x.dtype == np.float32:
        return  # where float32 puts an entry on the other side of 0, its gradient is another one
    weights = (1.0, 0.3, 0.3)[: len(found)]
    sum(w * F.cross_entropy(y, labels) for w, y in zip(weights, found, strict=True)).backward()
    loss = torch.nn.functional.cross_entropy
    sum(w * loss(y, torch.from_numpy(labels)) for w, y in zip(weights, expected, strict=True)).backward()
    assert_close(ours_x.grad, other_x.grad.numpy(), "gradient to the images")
    for key, a, b in paired(ours.named_parameters(), other.named_parameters(), named):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None:
            assert_close(a.grad, b.grad.numpy().reshape(a.shape), f"gradient to {key}")
    for key, a, b in paired(ours.named_buffers(), other.named_buffers(), named):
        assert_close(a.data, b.numpy(), key)


def paired(ours, others, named):
    """Our name, ours and the other network's: in order, or by the other's names, all of them."""
    ours, others = dict(ours), dict(others)
    assert len(ours) == len(others)
    pairs = [(key, named(key)) for key in ours] if named else list(zip(ours, others, strict=True))
    return [(key, ours[key], others.pop(other)) for key, other in pairs]


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", PAIRS)
def test_torchvision_computes_the_same(torchvision, name, training, dtype):
    compare(torchvision, PAIRS[name], training, dtype)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", FULL_SIZE)
def test_torchvision_computes_the_same_at_full_size(torchvision, name, training):
    compare(torchvision, FULL_SIZE[name], training)
