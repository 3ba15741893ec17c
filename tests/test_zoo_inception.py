"""What is particular to the Inceptions and to Xception: windows taken apart, heads, sizes, residuals."""

import re

import numpy as np
import pytest
from zoo import tiny, undrawn, watched

import minicnn as mc
from minicnn import functional as F
from minicnn import nn
from minicnn.models.inception import Mixed, reduction_a
from minicnn.models.inception_v2 import check_even_halves
from minicnn.models.inception_v3 import Inception, figure6
from minicnn.summary import summarize


def count(model):
    return sum(p.numel() for p in model.parameters())


def weights(model):
    """The number of values in windows, without biases and batch norm."""
    return sum(p.numel() for p in model.parameters() if p.ndim == 4)


class TestWhatIsSaved:
    def test_a_reduction_before_5x5(self):
        """32 maps of 32×32 from 200, by windows of 5×5: a tenth of the work by way of 16 maps."""
        direct = nn.Conv2d(200, 32, 5, padding=2)
        reduced = nn.Sequential(nn.Conv2d(200, 16, 1), nn.ReLU(), nn.Conv2d(16, 32, 5, padding=2))
        reports = [summarize(model, (200, 32, 32)) for model in (direct, reduced)]
        assert [report.macs for report in reports] == [163_840_000, 16_384_000]
        assert [report.rows[-1].output_shape for report in reports] == [(1, 32, 32, 32)] * 2

    def test_the_naive_module(self):
        """GoogLeNet's module 3a without reductions: twice the work and more, and ever more maps."""
        naive = nn.Concat(
            nn.Conv2d(192, 64, 1),
            nn.Conv2d(192, 128, 3, padding=1),
            nn.Conv2d(192, 32, 5, padding=2),
            nn.MaxPool2d(3, 1, padding=1),
        )
        assert naive(mc.zeros(1, 192, 28, 28)).shape == (1, 416, 28, 28)
        assert summarize(naive, (192, 28, 28)).macs == 303_464_448
        reduced = undrawn("googlenet_2014").inception3a
        assert reduced(mc.zeros(1, 192, 28, 28)).shape == (1, 256, 28, 28)
        assert summarize(reduced, (192, 28, 28)).macs == 128_049_152

    def test_windows_taken_apart(self):
        """7×7 in 14 weights for 49, and the double branch of a module of 17×17 in 28 for 98."""
        module = Inception(768, figure6(192), 32)
        whole = nn.Conv2d(192, 192, 7, bias=False)
        parts = weights(module.branch7x7_2) + weights(module.branch7x7_3)
        assert parts / weights(whole) == 14 / 49
        double = sum(weights(module.get_submodule(f"branch7x7dbl_{i}")) for i in (2, 3, 4, 5))
        assert double / weights(whole) == 28 / 49

    def test_separable_convolutions(self):
        """A block of Xception's middle flow: 1/728 and 1/9 of the work of plain windows of 3×3."""
        block = mc.models.xception.Block(728, 728, 3, 1)
        macs = summarize(block, (728, 19, 19)).macs
        assert macs / (3 * 9 * 728 * 728 * 19 * 19) == pytest.approx(1 / 728 + 1 / 9)


class TestInceptionV2:
    def test_biases_are_an_option(self):
        with nn.init.skip():
            model = mc.models.create("inception_v2", bias=False)
        assert count(model) == 11_285_224
        assert model.conv2_3x3.bias is None

    def test_biases_do_nothing(self):
        """Batch norm takes a constant off again."""
        model, x = tiny("inception_v2")
        with mc.no_grad():
            before = model(mc.tensor(x)).data
            for name, p in model.named_parameters():
                if name.endswith("double_3x3_1.bias"):
                    p.data[...] = 7
            np.testing.assert_allclose(model(mc.tensor(x)).data, before, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("side", [30, 31, 38, 39, 62, 63, 70, 71])
    def test_sizes(self, side, monkeypatch):
        """What is refused would not have worked, and what is accepted works."""
        model = tiny("inception_v2")[0].eval()
        x = mc.zeros(1, 3, side, 31, dtype="float64")
        fits = side % 32 in (31, 0, 1, 2, 3, 4, 5, 6)
        if fits:
            assert model(x).shape == (1, 5)
            return
        expected = r"^inception_v2: x has shape \(1, 3, \d+, 31\), but H and W .* are expected[:,] "
        with pytest.raises(ValueError, match=expected):
            model(x)
        for check in ("check_size", "check_even_halves"):
            monkeypatch.setitem(type(model).forward.__globals__, check, lambda *_: None)
        with pytest.raises(ValueError, match=r"^cat: "):
            model(x)

    def test_which_sizes_are_even(self):
        def fits(side):
            try:
                check_even_halves("inception_v2", mc.zeros(1, 3, side, side))
            except ValueError:
                return False
            return True

        assert [side for side in range(31, 255) if fits(side)] == [
            32 * k + i for k in range(1, 8) for i in range(-1, 7)
        ]


class TestInceptionV3:
    def test_32x32_is_too_small(self):
        expected = (
            "inception_v3: x has shape (1, 3, 32, 32), but H and W of at least 75 are expected: "
            "five layers of stride 2 and two windows of 3×3, all without padding, leave one pixel of 75×75"
        )
        with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
            tiny("inception_v3")[0](mc.zeros(1, 3, 32, 32, dtype="float64"))

    def test_parameters_with_the_head(self):
        with nn.init.skip():
            assert count(mc.models.create("inception_v3", aux_logits=True)) == 27_161_264

    def test_the_head_in_training_only(self):
        model, _ = tiny("inception_v3", aux_logits=True)
        x = mc.random.Generator(5).normal((2, 3, 299, 299), dtype=np.float64)
        output = model(mc.tensor(x))
        assert output._fields == ("logits", "aux_logits")
        loss, loss_aux = (F.cross_entropy(y, mc.tensor([0, 3])) for y in output)
        (loss + 0.4 * loss_aux).backward()
        assert all(p.grad is not None for p in model.parameters())
        with mc.no_grad():
            assert model.eval()(mc.tensor(x[:, :, :80, :80])).shape == (2, 5)

    def test_the_head_trains_on_299(self, monkeypatch):
        model, _ = tiny("inception_v3", aux_logits=True)
        x = mc.zeros(2, 3, 298, 298, dtype="float64")
        expected = (
            r"^inception_v3: x has shape .* but H and W of at least 299 are expected: the auxiliary head"
        )
        with pytest.raises(ValueError, match=expected):
            model(x)
        monkeypatch.setitem(type(model).forward.__globals__, "check_size", lambda *_: None)
        with pytest.raises(ValueError, match="window"), mc.no_grad():
            model(x)

    def test_transformed_input(self):
        """Images normalised as ImageNet's give what images of −1 to 1 give without it."""
        colours = np.random.default_rng(2).random((2, 3, 76, 76))
        mean, std = (np.array(v).reshape(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        model = tiny("inception_v3")[0].eval()
        transforming = tiny("inception_v3", transform_input=True)[0].eval()
        with mc.no_grad():
            expected = model(mc.tensor(2 * colours - 1)).data
            np.testing.assert_allclose(
                transforming(mc.tensor((colours - mean) / std)).data, expected, rtol=0, atol=1e-9
            )
            assert np.abs(model(mc.tensor((colours - mean) / std)).data - expected).max() > 1e-3

    def test_initial_values(self):
        mc.manual_seed(4)
        model = mc.models.create("inception_v3", width=8, aux_logits=True)
        for path, std in (("Mixed_6e.branch7x7_2.conv", 0.1), ("fc", 0.1), ("AuxLogits.fc", 0.001)):
            assert model.get_submodule(path).weight.data.std() == pytest.approx(std, rel=0.05), path
        bound = model.fc.in_features**-0.5
        assert 0.9 * bound < np.abs(model.fc.bias.data).max() < bound


class TestInceptionResNet:
    @pytest.mark.parametrize("name", ["inception_resnet_v1", "inception_resnet_v2"])
    def test_scaled_residuals(self, name):
        """y = relu(x + scale · conv(branches(x))), and for the last block without relu."""
        model, _ = tiny(name)
        rows = [model.get_submodule(key) for key in model.stages if key.startswith("repeat")]
        blocks = [row[0] for row in rows]
        assert [block.scale for block in blocks] == [0.17, 0.10, 0.20]
        assert model.block8.scale == 1.0
        for block in (*blocks, model.block8):
            x = mc.randn(2, block.conv2d.out_channels, 4, 4, dtype="float64")
            total = x.data + block.scale * block.conv2d(Mixed.forward(block, x)).data
            expected = total if block is model.block8 else np.maximum(total, 0)
            np.testing.assert_allclose(block(x).data, expected, rtol=1e-12)
            assert (block(x).data < 0).any() == (block is model.block8)

    def test_numbers_of_blocks(self):
        for name, depths in (("inception_resnet_v1", [5, 10, 5]), ("inception_resnet_v2", [10, 20, 9])):
            model = undrawn(name, width=2)
            assert [len(model.get_submodule(k)) for k in model.stages if k.startswith("repeat")] == depths

    def test_names_of_version_1(self):
        """Those of the published networks for faces."""
        model = undrawn("inception_resnet_v1", width=2)
        assert [name for name, module in model.named_children() if count(module)] == [
            "conv2d_1a", "conv2d_2a", "conv2d_2b", "conv2d_3b", "conv2d_4a", "conv2d_4b", "repeat_1",
            "mixed_6a", "repeat_2", "mixed_7a", "repeat_3", "block8", "last_linear", "last_bn", "logits",
        ]  # fmt: skip
        assert [name for name, p in model.repeat_2[9].named_parameters() if p.ndim == 4] == [
            "branch0.conv.weight", "branch1.0.conv.weight", "branch1.1.conv.weight", "branch1.2.conv.weight",
            "conv2d.weight",
        ]  # fmt: skip

    def test_the_head_of_version_1(self):
        """512 numbers for an image, normalised, whatever its classes are."""
        model, x = tiny("inception_resnet_v1")
        with mc.no_grad():
            model(mc.tensor(x))
            assert watched(model, mc.tensor(x), ["last_bn", "logits"]) == {"last_bn": (512,), "logits": (5,)}


def test_inception_v4_is_made_of_three_kinds():
    model = undrawn("inception_v4", width=1)
    assert [tuple(module.branches) for module in model.features if isinstance(module, Mixed)][:3] == [
        ("maxpool", "conv"),
        ("branch0", "branch1"),
        ("conv", "maxpool"),
    ]
    assert len(model.features) == 3 + 3 + 4 + 1 + 7 + 1 + 3
    assert len(undrawn("inception_v4", width=1, depths=(1, 2, 1)).features) == 3 + 3 + 1 + 1 + 2 + 1 + 1


def test_reductions_do_not_add_maps_of_their_own_to_the_pooling():
    module = Mixed(6, {"branch0": ((32, 3, 2),), "branch1": ("max",)})
    x = mc.randn(1, 6, 9, 9)
    y = module(x)
    assert y.shape == (1, 38, 4, 4)
    np.testing.assert_array_equal(y.data[:, 32:], F.max_pool2d(x, 3, 2).data)
    assert Mixed(384, reduction_a(192, 224, 256, 384)).out_channels == 1024


class TestXception:
    def test_shortcuts(self):
        """Where the last scale is 0, a block gives what it was given, or a projection of it."""
        model, _ = tiny("xception")
        for number, C, projects in ((1, 8, True), (4, 91, False), (5, 91, True)):
            block = model.get_submodule(f"block{number}")
            last = [module for module in block.rep if isinstance(module, nn.BatchNorm2d)][-1]
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            x = mc.randn(2, C, 5, 5, dtype="float64")
            expected = block.skipbn(block.skip(x)) if projects else x
            np.testing.assert_allclose(block(x).data, expected.data, rtol=1e-12)

    def test_initial_values(self):
        mc.manual_seed(4)
        model = mc.models.create("xception", width=16, depth=1)
        for path, fan_out in (("block4.rep.1.conv1", 364 * 9), ("block4.rep.1.pointwise", 364)):
            assert model.get_submodule(path).weight.data.std() == pytest.approx(
                (2 / fan_out) ** 0.5, rel=0.05
            )


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("inception_v2", {"width": 5}, "inception_v2: width must be a multiple of 2, but is 5"),
        ("inception_v3", {"width": 0}, "inception_v3: width must be a positive integer, but is 0"),
        ("inception_v3", {"width": 3}, "inception_v3: width must be a multiple of 2, but is 3"),
        (
            "inception_v3",
            {"in_channels": 1, "transform_input": True},
            "inception_v3: transform_input is for 3 colours, but in_channels is 1",
        ),
        ("inception_v4", {"depths": (4, 7)}, "inception_v4: depths must be 3 numbers, one for each stage"),
        ("inception_resnet_v1", {"width": 3}, "inception_resnet_v1: width must be a multiple of 2, but is 3"),
        ("inception_resnet_v2", {"depths": (1, 0, 1)}, "inception_resnet_v2: depths[1] must be a positive"),
        ("xception", {"width": 6}, "xception: width must be a multiple of 4, but is 6"),
        ("xception", {"depth": 0}, "xception: depth must be a positive integer, but is 0"),
    ],
)
def test_options(name, options, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        mc.models.create(name, **options)


@pytest.mark.parametrize(
    "name", ["inception_v3", "inception_v4", "inception_resnet_v1", "inception_resnet_v2", "xception"]
)
def test_dropout_is_an_option(name):
    model = undrawn(name, dropout=0.3, width=4)
    assert {m.p for m in model.modules() if isinstance(m, nn.Dropout)} == {0.3}


@pytest.mark.parametrize(
    "name", ["inception_v2", "inception_v4", "inception_resnet_v1", "inception_resnet_v2"]
)
def test_layers_begin_as_layers_do(name):
    """timm, Cadene and the networks for faces leave PyTorch's initial values: uniform, 1 / √fan_in."""
    mc.manual_seed(4)
    for key, module in mc.models.create(name, width=8).named_modules():
        if isinstance(module, nn.Conv2d) and module.weight.numel() > 5000:
            bound = (module.weight.numel() / module.out_channels) ** -0.5
            assert 0.99 * bound < np.abs(module.weight.data).max() <= bound, key
            assert module.weight.data.std() == pytest.approx(bound / 3**0.5, rel=0.05), key
