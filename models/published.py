"""Weights that others trained on ImageNet and publish: where they are, how good, for which images.

Three publishers:

    torchvision        files at download.pytorch.org; the digits in a file's name begin its SHA-256
    timm               repositories on huggingface.co, for networks that torchvision lacks; the hub tells a
                       file's SHA-256 and size
    cadene             files of R. Cadene's package pretrainedmodels, for two networks; digits likewise

Accuracies are those that the publisher measured, in per cent of the 50,000 validation images, one crop each.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from minicnn.models.preprocessing import HALF, Preprocessing


@dataclass(frozen=True)
class Published:
    """One file of weights. ``sha256`` is the beginning of its checksum, empty where the hub has to be asked.

    ``size`` is the file's in MiB, None where the hub tells it. ``options`` are those of
    :func:`minicnn.models.create` with which the network computes what the publisher's does.
    """

    network: str
    name: str
    publisher: str
    url: str
    file: str
    sha256: str
    size: float | None
    top1: float
    top5: float
    preprocessing: Preprocessing
    options: dict[str, Any] = field(default_factory=dict)
    classes: int = 1000


# Network; which of its weights; the file; MiB; top-1; top-5; pixels: scaled to, cut to; interpolation.
TORCHVISION = (
    ("alexnet", 1, "alexnet-owt-7be5be79", 233.087, 56.522, 79.066, 256, 224, "bilinear"),
    ("vgg11", 1, "vgg11-8a719046", 506.840, 69.020, 88.628, 256, 224, "bilinear"),
    ("vgg11_bn", 1, "vgg11_bn-6002323d", 506.881, 70.370, 89.810, 256, 224, "bilinear"),
    ("vgg13", 1, "vgg13-19584684", 507.545, 69.928, 89.246, 256, 224, "bilinear"),
    ("vgg13_bn", 1, "vgg13_bn-abd245e5", 507.590, 71.586, 90.374, 256, 224, "bilinear"),
    ("vgg16", 1, "vgg16-397923af", 527.796, 71.592, 90.382, 256, 224, "bilinear"),
    ("vgg16_bn", 1, "vgg16_bn-6c64b313", 527.866, 73.360, 91.516, 256, 224, "bilinear"),
    ("vgg19", 1, "vgg19-dcbb9e9d", 548.051, 72.376, 90.876, 256, 224, "bilinear"),
    ("vgg19_bn", 1, "vgg19_bn-c79401a0", 548.143, 74.218, 91.842, 256, 224, "bilinear"),
    ("googlenet", 1, "googlenet-1378be20", 49.731, 69.778, 89.530, 256, 224, "bilinear"),
    ("inception_v3", 1, "inception_v3_google-0cc3c7bd", 103.903, 77.294, 93.450, 342, 299, "bilinear"),
    ("resnet18", 1, "resnet18-f37072fd", 44.661, 69.758, 89.078, 256, 224, "bilinear"),
    ("resnet34", 1, "resnet34-b627a593", 83.275, 73.314, 91.420, 256, 224, "bilinear"),
    ("resnet50", 1, "resnet50-0676ba61", 97.781, 76.130, 92.862, 256, 224, "bilinear"),
    ("resnet50", 2, "resnet50-11ad3fa6", 97.790, 80.858, 95.434, 232, 224, "bilinear"),
    ("resnet101", 1, "resnet101-63fe2227", 170.511, 77.374, 93.546, 256, 224, "bilinear"),
    ("resnet101", 2, "resnet101-cd907fc2", 170.530, 81.886, 95.780, 232, 224, "bilinear"),
    ("resnet152", 1, "resnet152-394f9c45", 230.434, 78.312, 94.046, 256, 224, "bilinear"),
    ("resnet152", 2, "resnet152-f82ba261", 230.474, 82.284, 96.002, 232, 224, "bilinear"),
    ("densenet121", 1, "densenet121-a639ec97", 30.845, 74.434, 91.972, 256, 224, "bilinear"),
    ("densenet169", 1, "densenet169-b2777c0a", 54.708, 75.600, 92.806, 256, 224, "bilinear"),
    ("densenet201", 1, "densenet201-c1103571", 77.373, 76.896, 93.370, 256, 224, "bilinear"),
    ("mobilenet_v2", 1, "mobilenet_v2-b0353104", 13.555, 71.878, 90.286, 256, 224, "bilinear"),
    ("mobilenet_v2", 2, "mobilenet_v2-7ebf99e0", 13.598, 72.154, 90.822, 232, 224, "bilinear"),
    ("efficientnet_b0", 1, "efficientnet_b0_rwightman-7f5810bc", 20.451, 77.692, 93.532, 256, 224, "bicubic"),
    ("efficientnet_b1", 1, "efficientnet_b1_rwightman-bac287d4", 30.134, 78.642, 94.186, 256, 240, "bicubic"),
    ("efficientnet_b1", 2, "efficientnet_b1-c27df63c", 30.136, 79.838, 94.934, 255, 240, "bilinear"),
    ("efficientnet_b2", 1, "efficientnet_b2_rwightman-c35c1473", 35.174, 80.608, 95.310, 288, 288, "bicubic"),
    ("efficientnet_b3", 1, "efficientnet_b3_rwightman-b3899882", 47.184, 82.008, 96.054, 320, 300, "bicubic"),
    ("efficientnet_b4", 1, "efficientnet_b4_rwightman-23ab8bcd", 74.489, 83.384, 96.594, 384, 380, "bicubic"),
    ("efficientnet_b5", 1, "efficientnet_b5_lukemelas-1a07897c", 116.864, 83.444, 96.628, 456, 456,
     "bicubic"),
    ("efficientnet_b6", 1, "efficientnet_b6_lukemelas-24a108a5", 165.362, 84.008, 96.916, 528, 528,
     "bicubic"),
    ("efficientnet_b7", 1, "efficientnet_b7_lukemelas-c5b4e57e", 254.675, 84.122, 96.908, 600, 600,
     "bicubic"),
)  # fmt: skip

# Network; the repository, named after the weights; top-1; top-5; pixels: scaled to, cut to.
TIMM = (
    ("inception_v4", "inception_v4.tf_in1k", 80.156, 94.968, 341, 299),
    ("inception_resnet_v2", "inception_resnet_v2.tf_in1k", 80.462, 95.308, 333, 299),
    ("nasnetalarge", "nasnetalarge.tf_in1k", 82.626, 96.042, 363, 331),
    ("resnetv2_50", "resnetv2_50.a1h_in1k", 81.398, 95.726, 288, 288),
    ("resnetv2_101", "resnetv2_101.a1h_in1k", 83.002, 96.454, 288, 288),
)

# Network; folder; file; first digits of its SHA-256; top-1; top-5; pixels: scaled to, cut to; interpolation.
RELEASES = "https://github.com/{}/releases/download/"
CADENE = (
    (
        *("xception", RELEASES.format("rwightman/pytorch-image-models") + "v0.1-cadene/"),
        *("xception-43020ad28.pth", "43020ad28", 79.040, 94.382, 333, 299, "bicubic"),
    ),
    (
        *("nasnetamobile", RELEASES.format("veronikayurchuk/pretrained-models.pytorch") + "v1.0/"),
        *("nasnetmobile-7e03cead.pth.tar", "7e03cead", 74.080, 91.740, 256, 224, "bilinear"),
    ),
)

# torchvision's files of the Inception family are TensorFlow's: there the network turns torchvision's range of
# pixels into -1..1 itself. timm's ResNets of version 2 have no batch norm behind the first convolution.
OPTIONS = {
    "googlenet": {"transform_input": True},
    "inception_v3": {"transform_input": True},
    "resnetv2_50": {"stem_norm": False},
    "resnetv2_101": {"stem_norm": False},
}


def _rows() -> Iterator[Published]:
    for network, number, file, size, top1, top5, resize, crop, interpolation in TORCHVISION:
        yield Published(
            network,
            f"IMAGENET1K_V{number}",
            "torchvision",
            f"https://download.pytorch.org/models/{file}.pth",
            f"{file}.pth",
            file.rpartition("-")[2],
            size,
            top1,
            top5,
            Preprocessing(crop, resize, interpolation=interpolation),
            OPTIONS.get(network, {}),
        )
    for network, repository, top1, top5, resize, crop in TIMM:
        yield Published(
            network,
            repository.partition(".")[2],
            "timm",
            f"https://huggingface.co/timm/{repository}/resolve/main/model.safetensors",
            f"{repository}.safetensors",
            "",
            None,
            top1,
            top5,
            Preprocessing(crop, resize, HALF, HALF, "bicubic"),
            OPTIONS.get(network, {}),
        )
    for network, folder, file, sha256, top1, top5, resize, crop, interpolation in CADENE:
        yield Published(
            network,
            "imagenet",
            "cadene",
            folder + file,
            file,
            sha256,
            None,
            top1,
            top5,
            Preprocessing(crop, resize, HALF, HALF, interpolation),
        )


PUBLISHED: tuple[Published, ...] = tuple(_rows())
"""All of them; of several for one network the best is the last."""


def get_model_weights(network: str) -> tuple[Published, ...]:
    """The published weights of a network, the best of them last; empty if there are none that it can load.

    >>> [weights.name for weights in get_model_weights("resnet50")]
    ['IMAGENET1K_V1', 'IMAGENET1K_V2']
    >>> get_model_weights("resnet50")[-1].top1
    80.858
    """
    return tuple(row for row in PUBLISHED if row.network == network)
