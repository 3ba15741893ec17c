"""Data: reading it, splitting it, handing it out in batches.

>>> from minicnn import data
>>> digits = data.load("digits")
>>> loader = data.DataLoader(digits.train, batch_size=64, shuffle=True, seed=0)
>>> x, y = next(loader.epoch(0))
>>> x.shape, x.dtype, y.shape, y.dtype
((64, 1, 28, 28), dtype('float32'), (64,), dtype('int64'))

    idx           the file format of MNIST
    mnist         where MNIST and Fashion-MNIST are, and reading them
    cifar         where CIFAR-10 and CIFAR-100 are, and reading them
    cifar_pickle  their pickles, read without being executed
    digits        the small data set in the package
    images        opening any image file
    storage       the files in a folder or zip
    layout        splits and classes by the names of folders
    folder        data sets in folders
    pixels        images that become arrays when they are asked for
    sampling      stratified splits, numbers of each image's own, one-hot labels
    dataset       Split and Dataset, scaling and normalisation
    assemble      data sets from arrays, splits drawn where there are none
    catalogue     data sets by name
    warp          geometry on whole batches
    transforms    augmentations
    augment       augmentations composed, and by name
    ahead         work done by threads before it is asked for
    loader        batches, shuffled and augmented by (seed, epoch)
    preprocess    what published networks want done to images
    imagenet      the names of ImageNet's classes
"""

from minicnn.data import augment
from minicnn.data.assemble import DataWarning, from_arrays
from minicnn.data.catalogue import NAMES, load
from minicnn.data.dataset import Dataset, Split
from minicnn.data.folder import load_images
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
    "DataWarning",
    "Dataset",
    "DownloadError",
    "ImageNetClass",
    "Split",
    "augment",
    "batches",
    "from_arrays",
    "imagenet_classes",
    "load",
    "load_images",
    "one_hot",
    "open_image",
    "read_idx",
    "read_image",
    "stratified_split",
    "write_idx",
]
