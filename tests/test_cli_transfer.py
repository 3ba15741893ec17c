"""Transfer learning by command: weights, frozen layers, kept features."""
# ruff: noqa: F811 (fixtures of test_cli.py)

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from test_cli import _in_an_empty_folder, interrupt, one_line, same_arrays, small  # noqa: F401
from test_cli_eval import made_of_features
from test_cli_training import photographs

from minicnn import models, train
from minicnn.train import checkpoint, features, folders


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
