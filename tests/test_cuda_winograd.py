"""Winograd's convolution by CUDA kernels, beyond the cases of test_conv.py: parts of a batch, and choices."""

import numpy as np
import pytest
from cases import DTYPES, conv, named, normal
from emulator.use import cupy
from test_cuda_conv import PARTS, compare, on_device, parts, sabotage, window

import minicnn as mc
from minicnn import cuda_graphs, kernels
from minicnn import functional as F
from minicnn.kernels.cuda import gemm, winograd
from minicnn.kernels.cuda.sources import source

__all__ = ["cupy"]  # a fixture

CASES = [
    conv("tiles cut off", (3, 9, 13, 17), (70, 9, 3, 3), padding=1),
    conv("whole tiles, results four at once", (2, 5, 8, 12), (33, 5, 3, 3), padding=1),
    conv("no padding, a tile is larger than the image", (5, 40, 4, 5), (6, 40, 3, 3)),
    conv("padding on all sides", (2, 3, 6, 10), (4, 3, 3, 3), padding=((2, 0), (1, 2))),
]
ROUNDING = {np.dtype(np.float32): 2e-5, np.dtype(np.float64): 4e-14}
"""Of a sum's size: some twenty times what the other kernels have, as values at points grow."""

RAN_BY = 3 * ["winograd"]


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", named(CASES))
def test_tiles_in_parts_and_all_together(cupy, monkeypatch, case, dtype, few):
    """As many tiles at a time as are allowed, and no more."""
    widths, products = [], gemm.products

    def record(A, B, **settings):
        widths.append(B.shape[2])
        return products(A, B, **settings)

    monkeypatch.setattr(gemm, "products", record)
    if few:
        monkeypatch.setattr(winograd, "CACHE", 0)
        monkeypatch.setattr(winograd, "FEWEST", 7)
    compare(cupy, case, "winograd", dtype, ROUNDING[np.dtype(dtype)], RAN_BY)
    if few:
        assert set(widths) <= {4, 8}  # 7 is brought to a multiple of four, as is what is left
        assert len(widths) > 3
    else:
        assert len(widths) == 3


SWAPPED = "*values = results[point % POINTS][point / POINTS]"


@pytest.mark.parametrize(
    ("case", "right", "wrong"),
    [
        (CASES[0], "*values = results[point / POINTS][point % POINTS]", SWAPPED),
        (CASES[0], "m[i][k] * x[k][j]", "m[i][k] * x[k][COLUMNS - 1 - j]"),
        (CASES[0], "turned ? 8 - i * 3 - j", "turned ? i * 3 + j"),
        (CASES[0], "tile.at.row * M - top", "tile.at.row * M"),
        (CASES[0], "if (ow + j < OW)", "if (ow + j <= OW)"),
        (CASES[2], "inside && unsigned(h + i)", "unsigned(h + i)"),  # five tiles, and place for eight
    ],
)
def test_every_index_matters(cupy, monkeypatch, case, right, wrong):
    assert source(winograd.FILE).count(right) == 1
    sabotage(monkeypatch, lambda text: text.replace(right, wrong))
    with pytest.raises((AssertionError, RuntimeError)):
        test_tiles_in_parts_and_all_together(cupy, monkeypatch, case, np.float32, False)


@pytest.mark.parametrize("bounds", [(0.0, np.inf), (-1.0, 1.0)])
def test_results_clipped_on_the_way(cupy, bounds):
    case = CASES[1]
    with kernels.use("cuda", conv2d="winograd"):
        y = on_device(cupy, "conv2d.forward", *case.arrays(np.float32), window(case))
        given = (*case.arrays(np.float32), window(case), bounds)
        clipped = on_device(cupy, "conv2d.forward_clipped", *given)
    assert (y < bounds[0]).any()
    np.testing.assert_array_equal(clipped, np.clip(y, *bounds))


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        pytest.param((64, 64), (56, 56), True, id="ResNet's first"),
        pytest.param((512, 512), (7, 7), True, id="its last: tiles of 4 on 7 pixels waste a quarter"),
        pytest.param((16, 16), (32, 32), False, id="ResNet-20's first: more memory than arithmetic"),
        pytest.param((32, 32), (16, 16), False, id="its second, by little"),
        pytest.param((64, 3), (224, 224), False, id="VGG's first"),
        pytest.param((8192, 8192), (56, 56), False, id="more filters than kernels can count"),
        pytest.param((256, 256), (2, 2), False, id="a tile that is larger than the image"),
    ],
)
def test_where_it_pays(shape, size, expected):
    assert winograd.pays(*shape, size) == expected


@pytest.mark.parametrize(
    ("setting", "dtype", "w", "ran_by"),
    [
        pytest.param({}, np.float32, (48, 40, 3, 3), RAN_BY, id="exact"),
        pytest.param({}, np.float64, (48, 40, 3, 3), 3 * ["tiled"], id="float64"),
        pytest.param({"precision": "tf32"}, np.float32, (48, 40, 3, 3), 3 * ["tf32"], id="tensor cores"),
        pytest.param({"forbid": "winograd"}, np.float32, (48, 40, 3, 3), 3 * ["tiled"], id="forbidden"),
        pytest.param({}, np.float32, (48, 40, 5, 5), 3 * ["tiled"], id="5x5"),
        pytest.param({"precision": "bf16"}, np.float32, (48, 3, 3, 3), ["first", "naive", "bf16"], id="rgb"),
        pytest.param({"precision": "bf16"}, np.float32, (48, 3, 7, 7), ["bf16", "naive", "bf16"], id="7x7"),
        pytest.param({}, np.float32, (48, 3, 7, 7), ["tiled", "naive", "tiled"], id="7x7, exact"),
    ],
)
def test_when_it_is_taken(cupy, setting, dtype, w, ran_by):
    g = kernels.Window(w[2:], padding=((1, 1), (1, 1)))
    arrays = [normal("x", (2, w[1], 12, 12), dtype), normal("w", w, dtype)]
    with kernels.use("cuda", **setting), kernels.trace() as ran:
        parts(lambda *args: on_device(cupy, *args), arrays, g)
    assert ran == [(part, "cuda", name) for part, name in zip(PARTS, ran_by, strict=True)]


def test_in_a_graph(cupy, monkeypatch):
    """Several parts of the tiles, one after another, in memory that the graph uses again."""
    monkeypatch.setattr(winograd, "CACHE", 0)
    monkeypatch.setattr(winograd, "FEWEST", 7)
    x, w = (mc.tensor(one, device="cuda", requires_grad=True) for one in CASES[0].arrays(np.float32)[:2])
    gy = mc.tensor(normal("gy", (3, 70, 13, 17), np.float32), device="cuda")

    def work():
        x.grad = w.grad = None
        F.conv2d(x, w, padding=1).backward(gy)
        return (x.grad.sum(), w.grad.sum())

    with kernels.use("cuda", conv2d="winograd"), kernels.trace() as ran:
        work()
        expected = x.grad.get(), w.grad.get()
        graph = cuda_graphs.capture(work)
    assert {one.algorithm for one in ran} == {"winograd"}
    for _ in range(2):
        graph.launch()
        np.testing.assert_array_equal(x.grad.get(), expected[0])
        np.testing.assert_array_equal(w.grad.get(), expected[1])
