"""What the compiler makes of the CUDA kernels' inner loops, for which no GPU is needed."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are no part of the package

from benchmarks import nvrtc, sass
from minicnn.kernels.cuda import conv_tensor, conv_tiled, gemm, tensor
from minicnn.kernels.cuda.sources import REAL, source

pytestmark = pytest.mark.skipif(
    nvrtc.library() is None or sass.disassembler() is None,
    reason="needs NVRTC and nvdisasm: pip install nvidia-cuda-nvrtc nvidia-cuda-nvdisasm",
)

ARCHITECTURE = "sm_90"


def loops(file, table):
    constants = tuple(sorted((table | {"real": REAL["float32"]}).items()))
    return sass.loops(source(file, constants), ARCHITECTURE)


def test_the_loop_that_multiplies_most():
    """Not the first loop, nor the one around it; a kernel without any is not listed."""
    text = """
    extern "C" __global__ void k(float *x, int n) {
        float sum = x[0];
    #pragma unroll 1
        for (int i = 0; i < n; ++i)
            x[i] = 0;
    #pragma unroll 1
        for (int i = 0; i < n; ++i) {
            float of_i = x[i];
    #pragma unroll
            for (int j = 0; j < 20; ++j)
                sum = sum * of_i + x[j];
        }
        x[0] = sum;
    }
    extern "C" __global__ void none(float *x) { x[threadIdx.x] *= 2; }
    """
    for architecture in nvrtc.ARCHITECTURES:
        found = sass.loops(text, architecture)
        assert list(found) == ["k"]
        assert found["k"].multiplications == 20
        assert 22 < found["k"].instructions < 60


TILES = [
    pytest.param(tile, said, id=f"{precision}-{tile.BM}x{tile.BN}")
    for precision, tiles in tensor.TILES.items()
    for tile, said in tiles.items()
]


@pytest.mark.parametrize(("tile", "said"), TILES)
def test_instructions_for_each_product_of_fragments(tile, said):
    """As the table says by which tiles are chosen; a few more or less with another compiler."""
    loop = loops("conv_tensor.cu", conv_tensor.constants(tile, (True, False)))["gather"]
    assert loop.instructions / loop.multiplications == pytest.approx(said, rel=0.1)


@pytest.mark.parametrize("name", ["gather", "grad_weight"])
def test_four_of_five_instructions_multiply(name):
    """In the exact convolutions, and in the product of matrices: 79 to 82 %."""
    large, largest = conv_tiled.TILES["float32"][0], gemm.TILES["float32"][0]._asdict()
    found = [loops("conv_tiled.cu", large._asdict())[name]]
    found += [loops("gemm.cu", largest | layout)["gemm"] for layout in gemm.LAYOUTS]
    for loop in found:
        assert loop.multiplications >= large.BK * large.TM * large.TN
        assert loop.multiplications > 0.77 * loop.instructions
