"""Backwards made wrong on purpose, one mistake at a time: the gradient checker must catch each.

A mistake takes the place of a kernel or of a Function's backward. It is given the right one first, to be
called and spoiled. In the same test the right one passes the same check, in both modes and for several
seeds, so that it is the mistake that is caught.
"""

import numpy as np
import pytest

import minicnn as mc
from minicnn import autograd, gradcases
from minicnn import functional as F
from minicnn.functional import activation, arithmetic, conv, loss, reduction, shape
from minicnn.functional.dropout import Dropout
from minicnn.functional.linear import Linear
from minicnn.gradcheck import MODES, GradientError, gradcheck
from minicnn.kernels import registry
from minicnn.kernels.numpy.norm import window_sum
from minicnn.random import Generator

MISTAKES = []


class Mistake:
    """A wrong backward: where it goes, which function of which inputs betrays it, and which cases do."""

    def __init__(self, name, install, fn, inputs, operation, algorithms):
        self.name, self.install, self.fn, self.inputs = name, install, fn, inputs
        self.operation, self.algorithms = operation, algorithms


def in_kernel(part, algorithm, fn, *inputs, operation=None):
    """Decorate what replaces a kernel; it takes the right kernel and its arguments."""

    def note(wrong):
        def install(monkeypatch):
            mc.kernels.registered()  # so that every kernel is loaded
            algorithms = registry._kernels[part, "numpy"]
            right = algorithms[algorithm]
            monkeypatch.setitem(algorithms, algorithm, lambda *args: wrong(right, *args))

        name = f"{part}: {wrong.__name__}"
        MISTAKES.append(
            Mistake(name, install, fn, inputs, operation or part.partition(".")[0], {part: algorithm})
        )
        return wrong

    return note


def in_function(cls, fn, *inputs, operation):
    """Decorate what replaces a Function's backward; it takes the right backward, self and gy."""

    def note(wrong):
        def install(monkeypatch):
            right = cls.backward
            monkeypatch.setattr(cls, "backward", lambda self, gy: wrong(right, self, gy))

        MISTAKES.append(Mistake(f"{cls.__name__}: {wrong.__name__}", install, fn, inputs, operation, {}))
        return wrong

    return note


def in_module(module, attribute, fn, *inputs, operation):
    """Decorate what replaces a function that backwards share; it takes the right one and its arguments."""

    def note(wrong):
        def install(monkeypatch):
            right = getattr(module, attribute)
            monkeypatch.setattr(module, attribute, lambda *args: wrong(right, *args))

        MISTAKES.append(Mistake(f"{attribute}: {wrong.__name__}", install, fn, inputs, operation, {}))
        return wrong

    return note


def normal(*shape):
    return Generator(5).normal(shape, dtype="float64")


def distinct(*shape):
    count = int(np.prod(shape))
    return (Generator(5).permutation(count).reshape(shape) + 0.25 - count / 2) * (4 / count)


# Batch norm: gx = w/σ · (gy − mean(gy) − x̂ · mean(gy · x̂)).


def batch_norm(x, w, b):
    return F.batch_norm(x, None, None, w, b, training=True)


NORM = batch_norm, normal(4, 3, 3, 2), normal(3) + 2, normal(3)
norm_kernel = in_kernel("batch_norm.training_backward", "two_pass", *NORM)


def norm_terms(gy, x, mean, inverse_std, w):
    """The three terms of gx and the factor before them."""
    axes, line_up = (0, 2, 3), (1, -1, 1, 1)
    xhat = (x - mean.reshape(line_up)) * inverse_std.reshape(line_up)
    second = gy.mean(axis=axes, keepdims=True)
    third = xhat * (gy * xhat).mean(axis=axes, keepdims=True)
    return gy, second, third, (w * inverse_std).reshape(line_up)


def spoil_gx(right, args, gx):
    _, gw, gb = right(*args)
    return np.broadcast_to(gx, args[0].shape).copy(), gw, gb


@norm_kernel
def first_term_zeroed(right, *args):
    _, second, third, factor = norm_terms(*args)
    return spoil_gx(right, args, factor * (-second - third))


@norm_kernel
def second_term_zeroed(right, *args):
    first, _, third, factor = norm_terms(*args)
    return spoil_gx(right, args, factor * (first - third))


@norm_kernel
def third_term_zeroed(right, *args):
    first, second, _, factor = norm_terms(*args)
    return spoil_gx(right, args, factor * (first - second))


@norm_kernel
def gradient_of_inference(right, *args):
    first, _, _, factor = norm_terms(*args)
    return spoil_gx(right, args, factor * first)


@norm_kernel
def scale_forgotten(right, gy, x, mean, inverse_std, w):
    gx, gw, gb = right(gy, x, mean, inverse_std, w)
    return gx / w.reshape(1, -1, 1, 1), gw, gb


@norm_kernel
def weight_meets_x_in_place_of_xhat(right, gy, x, mean, inverse_std, w):
    gx, _, gb = right(gy, x, mean, inverse_std, w)
    return gx, (gy * x).sum(axis=(0, 2, 3)), gb


# Convolution.

CONV = F.conv2d, normal(2, 2, 5, 6), normal(3, 2, 3, 3), normal(3)


@in_kernel("conv2d.grad_input", "im2col", *CONV)
def filter_flipped(right, gy, w, x_shape, g):
    return right(gy, np.ascontiguousarray(w[:, :, ::-1, ::-1]), x_shape, g)


@in_kernel("conv2d.grad_input", "im2col", *CONV)
def col2im_shifted_by_one_pixel(right, gy, w, x_shape, g):
    return np.roll(right(gy, w, x_shape, g), 1, axis=3)


@in_kernel("conv2d.grad_input", "naive", *CONV)
def upstream_gradient_flipped(right, gy, w, x_shape, g):
    return right(gy[:, :, ::-1, ::-1], w, x_shape, g)


@in_kernel("conv2d.grad_weight", "im2col", *CONV)
def columns_in_another_order_of_channels(right, gy, x, w_shape, g):
    OC, C, KH, KW = w_shape
    return np.ascontiguousarray(right(gy, x, w_shape, g).reshape(OC, KH, KW, C).transpose(0, 3, 1, 2))


@in_kernel("conv2d.grad_weight", "taps", *CONV)
def last_image_forgotten(right, gy, x, w_shape, g):
    return right(gy[:-1], x[:-1], w_shape, g)


@in_kernel("conv2d.grad_weight", "toeplitz", *CONV)
def rows_and_columns_of_the_filter_exchanged(right, gy, x, w_shape, g):
    return right(gy, x, w_shape, g).swapaxes(2, 3)


@in_kernel("conv2d.grad_input", "taps", lambda x, w: F.conv2d(x, w, stride=2), *CONV[1:3])
def stride_ignored(right, gy, w, x_shape, g):
    return right(gy, w, x_shape, g._replace(stride=(1, 1)))


@in_kernel("conv2d.grad_weight", "im2col", lambda x, w: F.conv2d(x, w[:, :, :2, :2], dilation=2), *CONV[1:3])
def dilation_ignored(right, gy, x, w_shape, g):
    H, W = (gy.shape[2] - 1) + 2, (gy.shape[3] - 1) + 2
    return right(gy, x[:, :, :H, :W], w_shape, g._replace(dilation=(1, 1)))


@in_kernel("conv2d.grad_input", "im2col", lambda x, w: F.conv2d(x, w, padding=((0, 2), (1, 0))), *CONV[1:3])
def padding_taken_from_the_other_side(right, gy, w, x_shape, g):
    return right(gy, w, x_shape, g._replace(padding=tuple(side[::-1] for side in g.padding)))


GROUPED = lambda x, w: F.conv2d(x, w, groups=2), normal(2, 4, 4, 4), normal(4, 2, 3, 3)


@in_kernel("conv2d.grad_input", "im2col", *GROUPED)
def groups_mixed_up(right, gy, w, x_shape, g):
    exchanged = w.reshape(g.groups, -1, *w.shape[1:])[::-1].reshape(w.shape)
    return right(gy, exchanged, x_shape, g)


@in_kernel("conv2d.grad_weight", "taps", *GROUPED)
def groups_mixed_up_for_the_weight(right, gy, x, w_shape, g):
    exchanged = x.reshape(x.shape[0], g.groups, -1, *x.shape[2:])[:, ::-1].reshape(x.shape)
    return right(gy, exchanged, w_shape, g)


@in_function(conv.Conv2d, *CONV, operation="conv2d")
def bias_gradient_averaged(right, self, gy):
    gx, gw, gb = right(self, gy)
    return gx, gw, None if gb is None else gb / len(gy)


# Pooling.


def overlapping(operation):
    return (lambda x: operation(x, 3, 2)), distinct(2, 2, 7, 7)


@in_kernel("avg_pool2d.backward", "taps", *overlapping(F.avg_pool2d))
def divisor_forgotten(right, gy, divisor, x_shape, g):
    return right(gy, np.ones_like(divisor), x_shape, g)


@in_kernel(
    "avg_pool2d.backward",
    "taps",
    lambda x: F.avg_pool2d(x, 3, 2, 1, count_include_pad=False),
    normal(2, 2, 5, 5),
)
def divisor_counts_the_padding(right, gy, divisor, x_shape, g):
    return right(gy, np.full_like(divisor, 9), x_shape, g)


@in_kernel("avg_pool2d.backward", "naive", *overlapping(F.avg_pool2d))
def overlap_assigned_in_place_of_added_for_averages(right, gy, divisor, x_shape, g):
    gx = np.zeros(x_shape)
    for _, _, (rows, cols) in g.taps(*gy.shape[2:]):
        gx[:, :, rows, cols] = gy / divisor
    return gx


@in_kernel("max_pool2d.backward", "taps", *overlapping(F.max_pool2d))
def sent_to_the_last_pixel(right, gy, winner, x_shape, g):
    return right(gy, np.full_like(winner, g.kernel[0] * g.kernel[1] - 1), x_shape, g)


@in_kernel("max_pool2d.backward", "taps", *overlapping(F.max_pool2d))
def sent_to_the_pixel_after_the_winner(right, gy, winner, x_shape, g):
    return right(gy, (winner + 1) % (g.kernel[0] * g.kernel[1]), x_shape, g)


@in_kernel("max_pool2d.backward", "naive", *overlapping(F.max_pool2d))
def sent_to_the_whole_window(right, gy, winner, x_shape, g):
    return sum(right(gy, np.full_like(winner, tap), x_shape, g) for tap in range(9)) / 9


@in_kernel("max_pool2d.backward", "taps", *overlapping(F.max_pool2d))
def overlap_assigned_in_place_of_added(right, gy, winner, x_shape, g):
    gx = np.zeros(x_shape)
    for tap, (_, _, (rows, cols)) in enumerate(g.taps(*gy.shape[2:])):
        np.copyto(gx[:, :, rows, cols], gy, where=winner == tap)
    return gx


# Local response normalisation.


def response(size):
    return (lambda x: F.local_response_norm(x, size, 1.0, 0.75, 2.0)), normal(2, 6, 2, 2)


@in_kernel("local_response_norm.backward", "shifted_sums", *response(5))
def term_across_channels_dropped(right, gy, x, d, size, alpha, beta):
    return gy * d**-beta


@in_kernel(
    "local_response_norm.backward",
    "shifted_sums",
    lambda x: F.local_response_norm(x, 5, 1e-4, 0.75, 2.0),
    normal(2, 6, 2, 2),
)
def term_across_channels_dropped_where_it_is_small(right, gy, x, d, size, alpha, beta):
    return gy * d**-beta


@in_kernel("local_response_norm.backward", "shifted_sums", *response(4))
def even_window_not_mirrored(right, gy, x, d, size, alpha, beta):
    power = d**-beta
    through_d = window_sum(gy * x * power / d, size // 2, (size - 1) // 2)
    return gy * power - x * through_d * (2 * alpha * beta / size)


# Dropout.

DROPOUT = (lambda x: F.dropout(x, 0.3, generator=Generator(7))), normal(4, 6)


@in_function(Dropout, *DROPOUT, operation="dropout")
def scale_of_dropout_forgotten(right, self, gy):
    return right(self, gy) * (1 - self.p)


@in_function(Dropout, *DROPOUT, operation="dropout")
def another_mask(right, self, gy):
    gx = right(self, np.concatenate([gy[:, 1:], gy[:, :1]], axis=1))
    return np.concatenate([gx[:, -1:], gx[:, :-1]], axis=1)


# Losses.

LABELS = np.array([0, 3, 1, 1])


def cross_entropy(**settings):
    return (lambda x: F.cross_entropy(x, LABELS, **settings)), normal(4, 5)


@in_module(loss, "_reduce", *cross_entropy(), operation="cross_entropy")
def divisor_of_the_mean_forgotten_in_backward(right, losses, reduction, *total):
    class Forgetful(mc.Function):
        def forward(self, x):
            self.x_shape = x.shape
            return right(mc.Tensor(x), reduction, *total).data

        def backward(self, gy):
            return np.broadcast_to(gy if reduction != "none" else gy.reshape(self.x_shape), self.x_shape)

    return Forgetful()(losses)


@in_kernel("cross_entropy.backward", "by_rows", *cross_entropy(label_smoothing=0.1))
def label_smoothing_forgotten_in_backward(right, gy, p, labels, weight, smoothing):
    return right(gy, p, labels, weight, 0.0)


@in_kernel("cross_entropy.backward", "by_rows", *cross_entropy(weight=np.arange(1.0, 6.0)))
def class_weight_forgotten_in_half_of_it(right, gy, p, *targets):
    return gy[:, None] * p + right(gy, np.zeros_like(p), *targets)


@in_kernel("cross_entropy.backward", "by_rows", *cross_entropy(ignore_index=1))
def ignored_labels_counted(right, gy, p, labels, weight, smoothing):
    return right(gy, p, np.where(labels < 0, 1, labels), weight, smoothing)


@in_function(
    loss.BinaryCrossEntropyWithLogits,
    lambda x: F.binary_cross_entropy_with_logits(x, np.full((3, 4), 0.3)),
    normal(3, 4),
    operation="binary_cross_entropy_with_logits",
)
def logits_taken_for_probabilities(right, self, gy):
    x, t = self.saved
    return gy * (x - t), None


@in_function(loss.SquaredError, F.mse_loss, normal(3, 4), normal(4, 3).T.copy(), operation="mse_loss")
def factor_of_two_forgotten(right, self, gy):
    return tuple(g / 2 for g in right(self, gy))


# Activations.

ROWS = normal(4, 5)


@in_function(activation.Softmax, F.softmax, ROWS, operation="softmax")
def sum_term_of_softmax_forgotten(right, self, gy):
    (y,) = self.saved
    return y * gy


@in_function(activation.LogSoftmax, F.log_softmax, ROWS, operation="log_softmax")
def sum_over_the_wrong_axis(right, self, gy):
    (y,) = self.saved
    return gy - np.exp(y) * gy.sum(axis=0, keepdims=True)


@in_function(activation.Tanh, F.tanh, ROWS, operation="tanh")
def square_forgotten(right, self, gy):
    (y,) = self.saved
    return gy * (1 - y)


@in_function(activation.SiLU, F.silu, ROWS, operation="silu")
def derivative_of_the_gate_forgotten(right, self, gy):
    (x,) = self.saved[:1]
    return gy / (1 + np.exp(-x))


@in_function(activation.ReLU, F.relu, distinct(4, 5), operation="relu")
def negative_numbers_pass(right, self, gy):
    return gy.copy()


@in_function(activation.LeakyReLU, F.leaky_relu, distinct(4, 5), operation="leaky_relu")
def leak_forgotten(right, self, gy):
    (x,) = self.saved
    return gy * (x > 0)


# Arithmetic, reductions, changes of shape, and the walk itself.


@in_module(arithmetic, "unbroadcast", F.add, normal(3, 3), normal(3), operation="sub")
def summed_over_the_wrong_axis(right, g, to):
    return g.sum(axis=-1) if g.ndim == 2 and to == g.shape[-1:] else right(g, to)


@in_module(arithmetic, "unbroadcast", F.mul, normal(3, 4), normal(3, 1), operation="mul")
def one_of_the_repetitions_in_place_of_their_sum(right, g, to):
    return g if g.shape == to else np.broadcast_to(g[tuple(slice(0, 1) for _ in g.shape)], to).copy()


@in_function(arithmetic.MatMul, F.matmul, normal(3, 3), ROWS[:3, :3].copy(), operation="matmul")
def transpose_forgotten(right, self, gy):
    a, b = self.saved
    if gy.ndim != 2 or gy.shape != b.shape:
        return right(self, gy)
    return gy @ b, a.swapaxes(-1, -2) @ gy


@in_function(Linear, F.linear, ROWS, normal(3, 5), normal(3), operation="linear")
def bias_gradient_of_linear_averaged(right, self, gy):
    gx, gw, gb = right(self, gy)
    return gx, gw, None if gb is None else gb / max(1, gy.size // gy.shape[-1])


@in_function(reduction.Mean, F.mean, ROWS, operation="mean")
def mean_taken_for_a_sum(right, self, gy):
    return right(self, gy) * np.prod([self.shape[axis] for axis in self.axes])


@in_function(reduction.Var, F.var, ROWS, operation="var")
def correction_forgotten(right, self, gy):
    count = np.prod([self.saved[0].shape[axis] for axis in self.axes])
    return right(self, gy) * ((count - self.correction) / count)


@in_function(reduction.Amax, F.amax, distinct(3, 4), operation="amax")
def shared_by_all(right, self, gy):
    (x, *_) = self.saved
    return np.broadcast_to(self.spread(gy), x.shape) / x.size


@in_function(shape.GetItem, lambda x: x[[2, 0, 2, 2]], ROWS, operation="getitem")
def repeats_assigned_in_place_of_added(right, self, gy):
    gx = np.zeros_like(right(self, gy))
    gx[self.index] = gy
    return gx


@in_function(shape.Permute, lambda x: x.permute(1, 2, 0), normal(3, 3, 3), operation="permute")
def permuted_again_in_place_of_back(right, self, gy):
    return gy.transpose(self.axes) if len(set(gy.shape)) == 1 else right(self, gy)


@in_function(shape.Concat, lambda a, b: F.cat([a, b]), ROWS, normal(4, 5) + 1, operation="cat")
def parts_exchanged(right, self, gy):
    parts = right(self, gy)
    return parts[::-1] if parts[0].shape == parts[-1].shape else parts


@in_module(autograd, "_add", lambda x: x * x + F.exp(x), ROWS, operation="mul")
def last_use_in_place_of_the_sum(right, target, gx, gradients, own, shared):
    if isinstance(target, autograd.Variable):
        target.grad = gx.copy()
    else:
        gradients[target] = gx


@in_module(autograd, "_add", lambda x: x * x + F.exp(x), ROWS, operation="mul")
def a_use_added_twice(right, target, gx, gradients, own, shared):
    again = isinstance(target, autograd.Variable) and target.grad is not None
    right(target, gx, gradients, own, shared)
    if again:
        right(target, gx, gradients, own, True)


# And the tests.

each_mistake = pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)


@pytest.mark.parametrize("mode", MODES)
@each_mistake
def test_is_caught(mistake, mode, monkeypatch):
    with mc.use("numpy", mistake.algorithms):
        for seed in range(3):
            assert gradcheck(mistake.fn, mistake.inputs, mode=mode, seed=seed)
        mistake.install(monkeypatch)
        for seed in range(3):
            with pytest.raises(GradientError, match=r"wrong: worst relative error .* at input \d, element"):
                gradcheck(mistake.fn, mistake.inputs, mode=mode, seed=seed)


@each_mistake
def test_is_caught_by_the_table(mistake, monkeypatch):
    """`minicnn gradcheck`, which knows nothing of the mistake, has a case that finds it."""
    wanted = {(part, "numpy", algorithm) for part, algorithm in mistake.algorithms.items()}
    with mc.use("numpy" if wanted else None):  # mistakes in Functions are for all devices
        cases = [case for case in gradcases.cases() if case.operation == mistake.operation]
        cases = [case for case in cases if wanted <= set(case.kernels)]
        assert cases
        mistake.install(monkeypatch)
        rows = (case.check() for case in cases)
        # A mistake that mixes devices shows itself, and proves nothing.
        assert any(not row.ok and "TypeError" not in row.detail for row in rows if row is not None)


def test_there_are_enough_mistakes():
    assert len({mistake.name for mistake in MISTAKES}) == len(MISTAKES) >= 16


@pytest.mark.parametrize("mode", MODES)
def test_why_all_ones_upstream_gradients_are_banned(mode, monkeypatch):
    """The outputs of batch norm add up to the same whatever x is, so that Σ y cannot tell gx from zero."""
    _, x, w, b = NORM

    def along_all_ones(x):
        return batch_norm(x, mc.Tensor(w), mc.Tensor(b)).sum()

    def along_random_numbers(x):
        return batch_norm(x, mc.Tensor(w), mc.Tensor(b))

    with mc.use("numpy"):
        assert gradcheck(along_all_ones, x, mode=mode)
        assert gradcheck(along_random_numbers, x, mode=mode)
        algorithms = registry._kernels["batch_norm.training_backward", "numpy"]
        right = algorithms["two_pass"]
        monkeypatch.setitem(
            algorithms, "two_pass", lambda gy, *args: (np.zeros_like(gy), *right(gy, *args)[1:])
        )
        assert gradcheck(along_all_ones, x, mode=mode), "the mistake that all ones cannot see"
        with pytest.raises(GradientError):
            gradcheck(along_random_numbers, x, mode=mode)
