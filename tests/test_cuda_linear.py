"""The product of matrices on the GPU: every tile and transposition, what is left over, and sums in parts."""

import numpy as np
import pytest
from cases import DTYPES, normal
from emulator.use import cupy
from test_cuda_conv import ROUNDING

from minicnn import kernels
from minicnn.kernels.cuda import gemm, gemm_tensor, tensor
from minicnn.kernels.cuda.compiling import launch

__all__ = ["cupy"]  # a fixture

TILES = [
    pytest.param(dtype, tile, id=f"{dtype}-{tile.BM}x{tile.BN}")
    for dtype, tiles in gemm.TILES.items()
    for tile in tiles
]

# M, N, K: less than a tile, exactly one, one more in each direction, multiples of four and not
SIZES = [
    (1, 1, 1),
    (1, 37, 5),
    (7, 1, 12),
    (3, 5, 1),
    (32, 32, 16),
    (33, 29, 17),
    (36, 132, 20),
    (128, 128, 24),
    (129, 131, 9),
]


def close(result, A, B, bias=0, rounding=0.0):
    """Equal to within the rounding of a sum of K products, and of their factors."""
    wide = [np.asarray(part, np.float64) for part in (A, B, bias)]
    size = np.abs(wide[0]) @ np.abs(wide[1]) + np.abs(wide[2])
    room = ((A.shape[1] + 2) * np.finfo(A.dtype).eps + rounding) * size
    assert result.dtype == A.dtype
    return (np.abs(result - (wide[0] @ wide[1] + wide[2])) <= room).all()


def lying(module, X, turned, shifted):
    """X on the GPU; its columns one after another if turned, and not where vectors could begin if shifted."""
    memory = module.zeros(X.size + 1, X.dtype)[int(shifted) :][: X.size]
    memory[...] = module.asarray(np.ascontiguousarray(X.T if turned else X).reshape(-1))
    return memory.reshape(X.shape[::-1]).T if turned else memory.reshape(X.shape)


@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)], ids=str)
@pytest.mark.parametrize(("dtype", "tile"), TILES)
def test_every_tile_and_transposition(cupy, monkeypatch, dtype, tile, turned):
    monkeypatch.setitem(gemm.TILES, dtype, (tile,))
    for M, N, K in SIZES:
        for shifted in (False, True):
            A, B, bias = normal("A", (M, K), dtype), normal("B", (K, N), dtype), normal("bias", N, dtype)
            given = [lying(cupy, X, t, shifted) for X, t in zip((A, B), turned, strict=True)]
            result = gemm.product(*given, cupy.asarray(bias)).get()
            assert close(result, A, B, bias), (M, N, K, shifted)
            for X, before in zip(given, (A, B), strict=True):
                np.testing.assert_array_equal(X.get(), before)


ON_TENSOR_CORES = [
    pytest.param(name, tile, turned, id=f"{name}-{tile.BM}x{tile.BN}-{turned}")
    for name, tiles in tensor.TILES.items()
    for tile in tiles
    for turned in ([(0, 0), (0, 1), (1, 0), (1, 1)] if tile is list(tiles)[-1] else [(1, 0)])
]


@pytest.mark.parametrize(("name", "tile", "turned"), ON_TENSOR_CORES)
def test_tensor_cores(cupy, monkeypatch, name, tile, turned):
    """Every tile, and every transposition with one of them; four numbers at a time or one."""
    monkeypatch.setitem(tensor.TILES, name, {tile: 1.0})
    for M, N, K in SIZES:
        for shifted in (False, True):
            A, B, bias = (normal(n, s, np.float32) for n, s in (("A", (M, K)), ("B", (K, N)), ("bias", N)))
            given = [lying(cupy, X, t, shifted) for X, t in zip((A, B), turned, strict=True)]
            result = gemm_tensor.product(name, *given, cupy.asarray(bias)).get()
            assert close(result, A, B, bias, ROUNDING[name]), (M, N, K, shifted)


@pytest.mark.parametrize("name", ROUNDING)
def test_a_sum_in_parts_on_tensor_cores(cupy, monkeypatch, name):
    A, B, bias = (normal(n, s, np.float32) for n, s in (("A", (5, 500)), ("B", (500, 9)), ("bias", 9)))
    given = [cupy.asarray(X) for X in (A, B, bias)]
    grids = []
    monkeypatch.setattr(gemm, "launch", lambda f, grid, *rest: grids.append(grid) or launch(f, grid, *rest))
    result = gemm_tensor.product(name, *given).get()
    assert grids == [(1, 3)]
    assert close(result, A, B, bias, ROUNDING[name])
    np.testing.assert_array_equal(gemm_tensor.product(name, *given).get(), result)


def passes(cupy, dtype=np.float32):
    """The three passes of a layer, and the algorithms that computed them."""
    shapes = {"x": (5, 70), "w": (9, 70), "b": (9,), "gy": (5, 9)}
    x, w, b, gy = (cupy.asarray(normal(name, shape, dtype)) for name, shape in shapes.items())
    calls = [("linear.forward", x, w, b), ("linear.grad_input", gy, w), ("linear.grad_weight", gy, x)]
    with kernels.trace() as ran:
        results = [kernels.run(*call).get() for call in calls]
    assert [one[:2] for one in ran] == [(call[0], "cuda") for call in calls]
    return results, [one.algorithm for one in ran]


def test_a_layer_takes_tensor_cores_only_if_allowed(cupy, monkeypatch):
    with kernels.use("cuda"):
        exact, ran = passes(cupy)
        assert ran == ["gemm"] * 3
        for precision in ROUNDING:
            for setting in ({"precision": precision}, {"linear": precision}):
                with kernels.use(**setting):
                    rounded, ran = passes(cupy)
                    assert ran == [precision] * 3
                    for one, other in zip(rounded, exact, strict=True):
                        assert one.dtype == np.float32
                        assert 0 < np.abs(one - other).max() < 20 * ROUNDING[precision]
                    assert passes(cupy, np.float64)[1] == ["gemm"] * 3
        monkeypatch.setattr(tensor, "capability", lambda: 75)
        for precision, algorithm in (("bf16", "gemm"), ("fp16", "fp16")):
            with kernels.use(precision=precision):
                assert passes(cupy)[1] == [algorithm] * 3


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sum_in_parts(cupy, monkeypatch, dtype):
    """Equal to the sum in one part but for rounding, and the same bits each time."""
    A, B, bias = normal("A", (5, 500), dtype), normal("B", (500, 9), dtype), normal("bias", 9, dtype)
    given = [cupy.asarray(X) for X in (A, B, bias)]
    for least in (500, 100, 3):
        monkeypatch.setattr(gemm, "K_OF_PART", least)
        tile = gemm.tile_for(5, 9, 500, dtype)
        number, of_part = gemm.parts_for(tile, 5, 9, 500)
        assert number == {500: 1, 100: 5, 3: -(-500 // tile.BK)}[least]
        assert (number - 1) * of_part < 500 <= number * of_part
        result = gemm.product(*given).get()
        assert close(result, A, B, bias)
        assert close(gemm.product(*given[:2]).get(), A, B)
        np.testing.assert_array_equal(gemm.product(*given).get(), result)


def test_sums_of_nothing_and_results_without_numbers(cupy):
    bias = cupy.asarray(normal("bias", 3))
    empty = gemm.product(cupy.zeros((2, 0)), cupy.zeros((0, 3)), bias)
    np.testing.assert_array_equal(empty.get(), [bias.get()] * 2)
    assert gemm.product(cupy.zeros((0, 5)), cupy.zeros((5, 3))).shape == (0, 3)


@pytest.mark.parametrize(
    ("M", "N", "K", "tile", "parts"),
    [
        pytest.param(64, 4096, 25088, (64, 128), 32, id="VGG-16's first, a batch of 64"),
        pytest.param(4096, 25088, 64, (128, 128), 1, id="the gradient to its weights"),
        pytest.param(64, 25088, 4096, (64, 128), 5, id="the gradient to its input"),
        pytest.param(1, 4096, 25088, (32, 32), 16, id="a batch of one"),
        pytest.param(64, 1000, 2048, (32, 32), 16, id="ResNet-50's only one"),
        pytest.param(64, 120, 400, (32, 32), 3, id="LeNet-5's first"),
        pytest.param(120, 400, 64, (32, 32), 1, id="the gradient to its weights, too"),
    ],
)
def test_what_a_layer_takes(M, N, K, tile, parts):
    """Large results take large tiles, flat ones flat tiles; and small ones are cut into parts."""
    chosen = gemm.tile_for(M, N, K, np.float32)
    assert tile == (chosen.BM, chosen.BN)
    assert gemm.parts_for(chosen, M, N, K)[0] == parts
