"""Containers of modules, and layers without weights: each must hand its settings on to its function."""

import numpy as np
import pytest
from cases import normal

import minicnn as mc
from minicnn import functional as F
from minicnn import nn


class Scale(nn.Module):
    """Multiply by a number that can be learned."""

    def __init__(self, value):
        super().__init__()
        self.factor = nn.Parameter(mc.tensor([value]))

    def forward(self, x):
        return x * self.factor


# Containers


def test_sequential():
    one, two, three = Scale(2.0), Scale(3.0), Scale(5.0)
    net = nn.Sequential(one, two)
    assert net.append(three) is net
    assert (len(net), list(net)) == (3, [one, two, three])
    assert net(mc.ones(1)).item() == 30
    assert (net[0], net[-1]) == (one, three)
    tail = net[1:]
    assert isinstance(tail, nn.Sequential)
    assert tail(mc.ones(1)).item() == 15
    assert list(tail.state_dict()) == ["1.factor", "2.factor"]
    named = nn.Sequential({"twice": one, "thrice": two})
    assert named.twice is one
    assert [name for name, _ in named.named_parameters()] == ["twice.factor", "thrice.factor"]
    assert nn.Sequential()(7) == 7
    with pytest.raises(IndexError):
        net[3]


def test_sequential_of_what_is_no_module():
    with pytest.raises(TypeError, match="0 must be a Module, got list"):
        nn.Sequential([nn.ReLU()])


def test_module_list():
    layers = nn.ModuleList([Scale(2.0)])
    assert layers.append(Scale(3.0)) is layers
    assert [layer.factor.item() for layer in layers] == [2, 3]
    assert layers[-1].factor.item() == 3
    assert len(layers) == 2
    assert [name for name, _ in layers.named_parameters()] == ["0.factor", "1.factor"]
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        layers(1)


def test_module_dict():
    heads = nn.ModuleDict({"odd": Scale(2.0), "digit": Scale(3.0)})
    assert list(heads) == ["odd", "digit"]
    assert (len(heads), "odd" in heads, "even" in heads) == (2, True, False)
    assert heads["odd"].factor.item() == 2
    heads["odd"] = Scale(5.0)
    assert heads["odd"].factor.item() == 5
    assert [module.factor.item() for module in heads.values()] in ([5, 3], [3, 5])
    assert {name for name, _ in heads.items()} == {"odd", "digit"}


def test_module_dict_keeps_its_module_when_another_is_refused():
    heads = nn.ModuleDict({"odd": Scale(2.0)})
    with pytest.raises(TypeError, match="odd"):
        heads["odd"] = "even"
    assert heads["odd"].factor.item() == 2


def test_concat_and_residual():
    x = mc.Tensor(normal("x", (2, 3, 4, 4)), requires_grad=True)
    both = nn.Concat(nn.Identity(), nn.MaxPool2d(3, 1, 1))
    y = both(x)
    assert y.shape == (2, 6, 4, 4)
    np.testing.assert_array_equal(y.numpy()[:, :3], x.numpy())
    np.testing.assert_array_equal(y.numpy()[:, 3:], F.max_pool2d(x, 3, 1, 1).numpy())
    assert nn.Concat(nn.Identity(), nn.Identity(), dim=2)(x).shape == (2, 3, 8, 4)
    block = nn.Residual(nn.Tanh(), nn.ReLU())
    np.testing.assert_array_equal(block(x).numpy(), F.tanh(x).numpy() + np.maximum(x.numpy(), 0))
    gy = normal("upstream", x.shape)
    nn.Residual(nn.Tanh())(x).backward(gy)
    np.testing.assert_allclose(x.grad, gy * (2 - np.tanh(x.numpy()) ** 2), rtol=1e-12)


def test_repr_shows_the_tree_and_the_settings():
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding="same", bias=False),
        nn.Sequential(nn.BatchNorm2d(8), nn.LeakyReLU(0.2)),
        nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.Linear(8, 2),
        nn.Dropout(0.25),
    )
    assert repr(net) == (
        "Sequential(\n"
        "  (0): Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding='same', bias=False)\n"
        "  (1): Sequential(\n"
        "    (0): BatchNorm2d(8, eps=1e-05, momentum=0.1)\n"
        "    (1): LeakyReLU(negative_slope=0.2)\n"
        "  )\n"
        "  (2): MaxPool2d(kernel_size=3, stride=2, padding=0, ceil_mode=True)\n"
        "  (3): Linear(8, 2)\n"
        "  (4): Dropout(p=0.25)\n"
        ")"
    )
    assert repr(nn.ReLU()) == "ReLU()"
    assert repr(nn.Parameter(np.ones(1, np.float32))).startswith("Parameter containing:\ntensor([1.]")


WITHOUT_WEIGHTS = [
    (nn.MaxPool2d(3, 2, 1, ceil_mode=True), lambda x: F.max_pool2d(x, 3, 2, 1, ceil_mode=True)),
    (nn.MaxPool2d(2, dilation=2), lambda x: F.max_pool2d(x, 2, dilation=2)),
    (nn.AvgPool2d(2, 2, 1, True, False), lambda x: F.avg_pool2d(x, 2, 2, 1, True, False)),
    (nn.AdaptiveAvgPool2d((2, 3)), lambda x: F.adaptive_avg_pool2d(x, (2, 3))),
    (nn.AdaptiveMaxPool2d(2), lambda x: F.adaptive_max_pool2d(x, 2)),
    (nn.Flatten(), lambda x: F.flatten(x, 1)),
    (nn.Flatten(2), lambda x: F.flatten(x, 2)),
    (nn.ZeroPad2d((1, 2, 3, 4)), lambda x: F.pad(x, (1, 2, 3, 4))),
    (nn.ZeroPad2d(2), lambda x: F.pad(x, (2, 2, 2, 2))),
    (nn.ReLU(), F.relu),
    (nn.ReLU6(), F.relu6),
    (nn.LeakyReLU(0.3), lambda x: F.leaky_relu(x, 0.3)),
    (nn.Tanh(), F.tanh),
    (nn.Sigmoid(), F.sigmoid),
    (nn.SiLU(), F.silu),
    (nn.Softmax(1), lambda x: F.softmax(x, 1)),
    (nn.LogSoftmax(dim=2), lambda x: F.log_softmax(x, 2)),
    (nn.LocalResponseNorm(3, 1.0, 0.5, 2.0), lambda x: F.local_response_norm(x, 3, 1.0, 0.5, 2.0)),
    (nn.Identity(), lambda x: x),
]


@pytest.mark.parametrize(
    ("layer", "operation"), WITHOUT_WEIGHTS, ids=[repr(layer) for layer, _ in WITHOUT_WEIGHTS]
)
def test_layers_without_weights_pass_their_settings_on(layer, operation):
    x = mc.Tensor(normal("x", (2, 4, 6, 7)))
    np.testing.assert_array_equal(layer(x).numpy(), operation(x).numpy())
    assert not list(layer.parameters())


@pytest.mark.parametrize(
    ("loss", "function"),
    [
        (nn.CrossEntropyLoss(mc.tensor([1.0, 2.0, 3.0]), 1, "sum", 0.1), F.cross_entropy),
        (nn.NLLLoss(mc.tensor([1.0, 2.0, 3.0]), 1, "sum"), F.nll_loss),
    ],
)
def test_losses_of_classes_pass_their_settings_on(loss, function):
    x, target = mc.randn(4, 3), [0, 1, 2, 2]
    settings = {"weight": mc.tensor([1.0, 2.0, 3.0]), "ignore_index": 1, "reduction": "sum"}
    if function is F.cross_entropy:
        settings["label_smoothing"] = 0.1
    assert loss(x, target).item() == function(x, target, **settings).item()


@pytest.mark.parametrize(
    ("loss", "function"),
    [
        (nn.MSELoss, F.mse_loss),
        (nn.BCELoss, F.binary_cross_entropy),
        (nn.BCEWithLogitsLoss, F.binary_cross_entropy_with_logits),
    ],
)
def test_losses_of_pairs_pass_their_reduction_on(loss, function):
    x, t = mc.rand(3, 2), mc.rand(3, 2)
    for reduction in ("mean", "sum", "none"):
        np.testing.assert_array_equal(
            loss(reduction)(x, t).cpu().numpy(), function(x, t, reduction).cpu().numpy()
        )


def test_separable_convolution_is_its_two_steps():
    layer = nn.SeparableConv2d(3, 5, 3, stride=2, padding=1, dilation=2, bias=True)
    x = mc.randn(2, 3, 9, 8)
    around = F.conv2d(x, layer.conv1.weight, layer.conv1.bias, 2, 1, 2, groups=3)
    expected = F.conv2d(around, layer.pointwise.weight, layer.pointwise.bias)
    np.testing.assert_array_equal(layer(x).cpu().numpy(), expected.cpu().numpy())


@pytest.mark.parametrize(
    ("layer", "fan_in"),
    [
        (lambda: nn.Linear(100, 80), 100),
        (lambda: nn.Conv2d(16, 32, (3, 5)), 16 * 3 * 5),
        (lambda: nn.Conv2d(32, 64, 3, groups=8), 4 * 3 * 3),
    ],
)
def test_weights_begin_uniform_within_one_over_the_root_of_fan_in(layer, fan_in):
    first, bound = layer(), fan_in**-0.5
    for parameter in (first.weight, first.bias):
        values = parameter.cpu().numpy()
        assert 0.9 * bound < np.abs(values).max() <= bound
        assert abs(values.mean()) < 0.25 * bound
        assert abs(values.std() / (bound / 3**0.5) - 1) < 0.2
    assert (first.weight.cpu().numpy() != layer().weight.cpu().numpy()).any()
    mc.manual_seed(0)
    np.testing.assert_array_equal(layer().weight.cpu().numpy(), first.weight.cpu().numpy())
