"""The command line: what it prints, what it writes, and that every mistake is one line with an exit code."""

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from minicnn import backend, data, models, nn, train, weights
from minicnn.train import checkpoint, folders

OUTPUTS = {*folders.OUTPUTS}


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINICNN_DATA", raising=False)


@pytest.fixture
def small():
    """A network that trains in a moment, registered for one test."""

    @models.register(input_shape=(1, 8, 8), name="small")
    def build(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
        """Pooling, dropout and a dense layer."""
        return nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Dropout(0.1), nn.Linear(16, num_classes))

    yield "small"
    models.registry.forget("small")


def same_arrays(first, second):
    first, second = load_file(first), load_file(second)
    assert first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)


def one_line(result, code, *words):
    """A failure as it should be: an exit code, one line on stderr, and in it what a user needs."""
    found, _, err = result
    assert found == code
    assert err.startswith("minicnn: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    for word in words:
        assert word in err


# --------------------------------------------------------------------------------------------- training


def test_train_writes_everything_and_says_so(run, small):
    code, out, err = run("train", small, "--epochs", 3, "--seed", 1)
    assert (code, err) == (0, "")
    lines = out.splitlines()
    if backend.current_backend() == "cuda":
        assert lines.pop(2) == f"on the GPU: {backend.gpu_name()}"
    assert lines[0] == "small (170 parameters) on digits: 1,257 train, 270 validation, 270 test images"
    assert (
        lines[1]
        == "sgd, lr 0.02 (cosine), momentum 0.9, weight decay 0.0005, batch size 32, 3 epochs, seed 1"
    )
    assert [line.split()[1] for line in lines[2:5]] == ["1/3", "2/3", "3/3"]
    figures = r"test accuracy (\d+\.\d\d) % \((\d+) of 270 images\), with the weights of epoch (\d), .*"
    accuracy, right, best = re.fullmatch(figures, lines[5]).groups()
    assert lines[6].startswith("saved in runs/small-digits: ")

    folder = Path("runs/small-digits")
    assert {path.name for path in folder.iterdir()} == OUTPUTS == set(lines[6].split(": ")[1].split(", "))
    for name in folders.PICTURES:
        with Image.open(folder / name) as image:
            assert image.format == "PNG"
    results = json.loads((folder / "results.json").read_text())
    assert f"{100 * results['test']['accuracy']:.2f}" == accuracy
    assert results["best_epoch"] == int(best)
    assert results["options"]["seed"] == 1
    assert len(results["history"]) == 3
    confusion = np.array(results["test"]["confusion"])
    assert (confusion.sum(), confusion.trace()) == (270, int(right))

    digits = data.load("digits", size=8, seed=1)
    model = models.create(small)
    train.load_weights(model, folder / "weights.safetensors")
    assert train.evaluate(model, digits.test).accuracy == results["test"]["accuracy"]


def test_the_same_seed_gives_the_same_figures(run, small):
    texts = []
    for seed, folder in ((0, "a"), (0, "b"), (1, "c")):
        _, out, _ = run("train", small, "--epochs", 2, "--no-plots", "--seed", seed, "--out", folder)
        texts.append(re.sub(rf" \d\.\d s|(in|eval|weights|repeat) {folder}\b", "", out))
    assert texts[0] == texts[1] != texts[2]
    same_arrays("a/weights.safetensors", "b/weights.safetensors")


@pytest.mark.parametrize("optimizer", ["nesterov", "rmsprop", "adam", "adamw", "adamax", "nadam"])
@pytest.mark.parametrize("schedule", ["constant", "step", "exponential", "plateau", "lenet"])
def test_every_optimizer_with_every_schedule(run, small, optimizer, schedule):
    options = ("--optimizer", optimizer, "--schedule", schedule, "--batch-size", 200, "--epochs", 2)
    code, out, err = run("train", small, *options, "--no-plots")
    assert (code, err) == (0, "")
    assert f"\n{optimizer}, lr " in out


def test_without_validation_the_last_weights_are_measured(run, small):
    code, out, _ = run("train", small, "--epochs", 2, "--validation", 0, "--no-plots", "--out", "x")
    assert code == 0
    assert "1,527 train, 270 test images" in out
    assert "best" not in out
    arrays = load_file("x/checkpoint.safetensors")
    np.testing.assert_array_equal(arrays["model.3.weight"], load_file("x/weights.safetensors")["3.weight"])


def test_validation_as_a_fraction(run, small):
    _, out, _ = run("train", small, "--epochs", 1, "--validation", 0.1, "--no-plots")
    assert "1,374 train, 153 validation" in out


def test_options_reach_the_training(run, small):
    options = ("--lr", 0.04, "--momentum", 0.5, "--weight-decay", 0.25, "--batch-size", 50)
    options += ("--label-smoothing", 0.9, "--precision", "tf32")
    _, out, _ = run("train", small, *options, "--epochs", 1, "--no-plots", "--out", "x")
    assert "label smoothing 0.9, multiplications in tf32, batch" in out
    assert checkpoint.read("x/checkpoint.safetensors").document["history"][0]["loss"] > 2.2
    (group,) = checkpoint.read("x/checkpoint.safetensors").document["optimizer"]["param_groups"]
    assert (group["initial_lr"], group["momentum"], group["weight_decay"]) == (0.04, 0.5, 0.25)
    assert checkpoint.read("x/checkpoint.safetensors").document["trainer"]["batch size"] == 50


def test_colour_networks_are_given_one_channel(run):
    code, out, _ = run("train", "mlp_cifar", "--epochs", 1, "--no-plots", "--batch-size", 400)
    assert code == 0
    assert "mlp_cifar (658,698 parameters)" in out  # 1,024 inputs rather than 3,072


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_lenet5_reads_the_digits(run, seed):
    code, _, _ = run("train", "lenet5", "--seed", seed, "--out", "x")
    assert code == 0
    assert json.loads(Path("x/results.json").read_text())["test"]["accuracy"] >= 0.97


# ------------------------------------------------------------------------------------- folders and resuming


def test_finished_trainings_are_kept_and_the_next_gets_a_number(run, small):
    for name in ("small-digits", "small-digits-2", "small-digits-3"):
        code, out, _ = run("train", small, "--epochs", 1, "--no-plots")
        assert code == 0
        assert f"saved in runs/{name}: " in out


def test_a_folder_that_is_taken_is_refused(run, small):
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    before = {path: path.read_bytes() for path in Path("x").iterdir()}
    one_line(run("train", small, "--out", "x"), 2, "x already holds checkpoint.safetensors", "--resume")
    assert {path: path.read_bytes() for path in Path("x").iterdir()} == before


def test_other_files_of_ones_own_are_not_overwritten(run, small):
    Path("x").mkdir()
    Path("x/curves.png").write_bytes(b"mine")
    one_line(run("train", small, "--out", "x"), 2, "x already holds curves.png: name another folder")
    Path("y").write_bytes(b"mine")
    one_line(run("train", small, "--out", "y"), 2, "y: is a file")
    assert Path("x/curves.png").read_bytes() == Path("y").read_bytes() == b"mine"


def interrupt(monkeypatch, after):
    """Let the next training be interrupted as by Ctrl-C, after so many steps."""
    import signal

    steps = iter(range(1, 10**6))
    original = train.Trainer._train_epoch

    class Strike(train.Callback):
        def on_step(self, trainer):
            if next(steps) == after:
                signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(
        train.Trainer, "_train_epoch", lambda self, loader, calls: original(self, loader, (Strike(), *calls))
    )


def test_interrupted_and_resumed(run, small, monkeypatch):
    run("train", small, "--epochs", 4, "--no-plots", "--out", "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, after=60)
        result = run("train", small, "--epochs", 4, "--no-plots")
    one_line(result, 1, "interrupted after 1 of 4 epochs and 20 steps", "--out runs/small-digits --resume")

    one_line(run("train", small), 2, "runs/small-digits holds an unfinished training", "--resume")
    one_line(run("train", small, "--out", "runs/small-digits"), 2, "--resume")

    code, out, _ = run("train", small, "--resume", "--no-plots")
    assert code == 0
    assert "resuming runs/small-digits after 1 of 4 epochs and 20 steps" in out
    same_arrays("whole/checkpoint.safetensors", "runs/small-digits/checkpoint.safetensors")
    whole, resumed = (json.loads(Path(f, "results.json").read_text()) for f in ("whole", "runs/small-digits"))
    assert whole["test"] == resumed["test"]


def test_resuming_a_finished_training_writes_its_results_again(run, small):
    run("train", small, "--epochs", 2, "--no-plots", "--out", "x")
    for name in ("results.json", "weights.safetensors"):
        Path("x", name).unlink()  # as if it had been killed just before the end
    code, out, _ = run("train", small, "--resume", "--out", "x")
    assert code == 0
    assert {path.name for path in Path("x").iterdir()} == OUTPUTS
    assert "epoch 1/2" not in out


def test_resuming_the_latest(run, small):
    for _ in range(2):
        run("train", small, "--epochs", 1, "--no-plots")
    assert "resuming runs/small-digits-2 " in run("train", small, "--resume", "--no-plots")[1]


def test_more_epochs_where_the_schedule_does_not_mind(run, small):
    run("train", small, "--epochs", 3, "--no-plots", "--schedule", "exponential", "--out", "long")
    run("train", small, "--epochs", 1, "--no-plots", "--schedule", "exponential", "--out", "x")
    code, out, _ = run("train", small, "--epochs", 3, "--no-plots", "--resume", "--out", "x")
    assert code == 0
    assert "epoch 3/3" in out
    same_arrays("long/checkpoint.safetensors", "x/checkpoint.safetensors")
    result = run("train", small, "--epochs", 2, "--resume", "--out", "x")
    one_line(result, 2, "--epochs 2, but 3 are finished")


def test_contradictions_are_named(run, small):
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    result = run("train", small, "--resume", "--out", "x", "--lr", 0.5, "--epochs", 9)
    one_line(
        result, 2, "x/checkpoint.safetensors: --epochs 9, but", "--lr 0.5 contradicts the training's 0.02"
    )
    result = run("train", "lenet5", "--resume", "--out", "x")
    one_line(result, 2, "model lenet5 contradicts the training's small")


def test_other_data_are_noticed(run, small, monkeypatch):
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    load = data.load

    def relabelled(*arguments, **options):
        digits = load(*arguments, **options)
        digits.train.labels[0] = (digits.train.labels[0] + 1) % 10
        return digits

    monkeypatch.setattr(data, "load", relabelled)
    one_line(run("train", small, "--resume", "--out", "x"), 2, "was trained on other data")


def test_nothing_to_resume(run, small):
    one_line(run("train", small, "--resume"), 2, "runs/small-digits: there is no such folder")
    one_line(run("train", small, "--resume", "--out", "x"), 2, "x: there is no such folder")
    Path("x").mkdir()
    Path("x/diary.txt").write_text("mine")
    one_line(run("train", small, "--resume", "--out", "x"), 2, "x: holds no checkpoint.safetensors")


def test_a_training_killed_before_its_first_checkpoint_begins_again(run, small):
    folder = Path("runs/small-digits")
    folder.mkdir(parents=True)
    (folder / ".checkpoint.safetensors.0123456789ab.part").write_bytes(b"half")
    code, out, _ = run("train", small, "--epochs", 1, "--resume", "--no-plots")
    assert code == 0
    assert "runs/small-digits was left before its first checkpoint: starting from the beginning" in out
    assert {path.name for path in folder.iterdir()} == OUTPUTS - {*folders.PICTURES}


def test_a_damaged_checkpoint(run, small):
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    path = Path("x/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-10])
    one_line(run("train", small, "--resume", "--out", "x"), 2, "x/checkpoint.safetensors: damaged")


@pytest.mark.skipif(os.name != "posix", reason="locks are POSIX's")
def test_two_trainings_do_not_share_a_folder(run, small):
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    with folders.locked(Path("x")):
        one_line(run("train", small, "--resume", "--out", "x"), 1, "x: another training is writing there")


# ------------------------------------------------------------------------------------- what goes wrong


def test_divergence_keeps_the_last_checkpoint(run, small, monkeypatch):
    original = train.Trainer._finish_epoch

    def then_spoil(self, *arguments):
        original(self, *arguments)
        if self.epoch == 2:
            self.model[3].weight.data[...] = np.inf

    monkeypatch.setattr(train.Trainer, "_finish_epoch", then_spoil)
    monkeypatch.setattr(train.run._Saver, "on_epoch", lambda self, t: t.epoch == 1 and self._save())
    result = run("train", small, "--epochs", 4, "--out", "x")
    one_line(result, 1, "training diverged in epoch 3: step 1, the loss is nan", "learning rate", "kept in x")
    assert checkpoint.read("x/checkpoint.safetensors").document["epoch"] == 1


def test_a_learning_rate_that_is_much_too_large(run, small):
    one_line(run("train", small, "--lr", "1e38", "--out", "x"), 1, "diverged in epoch 1", "than 1e+38 (--lr)")


def full_disk(*_):
    raise OSError(28, "No space left on device")


def test_a_full_disk_at_the_beginning(run, small, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    result = run("train", small, "--epochs", 1, "--out", "x")
    one_line(result, 1, "x/checkpoint.safetensors: No space left on device")
    assert list(Path("x").iterdir()) == []


def test_a_full_disk_at_the_end(run, small, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(weights, "save", full_disk)
        one_line(run("train", small, "--epochs", 1, "--out", "x"), 1, "No space left on device")
    assert {path.name for path in Path("x").iterdir()} == {"checkpoint.safetensors", "history.csv"}
    assert run("train", small, "--resume", "--no-plots", "--out", "x")[0] == 0


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="this user may write everywhere")
def test_a_folder_that_cannot_be_written(run, small):
    Path("closed").mkdir(mode=0o500)
    one_line(run("train", small, "--out", "closed/x"), 1, "closed/x: Permission denied")


def test_too_little_memory(run, small, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr(train.Trainer, "fit", exhausted)
    one_line(run("train", small), 1, "not enough memory", "--batch-size")


def test_ctrl_c_after_training(run, small, monkeypatch):
    def struck(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(weights, "save", struck)
        result = run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    one_line(
        result, 1, "interrupted; continue from the last checkpoint with: minicnn train small", "--resume"
    )
    assert run("train", small, "--resume", "--no-plots", "--out", "x")[0] == 0


def test_ctrl_c_before_training(run, small, monkeypatch):
    def struck(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(data, "load", struck)
    one_line(run("train", small), 1, "interrupted")
    assert not Path("runs").exists()


def test_mistakes_in_minicnn_are_not_hidden(run, small, monkeypatch):
    def broken(*_):
        raise ValueError("operands could not be broadcast together")

    monkeypatch.setattr(train.Trainer, "_train_epoch", broken)
    with pytest.raises(ValueError, match="broadcast"):
        run("train", small)


WRONG = [
    ("trian lenet5", "'trian' is unknown; did you mean 'train'?"),
    ("", "a command is needed: train, eval, compare, predict, features, augment, "),
    ("train", "MODEL"),
    ("train lenet", "MODEL: 'lenet' is unknown; did you mean 'lenet5'?"),
    ("train lenet5 more", "one argument too many, 'more'"),
    ("train lenet5 --epoch 3", "'--epoch' is unknown; did you mean '--epochs'?"),
    ("train lenet5 --colour red", "'--colour' is unknown (known: "),
    ("train lenet5 --lern=3", "option '--lern' is unknown"),
    ("train lenet5 --epochs 0", "--epochs: '0', but a whole number of at least 1"),
    ("train lenet5 --epochs 1.5", "--epochs: '1.5'"),
    ("train lenet5 --epochs many", "--epochs: 'many'"),
    ("train lenet5 --epochs", "--epochs: expected one argument"),
    ("train lenet5 --batch-size -3", "--batch-size"),
    ("train lenet5 --lr -1", "--lr: '-1', but a number of at least 0"),
    ("train lenet5 --lr nan", "--lr: 'nan'"),
    ("train lenet5 --lr inf", "--lr: 'inf'"),
    ("train lenet5 --optimizer sdg", "'sdg' is unknown; did you mean 'sgd'?"),
    ("train lenet5 --schedule cosin", "did you mean 'cosine'?"),
    ("train lenet5 --precision fp23", "--precision: 'fp23' is unknown; did you mean 'fp32'?"),
    ("train lenet5 --data minst", "did you mean 'mnist'?"),
    ("train lenet5 --seed -1", "--seed"),
    (f"train lenet5 --seed {2**64}", "seed is 18446744073709551616"),
    ("train lenet5 --label-smoothing 1", "--label-smoothing"),
    ("train lenet5 --validation -1", "--validation"),
    ("train lenet5 --validation 1.0", "--validation"),
    ("train lenet5 --validation 1527", "validation=1527 of 1527 images"),
    ("train lenet5 --optimizer adam --momentum 0.9", "momentum: adam has no such option"),
    ("train lenet5 --optimizer nesterov --momentum 0", "nesterov needs momentum > 0"),
    ("train lenet5 --schedule plateau --validation 0", "there is no validation split"),
    ("train lenet5 --data-dir x", "'digits' is in the package"),
    ("train lenet5 --data mnist --data-dir absent", "absent: no such folder"),
    ("train lenet5 --resume", "no such folder with a training to resume"),
    ("summary lenet", "did you mean 'lenet5'?"),
    ("summary lenet5 --batch-size 0", "--batch-size"),
    ("gradcheck --only conv3d", "did you mean 'conv2d'?"),
    ("gradcheck --seed x", "--seed"),
    ("gradcheck --backend nunpy", "did you mean 'numpy'?"),
    ("models more", "argument NAME: 'more' is unknown"),
    ("models lenet5 more", "one argument too many"),
    ("summary lenet5 --input 28", "'28', but channels, height and width are expected, as 3x224x224"),
    ("summary lenet5 --input 1x32x32", "lenet5: x has shape (1, 1, 32, 32), but (N, 1, 28, 28) is expected"),
    ("summary resnet18 --input 0x32x32", "'0x32x32', but channels"),
    ("summary lenet5 --classes 0", "whole number of at least 1"),
]


@pytest.mark.parametrize(("command", "words"), WRONG, ids=[command or "nothing" for command, _ in WRONG])
def test_wrong_commands(run, command, words):
    one_line(run(*command.split()), 2, words)
    assert list(Path().iterdir()) == []
