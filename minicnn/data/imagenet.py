"""The thousand classes of ImageNet (ILSVRC 2012), in the order in which published networks number them.

O. Russakovsky et al., "ImageNet large scale visual recognition challenge", IJCV 2015.
``imagenet_classes.txt`` has a line for each class: its number in WordNet, which orders them, and its name.
"""

from functools import cache
from importlib.resources import files
from typing import NamedTuple


class ImageNetClass(NamedTuple):
    """A class: its number in WordNet ("n01440764"), and its name in English."""

    wnid: str
    name: str


@cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """The 1,000 classes; their index is the class that a network predicts.

    >>> imagenet_classes()[207]
    ImageNetClass(wnid='n02099601', name='golden retriever')
    """
    text = files("minicnn.data").joinpath("imagenet_classes.txt").read_text(encoding="utf-8")
    return tuple(ImageNetClass(*line.split(" ", 1)) for line in text.splitlines())
