"""The command line after a training: eval, and compare."""
# ruff: noqa: F811 (fixtures of test_cli.py)

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_cli import _in_an_empty_folder, interrupt, one_line, same_arrays, small  # noqa: F401
from test_cli_training import photographs

from minicnn import data
from minicnn.train import features


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
