"""Every CUDA source, with all that launchers may ask of it, through NVIDIA's compiler: it needs no GPU."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are no part of the package

from benchmarks import cuda_resources, nvrtc, problem
from minicnn.kernels import registered
from minicnn.kernels.cuda import tensor
from minicnn.kernels.cuda.compiling import declared
from minicnn.kernels.cuda.sources import HERE, source

registered("cuda")  # imports all that declare sources

needs_nvrtc = pytest.mark.skipif(nvrtc.library() is None, reason="needs NVRTC: pip install nvidia-cuda-nvrtc")

MAY_SPILL = {"gather": 16, "grad_input": 8}
"""Kernels of which a few bytes, so many, are known not to fit: better than half as many threads."""


def name(file, constants):
    return " ".join([file, *(f"{key}={value}" for key, value in constants)])


def every_source():
    """Each file for each architecture; with the rest of its constants for one of them, for others if slow."""
    seen = set()
    for file, constants in declared():
        table = dict(constants)
        tile = tensor.Tile(*(table[name] for name in tensor.Tile._fields)) if "FP16" in table else None
        for architecture in nvrtc.ARCHITECTURES:
            if tile and not tensor.fits(tile, int(architecture.removeprefix("sm_"))):
                continue
            first = file not in seen or architecture == "sm_90"
            yield pytest.param(
                *(file, constants, architecture),
                id=f"{name(file, constants)}-{architecture}",
                marks=() if first else pytest.mark.slow,
            )
        seen.add(file)


@needs_nvrtc
@pytest.mark.parametrize(("file", "constants", "architecture"), list(every_source()))
def test_sources_compile(file, constants, architecture):
    """Without a warning, and with all of a thread's numbers in registers."""
    needs, said = nvrtc.compiled(source(file, constants), architecture)
    assert not said
    for kernel in needs:
        assert kernel.shared <= 48 * 1024
        assert kernel.spilled <= MAY_SPILL.get(kernel.kernel, 0), kernel
        assert kernel.stack <= kernel.spilled, kernel


@needs_nvrtc
def test_what_older_gpus_have():
    """On sm_75 tensor cores know float16, and nothing else: those files are empty."""
    for file in ("conv_tensor.cu", "gemm_tensor.cu"):
        tables = [dict(constants) for name, constants in declared() if name == file]
        for precision in ("BF16", "FP16"):
            table = next(table for table in tables if table[precision])
            needs, said = nvrtc.compiled(source(file, tuple(table.items())), "sm_75")
            assert not said
            assert bool(needs) == (precision == "FP16")


def test_every_source_is_declared():
    assert {file for file, _ in declared()} == {path.name for path in HERE.glob("*.cu")}


@needs_nvrtc
def test_errors_and_warnings_are_told():
    with pytest.raises(RuntimeError, match='identifier "nonsense" is undefined'):
        nvrtc.compiled('extern "C" __global__ void k() { nonsense; }', "sm_80")
    _, said = nvrtc.compiled('extern "C" __global__ void k() { int unused; }', "sm_80")
    assert 'variable "unused" was declared but never referenced' in said


@needs_nvrtc
def test_what_a_kernel_needs():
    """Shared memory as declared; an array with an index that is known only at run time is in local memory."""
    text = """
    extern "C" __global__ void k(float *x, int n) {
        __shared__ float shared[100];
        float local[40];
        for (int i = 0; i < 40; ++i)
            local[(i * n) % 40] = x[i];
        shared[threadIdx.x] = local[n];
        __syncthreads();
        x[0] = shared[n];
    }
    """
    for architecture in nvrtc.ARCHITECTURES:
        (needs,), said = nvrtc.compiled(text, architecture)
        assert needs.kernel == "k"
        assert needs.shared == 400
        assert needs.stack == 160
        assert 8 <= needs.registers <= 80
        assert not said


@needs_nvrtc
def test_the_table_of_what_kernels_need(capsys):
    """Every number is there, however narrow the terminal."""
    cuda_resources.main(["sm_80", "--only", "cat.cu", "conv_shared.cu"])
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    expected = [
        (needs.kernel, needs.registers, needs.shared, needs.stack, needs.spilled)
        for file, constants in declared()
        if file in ("cat.cu", "conv_shared.cu")
        for needs in nvrtc.compiled(source(file, constants), "sm_80")[0]
    ]
    found = [(row[2], *(int(cell.replace(",", "")) for cell in row[3:7])) for row in rows if row[2]]
    assert found == expected
    assert {row[0] for row in rows} == {"cat.cu", "conv_shared.cu", ""}
    assert {"V=1 real=float", "V=4 real=float", "V=1 real=double", "V=2 real=double"} <= {
        row[1] for row in rows
    }
    with pytest.raises(problem.Problem, match="architecture 'sm_60' is not one of sm_75"):
        cuda_resources.main(["sm_60"])
    with pytest.raises(problem.Problem, match="--only: 'cats.cu' is unknown; did you mean 'cat.cu'"):
        cuda_resources.main(["--only", "cats.cu"])
