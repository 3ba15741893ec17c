"""LeNet-5 of 1998: its table, its connections, its output, and that it learns."""

import numpy as np
import pytest
from cases import on_host

import minicnn as mc
from minicnn import data, nn, optim
from minicnn import functional as F
from minicnn.models import lenet_1998

# Table I of the paper: the rows are the maps of S2, the columns those of C3.
TABLE_I = """
X . . . X X X . . X X X X . X X
X X . . . X X X . . X X X X . X
X X X . . . X X X . . X . X X X
. X X X . . X X X X . . X . X X
. . X X X . . X X X X . X X . X
. . . X X X . . X X X X . X X X
"""
CONNECTED = np.array([row.split() for row in TABLE_I.split("\n") if row]) == "X"


def images(N, dtype="float64"):
    return mc.random.Generator(6).normal((N, 1, 32, 32), dtype=dtype)


def test_layer_by_layer():
    """Parameters as in the paper; connections are the inputs of each unit, its bias too, times the units."""
    model = mc.models.create("lenet5_1998")
    units = {}
    for name, module in model.named_modules():
        module.register_forward_hook(
            lambda module, inputs, output, name=name: units.update({name: output[0].numel()})
        )
    model(mc.tensor(images(1, "float32")))

    connections = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            connections[name] = units[name] * (int(np.prod(module.weight.shape[1:])) + 1)
        elif isinstance(module, lenet_1998.Subsampling):
            connections[name] = units[name] * (4 + 1)
        elif isinstance(module, lenet_1998.RadialBasis):
            connections[name] = module.weight.data.size
    found = {
        layer: (
            sum(p.numel() for p in model.get_submodule(layer).parameters()),
            sum(n for name, n in connections.items() if name.partition(".")[0] == layer),
        )
        for layer in ("c1", "s2", "c3", "s4", "c5", "f6", "output")
    }
    assert found == {
        "c1": (156, 122_304),
        "s2": (12, 5_880),
        "c3": (1_516, 151_600),
        "s4": (32, 2_000),
        "c5": (48_120, 48_120),
        "f6": (10_164, 10_164),
        "output": (0, 840),
    }
    assert np.sum(list(found.values()), axis=0).tolist() == [60_000, 340_908]


def test_c3_is_connected_as_in_table_1():
    """A change in one map of S2 is felt in the maps of C3 that see it, and in no others."""
    c3 = mc.models.create("lenet5_1998").c3
    x = mc.randn(1, 6, 14, 14)
    before = c3(x).data
    for s2, expected in enumerate(CONNECTED):
        changed = x.data.copy()
        changed[:, s2] += 1
        differs = (c3(mc.tensor(changed)).data != before).any(axis=(0, 2, 3))
        np.testing.assert_array_equal(on_host(differs), expected)


def test_squashing():
    f = lenet_1998.Squash()
    np.testing.assert_allclose(on_host(f(mc.tensor([-1.0, 0.0, 1.0])).data), [-1, 0, 1], atol=1e-4)
    assert f(mc.tensor(100.0)).item() == pytest.approx(1.7159)


def test_subsampling():
    s2 = lenet_1998.Subsampling(2)
    s2.weight.data[:] = mc.tensor([0.5, -1.0]).data
    s2.bias.data[:] = mc.tensor([0.0, 3.0]).data
    x = mc.tensor([[[[1.0, 2.0], [3.0, 4.0]], [[1.0, 1.0], [1.0, 1.0]]]])
    assert s2(x).data.ravel().tolist() == [5.0, -1.0]


def test_drawings():
    """Ten different digits of 7×12; one that is seen as drawn has distance 0, and so the largest logit."""
    codes = lenet_1998.codes()
    assert codes.shape == (10, 84)
    assert set(codes.ravel()) == {-1.0, 1.0}
    distances = lenet_1998.RadialBasis(codes)(mc.tensor(codes)).data
    different = (codes[:, None] != codes).sum(axis=2)
    np.testing.assert_allclose(on_host(distances), 4 * different)
    assert different[~np.eye(10, dtype=bool)].min() >= 5


def test_the_criterion_is_equation_9():
    y = mc.random.Generator(3).uniform((6, 10), 0, 9, np.float64)
    labels = np.array([3, 0, 9, 9, 5, 1])
    expected = np.mean(y[np.arange(6), labels] + np.log(np.exp(-2.5) + np.exp(-y).sum(axis=1)))
    loss = lenet_1998.map_criterion(mc.tensor(-y), mc.tensor(labels), j=2.5)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    without = F.cross_entropy(mc.tensor(-y), mc.tensor(labels)).item()
    assert lenet_1998.map_criterion(mc.tensor(-y), mc.tensor(labels), j=200.0).item() == pytest.approx(
        without
    )
    with pytest.raises(ValueError, match="^map_criterion: j must be a number > 0, but is 0$"):
        lenet_1998.map_criterion(mc.tensor(-y), mc.tensor(labels), j=0)


def test_initial_weights_are_uniform_by_the_inputs_of_a_unit():
    model = mc.models.create("lenet5_1998")
    for layer, inputs in (
        (model.c1, 25),
        (model.c3.get_submodule("1"), 100),
        (model.c5, 400),
        (model.f6, 120),
    ):
        largest = float(abs(layer.weight.data).max())
        assert 0.9 * 2.4 / inputs < largest <= 2.4 / inputs


def test_it_learns():
    """Two passes over the digits of the package, from pixels to the drawings."""
    digits = data.load("digits", size=32)
    model = mc.models.create("lenet5_1998")
    optimizer = optim.SGD(model.parameters(), lr=0.002, momentum=0.9)
    x, labels = digits.train.images, digits.train.labels
    for _ in range(2):
        for start in range(0, len(x), 32):
            optimizer.zero_grad()
            F.cross_entropy(model(mc.tensor(x[start : start + 32])), labels[start : start + 32]).backward()
            optimizer.step()
    with mc.no_grad():
        predicted = on_host(model(mc.tensor(digits.test.images)).data).argmax(axis=1)
    assert (predicted == digits.test.labels).mean() > 0.8


@pytest.mark.oracle
def test_equals_pytorch():
    """The network written again in PyTorch, with C3 as a convolution whose missing connections are zeros."""
    torch = pytest.importorskip("torch")
    ours = mc.models.create("lenet5_1998").double()
    theirs = {key: torch.tensor(on_host(p.data), requires_grad=True) for key, p in ours.named_parameters()}

    def squash(a):
        return 1.7159 * torch.tanh(a * 2 / 3)

    def subsampled(x, layer):
        sums = 4 * torch.nn.functional.avg_pool2d(x, 2)
        w, b = theirs[f"{layer}.weight"], theirs[f"{layer}.bias"]
        return sums * w[:, None, None] + b[:, None, None]

    filters = [f for i in range(4) for f in theirs[f"c3.{i}.weight"]]
    dense = torch.zeros(16, 6, 5, 5, dtype=torch.float64)
    columns = [np.flatnonzero(CONNECTED[:, c3]) for c3 in range(16)]
    dense = dense.index_put(
        (
            torch.tensor(np.repeat(range(16), [len(c) for c in columns])),
            torch.tensor(np.concatenate(columns)),
        ),
        torch.cat(filters),
    )
    x = images(5)
    torch_x = torch.tensor(x, requires_grad=True)
    y = squash(torch.nn.functional.conv2d(torch_x, theirs["c1.weight"], theirs["c1.bias"]))
    y = squash(subsampled(y, "s2"))
    bias = torch.cat([theirs[f"c3.{i}.bias"] for i in range(4)])
    y = squash(torch.nn.functional.conv2d(y, dense, bias))
    y = squash(subsampled(y, "s4")).flatten(1)
    y = squash(torch.nn.functional.linear(y, theirs["c5.weight"], theirs["c5.bias"]))
    y = squash(torch.nn.functional.linear(y, theirs["f6.weight"], theirs["f6.bias"]))
    expected = -((y[:, None] - torch.tensor(lenet_1998.codes()).double()) ** 2).sum(2)
    labels = np.array([4, 0, 9, 2, 2])
    torch.nn.functional.cross_entropy(expected, torch.tensor(labels)).backward()

    our_x = mc.tensor(x, requires_grad=True)
    logits = ours(our_x)
    F.cross_entropy(logits, mc.tensor(labels)).backward()
    np.testing.assert_allclose(on_host(logits.data), expected.detach().numpy(), rtol=1e-9)
    np.testing.assert_allclose(on_host(our_x.grad), torch_x.grad.numpy(), rtol=1e-9, atol=1e-12)
    for key, p in ours.named_parameters():
        np.testing.assert_allclose(
            on_host(p.grad), theirs[key].grad.numpy(), rtol=1e-9, atol=1e-10, err_msg=key
        )
