"""Philox-4x32-10: random numbers computed from their position in the stream.

An ordinary generator walks: to know its millionth word it must have drawn the words before it. A
counter-based generator is a function of the position. Philox scrambles a 128-bit counter, held as four 32-bit
words c0..c3, under a 64-bit key, held as k0, k1, by ten rounds of

    c0' = high(M1 · c2) ^ c1 ^ k0        c2' = high(M0 · c0) ^ c3 ^ k1
    c1' = low(M1 · c2)                   c3' = low(M0 · c0)

where high and low are the halves of a 64-bit product, and between two rounds k0 += W0, k1 += W1 (mod 2**32).
Each counter gives a block of four words. Here the seed is the key, and block number i of the stream has
counter i, so that word j is word j mod 4 of block j // 4. Any processor can therefore compute any slice of
the stream alone, and all of them get the same bits: this is how dropout draws one mask on every backend.

Source: J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC'11, section 3.3.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL_STEPS = (0x9E3779B9, 0xBB67AE85)  # added to the key from round to round: golden ratio and sqrt(3) - 1
ROUNDS = 10
STREAM_WORDS = 2**66  # blocks 0 .. 2**64 - 1; the blocks beyond derive the seeds of other streams

_WORD_MASK = 2**32 - 1
_CHUNK_BLOCKS = 16384  # six uint64 buffers of this length lie in a second-level cache

# Zero-dimensional arrays, since NumPy converts a scalar operand anew at every call.
_M0, _M1 = (np.array(m, np.uint64) for m in MULTIPLIERS)
_LOW, _32 = np.array(_WORD_MASK, np.uint64), np.array(32, np.uint64)


def philox_uint32(seed: int, offset: int, count: int) -> np.ndarray:
    """Return the words number `offset` to `offset + count - 1` of the stream of `seed`.

    Shapes and dtypes: the result is uint32 of shape (count,). `seed` is in 0 .. 2**64 - 1; `offset` counts
    32-bit words from 0, and the stream has 2**66 of them.

    Raises TypeError for what is no int, ValueError for what is out of range.

    >>> philox_uint32(7, 0, 6)[4:].tolist() == philox_uint32(7, 4, 2).tolist()
    True
    """
    seed = check_int("philox_uint32", "seed", seed, 2**64 - 1)
    offset = check_int("philox_uint32", "offset", offset, STREAM_WORDS)
    count = check_int("philox_uint32", "count", count, STREAM_WORDS - offset)
    first_block, skipped = divmod(offset, 4)
    blocks = -(-(skipped + count) // 4)
    words = np.empty((blocks, 4), np.uint32)
    buffers = np.empty((6, min(blocks, _CHUNK_BLOCKS)), np.uint64)
    ramp = np.arange(min(blocks, _CHUNK_BLOCKS), dtype=np.uint64)
    keys = _round_keys(seed & _WORD_MASK, seed >> 32)
    for start in range(0, blocks, _CHUNK_BLOCKS):
        chunk = words[start : start + _CHUNK_BLOCKS]
        c0, c1, c2, c3, p0, p1 = buffers[:, : len(chunk)]
        np.add(ramp[: len(chunk)], np.uint64(first_block + start), out=c0)
        np.right_shift(c0, _32, out=c1)
        np.bitwise_and(c0, _LOW, out=c0)
        c2[:] = c3[:] = 0
        _scramble(c0, c1, c2, c3, p0, p1, keys)
        for position, c in enumerate((c0, c1, c2, c3)):
            chunk[:, position] = c
    return words.reshape(-1)[skipped : skipped + count]


def philox4x32(counter: npt.ArrayLike, key: tuple[int, int]) -> np.ndarray:
    """Return the blocks of `counter` under `key`: the bare function, for tests and for deriving seeds.

    Shapes and dtypes: `counter` is (4,) or (4, n) of unsigned integers below 2**32, least significant word
    first; `key` is (k0, k1), each below 2**32. The result is uint32 of the counter's shape.

    >>> [f"{word:08x}" for word in philox4x32([0, 0, 0, 0], (0, 0))]
    ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    state = np.array(counter, np.uint64)
    if state.ndim not in (1, 2) or state.shape[0] != 4:
        raise ValueError(f"philox4x32: counter has shape {state.shape}, but (4,) or (4, n) is expected")
    c0, c1, c2, c3 = state.reshape(4, -1)
    p0, p1 = np.empty((2, c0.size), np.uint64)
    _scramble(c0, c1, c2, c3, p0, p1, _round_keys(*key))
    return state.astype(np.uint32)


def _round_keys(k0: int, k1: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """The key of each round: k + round · W (mod 2**32)."""
    return [
        (
            np.array((k0 + r * WEYL_STEPS[0]) & _WORD_MASK, np.uint64),
            np.array((k1 + r * WEYL_STEPS[1]) & _WORD_MASK, np.uint64),
        )
        for r in range(ROUNDS)
    ]


def _scramble(c0, c1, c2, c3, p0, p1, keys) -> None:
    """Replace the counters by their blocks, in place. Words lie in uint64s, so no product needs widening."""
    for k0, k1 in keys:
        np.multiply(c0, _M0, out=p0)
        np.multiply(c2, _M1, out=p1)
        np.right_shift(p1, _32, out=c0)
        np.bitwise_xor(c0, c1, out=c0)
        np.bitwise_xor(c0, k0, out=c0)
        np.right_shift(p0, _32, out=c2)
        np.bitwise_xor(c2, c3, out=c2)
        np.bitwise_xor(c2, k1, out=c2)
        np.bitwise_and(p1, _LOW, out=c1)
        np.bitwise_and(p0, _LOW, out=c3)


def uniform_float32(words: np.ndarray) -> np.ndarray:
    """Map each word to a float32 in [0, 1): u = (w >> 8) · 2**-24, exactly."""
    u = (words >> np.uint32(8)).astype(np.float32)
    u *= np.float32(2.0**-24)
    return u


def uniform_float64(words: np.ndarray) -> np.ndarray:
    """Map each pair of words to a float64 in [0, 1): u = ((w0 >> 5) · 2**26 + (w1 >> 6)) · 2**-53.

    Shapes: (2n,) words give (n,) numbers, each an exact multiple of 2**-53.
    """
    u = (words[0::2] >> np.uint32(5)).astype(np.float64)
    u *= 2.0**26
    u += words[1::2] >> np.uint32(6)
    u *= 2.0**-53
    return u


def uint64_pairs(words: np.ndarray) -> np.ndarray:
    """Join each pair of words to a uint64: v = w0 · 2**32 + w1. Shapes: (2n,) words give (n,) integers."""
    v = words[0::2].astype(np.uint64)
    v <<= _32
    v |= words[1::2]
    return v


def check_int(function: str, name: str, value: int, highest: int) -> int:
    """Return `value` if it is an int in 0 .. highest, else raise an error that names it."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{function}: {name} is {value!r}, but an int is expected")
    if not 0 <= value <= highest:
        raise ValueError(f"{function}: {name} is {value}, but 0 to {highest} is expected")
    return int(value)
