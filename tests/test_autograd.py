"""The graph: how it is recorded, walked, freed and guarded."""

import gc
import threading
import weakref

import numpy as np
import pytest
from cases import cpu_only, on_host, there

import minicnn as mc
from minicnn.autograd import Function


def leaf(*values, dtype="float64"):
    return mc.tensor(list(values), dtype=dtype, requires_grad=True)


def test_chain_rule_by_hand():
    # L = (2a + b)² at a = 3, b = 1: L = 49, dL/da = 2·7·2, dL/db = 2·7.
    a, b = leaf(3.0), leaf(1.0)
    loss = (a * 2 + b) ** 2
    loss.backward()
    assert loss.item() == 49
    assert a.grad.tolist() == [28]
    assert b.grad.tolist() == [14]


def test_several_uses_add_up():
    x = leaf(2.0, 3.0)
    (x * x + x + x).sum().backward()
    assert x.grad.tolist() == [6, 8]


def test_diamond_visits_each_function_once_after_all_its_uses():
    visits = []

    class Square(Function):
        def forward(self, x):
            self.save(x)
            return x * x

        def backward(self, gy):
            visits.append(gy.tolist())
            (x,) = self.saved
            return 2 * x * gy

    x = leaf(3.0)
    shared = Square()(x)
    longer = ((shared * 2) * 3) * 5
    (shared + longer).backward()
    assert visits == [[31.0]]
    assert x.grad.tolist() == [186.0]


def test_gradients_accumulate_in_leaves():
    x = leaf(1.0, 2.0)
    (x * 3).sum().backward()
    first = x.grad
    (x * 4).sum().backward()
    assert x.grad.tolist() == [7, 7]
    assert first.tolist() == [3, 3], "an array handed out earlier is not changed"


def test_gradients_of_two_leaves_never_share_memory():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    gy = there(np.array([5.0, 6.0]))
    (a + b).backward(gy)
    assert not np.shares_memory(a.grad, b.grad)
    assert not np.shares_memory(a.grad, gy)
    a.grad += 100
    assert b.grad.tolist() == [5, 6]


@pytest.mark.parametrize(
    "use",
    [
        lambda x: x.reshape(2, 2),
        lambda x: x.sum(),
        lambda x: mc.stack([x, x]),
        lambda x: x[1:],
        lambda x: mc.cat([x, x * 2]),
        lambda x: x.mean(dim=0, keepdim=True),
        lambda x: x.expand(3, 4),
        lambda x: x.flatten() + x,
    ],
)
def test_leaf_gradients_are_writable_arrays_of_their_own(use):
    x = leaf(1.0, 2.0, 3.0, 4.0)
    y = use(x)
    gy = there(np.random.default_rng(0).standard_normal(y.shape))
    y.backward(gy)
    assert x.grad.shape == x.shape
    assert not np.shares_memory(x.grad, gy)
    expected = on_host(x.grad) + np.arange(4)
    x.grad += there(np.arange(4.0))
    assert np.array_equal(on_host(x.grad), expected)


def test_a_hundred_thousand_operations_deep():
    x = leaf(1.0)
    y = x
    for _ in range(100_000):
        y = y + 1e-9
    y.backward()
    assert x.grad.tolist() == [1]
    del y  # letting go of a long chain must not recurse either


def test_a_graph_that_is_dropped_is_freed_without_the_garbage_collector():
    x = leaf(1.0, 2.0)
    y = mc.exp(x * 2)
    seen = weakref.ref(y.grad_fn)
    gc.disable()
    try:
        del y
        assert seen() is None
    finally:
        gc.enable()


def test_the_graph_does_not_keep_what_no_function_saved():
    """A ReLU saves its result alone: its input, the sum, need not be kept for backward."""
    x = leaf(1.0, -2.0)
    between = x + 1
    y = mc.functional.relu(between)
    seen = weakref.ref(between.data)
    gc.disable()
    try:
        del between
        assert seen() is None
    finally:
        gc.enable()
    y.sum().backward()
    assert x.grad.tolist() == [1, 0]


def test_backward_frees_what_it_saved():
    x = leaf(1.0, 2.0)
    y = mc.exp(x * 2)
    y.sum().backward()
    assert y.grad_fn.saved == ()
    assert y.grad_fn.inputs == ()


def test_second_backward_needs_retain_graph():
    x = leaf(2.0)
    y = x * x
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad.tolist() == [8]
    with pytest.raises(RuntimeError, match="graph was freed at Mul.*retain_graph=True"):
        y.backward()


def test_freed_part_of_a_graph_is_noticed_from_another_root():
    x = leaf(2.0)
    shared = x * x
    (shared * 2).backward()
    with pytest.raises(RuntimeError, match="freed at Mul"):
        (shared * 3).backward()


def test_backward_of_many_numbers_needs_a_gradient():
    x = leaf(1.0, 2.0)
    with pytest.raises(RuntimeError, match=r"gradient is needed for a result of shape \(2,\)"):
        (x * 2).backward()


@pytest.mark.parametrize("gradient", [np.ones(3), np.ones(2, np.float32), np.ones((1, 2))])
def test_backward_checks_the_gradient_it_is_given(gradient):
    with pytest.raises(ValueError, match="gradient is .* but the result is float64"):
        (leaf(1.0, 2.0) * 2).backward(there(gradient))


def test_backward_takes_a_tensor_or_a_list():
    x = leaf(1.0, 2.0)
    (x * 2).backward([1.0, 10.0])
    (x * 2).backward(mc.tensor([1.0, 10.0], dtype="float64"))
    assert x.grad.tolist() == [4, 40]


def test_backward_without_anything_to_differentiate():
    with pytest.raises(RuntimeError, match="requires_grad=True"):
        mc.tensor([1.0]).backward()


def test_backward_on_a_leaf():
    x = leaf(3.0)
    x.backward()
    x.backward([2.0])
    assert x.grad.tolist() == [3]


def test_only_floating_point_requires_grad():
    with pytest.raises(TypeError, match="int64"):
        mc.tensor([1, 2], requires_grad=True)


def test_inputs_that_need_no_gradient_get_none():
    x, c = leaf(2.0), mc.tensor([3.0], dtype="float64")
    (x * c).backward()
    assert c.grad is None


class TestNoGrad:
    def test_records_nothing(self):
        x = leaf(1.0)
        with mc.no_grad():
            y = mc.exp(x * 2)
        assert not y.requires_grad
        assert y.grad_fn is None

    def test_nests_and_restores_after_an_error(self):
        def fails():
            with mc.no_grad():
                with mc.enable_grad():
                    assert mc.is_grad_enabled()
                assert not mc.is_grad_enabled()
                raise KeyError

        with pytest.raises(KeyError):
            fails()
        assert mc.is_grad_enabled()

    def test_decorates_a_recursive_function(self):
        @mc.no_grad()
        def down(n):
            assert not mc.is_grad_enabled()
            return 0 if n == 0 else down(n - 1)

        down(3)
        assert mc.is_grad_enabled()

    def test_belongs_to_its_thread(self):
        seen = []
        with mc.no_grad():
            thread = threading.Thread(target=lambda: seen.append(mc.is_grad_enabled()))
            thread.start()
            thread.join()
        assert seen == [True]

    def test_detach_leaves_the_graph_but_not_the_memory(self):
        x = leaf(1.0, 2.0)
        y = x.detach()
        assert not y.requires_grad
        assert np.shares_memory(x.data, y.data)
        (x * y).sum().backward()
        assert x.grad.tolist() == [1, 2]


BY_VALUE = cpu_only("small arrays are compared by value, for which a GPU would have to be waited for")


class TestChangedInPlace:
    """A saved array that changes before backward would give a wrong gradient in silence."""

    @staticmethod
    def big():
        return mc.tensor(np.linspace(1, 2, 5000), requires_grad=True)

    def write_data(x):
        x.data[0] = 5

    def add_to_data(x):
        x.data += 1

    def set_item(x):
        with mc.no_grad():
            x[0] = 5

    def in_place_operator(x):
        with mc.no_grad():
            x *= 2

    def through_detach(x):
        y = x.detach()
        y -= 1

    def through_a_view(x):
        with mc.no_grad():
            y = x.reshape(-1, 1)
            y += 1

    @pytest.mark.parametrize(
        "change",
        [
            pytest.param(write_data, marks=BY_VALUE),
            add_to_data,
            set_item,
            in_place_operator,
            through_detach,
            through_a_view,
        ],
    )
    def test_is_an_error_that_says_so(self, change):
        x = leaf(1.0, 2.0)
        y = (x * x).sum()
        change(x)
        with pytest.raises(RuntimeError, match=r"shape \(2,\) that Mul saved was changed in place"):
            y.backward()

    @pytest.mark.parametrize(
        "change", [add_to_data, set_item, in_place_operator, through_detach, through_a_view]
    )
    def test_is_an_error_for_large_arrays(self, change):
        x = self.big()
        y = (x * x).sum()
        change(x)
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()

    @BY_VALUE
    def test_of_a_saved_result(self):
        x = leaf(1.0, 2.0)
        y = mc.exp(x)
        y.data[0] = 0
        with pytest.raises(RuntimeError, match="Exp saved was changed in place"):
            y.sum().backward()

    def test_by_the_optimizer_between_forward_and_backward(self):
        x = self.big()
        optimizer = mc.optim.SGD([x], lr=0.1)
        (x * x).sum().backward()
        y = (x * x).sum()
        optimizer.step()
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()

    def test_by_load_state_dict(self):
        net = mc.nn.Linear(100, 50)
        y = net(mc.randn(3, 100, requires_grad=True)).sum()
        net.load_state_dict({name: array + 1 for name, array in net.state_dict().items()})
        with pytest.raises(RuntimeError, match="changed in place"):
            y.backward()

    def test_after_backward_is_fine(self):
        x = leaf(1.0, 2.0)
        (x * x).sum().backward()
        x.data += 1
        (x * x).sum().backward()
        assert x.grad.tolist() == [2 + 4, 4 + 6]

    def test_of_what_nobody_saved_is_fine(self):
        x = leaf(1.0, 2.0)
        y = (x + 1).sum()
        x.data += 1
        y.backward()
        assert x.grad.tolist() == [1, 1]

    def test_new_data_is_no_change_of_the_old(self):
        x = leaf(1.0, 2.0)
        y = (x * x).sum()
        x.data = there(np.array([7.0, 7.0]))
        y.backward()
        assert x.grad.tolist() == [2, 4]

    def test_of_a_leaf_that_needs_gradients_refuses_outside_no_grad(self):
        x = leaf(1.0, 2.0)
        with pytest.raises(RuntimeError, match=r"\+=: a leaf that requires a gradient"):
            x += 1
        with pytest.raises(RuntimeError, match="graph cannot follow"):
            x[0] = 1.0

    def test_operator_on_an_intermediate_result_makes_a_new_one(self):
        x = leaf(1.0, 2.0)
        y = x * x
        before = y
        y += x
        assert y is not before
        y.sum().backward()
        assert x.grad.tolist() == [3, 5]


class TestFunction:
    def test_wrong_gradient_shape_is_named(self):
        class Wrong(Function):
            def forward(self, x):
                return x * 2

            def backward(self, gy):
                return gy[:1]

        with pytest.raises(RuntimeError, match=r"Wrong.backward returned float64 \(1,\) .* float64 \(2,\)"):
            Wrong()(leaf(1.0, 2.0)).sum().backward()

    def test_wrong_gradient_dtype_is_named(self):
        class Wrong(Function):
            def forward(self, x):
                return x * 2

            def backward(self, gy):
                return gy.astype(np.float32)

        with pytest.raises(RuntimeError, match=r"Wrong.backward returned float32"):
            Wrong()(leaf(1.0, 2.0)).sum().backward()

    def test_wrong_number_of_gradients(self):
        class Wrong(Function):
            def forward(self, a, b):
                return a + b

            def backward(self, gy):
                return gy

        with pytest.raises(ValueError, match="zip"):
            Wrong()(leaf(1.0), leaf(2.0)).backward()

    def test_optional_inputs_and_needs(self):
        class Scale(Function):
            def forward(self, x, factor):
                self.seen = self.needs
                self.save(x, factor)
                return x if factor is None else x * factor

            def backward(self, gy):
                _, factor = self.saved
                return (gy if factor is None else gy * factor), None

        x = leaf(2.0)
        scale = Scale()
        scale(x, None).backward()
        assert scale.seen == (True, False)
        assert x.grad.tolist() == [1]

    def test_nothing_is_saved_where_nothing_is_recorded(self):
        class Keep(Function):
            def forward(self, x):
                self.save(x)
                return x * 1

        keep = Keep()
        keep(mc.tensor([1.0]))
        assert keep.saved == ()

    def test_unfinished_functions_say_what_is_missing(self):
        class Empty(Function):
            pass

        with pytest.raises(NotImplementedError, match="Empty has no forward"):
            Empty()(leaf(1.0))


def test_gradient_of_a_sum_over_many_branches_is_exact():
    # More than two uses: the third and later are added in place, into memory that nobody else holds.
    x = leaf(1.0, 2.0)
    y = x * 1.0
    branches = [y * factor for factor in (1.0, 2.0, 3.0, 4.0)]
    total = branches[0]
    for branch in branches[1:]:
        total = total + branch
    gy = there(np.array([1.0, -1.0]))
    total.backward(gy)
    assert x.grad.tolist() == [10, -10]
    assert gy.tolist() == [1, -1]
