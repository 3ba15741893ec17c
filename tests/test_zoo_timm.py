"""Networks that torchvision lacks, held against timm's, pytorchcv's and Cadene's: names, shapes, numbers."""

import importlib
import importlib.util
import warnings
from importlib.machinery import SourceFileLoader

import numpy as np
import pytest
from zoo import assert_one_network, lively, undrawn

import minicnn as mc

pytestmark = [pytest.mark.oracle, pytest.mark.usefixtures("torchvision")]


def library(name):
    """Where a library's files are; without it the test is skipped."""
    found = importlib.util.find_spec(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found.submodule_search_locations[0]


def from_timm(name):
    """How to make one of timm's networks."""

    def make():
        library("timm")
        return importlib.import_module("timm").create_model(name, num_classes=5)

    return make


def short_inception_v4():
    """timm's with one module of each kind.

    The whole of it amplifies float32's rounding in training beyond 1e-4, PyTorch's own as much as ours.
    """
    model = from_timm("inception_v4")()
    kept = [module for i, module in enumerate(model.features) if i not in (7, 8, 9, *range(12, 18), 20, 21)]
    model.features = type(model.features)(*kept)
    return model


def inception_resnet_v1():
    """pytorchcv's, whose last pooling fits 299×299 only until it is made a mean of everything."""
    import torch

    library("pytorchcv")
    model = importlib.import_module("pytorchcv.models.inceptionresnetv1").inceptionresnetv1(num_classes=5)
    model.features.final_pool = torch.nn.AdaptiveAvgPool2d(1)
    return model


def inception_v2():
    """Cadene's, whose last pooling fits 224×224 only until it is made a mean of everything."""
    import torch

    path = f"{library('pretrainedmodels')}/models/bninception.py"
    loader = SourceFileLoader("bninception", path)  # this file alone: the package needs more than is there
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("bninception", loader))
    loader.exec_module(module)
    model = module.BNInception(num_classes=5)
    model.global_pool = torch.nn.AdaptiveAvgPool2d(1)
    return model


# The other library's network, and the side of the images.
WHOLE = {
    "inception_resnet_v1": (inception_resnet_v1, 107),
    "inception_resnet_v2": (from_timm("inception_resnet_v2"), 107),
    "inception_v2": (inception_v2, 63),
    "inception_v4": (from_timm("inception_v4"), 107),
    "xception": (from_timm("legacy_xception"), 47),
}
# The same, and what makes ours small.
SMALL = {
    "inception_resnet_v1": (inception_resnet_v1, 107, {"width": 2}),
    "inception_resnet_v2": (from_timm("inception_resnet_v2"), 107, {"width": 2}),
    "inception_v2": (inception_v2, 63, {"width": 4}),
    "inception_v4": (short_inception_v4, 107, {"width": 2, "depths": (1, 1, 1)}),
    "xception": (from_timm("legacy_xception"), 47, {"width": 4}),
}
OTHER_NAMES = ["inception_resnet_v1"]  # pytorchcv's are its own; their order and shapes are ours


def theirs(make):
    """The other library's network, without memory for its weights."""
    import torch

    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # what the libraries themselves do that is out of date
        return make()


def with_weights_of(ours, other):
    """The other network with our weights and as narrow as ours: layers go by the sizes of their weights."""
    import torch

    for key, value in zip(list(other.state_dict()), ours.state_dict().values(), strict=True):
        path, _, name = key.rpartition(".")
        module, weight = other.get_submodule(path), torch.from_numpy(np.array(value))
        if name in module._parameters:
            assert module._parameters[name].ndim == weight.ndim, key
            module._parameters[name] = torch.nn.Parameter(weight)
        else:
            module._buffers[name] = weight
        if isinstance(module, torch.nn.Conv2d) and module.groups > 1:
            module.groups = len(weight)  # depthwise
    return other


def compare(name, make, side, options, training, dtype="float64"):
    """Our network and the other library's, with our weights in both."""
    ours = lively(mc.models.create(name, num_classes=5, **options), mc.random.Generator(4))
    ours.to(dtype).train(training)
    assert_one_network(ours, with_weights_of(ours, theirs(make)).train(training), side)


@pytest.mark.parametrize("name", WHOLE)
def test_names_and_shapes(name):
    found = [(key, value.shape) for key, value in undrawn(name, num_classes=5).state_dict().items()]
    expected = [(key, tuple(value.shape)) for key, value in theirs(WHOLE[name][0]).state_dict().items()]
    if name in OTHER_NAMES:
        found, expected = ([shape for _, shape in pairs] for pairs in (found, expected))
    assert found == expected


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", SMALL)
def test_others_compute_the_same(name, training, dtype):
    compare(name, *SMALL[name], training, dtype)


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", WHOLE)
def test_others_compute_the_same_at_full_size(name, training):
    compare(name, *WHOLE[name], {}, training)
