"""The command line around training: its options, eval, compare, features, and transfer by command."""
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
from safetensors.numpy import load_file, save_file
from test_cli import interrupt, one_line, same_arrays, small  # noqa: F401

from minicnn import data, kernels, models, nn, train
from minicnn.train import checkpoint, features, folders
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


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINICNN_DATA", raising=False)


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


# --------------------------------------------------------------------------------------------- eval


def test_eval_of_a_training(run, small):
    run("train", small, "--epochs", 2, "--out", "x", "--seed", 3)
    code, out, err = run("eval", "x")
    assert (code, err) == (0, "")
    written = ("evaluation.json", "confusion.png", "predictions.png", "classes.png")
    assert out.splitlines()[-1] == f"saved in x/eval-digits-test: {', '.join(written)}"
    found = json.loads(Path("x/eval-digits-test/evaluation.json").read_text())
    results = json.loads(Path("x/results.json").read_text())
    for key in ("accuracy", "top5", "confusion", "classes", "images"):
        assert found[key] == results["test"][key]
    assert found["loss"] == pytest.approx(results["test"]["loss"], rel=1e-5)
    assert found["classes"].keys() == set("0123456789")
    matrix = np.array(found["confusion"])
    assert found["classes"]["4"]["recall"] == matrix[4, 4] / matrix[4].sum()
    for name in written[1:]:
        with Image.open(Path("x/eval-digits-test", name)) as image:
            assert image.format == "PNG"


def test_eval_as_json_of_a_checkpoint_and_another_split(run, small):
    run("train", small, "--epochs", 2, "--no-plots", "--out", "x")
    for path in ("x/checkpoint.safetensors", "x/weights.safetensors"):
        options = ("--split", "validation", "--json", "--no-plots", "--out", "y")
        code, out, _ = run("eval", path, *options)
        assert code == 0
        found = json.loads(out)
        history = json.loads(Path("x/results.json").read_text())["history"]
        assert found["accuracy"] == max(epoch["validation_accuracy"] for epoch in history)
    assert {path.name for path in Path("y").iterdir()} == {"evaluation.json"}


def test_eval_of_an_unfinished_training(run, small, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, after=50)
        run("train", small, "--epochs", 4, "--out", "x")
    code, out, _ = run("eval", "x", "--no-plots")
    assert code == 0
    assert "small after 1 epoch, digits, test" in out


def test_eval_of_what_is_no_training(run, small):
    one_line(run("eval", "absent"), 2, "absent: there is no such file")
    Path("empty").mkdir()
    one_line(
        run("eval", "empty"), 2, "empty: holds no checkpoint.safetensors, so it is not a training's folder"
    )
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    Path("alone").mkdir()
    Path("alone/weights.safetensors").write_bytes(Path("x/weights.safetensors").read_bytes())
    one_line(run("eval", "alone/weights.safetensors"), 2, "alone/weights.safetensors", "no checkpoint")
    one_line(run("eval", "x", "--split", "tset"), 2, "did you mean 'test'?")
    run("train", small, "--epochs", 1, "--no-plots", "--validation", 0, "--out", "y")
    one_line(run("eval", "y", "--split", "validation"), 2, "split: digits has no validation images")
    path = Path("x/checkpoint.safetensors")
    path.write_bytes(path.read_bytes()[:-5])
    one_line(run("eval", "x"), 2, "x/checkpoint.safetensors: damaged")


def test_eval_on_labels_that_the_network_does_not_know(run, small):
    two_classes("two.safetensors")
    run("train", "linear_head", "--data", "two.safetensors", "--epochs", 1, "--no-plots", "--out", "x")
    features.save("three.safetensors", made_of_features(3))
    result = run("eval", "x", "--data", "three.safetensors")
    words = "data: made has the class 'c', but linear_head in x/checkpoint.safetensors was trained for a, b"
    one_line(result, 2, words)


def test_eval_on_images_of_another_kind(run):
    features.save("two.safetensors", made_of_features(2))
    wide = made_of_features(2)
    splits = {name: data.Split(np.repeat(s.images, 2, 1), s.labels) for name, s in wide.splits().items()}
    features.save("wide.safetensors", replace(wide, **splits))
    run("train", "linear_head", "--data", "two.safetensors", "--epochs", 1, "--no-plots", "--out", "x")
    for command in ("eval", "features"):
        result = run(command, "x", "--data", "wide.safetensors", "--out", "y")
        words = "data: made does not fit what is in x/checkpoint.safetensors: linear_head: x has shape"
        one_line(result, 2, words)
    one_line(
        run("eval", "x", "--out", "two.safetensors"), 2, "--out two.safetensors: is a file, but a folder"
    )


def test_eval_of_a_colour_network_on_grey_photographs(run):
    photographs("flowers", "train", "test")
    run("train", "tiff_cnn", "--data", "./flowers", "--epochs", 1, "--no-plots", "--out", "x")
    for path in Path("flowers").rglob("*.png"):
        grey = Path("grey", *path.parts[1:])
        grey.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).convert("L").save(grey)
    code, _, err = run("eval", "x", "--data", "./grey", "--no-plots")
    assert (code, err) == (0, "")


def test_fewer_images_than_a_batch_are_told(run, small):
    options = ("--epochs", 1, "--no-plots", "--out")
    words = "a batch would be 1258 images, but there are only 1257 for training"
    assert words in run("train", small, "--batch-size", 1258, *options, "x")[1]
    assert "a batch would be" not in run("train", small, "--batch-size", 1257, *options, "y")[1]


def made_of_features(classes, seed=0):
    rng = np.random.default_rng(seed)

    def split(N):
        labels = np.arange(N) % classes
        images = rng.standard_normal((N, 6, 1, 1)).astype(np.float32) + labels[:, None, None, None] * 3
        return data.Split(images.astype(np.float32), labels)

    names = tuple("abcdef"[:classes])
    return data.Dataset("made", split(60), split(30), split(30), names)


def two_classes(path):
    features.save(path, made_of_features(2))


# ------------------------------------------------------------------------------------------- compare


def test_compare(run, small, monkeypatch):
    run("train", small, "--epochs", 2, "--no-plots", "--out", "a")
    with monkeypatch.context() as patch:
        interrupt(patch, after=90)
        run("train", small, "--epochs", 3, "--lr", 0.5, "--no-plots", "--out", "b")
    code, out, err = run("compare", "a", "b")
    assert (code, err) == (0, "")
    assert "2 of 3" in out
    assert "a: epochs 2, lr 0.02\nb: epochs 3, lr 0.5\nsaved comparison.png\n" in out
    with Image.open("comparison.png") as image:
        assert image.format == "PNG"
    one_line(run("compare", "a", "c"), 2, "c: there is no such folder")
    Path("a/results.json").write_text('{"options": 3}')
    one_line(run("compare", "a"), 2, "a/results.json: is not what a training writes")


# ------------------------------------------------------------------------------------- transfer learning


def test_transfer_in_two_phases_by_command(run):
    run("train", "mlp_300_100", "--epochs", 2, "--no-plots", "--out", "base")
    options = ("--epochs", 1, "--no-plots")
    start = ("--weights", "base", "--freeze", "base", "--seed", 1)
    code, out, err = run("train", "mlp_300_100", *start, *options, "--out", "head")
    assert (code, err) == (0, "")
    assert "mlp_300_100 (266,610 parameters, 1,010 of them trained) on digits" in out
    assert "beginning with the weights base" in out
    base, head = load_file("base/weights.safetensors"), load_file("head/weights.safetensors")
    changed = {name for name in base if (base[name] != head[name]).any()}
    assert changed == {"output.weight", "output.bias"}
    # Another seed draws other training images, but the frozen layers see images as they know them.
    seen = [
        checkpoint.read(f"{run}/checkpoint.safetensors").document["about"]["data"] for run in ("base", "head")
    ]
    assert seen[0]["labels"] != seen[1]["labels"]
    assert (seen[0]["mean"], seen[0]["std"]) == (seen[1]["mean"], seen[1]["std"])

    tuned = ("--weights", "head", "--freeze", "base", "--unfreeze", "dense2", "--lr-of", "dense2=1e-4")
    code, out, _ = run("train", "mlp_300_100", *tuned, *options, "--out", "tuned", "--seed", 1)
    assert code == 0
    last = load_file("tuned/weights.safetensors")
    changed = {name for name in base if (last[name] != head[name]).any()}
    assert changed == {"output.weight", "output.bias", "dense2.weight", "dense2.bias"}


@pytest.mark.parametrize("lender", ["head", "head/checkpoint.safetensors", "head/weights.safetensors"])
def test_transfer_in_two_phases_on_photographs(run, lender):
    """Colour images have constants for each channel, and the second phase takes over those of the first."""
    photographs("flowers", "train", "test", count=12)
    options = ("--data", "./flowers", "--epochs", 1, "--no-plots")
    assert run("train", "tiff_cnn", *options, "--out", "head")[0] == 0
    start = ("--weights", lender, "--freeze", "base", "--seed", 1)
    code, out, err = run("train", "tiff_cnn", *start, *options, "--out", "tuned")
    assert (code, err) == (0, "")
    assert f"beginning with the weights {lender}\n" in out
    seen = [checkpoint.read(f"{run}/checkpoint.safetensors").document["about"] for run in ("head", "tuned")]
    assert seen[0]["data"]["mean"] == seen[1]["data"]["mean"]
    assert run("train", "tiff_cnn", *start, *options, "--out", "tuned", "--resume")[0] == 0


def test_weights_for_other_classes_leave_the_head(run):
    model = models.create("mlp_300_100", num_classes=4)
    train.save_weights(model, "w.safetensors")
    options = ("--epochs", 1, "--no-plots", "--freeze", "base", "--out", "x")
    code, out, _ = run("train", "mlp_300_100", "--weights", "w.safetensors", *options)
    assert code == 0
    assert "beginning with the weights w.safetensors; output.weight, output.bias freshly drawn" in out
    found = load_file("x/weights.safetensors")
    np.testing.assert_array_equal(found["dense1.weight"], model.dense1.weight.data)


def test_a_training_for_other_classes_does_not_lend_its_head(run):
    """Though there are as many of them."""
    for name, classes in (("one", "ab"), ("other", "cd")):
        features.save(f"{name}.safetensors", replace(made_of_features(2), class_names=tuple(classes)))
    options = ("--epochs", 1, "--no-plots")
    run("train", "mlp_head", "--data", "one.safetensors", "--out", "x", *options)
    new = "; output.weight, output.bias freshly drawn"
    cases = (("one", "x", "\n"), ("other", "x", new), ("other", "x/weights.safetensors", new))
    for other, lender, words in cases:
        start = ("--weights", lender, "--data", f"{other}.safetensors", "--out", f"{other}-{len(lender)}")
        code, out, _ = run("train", "mlp_head", *start, *options)
        assert code == 0
        assert f"weights {lender}{words}" in out


def test_weights_that_do_not_fit(run, small):
    save_file({"x": np.zeros(3, np.float32)}, "w.safetensors")
    one_line(run("train", small, "--weights", "w.safetensors"), 2, "w.safetensors: does not fit")
    one_line(run("train", small, "--weights", "absent"), 2, "weights 'absent': small has no", "no file")
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    one_line(run("train", "lenet5", "--weights", "x"), 2, "x/checkpoint.safetensors: does not fit LeNet5")
    assert not Path("runs").exists()


def test_published_weights_bring_their_preprocessing(run, monkeypatch, tmp_path):
    """As after a download: resnet18's file, made smaller here, and photographs in a folder."""
    wide = models.create
    narrow = {"width": 4}
    monkeypatch.setattr(models, "create", lambda name, **o: wide(name, **narrow, **o))
    monkeypatch.setenv("MINICNN_WEIGHTS", str(tmp_path / "cache"))
    (published,) = models.get_model_weights("resnet18")
    photographs("flowers", "train", "test")
    options = ("--data", "./flowers", "--validation", 2, "--epochs", 1, "--freeze", "base", "--no-plots")
    pretrained = models.create("resnet18", num_classes=1000)
    monkeypatch.setattr(models.pretrained, "_check", lambda path, published: None)
    Path("cache").mkdir()
    torch_like = Path("cache", published.file)
    train.save_weights(pretrained, "cache/w.safetensors")
    Path("cache/w.safetensors").rename(torch_like)
    code, out, err = run("train", "resnet18", "--weights", "DEFAULT", *options, "--out", "x")
    assert (code, err) == (0, "")
    assert "beginning with the weights DEFAULT; fc.weight, fc.bias freshly drawn" in out
    about = json.loads(Path("x/results.json").read_text())
    assert about["data"]["mean"] == list(published.preprocessing.mean)
    assert about["preprocessing"]["std"] == list(published.preprocessing.std)
    found = load_file("x/weights.safetensors")
    np.testing.assert_array_equal(found["conv1.weight"], pretrained.conv1.weight.data)
    torch_like.unlink()  # a checkpoint needs it no more
    assert run("train", "resnet18", "--resume", "--no-plots", "--data", "./flowers", "--out", "x")[0] == 0
    assert run("eval", "x", "--no-plots")[0] == 0


def test_features_and_a_head_on_them(run):
    run("train", "lenet5", "--epochs", 1, "--no-plots", "--out", "base")
    code, out, err = run("features", "base", "--out", "f.safetensors")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith("features of 1,797 images, 84×1×1 each, in ")
    assert lines[1] == "train a head on them with: minicnn train linear_head --data f.safetensors"
    code, out, err = run("train", "linear_head", "--data", "f.safetensors", "--out", "x", "--epochs", 5)
    assert (code, err) == (0, "")
    assert "linear_head (850 parameters) on f.safetensors: 1,257 train" in out
    names = {path.name for path in Path("x").iterdir()}
    assert names == {*folders.OUTPUTS} - {"predictions.png"}
    assert run("eval", "x", "--no-plots")[0] == 0
    one_line(run("features", "base", "--out", "f.safetensors"), 2, "f.safetensors: is there already")
    one_line(
        run("features", "lenet", "--out", "g"), 2, "lenet: no training is there", "did you mean 'lenet5'?"
    )
    one_line(run("features", "base", "--at", "c9", "--out", "g"), 2, "'c9' has no 'c9'")
    one_line(run("train", "lenet5", "--data", "f.safetensors"), 2, "lenet5: x has shape (1, 84, 1, 1)")


def test_features_of_a_network_by_name(run, small):
    run("train", small, "--epochs", 1, "--no-plots", "--out", "base")
    options = ("--weights", "base", "--at", "0", "--out", "f.safetensors")
    code, out, _ = run("features", small, *options)
    assert code == 0
    assert "1×4×4 each" in out


def test_offline_nothing_is_asked_of_the_network(run, small, monkeypatch, tmp_path):
    """What is not there is told, with the place where it belongs."""

    def no_network(*arguments, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", no_network)
    monkeypatch.setattr("socket.getaddrinfo", no_network)
    for name in ("XDG_CACHE_HOME", "MINICNN_WEIGHTS"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    photographs("flowers", "train", "test")
    offline = ("--offline", "--out", "y")
    for command in (("train", "cifar_cnn"), ("features", "cifar_cnn"), ("eval", "x")):
        result = run(*command, "--data", "cifar10", *offline)
        one_line(result, 2, "CIFAR-10 is not there", "put cifar-10-binary.tar.gz there")
    published = ("--data", "./flowers", "--weights", "DEFAULT", *offline)
    for command in ("train", "features"):
        one_line(run(command, "resnet18", *published), 1, "are not on this machine", "and put it at")


WRONG = [
    ("train lenet5 --recipe lenet", "'lenet' is unknown; did you mean 'lenet1998'?"),
    ("train lenet5 --clip 0", "--clip: '0', but a number above 0"),
    ("train lenet5 --accumulate 0", "--accumulate"),
    ("train lenet5 --ema 1", "--ema: '1', but a number from 0 to below 1"),
    ("train lenet5 --mixup 9", "MixUp: alpha is 9.0, but 0 < alpha <= 4"),
    ("train lenet5 --augment flop", "augment: 'flop' is unknown; did you mean 'flip'?"),
    ("train lenet5 --recipe alexnet2012", "PCANoise: the images have 1 channels, but 3 colours"),
    ("train lenet5 --workers -1", "--workers"),
    ("train lenet5 --on-error skp", "did you mean 'skip'?"),
    ("train lenet5 --decay some", "'some' is unknown"),
    ("train lenet5 --freeze c1,c9", "freeze: 'c9' names nothing in LeNet5 (it has c1, tanh1"),
    ("train lenet5 --freeze base --unfreeze heads", "unfreeze: 'heads' names nothing"),
    ("train lenet5 --lr-of c1", "lr_of: 'c1', but PATTERN=RATE is expected"),
    ("train lenet5 --lr-of c1=fast", "lr_of: 'c1=fast', but PATTERN=RATE is expected"),
    ("train lenet5 --lr-of c1=1,c3=2,c1=3", "lr_of: 'c1' is given two rates"),
    ("train lenet5 --augment crop28", "RandomCrop: padding is 28, but less than the sides"),
    ("train lenet5 --augment crop" + 400 * "9", "cannot be: cannot convert float infinity to integer"),
    ("compare x --out x.txt", "--out: 'x.txt', but the name of a picture, as x.png, is expected"),
    ("compare x --out no/x.png", "--out: 'no/x.png', but there is no folder no"),
    ("augment digits --augment flip --out x", "--out: 'x', but the name of a picture"),
    ("train lenet5 --lr-of c9=1", "'c9' fits no trainable parameter"),
    ("train lenet5 --lr-of c1=-1", "lr is -1.0"),
    ("train lenet5 --freeze *", "every parameter of the model is frozen"),
    ("train lenet5 --early-stopping 2 --validation 0", "early_stopping: watches the validation, but"),
    ("train linear_head --data f.safetensors", "f.safetensors: there is no such file"),
    ("eval", "RUN"),
    ("compare", "RUN"),
    ("features", "NETWORK"),
]


@pytest.mark.parametrize(("command", "words"), WRONG, ids=[command for command, _ in WRONG])
def test_wrong_commands(run, command, words):
    one_line(run(*command.split()), 2, words)
    assert list(Path().iterdir()) == []
