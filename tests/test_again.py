"""Trainings done again by ``--repeat``, and data that are no longer the same."""
# ruff: noqa: F811 (fixtures of other files)

import json
import shlex
from pathlib import Path

import pytest
from PIL import Image
from test_cli import interrupt, one_line, same_arrays, small  # noqa: F401
from test_cli_eval import made_of_features
from test_cli_training import ALL, photographs

from minicnn.train import checkpoint, features, folders


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINICNN_DATA", raising=False)


def options_of(folder):
    return json.loads(Path(folder, "results.json").read_text())["options"]


def test_a_training_repeated_gives_the_same_bits(run, small):
    run("train", small, *ALL, "--epochs", 3, "--seed", 5, "--no-plots", "--out", "x")
    for number, what in ((2, ("--repeat", "x")), (3, (small, "--repeat", "x/checkpoint.safetensors"))):
        code, out, err = run("train", *what, "--no-plots")
        assert (code, err) == (0, "")
        assert "other data" not in out
        folder = "runs/small-digits" if number == 2 else "runs/small-digits-2"
        assert options_of(folder) == options_of("x")
        same_arrays("x/weights.safetensors", f"{folder}/weights.safetensors")


def test_the_results_alone_are_enough_to_repeat(run, small):
    run("train", small, "--epochs", 1, "--lr", 0.3, "--no-plots", "--out", "x")
    Path("x/checkpoint.safetensors").unlink()
    assert run("train", "--repeat", "x", "--no-plots", "--out", "y")[0] == 0
    same_arrays("x/weights.safetensors", "y/weights.safetensors")
    Path("x/results.json").write_text("[")
    one_line(run("train", "--repeat", "x", "--out", "z"), 2, "x/results.json: is not what a training writes")


def test_an_unfinished_training_is_repeated_from_its_beginning(run, small, monkeypatch):
    run("train", small, "--epochs", 2, "--no-plots", "--out", "whole")
    with monkeypatch.context() as patch:
        interrupt(patch, after=50)
        run("train", small, "--epochs", 2, "--no-plots", "--out", "x")
    assert run("train", "--repeat", "x", "--no-plots", "--out", "y")[0] == 0
    same_arrays("whole/weights.safetensors", "y/weights.safetensors")


def test_what_is_given_goes_before_what_is_repeated(run, small):
    run("train", small, "--epochs", 2, "--lr", 0.3, "--clip", 1, "--no-plots", "--out", "x")
    run("train", "--repeat", "x", "--epochs", 1, "--seed", 4, "--no-plots", "--out", "y")
    assert options_of("y") == {**options_of("x"), "epochs": 1, "seed": 4}
    assert run("train", "--repeat", "x", "--optimizer", "adam", "--no-plots", "--out", "z")[0] == 0
    own = {"optimizer": "adam", "lr": 0.001, "momentum": None, "weight_decay": 0.0}
    assert options_of("z") == {**options_of("x"), **own}


def test_what_cannot_be_repeated(run, small):
    one_line(run("train", "--epochs", 1), 2, "train: MODEL is needed")
    one_line(run("train", "--repeat", "absent"), 2, "absent: there is no such file")
    Path("empty").mkdir()
    one_line(run("train", "--repeat", "empty"), 2, "empty: holds no checkpoint.safetensors")
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    again = ("--repeat", "x", "--out", "y")
    one_line(run("train", "lenet5", *again), 2, "x/checkpoint.safetensors: model lenet5 contradicts", small)
    one_line(run("train", *again, "--recipe", "vgg2014"), 2, "--recipe vgg2014 contradicts", "none")
    one_line(run("train", *again, "--resume"), 2, "--resume goes on", "--repeat begins it anew")
    one_line(run("train", "--repeat", "x", "--out", "x"), 2, "x already holds checkpoint.safetensors")
    one_line(run("train", *again, "--data", "nowhere"), 2, "there is no data set 'nowhere'")
    assert not Path("y").exists()


def test_repeating_on_other_data_is_said(run):
    photographs("flowers", "train", "test", count=8)
    options = ("--data", "./flowers", "--epochs", 1, "--no-plots")
    run("train", "tiff_cnn", *options, "--out", "x")
    Path("flowers/train/rose/3.png").unlink()
    words = "x was trained on other data than './flowers' is here: 14 + 2 + 16 images"
    assert words in run("train", "--repeat", "x", "--no-plots", "--out", "y")[1]
    assert words not in run("train", "--repeat", "x", *options, "--out", "z")[1]


def test_images_of_other_names_are_other_data(run):
    """Though as many of each class; an image that was broken may be mended."""
    photographs("flowers", "train", "test", count=8)
    resume = (
        "train",
        "tiff_cnn",
        "--data",
        "./flowers",
        "--epochs",
        1,
        "--no-plots",
        "--out",
        "x",
        "--resume",
    )
    run(*resume[:-1])
    Image.new("RGB", (40, 40)).save("flowers/test/rose/3.png")
    assert run(*resume)[0] == 0
    Path("flowers/test/rose/3.png").rename("flowers/test/rose/9.png")
    one_line(run(*resume), 2, "x/checkpoint.safetensors: was trained on other data", "as many images, but")


def test_features_computed_anew_are_other_data(run):
    features.save("f.safetensors", made_of_features(2))
    options = ("--data", "f.safetensors", "--epochs", 1, "--no-plots", "--out", "x")
    run("train", "linear_head", *options)
    features.save("f.safetensors", made_of_features(2, seed=1))
    one_line(run("train", "linear_head", "--resume", *options), 2, "as many images, but others")


def test_data_of_an_older_minicnn_are_compared_in_what_was_noted(run, small):
    run("train", small, "--epochs", 1, "--no-plots", "--out", "x")
    found = checkpoint.read("x/checkpoint.safetensors")
    del found.document["about"]["data"]["images"]
    checkpoint.write("x/checkpoint.safetensors", found.arrays, found.document)
    assert run("train", small, "--resume", "--no-plots", "--out", "x")[0] == 0


def test_what_is_suggested_at_the_end_works(run):
    """Each command of the last line, as it is printed; heads on features are asked about no images."""
    Image.new("L", (20, 20)).save("seven.png")
    code, out, _ = run("train", "mlp_300_100", "--epochs", 1, "--no-plots", "--out", "my run")
    assert code == 0
    features.save("f.safetensors", made_of_features(2))
    options = ("--data", "f.safetensors", "--epochs", 1, "--no-plots", "--out", "head")
    suggested = {}
    for last in (out.splitlines()[-1], run("train", "linear_head", *options)[1].splitlines()[-1]):
        for command in last.removeprefix("go on with: ").split(", "):
            _, name, *rest = shlex.split(command.replace("IMAGE", "seven.png"))
            suggested[name, "head" in rest] = (name, *rest)
    assert suggested.keys() == {
        *(("eval", False), ("predict", False), ("train", False)),
        *(("eval", True), ("train", True)),
    }
    for command in suggested.values():
        assert run(*command)[0] == 0, command


def test_help_names_every_file_that_a_training_leaves(run):
    out = run("train", "--help")[1]
    described = out[out.index("what is in the folder then:") :].split("\n\n")[0]
    assert {line.split()[0] for line in described.splitlines()[1:]} == {*folders.OUTPUTS}
    for words in ("others on ./images", "others on x.safetensors", "minicnn train --repeat"):
        assert words in out
