"""The random numbers: Philox against its published answers, and what a Generator makes of its words."""

from __future__ import annotations

import json
from math import erf, sqrt

import numpy as np
import pytest

from minicnn import manual_seed, random
from minicnn.kernels.numpy import philox
from minicnn.kernels.numpy.philox import philox4x32, philox_uint32
from minicnn.random import Generator

ALL_ONES = 0xFFFFFFFF

# The known answers that the authors publish with their library (Random123, kat_vectors, philox4x32-10).
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ALL_ONES,) * 4, (ALL_ONES,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


def philox_by_hand(counter, key):
    """The same function on Python integers, word by word."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & ALL_ONES, (p0 >> 32) ^ c3 ^ k1, p0 & ALL_ONES
        k0, k1 = (k0 + 0x9E3779B9) & ALL_ONES, (k1 + 0xBB67AE85) & ALL_ONES
    return c0, c1, c2, c3


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_answers(counter, key, answer):
    assert tuple(philox4x32(counter, key)) == answer
    assert philox_by_hand(counter, key) == answer


def test_philox_computes_many_blocks_at_once():
    counters, keys, answers = zip(*KNOWN_ANSWERS, strict=True)
    together = philox4x32(np.transpose([counters[0], counters[0]]), keys[0])
    assert together.shape == (4, 2)
    assert together.dtype == np.uint32
    assert (answers[0] == together.T).all()


def test_philox_leaves_its_counter_alone():
    counter = np.arange(4, dtype=np.uint64)
    philox4x32(counter, (1, 2))
    assert counter.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", [0, 1, 2**32, 2**64 - 1])
@pytest.mark.parametrize("offset", [0, 1, 6, 4 * (2**32 - 2), 2**66 - 12])
def test_a_word_is_a_function_of_its_number(seed, offset):
    key = (seed & ALL_ONES, seed >> 32)
    expected = []
    for j in range(offset, offset + 11):
        block = j // 4
        expected.append(philox_by_hand((block & ALL_ONES, block >> 32, 0, 0), key)[j % 4])
    assert philox_uint32(seed, offset, 11).tolist() == expected


@pytest.mark.parametrize(
    ("start", "count"), [(0, 1), (1, 2), (3, 1), (5, 0), (2, 70_000), (65_535, 3), (65_536, 5)]
)
def test_a_slice_of_the_stream_is_drawn_alone(start, count):
    whole = philox_uint32(99, 0, 80_000)  # longer than the chunk that is computed at once
    assert whole.size > 4 * philox._CHUNK_BLOCKS
    piece = philox_uint32(99, start, count)
    assert piece.dtype == np.uint32
    assert piece.shape == (count,)
    assert (piece == whole[start : start + count]).all()


def test_the_words_are_evenly_distributed():
    words = philox_uint32(5, 0, 1 << 18)
    ones = np.unpackbits(words.view(np.uint8).reshape(-1, 4), axis=1).mean(axis=0)
    assert abs(ones - 0.5).max() < 5 * 0.5 / sqrt(words.size)
    counts = np.bincount(words >> 24, minlength=256)
    chi_squared = ((counts - words.size / 256) ** 2 / (words.size / 256)).sum()
    assert abs(chi_squared - 255) < 5 * sqrt(2 * 255)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((-1, 0, 1), ValueError, "seed is -1, but 0 to 18446744073709551615 is expected"),
        ((2**64, 0, 1), ValueError, "seed is 18446744073709551616"),
        ((0.5, 0, 1), TypeError, "seed is 0.5, but an int is expected"),
        ((True, 0, 1), TypeError, "seed is True"),
        ((0, -4, 1), ValueError, "offset is -4"),
        ((0, 0, -1), ValueError, "count is -1"),
        ((0, 2**66 - 1, 2), ValueError, "count is 2, but 0 to 1 is expected"),
    ],
)
def test_philox_names_a_wrong_argument(arguments, error, message):
    with pytest.raises(error, match=message):
        philox_uint32(*arguments)


def test_conversion_to_unit_interval_is_exact():
    words = np.array([0, 255, 256, ALL_ONES], np.uint32)
    assert philox.uniform_float32(words).tolist() == [0.0, 0.0, 2.0**-24, 1 - 2.0**-24]
    assert philox.uniform_float32(words).dtype == np.float32
    words = np.array([0, 0, 0, 64, 32, 0, ALL_ONES, ALL_ONES], np.uint32)
    assert philox.uniform_float64(words).tolist() == [0.0, 2.0**-53, 2.0**-27, 1 - 2.0**-53]
    assert philox.uint64_pairs(words).tolist() == [0, 64, 2**37, 2**64 - 1]


def ks_distance(sample, cdf):
    """The largest distance between a sample's distribution function and the true one."""
    n = sample.size
    at = cdf(np.sort(sample.astype(np.float64)))
    return max((np.arange(1, n + 1) / n - at).max(), (at - np.arange(n) / n).max())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_uniform_statistics(dtype, seed):
    n = 100_000
    y = Generator(seed).uniform(n, low=-2.0, high=3.0, dtype=dtype)
    assert y.dtype == dtype
    assert y.min() >= -2
    assert y.max() < 3
    # Four standard errors each, and a distance that chance exceeds once in 10,000 times.
    assert abs(y.mean(dtype=np.float64) - 0.5) < 4 * (5 / sqrt(12)) / sqrt(n)
    assert abs(y.var(dtype=np.float64) - 25 / 12) < 4 * (25 / 12) * sqrt(0.8 / n)
    assert ks_distance(y, lambda x: (x + 2) / 5) < 2.23 / sqrt(n)
    assert abs(np.corrcoef(y[:-1], y[1:])[0, 1]) < 4 / sqrt(n)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_normal_statistics(dtype, seed):
    n = 100_000
    y = Generator(seed).normal(n, mean=1.0, std=2.0, dtype=dtype)
    assert y.dtype == dtype
    z = (y.astype(np.float64) - 1) / 2
    assert abs(z.mean()) < 4 / sqrt(n)
    assert abs((z**2).mean() - 1) < 4 * sqrt(2 / n)
    assert abs((z**3).mean()) < 4 * sqrt(15 / n)
    assert abs((z**4).mean() - 3) < 4 * sqrt(96 / n)
    assert ks_distance(z, np.vectorize(lambda x: (1 + erf(x / sqrt(2))) / 2)) < 2.23 / sqrt(n)
    assert abs(np.corrcoef(z[0::2], z[1::2])[0, 1]) < 4 / sqrt(n / 2)


def test_normal_is_box_and_muller_of_the_words():
    y = Generator(11).normal(3, mean=-1.0, std=0.5, dtype=np.float64)
    u = philox.uniform_float64(philox_uint32(11, 0, 8))
    radius = np.sqrt(-2 * np.log(1 - u[0::2]))
    z = [
        radius[0] * np.cos(2 * np.pi * u[1]),
        radius[0] * np.sin(2 * np.pi * u[1]),
        radius[1] * np.cos(2 * np.pi * u[3]),
    ]
    np.testing.assert_allclose(y, 0.5 * np.array(z) - 1, rtol=1e-14)


def test_float32_normals_are_the_rounded_float64_ones():
    single = Generator(4).normal((50, 3))
    double = Generator(4).normal((50, 3), dtype=np.float64)
    assert (single == double.astype(np.float32)).all()


def test_a_long_draw_is_the_same_as_its_pieces():
    n = 2 * random._PIECE + 10
    for draw in ("uniform", "normal"):
        whole, pieces = Generator(8), Generator(8)
        y = getattr(whole, draw)(n)
        parts = [getattr(pieces, draw)(m) for m in (random._PIECE + 4, random._PIECE - 4, 10)]
        assert (y == np.concatenate(parts)).all()
        assert whole.get_state() == pieces.get_state()


@pytest.mark.parametrize(("shape", "expected"), [((), ()), (3, (3,)), ([2, 3], (2, 3)), ((0, 4), (0, 4))])
def test_shapes(shape, expected):
    g = Generator(0)
    for y in (g.uniform(shape), g.normal(shape), g.integers(0, 5, shape)):
        assert isinstance(y, np.ndarray)
        assert y.shape == expected


def test_uniform_stays_below_high_where_rounding_would_reach_it():
    y = Generator(0).uniform(10_000, low=1.0, high=float(np.nextafter(np.float32(1), np.float32(2))))
    assert (y == 1).all()
    assert (Generator(0).uniform(5, low=2.5, high=2.5) == 2.5).all()


@pytest.mark.parametrize(
    ("low", "high"), [(0, 6), (-3, 4), (10, 11), (-(2**63), 2**63 - 1), (2**62, 2**63 - 1)]
)
def test_integers_stay_in_their_range(low, high):
    y = Generator(0).integers(low, high, 2000)
    assert y.dtype == np.int64
    assert int(y.min()) >= low
    assert int(y.max()) < high
    if high - low < 10:
        assert set(y.tolist()) == set(range(low, high))
    middle = low + (high - low) // 2
    if high - low > 10:
        assert 900 < (y < middle).sum() < 1100


def test_integers_are_evenly_distributed():
    counts = np.bincount(Generator(3).integers(0, 7, 70_000), minlength=7)
    assert ((counts - 10_000) ** 2 / 10_000).sum() < 6 + 5 * sqrt(12)


def test_integers_reject_what_would_be_biased():
    """With n = 3 · 2**61 a plain remainder makes the last third rarer; a quarter is rejected instead."""
    g = Generator(0)
    y = g.integers(0, 3 * 2**61, 20_000)
    thirds = np.bincount(y // 2**61, minlength=3)
    assert abs(thirds - 20_000 / 3).max() < 5 * sqrt(20_000 * 2 / 9)
    v = philox.uint64_pairs(philox_uint32(0, 0, 40_000))
    fair = v[v < 2**64 - 2**64 % (3 * 2**61)]
    assert fair.size < 20_000
    assert (y[: fair.size] == fair % np.uint64(3 * 2**61)).all()
    assert g.offset > 40_000


def test_permutation():
    first, second = Generator(1).permutation(1000), Generator(2).permutation(1000)
    assert first.dtype == np.int64
    assert sorted(first.tolist()) == list(range(1000)) == sorted(second.tolist())
    assert (first != second).any()
    assert (first == Generator(1).permutation(1000)).all()
    assert (first != np.arange(1000)).mean() > 0.9
    g = Generator(1)
    assert (g.permutation(1000) != g.permutation(1000)).any()
    assert Generator(0).permutation(0).shape == (0,)


def test_every_permutation_is_as_likely():
    g = Generator(0)
    counts = {}
    for _ in range(2400):
        order = tuple(g.permutation(4).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert sum((count - 100) ** 2 / 100 for count in counts.values()) < 23 + 5 * sqrt(46)


def test_reserve_only_advances():
    g = Generator(9)
    g.uniform(3)
    assert g.reserve(100) == (9, 3)
    assert g.reserve(0) == (9, 103)
    assert (g.uniform(5) == philox.uniform_float32(philox_uint32(9, 103, 5))).all()


def test_state_survives_json_and_continues_with_the_next_word():
    g = Generator(2**64 - 1)
    g.normal(7)
    state = json.loads(json.dumps(g.get_state()))
    expected = g.uniform(10)
    other = Generator(0)
    other.set_state(state)
    assert (other.uniform(10) == expected).all()
    assert other.get_state() == g.get_state()


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ({"seed": 1}, ValueError),
        ({"seed": 1, "offset": 0, "more": 0}, ValueError),
        ("seed", ValueError),
        ({"seed": -1, "offset": 0}, ValueError),
        ({"seed": 1, "offset": "0"}, TypeError),
        ({"seed": 1, "offset": -1}, ValueError),
    ],
)
def test_a_wrong_state_changes_nothing(state, error):
    g = Generator(6)
    g.uniform(3)
    with pytest.raises(error, match="set_state"):
        g.set_state(state)
    assert g.get_state() == {"seed": 6, "offset": 3}


def test_fork_depends_on_seed_and_keys_alone():
    g = Generator(1)
    before = g.fork(3).uniform(8)
    g.uniform(100)
    assert g.get_state() == {"seed": 1, "offset": 100}
    assert (g.fork(3).uniform(8) == before).all()
    assert g.fork(1, 2).seed == g.fork(1).fork(2).seed
    seeds = {
        Generator(s).fork(*keys).seed
        for s in (0, 1)
        for keys in [(0,), (1,), (0, 0), (0, 1), (1, 0), (2**32,)]
    }
    assert len(seeds) == 12
    streams = [g.fork(epoch).uniform(10_000) for epoch in range(3)] + [Generator(1).uniform(10_000)]
    assert abs(np.corrcoef(streams) - np.eye(4)).max() < 4 / sqrt(10_000)


def test_fork_takes_a_block_that_no_draw_uses():
    block = philox_by_hand((7, 0, 1, 0), (5, 0))
    assert Generator(5).fork(7).seed == block[0] + 2**32 * block[1]


def test_manual_seed_starts_the_default_generator_again():
    saved = random.default_generator.get_state()
    try:
        assert manual_seed(12) is random.default_generator
        first = random.default_generator.uniform(4)
        assert (manual_seed(12).uniform(4) == first).all()
        for seed, error in ((-1, ValueError), (2**64, ValueError), (1.0, TypeError), (None, TypeError)):
            with pytest.raises(error, match="manual_seed: seed is"):
                manual_seed(seed)
        assert random.default_generator.offset == 4
    finally:
        random.default_generator.set_state(saved)


def test_numpys_global_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    Generator(0).normal(10)
    Generator(0).permutation(10)
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: g.uniform(3, low=1.0, high=0.0), ValueError, "low is 1.0 and high is 0.0"),
        (lambda g: g.uniform(3, high=float("nan")), ValueError, "high is nan"),
        (lambda g: g.uniform(3, high=1e300), ValueError, "high is 1e\\+300"),
        (lambda g: g.uniform(3, dtype=np.int32), ValueError, "dtype is int32, but float32 or float64"),
        (lambda g: g.uniform((3, -1)), ValueError, "uniform: a size in shape is -1"),
        (lambda g: g.uniform(2.5), TypeError, "a size in shape is 2.5"),
        (lambda g: g.uniform(3, out=np.empty(4, np.float32)), ValueError, r"uniform: out has shape \(4,\)"),
        (
            lambda g: g.normal((2, 3), out=np.empty((3, 2), np.float32).T),
            ValueError,
            "normal: out has .* contig",
        ),
        (
            lambda g: g.normal(3, out=np.empty(3)),
            ValueError,
            "out has .* float64, but .* float32 is expected",
        ),
        (lambda g: g.normal(3, std=-1.0), ValueError, "std is -1.0"),
        (lambda g: g.normal(3, dtype="float16"), ValueError, "dtype is float16"),
        (lambda g: g.integers(5, 5), ValueError, "low is 5 and high is 5"),
        (lambda g: g.integers(0, 2**63), ValueError, "within int64"),
        (lambda g: g.integers(0, 2.0), TypeError, "high is 2.0, but an int"),
        (lambda g: g.permutation(-1), ValueError, "permutation: n is -1"),
        (lambda g: g.fork(), ValueError, "no key"),
        (lambda g: g.fork(-1), ValueError, "key is -1"),
        (lambda g: g.reserve(-1), ValueError, "count is -1"),
    ],
)
def test_a_wrong_argument_is_named_and_uses_no_words(call, error, message):
    g = Generator(0)
    with pytest.raises(error, match=message):
        call(g)
    assert g.offset == 0
