"""Optimisers resumed, to the same bits; and states, options and parameters that are refused."""

import json

import numpy as np
import pytest
from test_optim import STEPS, every_case, make, run

from minicnn import nn, optim

# ------------------------------------------------------------------------------------------------ resuming


def through_a_file(state_dict):
    """What a checkpoint does: the arrays apart, all the rest through JSON, whose keys are strings."""
    arrays = {
        (i, name): value
        for i, entry in state_dict["state"].items()
        for name, value in entry.items()
        if isinstance(value, np.ndarray)
    }
    rest = {i: {k: v for k, v in e.items() if (i, k) not in arrays} for i, e in state_dict["state"].items()}
    rest, groups = json.loads(json.dumps([rest, state_dict["param_groups"]], allow_nan=False))
    state = {int(i): entry for i, entry in rest.items()}
    for (i, name), array in arrays.items():
        state[i][name] = np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)  # read-only
    return {"state": state, "param_groups": groups}


@every_case
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_resumed_run_ends_in_the_same_bits(name, options, dtype):
    optimizer, params = make(name, options, dtype)
    whole = run(optimizer, params, range(STEPS))
    optimizer, params = make(name, options, dtype)
    run(optimizer, params, range(10))
    saved = through_a_file(optimizer.state_dict())
    values = [p.data.copy() for p in params]
    run(optimizer, params, range(10, 13))  # must not reach into what was saved

    resumed, fresh = make(name, options, dtype)
    for p, value in zip(fresh, values, strict=True):
        p.data[...] = value
    resumed.load_state_dict(saved)
    again = run(resumed, fresh, range(10, STEPS))
    assert all((a == b).all() for a, b in zip(again[-1], whole[-1], strict=True))
    assert resumed.param_groups[0]["lr"] == options.get("lr", resumed.defaults["lr"]) / 2


def test_state_dict_is_a_copy():
    optimizer, params = make("Adam", {})
    run(optimizer, params, range(2))
    saved = optimizer.state_dict()
    before = saved["state"][0]["exp_avg"].copy()
    run(optimizer, params, range(2, 4))
    assert (saved["state"][0]["exp_avg"] == before).all()
    assert saved["state"][0]["step"] == 2
    assert saved["param_groups"][0]["params"] == [0, 1]
    assert saved["param_groups"][1]["params"] == [2]


def changed(**edits):
    """An Adam state_dict of the parameters of `make`, with a change: an edit is a path and a value."""
    optimizer, params = make("Adam", {})
    run(optimizer, params, range(2))
    saved = optimizer.state_dict()
    edits["change"](saved)
    return saved


WRONG_STATES = [
    (lambda s: s.pop("state"), "keys state and param_groups is expected, not \\['param_groups'\\]"),
    (lambda s: s.update(more=1), "keys state and param_groups is expected"),
    (lambda s: s.update(param_groups={}), "param_groups is no list of dicts"),
    (lambda s: s["param_groups"].pop(), r"\[\[0, 1\]\], but this optimiser's \[\[0, 1\], \[2\]\]"),
    (lambda s: s["param_groups"][0].update(params=[0]), r"parameters \[\[0\], \[2\]\], but"),
    (lambda s: s["param_groups"][1].pop("eps"), "group 1 has no eps"),
    (lambda s: s["param_groups"][0].update(lr=-1.0), "lr is -1.0, but 0 <= lr < inf"),
    (lambda s: s["param_groups"][0].update(alpha=0.9), "option 'alpha' is unknown"),
    (lambda s: s.update(state=[]), "state is list, but a dict"),
    (lambda s: s["state"].update({3: {}}), "state has the key 3, but 0 to 2"),
    (lambda s: s["state"].update({"0": {}}), "state has the key '0'"),
    (lambda s: s["state"].update({1: 5}), "state of parameter 1 is int"),
    (lambda s: s["state"][1].pop("step"), "state of parameter 1 has no step"),
    (lambda s: s["state"][1].pop("exp_avg"), "state of parameter 1 has no exp_avg"),
    (lambda s: s["state"][1].update(exp_inf=np.ones(4)), "state of parameter 1 has the unexpected exp_inf"),
    (lambda s: s["state"][1].update(step=2.5), "step of parameter 1 is 2.5, but int"),
    (lambda s: s["state"][1].update(exp_avg=1.0), "exp_avg of parameter 1 is float, but an array"),
    (lambda s: s["state"][1].update(exp_avg=np.ones(5)), r"exp_avg of parameter 1 is float64 \(5,\), but"),
    (
        lambda s: s["state"][1].update(exp_avg=np.ones(4, np.float32)),
        r"is float32 \(4,\), but the parameter is float64",
    ),
]


@pytest.mark.parametrize(
    ("change", "message"), WRONG_STATES, ids=[message[:40] for _, message in WRONG_STATES]
)
def test_a_wrong_state_is_named_and_changes_nothing(change, message):
    optimizer, params = make("Adam", {"lr": 0.25})
    run(optimizer, params, range(1))
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(changed(change=change))
    after = optimizer.state_dict()
    assert after["param_groups"] == before["param_groups"]
    assert all((after["state"][i]["exp_avg"] == before["state"][i]["exp_avg"]).all() for i in range(3))
    assert after["state"][0]["step"] == 1


def test_another_optimisers_state_is_refused():
    sgd, params = make("SGD", {"momentum": 0.9})
    run(sgd, params, range(1))
    rmsprop, _ = make("RMSprop", {})
    with pytest.raises(ValueError, match=r"RMSprop.load_state_dict: group 0 has no alpha, centered, eps"):
        rmsprop.load_state_dict(sgd.state_dict())


# ------------------------------------------------------------------------------------------ wrong arguments


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("SGD", {"lr": -0.1}, ValueError, "SGD: lr is -0.1, but 0 <= lr < inf is expected"),
        ("SGD", {"lr": float("nan")}, ValueError, "lr is nan"),
        ("SGD", {"lr": float("inf")}, ValueError, "lr is inf"),
        ("SGD", {"lr": "0.1"}, TypeError, "lr is '0.1', but a number"),
        ("SGD", {"lr": True}, TypeError, "lr is True, but a number"),
        ("SGD", {"momentum": -1}, ValueError, "momentum is -1"),
        ("SGD", {"dampening": float("inf")}, ValueError, "dampening is inf"),
        ("SGD", {"weight_decay": -1e-4}, ValueError, "weight_decay is -0.0001"),
        ("SGD", {"nesterov": True}, ValueError, "nesterov needs momentum > 0"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "dampening is 0.1"),
        ("SGD", {"nesterov": 1, "momentum": 0.9}, TypeError, "nesterov is 1, but True or False"),
        ("RMSprop", {"alpha": 1.0}, ValueError, "RMSprop: alpha is 1.0, but 0 <= alpha < 1"),
        ("RMSprop", {"eps": -1e-8}, ValueError, "eps is -1e-08"),
        ("RMSprop", {"momentum": -0.5}, ValueError, "momentum is -0.5"),
        ("Adam", {"betas": (0.9, 1.0)}, ValueError, "Adam: betas is 1.0, but 0 <= betas < 1"),
        ("Adam", {"betas": (-0.1, 0.9)}, ValueError, "betas is -0.1"),
        ("Adam", {"betas": 0.9}, TypeError, "betas is 0.9, but a pair"),
        ("AdamW", {"weight_decay": -1.0}, ValueError, "AdamW: weight_decay is -1.0"),
        ("Adamax", {"eps": -1.0}, ValueError, "Adamax: eps is -1.0"),
        ("NAdam", {"momentum_decay": -1.0}, ValueError, "NAdam: momentum_decay is -1.0"),
    ],
)
def test_a_wrong_option_is_named(name, options, error, message):
    with pytest.raises(error, match=message):
        getattr(optim, name)([nn.Parameter(np.ones(2))], **options)


def test_wrong_parameters_are_named():
    w, v = nn.Parameter(np.ones((2, 3))), nn.Parameter(np.ones(2))
    with pytest.raises(ValueError, match="params is empty"):
        optim.SGD([])
    with pytest.raises(ValueError, match="params of a group is empty"):
        optim.SGD([{"params": []}])
    with pytest.raises(TypeError, match="params is one Parameter, but a list"):
        optim.SGD(w)
    with pytest.raises(TypeError, match="params is one set, but a list"):
        optim.SGD({w, v})
    with pytest.raises(TypeError, match="params holds ndarray, but Tensors"):
        optim.SGD([w, np.ones(2)])
    with pytest.raises(TypeError, match="params holds tuple"):
        optim.SGD([("weight", w)])
    with pytest.raises(ValueError, match=r"same tensor of shape \(2, 3\) twice"):
        optim.SGD([w, v, w])
    with pytest.raises(ValueError, match="twice"):
        optim.SGD([{"params": [w]}, {"params": [v, w]}])
    with pytest.raises(ValueError, match="a result of Mul, shape"):
        optim.SGD([w * 2])
    with pytest.raises(TypeError, match=r"a dict with the key params, not \[1\]"):
        optim.SGD([w]).add_param_group([1])
    with pytest.raises(TypeError, match="a dict with the key params"):
        optim.SGD([{"lr": 0.1}])
    with pytest.raises(ValueError, match=r"option 'learning_rate' is unknown.*known:.* lr,"):
        optim.SGD([{"params": [w], "learning_rate": 0.1}])
    with pytest.raises(ValueError, match="did you mean 'momentum'"):
        optim.SGD([{"params": [w], "momentun": 0.1}])


@pytest.mark.parametrize("grad", [np.ones((3, 2)), np.ones((2, 3), np.float32)])
def test_a_gradient_that_does_not_fit_stops_the_step_before_it_begins(grad):
    first, second = nn.Parameter(np.ones(2)), nn.Parameter(np.ones((2, 3)))
    optimizer = optim.SGD([first, second], lr=0.1)
    first.grad, second.grad = np.ones(2), grad
    with pytest.raises(ValueError, match=r"SGD: parameter 1 is float64 \(2, 3\), but its grad is float"):
        optimizer.step()
    assert (first.data == 1).all()


def test_the_base_class_says_what_a_subclass_must_have():
    w = nn.Parameter(np.ones(2))
    w.grad = np.ones(2)
    with pytest.raises(NotImplementedError, match="Optimizer has no numbers"):
        optim.Optimizer([w], {"lr": 0.1}).step()
