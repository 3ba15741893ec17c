"""The tensor cores' tile: which banks of shared memory a warp meets, and that every index matters."""

import numpy as np
import pytest
from cases import normal
from emulator import use
from emulator.use import cupy
from test_cuda_conv import ROUNDING, WIDE, by_reference, on_device, parts, sabotage, window

from minicnn import kernels
from minicnn.kernels.cuda import compiling, tensor
from minicnn.kernels.cuda.largest import largest
from minicnn.kernels.cuda.sources import source

__all__ = ["cupy"]  # a fixture

# Banks

BANKS = 32
SIDE, WORDS = 64, 16

CODE = """
struct Lines {
    typedef int Line;
    typedef int K;
    __device__ int of_line(int) const { return 0; }
    __device__ int of_k(int) const { return 0; }
    __device__ From number(int, int) const { return {nullptr, false}; }
};
extern "C" __global__ void written(int *to) { // where each thread writes its first word of each group
    const Lines lines;
    const Operand<BM, ALONG, FOUR, Lines> operand(lines);
    for (int group = 0; group < operand.GROUPS; ++group)
        to[group * THREADS + threadIdx.x] = operand.place_of(group);
}
extern "C" __global__ void fetched(unsigned *to) { // of a slice whose words are their own numbers
    __shared__ __align__(16) unsigned slice[A_SIZE];
    for (int i = threadIdx.x; i < A_SIZE; i += 32)
        slice[i] = i;
    __syncthreads();
    for (int line = 0; line < BM; line += 16)
        for (int word = 0; word < WORDS; word += 8) {
            unsigned r[4];
            fetch_lines<BM, ALONG, SECOND>(r, slice, line, word);
            for (int e = 0; e < 4; ++e, to += 32)
                to[threadIdx.x] = r[e];
        }
}
"""


def words_met(cupy, along, four, of_b=False, sabotage=("", "")):
    """For each time that a warp writes to shared memory, or fetches, the numbers of the 32 words."""
    tile = list(tensor.TILES["bf16"])[-1]
    constants = tile._asdict() | {
        "ALONG": int(along),
        "FOUR": int(four),
        "SECOND": int(of_b),
        "real": "float",
    }
    text = source("tensor.cuh", tuple(constants.items())).replace(*sabotage) + CODE
    module = cupy.RawModule(code=text, options=compiling.OPTIONS, backend="nvrtc")
    groups = SIDE * WORDS // (4 if four else 1) // tile.threads
    written = cupy.zeros((groups * tile.threads // 32, 32), np.int32)
    fetched = cupy.zeros((SIDE * WORDS // 32, 32), np.uint32)
    compiling.launch(module.get_function("written"), 1, tile.threads, (written,))
    compiling.launch(module.get_function("fetched"), 1, 32, (fetched,))
    written = written.get()
    if four:  # 8 lanes after the other 8 write their four words each
        written = (written[..., None] + np.arange(4)).reshape(-1, 32)
    return written, fetched.get()


def conflicts(words):
    """How many more times than once a bank is met, at most."""
    return max(np.bincount(row % BANKS, minlength=BANKS).max() for row in words) - 1


@pytest.mark.skipif(use.kind() == "", reason=use.MISSING)
@pytest.mark.parametrize("of_b", [False, True])
@pytest.mark.parametrize("four", [False, True])
@pytest.mark.parametrize("along", [False, True])
def test_a_warp_meets_every_bank_once(cupy, along, four, of_b):
    written, fetched = words_met(cupy, along, four, of_b)
    assert conflicts(written) == conflicts(fetched) == 0
    for words in (written, fetched):  # and each word is met once
        assert len(np.unique(words)) == words.size == SIDE * WORDS
    np.testing.assert_array_equal(np.unique(written), np.unique(fetched))


def test_without_permutation_and_padding_it_would_not(cupy):
    straight, unpadded = ("(word ^ line / 2 % 4 * 4)", "word"), ("(SIDE + 8)", "SIDE")
    for along, change in ((True, straight), (False, unpadded)):  # four lanes of 32 wait for each other
        assert conflicts(words_met(cupy, along, False, sabotage=change)[1]) == 3


# float16: gradients are scaled by a power of two, as its range is small


@pytest.mark.parametrize("shape", [(1,), (33,), (3, 5, 7), (1 << 19,), (0, 4)])
def test_the_largest(cupy, shape):
    """Wherever it is; with more numbers than threads; of nothing 0."""
    x = normal("x", shape, np.float32)
    for at in (0, x.size // 2, x.size - 1) if x.size else ():
        x.reshape(-1)[at] *= -100
        assert largest(cupy.asarray(x)).get().view(np.float32) == np.abs(x).max()
    if not x.size:
        assert largest(cupy.asarray(x)).get().tolist() == [0]
    elif x.size > 2:
        x.reshape(-1)[:2] = -np.inf, np.nan
        assert np.isnan(largest(cupy.asarray(x)).get().view(np.float32))


SIZES = [2.0**-120, 1e-30, 1e-9, 1.0, 3e5, 2.0**100]
ONES = [np.ones((2, 8, 6, 6), np.float32), np.ones((16, 8, 3, 3), np.float32)]


def gradients(cupy, gy, x=ONES[0], w=ONES[1]):
    """gx and gw of a convolution, and of a fully connected layer with the same numbers, in float16."""
    g, given = kernels.Window((3, 3), padding=((1, 1), (1, 1))), [cupy.asarray(one) for one in (gy, x, w)]
    flat = [one.reshape(len(one), -1) for one in given[:2]]
    matrix = cupy.asarray(np.resize(w, (flat[0].shape[1], flat[1].shape[1])))
    with kernels.use("cuda", precision="fp16"), kernels.trace() as ran:
        found = [
            kernels.run("conv2d.grad_input", given[0], given[2], x.shape, g),
            kernels.run("conv2d.grad_weight", given[0], given[1], w.shape, g),
            kernels.run("linear.grad_input", flat[0], matrix),
            kernels.run("linear.grad_weight", flat[0], flat[1]),
        ]
    assert {one.algorithm for one in ran} == {"fp16"}
    return [one.get() for one in found]


@pytest.mark.parametrize("size", SIZES)
def test_gradients_of_any_size_in_float16(cupy, size):
    """A power of two is taken out and put back: it changes no digit of a result."""
    gy = normal("gy", (2, 16, 6, 6), np.float32)
    gy /= 2 * np.abs(gy).max()  # the largest is 0.5
    power = np.float32(2.0 ** np.floor(np.log2(size)))
    gy[np.abs(gy * power) < 2.0**-126] = 0  # which CuPy has GPUs take for 0
    for one, other in zip(gradients(cupy, gy * power), gradients(cupy, gy), strict=True):
        small = np.abs(other * np.float64(power)) < 2.0**-126
        np.testing.assert_array_equal(np.where(small, 0, one), np.where(small, 0, other * power))
        assert size < 1e-30 or not small.all()


@pytest.mark.parametrize("size", [1.0, 1e-12, 1e8])
def test_gradients_in_float16_are_as_accurate_as_ever(cupy, size):
    case = WIDE[0]
    g, arrays = window(case), case.arrays(np.float32)
    gy = normal("gy", (2, 70, *g.output_size(*arrays[0].shape[2:])), np.float32) * np.float32(size)
    for part, a, shape in (
        ("grad_input", arrays[1], arrays[0].shape),
        ("grad_weight", arrays[0], arrays[1].shape),
    ):
        with kernels.use("numpy", conv2d="taps"):
            wide = gy.astype(np.float64), a.astype(np.float64)
            expected = kernels.run(f"conv2d.{part}", *wide, shape, g)
            room = kernels.run(f"conv2d.{part}", *map(np.abs, wide), shape, g)
        with kernels.use("cuda", conv2d="fp16"):
            found = on_device(cupy, f"conv2d.{part}", gy, a, shape, g)
        assert (np.abs(found - expected) <= 2 * ROUNDING["fp16"] * room).all()


def test_no_gradient_and_one_that_is_not_finite(cupy):
    gy = np.zeros((2, 16, 6, 6), np.float32)
    assert not any(one.any() for one in gradients(cupy, gy))
    for wrong in (np.inf, np.nan):
        gy[0, 3, 2, 2] = wrong
        for one in gradients(cupy, gy):
            assert not np.isfinite(one).all()
        assert np.isfinite(gradients(cupy, gy)[0][1]).all()  # the other image's


OF_SCALE = [
    ("if (!FP16 || !largest)", "if (true)"),
    ("max(*largest >> 23, 15u)", "max(*largest >> 23, 150u)"),
    ("__uint_as_float((127 + 127 - exponent) << 23)", "__uint_as_float((128 + 127 - exponent) << 23)"),
]


@pytest.mark.parametrize(("right", "wrong"), OF_SCALE)
def test_the_scale_matters(cupy, monkeypatch, right, wrong):
    assert source("tensor.cuh").count(right) == 1
    sabotage(monkeypatch, lambda text: text.replace(right, wrong))
    with pytest.raises(AssertionError):
        test_gradients_in_float16_are_as_accurate_as_ever(cupy, 1e-12)


@pytest.mark.skipif(use.kind() == "GPU", reason="which GPU it is is not ours to say")
def test_the_instructions_of_older_gpus(cupy, monkeypatch):
    """On sm_75 two products of half the depth take the place of one: with the same results."""
    given = [normal(name, shape, np.float32) for name, shape in (("gy", (2, 16, 6, 6)), ("x", (2, 8, 6, 6)))]
    expected = gradients(cupy, *given)

    def error(*change):
        with monkeypatch.context() as patch:
            sabotage(patch, lambda text: text.replace("__CUDA_ARCH__", "750").replace(*change))
            found = gradients(cupy, *given)
        return max(np.abs(one - other).max() for one, other in zip(found, expected, strict=True))

    assert source("tensor.cuh").count("a + 2, b + 1") == 1
    assert error("", "") < 1e-4
    assert error("a + 2, b + 1", "a + 2, b") > 0.1


# Sabotage: another index, and the results are wrong

SOME, ALL = WIDE[0], WIDE[2]  # four pixels come at once in neither pass of the first, in all of the second
SABOTAGES = [
    (SOME, "below = OF_B ? matrix / 2", "below = OF_B ? matrix % 2"),
    (SOME, "matrix / 2 : matrix % 2, deeper", "matrix / 2 : matrix / 2, deeper"),
    (SOME, "lane % 8 + below * 8", "lane % 8 + deeper * 8"),
    (SOME, "below = OF_B ? e / 2", "below = OF_B ? e % 2"),
    (SOME, "word + lane % 4 + deeper * 4", "word + lane % 4 * 2 + deeper"),
    (SOME, "&of_b[j / 2][j % 2 * 2]", "&of_b[j / 2][0]"),
    (SOME, "first_row + 16 * i + lane / 4 + 8 * below", "first_row + 16 * i + lane / 4 * 2 + below"),
    (SOME, "first_column + 8 * j + lane % 4 * 2", "first_column + 8 * j + (lane + 1) % 4 * 2"),
    (SOME, "down + group * STEP) * PER_WORD + load", "down + group * STEP) * PER_WORD"),
    (SOME, "rounded(a[2], a[3])", "rounded(a[3], a[2])"),
    (SOME, "*to = rounded(a[0], b[0])", "*to = rounded(b[0], a[0])"),
    (ALL, "rounded(a[1], b[1])", "rounded(b[1], a[1])"),
    (ALL, "ALONG_K && FOURS ? 4 : 1", "ALONG_K && FOURS ? 8 : 1"),
]


@pytest.mark.skipif(use.kind() == "GPU", reason="a GPU may get it right by luck")
@pytest.mark.parametrize(("case", "right", "wrong"), SABOTAGES, ids=[right for _, right, _ in SABOTAGES])
def test_every_index_matters(cupy, monkeypatch, case, right, wrong):
    expected, sizes, _ = by_reference(case)

    def error():
        with kernels.use("cuda", conv2d="bf16"):
            found = parts(lambda *args: on_device(cupy, *args), case.arrays(np.float32), window(case))
        return max((np.abs(a - b) / size).max() for a, b, size in zip(found, expected, sizes, strict=True))

    assert error() < 2 * ROUNDING["bf16"]
    assert source("conv_tensor.cu").count(right) == 1
    sabotage(monkeypatch, lambda text: text.replace(right, wrong))
    assert error() > 10 * ROUNDING["bf16"]
