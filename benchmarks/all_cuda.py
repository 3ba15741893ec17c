"""Everything that needs a GPU, in about ten minutes: is it right, and how fast is it?

On a fresh machine with an NVIDIA driver and Python, in a checkout of this repository:

    python3 -m venv .venv && . .venv/bin/activate
    pip install -e '.[cuda12,test]' torch torchvision nvidia-cuda-sanitizer-api-cu12
    python benchmarks/all_cuda.py

or with cuda13 and nvidia-cuda-sanitizer-api, where the driver is for CUDA 13 (`nvidia-smi` says which).
PyTorch and the sanitizer may be left out, and then so is what needs them, visibly.

Each step is a process of its own with a time limit, and the next one comes whatever happened to it:

    environment   the GPU, its driver and clocks, and the versions of what computes there
    compile       every kernel, on all cores, into CuPy's cache
    tests         the test suite with all tensors on the GPU
    gradients     every gradient against finite differences, by the CUDA kernels
    parity        values and gradients of operations and layers against PyTorch's, on the GPU where it can
    memcheck      the kernels' tests watched by compute-sanitizer: nothing is read or written out of bounds,
    racecheck     and no two threads meet in shared memory
    steps         training steps beside PyTorch: cuda_steps.py
    layers        convolution layers beside PyTorch and the GPU's ceilings: cuda_layers.py

What they said is kept in logs/ beside the results; how they ended, as each does, in cuda-GPU-checks.json.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

from benchmarks import gpu, machine
from benchmarks.contenders import is_installed
from benchmarks.options import basic, chosen, parse_basic, positive
from benchmarks.problem import Problem, ended, write_whole
from benchmarks.workers import Worker

PYTEST = (sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
OF_THE_CPU = (
    *("test_augment", "test_augment_command", "test_benchmarks", "test_benchmarks_training", "test_cifar"),
    *("test_cuda_on_cpu", "test_data", "test_download", "test_emulator", "test_explain_browser"),
    *("test_explain_network_browser", "test_folder", "test_house", "test_idx", "test_images", "test_loader"),
    *("test_mnist", "test_numba", "test_nvrtc", "test_preprocess", "test_sass", "test_threads"),
    *("test_weights_hostile", "test_weights_keras", "test_winograd", "test_workers"),
    "test_parity",  # which is a step of its own
)
TESTED = ("conv", "winograd", "linear", "tensor", "pool", "norm", "lrn", "cat", "optim")
KERNEL_TESTS = [f"tests/test_cuda_{name}.py" for name in TESTED]
QUICK = ("tests/test_cuda_norm.py", "-k", "test_a_constant_has_no_variance")
WITHOUT_POOL = "import cupy, pytest, sys; cupy.cuda.set_allocator(None); sys.exit(pytest.main(sys.argv[1:]))"
"""A pool gives arrays that lie side by side in one piece of memory: nothing beside them is out of bounds."""


class Step(NamedTuple):
    """A step: its time limit in seconds, and its command, or why it is left out."""

    limit: int
    command: Callable[[bool, Path], list[str] | str]


def main(arguments: list[str]) -> None:
    """Take every step; Problem at the end if one failed."""
    made = basic(__doc__, f"steps ({', '.join(STEPS)})")
    made.add_argument("--minutes", type=positive, default=10, help="for all steps together, at most (10)")
    given = parse_basic(made, arguments)
    names = chosen(STEPS, given.only)
    about = environment()
    share = given.minutes * 60 / sum(STEPS[name].limit for name in names)
    done: list[dict[str, Any]] = []
    with folder_for(given.out) as out:
        for name in names:
            limit = STEPS[name].limit * share
            done.append({"step": name} | take(name, given.quick, out, limit))
            kept = {"machine": gpu.machine_with(about), "date": machine.today(), "commit": machine.commit()}
            file = out / f"cuda-{gpu.slug(about['name'])}-checks.json"
            write_whole(file, json.dumps(kept | {"steps": done}, indent=2, ensure_ascii=False) + "\n")
    print("\n== summary")
    for step in done:
        print(f"{step['step']:12} {step['seconds']:6.0f} s  {step['outcome']}: {step['last']}")
    if failed := [step["step"] for step in done if step["outcome"] == "failed"]:
        raise Problem(f"{len(failed)} of {len(done)} steps failed: {', '.join(failed)}")


def environment() -> dict[str, Any]:
    """What there is; Problem where there is no GPU."""
    gpu.require()
    with Worker("minicnn_cuda", len(machine.cores()), "cuda") as worker:
        about = worker.call("describe")
    print("== environment")
    for name, value in about.items():
        print(f"{name:20} {value}")
    for name, version in machine.describe(len(machine.cores()), "cuda")["libraries"].items():
        print(f"{name:20} {version}")
    return about


@contextmanager
def folder_for(out: Path | None) -> Iterator[Path]:
    """The folder for results, or for --quick without one, a folder that does not stay."""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        yield out.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="minicnn-benchmark-") as folder:
        yield Path(folder)


def take(name: str, quick: bool, out: Path, limit: float) -> dict[str, Any]:
    """One step: how it ended, its seconds, and the last line that it said."""
    command = STEPS[name].command(quick, out)
    print(f"\n== {name}", flush=True)
    if isinstance(command, str):
        print(f"left out: {command}")
        return {"outcome": "left out", "seconds": 0.0, "last": command}
    log = out / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    start = time.perf_counter()
    code = run(command, log, limit)
    seconds = time.perf_counter() - start
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    last = lines[-1].strip() if lines else ""
    if code is None:
        last = f"stopped after {limit:.0f} s, its limit; {last}"
    return {"outcome": "passed" if code == 0 else "failed", "seconds": seconds, "last": last[:300]}


def run(command: list[str], log: Path, limit: float) -> int | None:
    """Run a command, showing what it says and keeping it; its exit code, or None if it took too long."""
    environment = dict(os.environ, MINICNN_BACKEND="cuda", PYTHONUNBUFFERED="1", PYTHONIOENCODING="utf-8")
    with log.open("wb") as kept:
        process = subprocess.Popen(
            command,
            stdout=kept,
            stderr=subprocess.STDOUT,
            cwd=machine.ROOT,
            env=environment,
            start_new_session=True,
        )
        try:
            return follow(process, log, time.monotonic() + limit)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # with whatever it started
                process.wait()


def follow(process: subprocess.Popen[bytes], log: Path, until: float) -> int | None:
    """Print what a process writes to its log until it ends; None if it does not in time."""
    with log.open(encoding="utf-8", errors="replace") as text:
        while True:
            code = process.poll()
            for line in text:
                print(line, end="", flush=True)
            if code is not None or time.monotonic() > until:
                return code
            time.sleep(0.05)


# The steps' commands


def tests(quick: bool, out: Path) -> list[str]:
    """The suite, but for what has nothing to do with the GPU: by several processes, most of whose time Python
    takes, not the GPU."""
    left_out = (f"--ignore=tests/{name}.py" for name in OF_THE_CPU)
    processes = max(1, min(8, len(machine.cores()) // 2))
    wanted = QUICK if quick else ["tests", *left_out, f"--numprocesses={processes}"]
    return [*PYTEST, *wanted, f"--junit-xml={out / 'logs' / 'tests.xml'}"]


def gradients(quick: bool, out: Path) -> list[str]:
    """The command that users have."""
    only = ["--only", "relu"] if quick else []
    return [sys.executable, "-m", "minicnn", "gradcheck", *only, "--device", "cuda"]


def parity(quick: bool, out: Path) -> list[str] | str:
    """The comparison with PyTorch, on the GPU where PyTorch computes on it, else with PyTorch's CPU."""
    if not is_installed("torch"):
        return "PyTorch is not installed"
    only = ["-k", "test_cross_entropy"] if quick else []
    return [*PYTEST, "tests/test_parity.py", *only]


def sanitized(tool: str) -> Callable[[bool, Path], list[str] | str]:
    """The kernels' tests under one of compute-sanitizer's tools."""

    def command(quick: bool, out: Path) -> list[str] | str:
        sanitizer = find_sanitizer()
        if sanitizer is None:
            return "compute-sanitizer is not installed (pip install nvidia-cuda-sanitizer-api)"
        watched = [sys.executable, "-c", WITHOUT_POOL, "-q", "-p", "no:cacheprovider", "--timeout=0"]
        wanted = QUICK if quick else KERNEL_TESTS
        return [sanitizer, f"--tool={tool}", "--error-exitcode=99", "--print-limit=20", *watched, *wanted]

    return command


def find_sanitizer() -> str | None:
    """Where compute-sanitizer is: on the path, in a toolkit, or in NVIDIA's Python package."""
    folders = [Path(os.environ.get("CUDA_PATH", "/usr/local/cuda")) / "bin"]
    folders += [Path(path) / "nvidia" for path in sys.path]
    if found := shutil.which("compute-sanitizer"):
        return found
    for folder in folders:
        for path in sorted(folder.rglob("compute-sanitizer")):
            if path.is_file() and os.access(path, os.X_OK):
                return str(path)
    return None


def script(name: str, *folder: str) -> Callable[[bool, Path], list[str]]:
    """One of the scripts beside this one, and its option for the folder with the results, if it has any."""

    def command(quick: bool, out: Path) -> list[str]:
        where = [*folder, str(out)] if folder else []
        return [sys.executable, str(Path(__file__).with_name(name)), *where, *(["--quick"] if quick else [])]

    return command


STEPS = {
    "compile": Step(50, script("cuda_compile.py")),
    "tests": Step(130, tests),
    "gradients": Step(25, gradients),
    "parity": Step(35, parity),
    "memcheck": Step(40, sanitized("memcheck")),
    "racecheck": Step(50, sanitized("racecheck")),
    "steps": Step(140, script("cuda_steps.py", "--out")),
    "layers": Step(130, script("cuda_layers.py", "--out")),
}


if __name__ == "__main__":
    sys.exit(ended(main))
