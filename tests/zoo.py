"""What the tests of the networks share: small variants, lively weights, one network held against another."""

import numpy as np

import minicnn as mc
from minicnn import functional as F
from minicnn import nn
from minicnn.gradcases.case import spread_vectors
from minicnn.models.efficientnet import MBConv

# A small variant of each family, and the side of the square images for it.
SMALL_CONV = {"width": 4, "hidden": 12, "num_classes": 5}
SMALL_RESNET = {"width": 4, "depths": (1, 2, 1, 1), "num_classes": 5}
SMALL_DENSE = {"width": 6, "growth": 4, "depths": (1, 2, 1, 1), "num_classes": 5}
SMALL_MBCONV = ((1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 1))
SMALL_EFFICIENT = {"width": 0.25, "stages": SMALL_MBCONV, "stochastic_depth": 0.0, "num_classes": 5}
SMALL_NASNET = {"width": 4, "stem": 3, "cells": 1, "num_classes": 5}
SMALL_INCEPTION = {"width": 2, "num_classes": 5}
SMALL_SEPARABLE = ((16, 1), (32, 2), (32, 1), (48, 2))
SMALL_INVERTED = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2))
TINY = {
    "alexnet": (SMALL_CONV, 63),
    "alexnet_2012": (SMALL_CONV, 227),
    "alexnet_2012_groups": (SMALL_CONV, 227),
    "alexnet_bn": (SMALL_CONV, 224),
    "cifar_plain20": ({"width": 4, "n": 1, "num_classes": 5}, 12),
    "cifar_resnet20": ({"width": 4, "n": 1, "num_classes": 5}, 12),
    "densenet121": (SMALL_DENSE, 40),
    "efficientnet_b0": (SMALL_EFFICIENT, 20),
    "googlenet": ({"width": 4, "num_classes": 5}, 65),
    "googlenet_2014": ({"width": 4, "num_classes": 5}, 33),
    "inception_resnet_v1": (SMALL_INCEPTION | {"depths": (1, 1, 1)}, 107),
    "inception_resnet_v2": (SMALL_INCEPTION | {"depths": (1, 1, 1)}, 107),
    "inception_v2": (SMALL_INCEPTION | {"width": 4, "bias": False}, 63),
    "inception_v3": (SMALL_INCEPTION, 75),
    "inception_v4": (SMALL_INCEPTION | {"depths": (1, 1, 1)}, 107),
    "lenet5": ({"num_classes": 5}, 28),
    "lenet5_1998": ({"num_classes": 5}, 32),
    "mnist_cnn": ({"num_classes": 5}, 28),
    "mobilenet_v1": ({"width_mult": 0.25, "table": SMALL_SEPARABLE, "num_classes": 5}, 20),
    "mobilenet_v2": ({"width_mult": 0.25, "table": SMALL_INVERTED, "num_classes": 5}, 20),
    "nasnetalarge": (SMALL_NASNET, 49),
    "nasnetamobile": (SMALL_NASNET, 49),
    "plain18": (SMALL_RESNET, 40),
    "resnet18": (SMALL_RESNET, 40),
    "resnet50": (SMALL_RESNET, 40),
    "resnetv2_50": (SMALL_RESNET, 40),
    "vgg11_bn": (SMALL_CONV, 33),
    "vgg11_lrn": (SMALL_CONV, 33),
    "vgg16": (SMALL_CONV, 33),
    "vgg16_c": (SMALL_CONV, 33),
    "xception": ({"width": 4, "depth": 1, "num_classes": 5}, 47),
}


def tiny(name, N=2, **options):
    """A small variant in float64, and images for it."""
    settings, side = TINY[name]
    generator = mc.random.Generator(2)
    model = lively(mc.models.create(name, **settings, **options), generator)
    C = next(m for m in model.modules() if isinstance(m, nn.Conv2d)).in_channels
    return model, generator.normal((N, C, side, side), dtype=np.float64)


def lively(model, generator):
    """In float64; weights, scales, biases and statistics such that each matters to the logits, no dropout.

    With weights as small as some networks begin with, the first layers would hardly be felt at the end; with
    means above 0 taken off again and again, nothing at all would be left there in inference.
    """
    spread_vectors(model.double(), generator)
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.data = buffer.data - 1
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        elif isinstance(module, nn.Dropout):
            module.p = 0.0
    return model


def undrawn(name, **options):
    """The network at full size, with zeros for weights."""
    with nn.init.skip():
        model = mc.models.create(name, **options)
    for p in model.parameters():
        p.data[...] = 0
    return model


def watched(model, x, paths):
    """The shape of one image's output at each path."""
    seen = {}
    handles = [
        model.get_submodule(path).register_forward_hook(
            lambda module, inputs, output, path=path: seen.update({path: output.shape[1:]})
        )
        for path in paths
    ]
    with mc.no_grad():
        model(x)
    for handle in handles:
        handle.remove()
    return seen


def assert_lively(logits):
    """What is in the image is felt in its logits."""
    assert np.abs(logits[0] - logits[1]).max() > 0.01 * np.abs(logits).max()


def assert_close(found, expected, message):
    """Equal to nine digits of the largest number, in float32 to four; what should be 0 is rounding."""
    assert found.dtype == expected.dtype, message
    tolerance, least = (1e-9, 1e-4) if found.dtype != np.float32 else (1e-4, 1e-2)
    scale = max(np.abs(expected).max(), least)
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * scale, err_msg=message)


def compare(torchvision, pair, training, dtype="float64", named=lambda key: key):
    """Our network and torchvision's, with our weights in both.

    ``named`` says how the other network calls what we call by a name.
    """
    import torch

    name, options, make, side = pair
    ours = undrawn(name, **{"num_classes": 5} | options)  # lively draws its weights
    lively(ours, mc.random.Generator(4)).to(dtype).train(training)
    calm(ours)
    with torch.device("meta"):
        other = make(torchvision)
    other = other.to(getattr(torch, dtype)).to_empty(device="cpu").train(training)
    shapes = {key: value.shape for key, value in other.state_dict().items()}
    arrays = {named(key): np.array(value) for key, value in ours.state_dict().items()}
    other.load_state_dict(
        {key: torch.from_numpy(value).reshape(shapes[key]) for key, value in arrays.items()}
    )
    assert_one_network(ours, other, side, named)


def calm(model):
    """Let EfficientNet's blocks add little to their shortcuts.

    Added as they are, dozens of them amplify rounding: B4's logits moved by 6e-9 in inference, and their
    gradients by 1e-6, when its images were changed by 1e-15: no two implementations can agree to 1e-9.
    """
    for module in model.modules():
        if isinstance(module, MBConv) and module.has_shortcut:
            last_norm = module.block[-1][1]
            last_norm.weight.data *= 0.3


def assert_one_network(ours, other, side, named=None):
    """Logits; in float64 also running statistics and the loss's gradients to images and parameters.

    ``other`` is PyTorch's, its parameters and buffers in the order of ours, or called as ``named`` says.
    """
    import torch

    for module in other.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    x = mc.random.Generator(6).normal((4, 3, side, side), dtype=next(ours.parameters()).dtype)
    labels = np.array([2, 0, 4, 2])
    ours_x, other_x = mc.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    found, expected = ours(ours_x), other(other_x)
    found, expected = (y if isinstance(y, tuple) else (y,) for y in (found, expected))
    for a, b in zip(found, expected, strict=True):
        assert_lively(a.data)
        assert_close(a.data, b.detach().numpy(), "logits")
    if x.dtype == np.float32:
        return  # where float32 puts an entry on the other side of 0, its gradient is another one
    weights = (1.0, 0.3, 0.3)[: len(found)]
    sum(w * F.cross_entropy(y, labels) for w, y in zip(weights, found, strict=True)).backward()
    loss = torch.nn.functional.cross_entropy
    sum(w * loss(y, torch.from_numpy(labels)) for w, y in zip(weights, expected, strict=True)).backward()
    assert_close(ours_x.grad, other_x.grad.numpy(), "gradient to the images")
    for key, a, b in paired(ours.named_parameters(), other.named_parameters(), named):
        assert (a.grad is None) == (b.grad is None), key
        if a.grad is not None:
            assert_close(a.grad, b.grad.numpy().reshape(a.shape), f"gradient to {key}")
    for key, a, b in paired(ours.named_buffers(), other.named_buffers(), named):
        assert_close(a.data, b.numpy(), key)


def paired(ours, others, named):
    """Our name, ours and the other network's: in order, or by the other's names, all of them."""
    ours, others = dict(ours), dict(others)
    assert len(ours) == len(others)
    pairs = [(key, named(key)) for key in ours] if named else list(zip(ours, others, strict=True))
    return [(key, ours[key], others.pop(other)) for key, other in pairs]
