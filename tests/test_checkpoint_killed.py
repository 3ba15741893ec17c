"""A training whose process is killed, at whatever moment, ends as an unbroken one once it is resumed."""

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minicnn.backend import CPU_BACKENDS
from minicnn.train import checkpoint

ROOT = Path(__file__).parent.parent


CHILD = """
import os, signal, sys
import minicnn
from minicnn import cli, models, nn, train
from minicnn.train import run

@models.register(input_shape=(1, 8, 8), name="small")
def small(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
    \"\"\"Convolution, batch norm and dropout.\"\"\"
    return nn.Sequential(
        nn.Conv2d(in_channels, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout(0.2), nn.Flatten(), nn.Linear(64, num_classes),
    )

run.SAVE_EVERY = 0.03  # so that many of the checkpoints lie in the middle of an epoch

backend, where, number, by = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1)), int(sys.argv.pop(1))
minicnn.use(backend=backend)
if number:
    def strike(function, before):
        def call(*arguments):
            global number
            number -= 1
            if number == 0:
                before(*arguments)
                os.kill(os.getpid(), by)
            return function(*arguments)
        return call
    if where == "half":  # the file is half written
        os.fsync = strike(os.fsync, lambda fd: os.ftruncate(fd, os.fstat(fd).st_size // 2))
    elif where == "whole":  # the file is whole, but has not got its name
        os.replace = strike(os.replace, lambda old, new: None)
    elif where == "named":  # it has just got it
        os.replace = strike(os.replace, os.rename)
sys.exit(cli.main(sys.argv[1:]))
"""


class Child:
    """`minicnn train small` in a process of its own."""

    def __init__(self, folder, *options, backend="numpy", epochs=12, kill=("never", 0), by=signal.SIGKILL):
        where, number = kill
        arguments = ["train", "small", "--out", str(folder), "--no-plots", *options]
        if "--resume" not in options or not (folder / "checkpoint.safetensors").exists():
            arguments += ["--epochs", str(epochs), "--batch-size", "32", "--seed", "4"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", CHILD, backend, where, str(number), str(int(by)), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def wait(self):
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def strike(self, seconds):
        """Kill it that long after training began."""
        while "seed 4" not in (line := self.process.stdout.readline()) and line:
            pass
        time.sleep(seconds)
        self.process.kill()
        return self.wait()


def parameters(folder):
    """The bytes of all arrays that the training ended with."""
    arrays = checkpoint.read(folder / "checkpoint.safetensors").arrays
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    return outcome_in(tmp_path_factory.mktemp("unbroken") / "run")


def outcome_in(folder, **settings):
    """What a training ends with that nothing disturbs."""
    code, out, err = Child(folder, **settings).wait()
    assert code == 0, err
    return parameters(folder), accuracy_in(out)


def accuracy_in(out):
    """The line that tells how the training did."""
    (line,) = (line for line in out.splitlines() if line.startswith("test accuracy"))
    return line


def finish(folder, expected, **settings):
    """Resume until the end, and compare."""
    code, out, err = Child(folder, "--resume", **settings).wait()
    assert code == 0, err
    arrays, result = expected
    assert parameters(folder) == arrays
    assert accuracy_in(out) == result
    assert not [path.name for path in folder.iterdir() if path.name.endswith(".part")]


# The first checkpoint is the one before the first step; where it is lost, there is nothing to resume.
@pytest.mark.parametrize("where", ["half", "whole", "named"])
@pytest.mark.parametrize("number", [1, 5])
def test_killed_while_a_checkpoint_is_written(tmp_path, unbroken, where, number):
    folder = tmp_path / "run"
    # Each checkpoint calls fsync twice, for the file and for its folder, and replace once.
    code, _, _ = Child(folder, kill=(where, 2 * number - 1 if where == "half" else number)).wait()
    assert code == -signal.SIGKILL
    leftovers = [path for path in folder.iterdir() if path.name.endswith(".part")]
    assert len(leftovers) == (where != "named")
    assert (folder / "checkpoint.safetensors").exists() == (number > 1 or where == "named")
    finish(folder, unbroken)


def kill_at_random_moments(folder, expected, times, seed, **settings):
    moments = random.Random(seed)
    folder.mkdir()
    reached = []
    for _ in range(times):
        code, _, err = Child(folder, "--resume", **settings).strike(moments.uniform(0, 0.25))
        if code == 0:  # it was faster
            break
        assert code == -signal.SIGKILL, err
        if (folder / "checkpoint.safetensors").exists():
            document = checkpoint.read(folder / "checkpoint.safetensors").document
            reached.append((document["epoch"], document["sums"]["steps"]))
    assert reached == sorted(reached)
    finish(folder, expected, **settings)
    return reached


def test_killed_at_random_moments(tmp_path, unbroken):
    kill_at_random_moments(tmp_path / "run", unbroken, times=5, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("backend", CPU_BACKENDS)
def test_killed_at_many_random_moments(tmp_path, backend):
    settings = {"backend": backend, "epochs": 20}
    expected = outcome_in(tmp_path / "unbroken", **settings)
    for seed in range(1, 7):
        reached = kill_at_random_moments(tmp_path / f"{seed}", expected, 25, seed, **settings)
        assert len(set(reached)) > 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_the_very_step_and_says_how_to_go_on(tmp_path, unbroken, number):
    folder = tmp_path / "run"
    code, _, err = Child(folder, kill=("whole", 4), by=number).wait()
    assert code == 1
    assert len(err.splitlines()) == 1
    assert f"minicnn train small --data digits --out {folder} --resume" in err
    document = checkpoint.read(folder / "checkpoint.safetensors").document
    epochs, steps = re.search(r"interrupted after (\d+) of 12 epochs(?: and (\d+) steps)?,", err).groups()
    assert (document["epoch"], document["sums"]["steps"]) == (int(epochs), int(steps or 0))
    finish(folder, unbroken)
