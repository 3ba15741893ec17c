"""The gradient checker itself: what it finds, what it says, what it refuses, and that it leaves no trace."""

import numpy as np
import pytest
from cases import on_host, there

import minicnn as mc
from minicnn import functional as F
from minicnn import nn
from minicnn.gradcheck import MODES, GradientError, gradcheck
from minicnn.random import Generator

either_mode = pytest.mark.parametrize("mode", MODES)


class Square(mc.Function):
    """y = x², with whatever gradient is asked for."""

    def __init__(self, gradient):
        self.gradient = gradient

    def forward(self, x):
        self.save(x)
        return x * x

    def backward(self, gy):
        (x,) = self.saved
        return self.gradient(gy, x)


def square(gradient=lambda gy, x: 2 * x * gy):
    return lambda x: Square(gradient)(x)


def forgets_entry_1_2(gy, x):
    gx = 2 * x * gy
    gx[1, 2] = 0
    return gx


def leaf(values):
    return mc.tensor(values, dtype="float64", requires_grad=True)


X = np.linspace(0.5, 2.0, 12).reshape(3, 4)
GY = Generator(0).normal(X.shape, dtype="float64")  # what gradcheck draws for seed 0


class TestVerdict:
    @either_mode
    def test_right_gradient_passes(self, mode):
        report = gradcheck(square(), X, mode=mode)
        assert report
        assert report.ok
        assert report.error < 1e-9
        assert "right: worst relative error" in str(report)

    @either_mode
    def test_wrong_gradient_raises_with_element_and_both_numbers(self, mode):
        with pytest.raises(GradientError) as caught:
            gradcheck(square(forgets_entry_1_2), X, mode=mode)
        numeric = 2 * X[1, 2] * GY[1, 2]
        assert str(caught.value) == (
            "gradcheck: wrong: worst relative error 1.0e+00 at input 0, element (1, 2): "
            f"backward says 0, finite differences say {numeric:.8g}"
        )

    @either_mode
    def test_report_instead_of_exception(self, mode):
        report = gradcheck(square(forgets_entry_1_2), X, mode=mode, raise_exception=False)
        assert not report
        assert report.ok is False
        assert report.input == 0
        assert report.element == (1, 2)
        assert report.analytic == 0
        assert report.numeric == pytest.approx(2 * X[1, 2] * GY[1, 2], rel=1e-8)
        assert report.error == pytest.approx(1)
        assert not report.kink

    @either_mode
    def test_error_of_a_known_mistake(self, mode):
        # 3x in place of 2x is off by x, which is a third of the larger of the two.
        report = gradcheck(square(lambda gy, x: 3 * x * gy), X, mode=mode, raise_exception=False)
        assert report.error == pytest.approx(1 / 3, rel=1e-6)
        assert report.analytic == pytest.approx(1.5 * report.numeric, rel=1e-6)

    @either_mode
    def test_tolerance(self, mode):
        def slightly_wrong(gy, x):
            return 2 * x * gy * (1 + 1e-4)

        assert not gradcheck(square(slightly_wrong), X, mode=mode, raise_exception=False)
        assert gradcheck(square(slightly_wrong), X, mode=mode, tolerance=1e-3)

    @either_mode
    def test_worst_input_is_named(self, mode):
        class Product(mc.Function):
            def forward(self, a, b, c):
                self.save(a, b, c)
                return a * b * c

            def backward(self, gy):
                a, b, c = self.saved
                return gy * b * c, gy * a * c * 1.001, gy * a * b * 1.5

        inputs = X, X + 1, X + 2
        report = gradcheck(lambda *x: Product()(*x), inputs, mode=mode, raise_exception=False)
        assert report.input == 2
        assert report.error == pytest.approx(1 / 3, rel=1e-6)

    def test_each_input_is_checked(self):
        class Product(mc.Function):
            def __init__(self, factors):
                self.factors = factors

            def forward(self, a, b):
                self.save(a, b)
                return a * b

            def backward(self, gy):
                a, b = self.saved
                return gy * b * self.factors[0], gy * a * self.factors[1]

        for factors, wrong in [((1.1, 1), 0), ((1, 1.1), 1)]:
            report = gradcheck(lambda a, b, f=factors: Product(f)(a, b), (X, X + 1), raise_exception=False)
            assert report.input == wrong

    @pytest.mark.parametrize("seed", range(40))
    def test_two_mistakes_of_one_size_do_not_cancel(self, seed):
        # Along directions of ±1 they would, in half of all directions.
        def swaps(gy, x):
            gx = 2 * x * gy
            gx[0, [0, 1]] = gx[0, [1, 0]]
            return gx

        assert not gradcheck(square(swaps), X, seed=seed, directions=1, raise_exception=False)

    @either_mode
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_gradient_that_is_no_number(self, mode, value):
        def gradient(gy, x):
            gx = 2 * x * gy
            gx[2, 1] = value
            return gx

        with np.errstate(invalid="ignore"):
            report = gradcheck(square(gradient), X, mode=mode, raise_exception=False)
        assert not report
        assert report.element == (2, 1)

    def test_large_input_is_searched_by_halves(self):
        calls = []

        def gradient(gy, x):
            gx = 2 * x * gy
            gx[7, 1234] *= -1
            return gx

        def fn(x):
            calls.append(1)
            return Square(gradient)(x)

        x = np.linspace(0.5, 2, 20000).reshape(10, 2000)
        report = gradcheck(fn, x, raise_exception=False)
        assert report.element == (7, 1234)
        assert len(calls) < 3000

    def test_detached_graph_is_a_gradient_of_zero(self):
        report = gradcheck(lambda x: x.detach() * x.detach(), X, raise_exception=False)
        assert not report
        assert report.analytic == 0

    @either_mode
    def test_seed_fixes_everything(self, mode):
        def report(seed):
            return gradcheck(square(forgets_entry_1_2), X, mode=mode, seed=seed, raise_exception=False)

        assert report(1) == report(1)
        assert report(1) != report(2)

    def test_all_ones_would_not_do(self):
        # The gradient of softmax with its sum left out: along all ones the true gradient is 0, but along
        # others it is not; with a random gy nothing can hide.
        class Hollow(mc.Function):
            def forward(self, x):
                e = np.exp(x)
                return e / e.sum(axis=-1, keepdims=True)

            def backward(self, gy):
                return np.zeros_like(gy)

        assert gradcheck(lambda x: Hollow()(x).sum(), X)
        assert not gradcheck(lambda x: Hollow()(x), X, raise_exception=False)


class TestNothingToTell:
    """Gradients that are zero, and rounding that must not be taken for one."""

    @either_mode
    def test_input_without_influence(self, mode):
        assert gradcheck(lambda a, b: a * 2 + (b * 0), (X, X), mode=mode)
        assert gradcheck(lambda a, b: a * 2, (X, X), mode=mode)

    @either_mode
    def test_no_input_has_influence(self, mode):
        assert gradcheck(lambda x: mc.tensor(X, dtype="float64"), X, mode=mode)

    @either_mode
    def test_zero_but_for_rounding(self, mode):
        assert gradcheck(lambda x: F.softmax(x).sum(dim=-1), X, mode=mode)

    @either_mode
    def test_bias_that_batch_norm_takes_away(self, mode):
        conv, norm = nn.Conv2d(2, 3, 3).double(), nn.BatchNorm2d(3).double()
        x = Generator(1).normal((3, 2, 5, 5), dtype="float64")
        assert gradcheck(lambda x, *_: norm(conv(x)), (x, *conv.parameters()), mode=mode)

    def test_rounding_excuses_nothing_larger(self):
        # The outputs lie near 1; a false gradient of 1e-8 there is 100 times what rounding explains.
        class Constant(mc.Function):
            def forward(self, x):
                return np.ones_like(x)

            def backward(self, gy):
                return 1e-8 * gy

        assert not gradcheck(lambda x: Constant()(x), X, raise_exception=False)

    @either_mode
    def test_empty_input(self, mode):
        assert gradcheck(lambda a, b: a * 2, (X, np.zeros((0, 3))), mode=mode)

    @either_mode
    def test_single_number(self, mode):
        assert gradcheck(square(), np.array(1.5), mode=mode)
        report = gradcheck(square(lambda gy, x: gy), np.array(1.5), mode=mode, raise_exception=False)
        assert report.element == ()


class TestInputs:
    @either_mode
    @pytest.mark.parametrize(
        "x",
        [X.T, X[:, ::2], X[::-1], np.asfortranarray(X), X[None].repeat(2, 0)[:, 1:, 1::2]],
        ids=["transposed", "every second", "backwards", "Fortran", "inner"],
    )
    def test_memory_in_any_order(self, x, mode):
        before = x.copy()
        assert gradcheck(square(), x, mode=mode)
        tensor = mc.Tensor(x.copy(order="K") if x.base is None else x, requires_grad=True)
        assert gradcheck(square(), tensor, mode=mode)
        assert np.array_equal(x, before)

    def test_a_tensor_reaches_fn_in_its_own_layout(self):
        seen = []
        gradcheck(lambda x: seen.append(x.data.strides) or x * x, mc.Tensor(X.T, requires_grad=True))
        assert set(seen) == {X.T.strides}

    @either_mode
    def test_whole_numbers_pass_through(self, mode):
        target = there(np.array([1, 0, 3]))
        seen = []

        def fn(x, target):
            seen.append(target)
            return F.cross_entropy(x, target)

        assert gradcheck(fn, (X, target), mode=mode)
        assert all(other is target for other in seen)

    def test_tensors_without_requires_grad_pass_through(self):
        frozen = mc.tensor(X, dtype="float32")
        assert gradcheck(lambda x, w: x * w.double(), (X, frozen))
        assert frozen.grad is None

    @either_mode
    def test_same_tensor_twice(self, mode):
        x = leaf(X)
        assert gradcheck(F.mul, (x, x), mode=mode)

    @either_mode
    def test_parameters_of_a_module(self, mode):
        net = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
        assert gradcheck(lambda x, *_: net(x), (X, *net.parameters()), mode=mode)

    @either_mode
    def test_wrong_gradient_of_a_parameter(self, mode):
        class Scale(nn.Module):
            def __init__(self):
                super().__init__()
                self.factor = nn.Parameter(there(np.ones(4)))

            def forward(self, x):
                return x * 2 + self.factor.detach()

        net = Scale()
        report = gradcheck(lambda x, *_: net(x), (X, *net.parameters()), mode=mode, raise_exception=False)
        assert not report
        assert report.input == 1

    @either_mode
    def test_output_that_is_a_view_of_the_input(self, mode):
        assert gradcheck(lambda x: x.reshape(-1), X, mode=mode)
        assert gradcheck(lambda x: x, X, mode=mode)

    def test_one_input_in_a_list_or_by_itself(self):
        assert gradcheck(square(), [X]) == gradcheck(square(), X) == gradcheck(square(), (leaf(X),))

    def test_works_inside_no_grad(self):
        with mc.no_grad():
            assert gradcheck(square(), X)
            assert not mc.is_grad_enabled()


class TestRefusals:
    def test_float32(self):
        with pytest.raises(TypeError, match="input 1 is float32; expected float64"):
            gradcheck(F.mul, (X, X.astype(np.float32)))
        with pytest.raises(TypeError, match="input 0 is float32"):
            gradcheck(square(), mc.tensor([1.0], requires_grad=True))

    def test_nothing_to_check(self):
        with pytest.raises(ValueError, match="no input to check"):
            gradcheck(lambda n: mc.tensor(X), np.array([1, 2]))
        with pytest.raises(ValueError, match="no input to check"):
            gradcheck(lambda: mc.tensor(X), ())

    def test_result_of_an_operation(self):
        with pytest.raises(ValueError, match="input 0 is the result of an operation"):
            gradcheck(square(), leaf(X) * 2)

    def test_read_only_memory(self):
        x = mc.Tensor(np.broadcast_to(X, (2, 3, 4)), requires_grad=True)
        with pytest.raises(ValueError, match="input 0 is read-only memory; pass a copy"):
            gradcheck(square(), x)

    def test_random_function(self):
        with pytest.raises(ValueError, match="fn gave two results for the same inputs"):
            gradcheck(lambda x: F.dropout(x, 0.5), X)

    def test_random_function_with_a_fixed_seed_is_fine(self):
        assert gradcheck(lambda x: F.dropout(x, 0.5, generator=Generator(3)), X)

    def test_other_result_where_the_graph_is_recorded(self):
        with pytest.raises(ValueError, match="fn gave two results"):
            gradcheck(lambda x: x * (2.0 if mc.is_grad_enabled() else 3.0), X)

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_nan_output(self, value):
        with pytest.raises(ValueError, match="fn returned NaN or infinity"):
            gradcheck(lambda x: mc.where(x > 1, x, value), X)

    @pytest.mark.parametrize(
        ("fn", "kind"),
        [
            (lambda x: x.to("float32"), "float32"),
            (lambda x: (x, x), "tuple"),
            (lambda x: x.data, "ndarray"),
            (lambda x: None, "NoneType"),
        ],
    )
    def test_other_than_one_float64_tensor(self, fn, kind):
        with pytest.raises(TypeError, match=f"fn must return one float64 tensor, got {kind}"):
            gradcheck(fn, X)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"mode": "elementwize"}, "mode must be one of directional, elementwise, got 'elementwize'"),
            ({"directions": 0}, "directions must be a whole number ≥ 1, got 0"),
            ({"directions": 1.5}, "directions must be a whole number ≥ 1, got 1.5"),
            ({"step": 0.0}, "step must be a number > 0, got 0.0"),
            ({"step": np.nan}, "step must be a number > 0, got nan"),
            ({"tolerance": -1.0}, "tolerance must be a number > 0, got -1.0"),
        ],
    )
    def test_settings(self, settings, message):
        with pytest.raises(ValueError, match=message):
            gradcheck(square(), X, **settings)


class TestInPlace:
    """A fn or a backward that changes what it was given is wrong, whatever its gradient."""

    def test_fn_that_changes_its_input_at_every_call(self):
        def fn(x):
            x.data += 1
            return x * 1

        x = leaf(X)
        with pytest.raises(GradientError, match="fn changed input 0 in place"):
            gradcheck(fn, x)
        assert np.array_equal(on_host(x), X)

    def test_fn_that_changes_its_input_once(self):
        def fn(x):
            np.maximum(x.data, 1, out=x.data)
            return x * 2

        x = leaf(X)
        with pytest.raises(GradientError, match="fn changed input 0 in place"):
            gradcheck(fn, x)
        assert np.array_equal(on_host(x), X)

    def test_fn_that_changes_whole_numbers(self):
        def fn(x, target):
            target[0] = 2
            return F.cross_entropy(x, target)

        target = there(np.array([1, 0, 3]))
        with pytest.raises(GradientError, match="fn changed input 1 in place"):
            gradcheck(fn, (X, target))
        assert target.tolist() == [1, 0, 3]

    def test_backward_that_changes_its_input(self):
        def gradient(gy, x):
            x *= 2
            return x * gy

        x = leaf(X)
        with pytest.raises(GradientError, match="fn or its backward changed input 0 in place"):
            gradcheck(square(gradient), x)
        assert np.array_equal(on_host(x), X)

    def test_backward_that_changes_the_upstream_gradient(self):
        def gradient(gy, x):
            gy *= 2
            return gy * x

        with pytest.raises(GradientError, match="backward changed the upstream gradient in place"):
            gradcheck(square(gradient), X)


class TestNoTrace:
    """Whatever happens, the inputs and their gradients are bit for bit as before."""

    awkward = np.array([[-0.0, 1e-300, 0.1], [1 / 3, -2.5, 1e8]])

    def unchanged(self, x, grad, bits):
        assert x.data.tobytes() == bits
        assert x.grad is grad

    @either_mode
    def test_after_a_check(self, mode):
        x, grad = leaf(self.awkward), np.full((2, 3), 7.0)
        x.grad = grad
        bits = x.data.tobytes()
        assert gradcheck(lambda x: x * 3, x, mode=mode, tolerance=1e-5)
        self.unchanged(x, grad, bits)
        assert (grad == 7).all()
        with pytest.raises(GradientError):
            gradcheck(lambda x: x.detach() * 3, x, mode=mode)
        self.unchanged(x, grad, bits)

    @either_mode
    @pytest.mark.parametrize("call", range(1, 9))
    def test_when_fn_raises(self, mode, call):
        calls = []

        def fn(x):
            calls.append(1)
            if len(calls) == call:
                raise KeyError("stop")
            return x * x

        x = leaf(X)
        bits = x.data.tobytes()
        with pytest.raises(KeyError, match="stop"):
            gradcheck(fn, x, mode=mode)
        self.unchanged(x, None, bits)

    def test_when_backward_raises(self):
        def gradient(gy, x):
            raise KeyError("stop")

        x, grad = leaf(X), np.ones_like(X)
        x.grad = grad
        bits = x.data.tobytes()
        with pytest.raises(KeyError, match="stop"):
            gradcheck(square(gradient), x)
        self.unchanged(x, grad, bits)

    def test_arrays_are_never_touched(self):
        x = X.copy()
        x.flags.writeable = False
        assert gradcheck(square(), x)
        seen = []
        gradcheck(lambda y: seen.append(np.shares_memory(on_host(y), x)) or y * y, x)
        assert not any(seen)


class TestKink:
    @either_mode
    def test_is_noted(self, mode):
        x = np.array([1.0, -1.0, 0.0, 2.0])
        with pytest.raises(GradientError, match=r"element \(2,\).*kink") as caught:
            gradcheck(F.relu, x, mode=mode)
        assert "try other inputs" in str(caught.value)

    def test_of_two_equal_maxima(self):
        x = np.array([1.0, 2.0, 2.0])
        report = gradcheck(lambda x: F.max(x, dim=0).values, x, raise_exception=False)
        assert not report
        assert report.kink
        assert gradcheck(F.amax, x), "equal shares are the mean of the slopes on both sides"

    @either_mode
    def test_is_not_blamed_for_a_wrong_gradient(self, mode):
        report = gradcheck(square(forgets_entry_1_2), X, mode=mode, raise_exception=False)
        assert not report.kink
        assert "kink" not in str(report)

    def test_is_not_noted_on_a_right_gradient(self):
        report = gradcheck(lambda x: x**2, np.zeros(3), mode="elementwise")
        assert "kink" not in str(report)

    def test_away_from_it_all_is_well(self):
        assert gradcheck(F.relu, np.array([1.0, -1.0, 1e-4, 2.0]))
