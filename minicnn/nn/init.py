"""Initial values of parameters: each function fills a tensor in place and returns it.

Why the scale matters. Let y = Σ w x be a sum of n = fan_in products, with independent w and x, w of mean
zero. Then

    Var(y) = n · Var(w) · E[x²]

so a layer multiplies the signal's power by n · Var(w), and twenty layers by the twentieth power of that: the
signal dies or explodes unless n · Var(w) is about 1. Backwards the same holds for the gradient with n =
fan_out.

Glorot and Bengio (2010) take the mean of both demands, Var(w) = 2 / (fan_in + fan_out), which suits units
that are linear near zero, such as tanh. A rectifier sets half of its inputs to zero, so E[x²] is only half of
the variance before it, and He et al. (2015) give the factor 2 back: Var(w) = 2 / fan_in. A uniform
distribution on [-b, b) has the variance b² / 3, so b = sqrt(3) · std.

Sources: X. Glorot, Y. Bengio, "Understanding the difficulty of training deep feedforward neural networks",
AISTATS 2010, equations 10 to 16; K. He, X. Zhang, S. Ren, J. Sun, "Delving deep into rectifiers", ICCV 2015,
section 2.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod, sqrt

import numpy as np

from minicnn import backend, random
from minicnn.backend import unknown
from minicnn.random import Generator
from minicnn.tensor import Tensor

_skipping: ContextVar[bool] = ContextVar("minicnn.nn.init.skip", default=False)


@contextmanager
def skip() -> Iterator[None]:
    """Draw no numbers in this block: layers made in it keep whatever their memory holds.

    For weights that something else will fill: a file, or a network's own initialisation. Memory that nobody
    writes is not even taken, so that the largest network is built in milliseconds.

    >>> from minicnn import nn
    >>> with nn.init.skip():
    ...     layer = nn.Linear(25088, 4096)
    >>> layer.weight.shape
    (4096, 25088)
    """
    token = _skipping.set(True)
    try:
        yield
    finally:
        _skipping.reset(token)


def zeros_(tensor: Tensor) -> Tensor:
    """Fill with zeros: w = 0.

    For biases. In the weights of two layers in a row, zeros never change: each layer's gradient has the
    other's weights as a factor.

    >>> from minicnn import nn, tensor
    >>> nn.init.zeros_(tensor([1.0, 2.0])).data
    array([0., 0.], dtype=float32)
    """
    return constant_(tensor, 0.0)


def ones_(tensor: Tensor) -> Tensor:
    """Fill with ones: w = 1.

    >>> from minicnn import nn, tensor
    >>> nn.init.ones_(tensor([0.0, 2.0])).data
    array([1., 1.], dtype=float32)
    """
    return constant_(tensor, 1.0)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Fill with one value: w = val.

    >>> from minicnn import nn, tensor
    >>> nn.init.constant_(tensor([0.0, 2.0]), 0.5).data
    array([0.5, 0.5], dtype=float32)
    """
    _check_tensor("constant_", tensor)
    tensor.data[...] = val
    tensor.mark_changed()
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Fill with numbers from the uniform distribution on [a, b).

    `generator` is the default generator unless given, here and below. Errors: ValueError unless a <= b.

    >>> from minicnn import nn, tensor
    >>> w = nn.init.uniform_(tensor([0.0] * 100), -1, 1)
    >>> bool(-1 <= w.data.min() < w.data.max() < 1)
    True
    """
    _check_tensor("uniform_", tensor)
    if _skipping.get():
        return tensor
    return _fill(tensor, (generator or random.default_generator).uniform, a, b)


def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Fill with numbers from the normal distribution of this mean and standard deviation.

    Errors: ValueError unless std >= 0.

    >>> from minicnn import nn, tensor
    >>> w = nn.init.normal_(tensor([0.0] * 1000), std=0.01)
    >>> bool(0.009 < w.data.std() < 0.011)
    True
    """
    _check_tensor("normal_", tensor)
    if _skipping.get():
        return tensor
    return _fill(tensor, (generator or random.default_generator).normal, mean, std)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Glorot's scale, uniform: w from [-b, b) with b = gain · sqrt(6 / (fan_in + fan_out)).

    Shapes: as `calculate_fan_in_and_fan_out`. Errors: ValueError for fewer than two dimensions. Source:
    Glorot and Bengio 2010, equation 16.

    >>> import numpy as np
    >>> from minicnn import nn
    >>> w = nn.init.xavier_uniform_(nn.Parameter(np.empty((30, 20))))
    >>> bool(0.3 < abs(w.data).max() < (6 / 50) ** 0.5)
    True
    """
    bound = sqrt(3.0) * _xavier_std("xavier_uniform_", tensor, gain)
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Glorot's scale, normal: std = gain · sqrt(2 / (fan_in + fan_out)).

    Shapes, errors and source: as `xavier_uniform_`, equation 12.

    >>> import numpy as np
    >>> from minicnn import nn
    >>> w = nn.init.xavier_normal_(nn.Parameter(np.empty((300, 200))))
    >>> bool(abs(w.data.std() / (2 / 500) ** 0.5 - 1) < 0.02)
    True
    """
    return normal_(tensor, 0.0, _xavier_std("xavier_normal_", tensor, gain), generator)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """He's scale, uniform: w from [-b, b) with b = gain · sqrt(3 / fan).

    fan is fan_in or fan_out, as `mode` says. The gain is that of the nonlinearity which follows
    (`calculate_gain`); `a` is leaky_relu's negative slope. The defaults are a rectifier's, sqrt(2); a =
    sqrt(5) gives b = 1 / sqrt(fan_in), with which PyTorch begins its layers.

    Shapes: as `calculate_fan_in_and_fan_out`. Errors: ValueError for fewer than two dimensions, or for an
    unknown mode or nonlinearity. Source: He et al. 2015, equations 10 and 14.

    >>> import numpy as np
    >>> from minicnn import nn
    >>> w = nn.init.kaiming_uniform_(nn.Parameter(np.empty((8, 3, 5, 5))), nonlinearity="relu")
    >>> bool(0.25 < abs(w.data).max() < (6 / 75) ** 0.5)
    True
    """
    bound = sqrt(3.0) * _kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: str = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """He's scale, normal: std = gain / sqrt(fan), where fan is fan_in or fan_out by `mode`.

    Arguments, shapes, errors and source: as `kaiming_uniform_`.

    >>> import numpy as np
    >>> from minicnn import nn
    >>> w = nn.Parameter(np.empty((64, 32, 3, 3)))
    >>> nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu").shape
    (64, 32, 3, 3)
    >>> bool(abs(w.data.std() / (2 / (64 * 9)) ** 0.5 - 1) < 0.03)
    True
    """
    return normal_(tensor, 0.0, _kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity), generator)


def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """Return the factor on the standard deviation that suits the nonlinearity after the layer.

        linear, convolutions and sigmoid: 1;   tanh: 5 / 3;   relu: sqrt(2);   selu: 3 / 4
        leaky_relu with slope s (`param`, 0.01 unless given): sqrt(2 / (1 + s²))

    Errors: ValueError for an unknown name.

    >>> calculate_gain("leaky_relu", 1.0)
    1.0
    """
    slope = 0.01 if param is None else param
    gains = dict.fromkeys(("linear", "conv1d", "conv2d", "conv3d", "sigmoid"), 1.0)
    gains |= {"tanh": 5 / 3, "relu": sqrt(2.0), "leaky_relu": sqrt(2.0 / (1 + slope**2)), "selu": 3 / 4}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: nonlinearity {unknown(nonlinearity, gains)}")
    return gains[nonlinearity]


def calculate_fan_in_and_fan_out(tensor: Tensor) -> tuple[int, int]:
    """Return how many inputs each output sums over, and how many outputs each input reaches.

    Shapes: a linear layer's (out, in) gives (in, out); filters (OC, C/groups, KH, KW) give C/groups · KH · KW
    and OC · KH · KW. Errors: ValueError for fewer than two dimensions.

    >>> import numpy as np
    >>> from minicnn import nn
    >>> nn.init.calculate_fan_in_and_fan_out(nn.Parameter(np.empty((6, 3, 5, 5))))
    (75, 150)
    """
    return _fans("calculate_fan_in_and_fan_out", tensor)


_calculate_fan_in_and_fan_out = calculate_fan_in_and_fan_out  # PyTorch's name


def _fans(function: str, tensor: Tensor) -> tuple[int, int]:
    _check_tensor(function, tensor)
    if len(tensor.shape) < 2:
        raise ValueError(
            f"{function}: tensor has shape {tensor.shape}, but 2 or more dimensions are expected"
        )
    if 0 in tensor.shape:
        raise ValueError(f"{function}: tensor is empty, its shape is {tensor.shape}")
    window = prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _xavier_std(function: str, tensor: Tensor, gain: float) -> float:
    fan_in, fan_out = _fans(function, tensor)
    return gain * sqrt(2.0 / (fan_in + fan_out))


def _kaiming_std(function: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"{function}: mode is {mode!r}, but 'fan_in' or 'fan_out' is expected")
    fan_in, fan_out = _fans(function, tensor)
    return calculate_gain(nonlinearity, a) / sqrt(fan_in if mode == "fan_in" else fan_out)


def _check_tensor(function: str, tensor: Tensor) -> None:
    if not isinstance(tensor, Tensor):
        raise TypeError(f"{function}: tensor is {type(tensor).__name__}, but a Tensor is expected")


def _fill(tensor: Tensor, draw: Callable[..., np.ndarray], *arguments: float) -> Tensor:
    """Numbers are drawn on the CPU, so that every device begins with the same; if need be, in a copy."""
    data = tensor.data
    if tensor.device == "cpu" and data.flags.c_contiguous:
        draw(data.shape, *arguments, data.dtype, out=data)
    else:
        data[...] = backend.move(draw(data.shape, *arguments, data.dtype), tensor.device)
    tensor.mark_changed()
    return tensor
