"""The table of gradient checks: every case passes, and nothing in the engine is without a case."""

import importlib
import pkgutil

import numpy as np
import pytest
from cases import on_host, there
from emulator.use import cupy

import minicnn as mc
from minicnn import backend, gradcases, kernels, nn, random
from minicnn import functional as F
from minicnn.autograd import Function
from minicnn.gradcases.case import case, normal
from minicnn.gradcheck import GradientError, gradcheck

__all__ = ["cupy"]  # a fixture

CASES = gradcases.cases()


def label(case):
    ran = {f"{ran.backend}:{ran.algorithm}" for ran in case.kernels}
    return " ".join([case.operation, *ran, case.description]).replace(" ", "-")


def is_function(case):
    return case.module is None


each_case = pytest.mark.parametrize("case", CASES, ids=label)


@each_case
def test_every_gradient_is_right(case):
    row = case.check()
    if row is None:
        pytest.skip("the kernel is for other arguments")
    assert row.ok, row.detail
    assert row.error <= 1e-6
    # What is left above 1e-8 is rounding against a derivative near 0; a single operation has none, except
    # where that is the very point of the case.
    if is_function(case) and "a gradient of 0" not in case.description:
        assert row.error <= 1e-8, row.detail


def test_every_gradient_on_the_gpu_is_right(cupy):
    """By its own kernels, all of which have a case; networks are made of the same operations."""
    with mc.use("cuda"):
        names = [name for name in gradcases.names() if name not in ("lenet5", "network")]
        wrong = [row for row in gradcases.run(only=names) if not (row.ok and row.error <= 1e-6)]
        checked = {ran for case in gradcases.cases() for ran in case.kernels}
    assert not wrong
    differentiable = {ran for ran in kernels.registered("cuda") if not ran.operation.endswith(".update")}
    assert differentiable - checked == set(), "kernels without a case"


def one_of_each():
    """The first case of each operation that is not a network; and of its algorithms, not the slow loops."""
    chosen = {}
    for entry in CASES:
        if entry.operation not in ("lenet5", "network") and "naive" not in {
            k.algorithm for k in entry.kernels
        }:
            chosen.setdefault(entry.operation, entry)
    return list(chosen.values())


@pytest.mark.parametrize("case", one_of_each(), ids=label)
def test_entry_by_entry(case):
    row = case.check("elementwise")
    if row is None:
        pytest.skip("the kernel is for other arguments")
    assert row.ok, row.detail


@pytest.mark.slow
@pytest.mark.parametrize("case", [c for c in CASES if c.operation != "lenet5"], ids=label)
def test_every_case_entry_by_entry(case):
    row = case.check("elementwise")
    if row is None:
        pytest.skip("the kernel is for other arguments")
    assert row.ok, row.detail


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_other_numbers(seed):
    assert [row for row in gradcases.run(seed=seed) if not row.ok] == []


class TestNothingIsLeftOut:
    def test_every_function(self):
        for module in pkgutil.iter_modules(F.__path__, "minicnn.functional."):
            importlib.import_module(module.name)
        defined = {
            cls.__qualname__
            for cls in subclasses(Function)
            if cls.__module__.startswith("minicnn.functional") and cls.forward is not Function.forward
        }
        if backend.cpu_backend() == "numpy":  # which has no kernels for several operations at once
            defined -= {"ClippedConv2d", "ClippedBatchNorm", "ClippedBatchNormInference"}
            defined -= {"SiLUBatchNorm", "SqueezeExcitation"}
        if backend.current_backend() != "cuda":  # from the CPU to the CPU nothing moves
            defined -= {"Move"}
        used = {name for case in CASES if is_function(case) for name in functions_in(case)}
        assert defined - used == set(), "Functions without a case of their own"

    def test_every_public_function(self):
        without_gradient = {"one_hot"}
        assert set(F.__all__) - {case.operation for case in CASES} == without_gradient

    def test_every_layer(self):
        layers = {
            f"nn.{name}"
            for name in nn.__all__
            if isinstance(getattr(nn, name), type) and issubclass(getattr(nn, name), nn.Module)
        }
        assert layers - {case.operation for case in CASES} == {"nn.Module"}

    def test_every_layer_with_its_own_module(self):
        for entry in CASES:
            if entry.operation.startswith("nn."):
                wanted = getattr(nn, entry.operation.removeprefix("nn."))
                assert any(type(module) is wanted for module in entry.module().modules()), entry.description

    def test_every_parameter(self):
        for entry in CASES:
            if entry.module is not None:
                _, inputs, names = entry.build(0)
                parameters = [name for name, _ in entry.module().named_parameters()]
                assert [name for name in names if name] == parameters
                assert all(isinstance(x, nn.Parameter) for x in inputs[len(inputs) - len(parameters) :])

    def test_batch_norm_in_both_modes(self):
        for name in ("nn.BatchNorm1d", "nn.BatchNorm2d"):
            assert {c.training for c in CASES if c.operation == name} == {True, False}

    def test_every_kernel(self):
        checked = {kernel for case in CASES for kernel in case.kernels}
        differentiable = {k for k in kernels.registered() if not k.operation.endswith(".update")}
        assert differentiable - checked == set(), "kernels without a case"

    def test_descriptions_tell_cases_apart(self):
        keys = [(case.operation, case.kernels, case.description) for case in CASES]
        assert len(set(keys)) == len(keys)


def subclasses(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from subclasses(sub)


def functions_in(case):
    """The names of the Functions in the graph of a case."""
    fn, inputs, _ = case.build(0)
    floats = [
        mc.Tensor(there(x), requires_grad=True) if isinstance(x, np.ndarray) and x.dtype.kind == "f" else x
        for x in inputs
    ]
    pending, found = [fn(*floats).grad_fn], set()
    while pending:
        function = pending.pop()
        if function is not None:
            found.add(type(function).__qualname__)
            targets = [edge.target for edge in function.inputs if edge is not None]
            pending += [target for target in targets if isinstance(target, Function)]
    return found


class TestRun:
    def test_only_one(self):
        rows = list(gradcases.run(only="max_pool2d"))
        assert {row.operation for row in rows} == {"max_pool2d"}
        wanted = {"cuda:gather"} if backend.current_backend() == "cuda" else {"numpy:taps", "numpy:naive"}
        assert wanted <= {row.algorithm for row in rows}
        assert all(row.ok for row in rows)

    def test_only_several(self):
        rows = list(gradcases.run(only=["tanh", "nn.Linear"]))
        assert list(dict.fromkeys(row.operation for row in rows)) == ["tanh", "nn.Linear"]
        assert [row.case for row in rows][-2:] == ["with bias", "without bias"]

    def test_rows_tell_what_was_found(self):
        row = next(iter(gradcases.run(only="nn.Linear")))
        assert row.case == "with bias"
        assert row.error < 1e-8
        assert row.detail.startswith("right: worst relative error")

    def test_parameters_are_called_by_their_names(self, monkeypatch):
        right = F.linear.__globals__["Linear"].backward

        def wrong(self, gy):
            gx, gw, gb = right(self, gy)
            return gx, gw * 1.5, gb

        monkeypatch.setattr(F.linear.__globals__["Linear"], "backward", wrong)
        row = next(iter(gradcases.run(only="nn.Linear")))
        assert not row.ok
        assert " at weight, element (" in row.detail

    @pytest.mark.parametrize(
        ("name", "nearest"), [("conv2", "conv2d"), ("nn.Conv2D", "nn.Conv2d"), ("lenet", "lenet5")]
    )
    def test_unknown_operation(self, name, nearest):
        # At the call, not when the first row is asked for.
        with pytest.raises(ValueError, match=f"operation '{name}' is unknown; did you mean '{nearest}'"):
            gradcases.run(only=name)

    def test_unknown_mode(self):
        with pytest.raises(ValueError, match="mode 'element' is unknown; did you mean 'elementwise'"):
            gradcases.run(mode="element")

    def test_elementwise(self):
        rows = list(gradcases.run(only="batch_norm", mode="elementwise"))
        assert all(row.ok for row in rows)
        assert all("element (" in row.detail for row in rows)

    def test_seed_fixes_the_numbers(self):
        def errors(seed):
            return [row.error for row in gradcases.run(only=["linear", "nn.Dropout"], seed=seed)]

        assert errors(0) == errors(0)
        assert errors(0) != errors(5)

    def test_a_case_does_not_depend_on_those_before_it(self):
        alone = list(gradcases.run(only="nn.BatchNorm2d"))
        together = [r for r in gradcases.run(only=["nn.Conv2d", "nn.BatchNorm2d"]) if "Batch" in r.operation]
        assert alone == together

    def test_leaves_random_numbers_and_settings_alone(self):
        mc.manual_seed(11)
        state = random.default_generator.get_state()
        with mc.use(conv2d="naive"):
            list(gradcases.run(only=["dropout", "nn.Conv2d", "nn.Dropout"]))
            with mc.trace() as ran:
                F.conv2d(mc.zeros(1, 1, 3, 3), mc.zeros(1, 1, 2, 2))
        assert random.default_generator.get_state() == state
        assert [kernel.algorithm for kernel in ran] == ["naive"]


class TestEachAlgorithmRuns:
    """A case for one algorithm is not satisfied by another, however right its gradient."""

    @pytest.fixture(autouse=True)
    def _several_algorithms(self):
        with mc.use("numpy"):
            yield

    def first(self, algorithm):
        cases = gradcases.cases()
        return next(c for c in cases if c.operation == "conv2d" and c.kernels[0].algorithm == algorithm)

    def test_setting_ignored(self, monkeypatch):
        run = kernels.run

        def stubborn(operation, *args):
            with kernels.use(algorithms={operation: "im2col"}):
                return run(operation, *args)

        monkeypatch.setattr(kernels, "run", stubborn)
        row = self.first("naive").check()
        assert not row.ok
        assert row.error == np.inf
        assert row.detail == (
            "conv2d.forward[numpy:naive] should have run, but what ran is conv2d.forward[numpy:im2col]"
        )
        assert self.first("im2col").check().ok

    def test_another_for_backward_alone(self, monkeypatch):
        run = kernels.run

        def stubborn(operation, *args):
            with kernels.use(algorithms={"conv2d.grad_weight": "taps"}):
                return run(operation, *args)

        monkeypatch.setattr(kernels, "run", stubborn)
        row = self.first("naive").check()
        assert not row.ok
        assert "conv2d.grad_weight[numpy:naive] should have run" in row.detail

    def test_no_kernel_at_all(self):
        entry = case("tanh", "not a convolution", F.tanh, normal(2), parts=("conv2d.forward",))
        checked = [algorithm.check() for algorithm in entry.on_each_algorithm()]
        rows = [row for row in checked if row is not None]  # kernels for some geometries may say nothing
        assert len(rows) >= 4
        assert all("but what ran is nothing" in row.detail for row in rows)

    def test_a_new_algorithm_needs_a_right_backward(self, monkeypatch):
        """What a case table is for: register a kernel, and it is checked without another word."""
        algorithms = kernels.registry._kernels["conv2d.grad_input", "numpy"]
        monkeypatch.setitem(algorithms, "novel", lambda *args: algorithms["taps"](*args) * 1.01)
        novel = [c for c in gradcases.cases() if any(kernel.algorithm == "novel" for kernel in c.kernels)]
        assert len(novel) > 20
        row = novel[0].check()
        assert row.algorithm == "numpy:novel"
        assert not row.ok


def test_a_case_that_raises_is_a_row_that_failed(monkeypatch):
    def broken(self, gy):
        raise RuntimeError("no gradient today")

    monkeypatch.setattr(F.tanh.__globals__["Tanh"], "backward", broken)
    rows = list(gradcases.run(only=["tanh", "sigmoid"]))
    assert {row.operation for row in rows if not row.ok} == {"tanh"}
    assert {row.operation for row in rows if row.ok} == {"sigmoid"}
    assert rows[0].error == np.inf
    assert rows[0].detail == "RuntimeError: no gradient today"


class TestKinks:
    def test_another_draw_is_tried(self):
        draws = iter([np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([-1.0, 1.0])])
        row = case("relu", "two unlucky draws", F.relu, lambda generator: next(draws)).check()
        assert row.ok, row.detail

    def test_not_for_ever(self):
        row = case("relu", "unlucky draws", F.relu, lambda generator: np.array([1.0, 0.0])).check()
        assert not row.ok
        assert "kink" in row.detail

    def test_a_wrong_gradient_has_one_chance(self):
        draws = []
        row = case(
            "mul", "detached", lambda x: x.detach() * 2, lambda g: draws.append(1) or np.ones(3)
        ).check()
        assert not row.ok
        assert draws == [1]


@each_case
def test_no_input_hides_a_mistake(case):
    """None is all of one value, and no parameter has the 0 or 1 with which it starts."""
    _, inputs, names = case.build(0)
    for x, name in zip(inputs, names, strict=True):
        array = on_host(x)
        assert array.size == 1 or np.unique(array).size > 1
        assert array.dtype in (np.float64, np.int64)
        assert not name or not np.isin(array, [0, 1]).any()


def test_two_draws_share_no_number():
    for entry in CASES:
        _, inputs, _ = entry.build(0)
        arrays = [x for x in inputs if isinstance(x, np.ndarray) and x.dtype.kind == "f"]
        for i, a in enumerate(arrays):
            for b in arrays[:i]:
                assert not np.intersect1d(a, b).size, entry.description


def test_table_does_not_hide_what_gradcheck_finds():
    with pytest.raises(GradientError):
        gradcheck(lambda x: x.detach() * 2, np.ones(3))
    row = case("mul", "detached", lambda x: x.detach() * 2, normal(3)).check()
    assert not row.ok
    assert row.error == 1
