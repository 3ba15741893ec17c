"""``minicnn predict``, ``models`` and ``summary`` as a user meets them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn as mc
from minicnn import models, nn, weights
from minicnn.models import get_model_weights, pretrained, published
from minicnn.predict import Classifier, Guess, from_run, from_weights, picture


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(pretrained.ENVIRONMENT_VARIABLE, str(tmp_path / "weights"))
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def colours():
    """A network of three classes that says which colour an image has, and a file of its weights."""

    @models.register(input_shape=(3, 8, 8), name="colours")
    def build(num_classes: int = 3, in_channels: int = 3) -> nn.Module:
        """The mean of each colour."""
        return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(in_channels, num_classes))

    model = models.create("colours")
    model[2].weight.data[...] = 2 * np.eye(3)
    model[2].bias.data[...] = 0
    weights.save(model, "colours.safetensors")
    Path("names.txt").write_text("red\ngreen\nblue\n")
    for name in ("red", "green", "blue"):
        Image.new("RGB", (20, 12), name).save(f"{name}.png")
    yield ("--model", "colours", "--weights", "colours.safetensors", "--classes", "names.txt")
    models.registry.forget("colours")


def one_line(result, code, *words):
    found, _, err = result
    assert (found, err.count("\n")) == (code, 1), err
    assert err.startswith("minicnn: ")
    for word in words:
        assert word in err


def test_an_image(run, colours):
    code, out, err = run("predict", "blue.png", *colours)
    assert (code, err) == (0, "")
    lines = out.split("\n")
    assert lines[:3] == ["colours, colours.safetensors", "", "blue.png"]
    assert [line.split()[-1] for line in lines[3:6]] == ["blue", "green", "red"]
    assert lines[3].split()[:2] == [">99.9", "%"]


def test_probabilities_by_hand(run, colours):
    _, out, _ = run("predict", "green.png", *colours, "--json")
    (image,) = json.loads(out)["images"]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    logits = 2 * (np.array([0, 128 / 255, 0]) - mean) / std
    expected = np.exp(logits) / np.exp(logits).sum()
    assert image["file"] == "green.png"
    assert [guess["name"] for guess in image["guesses"]] == ["green", "blue", "red"]
    for guess in image["guesses"]:
        assert guess["probability"] == pytest.approx(expected[guess["label"]], rel=1e-4)


def test_on_a_gpu(run, colours, gpu):
    code, out, err = run("predict", "green.png", *colours, "--device", "cuda", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["images"][0]["guesses"][0]["name"] == "green"


def test_several_images_and_folders(run, colours):
    Path("more/deep").mkdir(parents=True)
    for number in range(9):  # more than are asked about at a time
        Image.new("RGB", (9, 9), "red").save(f"more/deep/{number}.PNG")
    Path("more/notes.txt").write_text("no image")
    Path("more/.hidden.png").write_text("no image")
    code, out, err = run("predict", "blue.png", "more", *colours, "--top", 1, "--json")
    assert (code, err) == (0, "")
    found = [(image["file"], image["guesses"][0]["name"]) for image in json.loads(out)["images"]]
    assert found == [("blue.png", "blue"), *((str(Path(f"more/deep/{n}.PNG")), "red") for n in range(9))]
    code, out, _ = run("predict", "more", *colours, "--top", 1)
    assert out.count("colours.safetensors") == 1
    assert out.count(" red") == 9


def test_without_names_classes_are_numbers(run, colours):
    _, out, _ = run("predict", "green.png", *colours[:4])
    assert "class 1" in out


def test_a_picture(run, colours):
    Path("out").mkdir()
    code, out, _ = run("predict", "red.png", "blue.png", *colours, "--save", "out/p.png")
    assert code == 0
    assert out.endswith("saved in out/p.png\n")
    with Image.open("out/p.png") as image:
        assert image.format == "PNG"
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    for colour in ((255, 0, 0), (0, 0, 255), (0, 0x72, 0xB2)):  # both images, and the bars
        assert (pixels == colour).all(axis=1).sum() > 1000
    assert [path.name for path in Path("out").iterdir()] == ["p.png"]


def test_broken_images_do_not_stop_the_others(run, colours):
    Path("bad.png").write_bytes(b"no image")
    code, out, err = run("predict", "red.png", "bad.png", "blue.png", *colours)
    assert code == 1
    assert err.splitlines() == [
        "minicnn: bad.png: damaged, or no image of a known format (JPEG, PNG, TIFF, BMP, GIF, ...)",
        "minicnn: predict: 1 of 3 images could not be read",
    ]
    assert "red.png" in out
    assert "blue.png" in out
    code, out, _ = run("predict", "bad.png", *colours, "--json", "--save", "p.png")
    assert (code, json.loads(out)["images"]) == (1, [])
    assert not Path("p.png").exists()


def test_other_preprocessing(run, colours):
    _, out, _ = run("predict", "red.png", *colours, "--preprocessing", "caffe", "--json")
    assert json.loads(out)["images"][0]["guesses"][0]["name"] == "blue"  # the first channel is the third then


WRONG = [
    ("predict", "required: IMAGE"),
    ("predict red.png", "--model is needed, one that `minicnn models` lists"),
    ("predict red.png --model colors", "did you mean 'colours'?"),
    ("predict no.png --model colours", "no.png: there is no such file"),
    ("predict empty --model colours", "empty: there are no images in this folder"),
    (
        "predict red.png --model colours",
        "colours has no published weights: give a file of weights, or the folder",
    ),
    (
        "predict red.png --model resnet18 --weights V7",
        "'V7': resnet18 has DEFAULT, IMAGENET1K_V1, and there is no",
    ),
    ("predict red.png --model colours --weights red.png", "red.png: "),
    ("predict red.png --model colours --weights empty", "empty: holds no checkpoint.safetensors"),
    ("predict red.png --model colours --weights colours.safetensors --classes two.txt", "made for 3 classes"),
    (
        "predict red.png --model colours --weights colours.safetensors --classes gap.txt",
        "has no name in line 2",
    ),
    ("predict red.png --model colours --weights colours.safetensors --classes red.png", "not a text file"),
    (
        "predict red.png --model colours --weights colours.safetensors --classes no.txt",
        "no.txt: No such file",
    ),
    (
        "predict red.png --model lenet5 --weights lenet5.safetensors",
        "how images were prepared for the weights in",
    ),
    ("predict red.png --model colours --preprocessing keras", "'keras' is unknown"),
    ("predict red.png --model colours --top 0", "whole number of at least 1"),
    ("predict many --model colours --save p.png", "--save draws 20 images at most, but these are 21"),
    (
        "predict red.png --model colours --save p.jpg",
        "--save p.jpg: the picture is a PNG, so a name that ends in",
    ),
    ("predict red.png --model colours --save no/p.png", "--save no/p.png: there is no folder no"),
    ("predict red.png --model colours --offlin", "did you mean '--offline'?"),
]


@pytest.mark.parametrize(("command", "words"), WRONG, ids=[words for _, words in WRONG])
def test_wrong_commands(run, colours, command, words):
    Path("empty").mkdir()
    Path("two.txt").write_text("a\nb\n")
    Path("gap.txt").write_text("a\n\nc\n")
    Path("many").mkdir()
    for number in range(21):
        Image.new("RGB", (9, 9)).save(f"many/{number}.png")
    weights.save(models.create("lenet5"), "lenet5.safetensors")
    code = 1 if "No such file" in words else 2
    one_line(run(*command.split()), code, words)


def test_offline_says_what_to_put_where(run, tmp_path, colours):
    result = run("predict", "red.png", "--model", "resnet18", "--offline")
    path = tmp_path / "weights" / "resnet18-f37072fd.pth"
    one_line(result, 1, f"get https://download.pytorch.org/models/resnet18-f37072fd.pth and put it at {path}")


# ----------------------------------------------------------------------------------------- by name


@pytest.fixture
def small_resnet(monkeypatch):
    """Published weights of a network whose 1,000 classes are ImageNet's, in the folder of weights."""
    row = replace(get_model_weights("resnet18")[0], network="narrow", sha256="", options={"width": 4})
    monkeypatch.setattr(published, "PUBLISHED", (row,))

    @models.register(input_shape=(3, 224, 224), name="narrow")
    def build(num_classes: int = 1000, in_channels: int = 3, width: int = 64) -> nn.Module:
        """ResNet-18 of any width."""
        return models.create("resnet18", num_classes=num_classes, in_channels=in_channels, width=width)

    pretrained.folder().mkdir(parents=True)
    weights.save(models.create("narrow", width=4), pretrained.folder() / "small.safetensors")
    (pretrained.folder() / "small.safetensors").rename(pretrained.folder() / row.file)
    yield "narrow"
    models.registry.forget("narrow")


def test_published_weights_bring_classes_and_preprocessing(run, small_resnet):
    Image.new("RGB", (300, 200), "red").save("red.png")
    code, out, err = run("predict", "red.png", "--model", small_resnet)
    assert (code, err) == (0, "")
    assert out.startswith("narrow, IMAGENET1K_V1 of torchvision\n")
    ask = from_weights(small_resnet)
    assert (ask.preprocessing.resize, ask.preprocessing.crop) == (256, 224)
    ((best, *_),) = ask.guesses(np.zeros((1, 3, 224, 224), np.float32), top=1)
    assert ask.class_names[best.label] == best.name
    assert len(ask.class_names) == 1000
    assert str(ask) == "narrow, IMAGENET1K_V1 of torchvision"
    one_line(run("predict", "red.png", "--model", small_resnet, "--classes", "red.png"), 2, "not a text file")
    Path("two.txt").write_text("a\nb\n")
    words = "the network has 1,000 classes, but 2 names were given"
    one_line(run("predict", "red.png", "--model", small_resnet, "--classes", "two.txt"), 2, words)


# -------------------------------------------------------------------------------- a training of one's own


@pytest.fixture
def trained(run):
    """The folder of a training on the digits, and an image of each digit."""

    @models.register(input_shape=(1, 8, 8), name="small")
    def build(num_classes: int = 10, in_channels: int = 1) -> nn.Module:
        """A dense layer."""
        return nn.Sequential(nn.Flatten(), nn.Linear(64 * in_channels, num_classes))

    run("train", "small", "--epochs", 3, "--no-plots", "--out", "run")
    images, labels = mc.data.digits.read_digits()
    Path("digits").mkdir()
    for digit in range(10):
        Image.fromarray(images[labels == digit][3]).save(f"digits/{digit}.png")
    yield Path("run")
    models.registry.forget("small")


def test_a_training_s_folder(run, trained):
    code, out, err = run("predict", "digits", "--weights", trained, "--json")
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["network"], found["weights"]) == ("small", "trained on digits")
    right = [image["guesses"][0]["name"] in image["file"] for image in found["images"]]
    assert len(right) == 10
    assert sum(right) >= 8
    assert run("predict", "digits", "--model", "small", "--weights", trained)[0] == 0


def test_ink_on_paper(run, trained):
    for digit in range(10):
        with Image.open(f"digits/{digit}.png") as image:
            Image.eval(image, lambda value: 255 - value).save(f"digits/{digit}.png")
    _, out, _ = run("predict", "digits", "--weights", trained, "--json", "--invert")
    right = [image["guesses"][0]["name"] in image["file"] for image in json.loads(out)["images"]]
    assert sum(right) >= 8


def test_contradictions_to_a_training(run, trained):
    words = "--model lenet5, but in run small was trained"
    one_line(run("predict", "digits", "--weights", trained, "--model", "lenet5"), 2, words)
    words = "are not for a training's folder"
    one_line(run("predict", "digits", "--weights", trained, "--preprocessing", "tf"), 2, words)


def test_a_training_that_is_not_finished(run, trained):
    for path in trained.iterdir():
        if path.name != "checkpoint.safetensors":
            path.unlink()
    for weights_of in (trained, trained / "checkpoint.safetensors"):
        code, out, _ = run("predict", "digits", "--weights", weights_of, "--json")
        assert code == 0
        assert len(json.loads(out)["images"]) == 10
    (trained / "checkpoint.safetensors").unlink()
    words = "run: holds no checkpoint.safetensors, so it is not a training's folder"
    one_line(run("predict", "digits", "--weights", trained), 2, words)


def test_a_training_on_photographs(run):
    """The middle square of each, as in training."""
    rng = np.random.default_rng(0)
    for name, colour in (("sky", (40, 90, 220)), ("grass", (50, 180, 40))):
        Path(f"photos/{name}").mkdir(parents=True)
        for number in range(20):
            noise = rng.integers(-20, 20, (24, 40, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(f"photos/{name}/{number}.png")
    options = ("--epochs", 3, "--validation", 4, "--no-plots", "--out", "run")
    code, _, err = run("train", "mlp_cifar", "--data", "photos", *options)
    assert (code, err) == (0, "")
    ask = from_run("run")
    assert (ask.preprocessing.crop, ask.preprocessing.resize, len(ask.preprocessing.mean)) == (32, 32, 3)
    _, out, _ = run("predict", "photos", "--weights", "run", "--json")
    right = [image["guesses"][0]["name"] in image["file"] for image in json.loads(out)["images"]]
    assert np.mean(right) > 0.9


# ------------------------------------------------------------------------------------------ as a library


def test_percent():
    shown = {1.0: ">99.9 %", 0.9994: "99.9 %", 0.5: "50.0 %", 0.0006: "0.1 %", 1e-9: "<0.1 %", 0.0: "0.0 %"}
    assert {p: picture.percent(p) for p in shown} == shown


def test_a_picture_of_long_names_and_few_classes():
    image = Image.new("L", (8, 8))
    guesses = [Guess(0, "a very long name of a class that goes on and on and does not end soon", 0.9)]
    assert picture.draw([picture.Prediction("x" * 200, image, guesses)], "t").startswith(b"\x89PNG")
    with pytest.raises(ValueError, match="room for 20 images, but these are 21"):
        picture.draw([picture.Prediction("x", image, guesses)] * 21, "t")


def test_the_model_stays_in_its_mode():
    how = mc.models.Preprocessing(28, None, (0.5,), (0.5,), channels="L")
    ask = Classifier("lenet5", "drawn", models.create("lenet5"), how)
    p = ask.probabilities(np.full((2, 1, 28, 28), 1e3, np.float32))
    assert (p.shape, p.dtype) == ((2, 10), np.float64)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    assert ask.model.training


# ------------------------------------------------------------------------------------- models, summary


def test_models_as_json(run):
    code, out, _ = run("models", "--json")
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0
    assert sorted(rows) == models.list()
    assert rows["resnet50"]["macs"] == 4_089_184_256
    assert [w["name"] for w in rows["resnet50"]["weights"]] == ["IMAGENET1K_V1", "IMAGENET1K_V2"]
    assert rows["resnet50"]["weights"][1]["preprocessing"]["resize"] == 232


def test_one_model(run):
    _, out, _ = run("models", "resnet50")
    for words in (
        "ResNet of 50 layers",
        "2015",
        "25,557,032",
        "stride_on='3x3'",
        "IMAGENET1K_V2 of torchvision, the DEFAULT: top-1 80.86 %, top-5 95.43 %, 103 MB",
        "https://download.pytorch.org/models/resnet50-0676ba61.pth",
        "shorter side to 232 (bilinear), middle 224×224",
    ):
        assert words in out
    assert "none published" in run("models", "lenet5")[1]


def test_the_list_names_years_and_accuracies(run):
    _, out, _ = run("models")
    row = next(line.split() for line in out.splitlines() if line.startswith("resnet50 "))
    assert row == ["resnet50", "2015", "3×224×224", "25,557,032", "4.09", "80.9", "95.4", "torchvision"]


def test_listing_builds_no_network(run, monkeypatch):
    def build(*_):
        raise AssertionError("a network was built")

    monkeypatch.setattr(nn.Module, "__init__", build)
    assert run("models")[0] == run("models", "resnet50")[0] == 0


def test_summary_of_other_images_and_classes(run):
    code, out, err = run("summary", "resnet18", "--input", "1x64×48", "--classes", 7, "--batch-size", 3)
    assert (code, err) == (0, "")
    assert "resnet18, input 3 × 1 × 64 × 48" in out
    assert "3 × 7" in out
    parameters = 11_689_512 - 64 * 2 * 49 - 993 * 513
    assert f"{parameters:,}: " in out
    assert "in training" in out


def test_summary_of_the_largest_network(run):
    code, out, err = run("summary", "nasnetalarge")
    assert (code, err) == (0, "")
    assert "88,753,150" in out
