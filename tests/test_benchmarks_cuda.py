"""The benchmarks that need a GPU, on the emulated one: that they run and say what is wrong, not how fast."""

import doctest
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from emulator import use
from emulator.use import cupy

from minicnn import backend
from minicnn.kernels.registry import PRECISIONS

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the benchmarks are no part of the package

from benchmarks import all_cuda, cuda_compile, cuda_layers, cuda_steps, gpu, machine, problem, report, results
from benchmarks.contenders import KINDS, TORCH_CUDA
from benchmarks.contenders.contender import Base
from benchmarks.layers import LAYERS, PARTS, Layer
from benchmarks.networks import NETWORKS
from benchmarks.problem import Problem

__all__ = ["cupy"]  # a fixture

ROOT = Path(__file__).resolve().parents[1]
AS_CUPY = Path(__file__).parent / "emulator" / "as_cupy"
OURS = "minicnn_cuda"


class Here:
    """A worker without a process: the contender computes in this one."""

    absent = TORCH_CUDA

    def __init__(self, kind, threads, backend):
        self.kind, self.label = kind, KINDS[kind].label
        self.restart()

    def restart(self):
        if self.kind in self.absent:
            self.contender = None
        elif self.kind == OURS:
            from benchmarks.contenders import with_minicnn_cuda

            self.contender = with_minicnn_cuda.Contender("cuda")
        else:
            from benchmarks.contenders import with_torch_cuda

            self.contender = with_torch_cuda.Contender("cuda", KINDS[self.kind].options["layout"])

    def call(self, command, **given):
        if self.contender is None:
            raise Problem(f"{self.label}: {command}: there is none")
        assert command in self.contender.COMMANDS
        given = json.loads(json.dumps(given))
        return json.loads(json.dumps(getattr(self.contender, command)(**given)))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
def here(cupy, monkeypatch):
    """Contenders in this process, on the emulated GPU."""
    if use.kind() == "GPU":
        pytest.skip("the benchmarks themselves run there")
    monkeypatch.setattr(cuda_layers, "Worker", Here)
    monkeypatch.setattr(cuda_layers, "LAYERS", {"tiny": Layer(2, 3, 6, 4, 3, padding=1)})
    import minicnn as mc

    with mc.use("cuda", precision="fp32"):
        yield cupy


def rows_of(folder, name):
    return results.load(f"cuda-emulated-on-the-cpu-{name}", folder).rows


def test_layers(here, tmp_path, capsys):
    asked = ["--quick", "--out", str(tmp_path), "--passes", "forward", "grad_weight", "--only", "tiny"]
    asked += ["--precisions", *PRECISIONS]
    cuda_layers.main(asked)
    rows = rows_of(tmp_path, "layers")
    for precision in PRECISIONS:
        for part in ("forward", "grad_weight"):
            mine = [row for row in rows if (row["precision"], row["pass"]) == (precision, part)]
            algorithms = {row["algorithm"] for row in mine}
            exact = {"naive", "shared", "tiled", "winograd"} | ({"first"} if part == "forward" else set())
            assert algorithms == {"auto"} | (exact if precision == "fp32" else {precision})
            for row in mine:
                assert row["ms"] > 0 < row["gbs"]
                assert row["of_gemm"] == pytest.approx(row["tflops"] / row["gemm"], rel=1e-4)
                assert row["error"] < {"fp32": 3e-6, "tf32": 1e-3, "bf16": 1e-2, "fp16": 1e-3}[precision]
                assert row["ran"].startswith("cuda:")
    assert "left out: PyTorch: describe: there is none" in capsys.readouterr().out


def test_a_wrong_kernel_is_not_timed_and_the_next_layer_is(here, tmp_path, monkeypatch, capsys):
    right = cuda_layers.Worker.call

    def call(self, command, **given):
        found = right(self, command, **given)
        wrong = command == "choose" and self.contender.shape.K == 3
        return found | {"error": 0.5} if wrong else found

    monkeypatch.setattr(Here, "call", call)
    asked = ["--quick", "--out", str(tmp_path), "--passes", "forward", "--precisions", "fp32"]
    layers = {"wrong": Layer(2, 3, 5, 4, 3), "right": Layer(2, 3, 5, 4, 1)}
    monkeypatch.setattr(cuda_layers, "LAYERS", layers)
    with pytest.raises(
        Problem, match=r"1 went wrong: wrong in fp32: forward: minicnn auto is wrong by 5.0e-01"
    ):
        cuda_layers.main([*asked, "--only", "*"])
    assert {row["layer"] for row in rows_of(tmp_path, "layers")} == {"right"}


@pytest.mark.parametrize("part", PARTS)
def test_errors_are_found_anywhere_in_a_batch(here, part, tmp_path):
    layer, truth = Layer(6, 2, 5, 3, 3, padding=1), str(tmp_path / "truth.npz")
    worker = Here(OURS, 1, "cuda")
    worker.call("reference", layer=layer, path=truth)
    worker.call("layer", layer=layer, truth=truth)
    contender = worker.contender
    result = contender.kernel(part, "naive")()
    with np.load(truth) as true:
        assert contender.error(result, true[part], part) < 1e-6
        for spoiled in (np.nan, 1e3):
            result[-1, -1, -1, -1] = spoiled
            assert not contender.error(result, true[part], part) < 0.1


def test_a_batch_comes_in_pairs(here):
    worker = Here(OURS, 1, "cuda")
    with pytest.raises(ValueError, match="a batch of 3, but an even one is expected"):
        worker.call("layer", layer=Layer(3, 1, 4, 1, 3), truth="")
    with pytest.raises(Problem, match="--batch 7, but an even number"):
        cuda_layers.main(["--batch", "7"])


def test_steps(here, tmp_path):
    cuda_steps.main(["--quick", "--out", str(tmp_path), "--precisions", "tf32"])
    rows = rows_of(tmp_path, "steps")
    assert [(row["network"], row["precision"], row["way"], row["batch"]) for row in rows] == [
        ("lenet5", "tf32", "step", 2),
        ("lenet5", "tf32", "captured", 2),
    ]
    assert all(row["images_per_s"] > 0 and row["ratio"] is None for row in rows)
    assert rows[0]["peak_mb"] > 0
    assert rows[1]["peak_mb"] is None


def test_a_network_that_cannot_be_captured_is_launched_all_the_same(here, monkeypatch):
    from benchmarks.contenders import with_minicnn_cuda

    def refuse(*_):
        raise backend.CaptureError("it rolls dice")

    monkeypatch.setattr(with_minicnn_cuda, "capture", refuse)
    worker = Here(OURS, 1, "cuda")
    options = {"channels": 2, "depth": 1, "size": 5}
    worker.call("build", task="train", network="stack", batch=2, options=options)
    worker.call("check")
    assert worker.call("ways") == {"step": "", "captured": "it rolls dice"}


@pytest.mark.oracle
def test_pytorchs_side(here, tmp_path, monkeypatch):
    """On the CPU, with what PyTorch has for a GPU alone in words of the emulated one."""
    torch = pytest.importorskip("torch")
    from benchmarks.contenders import with_torch_cuda

    class Event(here.cuda.Event):
        def __init__(self, enable_timing):
            super().__init__()

        def elapsed_time(self, end):
            return here.cuda.get_elapsed_time(self, end)

    names = {"is_available": lambda: True, "get_device_name": lambda: "none", "synchronize": lambda: None}
    names |= {"empty_cache": lambda: None, "reset_peak_memory_stats": lambda: None}
    for name, stand_in in (names | {"Event": Event, "max_memory_reserved": lambda: 1 << 20}).items():
        monkeypatch.setattr(torch.cuda, name, stand_in)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(with_torch_cuda, "DEVICE", "cpu")
    monkeypatch.setattr(Here, "absent", ())
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    asked = ["--quick", "--out", str(tmp_path), "--precisions", "bf16"]
    cuda_layers.main([*asked, "--passes", "grad_weight", "--only", "tiny"])
    layers = {(row["contender"], row["algorithm"]): row for row in rows_of(tmp_path, "layers")}
    assert layers[OURS, "auto"]["ratio"] > 0
    assert {kind for kind, _ in layers} == {OURS, *TORCH_CUDA}
    cuda_steps.main(asked)
    steps = rows_of(tmp_path, "steps")
    assert len(steps) == 4
    assert all((row["ratio"] is None) == (row["contender"] != OURS) for row in steps)
    assert "| lenet5 (2) | bf16 | " in report.report_cuda.section(tmp_path)


# The script that does everything


def fake_step(code, limit=20):
    command = code if code.startswith("no ") else [sys.executable, "-c", code]
    return all_cuda.Step(limit, lambda quick, out: command)


@pytest.fixture
def steps(monkeypatch):
    """Four steps that end in all ways there are, on a GPU that is made up."""
    made = {
        "good": fake_step("import os; print('all is well with', os.environ['MINICNN_BACKEND'])"),
        "bad": fake_step("print('alas'); raise SystemExit(3)"),
        "absent": fake_step("no tool"),
        "endless": fake_step("import time; print('started', flush=True); time.sleep(100)", limit=1),
        "last": fake_step("print('the last')"),
    }
    monkeypatch.setattr(all_cuda, "STEPS", made)
    monkeypatch.setattr(all_cuda, "environment", lambda: {"name": "NVIDIA Imaginary 1"})
    return str(sum(step.limit for step in made.values()) / 60)


def test_every_step_is_taken_whatever_happens_to_others(steps, tmp_path, capsys):
    start = time.monotonic()
    assert problem.ended(all_cuda.main, ["--out", str(tmp_path), "--minutes", steps]) == 1
    assert time.monotonic() - start < 20
    said = capsys.readouterr()
    assert said.err == "benchmarks: 2 of 5 steps failed: bad, endless\n"
    kept = json.loads((tmp_path / "cuda-imaginary-1-checks.json").read_text())
    assert kept["machine"]["gpu"] == "NVIDIA Imaginary 1"
    assert [(step["step"], step["outcome"], step["last"]) for step in kept["steps"]] == [
        ("good", "passed", "all is well with cuda"),
        ("bad", "failed", "alas"),
        ("absent", "left out", "no tool"),
        ("endless", "failed", "stopped after 1 s, its limit; started"),
        ("last", "passed", "the last"),
    ]
    assert (tmp_path / "logs" / "endless.log").read_text() == "started\n"
    assert "all is well" in said.out.partition("== bad")[0], "shown as it comes"


def test_all_is_well_if_nothing_failed(steps, tmp_path):
    assert problem.ended(all_cuda.main, ["--only", "good", "absent", "--out", str(tmp_path)]) == 0
    assert problem.ended(all_cuda.main, ["--only", "wood"]) == 1


@pytest.mark.skipif(use.kind() == "GPU", reason="there is a GPU")
@pytest.mark.parametrize("script", [all_cuda, cuda_compile, cuda_layers, cuda_steps])
def test_without_a_gpu_it_says_so(script, capsys):
    assert problem.ended(script.main, ["--quick"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("benchmarks: nothing can be measured here: CuPy is ")
    assert said.count("\n") == 1


def test_the_commands_name_what_there_is(tmp_path):
    for name in (
        *all_cuda.OF_THE_CPU,
        *(Path(path).stem for path in all_cuda.KERNEL_TESTS),
        Path(all_cuda.QUICK[0]).stem,
    ):
        assert (ROOT / "tests" / f"{name}.py").is_file(), name
    for name in ("steps", "layers", "compile"):
        assert Path(all_cuda.STEPS[name].command(False, tmp_path)[1]).is_file()
    assert set(cuda_steps.BATCHES) <= set(NETWORKS)


def test_the_sanitizer_is_found_in_nvidias_package(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setenv("CUDA_PATH", str(tmp_path / "nowhere"))
    assert all_cuda.find_sanitizer() is None
    assert "is not installed" in all_cuda.sanitized("memcheck")(False, tmp_path)
    tool = tmp_path / "nvidia" / "cu13" / "bin" / "compute-sanitizer"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert all_cuda.find_sanitizer() == str(tool)
    assert all_cuda.sanitized("racecheck")(False, tmp_path)[:2] == [str(tool), "--tool=racecheck"]


@pytest.mark.slow
@pytest.mark.skipif(use.kind() == "GPU", reason="there it is run for what it measures")
def test_everything_from_end_to_end(tmp_path):
    """In processes that find the emulated CuPy under CuPy's name."""
    if not use.kind():
        pytest.skip(use.MISSING)
    asked = [sys.executable, str(ROOT / "benchmarks" / "all_cuda.py"), "--quick", "--out", str(tmp_path)]
    environment = dict(os.environ, PYTHONPATH=str(AS_CUPY), MINICNN_QUIET="1")
    done = subprocess.run(asked, capture_output=True, text=True, env=environment, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    kept = json.loads((tmp_path / "cuda-emulated-on-the-cpu-checks.json").read_text())
    assert {step["step"] for step in kept["steps"]} == set(all_cuda.STEPS)
    assert len(rows_of(tmp_path, "steps")) == 6
    assert len(rows_of(tmp_path, "layers")) == 24


# Words


def test_examples_in_docstrings():
    assert doctest.testmod(gpu).failed == 0


def test_the_page_gets_a_part_for_each_gpu(tmp_path):
    folder, readme = tmp_path / "benchmarks" / "results", tmp_path / "benchmarks" / "README.md"
    folder.mkdir(parents=True)
    shutil.copy(ROOT / "README.md", tmp_path)
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    empty = re.sub(
        r"(<!-- benchmark:cuda -->\n).*?(<!-- /benchmark:cuda -->)", r"\1\2", text, flags=re.DOTALL
    )
    readme.write_text(empty, encoding="utf-8")
    report.write(tmp_path, folder)
    assert readme.read_text(encoding="utf-8") == empty, "nothing is measured, so nothing is said"
    for name in ("NVIDIA One", "NVIDIA Two"):
        about = {"name": name, "cupy": "14.2", "nvrtc": "13.0", "driver_version": "580.1", "cudnn": 91000}
        described = machine.describe(1, "cuda") | {"gpu": name, "gpu_details": about}
        rows = [
            step_row(OURS, "step", 4.0),
            step_row(OURS, "captured", 2.0),
            step_row(TORCH_CUDA[1], "step", 3.0),
        ]
        results.save(f"cuda-{gpu.slug(name)}-steps", rows, described, cuda_steps.KEY, folder)
        both = [(layer, kind) for layer in ("vgg-conv3_2", DEPTHWISE) for kind in (OURS, TORCH_CUDA[0])]
        layers = [layer_row(*one) for one in both]
        results.save(f"cuda-{gpu.slug(name)}-layers", layers, described, cuda_layers.KEY, folder)
    report.write(tmp_path, folder)
    text = readme.read_text(encoding="utf-8")
    assert text.index("### NVIDIA One") < text.index("### NVIDIA Two")
    assert "| lenet5 (64) | fp32 | 16,000 | 32,000 | 21,300 (cl) | 0.67 (0.60 to 0.70) | 100 | 100 |" in text
    assert "| tiled 40 (80%), 40, 1.25 | – | – |" in text
    assert "| tiled 3,000 (75%), 3,000, 1.25 | – | – |" in text
    assert "In fp32 cuBLAS reached 50 TFLOP/s, and a copy 4,000 GB/s." in text
    assert "NVIDIA Two, driver 580.1, CuPy 14.2, NVRTC 13.0, cuDNN 91000; " in text


DEPTHWISE = "mobilenet-depthwise"
assert LAYERS[DEPTHWISE].groups > 1


def step_row(kind, way, ms):
    ratios = {"ratio": ms / 3, "ratio_low": 0.6, "ratio_high": 0.7, "against": TORCH_CUDA[1]}
    row = {"network": "lenet5", "precision": "fp32", "contender": kind, "way": way, "batch": 64, "ms": ms}
    row |= ratios if kind == OURS else dict.fromkeys(ratios)
    peak = 100.0 if way == "step" else None
    return row | {"images_per_s": 64e3 / ms, "peak_mb": peak, "date": "2026-01-02", "commit": "abc"}


def layer_row(layer, kind):
    row = {"layer": layer, "shape": "a shape", "pass": "forward", "precision": "fp32", "contender": kind}
    row |= {"algorithm": "auto" if kind == OURS else "its own", "ran": "cuda:tiled" if kind == OURS else ""}
    row |= {
        "ms": 1.0,
        "tflops": 40.0,
        "gemm": 50.0,
        "of_gemm": 0.8,
        "gbs": 3000.0,
        "copy": 4000.0,
        "of_copy": 0.75,
    }
    return row | {"ratio": 1.25 if kind == OURS else None, "date": "2026-01-02", "commit": "abc"}


def test_every_command_is_there():
    """What the parent asks for, both contenders know."""
    from benchmarks.contenders.on_gpu import OnGPU

    text = "".join((ROOT / "benchmarks" / f"cuda_{name}.py").read_text() for name in ("layers", "steps"))
    asked = set(re.findall(r"call\(\s*\"(\w+)\"", text)) - {"algorithms", "reference"}
    assert asked <= set(OnGPU.COMMANDS)
    assert set(Base.COMMANDS) < set(OnGPU.COMMANDS)
