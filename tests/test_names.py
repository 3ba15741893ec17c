"""Names that users give to folders and files, in pictures and tables: shown, and nothing else."""

import os
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from minicnn.figures import FigureWarning, plain, png
from minicnn.train import plots
from minicnn.train.history import Epoch

NAMES = (r"$\daisy$", "[bold]rose")


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINICNN_DATA", raising=False)


def images(folder, names, count=8):
    rng = np.random.default_rng(0)
    for name in names:
        (Path(folder) / name).mkdir(parents=True)
        for i in range(count):
            picture = Image.fromarray(rng.integers(0, 256, (24, 24, 3), dtype=np.uint8))
            picture.save(Path(folder) / name / f"{i}.png")


def every_picture(run, folder, out, name):
    """All that the commands draw and print of a training on this folder."""
    printed = []
    for command in (
        ("train", "tiff_cnn", "--data", folder, "--epochs", 1, "--out", out),
        ("eval", out),
        ("compare", out, out),
        ("augment", folder, "--augment", "flip", "--images", 2, "--versions", 1),
        ("predict", f"{folder}/{name}/1.png", "--weights", out, "--save", "p.png"),
    ):
        code, text, err = run(*command)
        assert (code, err) == (0, ""), command
        printed.append(text)
    return printed


def test_names_are_neither_mathematics_nor_markup(run):
    images(r"$\flowers$", NAMES)
    out = r"[red]$\run$"
    _, table, compared, _, predicted = every_picture(run, r"$\flowers$", out, NAMES[0])
    for name in NAMES:
        assert name in table
        assert name in predicted
    assert compared.count(out) == 4


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere names of files are always text")
def test_names_that_are_no_text(run):
    name = os.fsdecode(b"caf\xe9")
    images("drinks", (name, "tea"))
    every_picture(run, "drinks", "x", "tea")
    assert run("explain", "x", "--image", "drinks/tea/1.png", "--out", "e.html")[0] == 0
    assert "caf" in Path("e.html").read_text("utf-8")


def test_a_dollar_stands_for_itself():
    """It is drawn as if mathematics had been switched off, between two of them as well."""

    def drawn(text, **options):
        figure = Figure(figsize=(3, 1))
        figure.suptitle(text, **options)
        return png(figure)

    for name in ("$a_b$", "5 $", r"a\$b$", "$$"):
        assert drawn(plain(name)) == drawn(name, parse_math=False)
    assert drawn("$a_b$") != drawn("$a_b$", parse_math=False)


def test_letters_that_the_font_has_not_are_told_in_one_line(run):
    figure = Figure(figsize=(3, 1))
    figure.suptitle("日本 tea")
    with pytest.warns(FigureWarning, match="the font .* has no 日本: boxes are drawn") as found:
        assert png(figure)
    assert len(found) == 1
    images("drinks", ("日本", "tea"))
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        code, _, err = run("train", "tiff_cnn", "--data", "drinks", "--epochs", 1, "--out", "x")
    assert code == 0
    assert len(err.splitlines()) == 1
    assert err.startswith("minicnn: the font")


def test_every_training_is_in_the_legend(monkeypatch):
    """Matplotlib leaves out those whose names begin with _; with one, the loss has labels, too."""
    drawn = []
    monkeypatch.setattr(plots, "png", lambda figure: drawn.append(figure) or b"")
    history = [Epoch(n, 1 / n, 0.5, 1 / n, 0.5, 0.1, 1.0) for n in (1, 2)]
    plots.comparison([("_a", history), ("b", history)])
    assert [text.get_text().strip() for text in drawn[0].legends[0].get_texts()] == ["_a", "b"]
    assert drawn[0].axes[0].get_yscale() == "linear"
    plots.comparison([("a", [*history, Epoch(3, 0.01, 0.5, 0.01, 0.5, 0.1, 1.0)])])
    assert drawn[1].axes[0].get_yscale() == "log"


@pytest.mark.parametrize("classes", [10, 200])
def test_names_of_many_classes_do_not_overlap(monkeypatch, classes):
    drawn = []
    monkeypatch.setattr(plots, "png", lambda figure: drawn.append(figure) or b"")
    names = [f"class {k}" for k in range(classes)]
    plots.confusion(np.eye(classes, dtype=int), names, "many")
    plots.classes({name: {"precision": 0.5, "recall": 0.4, "f1": 0.45} for name in names}, "many")
    for figure in drawn:
        png(figure)
        boxes = [label.get_window_extent() for label in figure.axes[0].get_yticklabels()]
        heights = sorted((box.y0, box.y1) for box in boxes)
        assert len(heights) >= min(classes, 100)
        assert all(below <= above for (_, below), (above, _) in pairwise(heights))
