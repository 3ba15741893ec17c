"""Choosing kernels: which one runs, that the trace tells the truth, that a block hands back the choice."""

import time

import numpy as np
import pytest
from cases import ONLY_FOR, algorithms, device_of

import minicnn as mc
from minicnn import backend, kernels
from minicnn import functional as F
from minicnn.kernels import registry

X, W = np.ones((1, 2, 5, 5)), np.ones((3, 2, 3, 3))


@pytest.fixture
def probe(monkeypatch):
    """An operation whose kernels return their own names."""
    for part in ("forward", "backward"):
        monkeypatch.setitem(registry._kernels, (f"probe.{part}", "numpy"), {})
        for name in ("one", "two", "three"):
            kernels.kernel(f"probe.{part}", "numpy", name)(lambda *args, name=name: name)
    with mc.use("numpy"):
        yield


def probed():
    """What ran for each part: told by the kernels, and by the trace."""
    with mc.trace() as ran:
        results = [kernels.run(f"probe.{part}", np.ones(1), 7) for part in ("forward", "backward")]
    assert ran == [("probe.forward", "numpy", results[0]), ("probe.backward", "numpy", results[1])]
    return results


def test_the_first_kernel_registered_is_the_default(probe):
    assert probed() == ["one", "one"]


def test_the_first_argument_may_be_a_list_of_arrays(probe):
    assert kernels.run("probe.forward", [np.ones(1), np.ones(2)], 7) == "one"


def test_an_operation_or_one_of_its_parts_is_set(probe):
    with mc.use(probe="two"):
        assert probed() == ["two", "two"]
        with mc.use(algorithms={"probe.backward": "three"}):
            assert probed() == ["two", "three"]
            with mc.use(probe="auto", algorithms={"probe.backward": "auto"}):
                assert probed() == ["one", "one"]
            assert probed() == ["two", "three"]
        assert probed() == ["two", "two"]
    assert probed() == ["one", "one"]


def test_a_block_hands_the_choice_back_after_an_error(probe):
    with pytest.raises(KeyError), mc.use(probe="two"):
        raise KeyError
    assert probed() == ["one", "one"]


def test_a_plain_call_holds_until_the_next(probe):
    mc.use(probe="three")
    assert probed() == ["three", "three"]
    mc.use(probe="two")
    assert probed() == ["two", "two"]


def test_auto_asks_the_chooser_with_the_kernels_arguments(probe, monkeypatch):
    asked = []
    monkeypatch.setitem(
        registry._choosers, ("probe.forward", "numpy"), lambda *args: asked.append(args) or ["three", "one"]
    )
    assert probed() == ["three", "one"]
    assert [args[1] for args in asked] == [7]
    with mc.use(probe="two"):
        assert probed() == ["two", "two"]
    assert len(asked) == 1


def test_auto_does_not_take_what_is_forbidden(probe, monkeypatch):
    monkeypatch.setitem(registry._choosers, ("probe.forward", "numpy"), lambda *args: ["three", "one"])
    with mc.use(forbid="winograd"):
        assert probed() == ["three", "one"]
        with mc.use(forbid=["taps", "toeplitz"]):
            registry._forbidden |= {"three"}
            assert probed() == ["one", "one"]
            with mc.use(probe="three"):  # by name, it runs
                assert probed() == ["three", "three"]
            registry._forbidden |= {"one"}
            with pytest.raises(ValueError, match=r"probe.forward: every algorithm .* forbidden: three, one"):
                probed()
        assert probed() == ["three", "one"]
    with pytest.raises(ValueError, match="forbid: algorithm 'winogard' is unknown; did you mean 'winograd'"):
        mc.use(forbid="winogard")


def test_precision_is_set_and_handed_back():
    assert kernels.precision() == "fp32"
    with mc.use(precision="bf16"):
        with mc.use(precision="tf32"), mc.use("numpy"):
            assert kernels.precision() == "tf32"
        assert kernels.precision() == "bf16"
        mc.use(precision="fp32")
        assert kernels.precision() == "fp32"
    assert kernels.precision() == "fp32"
    for wrong in ("bf61", "float32", 16):
        with pytest.raises(ValueError, match=f"use: precision {wrong!r} is unknown.*bf16, fp16, fp32, tf32"):
            mc.use("numpy", precision=wrong)
    with pytest.raises(ValueError, match="did you mean 'bf16'"):
        mc.use(precision="bf61")


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_cpu_kernels_take_no_notice_of_the_precision(backend):
    x, w = (np.float32(1 / 3) * array.astype(np.float32) for array in (X, W))
    with mc.use(backend):
        exact = F.conv2d(mc.Tensor(x), mc.Tensor(w)).numpy()
        with mc.use(precision="bf16"):
            np.testing.assert_array_equal(F.conv2d(mc.Tensor(x), mc.Tensor(w)).numpy(), exact)


def test_an_algorithm_without_a_kernel_for_a_part_leaves_it_to_auto(probe):
    kernels.kernel("probe.forward", "numpy", "forward only")(lambda *args: "forward only")
    with mc.use(probe="forward only"):
        assert probed() == ["forward only", "one"]


def test_measured_auto_takes_the_fastest_and_remembers(probe, monkeypatch):
    calls = []

    def slow(*args):
        calls.append("slow")
        time.sleep(0.01)
        return "slow"

    kernels.kernel("probe.forward", "numpy", "slow")(slow)
    monkeypatch.setitem(registry._choosers, ("probe.forward", "numpy"), lambda *args: ["slow", "three"])
    assert probed()[0] == "slow"
    with mc.use(measure=True):
        assert probed()[0] == "three"
        assert len(calls) == 3
        assert probed()[0] == "three"
        assert len(calls) == 3
        with mc.use(forbid="winograd", measure=False):
            assert probed()[0] == "slow"
    assert probed()[0] == "slow"


def test_traces_may_be_nested(probe):
    with mc.trace() as outer:
        probed()
        with mc.trace() as inner:
            probed()
        probed()
    probed()
    assert (len(outer), len(inner)) == (6, 2)
    assert repr(outer[0]) == "probe.forward[numpy:one]"


def test_a_name_is_registered_once(probe):
    with pytest.raises(ValueError, match=r"probe.forward\[numpy:one\] is registered twice"):
        kernels.kernel("probe.forward", "numpy", "one")(lambda x: x)


def test_an_operation_without_kernels():
    with pytest.raises(ValueError, match="unheard.of: there is no kernel for backend"):
        kernels.run("unheard.of", np.ones(1))


def test_registered_lists_every_kernel(probe):
    found = kernels.registered()
    assert ("probe.forward", "numpy", "two") in found
    assert len(found) == len(set(found))
    convolutions = {one.algorithm for one in found if one[:2] == ("conv2d.forward", "numpy")}
    assert convolutions >= {"naive", "im2col", "taps", "toeplitz"}
    assert {one.operation for one in found} >= {
        "batch_norm.training",
        "max_pool2d.backward",
        "dropout.forward",
    }


FOR_SOME = [getattr(one, "algorithm", one) for one in ONLY_FOR]


@pytest.mark.parametrize("choice", algorithms("conv2d.grad_input", without=FOR_SOME))
def test_backward_takes_the_kernel_that_is_set_when_it_runs(choice):
    with device_of(choice), mc.use(choice.backend):
        y = F.conv2d(mc.tensor(X, requires_grad=True), mc.tensor(W))
        with mc.use(conv2d=choice.algorithm), mc.trace() as ran:
            y.sum().backward()
    assert ran == [("conv2d.grad_input", choice.backend, choice.algorithm)]


def test_the_whole_overrides_what_was_set_for_a_part(probe):
    with mc.use(algorithms={"probe.backward": "three"}):
        with mc.use(probe="two"):
            assert probed() == ["two", "two"]
        assert probed() == ["one", "three"]


def test_a_kernel_for_some_arguments_leaves_the_rest_to_auto(probe):
    kernels.kernel("probe.forward", "numpy", "picky", suits=lambda x, number: number == 7)(
        lambda *args: "picky"
    )
    try:
        with mc.use(algorithms={"probe.forward": "picky"}), mc.trace() as ran:
            assert kernels.run("probe.forward", np.ones(1), 7) == "picky"
            assert kernels.run("probe.forward", np.ones(1), 8) == "one"
        assert [one.algorithm for one in ran] == ["picky", "one"]
        assert kernels.for_some(ran[0])
        assert not kernels.for_some(ran[1])
    finally:
        registry._suits.pop(("probe.forward", "numpy", "picky"))


def test_settings_are_equal_where_the_same_is_set():
    before = kernels.settings()
    with mc.use(precision="fp32"), mc.use():
        assert kernels.settings() == before
    changes = (
        {"backend": "numba" if backend.current_backend() == "numpy" else "numpy"},
        {"conv2d": "naive"},
        {"algorithms": {"conv2d.forward": "naive"}},
        {"forbid": "naive"},
        {"measure": True},
        {"fuse": False},
        {"precision": "tf32"},
    )
    seen = {before}
    for change in changes:
        with mc.use(**change):
            seen.add(kernels.settings())
        assert kernels.settings() == before
    assert len(seen) == 1 + len(changes)
