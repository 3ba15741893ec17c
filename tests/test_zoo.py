"""The networks of the literature at work: what they accept, how they begin, gradients, golden logits."""

import numpy as np
import pytest
from zoo import SMALL_CONV, SMALL_DENSE, SMALL_EFFICIENT, TINY, assert_lively, tiny

import minicnn as mc
from minicnn import functional as F
from minicnn import nn
from minicnn.gradcheck import gradcheck
from minicnn.models.mobilenet import rounded

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


def losses(model, logits, labels):
    """Cross-entropy; of GoogLeNet in training, the paper's weighted sum."""
    if not isinstance(logits, tuple):
        return F.cross_entropy(logits, labels)
    main, upper, lower = (F.cross_entropy(y, labels) for y in logits)
    return main + 0.3 * (upper + lower)


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
