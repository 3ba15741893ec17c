"""How images become numbers: the facts. What does it is ``minicnn/data/preprocess.py``.

Weights are of use only with images prepared as they were in training, and every publisher has a way of its
own. Three questions tell them apart:

    geometry    torchvision and timm scale the shorter side and cut out the middle, which keeps shapes;
                Keras scales the whole image to a square, which does not
    colours     most networks see red, green, blue; those that came from Caffe blue, green, red
    range       pixels divided by 255, then less the mean of ImageNet's colours and divided by their standard
                deviation; or from -1 to 1; or from 0 to 255 less the mean
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from minicnn.backend import unknown

CHANNELS = {"RGB": 3, "BGR": 3, "L": 1}
INTERPOLATIONS = ("nearest", "bilinear", "bicubic")

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)


@dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the numbers that a network was trained on.

        x[c] = (p[c] / scale − mean[c]) / std[c]        p in 0..255

    Args:
        crop: the side of the square that the network sees, in pixels.
        resize: what the image's shorter side is scaled to before the middle is cut out of it; None to scale
            the whole image to ``crop`` × ``crop``, whatever its shape.
        mean, std: one number for each channel, in the order of ``channels``.
        interpolation: ``"nearest"``, ``"bilinear"`` or ``"bicubic"``, Pillow's.
        scale: what pixels are divided by first.
        channels: ``"RGB"``, ``"BGR"``, or ``"L"`` for grey.

    Raises ValueError for values that cannot be.

    >>> Preprocessing(crop=224)
    Preprocessing(crop=224, resize=256, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225),
                  interpolation='bilinear', scale=255.0, channels='RGB')
    """

    crop: int
    resize: int | None = 256
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    interpolation: str = "bilinear"
    scale: float = 255.0
    channels: str = "RGB"

    def __post_init__(self) -> None:
        for name, known in (("interpolation", INTERPOLATIONS), ("channels", CHANNELS)):
            if getattr(self, name) not in known:
                raise ValueError(f"Preprocessing: {name} {unknown(getattr(self, name), known)}")
        for name, least in (("crop", 1), ("resize", self.crop)):
            side = getattr(self, name)
            whole = isinstance(side, int) and not isinstance(side, bool)
            if not (whole and side >= least) and not (name == "resize" and side is None):
                raise ValueError(
                    f"Preprocessing: {name} is {side!r}, but a whole number >= {least} is expected"
                )
        C = CHANNELS[self.channels]
        if not len(self.mean) == len(self.std) == C:
            raise ValueError(
                f"Preprocessing: mean={self.mean}, std={self.std}, but {C} numbers in each are expected"
            )
        if not (self.scale > 0 and min(self.std) > 0):
            raise ValueError(
                f"Preprocessing: scale={self.scale}, std={self.std}, but numbers above 0 are expected"
            )

    @classmethod
    def from_dict(cls, values: Any) -> Preprocessing:
        """The one whose ``dataclasses.asdict`` was written to a file as JSON; ValueError for anything else.

        >>> grey = {"crop": 28, "resize": None, "mean": [0.5], "std": [0.25], "channels": "L"}
        >>> Preprocessing.from_dict(grey)
        Preprocessing(crop=28, resize=None, mean=(0.5,), std=(0.25,),
                      interpolation='bilinear', scale=255.0, channels='L')
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(values, dict) or not {"crop"} <= set(values) <= names:
            raise ValueError(f"Preprocessing: {values!r} does not describe one")
        lists = {name: tuple(values[name]) for name in ("mean", "std") if name in values}
        return cls(**{**values, **lists})


CONVENTIONS = {
    "torchvision": Preprocessing(crop=224, resize=256),
    "inception": Preprocessing(crop=224, resize=256, mean=HALF, std=HALF, interpolation="bicubic"),
    "torch": Preprocessing(crop=224, resize=None, interpolation="nearest"),
    "tf": Preprocessing(crop=224, resize=None, mean=HALF, std=HALF, interpolation="nearest"),
    "caffe": Preprocessing(
        crop=224,
        resize=None,
        mean=(103.939, 116.779, 123.68),
        std=(1.0, 1.0, 1.0),
        interpolation="nearest",
        scale=1.0,
        channels="BGR",
    ),
}
"""By name: torchvision's; that of networks which came from TensorFlow to timm; and Keras's three modes, with
the geometry of ``keras.utils.load_img(path, target_size=(224, 224))``."""

KERAS = {
    "caffe": ("vgg16", "vgg19", "resnet50", "resnet101", "resnet152"),
    "tf": ("inception_resnet_v2",),
    "torch": ("densenet121", "densenet169", "densenet201"),
}
"""The mode of Keras's weights of each network, of those that :mod:`minicnn.weights.keras_networks` reads."""


def convention(name: str, size: int) -> Preprocessing:
    """One of :data:`CONVENTIONS` for a network that sees ``size`` × ``size`` pixels; ValueError if unknown.

    >>> convention("torchvision", 299).resize
    341
    >>> convention("tensorflow", 224)
    Traceback (most recent call last):
    ValueError: preprocessing 'tensorflow' is unknown (known: caffe, inception, tf, torch, torchvision)
    """
    if name not in CONVENTIONS:
        raise ValueError(f"preprocessing {unknown(name, CONVENTIONS)}")
    row = CONVENTIONS[name]
    return replace(row, crop=size, resize=row.resize and size * row.resize // row.crop)


def of_keras(network: str, size: int) -> Preprocessing | None:
    """How Keras prepares images for its weights of this network; None if it has no such network.

    >>> of_keras("vgg16", 224).channels
    'BGR'
    """
    return next((convention(mode, size) for mode, names in KERAS.items() if network in names), None)
