"""Checkpoints: what they hold, which are refused, and that a killed training ends as an unbroken one."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from cases import on_host
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import minicnn as mc
from minicnn import data, files, nn, optim, train, weights
from minicnn.backend import CPU_BACKENDS
from minicnn.optim import lr_scheduler
from minicnn.train import checkpoint
from minicnn.train.checkpoint import CheckpointError

ROOT = Path(__file__).parent.parent


def network(generator=None):
    """Everything that has a state of its own: batch norm's buffers, and dropout's random numbers."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2, generator),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


OPTIMIZERS = {
    "sgd": lambda params: optim.SGD(params, lr=0.05),
    "momentum": lambda params: optim.SGD(params, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-3),
    "rmsprop": lambda params: optim.RMSprop(params, lr=1e-3, momentum=0.5, centered=True),
    "adam": lambda params: optim.Adam(params, lr=1e-3),
    "adamw": lambda params: optim.AdamW(params, lr=1e-3),
    "adamax": lambda params: optim.Adamax(params, lr=1e-3),
    "nadam": lambda params: optim.NAdam(params, lr=1e-3),
}
SCHEDULERS = {
    "none": lambda optimizer: None,
    "step": lambda optimizer: lr_scheduler.StepLR(optimizer, 2),
    "cosine": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, 3),
    "plateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, threshold=0.5),
    "lambda": lambda optimizer: lr_scheduler.LambdaLR(optimizer, lambda epoch: 1 / (1 + epoch)),
}


def trainer(optimizer="momentum", scheduler="cosine", *, generator=None, batch_size=100, seed=3):
    mc.manual_seed(11)
    model = network(generator)
    opt = OPTIMIZERS[optimizer](model.parameters())
    return train.Trainer(model, opt, SCHEDULERS[scheduler](opt), batch_size=batch_size, seed=seed)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", size=8)


class Break(Exception):
    pass


class BreakAt(train.Callback):
    """Breaks off after a step, or in the middle of an epoch's validation."""

    def __init__(self, epoch, step, validation=False):
        self.at, self.validation = (epoch, step), validation

    def on_step(self, trainer):
        if not self.validation and (trainer.epoch, trainer.sums.steps) == self.at:
            raise Break

    def on_validation_batch(self, trainer):
        if self.validation and trainer.epoch == self.at[0]:
            raise Break


def outcome(trainer):
    """All that a training ends with, the clock's figures excepted."""
    history = [{**vars(epoch), "seconds": None} for epoch in trainer.history]
    arrays = {**trainer.model.state_dict(), **{f"best {k}": v for k, v in trainer.best_weights.items()}}
    return history, {name: array.tobytes() for name, array in arrays.items()}


# ------------------------------------------------------------------------------------------------ resuming


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [*((name, "cosine") for name in OPTIMIZERS), *(("momentum", name) for name in SCHEDULERS)],
)
def test_a_training_broken_off_and_resumed_ends_as_an_unbroken_one(digits, tmp_path, optimizer, scheduler):
    path = tmp_path / "c.safetensors"
    whole = trainer(optimizer, scheduler)
    whole.fit(digits.train, digits.validation, epochs=3)

    broken = trainer(optimizer, scheduler)
    for breaking in (BreakAt(0, 7), BreakAt(1, 13, validation=True), BreakAt(2, 1)):
        with pytest.raises(Break):
            broken.fit(digits.train, digits.validation, epochs=3, callbacks=[breaking])
        broken.save(path)
        mc.manual_seed(999)  # what another process would have drawn
        broken = trainer(optimizer, scheduler)
        mc.random.default_generator.uniform(17)
        broken.load(path)
    broken.fit(digits.train, digits.validation, epochs=3)
    assert outcome(broken) == outcome(whole)


def test_a_layers_own_generator_is_saved_too(digits, tmp_path):
    whole = trainer(generator=mc.random.Generator(5))
    whole.fit(digits.train, epochs=1)
    broken = trainer(generator=mc.random.Generator(5))
    with pytest.raises(Break):
        broken.fit(digits.train, epochs=1, callbacks=[BreakAt(0, 3)])
    broken.save(tmp_path / "c")
    broken = trainer(generator=mc.random.Generator(5))
    broken.load(tmp_path / "c")
    broken.fit(digits.train, epochs=1)
    assert outcome(broken) == outcome(whole)


def test_a_checkpoint_before_the_first_step(digits, tmp_path):
    trainer().save(tmp_path / "c")
    resumed, whole = trainer(), trainer()
    resumed.load(tmp_path / "c")
    state = mc.random.default_generator.get_state()
    resumed.fit(digits.train, digits.validation, epochs=1)
    mc.random.default_generator.set_state(state)
    whole.fit(digits.train, digits.validation, epochs=1)
    assert outcome(resumed) == outcome(whole)


def test_arrays_are_arrays_and_the_rest_is_json(digits, tmp_path):
    path = tmp_path / "c.safetensors"
    saved = trainer("adam")
    saved.fit(digits.train, digits.validation, epochs=1)
    saved.save(path, about={"purpose": "test"})
    arrays = load_file(path)
    assert {name.partition(".")[0] for name in arrays} == {"model", "best", "optimizer"}
    np.testing.assert_array_equal(arrays["model.0.weight"], on_host(saved.model[0].weight))
    np.testing.assert_array_equal(arrays["best.1.running_mean"], saved.best_weights["1.running_mean"])
    assert arrays["optimizer.0.exp_avg"].shape == saved.model[0].weight.shape
    document = document_of(path)
    assert document["about"] == {"purpose": "test"}
    assert document["epoch"] == 1
    assert document["history"][0]["loss"] == saved.history[0].loss
    assert list(tmp_path.iterdir()) == [path]


# --------------------------------------------------------------------------------------- files to be refused


@pytest.fixture
def saved(digits, tmp_path):
    path = tmp_path / "c.safetensors"
    t = trainer()
    t.fit(digits.train.take(slice(200)), digits.validation, epochs=1)
    t.save(path)
    return path


def refused(path, match=None):
    with pytest.raises(CheckpointError, match=match) as caught:
        trainer().load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_every_truncation_is_refused(saved):
    content = saved.read_bytes()
    for length in [*range(0, 60), *range(60, len(content), 997), len(content) - 1]:
        saved.write_bytes(content[:length])
        refused(saved, "damaged")


def test_every_changed_byte_is_refused(saved):
    content = saved.read_bytes()
    positions = random.Random(0).sample(range(len(content)), 300)
    for position in [*range(16), *positions]:
        changed = bytearray(content)
        changed[position] ^= 1 << position % 8
        saved.write_bytes(changed)
        refused(saved)


def test_bytes_after_the_end_are_refused(saved):
    saved.write_bytes(saved.read_bytes() + b"\0")
    refused(saved, "damaged")


def test_other_files_are_refused(tmp_path):
    refused(tmp_path / "absent", "there is no such file")
    refused(tmp_path, "not a file")
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"\x80\x04\x95 no pickle is read here")
    refused(foreign, "damaged or no safetensors file")
    save_file({"w": np.zeros(3)}, foreign)
    refused(foreign, "no checkpoint of minicnn")
    weights = tmp_path / "weights"
    train.save_weights(network(), weights)
    refused(weights, "no checkpoint of minicnn")


def test_a_pipe_is_refused_rather_than_waited_for(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("needs named pipes")
    os.mkfifo(tmp_path / "pipe")
    refused(tmp_path / "pipe", "not a file")


def test_a_file_that_must_not_be_read(saved):
    saved.chmod(0)
    if os.access(saved, os.R_OK):
        pytest.skip("this user may read everything")
    refused(saved, "cannot be read|damaged")


def rewrite(path, change, arrays=None):
    """The same checkpoint with another document and the checksum that fits."""
    found = checkpoint.read(path)
    document = json.loads(json.dumps(found.document))
    change(document)
    checkpoint.write(path, found.arrays if arrays is None else arrays(found.arrays), document)


def test_another_version_is_refused(saved, monkeypatch):
    with monkeypatch.context() as later:
        later.setattr(checkpoint, "VERSION", 2)
        checkpoint.write(saved, load_file(saved), document_of(saved))
    refused(saved, "format version 2, but this minicnn reads 1")


def document_of(path):
    """A checkpoint's document, whatever its version."""
    with safe_open(path, framework="numpy") as file:
        document = json.loads(file.metadata()["minicnn-checkpoint"])
    del document["version"]
    return document


KEYS = ["trainer", "epoch", "sums", "history", "best", "optimizer", "scheduler", "random"]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("value", ["absent", None, 7, "text", [], {}, {"x": 1}, [{}]], ids=str)
def test_documents_that_say_something_else_are_refused(saved, key, value):
    def change(document):
        if value == "absent":
            del document[key]
        else:
            document[key] = value

    rewrite(saved, change)
    refused(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["sums"].update(steps=-1),
        lambda d: d["sums"].update(steps=1.5),
        lambda d: d["history"][0].update(loss="low"),
        lambda d: d["history"][0].update(number=2),
        lambda d: d["history"][0].pop("lr"),
        lambda d: d["random"][""].update(offset=-1),
        lambda d: d["optimizer"]["state"]["0"].update(step="one"),
        lambda d: d["optimizer"]["state"].update(first={}),
        lambda d: d["optimizer"]["param_groups"][0].update(lr=-1.0),
        lambda d: d["scheduler"].update(last_epoch="last"),
    ],
)
def test_documents_that_say_something_wrong_are_refused(saved, change):
    rewrite(saved, change)
    refused(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {k: v for k, v in a.items() if k != "model.0.bias"},
        lambda a: {k: v for k, v in a.items() if k != "optimizer.0.momentum_buffer"},
        lambda a: {k: v for k, v in a.items() if k != "best.0.bias"},
        lambda a: {**a, "model.extra": np.zeros(3)},
        lambda a: {**a, "other.0": np.zeros(3)},
        lambda a: {**a, "optimizer.99.momentum_buffer": np.zeros(3)},
        lambda a: {**a, "model.0.bias": np.zeros(5, np.float32)},
        lambda a: {**a, "model.0.bias": a["model.0.bias"].astype(np.float64)},
        lambda a: {**a, "optimizer.0.momentum_buffer": np.zeros(5, np.float32)},
    ],
)
def test_arrays_that_do_not_fit_are_refused(saved, change):
    rewrite(saved, lambda document: None, change)
    refused(saved)


@pytest.mark.parametrize(
    ("other", "match"),
    [
        (lambda: trainer("adam"), "its optimizer is 'SGD', but this training's is 'Adam'"),
        (lambda: trainer(scheduler="step"), "its schedule is 'CosineAnnealingLR'"),
        (lambda: trainer(batch_size=7), "its batch size is 100"),
        (lambda: trainer(seed=4), "its seed is 3"),
        (lambda: trainer(generator=mc.random.Generator(1)), "random generators"),
        (lambda: trainer_of(nn.Sequential(nn.Flatten(), nn.Linear(64, 10))), "does not fit Sequential"),
    ],
)
def test_another_training_is_refused(saved, other, match):
    with pytest.raises(CheckpointError, match=match):
        other().load(saved)


def trainer_of(model):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    return train.Trainer(model, optimizer, SCHEDULERS["cosine"](optimizer), batch_size=100, seed=3)


# --------------------------------------------------------------------------------------------- weights


def test_a_checkpoint_is_not_taken_for_weights(saved):
    with pytest.raises(weights.WeightsError, match="a checkpoint of a training, not weights alone"):
        train.load_weights(network(), saved)


# ----------------------------------------------------------------------------------------------- writing


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, failing):
    path = tmp_path / "f"
    files.write(path, b"old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left") as caught:
        files.write(path, b"new")
    assert caught.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ["f"]
    assert path.read_bytes() == b"old"


def test_nan_is_not_written_into_a_document(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        checkpoint.write(tmp_path / "c", {}, {"loss": float("nan")})
    assert list(tmp_path.iterdir()) == []


# ------------------------------------------------------------------------------- killing a real process

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

backend, where, number = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))
minicnn.use(backend=backend)
if number:
    def strike(function, before):
        def call(*arguments):
            global number
            number -= 1
            if number == 0:
                before(*arguments)
                os.kill(os.getpid(), signal.SIGKILL)
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

    def __init__(self, folder, *options, backend="numpy", epochs=12, kill=("never", 0)):
        where, number = kill
        arguments = ["train", "small", "--out", str(folder), "--no-plots", *options]
        if "--resume" not in options or not (folder / "checkpoint.safetensors").exists():
            arguments += ["--epochs", str(epochs), "--batch-size", "32", "--seed", "4"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-c", CHILD, backend, where, str(number), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def wait(self):
        out, err = self.process.communicate(timeout=120)
        return self.process.returncode, out, err

    def strike(self, seconds, number=signal.SIGKILL):
        """Send a signal that long after training began."""
        while "seed 4" not in (line := self.process.stdout.readline()) and line:
            pass
        time.sleep(seconds)
        self.process.send_signal(number)
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
    code, _, err = Child(folder).strike(0.1, number)
    assert code == 1
    assert len(err.splitlines()) == 1
    assert f"minicnn train small --data digits --out {folder} --resume" in err
    document = checkpoint.read(folder / "checkpoint.safetensors").document
    epochs, steps = re.search(r"interrupted after (\d+) of 12 epochs(?: and (\d+) steps)?,", err).groups()
    assert (document["epoch"], document["sums"]["steps"]) == (int(epochs), int(steps or 0))
    finish(folder, unbroken)
