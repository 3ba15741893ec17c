"""The tensor cores' tile: which banks of shared memory a warp meets, and that every index matters."""

import numpy as np
import pytest
from emulator import use
from emulator.use import cupy
from test_cuda_conv import ROUNDING, WIDE, by_reference, on_device, sabotage, window

from minicnn import kernels
from minicnn.kernels.cuda import compiling, tensor
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
            fetch_lines<BM, ALONG>(r, slice, line, word);
            for (int e = 0; e < 4; ++e, to += 32)
                to[threadIdx.x] = r[e];
        }
}
"""


def words_met(cupy, along, four, sabotage=("", "")):
    """For each time that a warp writes to shared memory, or fetches, the numbers of the 32 words."""
    tile = tensor.TILES["bf16"][-1]
    constants = tile._asdict() | {"ALONG": int(along), "FOUR": int(four), "real": "float"}
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
@pytest.mark.parametrize("four", [False, True])
@pytest.mark.parametrize("along", [False, True])
def test_a_warp_meets_every_bank_once(cupy, along, four):
    written, fetched = words_met(cupy, along, four)
    assert conflicts(written) == conflicts(fetched) == 0
    for words in (written, fetched):  # and each word is met once
        assert len(np.unique(words)) == words.size == SIDE * WORDS
    np.testing.assert_array_equal(np.unique(written), np.unique(fetched))


def test_without_permutation_and_padding_it_would_not(cupy):
    straight = ("(word ^ line / 2 % 4 * 4)", "word")
    assert conflicts(words_met(cupy, True, False, straight)[1]) == 3  # four lanes of 32 wait for each other
    assert conflicts(words_met(cupy, False, False, ("(SIDE + 8)", "SIDE"))[1]) == 3


# Sabotage: another index, and the results are wrong

SOME, ALL = WIDE[0], WIDE[2]  # four pixels come at once in neither pass of the first, in all of the second
SABOTAGES = [
    (SOME, "lane % 16, word + lane / 16 * 4", "lane / 2, word + lane % 2 * 4"),
    (SOME, "line + lane / 4 + e % 2 * 8", "line + lane / 4 + e / 2 * 8"),
    (SOME, "word + lane % 4 + e / 2 * 4", "word + lane % 4 * 2 + e / 2"),
    (SOME, "{of_b[j / 2][j % 2], of_b[j / 2][j % 2 + 2]}", "{of_b[j / 2][0], of_b[j / 2][1]}"),
    (SOME, "first_row + 16 * i + lane / 4 + 8 * below", "first_row + 16 * i + lane / 4 * 2 + below"),
    (SOME, "first_column + 8 * j + lane % 4 * 2", "first_column + 8 * j + (lane + 1) % 4 * 2"),
    (SOME, "down + group * STEP) * PER_WORD + load", "down + group * STEP) * PER_WORD"),
    (SOME, "round_to_bf16(a[2], a[3])", "round_to_bf16(a[3], a[2])"),
    (SOME, "*to = round_to_bf16(a[0], b[0])", "*to = round_to_bf16(b[0], a[0])"),
    (ALL, "round_to_bf16(a[1], b[1])", "round_to_bf16(b[1], a[1])"),
    (ALL, "ALONG_K && FOURS ? 4 : 1", "ALONG_K && FOURS ? 8 : 1"),
]


@pytest.mark.skipif(use.kind() == "GPU", reason="a GPU may get it right by luck")
@pytest.mark.parametrize(("case", "right", "wrong"), SABOTAGES, ids=[right for _, right, _ in SABOTAGES])
def test_every_index_matters(cupy, monkeypatch, case, right, wrong):
    g, arrays = window(case), case.arrays(np.float32)
    (expected, *_), (size, *_), _ = by_reference(case)

    def error():
        with kernels.use("cuda", conv2d="bf16"):
            y = on_device(cupy, "conv2d.forward", *arrays, g)
        return (np.abs(y - expected) / size).max()

    assert error() < 2 * ROUNDING["bf16"]
    assert source("conv_tensor.cu").count(right) == 1
    sabotage(monkeypatch, lambda text: text.replace(right, wrong))
    assert error() > 10 * ROUNDING["bf16"]
