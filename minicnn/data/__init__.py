"""Data: reading it, splitting it, handing it out in batches.

>>> from minicnn import data
>>> digits = data.load("digits")
>>> loader = data.DataLoader(digits.train, batch_size=64, shuffle=True, seed=0)
>>> x, y = next(loader.epoch(0))
>>> x.shape, x.dtype, y.shape, y.dtype
((64, 1, 28, 28), dtype('float32'), (64,), dtype('int64'))

    idx        the file format of MNIST
    mnist      where MNIST is, and reading it
    digits     the small data set in the package
    sampling   stratified splits, one-hot labels
    dataset    Split and Dataset, scaling and normalisation
    catalogue  data sets by name
    loader     batches, shuffled by (seed, epoch)
    images     opening any image file
    preprocess what published networks want done to images
    imagenet   the names of ImageNet's classes
"""

from minicnn.data.catalogue import NAMES, load
from minicnn.data.dataset import Dataset, Split
from minicnn.data.idx import DataError, read_idx, write_idx
from minicnn.data.imagenet import ImageNetClass, imagenet_classes
from minicnn.data.images import open_image
from minicnn.data.loader import DataLoader, batches
from minicnn.data.preprocess import read_image
from minicnn.data.sampling import one_hot, stratified_split
from minicnn.download import DownloadError

__all__ = [
    "NAMES",
    "DataError",
    "DataLoader",
    "Dataset",
    "DownloadError",
    "ImageNetClass",
    "Split",
    "batches",
    "imagenet_classes",
    "load",
    "one_hot",
    "open_image",
    "read_idx",
    "read_image",
    "stratified_split",
    "write_idx",
]
