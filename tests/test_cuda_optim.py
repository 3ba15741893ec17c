"""The optimisers on the GPU: one launch for all parameters, and tables that stay where they are."""

import numpy as np
import pytest
from cases import normal
from emulator.use import cupy

import minicnn as mc
from minicnn import nn, optim
from minicnn.kernels.cuda import optim as on_gpu

__all__ = ["cupy"]  # a fixture

CHUNK = on_gpu.CONSTANTS["CHUNK"]
SHAPES = [(2, 3), (), (CHUNK,), (5, CHUNK // 4), (1,), (3, CHUNK + 1), (0, 4), (7, 11)]
CHUNKS = 1 + 1 + 1 + 2 + 1 + 4 + 0 + 1

OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
    "RMSprop": {"lr": 0.02, "centered": True},
    "Adam": {"lr": 0.1},
    "AdamW": {"lr": 0.1, "maximize": True},
    "Adamax": {"lr": 0.1},
    "NAdam": {"lr": 0.1},
}
every_class = pytest.mark.parametrize("name", OPTIMIZERS)


@pytest.fixture
def launches(monkeypatch):
    """The launches of the updates: how many blocks each had."""
    grids, launch = [], on_gpu.launch

    def counted(function, grid, *rest):
        grids.append(grid)
        launch(function, grid, *rest)

    monkeypatch.setattr(on_gpu, "launch", counted)
    return grids


def parameters(device, dtype):
    """Of all sizes; the last one's columns lie one after another, and one is a part of another array."""
    arrays = [np.asarray(normal(f"w{i}", shape, dtype)) for i, shape in enumerate(SHAPES)]
    tensors = [mc.Tensor(array).to(device) for array in arrays]
    last = tensors[-1].data
    tensors[-1] = mc.Tensor(last.T.copy().T)
    assert not tensors[-1].data.flags.c_contiguous
    shifted = mc.Tensor(np.concatenate([arrays[2][:1], arrays[2]])).to(device)
    tensors[2] = mc.Tensor(shifted.data[1:])
    return [nn.Parameter(tensor) for tensor in tensors]


def set_gradients(params, step):
    for i, p in enumerate(params):
        g = normal(f"g{i} {step}", p.shape, p.dtype)
        p.grad = mc.Tensor(np.asarray(g)).to(p.device).data


def trained(name, device, dtype, steps=3):
    """The parameters after some steps, in two groups of other numbers, one of which may lack a gradient."""
    params = parameters(device, dtype)
    groups = [{"params": params[:3]}, {"params": params[3:], "lr": 0.03, "weight_decay": 0.1}]
    optimizer = getattr(optim, name)(groups, **OPTIMIZERS[name])
    for step in range(steps):
        set_gradients(params, step)
        if step == 1:
            params[4].grad = None  # whose count of steps then lags behind
        optimizer.step()
    return [p.cpu().numpy() for p in params], optimizer


@every_class
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_launch_for_all_parameters(cupy, launches, name, dtype):
    with mc.use("numpy"):
        expected, _ = trained(name, "cpu", dtype)
    results, optimizer = trained(name, "cuda", dtype)
    assert launches == [CHUNKS, CHUNKS - 1, CHUNKS]
    again, _ = trained(name, "cuda", dtype)
    for result, wanted, same in zip(results, expected, again, strict=True):
        size = max(np.abs(wanted).max(initial=0), 1)
        np.testing.assert_allclose(result, wanted, rtol=0, atol=40 * np.finfo(dtype).eps * size)
        np.testing.assert_array_equal(result, same)
    steps = [state["step"] for state in optimizer.state.values()]
    assert (sorted(set(steps)), steps.count(2)) == ([2, 3], 1)


def test_a_launch_for_each_dtype(cupy, launches):
    params = [nn.Parameter(mc.Tensor(np.ones(3, dtype)).to("cuda")) for dtype in (np.float32, np.float64)]
    set_gradients(params, 0)
    expected = [1 - 0.5 * p.grad.get() for p in params]
    optim.SGD(params, lr=0.5).step()
    assert launches == [1, 1]
    for p, value in zip(params, expected, strict=True):
        np.testing.assert_allclose(p.data.get(), value, rtol=1e-6)


def test_parameters_on_both_devices(cupy, launches):
    params = [nn.Parameter(mc.Tensor(np.ones(3)).to(device)) for device in ("cpu", "cuda")]
    set_gradients(params, 0)
    expected = [1 - 0.5 * p.grad for p in params]
    with mc.trace() as ran:
        optim.SGD(params, lr=0.5).step()
    assert [one.backend for one in ran] == ["numpy", "cuda"]
    assert launches == [1]
    assert all(bool((p.data == value).all()) for p, value in zip(params, expected, strict=True))


def test_tables_are_kept_while_the_arrays_stay(cupy, monkeypatch):
    if not getattr(cupy, "is_emulated", False):
        pytest.skip("the methods of CuPy's own arrays cannot be replaced")
    written, set_ = [], cupy.ndarray.set

    def counted(self, *args):
        written.append(self.shape)
        set_(self, *args)

    monkeypatch.setattr(cupy.ndarray, "set", counted)
    params = [nn.Parameter(mc.Tensor(np.ones(size)).to("cuda")) for size in (3, 5)]
    optimizer = optim.SGD(params, lr=0.5)
    set_gradients(params, 0)
    before = on_gpu.table_for.cache_info().misses

    def seen():
        optimizer.step()
        return on_gpu.table_for.cache_info().misses - before, len(written)

    assert [seen(), seen(), seen()] == [(1, 1)] * 3
    optimizer.param_groups[0]["lr"] = 0.25  # numbers
    assert [seen(), seen()] == [(1, 2)] * 2
    held, params[1].grad = params[1].grad, params[1].grad.copy()  # another place
    assert [seen(), seen()] == [(2, 3)] * 2
    params[1].grad = held
    assert [seen(), seen()] == [(2, 3)] * 2
