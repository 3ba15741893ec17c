"""``minicnn augment``: a picture, and every mistake in one line."""

import io
import re
import shutil
import warnings

import numpy as np
import pytest
from PIL import Image, ImageShow
from test_folder import pets, put

from minicnn import cli


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINICNN_DATA", raising=False)


def pixels_of(path) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))


@pytest.mark.parametrize("data", ["digits", "pets"])
def test_it_draws_a_picture(tmp_path, capsys, data: str) -> None:
    pets(tmp_path / "pets")
    options = [
        "augment",
        data if data == "digits" else "./pets",
        "--augment",
        "rotate,cutout4",
        "--images",
        "2",
    ]
    options += ["--versions", "2", "--size", "16"]
    assert cli.main([*options, "--out", "one.png"]) == 0
    assert capsys.readouterr().out == "saved in one.png: 2 training images, each beside 2 versions of it\n"
    one = pixels_of(tmp_path / "one.png")
    assert one.shape[0] > 200
    assert cli.main([*options, "--out", "same.png"]) == 0
    np.testing.assert_array_equal(pixels_of(tmp_path / "same.png"), one)
    assert cli.main([*options, "--out", "other.png", "--seed", "1"]) == 0
    assert not np.array_equal(pixels_of(tmp_path / "other.png"), one)


def test_it_shows_the_picture_where_something_can(tmp_path, capsys, monkeypatch) -> None:
    shown = []
    monkeypatch.setattr(
        ImageShow, "show", lambda image, title: bool(shown.append(image.size) or len(shown) < 2)
    )
    command = ["augment", "digits", "--augment", "flip", "--show", "--size", "8", "--images", "1"]
    assert cli.main(command) == 0
    assert len(shown) == 1
    assert cli.main(command) == 1
    assert "no program that shows pictures was found; look at samples.png" in capsys.readouterr().err


def test_help_lists_what_there_is(capsys) -> None:
    assert cli.main(["augment", "--help"]) == 0
    out = capsys.readouterr().out
    for words in (
        "flip ",
        "crop4 ",
        "photos ",
        "rotate40,shift20,shear20,zoom20,flip",
        "moved by up to N pixels",
    ):
        assert words in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["digits"], "the following arguments are required: --augment"),
        (["digits", "--augment", "flop"], "augment: 'flop' is unknown; did you mean 'flip'?"),
        (["digitz", "--augment", "flip"], "there is no data set 'digitz', did you mean 'digits'?"),
        (["./none", "--augment", "flip"], "none: no such folder"),
        (["one", "--augment", "flip"], "there is only one class, 'cat'"),
        (["digits", "--augment", "flip", "--images", "99"], "--images 99, but the picture has room for 20"),
        (
            ["cifar10", "--augment", "flip", "--offline", "--data-dir", "."],
            "put cifar-10-binary.tar.gz there",
        ),
        (["digits", "--augment", "pca"], "PCANoise: the images have 1 channels, but 3 colours are expected"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, arguments: list[str], words: str) -> None:
    for i in range(4):
        put(tmp_path / "one" / "cat" / f"{i}.png", i)
    assert cli.main(["augment", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("minicnn: ")
    assert words in err
    assert not (tmp_path / "samples.png").exists()


def test_what_is_suspicious_is_one_line_each(tmp_path, capsys) -> None:
    folder = pets(tmp_path / "train", 4).parent
    (folder / "test" / "cat").mkdir(parents=True)
    for file in (folder / "train" / "cat").iterdir():
        shutil.copy(file, folder / "test" / "cat")
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        assert (
            cli.main(["augment", str(folder), "--augment", "flip", "--images", "1", "--versions", "1"]) == 0
        )
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert re.match(rf"minicnn: {folder}: [34] of 4 test images are in training too", err)
