"""The emulated GPU: it computes as CUDA does, and it notices what a GPU would let pass."""

import numpy as np
import pytest
from cases import normal
from emulator import host, module

from minicnn.kernels.cuda.compiling import launch
from minicnn.kernels.cuda.sources import source

pytestmark = pytest.mark.skipif(host.COMPILER is None, reason="needs a C++ compiler")

CODE = r"""
extern "C" __global__ void __launch_bounds__(256) total(const float *__restrict__ x, float *y, int n) {
    __shared__ float part[256];
    float sum = 0;
    for (int i = blockIdx.x * 256 + threadIdx.x; i < n; i += 256 * gridDim.x)
        sum += x[i];
    part[threadIdx.x] = sum;
    __syncthreads();
    for (int half = 128; half >= 32; half /= 2) {
        if (threadIdx.x < half)
            part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x < 32) {
        float value = part[threadIdx.x];
        for (int half = 16; half; half /= 2)
            value += __shfl_down_sync(0xffffffff, value, half);
        if (threadIdx.x == 0)
            atomicAdd(y, value);
    }
}
extern "C" __global__ void turn(float *y) {
    extern __shared__ float moved[];
    moved[threadIdx.x] = y[threadIdx.x];
    BARRIER
    y[threadIdx.x] = moved[(threadIdx.x + 1) % blockDim.x];
}
extern "C" __global__ void lanes(int *y) {
    int lane = threadIdx.x;
    int values[] = {__shfl_sync(~0u, lane, 5),      __shfl_sync(~0u, lane, 3, 8),
                    __shfl_up_sync(~0u, lane, 2),   __shfl_xor_sync(~0u, lane, 9),
                    __shfl_down_sync(~0u, lane, 4, 16), (int)__ballot_sync(~0u, lane % 3 == 0),
                    __any_sync(~0u, lane == 7),     __all_sync(~0u, lane == 7),
                    __syncthreads_count(lane < 20), __syncthreads_or(lane == 40),
                    __syncthreads_and(lane < 40)};
    for (int i = 0; i < 11; ++i)
        y[i * blockDim.x + lane] = values[i];
}
extern "C" __global__ void where(int *y) {
    int thread = (threadIdx.z * blockDim.y + threadIdx.y) * blockDim.x + threadIdx.x;
    int block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
    y[block * blockDim.x * blockDim.y * blockDim.z + thread] = 1000 * block + thread;
}
extern "C" __global__ void store(float *y, int at) { y[at] = 1; }
extern "C" __global__ void fetch(float *y, int at) { y[0] = y[at]; }
extern "C" __global__ void fetch4(float *y, int at) { y[0] = reinterpret_cast<float4 *>(y + at)->x; }
extern "C" __global__ void some_wait(float *y) {
    if (threadIdx.x < 3)
        __syncthreads();
    y[threadIdx.x] = 1;
}
extern "C" __global__ void wait_apart(float *y) {
    if (threadIdx.x < 3)
        __syncthreads();
    else
        __syncthreads();
}
extern "C" __global__ void some_meet(float *y) {
    if (threadIdx.x < 3)
        y[0] = __shfl_sync(~0u, y[0], 0);
}
extern "C" __global__ void small(float *y, int at) {
    __shared__ float few[4];
    few[at] = y[0];
    y[0] = few[at];
}
extern "C" __global__ void fresh(float *y) {
    __shared__ float few[4];
    if (blockIdx.x == 0)
        few[threadIdx.x] = 1;
    y[blockIdx.x * 4 + threadIdx.x] = few[threadIdx.x];
}
"""


def kernel(name, code=CODE, barrier="__syncthreads();"):
    return host.RawModule(code=f"#define BARRIER {barrier}\n{code}").get_function(name)


def array(values, dtype=np.float32):
    return module.asarray(np.array(values, dtype))


def run(name, grid, block, *args, shared=0, **options):
    launch(kernel(name, **options), grid, block, args, shared)


def test_a_sum():
    x, y = array(normal("x", 100_001)), array([0])
    run("total", 7, 256, x, y, x.size)
    np.testing.assert_allclose(y.get()[0], x.get().sum(dtype=np.float64), rtol=1e-4)


@pytest.mark.parametrize("barrier", ["__syncthreads();", "__syncwarp();"])
def test_dynamic_shared_memory(barrier):
    y = array(range(32))
    run("turn", 1, 32, y, shared=128, barrier=barrier)
    np.testing.assert_array_equal(y.get(), np.roll(range(32), -1))


def test_a_barrier_that_lacks_shows():
    y = array(range(32))
    run("turn", 1, 32, y, shared=128, barrier="")
    assert np.isnan(y.get()).any()


def test_lanes():
    y, lane = array(np.zeros((11, 64)), np.int32), np.arange(64)
    run("lanes", 1, 64, y)
    inside, first = lane % 32, lane // 32 * 32
    expected = [
        first + 5,
        lane // 8 * 8 + 3,
        np.where(inside >= 2, lane - 2, lane),
        lane ^ 9,
        np.where(lane % 16 < 12, lane + 4, lane),
        np.where(first, sum(1 << i for i in range(1, 32, 3)), sum(1 << i for i in range(0, 32, 3))),
        lane < 32,
        0 * lane,
        0 * lane + 20,
        0 * lane + 1,
        0 * lane,
    ]
    expected[5] = expected[5].astype(np.uint32).astype(np.int32)
    np.testing.assert_array_equal(y.get(), expected)


def test_threads_and_blocks_have_their_numbers():
    y = array(np.zeros((24, 30)), np.int32)
    run("where", (2, 3, 4), (5, 3, 2), y)
    np.testing.assert_array_equal(y.get(), 1000 * np.arange(24)[:, None] + np.arange(30))


def test_shared_memory_is_not_handed_on_between_blocks():
    y = array(np.zeros((2, 4)))
    run("fresh", 2, 4, y)
    assert (y.get()[0] == 1).all()
    assert np.isnan(y.get()[1]).all()


WRONG = [
    ("store", -1, "bytes written before"),
    ("store", 4, "bytes written after"),
    ("store", -1024, "access to memory that belongs to no array"),
    ("store", 1024, "access to memory that belongs to no array"),
    ("fetch", 1024, "access to memory that belongs to no array"),
    ("fetch4", 1, "undefined behaviour"),
    ("small", 4, "undefined behaviour"),
    ("small", -1, "undefined behaviour"),
    ("some_wait", None, "of 32 threads 3 wait at a barrier, 0 for their warp, 29 have ended"),
    ("wait_apart", None, "wait at different ones"),
    ("some_meet", None, "of 32 threads 0 wait at a barrier, 3 for their warp, 29 have ended"),
]


@pytest.mark.parametrize(("name", "at", "message"), WRONG)
def test_what_a_gpu_would_let_pass(name, at, message):
    y = array([1, 2, 3, 4])
    block = 32 if at is None else 1
    with pytest.raises(RuntimeError, match=message):
        run(name, 1, block, y, *(() if at is None else (at,)))
    y = array(range(32))  # and it goes on
    run("turn", 1, 32, y, shared=128)
    assert y.get()[0] == 1


def test_reading_beside_an_array_gives_nan():
    for at in (-1, 4):
        y = array([1, 2, 3, 4])
        run("fetch", 1, 1, y, at)
        assert np.isnan(y.get()[0])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        pytest.param((np.float32(1), 1), "but the kernel takes a pointer", id="a number for a pointer"),
        pytest.param((array([1]), np.int64(1)), "is i8, but the kernel takes i4", id="64 bits for 32"),
        pytest.param((array([1]), np.float32(1)), "is f4, but the kernel takes i4", id="real for whole"),
        pytest.param((array([1]), array([1])), "the kernel takes a number", id="a pointer for a number"),
        pytest.param((array([1], np.float64), 1), "an array of float64", id="another dtype"),
        pytest.param((array([1]),), "has 2 parameters, given are 1", id="too few"),
    ],
)
def test_arguments_that_are_not_the_kernels(args, message):
    with pytest.raises(AssertionError, match=message):
        launch(kernel("store"), 1, 1, args)


def test_sizes_that_no_gpu_takes():
    y = array(range(32))
    with pytest.raises(AssertionError, match="total: block"):
        kernel("total")((1,), (512,), (y, y, np.int32(32)))
    with pytest.raises(AssertionError, match="allowed"):
        kernel("turn")((1,), (32,), (y,), shared_mem=50_000)
    with pytest.raises(AssertionError):
        kernel("store")((1, 70_000), (1,), (y, np.int32(0)))


def test_more_shared_memory_on_request():
    y = array(range(32))
    run("turn", 1, 32, y, shared=100_000)
    assert y.get()[0] == 1
    with pytest.raises(AssertionError):
        run("turn", 1, 32, y, shared=300_000)


# Tensor cores

MULTIPLY = r"""
extern "C" __global__ void multiply_tf32(const float *a, const float *b, float *d) {
    int g = threadIdx.x / 4, t = threadIdx.x % 4;
    unsigned fa[4], fb[2];
    for (int i = 0; i < 4; ++i)
        fa[i] = round_to_tf32(a[(g + i % 2 * 8) * 8 + t + i / 2 * 4]);
    for (int i = 0; i < 2; ++i)
        fb[i] = round_to_tf32(b[(t + i * 4) * 8 + g]);
    float fd[4];
    for (int i = 0; i < 4; ++i)
        fd[i] = d[(g + i / 2 * 8) * 8 + 2 * t + i % 2];
    mma_tf32(fd, fa, fb);
    for (int i = 0; i < 4; ++i)
        d[(g + i / 2 * 8) * 8 + 2 * t + i % 2] = fd[i];
}
// a (16, 16) and b (16, 8) of 16 bits, each row 16-byte aligned: matrices are fetched from shared memory
extern "C" __global__ void multiply_16(const unsigned short *a, const unsigned short *b, float *d) {
    __shared__ __align__(16) unsigned short sa[16][16], sb[16][8];
    for (int i = threadIdx.x; i < 32; i += 32)
        copy16_async(&sa[i / 2][i % 2 * 8], a + 8 * i, true);
    if (threadIdx.x < 16)
        copy16_async(sb[threadIdx.x], b + 8 * threadIdx.x, true);
    commit_copies();
    wait_for_copies_but<0>();
    __syncwarp();
    unsigned fa[4], fb[4];
    load_matrices(fa, &sa[threadIdx.x % 16][threadIdx.x / 16 * 8]);
    load_matrices_transposed(fb, sb[threadIdx.x % 16]);
    float fd[4] = {};
    MMA(fd, fa, fb);
    for (int i = 0; i < 4; ++i)
        d[(threadIdx.x / 4 + i / 2 * 8) * 8 + threadIdx.x % 4 * 2 + i % 2] = fd[i];
}
"""

WHOLE = source("ptx.cuh") + MULTIPLY


def test_tf32_on_tensor_cores():
    a, b, d = (normal(*one, np.float32) for one in (("a", (16, 8)), ("b", (8, 8)), ("d", (16, 8))))
    result = array(d)
    run("multiply_tf32", 1, 32, array(a), array(b), result, code=f"#define MMA mma_f16\n{WHOLE}")
    rounded = [tf32(a), tf32(b)]
    assert any((one != other).any() for one, other in zip(rounded, (a, b), strict=True))
    np.testing.assert_allclose(result.get(), d + rounded[0] @ rounded[1], rtol=1e-5, atol=1e-5)
    assert np.abs(result.get() - (d + a.astype(np.float64) @ b)).max() > 1e-4


def tf32(values):
    """float32 with 10 bits of fraction: to nearest, ties away from zero."""
    exponent = np.floor(np.log2(np.abs(values.astype(np.float64))))
    units = np.abs(values) / 2 ** (exponent - 10)
    return np.sign(values) * np.floor(units + 0.5) * 2 ** (exponent - 10)


# A product of half the depth, twice: of A the left half of the columns first, of B the upper half of the rows
MMA_F16_TWICE = "#define MMA(d, a, b) (mma_f16_k8(d, a, b), mma_f16_k8(d, a + 2, b + 1))\n"


@pytest.mark.parametrize("name", ["f16", "bf16", "f16_k8"])
def test_16_bits_on_tensor_cores(name):
    a, b = normal("a", (16, 16), np.float32), normal("b", (16, 8), np.float32)
    if name != "bf16":
        bits = [one.astype(np.float16).view(np.uint16) for one in (a, b)]
        values = [one.view(np.float16).astype(np.float64) for one in bits]
    else:
        bits = [(one.view(np.uint32) >> 16).astype(np.uint16) for one in (a, b)]
        values = [(one.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for one in bits]
    result = array(np.zeros((16, 8)))
    code = (MMA_F16_TWICE if name == "f16_k8" else f"#define MMA mma_{name}\n") + WHOLE
    run("multiply_16", 1, 32, *(module.asarray(one) for one in bits), result, code=code)
    np.testing.assert_allclose(result.get(), values[0] @ values[1], rtol=1e-5, atol=1e-5)


PAIRS = r"""
extern "C" __global__ void pairs(const float *x, unsigned *y) {
    y[threadIdx.x] = ROUND(x[2 * threadIdx.x], x[2 * threadIdx.x + 1]);
}
"""


def pairs(x, name):
    """x rounded to 16 bits by a kernel: 32 words of two numbers each, as 64 numbers of 16 bits."""
    words, code = array(np.zeros(32), np.uint32), source("ptx.cuh") + PAIRS.replace("ROUND", name)
    launch(host.RawModule(code=code).get_function("pairs"), 1, 32, (array(x), words))
    return np.stack([words.get() & 0xFFFF, words.get() >> 16], axis=1).ravel()


def test_pairs_of_bfloat16():
    """7 bits of fraction, to nearest, ties to even, the first of two in the lower half."""
    x = normal("x", 64, np.float32)
    x[:8] = [1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-20, 3.4e38, -np.inf, 0, -(2.0**-100)]
    found = (pairs(x, "round_to_bf16").astype(np.uint32) << 16).view(np.float32)
    assert found[:8].tolist() == [1, 1 + 2**-6, -1, 1 + 2**-7, np.inf, -np.inf, 0, -(2.0**-100)]
    unit = 2 ** (np.floor(np.log2(np.abs(x[8:].astype(np.float64)))) - 7)
    np.testing.assert_array_equal(found[8:], np.round(x[8:] / unit) * unit)


def test_pairs_of_float16():
    """As NumPy rounds: to nearest, ties to even, below 6e-5 to multiples of 6e-8, from 65,520 to infinity."""
    x = normal("x", 64, np.float32)
    x[:6] = [1 + 2**-11, 65_519, -65_520, 5 * 2**-25, 2**-26, np.nan]
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    np.testing.assert_array_equal(pairs(x, "round_to_f16").astype(np.uint16).view(np.float16), expected)


ROUND = r"""
extern "C" __global__ void to_half(const float *x, unsigned short *y, int n) {
    for (int i = threadIdx.x; i < n; i += 32)
        y[i] = cuda_on_cpu::to_half(x[i]);
}
extern "C" __global__ void from_half(const unsigned short *x, float *y, int n) {
    for (int i = threadIdx.x; i < n; i += 32)
        y[i] = cuda_on_cpu::from_half(x[i]);
}
extern "C" __global__ void to_bfloat16(const float *x, unsigned short *y, int n) {
    for (int i = threadIdx.x; i < n; i += 32)
        y[i] = cuda_on_cpu::to_bfloat16(x[i]);
}
"""


def test_16_bit_numbers_are_rounded_as_numpy_does():
    every = np.arange(1 << 16, dtype=np.uint16)
    floats = array(np.zeros(every.size))
    run("from_half", 1, 32, module.asarray(every), floats, every.size, code=ROUND)
    np.testing.assert_array_equal(floats.get(), every.view(np.float16).astype(np.float32))
    with np.errstate(over="ignore"):
        between = np.concatenate(
            [
                np.nextafter(floats.get()[:0x7C00], np.float32(side)) * np.float32(factor)
                for side in (0, np.inf)
                for factor in (1, 1 + 2**-11, 1 + 2**-12, 1.0007, -1.0003)
            ]
        )
        wanted = between.astype(np.float16).view(np.uint16)
    halves = array(np.zeros(between.size), np.uint16)
    run("to_half", 1, 32, array(between), halves, between.size, code=ROUND)
    np.testing.assert_array_equal(halves.get(), wanted)


def test_bfloat16_to_nearest_and_ties_to_even():
    x = [0x3F800000, 0x3F808000, 0x3F818000, 0x3F808001, 0x3F807FFF, 0xFF7FFFFF, 0x7F800000]
    x = np.array(x, np.uint32)
    y = array(np.zeros(x.size), np.uint16)
    run("to_bfloat16", 1, 32, module.asarray(x.view(np.float32)), y, x.size, code=ROUND)
    assert y.get().tolist() == [0x3F80, 0x3F80, 0x3F82, 0x3F81, 0x3F80, 0xFF80, 0x7F80]
