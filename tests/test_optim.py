"""The optimisers: the papers' equations on plain numbers, PyTorch's trajectories, what a step does."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from cases import Choice, algorithms, assert_close, on_device, on_host, running

import minicnn as mc
from minicnn import backend, nn, optim
from minicnn.kernels.numpy import optim as in_numpy

STEPS = 15
SHAPES = [(2, 3), (4,), ()]

CASES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.05}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.1, "momentum": 0.8, "nesterov": True, "weight_decay": 0.05, "maximize": True}),
    ("RMSprop", {"lr": 0.02}),
    ("RMSprop", {"lr": 0.02, "alpha": 0.8, "eps": 1e-3, "weight_decay": 0.05}),
    ("RMSprop", {"lr": 0.02, "momentum": 0.9}),
    ("RMSprop", {"lr": 0.02, "centered": True, "alpha": 0.9}),
    ("RMSprop", {"lr": 0.02, "centered": True, "momentum": 0.7, "weight_decay": 0.05, "maximize": True}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.05}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.05, "maximize": True}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.3}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.0, "maximize": True}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "weight_decay": 0.05}),
    ("Adamax", {"lr": 0.1, "maximize": True}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-3, "momentum_decay": 0.05}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.05, "momentum_decay": 0.0, "maximize": True}),
]
IDS = [f"{name}-{'-'.join(options)}" for name, options in CASES]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=IDS)
every_class = pytest.mark.parametrize("name", ["SGD", "RMSprop", "Adam", "AdamW", "Adamax", "NAdam"])


def start_values(dtype=np.float64):
    rng = np.random.default_rng(0)
    return [np.asarray(rng.standard_normal(shape), dtype) for shape in SHAPES]


def gradient(w, parameter, step):
    """A gradient that depends on the parameter, and so on the whole way to it, with some noise."""
    noise = np.random.default_rng(100 * parameter + step).standard_normal(w.shape)
    return np.asarray(np.sin(3 * w) + 0.5 * noise, w.dtype)


def two_groups(params, options):
    """The first two parameters, and the third with a learning rate and a weight decay of its own."""
    return [
        {"params": params[:2]},
        {"params": params[2:], "lr": 3 * options.get("lr", 1e-3), "weight_decay": 0.02},
    ]


def make(name, options, dtype=np.float64):
    params = [nn.Parameter(w) for w in start_values(dtype)]
    return getattr(optim, name)(two_groups(params, options), **options), params


def run(optimizer, params, steps):
    """Take the steps; after the eighth, the learning rates are halved, as by a schedule."""
    trajectory = []
    for step in steps:
        for i, p in enumerate(params):
            p.grad = gradient(p.data, i, step)
        optimizer.step()
        if step == 8:
            for group in optimizer.param_groups:
                group["lr"] /= 2
        trajectory.append([p.data.copy() for p in params])
    return trajectory


# ----------------------------------------------------------------------------------------- the equations
# Each takes one number w through its gradients, as a generator: it yields w and is sent g and lr.


def sgd(w, momentum=0.0, dampening=0.0, nesterov=False):
    u = None
    while True:
        g, lr = yield w
        u = g if u is None else momentum * u + (1 - dampening) * g
        w -= lr * (g + momentum * u if nesterov else u if momentum else g)


def rmsprop(w, alpha=0.99, eps=1e-8, momentum=0.0, centered=False):
    v = m = u = 0.0
    while True:
        g, lr = yield w
        v = alpha * v + (1 - alpha) * g**2
        m = alpha * m + (1 - alpha) * g if centered else 0.0
        u = momentum * u + g / (sqrt(v - m**2) + eps)
        w -= lr * u


def adam(w, betas=(0.9, 0.999), eps=1e-8, decay=0.0):
    m = v = t = 0
    while True:
        g, lr = yield w
        t += 1
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat, v_hat = m / (1 - betas[0] ** t), v / (1 - betas[1] ** t)
        w = w - lr * decay * w - lr * m_hat / (sqrt(v_hat) + eps)


def adamax(w, betas=(0.9, 0.999), eps=1e-8):
    m = u = t = 0
    while True:
        g, lr = yield w
        t += 1
        m = betas[0] * m + (1 - betas[0]) * g
        u = max(betas[1] * u, abs(g) + eps)
        w -= lr / (1 - betas[0] ** t) * m / u


def nadam(w, betas=(0.9, 0.999), eps=1e-8, momentum_decay=4e-3):
    m = v = 0.0
    t, product = 0, 1.0
    while True:
        g, lr = yield w
        t += 1
        mu, next_mu = (betas[0] * (1 - 0.5 * 0.96 ** (i * momentum_decay)) for i in (t, t + 1))
        product *= mu
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        m_hat = next_mu * m / (1 - product * next_mu) + (1 - mu) * g / (1 - product)
        w -= lr * m_hat / (sqrt(v / (1 - betas[1] ** t)) + eps)


EQUATIONS = {"SGD": sgd, "RMSprop": rmsprop, "Adam": adam, "AdamW": adam, "Adamax": adamax, "NAdam": nadam}


def by_hand(name, group, start, parameter, index):
    """One number's trajectory by the equation, under the same gradients and learning rates."""
    options = {
        k: v for k, v in group.items() if k not in ("params", "lr", "weight_decay", "maximize", "initial_lr")
    }
    decay, lr = group["weight_decay"], group["lr"]
    if name == "AdamW":
        options, decay = {**options, "decay": decay}, 0.0
    equation = EQUATIONS[name](float(start[index]), **options)
    w, numbers = next(equation), []
    for step in range(STEPS):
        others = np.zeros(start.shape)  # the noise is drawn for the whole parameter
        others[index] = w
        g = float(gradient(others, parameter, step)[index])
        g = (-g if group["maximize"] else g) + decay * w
        w = equation.send((g, lr))
        lr = lr / 2 if step == 8 else lr
        numbers.append(w)
    return numbers


@every_case
def test_each_number_follows_the_equation(name, options):
    optimizer, params = make(name, options)
    groups = [optimizer.param_groups[i].copy() for i in (0, 0, 1)]
    trajectory = run(optimizer, params, range(STEPS))
    for i, start in enumerate(start_values()):
        for index in np.ndindex(start.shape):
            actual = [values[i][index] for values in trajectory]
            np.testing.assert_allclose(
                actual, by_hand(name, groups[i], start, i, index), rtol=1e-12, atol=1e-14
            )


@pytest.fixture
def torch_in_float64():
    """PyTorch with float64 as its default, else NAdam's product of momenta is rounded to float32."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


@pytest.mark.oracle
@every_case
def test_trajectory_is_pytorchs(name, options, torch_in_float64):
    torch = torch_in_float64
    optimizer, params = make(name, options)
    theirs = [torch.nn.Parameter(torch.tensor(w)) for w in start_values()]
    their_optimizer = getattr(torch.optim, name)(two_groups(theirs, options), **options)
    trajectory = run(optimizer, params, range(STEPS))
    for step in range(STEPS):
        for i, p in enumerate(theirs):
            p.grad = torch.tensor(gradient(p.detach().numpy(), i, step))
        their_optimizer.step()
        if step == 8:
            for group in their_optimizer.param_groups:
                group["lr"] /= 2
        for ours, p in zip(trajectory[step], theirs, strict=True):
            np.testing.assert_allclose(ours, p.detach().numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.oracle
@every_class
def test_defaults_and_state_names_are_pytorchs(name):
    torch = pytest.importorskip("torch")
    options = (
        {"momentum": 0.9, "centered": True}
        if name == "RMSprop"
        else {"momentum": 0.9}
        if name == "SGD"
        else {}
    )
    w = nn.Parameter(np.ones(2))
    w.grad = np.array([1.0, -2.0])
    p = torch.nn.Parameter(torch.ones(2))
    p.grad = torch.tensor([1.0, -2.0])
    ours, theirs = getattr(optim, name)([w], **options), getattr(torch.optim, name)([p], **options)
    for option, value in ours.defaults.items():
        assert value == theirs.defaults[option], option
    ours.step()
    theirs.step()
    assert {*theirs.state[p], "step"} == set(ours.state[w])


# ------------------------------------------------------------------------------------------ what step does


@every_case
def test_float32_is_kept_and_memory_and_gradients_too(name, options):
    optimizer, params = make(name, options, np.float32)
    arrays = [p.data for p in params]
    reference, _ = make(name, options)
    expected = run(reference, [p for g in reference.param_groups for p in g["params"]], range(3))[-1]
    for step in range(3):
        gradients = [gradient(p.data, i, step) for i, p in enumerate(params)]
        for p, g in zip(params, gradients, strict=True):
            p.grad = g.copy()
        optimizer.step()
        assert all((p.grad == g).all() for p, g in zip(params, gradients, strict=True))
    for p, array, value in zip(params, arrays, expected, strict=True):
        assert p.data is array
        assert p.dtype == np.float32
        np.testing.assert_allclose(p.data, value, rtol=2e-4, atol=2e-5)
        states = [v for v in optimizer.state[p].values() if isinstance(v, np.ndarray)]
        assert all(v.dtype == np.float32 and v.shape == p.shape for v in states)


@every_case
@pytest.mark.parametrize("piece", [1, 7, 40])
def test_pieces_make_no_difference(name, options, piece, monkeypatch):
    def train(shape, transposed=False):
        w = np.random.default_rng(1).standard_normal(shape)
        p = nn.Parameter(np.asfortranarray(w) if transposed else w)
        optimizer = getattr(optim, name)([p], **options)
        for step in range(4):
            p.grad = gradient(p.data, 0, step)
            optimizer.step()
        return p.data

    whole = train((5, 8))
    transposed = train((5, 8), transposed=True)
    assert transposed.flags.f_contiguous
    monkeypatch.setattr(in_numpy, "PIECE", piece)
    assert (train((5, 8)) == whole).all()
    assert (transposed == whole).all()


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kernels_agree_on_large_parameters(name, options, dtype):
    """Larger than a piece or a job of any of them; and each of them is what ran."""

    def train(choice):
        w = np.random.default_rng(1).standard_normal((3, 40_001)).astype(dtype)
        with running(name_of(name), choice) as ran:
            p = nn.Parameter(on_device(w))
            optimizer = getattr(optim, name)([p], **options)
            for step in range(4):
                g = gradient(on_host(p.data), 0, step)
                g.flags.writeable = False
                p.grad = on_device(g).data
                optimizer.step()
            arrays = [p.data, *(v for v in optimizer.state[p].values() if backend.is_array(v))]
            arrays = [on_host(array) for array in arrays]
        assert len(ran) == 4
        return arrays

    expected = train(Choice("numpy", "in_pieces"))
    for choice in algorithms(name_of(name)):
        assert_close(train(choice.values[0]), expected, 1e-5 if dtype == np.float32 else 1e-13)


def name_of(optimizer):
    """The operation in the registry."""
    return "adam" if optimizer == "AdamW" else optimizer.lower()


def test_a_read_only_parameter_is_refused():
    w = nn.Parameter(np.ones(3))
    w.grad = np.ones(3)
    w.data.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        optim.SGD([w], lr=0.1).step()
    assert (w.data == 1).all()


def test_a_transposed_gradient_is_used_right():
    w = nn.Parameter(np.zeros((2, 3)))
    w.grad = np.arange(6.0).reshape(3, 2).T
    optim.SGD([w], lr=1.0).step()
    assert (w.data == -w.grad).all()


@every_class
def test_a_parameter_without_gradient_is_skipped(name):
    params = [nn.Parameter(np.ones(2)) for _ in range(3)]
    optimizer = getattr(optim, name)(params, lr=0.1)
    params[1].grad = np.array([1.0, 2.0])
    optimizer.step()
    assert (params[0].data == 1).all()
    assert (params[2].data == 1).all()
    assert (params[1].data < 1).all()
    assert list(optimizer.state) == [params[1]]
    assert set(optimizer.state_dict()["state"]) == {1}


@every_class
def test_a_step_counts_as_a_change_of_what_was_saved(name):
    w = nn.Parameter(np.full(5000, 0.5))  # too long to be compared by value
    optimizer = getattr(optim, name)([w], lr=0.1)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed"):
        loss.backward()


@every_class
def test_it_minimises(name):
    """Least squares by the engine itself: the loss falls to a thousandth."""
    rng = np.random.default_rng(3)
    x, true = mc.tensor(rng.standard_normal((64, 5))), mc.tensor(rng.standard_normal((5, 1)))
    y = x @ true
    w = nn.Parameter(mc.zeros(5, 1, dtype="float64"))
    optimizer = getattr(optim, name)([w], lr={"SGD": 0.1, "RMSprop": 0.01}.get(name, 0.1), weight_decay=0.0)
    losses = []
    for _ in range(300):
        optimizer.zero_grad()
        residual = mc.matmul(x, w) - y
        loss = (residual * residual).mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 1e-3 * losses[0]
    np.testing.assert_allclose(on_host(w.data), on_host(true.data), atol=0.05)


def test_centered_rmsprop_survives_a_constant_gradient():
    """There v - m² vanishes, and in float32 rounding takes it below zero, where PyTorch gives NaN."""
    w = nn.Parameter(np.ones(100, np.float32))
    optimizer = optim.RMSprop([w], lr=1e-3, alpha=0.5, centered=True)
    g = np.linspace(0.1, 7.3, 100).astype(np.float32)
    for _ in range(60):
        w.grad = g
        optimizer.step()
    v, m = optimizer.state[w]["square_avg"], optimizer.state[w]["grad_avg"]
    assert (v - m * m).min() < 0
    assert np.isfinite(w.data).all()


def test_momentum_that_is_switched_on_later_finds_its_buffer():
    w = nn.Parameter(np.zeros(1))
    optimizer = optim.SGD([w], lr=1.0)
    for momentum, expected in ((0.0, -1.0), (0.5, -2.0), (0.5, -3.5)):
        optimizer.param_groups[0]["momentum"] = momentum
        w.grad = np.ones(1)
        optimizer.step()
        assert w.data == expected


def test_a_closure_is_called_and_its_loss_returned():
    w = nn.Parameter(np.array([2.0]))
    optimizer = optim.SGD([w], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (w * w).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure).item() == 4.0
    assert w.data == pytest.approx(1.6)
    assert optimizer.step() is None


def test_zero_grad():
    params = [nn.Parameter(np.ones(2)), nn.Parameter(np.ones(3))]
    optimizer = optim.SGD([{"params": params[:1]}, {"params": params[1:]}], lr=0.1)
    params[0].grad = held = np.array([1.0, 2.0])
    optimizer.zero_grad(set_to_none=False)
    assert params[0].grad is held
    assert (held == 0).all()
    assert params[1].grad is None
    optimizer.zero_grad()
    assert params[0].grad is None


def test_groups_are_completed_with_the_defaults():
    first, second = nn.Parameter(np.ones(2)), nn.Parameter(np.ones(2))
    optimizer = optim.Adam([first], lr=np.float32(0.5))
    optimizer.add_param_group({"params": second, "betas": [0.5, 0.6], "name": "head"})
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert type(optimizer.param_groups[0]["lr"]) is float
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    assert optimizer.param_groups[1] == {
        **optimizer.defaults,
        "betas": (0.5, 0.6),
        "name": "head",
        "params": [second],
    }
    assert "'params': 1" in repr(optimizer)
    assert repr(optimizer).startswith("Adam({'lr': 0.5")


def test_parameters_may_come_from_a_generator():
    w = nn.Parameter(np.ones(2))
    assert optim.SGD(p for p in [w]).param_groups[0]["params"] == [w]
