"""The schedules: their closed forms, PyTorch's values, resuming, and wrong arguments."""

from __future__ import annotations

import json
from math import cos, pi

import numpy as np
import pytest

from minicnn import nn, optim
from minicnn.optim import lr_scheduler

EPOCHS = 25
RATES = (0.1, 0.03)


def make_optimizer(rates=RATES):
    groups = [{"params": [nn.Parameter(np.ones(2))], "lr": lr} for lr in rates]
    return optim.SGD(groups, lr=1.0)


def halve_twice(epoch):
    return 1.0 if epoch < 5 else 0.5 if epoch < 9 else 0.25


def grow(epoch):
    return 1 + 0.1 * epoch


# (class, options, the closed form of lr_e for a group that starts with lr)
CASES = [
    ("LambdaLR", {"lr_lambda": halve_twice}, lambda lr, e: lr * halve_twice(e)),
    ("StepLR", {"step_size": 8, "gamma": 0.96}, lambda lr, e: lr * 0.96 ** (e // 8)),
    ("StepLR", {"step_size": 1}, lambda lr, e: lr * 0.1**e),
    ("MultiStepLR", {"milestones": [12, 3, 12]}, lambda lr, e: lr * 0.1 ** ((e >= 3) + 2 * (e >= 12))),
    ("MultiStepLR", {"milestones": [], "gamma": 0.5}, lambda lr, e: lr),
    ("ExponentialLR", {"gamma": 0.9}, lambda lr, e: lr * 0.9**e),
    ("CosineAnnealingLR", {"T_max": 24}, lambda lr, e: lr * (1 + cos(pi * e / 24)) / 2),
    (
        "CosineAnnealingLR",
        {"T_max": 7, "eta_min": 0.01},
        lambda lr, e: 0.01 + (lr - 0.01) * (1 + cos(pi * e / 7)) / 2,
    ),
    ("CosineAnnealingLR", {"T_max": 1, "eta_min": 0.02}, lambda lr, e: 0.02 if e % 2 else lr),
]
every_case = pytest.mark.parametrize(("name", "options", "closed_form"), CASES)

# Falls, rises, stays, and falls too little: everything that ReduceLROnPlateau has to tell apart.
METRICS = [
    3.0,
    2.0,
    2.5,
    1.99999,
    2.1,
    2.2,
    1.0,
    1.0,
    1.0,
    1.0,
    1.0,
    0.9,
    5.0,
    4.0,
    3.0,
    2.0,
    1.0,
    1.0,
    0.89,
    0.9,
]
PLATEAUS = [
    {"patience": 1},
    {"mode": "max", "factor": 0.5, "patience": 0},
    {"factor": 0.3, "patience": 2, "cooldown": 2, "threshold": 0.2},
    {"patience": 1, "threshold_mode": "abs", "threshold": 0.05, "min_lr": 1e-3},
    {"mode": "max", "patience": 0, "threshold_mode": "abs", "threshold": 0.5, "min_lr": [0.05, 1e-4]},
    {"factor": 0.5, "patience": 0, "eps": 0.02},
]


def trajectory(scheduler, epochs, metrics=None):
    rates = [scheduler.get_last_lr()]
    for epoch in range(epochs):
        scheduler.step() if metrics is None else scheduler.step(metrics[epoch])
        rates.append([group["lr"] for group in scheduler.optimizer.param_groups])
        assert rates[-1] == scheduler.get_last_lr()
    return rates


@every_case
def test_closed_form(name, options, closed_form):
    scheduler = getattr(lr_scheduler, name)(make_optimizer(), **options)
    expected = [[closed_form(lr, e) for lr in RATES] for e in range(EPOCHS + 1)]
    np.testing.assert_allclose(trajectory(scheduler, EPOCHS), expected, rtol=1e-12, atol=1e-17)
    assert scheduler.last_epoch == EPOCHS
    assert [group["initial_lr"] for group in scheduler.optimizer.param_groups] == list(RATES)


def torch_optimizer(torch):
    groups = [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": lr} for lr in RATES]
    return torch.optim.SGD(groups, lr=1.0)


def torch_trajectory(optimizer, scheduler, epochs, metrics=None):
    rates = [[group["lr"] for group in optimizer.param_groups]]
    for epoch in range(epochs):
        optimizer.step()
        scheduler.step() if metrics is None else scheduler.step(metrics[epoch])
        rates.append([group["lr"] for group in optimizer.param_groups])
    return rates


@pytest.mark.oracle
@pytest.mark.parametrize(
    ("name", "options"), [case[:2] for case in CASES] + [("LambdaLR", {"lr_lambda": [grow, halve_twice]})]
)
def test_rates_are_pytorchs(name, options):
    torch = pytest.importorskip("torch")
    ours = trajectory(getattr(lr_scheduler, name)(make_optimizer(), **options), EPOCHS)
    their_optimizer = torch_optimizer(torch)
    theirs = getattr(torch.optim.lr_scheduler, name)(their_optimizer, **options)
    np.testing.assert_allclose(
        ours, torch_trajectory(their_optimizer, theirs, EPOCHS), rtol=1e-12, atol=1e-17
    )


@pytest.mark.oracle
@pytest.mark.parametrize("options", PLATEAUS)
@pytest.mark.parametrize("sign", [1, -1])
def test_plateau_is_pytorchs(options, sign):
    torch = pytest.importorskip("torch")
    metrics = [sign * metric for metric in METRICS[:8]] + [float("nan")] + METRICS[8:]
    ours = trajectory(lr_scheduler.ReduceLROnPlateau(make_optimizer(), **options), len(metrics), metrics)
    their_optimizer = torch_optimizer(torch)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(their_optimizer, **options)
    expected = torch_trajectory(their_optimizer, theirs, len(metrics), metrics)
    np.testing.assert_allclose(ours, expected, rtol=1e-12)
    assert ours[-1] != ours[0]


@pytest.mark.oracle
def test_two_schedules_multiply_as_in_pytorch():
    torch = pytest.importorskip("torch")

    def both(module, optimizer):
        first = module.CosineAnnealingLR(optimizer, T_max=10)
        second = module.StepLR(optimizer, step_size=3, gamma=0.5)
        rates = []
        for _ in range(9):
            optimizer.step()
            first.step()
            second.step()
            rates.append([group["lr"] for group in optimizer.param_groups])
        return rates

    ours, theirs = (
        both(lr_scheduler, make_optimizer()),
        both(torch.optim.lr_scheduler, torch_optimizer(torch)),
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)


def test_plateau_by_hand():
    """Patience 1: the second epoch in a row without a new best reduces; a cooldown of 1 skips one."""
    scheduler = lr_scheduler.ReduceLROnPlateau(make_optimizer([1.0]), factor=0.5, patience=1, cooldown=1)
    rates = trajectory(scheduler, 8, [4.0, 4.0, 3.0, 3.0, 3.0, 3.0, 3.0, 3.0])
    assert rates == [[1.0], [1.0], [1.0], [1.0], [1.0], [0.5], [0.5], [0.5], [0.25]]
    assert scheduler.best == 3.0
    assert scheduler.last_epoch == 8


def test_plateau_respects_the_floor_and_ignores_tiny_reductions():
    scheduler = lr_scheduler.ReduceLROnPlateau(make_optimizer(), factor=0.1, patience=0, min_lr=[0.02, 0.0])
    rates = trajectory(scheduler, 3, [1.0, 1.0, 1.0])
    np.testing.assert_allclose(rates[-1], [0.02, 0.0003], rtol=1e-12)
    scheduler = lr_scheduler.ReduceLROnPlateau(make_optimizer([0.1]), factor=0.9, patience=0, eps=0.011)
    assert trajectory(scheduler, 3, [1.0, 1.0, 1.0])[-1] == [0.1]


def test_lenet5_schedule_by_lambda():
    """Two passes, three, three, four, and the rest: 20 in all, as published in 1998."""

    def lenet5(epoch):
        return next(
            lr for end, lr in ((2, 5e-4), (5, 2e-4), (8, 1e-4), (12, 5e-5), (99, 1e-5)) if epoch < end
        )

    scheduler = lr_scheduler.LambdaLR(make_optimizer([1.0]), lenet5)
    rates = [lr for (lr,) in trajectory(scheduler, 19)]
    assert rates == [5e-4] * 2 + [2e-4] * 3 + [1e-4] * 3 + [5e-5] * 4 + [1e-5] * 8


def test_a_rate_set_by_hand_is_scaled_from_then_on():
    optimizer = make_optimizer([1.0])
    scheduler = lr_scheduler.ExponentialLR(optimizer, gamma=0.5)
    scheduler.step()
    optimizer.param_groups[0]["lr"] = 8.0
    scheduler.step()
    assert scheduler.get_last_lr() == [4.0]


def test_the_step_takes_the_scheduled_rate():
    w = nn.Parameter(np.zeros(1))
    optimizer = optim.SGD([w], lr=1.0)
    scheduler = lr_scheduler.StepLR(optimizer, step_size=2, gamma=0.1)
    for _ in range(4):
        w.grad = np.ones(1)
        optimizer.step()
        scheduler.step()
    assert w.data[0] == pytest.approx(-2.2, rel=1e-12)


RESUMABLE = [
    *((name, options) for name, options, _ in CASES),
    *(("ReduceLROnPlateau", options) for options in PLATEAUS),
]


@pytest.mark.parametrize(("name", "options"), RESUMABLE)
@pytest.mark.parametrize("done", [0, 9])
def test_a_resumed_schedule_gives_the_same_rates(name, options, done):
    metrics = METRICS if name == "ReduceLROnPlateau" else None
    whole = trajectory(getattr(lr_scheduler, name)(make_optimizer(), **options), 20, metrics)
    scheduler = getattr(lr_scheduler, name)(make_optimizer(), **options)
    trajectory(scheduler, done, metrics)
    saved = json.loads(
        json.dumps(
            [scheduler.state_dict(), scheduler.optimizer.state_dict()["param_groups"]], allow_nan=False
        )
    )

    resumed = getattr(lr_scheduler, name)(make_optimizer(), **options)
    resumed.load_state_dict(saved[0])
    resumed.optimizer.load_state_dict({"state": {}, "param_groups": saved[1]})
    assert resumed.state_dict() == scheduler.state_dict()
    rest = None if metrics is None else metrics[done:]
    assert trajectory(resumed, 20 - done, rest) == whole[done:]


def test_a_loaded_state_brings_its_own_numbers_but_no_function():
    scheduler = lr_scheduler.StepLR(make_optimizer(), step_size=3)
    scheduler.load_state_dict(lr_scheduler.StepLR(make_optimizer(), step_size=5, gamma=0.5).state_dict())
    assert (scheduler.step_size, scheduler.gamma) == (5, 0.5)
    assert set(lr_scheduler.LambdaLR(make_optimizer(), grow).state_dict()) == {
        "last_epoch",
        "base_lrs",
        "_last_lr",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("gamma"), "StepLR.load_state_dict: a dict with the keys .*'gamma'.* is expected"),
        (lambda s: s.update(T_max=3), "is expected, not .*'T_max'"),
        (lambda s: s.update(base_lrs=[0.1]), r"base_lrs is \[0.1\], but 2 numbers are expected"),
        (lambda s: s.update(_last_lr=0.1), "_last_lr is 0.1"),
        (lambda s: s.update(last_epoch="3"), "last_epoch is '3', but int is expected"),
        (lambda s: s.update(gamma=None), "gamma is None, but float is expected"),
    ],
)
def test_a_wrong_state_is_named_and_changes_nothing(change, message):
    scheduler = lr_scheduler.StepLR(make_optimizer(), step_size=3)
    before = scheduler.state_dict()
    other = lr_scheduler.StepLR(make_optimizer(), step_size=5)
    other.step()
    state = other.state_dict()
    change(state)
    with pytest.raises(ValueError, match=message):
        scheduler.load_state_dict(state)
    assert scheduler.state_dict() == before


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("StepLR", {"step_size": 0}, ValueError, "StepLR: step_size is 0, but at least 1"),
        ("StepLR", {"step_size": 2.0}, TypeError, "step_size is 2.0, but an int"),
        ("StepLR", {"step_size": 2, "gamma": -1}, ValueError, "gamma is -1, but 0 <= gamma < inf"),
        ("MultiStepLR", {"milestones": [3, -1]}, ValueError, "milestones is -1, but at least 0"),
        ("ExponentialLR", {"gamma": "0.9"}, TypeError, "gamma is '0.9', but a number"),
        ("ExponentialLR", {"gamma": float("nan")}, ValueError, "gamma is nan"),
        ("CosineAnnealingLR", {"T_max": 0}, ValueError, "T_max is 0, but at least 1"),
        ("CosineAnnealingLR", {"T_max": 5, "eta_min": -0.1}, ValueError, "eta_min is -0.1"),
        ("LambdaLR", {"lr_lambda": 0.5}, TypeError, "lr_lambda is 0.5, but a function"),
        (
            "LambdaLR",
            {"lr_lambda": [grow]},
            ValueError,
            "lr_lambda has 1 functions, but the optimiser 2 groups",
        ),
        ("ReduceLROnPlateau", {"mode": "low"}, ValueError, "mode is 'low', but 'min' or 'max'"),
        (
            "ReduceLROnPlateau",
            {"threshold_mode": "x"},
            ValueError,
            "threshold_mode is 'x', but 'rel' or 'abs'",
        ),
        ("ReduceLROnPlateau", {"factor": 1.0}, ValueError, "factor is 1.0, but 0 <= factor < 1"),
        ("ReduceLROnPlateau", {"patience": -1}, ValueError, "patience is -1"),
        (
            "ReduceLROnPlateau",
            {"min_lr": [0.1]},
            ValueError,
            "min_lr has 1 numbers, but the optimiser 2 groups",
        ),
        ("ReduceLROnPlateau", {"min_lr": -0.1}, ValueError, "min_lr is -0.1"),
    ],
)
def test_a_wrong_argument_is_named(name, options, error, message):
    optimizer = make_optimizer()
    with pytest.raises(error, match=message):
        getattr(lr_scheduler, name)(optimizer, **options)
    assert [group["lr"] for group in optimizer.param_groups] == list(RATES)


@pytest.mark.parametrize(("name", "options"), [case[:2] for case in CASES] + [("ReduceLROnPlateau", {})])
def test_a_schedule_needs_an_optimizer(name, options):
    with pytest.raises(TypeError, match=f"{name}: optimizer is list, but an Optimizer"):
        getattr(lr_scheduler, name)([0.1], **options)
