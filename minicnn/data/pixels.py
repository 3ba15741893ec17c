"""Images that become arrays when they are asked for: of files, or of bytes in memory.

A *source* has images of any size and gives frames of one size, in bytes.  A *frame* is a box of the image, in
its pixels, that is scaled to the frame's size; where nothing else is said, the largest square in the middle.
:class:`Pixels` are some of a source's images, in an order, as a network takes them.
"""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from minicnn.data.images import open_image
from minicnn.data.storage import Storage

if TYPE_CHECKING:
    from PIL.Image import Image

Constant = float | tuple[float, ...]
"""One number for all channels, or one for each."""

Box = tuple[float, float, float, float]
"""Left, top, right, bottom: a part of an image, in pixels from its upper left corner."""

Frame = Callable[[int, int, int], Box]
"""The box for image number k of a batch, of which width and height are given."""

CACHE_BYTES = 2**28
"""Frames of a source that need no more in all are kept once decoded: 87,000 colour ones of 32×32."""


class Source(Protocol):
    """Images that are read as frames."""

    size: int
    channels: int

    def __len__(self) -> int: ...

    def name(self, index: int) -> str:
        """What an image is called in messages."""
        ...

    def read(self, indices: np.ndarray, frame: Frame | None = None) -> np.ndarray:
        """Frames of the images at `indices`.  Shape: (n, size, size, channels).  Dtype: uint8."""
        ...


class ArraySource:
    """Images of bytes that are in memory, (N, H, W) grey or (N, H, W, 3).

    >>> source = ArraySource(np.arange(30, dtype=np.uint8).reshape(2, 3, 5))
    >>> source.read(np.array([1]))[0, :, :, 0]  # the middle three of five columns
    array([[16, 17, 18],
           [21, 22, 23],
           [26, 27, 28]], dtype=uint8)
    """

    def __init__(self, pixels: np.ndarray, size: int | None = None) -> None:
        self._pixels = pixels if pixels.ndim == 4 else pixels[..., None]
        _, height, width, self.channels = self._pixels.shape
        self.size = min(height, width) if size is None else size

    def __len__(self) -> int:
        return len(self._pixels)

    def name(self, index: int) -> str:
        """What an image is called in messages."""
        return f"image {index}"

    def read(self, indices: np.ndarray, frame: Frame | None = None) -> np.ndarray:
        """Frames of the images at `indices`."""
        return reframed(self._pixels[indices], self.size, frame)


class FileSource:
    """Images in files, decoded when they are asked for.

    What needs no more than :data:`CACHE_BYTES` in all is decoded once; of anything larger, only what is being
    read is in memory.

    Raises :class:`DataError` that names the file, when one that is read is not an image.
    """

    def __init__(
        self, storage: Storage, names: list[str], size: int, channels: int, crop: float = 1.0
    ) -> None:
        self.size, self.channels = size, channels
        self.files = names
        self._storage = storage
        self._mode = "L" if channels == 1 else "RGB"
        self._frame = partial(middle_square, share=crop)
        shape = (len(names), size, size, channels)
        fits = np.prod(shape, dtype=float) <= CACHE_BYTES
        self._cache = np.empty(shape, np.uint8) if fits else None
        self._kept = np.zeros(len(names), bool)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The file's name, with its folder or archive."""
        return self._storage.full(self.files[index])

    def read(self, indices: np.ndarray, frame: Frame | None = None) -> np.ndarray:
        """Frames of the images at `indices`."""
        y = np.empty((len(indices), self.size, self.size, self.channels), np.uint8)
        for k, index in enumerate(indices):
            y[k] = self._middle(index) if frame is None else self._cut(index, k, frame, 4 * self.size)
        return y

    def _middle(self, index: int) -> np.ndarray:
        if self._cache is None:
            return self._cut(index, 0, self._frame, 2 * self.size)
        if not self._kept[index]:
            self._cache[index] = self._cut(index, 0, self._frame, 2 * self.size)
            self._kept[index] = True  # last: another thread may be asking
        return self._cache[index]

    def _cut(self, index: int, k: int, frame: Frame, at_least: int) -> np.ndarray:
        name = self.files[index]
        with self._storage.open(name) as file:
            image = open_image(file, self._mode, name=self._storage.full(name), at_least=at_least)
        return _scaled(image, frame(k, *image.size), self.size)


def middle_square(k: int, width: int, height: int, share: float = 1.0) -> Box:
    """The square in the middle whose side is a share of the image's shorter one.

    >>> middle_square(0, 6, 4)
    (1.0, 0.0, 5.0, 4.0)
    """
    side = share * min(width, height)
    left, top = (width - side) / 2, (height - side) / 2
    return left, top, left + side, top + side


def reframed(frames: np.ndarray, size: int, frame: Frame | None = None) -> np.ndarray:
    """Boxes of images, scaled to size × size pixels.

    Shapes: (n, H, W, C) to (n, size, size, C).  Dtype: uint8.
    """
    from PIL import Image

    n, height, width, channels = frames.shape
    if frame is None and height == width == size:
        return frames
    frame = frame or middle_square
    y = np.empty((n, size, size, channels), np.uint8)
    for k, pixels in enumerate(frames):
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        y[k] = _scaled(image, frame(k, width, height), size)
    return y


def _scaled(image: "Image", box: Box, size: int) -> np.ndarray:
    """A box of an image as (size, size, C): averaged where it shrinks (Pillow's bilinear)."""
    from PIL import Image

    if box != (0, 0, size, size) or image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR, box=box)
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


class Pixels:
    """Some images of a source as a network takes them: x = (p - mean) / std, for pixels p in 0..1.

    It is indexed as an array is, along the images only: by a slice, by whole numbers, or by a mask.  What is
    asked for is read, and nothing kept.

    Shape: (N, C, size, size).  Dtype: float32.

    >>> source = ArraySource(np.full((9, 2, 2, 3), 51, np.uint8))
    >>> images = Pixels(source, np.array([8, 0, 4]), mean=0.1, std=(0.1, 0.2, 0.4))
    >>> images.shape, images[1:].shape, images[[0]][0, :, 0, 0].round(4).tolist()
    ((3, 3, 2, 2), (2, 3, 2, 2), [1.0, 0.5, 0.25])
    """

    dtype = np.dtype(np.float32)
    ndim = 4

    def __init__(
        self, source: Source, indices: np.ndarray, mean: Constant = 0.0, std: Constant = 1.0
    ) -> None:
        self.source, self.indices, self.mean, self.std = source, np.asarray(indices), mean, std

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, C, H, W)."""
        return len(self.indices), self.source.channels, self.source.size, self.source.size

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, which: slice | list[int] | np.ndarray) -> np.ndarray:
        return normalised(self.pixels(which), self.mean, self.std)

    def __array__(self, dtype: np.typing.DTypeLike | None = None, copy: bool | None = None) -> np.ndarray:
        return self[:].astype(self.dtype if dtype is None else dtype, copy=False)

    def pixels(self, which: slice | list[int] | np.ndarray, frame: Frame | None = None) -> np.ndarray:
        """The images before normalisation, in 0..1, of each the whole frame or a box of its own."""
        return unit(self.source.read(self.indices[which], frame))

    def take(self, which: slice | list[int] | np.ndarray) -> "Pixels":
        """Fewer of the images, or in another order, still unread."""
        return Pixels(self.source, self.indices[which], self.mean, self.std)

    def names(self) -> list[str]:
        """What the images are called."""
        return [self.source.name(index) for index in self.indices]


def unit(frames: np.ndarray) -> np.ndarray:
    """Bytes as numbers in 0..1, channels first: (n, H, W, C) uint8 to (n, C, H, W) float32.

    >>> unit(np.array([0, 51, 255], np.uint8).reshape(1, 1, 1, 3)).ravel()
    array([0. , 0.2, 1. ], dtype=float32)
    """
    x = np.empty((len(frames), frames.shape[3], *frames.shape[1:3]), np.float32)
    return np.divide(frames.transpose(0, 3, 1, 2), np.float32(255), out=x)


def normalised(x: np.ndarray, mean: Constant, std: Constant) -> np.ndarray:
    """x ← (x - mean) / std, in place, of each channel with its own constants if there are several."""
    x -= per_channel(mean, x.dtype)
    x /= per_channel(std, x.dtype)
    return x


def per_channel(constant: Constant, dtype: np.dtype) -> np.ndarray:
    """A constant in a shape that goes with (N, C, H, W).

    >>> per_channel((0.5, 0.25), np.dtype("f4")).shape, per_channel(0.5, np.dtype("f4")).shape
    ((2, 1, 1), ())
    """
    array = np.asarray(constant, dtype)
    return array.reshape(-1, 1, 1) if array.ndim else array


def moments(images: Pixels, most: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, over at most so many images, evenly spread.

    Raises ValueError where all pixels are the same.

    >>> source = ArraySource(np.array([0, 255], np.uint8).reshape(2, 1, 1))
    >>> moments(Pixels(source, np.arange(2)), 100)
    ((0.5,), (0.5,))
    """
    n, channels = images.shape[:2]
    chosen = np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
    counts = np.zeros((channels, 256), np.int64)
    for index in np.array_split(chosen, -(-len(chosen) // 64)):
        frames = images.source.read(images.indices[index])
        counts += [np.bincount(frames[..., c].ravel(), minlength=256) for c in range(channels)]
    value = np.arange(256) / 255
    mean = counts @ value / counts.sum(axis=1)
    std = np.sqrt([np.average((value - m) ** 2, weights=row) for m, row in zip(mean, counts, strict=True)])
    if not std.any():
        raise ValueError("every pixel of the training images has the same value, nothing to learn from")
    std[std == 0] = 1  # a colour that never changes is zero in any case
    return tuple(mean.tolist()), tuple(std.tolist())
