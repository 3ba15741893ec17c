"""The command line of training: its options, full disks, and other data."""
# ruff: noqa: F811 (fixtures of test_cli.py)

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file
from test_cli import _in_an_empty_folder, interrupt, one_line, same_arrays, small  # noqa: F401

from minicnn import data, kernels, models, nn, train
from minicnn.train import checkpoint
from minicnn.train.recipes import PAPERS

ROOT = Path(__file__).parent.parent
ALL = (
    "--augment",
    "shift20,rotate10",
    "--workers",
    2,
    "--clip",
    0.5,
    "--clip-value",
    0.05,
    "--accumulate",
    3,
    "--ema",
    0.9,
    "--mixup",
    0.3,
    "--cutmix",
    1,
)
ALL += ("--decay", "weights", "--early-stopping", 3, "--lr-of", "3.weight=0.01", "--batch-size", 60)


@pytest.fixture
def normed():
    """A network with batch norm, registered for one test."""

    @models.register(input_shape=(1, 8, 8), name="normed")
    def build(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
        """Convolution, batch norm, dropout and a dense layer."""
        return nn.Sequential(
            nn.Conv2d(in_channels, 4, 3, stride=2),
            nn.BatchNorm2d(4),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.BatchNorm2d(4),
            nn.Flatten(),
            nn.Dropout(0.1),
            nn.Linear(4, num_classes),
        )

    yield "normed"
    models.registry.forget("normed")


# ------------------------------------------------------------------------------------------- options


def test_every_option_reaches_the_training_and_the_checkpoint(run, small):
    code, out, err = run("train", small, *ALL, "--epochs", 2, "--no-plots", "--out", "x")
    assert (code, err) == (0, "")
    assert (
        "weight decay 0.0005 for all but biases and what batch norm has, lr 3.weight=0.01, gradients' norm "
        "up to 0.5, gradients up to ±0.05, average of weights 0.9, augmented by "
        "shift20,rotate10, mixup 0.3, cutmix 1, batch size 60 in 3 "
        "pieces, 2 epochs or until 3 bring nothing, seed 0"
    ) in out
    document = checkpoint.read("x/checkpoint.safetensors").document
    options = document["about"]["options"]
    assert (options["clip"], options["ema"], options["mixup"]) == (0.5, 0.9, 0.3)
    assert document["average"] == 2 * -(-1257 // 60)
    groups = document["optimizer"]["param_groups"]
    assert [(g["name"], g["initial_lr"], g["weight_decay"]) for g in groups] == [
        ("others, without decay", 0.02, 0.0),
        ("3.weight", 0.01, 0.0005),
    ]
    with Path("x/history.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
    best = checkpoint.best_of(load_file("x/checkpoint.safetensors"))
    np.testing.assert_array_equal(best["3.weight"], load_file("x/weights.safetensors")["3.weight"])


def test_a_training_with_every_option_resumes_to_the_same_bits(run, small, monkeypatch):
    run("train", small, *ALL, "--epochs", 4, "--no-plots", "--out", "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, after=30)
        one_line(run("train", small, *ALL, "--epochs", 4, "--out", "x"), 1, "1 of 4 epochs and 9 steps")
    assert run("train", small, "--resume", "--no-plots", "--out", "x")[0] == 0
    same_arrays("whole/checkpoint.safetensors", "x/checkpoint.safetensors")
    same_arrays("whole/weights.safetensors", "x/weights.safetensors")


def test_checkpoints_of_older_versions_resume(run, small, monkeypatch):
    """Those that knew neither precision nor anything that came after it."""
    run("train", small, "--epochs", 3, "--no-plots", "--out", "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, after=60)
        run("train", small, "--epochs", 3, "--no-plots", "--out", "x")
    path = Path("x/checkpoint.safetensors")
    found = checkpoint.read(path)
    document = found.document
    old = ("model", "data", "validation", "epochs", "batch_size", "optimizer", "lr", "momentum")
    old += ("weight_decay", "label_smoothing", "schedule", "seed")
    document["about"] = {
        "minicnn": "0.1.0",
        "options": {name: document["about"]["options"][name] for name in old},
        "data": document["about"]["data"],
    }
    kinds = ("batch size", "seed", "optimizer", "schedule")
    document["trainer"] = {name: document["trainer"][name] for name in kinds}
    del document["average"]
    for group in document["optimizer"]["param_groups"]:
        del group["name"]
    checkpoint.write(path, found.arrays, document)
    code, _, err = run("train", small, "--resume", "--no-plots", "--out", "x")
    assert (code, err) == (0, "")
    same_arrays("whole/checkpoint.safetensors", "x/checkpoint.safetensors")


def test_options_of_newer_versions_are_refused(run, small):
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    found = checkpoint.read("x/checkpoint.safetensors")
    found.document["about"]["options"]["warmth"] = 3
    checkpoint.write("x/checkpoint.safetensors", found.arrays, found.document)
    result = run("train", small, "--resume", "--out", "x")
    one_line(result, 2, "x/checkpoint.safetensors: it was trained with an option", "warmth")
    one_line(run("eval", "x"), 2, "x/checkpoint.safetensors: it was trained with an option")


def test_the_test_is_measured_in_the_precision_of_the_training(run, small, monkeypatch):
    seen = []
    measure = train.run.evaluate

    def noted(*arguments, **options):
        seen.append(kernels.precision())
        return measure(*arguments, **options)

    monkeypatch.setattr(train.run, "evaluate", noted)
    run("train", small, "--epochs", 1, "--no-plots", "--precision", "bf16")
    assert seen == ["bf16"]
    assert kernels.precision() == "fp32"


def test_early_stopping_by_command(run, small):
    options = ("--lr", 0, "--early-stopping", 2, "--epochs", 9, "--no-plots", "--out", "x")
    code, out, _ = run("train", small, *options)
    assert code == 0
    assert "stopped after 3 of 9 epochs: no better validation in 2 epochs" in out
    assert json.loads(Path("x/results.json").read_text())["stopped"] == "no better validation in 2 epochs"
    code, out, _ = run("train", small, "--resume", "--no-plots", "--out", "x")
    assert code == 0
    assert "epoch 4/9" not in out


@pytest.mark.parametrize("recipe", PAPERS)
def test_recipes_of_the_literature(run, small, recipe):
    """Their figures, as the papers have them; an option that is given goes before the recipe."""
    options = ("--epochs", 1, "--batch-size", 300, "--validation", 100, "--no-plots", "--out", "x")
    code, _, err = run("train", small, "--recipe", recipe, "--augment", "none", *options)
    assert (code, err) == (0, "")
    found = json.loads(Path("x/results.json").read_text())["options"]
    assert (found["recipe"], found["batch_size"], found["validation"]) == (recipe, 300, 100)
    figures = {
        "lenet1998": (0.01, 0.0, 0.0, "lenet"),
        "alexnet2012": (0.01, 0.9, 5e-4, "plateau"),
        "vgg2014": (0.01, 0.9, 5e-4, "plateau"),
        "resnet-cifar2015": (0.1, 0.9, 1e-4, "halves"),
    }
    augmentations = {"alexnet2012": "alexnet", "vgg2014": "vgg", "resnet-cifar2015": "cifar"}
    assert PAPERS[recipe].augment == augmentations.get(recipe)
    assert tuple(found[k] for k in ("lr", "momentum", "weight_decay", "schedule")) == figures[recipe]
    assert f"{PAPERS[recipe].source[:14]}" in " ".join(run("train", "--help")[1].split())
    share = PAPERS[recipe].validation  # of CIFAR's 50,000 images it is He et al.'s 5,000
    assert share == (0.1 if recipe == "resnet-cifar2015" else None)


def test_one_image_alone_in_a_batch_norm_is_found_before_training(run, normed):
    result = run("train", normed, "--batch-size", 4, "--epochs", 1)
    one_line(result, 2, "batch_size: with 4 of 1257 images at a time, one comes alone", "batch_norm")
    assert not Path("runs").exists()
    assert run("train", normed, "--batch-size", 628, "--epochs", 1, "--no-plots", "--out", "a")[0] == 2
    assert run("train", normed, "--batch-size", 419, "--epochs", 1, "--no-plots", "--out", "b")[0] == 0


# ---------------------------------------------------------------------------------- disks and other data


def test_a_disk_that_fills_in_the_middle(tmp_path):
    """With files limited by the system: what was saved stays, and can be gone on from."""
    if os.name != "posix":
        pytest.skip("needs POSIX's limits")
    begin = (
        "import resource, sys; from minicnn import cli; from minicnn.train import run; run.SAVE_EVERY = 0;"
    )
    limit = (
        "from minicnn.train import trainer; f = trainer.Trainer._finish_epoch\n"
        "def finish(self, *a):\n"
        "    f(self, *a)\n"
        "    if self.epoch == 1: resource.setrlimit(resource.RLIMIT_FSIZE, (2000, -1))\n"
        "trainer.Trainer._finish_epoch = finish\n"
    )
    command = ["train", "mlp_300_100", "--epochs", "2", "--no-plots", "--seed", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}

    def call(code, *options):
        asked = [sys.executable, "-c", f"{code}sys.exit(cli.main(sys.argv[1:]))", *command, *options]
        return subprocess.run(asked, capture_output=True, text=True, env=environment, timeout=120)

    begin = begin.replace(" run.SAVE_EVERY = 0;", "\n")
    done = call(begin + limit, "--out", "x")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("minicnn: x/checkpoint.safetensors: File too large; what was saved before is kept")
    assert line.endswith("minicnn train mlp_300_100 --data digits --out x --resume")
    assert {path.name for path in Path("x").iterdir()} == {"checkpoint.safetensors"}
    assert checkpoint.read("x/checkpoint.safetensors").document["epoch"] == 0
    assert call(begin, "--out", "x", "--resume").returncode == 0
    assert call(begin, "--out", "whole").returncode == 0
    same_arrays("whole/weights.safetensors", "x/weights.safetensors")


def photographs(folder, *splits, count=6):
    rng = np.random.default_rng(0)
    for split in splits:
        for name in ("daisy", "rose"):
            Path(folder, split, name).mkdir(parents=True)
            for i in range(count):
                picture = Image.fromarray(rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
                picture.save(f"{folder}/{split}/{name}/{i}.png")


@pytest.mark.filterwarnings("default::minicnn.data.DataWarning")
def test_a_broken_image_is_named(run):
    photographs("flowers", "train", "test", count=12)
    broken = Path("flowers/test/rose/7.png")
    broken.write_bytes(broken.read_bytes()[:300])
    options = ("--data", "./flowers", "--epochs", 1, "--no-plots", "--validation", 2, "--augment", "flip")
    more = (
        "mend the file and continue with: minicnn train tiff_cnn",
        "--resume; or leave",
        "--on-error skip",
    )
    one_line(run("train", "tiff_cnn", *options, "--out", "x"), 1, "rose/7.png", *more)
    assert checkpoint.read("x/checkpoint.safetensors").document["epoch"] == 1
    one_line(run("features", "tiff_cnn", "--data", "./flowers"), 1, "rose/7.png")
    one_line(run("eval", "x"), 1, "rose/7.png")
    code, out, err = run("train", "tiff_cnn", *options, "--on-error", "skip", "--out", "y")
    assert code == 0
    assert "rose/7.png: cannot be read (image file is truncated); left out" in err
    assert "22 train, 2 validation, 23 test images" in out


def test_data_that_changed_their_size_are_noticed(run, small, monkeypatch):
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    load = data.load

    def fewer(*arguments, **options):
        digits = load(*arguments, **options)
        return replace(digits, train=digits.train.take(slice(1000)))

    monkeypatch.setattr(data, "load", fewer)
    result = run("train", small, "--resume", "--out", "x")
    words = "1257 + 270 + 270 images (train, validation, test) then, 1000 + 270 + 270 now"
    one_line(result, 2, "x/checkpoint.safetensors: was trained on other data than 'digits' is here: " + words)
