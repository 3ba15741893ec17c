"""The networks as published: parameters, multiply-accumulates, and the shapes of their stages and layers."""

import numpy as np
import pytest
from zoo import undrawn, watched

import minicnn as mc
from minicnn import nn
from minicnn.summary import summarize


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
