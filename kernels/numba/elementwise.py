"""Element-wise operations on all cores, each a single pass over memory."""

import numpy as np

from minicnn.kernels.numba.compiling import compiled, helper, plain, share
from minicnn.kernels.numba.exponential import exp, power
from minicnn.kernels.registry import kernel

CHUNK = 1 << 14  # entries in a job: enough that starting a job costs nothing, few enough for all cores


def entry_by_entry(function, *arrays, settings=()):
    """A new array like the first; the function computes it from the flattened arrays and the settings."""
    y = np.empty(arrays[0].shape, arrays[0].dtype)
    function(*[plain(array).reshape(-1) for array in arrays], y.reshape(-1), *settings)
    return y


@helper
def entries(core, size):
    """The places of this core's entries; unsigned, as places that could be negative keep vectors away."""
    jobs = share(core, (size + CHUNK - 1) // CHUNK)
    return range(np.uintp(jobs.start * CHUNK), np.uintp(min(jobs.stop * CHUNK, size)))


@compiled
def _relu(core, x, y):
    zero = x.dtype.type(0)  # a plain 0 would turn each entry into float64 and back
    for i in entries(core, x.size):
        y[i] = zero if x[i] <= zero else x[i]  # so that a NaN passes


@kernel("relu.forward", "numba", "one_pass")
def relu(x):
    """max(x, 0)."""
    return entry_by_entry(_relu, x)


@compiled
def _relu_backward(core, gy, y, gx):
    zero = y.dtype.type(0)
    for i in entries(core, y.size):
        g = gy[i]  # read in any case: a read under a condition is a branch, and keeps vectors away
        gx[i] = g if y[i] > zero else zero


@kernel("relu.backward", "numba", "one_pass")
def relu_backward(gy, y):
    """gy where y > 0, else 0."""
    return entry_by_entry(_relu_backward, gy, y)


@compiled
def _relu6(core, x, y):
    zero, six = x.dtype.type(0), x.dtype.type(6)
    for i in entries(core, x.size):
        positive = zero if x[i] <= zero else x[i]
        y[i] = six if positive >= six else positive


@kernel("relu6.forward", "numba", "one_pass")
def relu6(x):
    """min(max(x, 0), 6)."""
    return entry_by_entry(_relu6, x)


@compiled
def _relu6_backward(core, gy, y, gx):
    zero, six = y.dtype.type(0), y.dtype.type(6)
    for i in entries(core, y.size):
        g = gy[i]
        gx[i] = g if (y[i] > zero) & (y[i] < six) else zero


@kernel("relu6.backward", "numba", "one_pass")
def relu6_backward(gy, y):
    """gy where 0 < y < 6, else 0."""
    return entry_by_entry(_relu6_backward, gy, y)


@compiled
def _scale_where_negative(core, numbers, x, y, slope):
    zero = x.dtype.type(0)
    for i in entries(core, x.size):
        number = numbers[i]
        y[i] = number if x[i] > zero else number * slope


@kernel("leaky_relu.forward", "numba", "one_pass")
def leaky_relu(x, slope):
    """x where x > 0, else slope · x."""
    return entry_by_entry(_scale_where_negative, x, x, settings=(x.dtype.type(slope),))


@kernel("leaky_relu.backward", "numba", "one_pass")
def leaky_relu_backward(gy, x, slope):
    """gy where x > 0, else slope · gy."""
    return entry_by_entry(_scale_where_negative, gy, x, settings=(x.dtype.type(slope),))


@compiled
def _tanh(core, x, y):
    two = x.dtype.type(2)
    for i in entries(core, x.size):
        # With u = e^(−2|x|) − 1, tanh |x| = −u / (u + 2); for small x, u keeps the digits that e^… loses.
        scale, p = power(-two * abs(x[i]))
        u = scale * p + (scale - x.dtype.type(1))
        y[i] = np.copysign(u / (u + two), x[i])


@kernel("tanh.forward", "numba", "one_pass")
def tanh(x):
    """tanh x, five times as fast as NumPy's on two cores; right to 2.5 units in the last place."""
    return entry_by_entry(_tanh, x)


@compiled
def _tanh_backward(core, gy, y, gx):
    one = y.dtype.type(1)
    for i in entries(core, y.size):
        gx[i] = gy[i] * (one - y[i] * y[i])


@kernel("tanh.backward", "numba", "one_pass")
def tanh_backward(gy, y):
    """gy · (1 − y²)."""
    return entry_by_entry(_tanh_backward, gy, y)


@helper
def logistic(x, zero, one):
    """1 / (1 + e⁻ˣ), and for negative x the same as eˣ / (1 + eˣ); zero and one in the dtype of x."""
    e = exp(-abs(x))
    return (e if x < zero else one) / (one + e)


@compiled
def _sigmoid(core, x, y):
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for i in entries(core, x.size):
        y[i] = logistic(x[i], zero, one)


@kernel("sigmoid.forward", "numba", "one_pass")
def sigmoid(x):
    """1 / (1 + e⁻ˣ), and for negative x the same as eˣ / (1 + eˣ); right to 3 units in the last place."""
    return entry_by_entry(_sigmoid, x)


@compiled
def _sigmoid_backward(core, gy, y, gx):
    one = y.dtype.type(1)
    for i in entries(core, y.size):
        gx[i] = gy[i] * y[i] * (one - y[i])


@kernel("sigmoid.backward", "numba", "one_pass")
def sigmoid_backward(gy, y):
    """gy · y (1 − y)."""
    return entry_by_entry(_sigmoid_backward, gy, y)


@compiled
def _silu(core, x, y):
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for i in entries(core, x.size):
        y[i] = x[i] * logistic(x[i], zero, one)


@kernel("silu.forward", "numba", "one_pass")
def silu(x):
    """x · σ(x)."""
    return entry_by_entry(_silu, x)


@compiled
def _silu_backward(core, gy, x, gx):
    zero, one = x.dtype.type(0), x.dtype.type(1)
    for i in entries(core, x.size):
        s = logistic(x[i], zero, one)
        gx[i] = gy[i] * (s + x[i] * s * (one - s))


@kernel("silu.backward", "numba", "one_pass")
def silu_backward(gy, x):
    """gy · (σ + x σ (1 − σ))."""
    return entry_by_entry(_silu_backward, gy, x)
