"""Opening one image file, whatever it is: upright, a grey or a colour value for each pixel, or not at all.

Files come from anywhere.  Only formats that Pillow decodes itself are opened, the size in the header is
looked at before anything is decoded, and whatever goes wrong is one line with the file's name.
"""

import os
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from minicnn.data.idx import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".ppm", ".pgm")
"""By which an image is known among other files, in lower case."""

FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM")
"""Those of Pillow's formats that are read; others start programs (EPS), or open further files."""

MAX_PIXELS = 2**27
"""The largest image that is decoded: 134 million pixels, more than telephones take, are 400 MB in memory."""


def open_image(
    file: str | os.PathLike[str] | BinaryIO,
    mode: str = "RGB",
    *,
    name: str | None = None,
    at_least: int | None = None,
) -> "Image":
    """Read an image file into a Pillow image, decoded and turned upright.

    `mode` is "RGB" for three bytes a pixel, "L" for one; an image of any other kind is converted: grey is
    spread over the three colours, colour becomes its luma, 16 bits become 8, and transparent parts are laid
    on white, which is how they are shown.  The orientation that cameras note (EXIF) is applied.

    `file` is a path or an open binary file, whose `name` is then told in errors.  A JPEG whose sides both
    exceed `at_least` may come out smaller, by 2, 4 or 8, though neither side below `at_least`: that is
    several times as quick for photographs that are to be scaled down anyway.

    Raises :class:`DataError`, and nothing else, when there is no such file, it is empty, no image of a known
    format, too large (:data:`MAX_PIXELS`), damaged, or holds numbers of unknown range.  ValueError for an
    unknown `mode`.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("LA", (5, 3), (0, 0)).save(file, "PNG")
    >>> image = open_image(file, "L")
    >>> image.mode, image.size, image.getpixel((0, 0))
    ('L', (5, 3), 255)
    >>> open_image(io.BytesIO(b"GIF89a"), name="cat.gif")
    Traceback (most recent call last):
    minicnn.data.idx.DataError: cat.gif: damaged, or no image of a known format (JPEG, PNG, TIFF, BMP, GIF,
    ...)
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    if mode not in ("RGB", "L"):
        raise ValueError(f"open_image: mode is {mode!r}, but 'RGB' or 'L' is expected")
    name = name or (str(getattr(file, "name", "image")) if hasattr(file, "read") else os.fspath(file))
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}×{image.height}"
                raise DataError(f"{name}: {size} pixels are more than the bound of {MAX_PIXELS:,}")
            if at_least is not None:
                image.draft(mode, (at_least, at_least))
            return _converted(ImageOps.exif_transpose(image), mode, name)
    except DataError:
        raise
    except UnidentifiedImageError:
        kinds = ", ".join(FORMATS[:5])
        empty = "the file is empty" if _is_empty(file) else None
        raise DataError(
            f"{name}: {empty or f'damaged, or no image of a known format ({kinds}, ...)'}"
        ) from None
    except OSError as error:
        raise DataError(f"{name}: cannot be read ({error.strerror or error})") from error
    except Exception as error:  # of a damaged file Pillow says it with whatever its decoder met
        raise DataError(f"{name}: damaged ({type(error).__name__}: {error})") from error


def _is_empty(file: str | os.PathLike[str] | BinaryIO) -> bool:
    if isinstance(file, str | os.PathLike):
        return os.path.getsize(file) == 0
    file.seek(0, os.SEEK_END)
    return file.tell() == 0


def _converted(image: "Image", mode: str, name: str) -> "Image":
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        image = Image.fromarray(_bytes(np.asarray(image), image.mode, name))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image if image.mode == mode else image.convert(mode)


def _bytes(pixels: np.ndarray, mode: str, name: str) -> np.ndarray:
    """Numbers of 16 or 32 bits as bytes: integers up to 65,535, and fractions up to 1, have one meaning."""
    top = 1.0 if mode == "F" else 65535
    if not (pixels.min() >= 0 and pixels.max() <= top):
        raise DataError(
            f"{name}: its values are {pixels.min()} to {pixels.max()}, but from 0 to {top:g} is expected of "
            f"{'fractions' if mode == 'F' else 'whole numbers'} of more than 8 bits"
        )
    return np.rint(pixels * (255 / top)).astype(np.uint8)
