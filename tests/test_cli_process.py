"""Commands that train nothing: help, tables, gradients; and minicnn as a process of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from test_cli import one_line

import minicnn as mc
from minicnn import backend, models, train

ROOT = Path(__file__).parent.parent


def test_version(run):
    assert run("--version") == (0, f"minicnn {mc.__version__}\n", "")


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["gradcheck", "--help"]])
def test_help(run, arguments):
    code, out, err = run(*arguments)
    assert (code, err) == (0, "")
    assert "usage: minicnn" in out


def test_help_names_every_schedule_and_optimizer(run):
    _, out, _ = run("train", "--help")
    words = set(re.findall(r"\w+", out))
    assert {*train.recipes.SCHEDULES, *train.recipes.OPTIMIZERS, *train.recipes.RECIPES} <= words


def test_models_lists_every_network(run):
    code, out, _ = run("models")
    assert code == 0
    for name in models.list():
        assert name in out
    assert "61,706" in out
    assert "1×28×28" in out
    assert all(len(line) <= 80 for line in out.splitlines())
    assert "…" not in out


def test_summary_of_lenet5(run):
    code, out, _ = run("summary", "lenet5", "--batch-size", 2)
    assert code == 0
    for figure in ("156", "2,416", "48,120", "10,164", "850", "61,706", "2 × 10"):
        assert figure in out


def test_gradcheck_of_one_operation(run):
    code, out, err = run("gradcheck", "--only", "tanh", "--only", "exp")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines.pop(0).startswith("kernels: numpy; the compiled ones too with --backend numba")
    assert lines[0].split() == ["operation", "case", "algorithm", "error"]
    assert {line.split()[0] for line in lines[1:-1]} == {"tanh", "exp"}
    assert all(line.endswith("right") for line in lines[1:-1])
    assert lines[-1] == f"all {len(lines) - 2} gradients are right"


def test_gradcheck_of_compiled_kernels(run):
    before = backend.cpu_backend()
    code, out, err = run("gradcheck", "--only", "tanh", "--backend", "numba")
    assert code == 0
    assert err == "" or err.startswith("minicnn: compiling kernels for this machine")
    assert out.startswith("kernels: numba\n")
    assert "numpy:one_pass" in out
    assert "numba:one_pass" in out
    assert backend.cpu_backend() == before


def test_gradcheck_element_by_element(run):
    assert run("gradcheck", "--only", "tanh", "--elementwise")[0] == 0


def test_gradcheck_finds_a_wrong_gradient(run, monkeypatch):
    from minicnn.functional import activation

    monkeypatch.setattr(activation.Softmax, "backward", lambda self, gy: gy)
    result = run("gradcheck", "--only", "softmax")
    one_line(result, 1, "gradients are wrong")
    assert "WRONG" in result[1]
    assert "backward says" in result[1]


# --------------------------------------------------------------------------------------- as a process


def process(*arguments, **settings):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **settings.pop("env", {})}
    return subprocess.run(
        [sys.executable, "-m", "minicnn", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        timeout=60,
        **settings,
    )


def test_python_m_minicnn():
    done = process("train", "lenet")
    assert done.returncode == 2
    assert done.stderr.startswith("minicnn: train: argument MODEL: 'lenet' is unknown")
    assert done.stdout == ""


def test_a_terminal_without_unicode():
    done = process("models", env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "1?28?28" in done.stdout


def test_output_that_nobody_reads():
    command = f"{sys.executable} -m minicnn models | true"
    done = subprocess.run(
        command, shell=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert done.stderr == ""


def test_what_needs_no_compiled_kernels_loads_none():
    code = (
        "import sys; from minicnn.cli import main; main(['models']); main(['summary', 'lenet5']);"
        "main(['gradcheck', '--only', 'tanh']); print('numba' in sys.modules)"
    )
    environment = {k: v for k, v in os.environ.items() if k != "MINICNN_BACKEND"}
    environment["PYTHONPATH"] = str(ROOT)
    asked = [sys.executable, "-c", code]
    done = subprocess.run(asked, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.splitlines()[-1] == "False"


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from minicnn.cli import main; main(['train', '--help']);"
        "print(sorted({'matplotlib', 'PIL', 'rich', 'safetensors', 'numba'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.stdout.splitlines()[-1] == "[]"
