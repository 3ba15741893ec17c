"""From an opened image to the numbers that a network was trained on: what a ``Preprocessing`` says, done.

The geometry is torchvision's to the pixel, with Pillow as there:

    scaled    the shorter side to ``resize``, the longer one in proportion, rounded down; Pillow averages
              over all pixels that fall into one (antialiasing), except with "nearest"
    cut       the middle ``crop`` × ``crop``; an odd rest is rounded to the even side, as Python rounds
"""

import os
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from minicnn.data.dataset import Dataset
from minicnn.data.idx import DataError
from minicnn.data.images import MAX_PIXELS, open_image
from minicnn.data.pixels import Pixels
from minicnn.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    from PIL.Image import Image


def read_image(
    file: str | os.PathLike[str] | BinaryIO, how: Preprocessing, invert: bool = False
) -> tuple["Image", np.ndarray]:
    """Open an image file and prepare it for a network: what the network sees, as an image and as numbers.

    ``invert`` makes light of dark, for ink on paper and a network that knows light digits on dark.

    Shape: (C, crop, crop). Dtype: float32.

    Raises :class:`minicnn.data.DataError`, naming the file, as :func:`minicnn.data.open_image` does.

    >>> import io
    >>> from PIL import Image
    >>> file = io.BytesIO()
    >>> Image.new("RGB", (500, 375)).save(file, "JPEG")
    >>> image, x = read_image(file, Preprocessing(crop=224))
    >>> image.size, x.shape, x.dtype
    ((224, 224), (3, 224, 224), dtype('float32'))
    """
    from PIL import ImageOps

    image = open_image(file, "L" if how.channels == "L" else "RGB")
    image = ImageOps.invert(image) if invert else image
    try:
        image = cut(image, how)
    except DataError as error:
        raise DataError(f"{file}: {error}") from None
    return image, numbers(image, how)


def cut(image: "Image", how: Preprocessing) -> "Image":
    """Scale an image and cut out the square that the network sees.

    Raises DataError for one so thin that it would be scaled to more than :data:`MAX_PIXELS` pixels.

    >>> from PIL import Image
    >>> cut(Image.new("RGB", (500, 375)), Preprocessing(crop=224)).size
    (224, 224)
    """
    from PIL import Image

    sampling = Image.Resampling[how.interpolation.upper()]
    if how.resize is None:
        return _scaled(image, (how.crop, how.crop), sampling)
    short = min(image.size)
    W, H = (how.resize if side == short else int(how.resize * side / short) for side in image.size)
    if W * H > MAX_PIXELS:
        raise DataError(f"{image.width}×{image.height} pixels are too thin a strip to cut a square from")
    image = _scaled(image, (W, H), sampling)
    left, top = round((W - how.crop) / 2), round((H - how.crop) / 2)
    return image.crop((left, top, left + how.crop, top + how.crop))


def numbers(image: "Image", how: Preprocessing) -> np.ndarray:
    """The pixels as x[c] = (p[c] / scale − mean[c]) / std[c].

    Shape: (C, H, W). Dtype: float32.

    >>> from PIL import Image
    >>> halves = Preprocessing(crop=2, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    >>> numbers(Image.new("RGB", (2, 2), (255, 0, 0)), halves)[:, 0]
    array([[ 1.,  1.],
           [-1., -1.],
           [-1., -1.]], dtype=float32)
    """
    pixels = np.asarray(image)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if how.channels == "BGR":
        pixels = pixels[:, :, ::-1]
    x = np.empty((pixels.shape[2], *pixels.shape[:2]), np.float32)
    for c, (mean, std) in enumerate(zip(how.mean, how.std, strict=True)):
        values = (np.arange(256) / how.scale - mean) / std  # of the 256 that a pixel can have
        x[c] = values.astype(np.float32)[pixels[:, :, c]]
    return x


def of_dataset(dataset: Dataset) -> Preprocessing:
    """How an image file becomes like those of a data set, for a network that was trained on them.

    Of images in folders and archives a data set has the middle square; the digits are scaled as they are.

    >>> from minicnn import data
    >>> of_dataset(data.load("digits")).crop
    28
    """
    C, H, _ = dataset.image_shape
    mean, std = (tuple(np.broadcast_to(value, C).tolist()) for value in (dataset.mean, dataset.std))
    channels = "L" if C == 1 else "RGB"
    if isinstance(dataset.train.images, Pixels):
        return Preprocessing(H, H, mean, std, "bilinear", channels=channels)
    return Preprocessing(H, None, mean, std, "bicubic", channels=channels)


def _scaled(image: "Image", size: tuple[int, int], sampling: int) -> "Image":
    return image if image.size == size else image.resize(size, sampling)
