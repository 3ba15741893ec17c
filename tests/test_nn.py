"""Modules: how they find their parts, carry their state, switch modes and let others look on."""

import numpy as np
import pytest
from cases import normal, on_host

import minicnn as mc
from minicnn import backend, nn


class Scale(nn.Module):
    """One parameter, one buffer, and a None of each."""

    def __init__(self, value=2.0):
        super().__init__()
        self.factor = nn.Parameter(mc.tensor([value]))
        self.register_parameter("offset", None)
        self.register_buffer("calls", mc.tensor(0))
        self.register_buffer("mean", None)
        self.remark = "no part of the state"

    def forward(self, x):
        self.calls += 1
        return x * self.factor


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU())
        self.scale = Scale()
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        return self.head(self.scale(self.features(x)).mean(dim=(2, 3)))


NAMES = {
    "features.0.weight": (2, 1, 3, 3),
    "features.0.bias": (2,),
    "features.1.weight": (2,),
    "features.1.bias": (2,),
    "scale.factor": (1,),
    "head.weight": (3, 2),
    "head.bias": (3,),
}
BUFFERS = [
    "features.1.running_mean",
    "features.1.running_var",
    "features.1.num_batches_tracked",
    "scale.calls",
]


# Finding parts


def test_parameters_in_the_order_of_definition():
    net = Net()
    assert {name: parameter.shape for name, parameter in net.named_parameters()} == NAMES
    assert [name for name, _ in net.named_parameters()] == list(NAMES)
    assert [id(p) for p in net.parameters()] == [id(p) for _, p in net.named_parameters()]
    assert [name for name, _ in net.named_buffers()] == BUFFERS
    assert len(list(net.buffers())) == 4


def test_modules_outer_before_inner():
    net = Net()
    names = ["", "features", "features.0", "features.1", "features.2", "scale", "head"]
    assert [name for name, _ in net.named_modules()] == names
    assert [name for name, _ in net.named_children()] == ["features", "scale", "head"]
    assert list(net.children()) == [net.features, net.scale, net.head]
    assert next(net.modules()) is net


def test_a_shared_module_and_a_shared_parameter_come_once():
    net = nn.Module()
    net.first = nn.Linear(2, 2)
    net.again = net.first
    net.tied = nn.Linear(2, 2, bias=False)
    net.tied.weight = net.first.weight
    assert [name for name, _ in net.named_parameters()] == ["first.weight", "first.bias"]
    assert [name for name, _ in net.named_modules()] == ["", "first", "tied"]


def test_get_submodule():
    net = Net()
    assert net.get_submodule("features.1") is net.features[1]
    assert net.get_submodule("") is net
    with pytest.raises(ValueError, match=r"'features.7' has no '7'; modules there: 0, 1, 2"):
        net.get_submodule("features.7")


def test_apply_visits_inner_modules_first():
    seen = []
    net = nn.Sequential(nn.Linear(1, 1), nn.Sequential(nn.ReLU()))
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["Linear", "ReLU", "Sequential", "Sequential"]


# Attributes


def test_setting_an_attribute_finds_its_home():
    module = nn.Module()
    module.weight = nn.Parameter(np.ones(2))
    module.layer = nn.ReLU()
    module.plain = mc.ones(2)
    assert list(dict(module.named_parameters())) == ["weight"]
    assert [name for name, _ in module.named_children()] == ["layer"]
    assert list(module.state_dict()) == ["weight"]
    module.layer = nn.Parameter(np.ones(3))  # a parameter in a module's place
    assert list(dict(module.named_parameters())) == ["weight", "layer"]
    assert not list(module.children())
    del module.weight
    assert not hasattr(module, "weight")
    with pytest.raises(AttributeError, match="Module has no attribute 'weight'"):
        _ = module.weight


def test_a_parameter_or_layer_may_become_none_and_return():
    layer = nn.Linear(2, 3)
    bias = layer.bias
    layer.bias = None
    assert layer.bias is None
    assert list(layer.state_dict()) == ["weight"]
    assert layer(mc.zeros(1, 2)).tolist() == [[0, 0, 0]]
    layer.bias = bias
    assert list(layer.state_dict()) == ["weight", "bias"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("head", mc.ones(3), "head: expected a Module or None, got Tensor"),
        ("head", lambda x: x, "head: expected a Module or None, got function"),
    ],
)
def test_the_wrong_kind_over_a_module(name, value, message):
    net = Net()
    with pytest.raises(TypeError, match=message):
        setattr(net, name, value)
    assert isinstance(net.head, nn.Linear)


def test_the_wrong_kind_over_a_parameter_or_a_buffer():
    layer, norm = nn.Linear(2, 3), nn.BatchNorm1d(3)
    for value in (np.ones((3, 2)), mc.ones(3, 2), 5.0):
        with pytest.raises(
            TypeError, match=f"weight: expected a Parameter or None, got {type(value).__name__}"
        ):
            layer.weight = value
    with pytest.raises(TypeError, match="running_mean: expected a Tensor or None, got ndarray"):
        norm.running_mean = np.zeros(3)
    norm.running_mean = mc.ones(3)
    assert norm.state_dict()["running_mean"].tolist() == [1, 1, 1]


def test_setting_before_super_init():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.ReLU()

    with pytest.raises(
        AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before setting 'layer'"
    ):
        Forgetful()


@pytest.mark.parametrize("name", ["", "a.b", "weight", "forward", "training"])
def test_names_that_cannot_be(name):
    for register, value in [
        ("register_buffer", mc.zeros(1)),
        ("register_parameter", nn.Parameter(np.zeros(1))),
        ("add_module", nn.ReLU()),
    ]:
        with pytest.raises(ValueError, match="is taken or no name"):
            getattr(nn.Linear(1, 1), register)(name, value)


def test_registering_the_wrong_kind():
    module = nn.Module()
    with pytest.raises(TypeError, match="mean must be a Tensor or None, got ndarray"):
        module.register_buffer("mean", np.zeros(1))
    with pytest.raises(TypeError, match="weight must be a Parameter, got Tensor"):
        module.register_parameter("weight", mc.zeros(1))
    with pytest.raises(TypeError, match="layer must be a Module, got type"):
        module.add_module("layer", nn.ReLU)


def test_a_module_without_forward():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


# State


def test_state_dict_holds_the_live_arrays_of_parameters_and_buffers():
    net = Net()
    state = net.state_dict()
    expected = list(NAMES)
    expected[4:4] = BUFFERS[:3]
    expected.insert(8, "scale.calls")
    assert list(state) == expected
    assert all(backend.is_array(array) for array in state.values())
    assert state["head.weight"] is net.head.weight.data


def test_load_state_dict_makes_networks_equal():
    net, other, x = Net(), Net(), mc.randn(2, 1, 5, 5)
    net(x)
    other.load_state_dict(net.state_dict())
    net.eval(), other.eval()
    np.testing.assert_array_equal(net(x).cpu().numpy(), other(x).cpu().numpy())
    assert other.scale.calls.item() == 2
    assert not np.shares_memory(net.head.weight.data, other.head.weight.data)


def test_loading_keeps_the_networks_own_dtype_and_objects():
    net = Net()
    weight, array = net.head.weight, net.head.weight.data
    net.load_state_dict({name: value.astype(np.float64) for name, value in net.state_dict().items()})
    assert net.head.weight is weight
    assert net.head.weight.data is array
    assert net.head.weight.dtype == np.float32


def test_a_state_that_does_not_fit_is_described_in_full_and_loads_nothing():
    net = Net()
    before = {name: value.copy() for name, value in net.state_dict().items()}
    state = {name: value + 1 for name, value in before.items()}
    del state["scale.factor"], state["features.0.bias"]
    state["neck.weight"] = np.zeros((5, 5))
    state["head.weight"] = np.zeros((3, 4))
    state["head.bias"] = np.zeros(7)
    with pytest.raises(ValueError, match="load_state_dict: Net does not fit") as raised:
        net.load_state_dict(state)
    message = str(raised.value)
    for part in [
        "missing: features.0.bias (2,)",
        "missing: scale.factor (1,)",
        "unexpected: neck.weight (5, 5)",
        "shape: head.weight is (3, 4), expected (3, 2)",
        "shape: head.bias is (7,), expected (3,)",
    ]:
        assert part in message
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(on_host(value), on_host(before[name]))


def test_loading_less_strictly():
    net = Net()
    net.load_state_dict({"head.bias": [1.0, 2.0, 3.0], "neck.weight": [0.0]}, strict=False)
    assert net.head.bias.tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"shape: head.bias is \(2,\)"):
        net.load_state_dict({"head.bias": [1.0, 2.0], "scale.factor": [9.0]}, strict=False)
    assert net.scale.factor.item() == 2
    with pytest.raises(TypeError, match="head.bias is <U5, expected numbers"):
        net.load_state_dict({"head.bias": ["three"]}, strict=False)


def test_a_loaded_weight_is_noticed_by_backward():
    """The graph of an earlier forward needs the weight that it saved."""
    layer = nn.Linear(2, 2)
    y = layer(mc.tensor([[1.0, 2.0]], requires_grad=True))
    layer.load_state_dict({name: value + 1 for name, value in layer.state_dict().items()})
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


# Modes, dtypes, gradients


def test_train_and_eval_reach_every_module():
    net = Net()
    assert all(module.training for module in net.modules())
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.features.train()
    assert [name for name, module in net.named_modules() if module.training] == [
        "features", "features.0", "features.1", "features.2",
    ]  # fmt: skip


def test_batch_norm_in_eval_mode_uses_and_keeps_its_statistics():
    norm, x = nn.BatchNorm2d(3), mc.randn(4, 3, 2, 2) * 3 + 1
    norm(x)
    before = {name: on_host(value.copy()) for name, value in norm.state_dict().items()}
    norm.eval()
    y, x = norm(x).cpu().numpy(), x.cpu()
    column = (1, 3, 1, 1)
    expected = (x.numpy() - before["running_mean"].reshape(column)) / np.sqrt(
        before["running_var"].reshape(column) + 1e-5
    )
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    for name, value in norm.state_dict().items():
        np.testing.assert_array_equal(on_host(value), on_host(before[name]))


@pytest.mark.parametrize(("layer", "shape"), [(nn.BatchNorm1d, (2, 3, 4, 4)), (nn.BatchNorm2d, (2, 3))])
def test_batch_norm_of_the_wrong_rank(layer, shape):
    norm = layer(3)
    with pytest.raises(ValueError, match=rf"{layer.__name__}: expected .*got shape \({shape[0]}, 3"):
        norm(mc.zeros(*shape))
    assert norm.num_batches_tracked.item() == 0


def test_a_refused_batch_is_not_counted():
    norm = nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="expected"):
        norm(mc.zeros(2, 4, 5, 5))
    assert norm.num_batches_tracked.item() == 0


def test_double_and_float_change_floating_parameters_and_buffers_alone():
    net, x = Net(), normal("x", (2, 1, 5, 5))
    assert net.double() is net
    assert {
        name: value.dtype.name for name, value in net.state_dict().items() if value.dtype != np.float64
    } == {
        "features.1.num_batches_tracked": "int64",
        "scale.calls": "int64",
    }
    assert net(mc.tensor(x)).dtype == np.float64
    net.float()
    assert net(mc.tensor(x.astype(np.float32))).dtype == np.float32
    assert net.to("cpu") is net
    with pytest.raises(ValueError, match="device: 'cuda:7', but one GPU is used"):
        net.to("cuda:7")


def test_to_the_dtype_it_has_keeps_the_gradients():
    layer = nn.Linear(2, 1)
    layer(mc.ones(3, 2)).sum().backward()
    layer.float().to("cpu")
    assert layer.weight.grad.tolist() == [[3, 3]]


def test_parameters_refuse_a_dtype_without_gradients():
    with pytest.raises((TypeError, ValueError), match="int64"):
        nn.Linear(2, 2).to("int64")


def test_frozen_parameters_receive_no_gradient():
    net, x = Net(), mc.randn(4, 1, 5, 5)
    net.features.requires_grad_(False)
    net(x).sum().backward()
    assert {name for name, parameter in net.named_parameters() if parameter.grad is not None} == {
        "scale.factor", "head.weight", "head.bias",
    }  # fmt: skip
    net.zero_grad()
    assert all(parameter.grad is None for parameter in net.parameters())
    net.requires_grad_()
    net(x).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


# Hooks


def test_a_hook_sees_replaces_and_goes():
    layer, seen = Scale(), []
    looking = layer.register_forward_hook(
        lambda module, inputs, output: seen.append((module, inputs, output))
    )
    x = mc.ones(1)
    y = layer(x)
    assert seen == [(layer, (x,), y)]
    with layer.register_forward_hook(lambda module, inputs, output: output + 1):
        last = layer.register_forward_hook(lambda module, inputs, output: output * 10)
        assert layer(x).item() == 30  # in the order of their registration
        last.remove()
        last.remove()  # once more does no harm
        assert layer(x).item() == 3
    assert layer(x).item() == 2
    looking.remove()
    layer(x)
    assert len(seen) == 4


def test_a_hook_may_remove_itself():
    layer = Scale()
    handle = layer.register_forward_hook(lambda *_: handle.remove())
    layer.register_forward_hook(lambda module, inputs, output: output + 1)
    assert layer(mc.ones(1)).item() == 3
    assert layer(mc.ones(1)).item() == 3


def test_hooks_read_what_happens_within_a_network():
    net, shapes = Net(), {}
    for name, module in net.named_modules():
        module.register_forward_hook(lambda m, i, output, name=name: shapes.update({name: output.shape}))
    net(mc.zeros(2, 1, 6, 6))
    assert shapes == {
        "features.0": (2, 2, 4, 4),
        "features.1": (2, 2, 4, 4),
        "features.2": (2, 2, 4, 4),
        "features": (2, 2, 4, 4),
        "scale": (2, 2, 4, 4),
        "head": (2, 3),
        "": (2, 3),
    }
