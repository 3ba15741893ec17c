"""Image kernels: the numbers by hand, and ``minicnn filters`` as a user meets it."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import minicnn as mc
from minicnn import cli
from minicnn.explain import filter_sheet
from minicnn.explain.filters import FILTERS, apply, as_colours


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _on_the_cpu():
    with mc.use("numpy"):
        yield


def by_hand(image, kernel):
    """A sum over the window of every pixel, with the image mirrored beyond its edge."""
    around = len(kernel) // 2
    padded = np.pad(image, around, mode="reflect")
    y = np.empty_like(image)
    for h, w in np.ndindex(image.shape):
        y[h, w] = (padded[h : h + len(kernel), w : w + len(kernel)] * kernel).sum()
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", FILTERS)
def test_by_hand(name, dtype):
    x = np.random.default_rng(0).random((2, 3, 7, 6)).astype(dtype)
    y = apply(x, name)
    assert y.dtype == dtype
    for n, c in np.ndindex(2, 3):
        ys = [by_hand(x[n, c].astype(np.float64), kernel) for kernel in FILTERS[name].arrays()]
        expected = ys[0] if len(ys) == 1 else np.hypot(*ys)
        np.testing.assert_allclose(y[n, c], expected, atol=1e-12 if dtype is np.float64 else 1e-5)


@pytest.mark.parametrize("name", FILTERS)
def test_what_a_flat_image_becomes(name):
    """Edges sum to 0, everything else to 1: a flat image is then black, or stays as it is."""
    edges = {"sobel_x", "sobel_y", "sobel", "outline"}
    y = apply(np.full((1, 1, 5, 5), 0.7), name)
    np.testing.assert_allclose(y, 0 if name in edges else 0.7, atol=1e-12)


def test_which_way_they_point():
    right = np.broadcast_to(np.arange(6.0), (1, 1, 5, 6))  # brighter from column to column
    assert (apply(right, "sobel_x")[..., 1:-1] == 8).all()
    assert (apply(right, "sobel_y") == 0).all()
    below = right.transpose(0, 1, 3, 2)
    assert (apply(below, "sobel_y")[..., 1:-1, :] == 8).all()
    bump = np.zeros((1, 1, 9, 9))
    bump[..., 3:6, 3:6] = 0.5
    emboss = apply(bump, "emboss")[0, 0]
    assert emboss[2, 2] > 0 > emboss[6, 6]  # lit from above on the left


def test_an_image_of_one_pixel():
    np.testing.assert_allclose(apply(np.full((1, 3, 1, 1), 0.25), "gaussian_blur"), 0.25)


def test_colours():
    y = np.array([-0.5, 0.0, 1.0])
    np.testing.assert_allclose(as_colours(y, "sobel_y"), [0.25, 0.5, 1])
    np.testing.assert_allclose(as_colours(np.abs(y), "sobel"), [0.5, 0, 1])
    np.testing.assert_allclose(as_colours(2 * y, "sharpen"), [0, 0, 1])
    np.testing.assert_allclose(as_colours(0 * y, "sobel_x"), 0.5)


def test_of_images_on_a_gpu(gpu):
    x = np.random.default_rng(0).random((1, 3, 5, 5))
    y = apply(mc.from_numpy(x).to("cuda"), "sobel")
    assert isinstance(y, np.ndarray)
    np.testing.assert_array_equal(y, apply(x, "sobel"))


@pytest.mark.parametrize(
    ("x", "name", "error", "words"),
    [
        (np.zeros((1, 1, 3, 3)), "sobell", ValueError, "did you mean 'sobel'"),
        (np.zeros((3, 3)), "sobel", ValueError, r"x must be images \(N, C, H, W\), got shape \(3, 3\)"),
        (np.zeros((1, 1, 0, 3)), "sobel", ValueError, "got shape"),
        (np.zeros((1, 1, 3, 3), np.uint8), "sobel", TypeError, "floating dtype, got uint8"),
    ],
)
def test_wrong_input(x, name, error, words):
    with pytest.raises(error, match=words):
        apply(x, name)


def test_the_sheet():
    grey = np.linspace(0, 1, 30).reshape(1, 5, 6)
    with Image.open(io.BytesIO(filter_sheet.draw(grey, ["sobel", "emboss"], "grey"))) as sheet:
        assert sheet.format == "PNG"
        assert len(sheet.convert("RGB").getcolors(1 << 20)) > 30


def test_the_command(capsys):
    Image.new("RGB", (40, 30), "red").save("a.png")
    assert cli.main(["filters", "a.png", "--only", "outline", "sobel_x", "--out", "o.png"]) == 0
    assert capsys.readouterr().out == "saved in o.png: outline, sobel_x\n"
    assert Path("o.png").read_bytes().startswith(b"\x89PNG")


def test_a_hostile_name(capsys):
    name = "$\\frac{$ \t.png"
    Image.new("RGB", (4, 3), "red").save(name)
    assert cli.main(["filters", name, "--only", "sharpen"]) == 0
    assert Path("filters.png").is_file()


def test_without_an_image(capsys):
    assert cli.main(["filters", "--only", "emboss", "--size", "30"]) == 0
    out = capsys.readouterr().out
    assert "Grace Hopper" in out
    assert "public domain" in out
    assert Path("filters.png").is_file()


def test_the_list(capsys):
    assert cli.main(["filters", "--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == list(FILTERS)
    assert not list(Path().iterdir())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none.png"], 2, "none.png: cannot be read"),
        (["text.png"], 2, "text.png: damaged, or no image of a known format"),
        (["a.png", "--only", "sobell"], 2, "argument --only: 'sobell' is unknown; did you mean 'sobel'?"),
        (["a.png", "--out", "o.jpg"], 2, "--out o.jpg: the name of a file that ends in .png is expected"),
        (["a.png", "--out", "none/o.png"], 1, "none/o.png: No such file or directory"),
        (["a.png", "--size", "9999"], 2, "--size 9999, but at most 2000 is expected"),
        (["a.png", "--size", "1"], 2, "a whole number of at least 3 is expected"),
    ],
)
def test_mistakes_are_one_line(capsys, arguments, code, words):
    Image.new("RGB", (4, 3)).save("a.png")
    Path("text.png").write_text("no image")
    assert cli.main(["filters", *arguments]) == code
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert words in err


def test_colours_mean_what_they_mean_elsewhere():
    """Positive is orange and negative blue, as on the pages; light enough to be written on."""
    from matplotlib import colormaps

    filter_sheet.draw(np.zeros((1, 8, 8)), ["sobel_x"], "registers the colours")
    below, zero, above = (colormaps[filter_sheet.PALER](v)[:3] for v in (0.0, 0.5, 1.0))
    assert below[2] > below[0]
    assert above[0] > above[2]
    assert min(zero) > 0.99
    assert min(sum(below), sum(above)) > 1.8
