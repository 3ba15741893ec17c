"""Random numbers that are a function of (seed, position): one seed gives one run.

A `Generator` is two integers, the seed and the offset of the next unused 32-bit word in the seed's Philox
stream (see `kernels/numpy/philox.py`). Each draw takes a run of words and moves the offset behind it, so that
the state fits a JSON file and a resumed run continues with the very next word. No global state of NumPy is
read or changed.

The words are the same on every machine and backend. So are uniform numbers, integers and permutations, which
are exact functions of them; normal numbers pass through log, cos and sin, whose last bit may differ between
machines.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from minicnn import backend
from minicnn.kernels.numpy.philox import (
    STREAM_WORDS,
    check_int,
    philox4x32,
    philox_uint32,
    uint64_pairs,
    uniform_float32,
    uniform_float64,
)

Shape = int | tuple[int, ...]

# A draw is made in pieces of this many numbers: the float64 temporaries of Box-Muller then stay in the cache,
# and a layer of 100 million weights needs no more memory than the weights.
_PIECE = 1 << 15


class Generator:
    """A stream of random numbers with the state (seed, offset).

    `seed` is an int in 0 .. 2**64 - 1, else TypeError or ValueError. Different seeds give independent
    streams.

    >>> g = Generator(seed=3)
    >>> first = g.uniform(4)
    >>> g.get_state()
    {'seed': 3, 'offset': 4}
    >>> g.set_state({"seed": 3, "offset": 0})
    >>> bool((g.uniform(4) == first).all())
    True
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = check_int("Generator", "seed", seed, 2**64 - 1)
        self._offset = 0

    def __repr__(self) -> str:
        return f"Generator(seed={self._seed}, offset={self._offset})"

    @property
    def seed(self) -> int:
        """The key of the stream."""
        return self._seed

    @property
    def offset(self) -> int:
        """The number of words used so far."""
        return self._offset

    def manual_seed(self, seed: int) -> Generator:
        """Begin the stream of `seed` at its first word, and return this generator."""
        self._seed = check_int("manual_seed", "seed", seed, 2**64 - 1)
        self._offset = 0
        return self

    def reserve(self, count: int) -> tuple[int, int]:
        """Set `count` words aside for a kernel that draws them, and return the first one's (seed, offset).

        >>> Generator(seed=5).reserve(1000)
        (5, 0)
        """
        count = check_int("reserve", "count", count, STREAM_WORDS - self._offset)
        if backend.capture is not None:
            backend.capture.draws_from(self)
        first = self._offset
        self._offset += count
        return self._seed, first

    def uniform(
        self,
        shape: Shape = (),
        low: float = 0.0,
        high: float = 1.0,
        dtype: np.typing.DTypeLike = np.float32,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw from the uniform distribution on [low, high).

        y = low + (high - low) · u, with u = (24 bits) · 2**-24 for float32, one word a number, and
        u = (53 bits) · 2**-53 for float64, two words a number. `high` itself is never returned. `out`, a
        contiguous array of that shape and dtype, takes the numbers in place of a new array.

        Errors: ValueError if low > high or either is not finite in dtype, for a dtype other than float32 and
        float64, or an `out` that does not fit.

        >>> y = Generator(0).uniform((2, 3), low=-1.0, high=1.0)
        >>> y.shape, y.dtype.name, bool((abs(y) <= 1).all())
        ((2, 3), 'float32', True)
        """
        dtype = _float_dtype("uniform", dtype)
        limit = float(np.finfo(dtype).max) / 2  # so that high - low is finite too
        if not -limit <= low <= high <= limit:
            raise ValueError(f"uniform: low is {low} and high is {high}, but finite low <= high is expected")
        low, high = dtype.type(low), dtype.type(high)
        below_high = np.nextafter(high, low)  # rounding the sum can reach high itself
        to_unit = uniform_float32 if dtype == np.float32 else uniform_float64

        def convert(words: np.ndarray) -> np.ndarray:
            y = to_unit(words)
            y *= high - low
            y += low
            return np.minimum(y, below_high, out=y)

        return self._draw(_place("uniform", shape, dtype, out), dtype.itemsize // 4, convert)

    def normal(
        self,
        shape: Shape = (),
        mean: float = 0.0,
        std: float = 1.0,
        dtype: np.typing.DTypeLike = np.float32,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Draw from the normal distribution with the given mean and standard deviation.

        Box and Muller's transform makes two independent normal numbers of two uniform ones:

            r = sqrt(-2 ln(1 - u0)),    z0 = r cos(2π u1),    z1 = r sin(2π u1),    y = mean + std · z

        All of it is computed in float64 and then rounded to `dtype`, so float32 numbers are the rounded
        float64 ones. A pair takes four words, and the last number of an odd count takes four too. |z| is at
        most 8.58. `out` is as in :meth:`uniform`.

        Errors: ValueError if std < 0 or an argument is not finite, for a dtype other than float32 and
        float64, or an `out` that does not fit. Source: G. E. P. Box, M. E. Muller, "A note on the generation
        of random normal deviates", 1958.

        >>> Generator(0).normal((2, 3), std=0.01, dtype="float64").shape
        (2, 3)
        """
        dtype = _float_dtype("normal", dtype)
        if not (np.isfinite(mean) and np.isfinite(std) and std >= 0):
            raise ValueError(
                f"normal: mean is {mean} and std is {std}, but finite mean and std >= 0 are expected"
            )

        def convert(words: np.ndarray) -> np.ndarray:
            u = uniform_float64(words)
            radius = np.sqrt(-2.0 * np.log(1.0 - u[0::2]))  # 1 - u is in (0, 1], so the logarithm is finite
            angle = (2.0 * np.pi) * u[1::2]
            y = np.empty(u.size)
            np.multiply(radius, np.cos(angle), out=y[0::2])
            np.multiply(radius, np.sin(angle), out=y[1::2])
            y *= std
            y += mean
            return y

        return self._draw(_place("normal", shape, dtype, out), 2, convert, group=2)

    def integers(self, low: int, high: int, shape: Shape = ()) -> np.ndarray:
        """Draw integers from {low, ..., high - 1}, each equally likely, as int64.

        With n = high - low, y = low + v mod n for a 64-bit v (two words). A plain remainder would favour
        small results where n does not divide 2**64, so a v at or above the largest multiple of n is thrown
        away and the next pair of words takes its place: no bias is left. That happens with probability below
        n / 2**64.

        Errors: TypeError if low or high is no int; ValueError if the range is empty or exceeds int64.

        >>> y = Generator(0).integers(0, 10, (3, 4))
        >>> y.shape, y.dtype.name, bool(((y >= 0) & (y < 10)).all())
        ((3, 4), 'int64', True)
        """
        for name, value in (("low", low), ("high", high)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer):
                raise TypeError(f"integers: {name} is {value!r}, but an int is expected")
        low, high = int(low), int(high)
        if not -(2**63) <= low < high < 2**63:
            raise ValueError(
                f"integers: low is {low} and high is {high}, but low < high within int64 is expected"
            )
        shape = _checked_shape("integers", shape)
        n = high - low
        last_fair = 2**64 - 2**64 % n - 1
        accepted = np.empty(0, np.uint64)
        while (missing := prod(shape) - accepted.size) > 0:
            v = uint64_pairs(self._words(2 * missing))
            accepted = np.concatenate([accepted, v[v <= np.uint64(last_fair)]])
        # Adding low modulo 2**64 and reading the bits as int64 is exact for every range within int64.
        y = accepted % np.uint64(n) + np.uint64(low % 2**64)
        return y.view(np.int64).reshape(shape)

    def permutation(self, n: int) -> np.ndarray:
        """Draw an order of 0 .. n - 1, as int64: the order that sorts n random 64-bit keys.

        Every order is equally likely, but for equal keys, which n numbers hold with probability below n² /
        2**65.

        >>> sorted(Generator(0).permutation(5).tolist())
        [0, 1, 2, 3, 4]
        """
        n = check_int("permutation", "n", n, 2**63 - 1)
        return np.argsort(uint64_pairs(self._words(2 * n)), kind="stable")

    def fork(self, *keys: int) -> Generator:
        """Return a generator with its own stream, fixed by this one's seed and `keys`, not by its offset.

        The new seed is the first two words of the Philox block number 2**64 + key under the old seed;
        `fork(a, b)` is `fork(a).fork(b)`. Draws only use blocks below 2**64, so seeds and numbers never share
        a block. Shuffling epoch e with `generator.fork(e)` needs no memory of the epochs before.

        Errors: ValueError if no key is given or one is outside 0 .. 2**64 - 1.

        >>> g = Generator(0)
        >>> g.fork(1, 2).seed == g.fork(1).fork(2).seed != g.fork(2, 1).seed
        True
        """
        if not keys:
            raise ValueError("fork: no key is given, but at least one int is expected")
        seed = self._seed
        for key in keys:
            key = check_int("fork", "key", key, 2**64 - 1)
            counter = np.array([key & 0xFFFFFFFF, key >> 32, 1, 0], np.uint64)
            block = philox4x32(counter, (seed & 0xFFFFFFFF, seed >> 32))
            seed = int(block[0]) | int(block[1]) << 32
        return Generator(seed)

    def get_state(self) -> dict[str, int]:
        """Return the state as a dict that JSON can hold."""
        return {"seed": self._seed, "offset": self._offset}

    def set_state(self, state: dict[str, int]) -> None:
        """Continue from a state of `get_state`. Errors: TypeError or ValueError if it is none."""
        if not isinstance(state, dict) or set(state) != {"seed", "offset"}:
            raise ValueError(
                f"set_state: state is {state!r}, but a dict with the keys seed and offset is expected"
            )
        seed = check_int("set_state", "seed", state["seed"], 2**64 - 1)
        self._offset = check_int("set_state", "offset", state["offset"], STREAM_WORDS)
        self._seed = seed

    def _words(self, count: int) -> np.ndarray:
        if backend.capture is not None:
            raise backend.CaptureError("random numbers were drawn on the host")
        seed, first = self.reserve(count)
        return philox_uint32(seed, first, count)

    def _draw(
        self, y: np.ndarray, words_each: int, convert: Callable[[np.ndarray], np.ndarray], group: int = 1
    ) -> np.ndarray:
        """Fill y piecewise with convert(words); numbers come in whole groups."""
        flat = y.reshape(-1)
        for start in range(0, flat.size, _PIECE):
            piece = flat[start : start + _PIECE]
            whole = -(-piece.size // group) * group
            piece[:] = convert(self._words(words_each * whole))[: piece.size]
        return y


def manual_seed(seed: int) -> Generator:
    """Begin the default generator's stream of `seed`, and return that generator.

    >>> manual_seed(1).get_state()
    {'seed': 1, 'offset': 0}
    """
    return default_generator.manual_seed(seed)


def _place(function: str, shape: Shape, dtype: np.dtype, out: np.ndarray | None) -> np.ndarray:
    """Where numbers are to go: `out`, or a new array."""
    shape = _checked_shape(function, shape)
    if out is None:
        return np.empty(shape, dtype)
    if out.shape != shape or out.dtype != dtype or not out.flags.c_contiguous:
        raise ValueError(
            f"{function}: out has shape {out.shape} and dtype {out.dtype}, but a contiguous array of shape "
            f"{shape} and dtype {dtype} is expected"
        )
    return out


def _checked_shape(function: str, shape: Shape) -> tuple[int, ...]:
    sizes = shape if isinstance(shape, tuple | list) else (shape,)
    return tuple(check_int(function, "a size in shape", size, 2**63 - 1) for size in sizes)


def _float_dtype(function: str, dtype: np.typing.DTypeLike) -> np.dtype:
    dtype = np.dtype(dtype)
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"{function}: dtype is {dtype}, but float32 or float64 is expected")
    return dtype


default_generator = Generator()
