"""torchvision's networks as a second opinion: names, shapes, and the same numbers from the same weights."""

import functools

import pytest
from zoo import SMALL_DENSE, SMALL_EFFICIENT, SMALL_INVERTED, SMALL_MBCONV, compare, undrawn


def theirs(torchvision, name, **options):
    """torchvision's network, without memory for its weights."""
    import torch

    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": False} | options
    with torch.device("meta"):
        return getattr(torchvision, name)(**options)


PUBLISHED = [
    "alexnet", "densenet121", "densenet169", "densenet201",
    "efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3",
    "efficientnet_b4", "efficientnet_b5", "efficientnet_b6", "efficientnet_b7", "googlenet", "inception_v3",
    "mobilenet_v2",
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "vgg11", "vgg11_bn", "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg19", "vgg19_bn",
]  # fmt: skip


@pytest.mark.oracle
@pytest.mark.parametrize("name", PUBLISHED)
def test_names_and_shapes_are_torchvisions(torchvision, name):
    for options in ({}, {"aux_logits": True}) if name in ("googlenet", "inception_v3") else ({},):
        expected = [
            (key, tuple(value.shape))
            for key, value in theirs(torchvision, name, **options).state_dict().items()
        ]
        assert [
            (key, value.shape) for key, value in undrawn(name, **options).state_dict().items()
        ] == expected


def small_vgg(torchvision, batch_norm=False):
    """torchvision's VGG-11 with narrow layers."""
    import torch.nn as tnn

    make = torchvision.vgg.make_layers
    maps = [4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M"]
    model = torchvision.VGG(make(maps, batch_norm), num_classes=5, init_weights=False)
    model.classifier = tnn.Sequential(
        tnn.Linear(32 * 49, 12), tnn.ReLU(), tnn.Dropout(), tnn.Linear(12, 12), tnn.ReLU(), tnn.Dropout(),
        tnn.Linear(12, 5),
    )  # fmt: skip
    return model


def small_alexnet(torchvision):
    """torchvision's AlexNet with narrow dense layers."""
    import torch.nn as tnn

    model = torchvision.AlexNet(num_classes=5)
    model.classifier = tnn.Sequential(
        tnn.Dropout(), tnn.Linear(256 * 36, 12), tnn.ReLU(), tnn.Dropout(), tnn.Linear(12, 12), tnn.ReLU(),
        tnn.Linear(12, 5),
    )  # fmt: skip
    return model


def small_efficientnet(torchvision, **settings):
    """torchvision's EfficientNet of half the width, with few blocks; normalised as B0, or as given."""
    from torch.nn import BatchNorm2d

    t = torchvision.efficientnet
    stages, C = [], 32
    for expansion, K, stride, maps, n in SMALL_MBCONV:
        stages.append(t.MBConvConfig(expansion, K, stride, C, maps, n, width_mult=0.5))
        C = maps
    norm = functools.partial(BatchNorm2d, **settings)
    return t.EfficientNet(stages, 0.2, 0.0, num_classes=5, norm_layer=norm)


def small_inception(torchvision):
    """torchvision's Inception version 3 with a sixteenth of the maps."""
    import torch.nn as tnn

    theirs = torchvision.inception

    def unit(C, M, **options):
        return theirs.BasicConv2d(C if C == 3 else C // 16, M // 16, **options)

    kinds = ("InceptionA", "InceptionB", "InceptionC", "InceptionD", "InceptionE", "InceptionAux")
    modules = [functools.partial(getattr(theirs, kind), conv_block=unit) for kind in kinds]
    model = torchvision.Inception3(5, inception_blocks=[unit, *modules], init_weights=False)
    model.fc, model.AuxLogits.fc = tnn.Linear(128, 5), tnn.Linear(48, 5)
    return model


# Our network, its options, torchvision's, and the side of the images.
PAIRS = {
    "alexnet": ("alexnet", {"hidden": 12}, small_alexnet, 90),
    "densenet": (
        "densenet121",
        SMALL_DENSE,
        lambda tv: tv.DenseNet(4, (1, 2, 1, 1), 6, num_classes=5),
        48,
    ),
    "efficientnet_b0": ("efficientnet_b0", SMALL_EFFICIENT | {"width": 0.5}, small_efficientnet, 48),
    "efficientnet_b5": (
        "efficientnet_b5",
        SMALL_EFFICIENT | {"width": 0.5, "depth": 1.0},
        lambda tv: small_efficientnet(tv, eps=1e-3, momentum=0.01),
        48,
    ),
    "googlenet": (
        "googlenet",
        {"aux_logits": True},
        lambda tv: tv.GoogLeNet(5, aux_logits=True, init_weights=False),
        48,
    ),
    "inception_v3": ("inception_v3", {"width": 2, "aux_logits": True}, small_inception, 299),
    "mobilenet_v2": (
        "mobilenet_v2",
        {"width_mult": 0.5, "table": SMALL_INVERTED},
        lambda tv: tv.MobileNetV2(5, 0.5, SMALL_INVERTED),
        48,
    ),
    "resnet18": ("resnet18", {}, lambda tv: tv.resnet18(num_classes=5), 48),
    "resnet50": (
        "resnet50",
        {"depths": (1, 2, 1, 1)},
        lambda tv: tv.ResNet(tv.resnet.Bottleneck, [1, 2, 1, 1], num_classes=5),
        48,
    ),
    "vgg11": ("vgg11", {"width": 4, "hidden": 12}, small_vgg, 64),
    "vgg11_bn": ("vgg11_bn", {"width": 4, "hidden": 12}, lambda tv: small_vgg(tv, True), 70),
}

# Every network of torchvision's at its full width and depth.
FULL_SIZE = {
    name: (
        name,
        {},
        lambda tv, name=name: theirs(tv, name, num_classes=5),
        107 if name == "inception_v3" else 64,
    )
    for name in PUBLISHED
}
for name in [name for name in PUBLISHED if name.startswith("efficientnet")]:  # without what is drawn
    FULL_SIZE[name] = (
        name,
        {"stochastic_depth": 0.0},
        lambda tv, name=name: theirs(tv, name, num_classes=5, stochastic_depth_prob=0.0),
        64,
    )


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", PAIRS)
def test_torchvision_computes_the_same(torchvision, name, training, dtype):
    compare(torchvision, PAIRS[name], training, dtype)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize("name", FULL_SIZE)
def test_torchvision_computes_the_same_at_full_size(torchvision, name, training):
    compare(torchvision, FULL_SIZE[name], training)
