"""The networks that are measured, and their twins in PyTorch.

A twin has the same parameters under the same names, so that both can be given the same weights, and must
then agree in loss and gradients before anything is timed. torchvision's networks are their own twins.
"""

from __future__ import annotations

import math
import statistics
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from benchmarks.problem import Problem


class Network(NamedTuple):
    """The batch of DESIGN's table, one image's shape, and how each side builds it."""

    batch: int
    image: tuple[int, int, int]
    classes: int
    ours: Callable[..., Any]
    twin: Callable[..., Any]
    registered: str | None = None  # its name in minicnn.models
    torchvision: bool = False

    def shape(self, options: dict[str, Any]) -> tuple[int, int, int]:
        """One image's shape; the options of :func:`stack` decide its own."""
        if "channels" in options:
            return (options["channels"], options["size"], options["size"])
        return self.image


def find(name: str) -> Network:
    """The network of this name, of the table or "stack"."""
    return STACK if name == "stack" else NETWORKS[name]


def available(name: str) -> bool:
    """Whether minicnn has this network already."""
    import minicnn

    registered = find(name).registered
    return registered is None or registered in minicnn.models.list()


def fill(name: str, array: np.ndarray) -> None:
    """Set a parameter to numbers that its name alone determines, of the size that He et al. (2015) derive."""
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    if array.ndim > 1:
        generator.standard_normal(out=array, dtype=np.float32)
        array *= math.sqrt(2 / math.prod(array.shape[1:]))
    else:  # a bias, or the scale of a normalisation
        array[...] = 0.1 * generator.standard_normal(array.shape, dtype=np.float32)
        array += name.endswith("weight")


# Networks that both sides build by the same function, from minicnn.nn or torch.nn.


def cifar_cnn4(nn: Any) -> Any:
    """Four 3×3 convolutions, two poolings and two dense layers for images of 3×32×32."""
    layers: list[Any] = []
    C = 3
    for OC, pool in ((32, False), (32, True), (64, False), (64, True)):
        layers += [nn.Conv2d(C, OC, 3, padding=1), nn.ReLU()]
        layers += [nn.MaxPool2d(2)] if pool else []
        C = OC
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4096, 256), nn.ReLU(), nn.Linear(256, 10))


def stack(nn: Any, channels: int, depth: int, size: int) -> Any:
    """``depth`` times convolution, batch norm, ReLU, all of one width: what scaling.py stretches."""
    layers: list[Any] = []
    for _ in range(depth):
        conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        layers += [conv, nn.BatchNorm2d(channels), nn.ReLU()]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 10))


def _with_minicnn(build: Callable[..., Any]) -> Callable[..., Any]:
    def ours(**options: Any) -> Any:
        from minicnn import nn

        return build(nn, **options)

    return ours


def _with_torch(build: Callable[..., Any]) -> Callable[..., Any]:
    def twin(**options: Any) -> Any:
        from torch import nn

        return build(nn, **options)

    return twin


def _create(name: str, **fixed: Any) -> Callable[..., Any]:
    def ours(**options: Any) -> Any:
        import minicnn

        return minicnn.models.create(name, **fixed, **options)

    return ours


def _lenet5(**options: Any) -> Any:
    from benchmarks import twins

    return twins.lenet5()


def _cifar_resnet20(**options: Any) -> Any:
    from benchmarks import twins

    return twins.cifar_resnet(3)


def _torchvision(name: str, **fixed: Any) -> Callable[..., Any]:
    def twin(**options: Any) -> Any:
        from benchmarks import twins

        return getattr(twins.torchvision().models, name)(weights=None, **fixed)

    return twin


def _imagenet(name: str, batch: int, ours: dict[str, Any] | None = None, **fixed: Any) -> Network:
    twin = _torchvision(name, **fixed)
    return Network(batch, (3, 224, 224), 1000, _create(name, **(ours or {})), twin, name, torchvision=True)


NETWORKS = {
    "lenet5": Network(64, (1, 28, 28), 10, _create("lenet5"), _lenet5, "lenet5"),
    "cifar_cnn4": Network(64, (3, 32, 32), 10, _with_minicnn(cifar_cnn4), _with_torch(cifar_cnn4)),
    "cifar_resnet20": Network(
        64, (3, 32, 32), 10, _create("cifar_resnet20"), _cifar_resnet20, "cifar_resnet20"
    ),
    "alexnet": _imagenet("alexnet", 16),
    "vgg16": _imagenet("vgg16", 4, init_weights=False),
    "googlenet": _imagenet("googlenet", 8, {"aux_logits": False}, aux_logits=False, init_weights=False),
    "resnet18": _imagenet("resnet18", 8),
    "resnet50": _imagenet("resnet50", 8),
    "densenet121": _imagenet("densenet121", 8),
    "mobilenet_v2": _imagenet("mobilenet_v2", 8),
    "efficientnet_b0": _imagenet("efficientnet_b0", 8),
}
STACK = Network(8, (0, 0, 0), 10, _with_minicnn(stack), _with_torch(stack))

# Another order of summation moves the loss in its last digits. It also moves a few values across the corner
# of a ReLU or from one maximum to another, which moves single gradients of a deep network by some per cent. A
# wrong kernel moves them by their own size, and everything below it.
LOSS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 0.2
TYPICAL_TOLERANCE = 0.05


def disagreement(ours: dict[str, Any], theirs: dict[str, Any]) -> str | None:
    """Say in a few words where two results of Contender.check differ beyond rounding, or None."""
    if ours["arrays"].keys() != theirs["arrays"].keys():
        only = sorted(ours["arrays"].keys() ^ theirs["arrays"].keys())
        return f"the parameters differ in name: {', '.join(only[:4])}{' …' if len(only) > 4 else ''}"
    a, b = ours["loss"], theirs["loss"]
    if not abs(a - b) <= LOSS_TOLERANCE * max(1.0, abs(b)):
        return f"the loss is {a:.6g}, but {b:.6g} is expected"
    norms = [math.hypot(*theirs["arrays"][name]["entries"]) for name in theirs["arrays"]]
    negligible = 1e-3 * max(norms)  # a gradient that is zero but for rounding has no relative error
    errors = {}
    for name, one in ours["arrays"].items():
        other = theirs["arrays"][name]
        if one["shape"] != other["shape"]:
            return f"{name} has shape {tuple(one['shape'])}, but {tuple(other['shape'])} is expected"
        away = math.dist(one["entries"], other["entries"])
        errors[name] = away / (math.hypot(*other["entries"]) + negligible)
        if not errors[name] <= GRADIENT_TOLERANCE:
            return f"{name} differs by {errors[name]:.1%}"
    if statistics.median(errors.values()) > TYPICAL_TOLERANCE:
        return f"half of the arrays differ by more than {statistics.median(errors.values()):.1%}"
    return None


def refuse_unequal(network: str, ours: dict[str, Any], theirs: dict[str, Any], who: str) -> None:
    """Raise Problem, which says where, if two contenders did not compute the same."""
    if found := disagreement(ours, theirs):
        raise Problem(f"{network}: minicnn and {who} disagree, so nothing is timed: {found}")
