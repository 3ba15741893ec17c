"""Weights of networks in files: those the world publishes, and our own.

    reading          which format a file has
    safe_file        safetensors
    npz_file         NumPy's archives
    torch_file       PyTorch's .pth and .pt, old and new
    pickle_machine   the pickle in them, read without executing it
    keras_file       Keras's .h5 and .weights.h5
    zip_file         archives of which nothing is trusted
    fit              into a network, all or nothing; and out of one
    names            older names of published files
    keras_networks   which of Keras's networks are ours, and their layout
    report           what came of loading

>>> import tempfile
>>> from minicnn import models, weights
>>> net = models.create("resnet18", width=8)
>>> with tempfile.TemporaryDirectory() as folder:
...     weights.save(net, f"{folder}/resnet18.safetensors")
...     print(weights.load(net, f"{folder}/resnet18.safetensors"))
resnet18.safetensors: 122 arrays loaded into resnet18
"""

from minicnn.weights.errors import WeightsError
from minicnn.weights.fit import load, save
from minicnn.weights.reading import read
from minicnn.weights.report import LoadReport

__all__ = ["LoadReport", "WeightsError", "load", "read", "save"]
