"""Tensors, modules and optimisers on the GPU, and on their way to it and back.

What kernels compute is tested elsewhere, with the CUDA kernels themselves. Here the reference stands in for
them (``emulator/stand_ins.py``), and the arrays are those of a GPU, or of the emulated one, as ids say.
"""

import numpy as np
import pytest
from cases import computing, distinct, normal, on_host

import minicnn as mc
from minicnn import backend, gradcases, kernels, nn, optim
from minicnn import functional as F


def on_gpu(tensor):
    return tensor.device == "cuda" and backend.device_of(tensor.data) == "cuda"


# There and back


def test_to_the_gpu_and_back(gpu):
    x = mc.tensor([[1.0, -2.0], [3.0, 0.5]])
    for there in (x.to("cuda"), x.cuda(), x.to("cuda:0"), mc.tensor(x, device="cuda")):
        assert on_gpu(there)
        assert isinstance(there.data, gpu.ndarray)
        assert (there.dtype, there.shape) == (x.dtype, x.shape)
        for back in (there.to("cpu"), there.cpu()):
            assert back.device == "cpu"
            np.testing.assert_array_equal(back.numpy(), x.numpy())
    assert x.to("cpu") is x
    assert there.to("cuda") is there
    assert there.double().dtype == np.float64
    assert on_gpu(there.double())
    assert there.tolist() == x.tolist()
    assert there[0, 1].item() == -2
    assert repr(there) == "tensor([[ 1. , -2. ],\n        [ 3. ,  0.5]], device='cuda')"


def test_gradients_move_the_other_way(gpu):
    x = mc.tensor([1.0, 2.0, 3.0], requires_grad=True)
    there = x.to("cuda")
    (there * there).cpu().sum().backward()
    assert isinstance(x.grad, np.ndarray)
    np.testing.assert_array_equal(x.grad, [2, 4, 6])
    w = mc.tensor([1.0, 2.0], requires_grad=True, device="cuda")
    (w.cpu() * 3).sum().backward()
    assert isinstance(w.grad, gpu.ndarray)
    assert w.grad.tolist() == [3, 3]
    w.backward(mc.tensor([1.0, 1.0]).cuda())
    assert w.grad.tolist() == [4, 4]
    w.grad = None
    w.backward([1.0, 0.5])  # numbers go where they are needed
    assert w.grad.tolist() == [1, 0.5]


def test_a_numpy_array_of_a_tensor_on_the_gpu_must_be_asked_for(gpu):
    x = mc.ones(2, device="cuda")
    for convert in (lambda: x.numpy(), lambda: np.asarray(x), lambda: np.sin(x)):
        with pytest.raises(TypeError):
            convert()
    with pytest.raises(
        TypeError, match=r"numpy: the tensor is on 'cuda'; copy it first, with .cpu\(\).numpy\(\)"
    ):
        x.numpy()
    assert x.cpu().numpy().tolist() == [1, 1]


# Where new tensors are made


def test_use_says_where_tensors_are_made(gpu):
    def made():
        return [
            *(mc.zeros(2), mc.ones(2), mc.empty(2), mc.arange(3), mc.rand(2), mc.randn(2)),
            *(mc.tensor([1.0]), mc.tensor(np.ones(2)), mc.tensor(1), F.exp([1.0]), mc.maximum(1.0, 2.0)),
            *nn.Linear(2, 3).parameters(),
            *nn.BatchNorm2d(2).buffers(),
        ]

    assert {x.device for x in made()} == {"cpu"}
    with mc.use("cuda"):
        assert all(on_gpu(x) for x in made())
        assert mc.zeros(2, device="cpu").device == "cpu"
        assert mc.from_numpy(np.ones(2)).device == "cpu"  # it shares the array's memory
        with mc.use("numpy"):
            assert {x.device for x in made()} == {"cpu"}
        assert all(on_gpu(x) for x in made())
        with pytest.raises(KeyError), mc.use("numba"):
            raise KeyError
        assert all(on_gpu(x) for x in made())
    assert {x.device for x in made()} == {"cpu"}
    assert on_gpu(mc.zeros(1, device="cuda"))


def test_one_seed_gives_the_same_numbers_on_every_device(gpu):
    def drawn():
        mc.manual_seed(5)
        x = mc.randn(4, 50)
        layer = nn.Conv2d(3, 4, 3)
        nn.init.kaiming_normal_(layer.weight)
        return [x, mc.rand(3, dtype="float64"), *layer.parameters(), F.dropout(x, 0.3), F.dropout2d(x, 0.5)]

    expected = drawn()
    with mc.use("cuda"):
        found = drawn()
    for one, other in zip(found, expected, strict=True):
        assert on_gpu(one)
        np.testing.assert_array_equal(one.cpu().numpy(), other.numpy())


# Mixed devices


@pytest.mark.parametrize(
    ("call", "operation"),
    [
        pytest.param(lambda there, here: there + here, "Add", id="operator"),
        pytest.param(lambda there, here: here * there, "Mul", id="the other way round"),
        pytest.param(lambda there, here: there + here.numpy(), "Add", id="with a NumPy array"),
        pytest.param(lambda there, here: there @ here, "MatMul", id="matmul"),
        pytest.param(lambda there, here: there < here, "<", id="comparison"),
        pytest.param(lambda there, here: there.__iadd__(here), r"\+=", id="in place"),
        pytest.param(lambda there, here: there.__setitem__(0, here[0]), r"\[\] =", id="assignment"),
        pytest.param(lambda there, here: mc.cat([there, here]), "Concat", id="cat"),
        pytest.param(lambda there, here: mc.where(here > 0, there, 0.0), "where", id="condition"),
        pytest.param(lambda there, here: here[there[0] > 0], "getitem", id="index"),
        pytest.param(lambda there, here: F.linear(there, here), "linear", id="linear"),
        pytest.param(lambda there, here: F.mse_loss(there, here), "mse_loss", id="pair loss"),
        pytest.param(
            lambda there, here: F.cross_entropy(there, mc.tensor([0, 1])), "cross_entropy", id="labels"
        ),
        pytest.param(
            lambda there, here: F.cross_entropy(there, [0, 1], weight=mc.ones(2)),
            "cross_entropy",
            id="weights",
        ),
        pytest.param(
            lambda there, here: F.batch_norm(there, mc.zeros(2), mc.ones(2)), "batch_norm", id="statistics"
        ),
        pytest.param(lambda there, here: nn.Linear(2, 2)(there), "linear", id="a layer on the CPU"),
        pytest.param(lambda there, here: there.sum(0).backward(here[0]), "backward", id="upstream gradient"),
    ],
)
def test_devices_do_not_mix(gpu, call, operation):
    there, here = mc.ones(2, 2, device="cuda"), mc.ones(2, 2)
    there.requires_grad = operation == "backward"
    with pytest.raises(TypeError, match=f"^{operation}: .*'cuda'.*'cpu'|^{operation}: .*'cpu'.*'cuda'"):
        call(there, here)


def test_numbers_and_lists_mix_with_any_device(gpu):
    x = mc.tensor([1.0, 2.0], device="cuda")
    for result, expected in [
        (x + 1, [2, 3]),
        (2 - x, [1, 0]),
        (x * np.float64(3), [3, 6]),
        (x + [10.0, 20.0], [11, 22]),
        (mc.where([True, False], x, 0.0), [1, 0]),
        (x == [1.0, 3.0], [True, False]),
        (x > 1, [False, True]),
        (x[[1, 0]], [2, 1]),
        (x[np.array([False, True])], [2]),
        (x[mc.tensor([1])], [2]),  # an index may be anywhere
        (F.one_hot(mc.tensor([1, 0], device="cuda"), 2)[0], [0, 1]),
    ]:
        assert on_gpu(result)
        assert result.tolist() == expected
        assert result.dtype in (x.dtype, np.bool_)
    x[0] = 5
    x += 1
    x *= [1.0, 2.0]
    assert x.tolist() == [6, 6]


# Operations: the same numbers as on the CPU, and no array on the way that CuPy would refuse


def test_gradients_of_everything(gpu):
    """The whole table of gradient checks, on the GPU's arrays."""
    mc.use("cuda")
    rows = list(gradcases.run())
    assert len(rows) > 300
    assert [row for row in rows if not row.ok] == []


OPERATIONS = {
    "arithmetic": lambda x: ((x * 2 - 1) / (x * x + 1) + (-x).abs() ** 1.5).exp(),
    "extremes": lambda x: mc.maximum(x, 0.1) + mc.minimum(x, x * 0.5) + x.clip(-0.5, 0.5),
    "reductions": lambda x: x.sum(0) * x.mean(0) + x.var(0) + x.amax(0) - x.amin(0),
    "one axis": lambda x: x.max(1).values - x.min(-1).values,
    "products": lambda x: x.T @ (x @ x.T) @ x,
    "shapes": lambda x: mc.cat([x.reshape(2, 6).permute(1, 0), x.expand(6, 3, 4)[:, 0, :2]], 1),
    "entries": lambda x: mc.stack([x[1:, ::2], x[[0, 2]][:, [1, 1]]]) * mc.pad(x, (1, 0, 0, 1))[1:3, 1:3],
    "softmax": lambda x: F.softmax(x) * F.log_softmax(x, 0),
}


FAMILY = {"cpu": "numpy", "cuda": "cuda"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_without_kernels_give_the_numbers_of_the_cpu(gpu, name, dtype):
    array = distinct(name, (3, 4), dtype)
    results = []
    for device in ("cpu", "cuda"):
        x = mc.tensor(array, requires_grad=True, device=device)
        with mc.trace() as ran:
            y = OPERATIONS[name](x)
            y.backward(mc.tensor(normal(name, y.shape, dtype), device=device))
        assert not computing(ran)
        assert {one.backend for one in ran} <= {FAMILY[device]}
        assert {y.device, x.device, backend.device_of(x.grad)} == {device}
        results.append((on_host(y.data), on_host(x.grad)))
    for found, expected in zip(*results[::-1], strict=True):
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=1e-5 if dtype == np.float32 else 1e-13)


def test_an_operation_without_a_kernel_says_so(gpu, monkeypatch):
    monkeypatch.delitem(kernels.registry._kernels, ("relu.forward", "cuda"))
    with pytest.raises(ValueError, match=r"^relu.forward: there is no kernel for backend 'cuda'"):
        mc.ones(2, device="cuda").relu()


def test_out_of_range_labels_and_targets_of_nothing(gpu):
    x = mc.ones(2, 3, device="cuda")
    with pytest.raises(ValueError, match="label 7 is out of range for 3 classes"):
        F.cross_entropy(x, [0, 7])
    assert np.isnan(F.cross_entropy(x, [-100, -100]).item())


# Modules and optimisers


def network():
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def test_a_module_moves_in_place_with_its_gradients(gpu):
    net = network()
    parameters = list(net.parameters())
    net(mc.randn(2, 1, 8, 8)).sum().backward()
    before = {name: array.copy() for name, array in net.state_dict().items()}
    assert net.to("cuda") is net
    assert all(one is other for one, other in zip(net.parameters(), parameters, strict=True))
    tensors = [*net.parameters(), *net.buffers()]
    assert all(on_gpu(tensor) for tensor in tensors)
    assert all(isinstance(p.grad, gpu.ndarray) for p in net.parameters())
    assert {str(t.dtype) for t in tensors} == {"float32", "int64"}
    assert on_gpu(net(mc.ones(2, 1, 8, 8, device="cuda")))
    assert net[1].num_batches_tracked.item() == 2
    assert net.double().state_dict()["0.weight"].dtype == np.float64
    net.float().cpu()
    assert {t.device for t in (*net.parameters(), *net.buffers())} == {"cpu"}
    assert all(isinstance(p.grad, np.ndarray) for p in net.parameters())
    np.testing.assert_array_equal(net.state_dict()["5.weight"], before["5.weight"])
    assert net.cuda().cpu() is net


def test_state_dicts_are_loaded_across_devices(gpu):
    here, there = network(), network().to("cuda")
    there.load_state_dict(here.state_dict())
    assert all(on_gpu(p) for p in there.parameters())
    for name, array in here.state_dict().items():
        np.testing.assert_array_equal(on_host(there.state_dict()[name]), array)
    other = network()
    other.load_state_dict(there.state_dict())
    other.load_state_dict({name: mc.Tensor(array) for name, array in there.state_dict().items()})
    np.testing.assert_array_equal(other[0].weight.data, here[0].weight.data)


OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "RMSprop": {"lr": 0.01, "centered": True, "momentum": 0.5},
    "Adam": {},
    "AdamW": {},
    "Adamax": {},
    "NAdam": {},
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimisers_state_follows_its_parameters(gpu, name):
    """Steps on the CPU, then on the GPU, then on the CPU again, are those of the CPU alone."""
    weights = {}
    for devices in (("cpu", "cpu", "cpu"), ("cpu", "cuda", "cpu"), ("cuda", "cuda", "cpu")):
        w = nn.Parameter(normal("w", (3, 4)))
        optimizer = getattr(optim, name)([w], **OPTIMIZERS[name])
        for step, device in enumerate(devices):
            w.data = backend.move(w.data, device)
            w.grad = backend.move(normal(f"g{step}", (3, 4)), device)
            optimizer.step()
            arrays = [value for value in optimizer.state[w].values() if backend.is_array(value)]
            assert arrays
            assert {backend.device_of(array) for array in arrays} == {device}
        weights[devices] = w.data
    first, *others = weights.values()
    for other in others:
        np.testing.assert_array_equal(other, first)


def test_an_optimisers_state_dict_crosses_devices(gpu):
    w = nn.Parameter(mc.ones(3, device="cuda"))
    optimizer = optim.Adam([w])
    w.grad = gpu.ones(3, "float32")
    optimizer.step()
    saved = optimizer.state_dict()
    assert isinstance(saved["state"][0]["exp_avg"], np.ndarray)
    for device in ("cpu", "cuda"):
        other = nn.Parameter(w.to(device).detach())
        fresh = optim.Adam([other])
        fresh.load_state_dict(saved)
        assert backend.device_of(fresh.state[other]["exp_avg"]) == device
        np.testing.assert_array_equal(on_host(fresh.state[other]["exp_avg"]), saved["state"][0]["exp_avg"])


def test_a_gradient_on_another_device_changes_nothing(gpu):
    w = nn.Parameter(mc.ones(3, device="cuda"))
    w.grad = np.ones(3, np.float32)
    with pytest.raises(
        TypeError, match="SGD: the parameter is on 'cuda', but the grad of parameter 0 is on 'cpu'"
    ):
        optim.SGD([w], lr=1.0).step()
    assert w.tolist() == [1, 1, 1]
