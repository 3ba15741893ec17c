"""Image files: every kind of pixel becomes grey or colour bytes, upright; what is none is told in a line."""

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from minicnn.data import DataError, open_image
from minicnn.data import images as images_module

RAMP = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)


def stored(image: Image.Image, kind: str = "PNG", **options) -> io.BytesIO:
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def palette() -> Image.Image:
    image = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "L").convert("P")
    image.putpalette([255, 0, 0, 0, 0, 255] + [0] * 762)
    return image


@pytest.mark.parametrize(
    ("image", "kind", "rgb"),
    [
        (Image.fromarray(RAMP), "PNG", np.repeat(RAMP[..., None], 3, 2)),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), "PNG", np.repeat(RAMP[..., None], 3, 2)),
        (Image.fromarray(RAMP.astype(np.uint16) * 257), "TIFF", np.repeat(RAMP[..., None], 3, 2)),
        (Image.fromarray(RAMP.astype(np.int32) * 257), "TIFF", np.repeat(RAMP[..., None], 3, 2)),
        (Image.fromarray(RAMP.astype(np.float32) / 255), "TIFF", np.repeat(RAMP[..., None], 3, 2)),
        (Image.fromarray(RAMP > 100), "PNG", np.repeat(np.uint8(255) * (RAMP > 100)[..., None], 3, 2)),
        (Image.new("RGB", (2, 1), (9, 8, 7)), "PNG", [[[9, 8, 7], [9, 8, 7]]]),
        (Image.new("RGB", (2, 1), (9, 8, 7)), "TIFF", [[[9, 8, 7], [9, 8, 7]]]),
        (Image.new("RGB", (2, 1), (9, 8, 7)), "BMP", [[[9, 8, 7], [9, 8, 7]]]),
        (Image.new("RGBA", (1, 1), (9, 8, 7, 255)), "PNG", [[[9, 8, 7]]]),
        (Image.new("RGBA", (1, 1), (9, 8, 7, 0)), "PNG", [[[255, 255, 255]]]),
        (Image.new("LA", (1, 1), (10, 0)), "PNG", [[[255, 255, 255]]]),
        (Image.new("CMYK", (1, 1), (0, 0, 0, 255)), "TIFF", [[[0, 0, 0]]]),
        (palette(), "PNG", [[[255, 0, 0], [0, 0, 255]], [[0, 0, 255], [255, 0, 0]]]),
        (palette(), "GIF", [[[255, 0, 0], [0, 0, 255]], [[0, 0, 255], [255, 0, 0]]]),
    ],
)
def test_every_kind_of_pixel_becomes_colour(image: Image.Image, kind: str, rgb) -> None:
    opened = open_image(stored(image, kind))
    assert opened.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(opened), rgb)
    assert open_image(stored(image, kind), "L").mode == "L"


def test_grey_stays_what_it_is() -> None:
    np.testing.assert_array_equal(np.asarray(open_image(stored(Image.fromarray(RAMP)), "L")), RAMP)


def test_a_transparent_palette_is_laid_on_white() -> None:
    opened = open_image(stored(palette(), transparency=0))
    assert opened.getpixel((0, 0)) == (255, 255, 255)
    assert opened.getpixel((1, 0)) == (0, 0, 255)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_cameras_that_lay_on_their_side(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned to the right, to be seen upright
    opened = open_image(stored(Image.new("RGB", (8, 4)), kind, exif=exif))
    assert opened.size == (4, 8)


def test_a_large_photograph_comes_smaller_but_not_too_small() -> None:
    file = stored(Image.new("RGB", (640, 480), (200, 100, 50)), "JPEG")
    assert open_image(file, at_least=100).size == (160, 120)
    assert open_image(file, at_least=121).size == (320, 240)
    assert open_image(file, at_least=400).size == (640, 480)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"cat\.jpg: the file is empty$"),
        (b"hello", r"cat\.jpg: damaged, or no image of a known format \(JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no image of a known format"),
        (
            stored(Image.new("RGB", (64, 64)), "JPEG").getvalue()[:400],
            r"cat\.jpg: cannot be read \(.*(?i:truncated)",
        ),
        (
            stored(Image.fromarray(np.float32([[0, 2]])), "TIFF").getvalue(),
            r"its values are 0\.0 to 2\.0, but",
        ),
        (
            stored(Image.fromarray(np.int32([[0, 70000]])), "TIFF").getvalue(),
            "its values are 0 to 70000, but",
        ),
    ],
)
def test_what_is_no_image(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "cat.jpg"
    path.write_bytes(content)
    for source in (path, str(path)):
        with pytest.raises(DataError, match=message):
            open_image(source)
    with pytest.raises(DataError, match=message):
        open_image(io.BytesIO(content), name="cat.jpg")


def test_no_such_file_and_no_such_mode(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.png: cannot be read \(No such file"):
        open_image(tmp_path / "none.png")
    with pytest.raises(ValueError, match="mode is 'RGBA', but 'RGB' or 'L'"):
        open_image(stored(Image.new("L", (1, 1))), "RGBA")


def test_a_bomb_is_refused_before_it_goes_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "MAX_PIXELS", 99)
    with pytest.raises(DataError, match="10×10 pixels are more than the bound of 99"):
        open_image(stored(Image.new("L", (10, 10))), name="bomb.png")
    monkeypatch.undo()
    with pytest.raises(DataError):  # Pillow's own warning comes first; warnings are errors here
        open_image(stored(Image.new("1", (20_000, 20_000))), name="bomb.png")


@given(data=st.data(), kind=st.sampled_from(["JPEG", "PNG", "TIFF", "GIF", "BMP"]))
def test_damaged_files_are_told_or_read(data: st.DataObject, kind: str) -> None:
    content = bytearray(stored(Image.fromarray(np.tile(RAMP, (4, 4))), kind).getvalue())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content))) :]
    try:
        assert open_image(io.BytesIO(bytes(content)), name="x").mode == "RGB"
    except DataError as error:
        assert str(error).startswith("x: ")  # noqa: PT017
        assert "\n" not in str(error)  # noqa: PT017
