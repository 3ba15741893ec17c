"""Keras's networks that compute what ours do, and how their arrays become ours.

Keras keeps a convolution's filters as (KH, KW, C, OC), where ours are (OC, C, KH, KW), and a dense layer's
weights as (in, out), where ours are (out, in). Its images have their channels last, so that the inputs of
a dense layer behind an image come in another order. Two more differences vanish into batch norm's running
statistics, and for inference exactly (but for rounding): with ε′ in place of our ε,

    (x + b − mean) / √(var + ε′)  =  (x − (mean − b)) / √((var + ε′ − ε) + ε),

a bias b before batch norm is taken off the mean, and the difference of the epsilons added to the variance.
So what is loaded is all in the network's arrays, and stays there when it is saved again.

Most of Keras's other networks do not compute what those of the same name elsewhere do; ``REFUSED`` says why.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from minicnn import nn
from minicnn.weights.errors import Unreadable

Arrays = dict[str, np.ndarray]


class Network(NamedTuple):
    """A network of Keras's: what it is called there, and its layer for a layer of ours."""

    title: str
    layer: Callable[[nn.Module, str], str]
    eps: float = 1.001e-5
    flattened: Mapping[str, tuple[int, int]] = {}  # dense layers behind an image: its height and width
    check: Callable[[nn.Module], None] = lambda model: None


def _by_pattern(*rows: tuple[str, Callable[..., str]]) -> Callable[[nn.Module, str], str]:
    """Layers by the first row whose pattern is the path of ours; numbers in it are given as such."""

    def layer(model: nn.Module, path: str) -> str:
        for pattern, name in rows:
            if match := re.fullmatch(pattern, path):
                return name(*(int(part) if part.isdecimal() else part for part in match.groups()))
        return path

    return layer


_resnet = _by_pattern(
    (r"(conv|bn)1", lambda kind: f"conv1_{kind}"),
    (r"layer(\d)\.(\d+)\.(conv|bn)(\d)", lambda s, b, kind, i: f"conv{s + 1}_block{b + 1}_{i}_{kind}"),
    (r"layer(\d)\.(\d+)\.downsample\.0", lambda s, b: f"conv{s + 1}_block{b + 1}_0_conv"),
    (r"layer(\d)\.(\d+)\.downsample\.1", lambda s, b: f"conv{s + 1}_block{b + 1}_0_bn"),
    (r"fc", lambda: "predictions"),
)

_densenet = _by_pattern(
    (r"features\.conv0", lambda: "conv1_conv"),
    (r"features\.norm0", lambda: "conv1_bn"),
    (
        r"features\.denseblock(\d)\.denselayer(\d+)\.norm(\d)",
        lambda b, i, n: f"conv{b + 1}_block{i}_{n - 1}_bn",
    ),
    (
        r"features\.denseblock(\d)\.denselayer(\d+)\.conv(\d)",
        lambda b, i, n: f"conv{b + 1}_block{i}_{n}_conv",
    ),
    (r"features\.transition(\d)\.(conv)", lambda b, kind: f"pool{b + 1}_{kind}"),
    (r"features\.transition(\d)\.norm", lambda b: f"pool{b + 1}_bn"),
    (r"features\.norm5", lambda: "bn"),
    (r"classifier", lambda: "predictions"),
)

_vgg_head = {"classifier.0": "fc1", "classifier.3": "fc2", "classifier.6": "predictions"}


def _vgg(model: nn.Module, path: str) -> str:
    """block3_conv2 is the second convolution after the second pooling."""
    if path in _vgg_head:
        return _vgg_head[path]
    before = list(model.features.children())[: int(path.rpartition(".")[2]) + 1]
    pools = [i for i, module in enumerate(before) if isinstance(module, nn.MaxPool2d)]
    convolutions = sum(isinstance(module, nn.Conv2d) for module in before[pools[-1] if pools else 0 :])
    return f"block{len(pools) + 1}_conv{convolutions}"


def _check_resnet(model: nn.Module) -> None:
    if model.get_submodule("layer2.0.conv1").stride != (2, 2):
        raise Unreadable(
            "Keras's ResNets have the stride on the first 1×1 convolution; create the network with "
            "stride_on='1x1'"
        )


NETWORKS: Mapping[str, Network] = {
    **{name: Network(name.upper(), _vgg, flattened={"classifier.0": (7, 7)}) for name in ("vgg16", "vgg19")},
    **{f"resnet{n}": Network(f"ResNet{n}", _resnet, check=_check_resnet) for n in (50, 101, 152)},
    **{f"densenet{n}": Network(f"DenseNet{n}", _densenet) for n in (121, 169, 201)},
}

# Names that files of other years have for the same layers.
ALIASES = {
    "predictions": ("fc1000", "probs"),
    "conv1_conv": ("conv1/conv",),
    "conv1_bn": ("conv1/bn",),
}

_PADS_RIGHT = "Keras pads images on the right and below only before a stride of 2, this network on all sides"
REFUSED: Mapping[str, str] = {
    r"mobilenet_v[12]": _PADS_RIGHT,
    r"efficientnet_b\d": _PADS_RIGHT,
    r"xception": "Keras pads images of even size on the right and below only before pooling",
    r"nasneta.*": "Keras pads with zeros before its poolings, which then count them",
    r"inception_v3": "Keras's means at an image's border leave the padding out, this network's count it",
    r"resnetv2_.*": "Keras's ResNetV2 halves the image in a stage's last block, this network in its first",
}


def is_keras(names: Mapping[str, Any]) -> bool:
    """Whether arrays have names as ``read`` gives them to Keras's: "layer/role".

    >>> is_keras({"fc1/kernel": ...}), is_keras({"fc1.weight": ...})
    (True, False)
    """
    return bool(names) and all("/" in name for name in names)


def converted(model: nn.Module, name: str, arrays: Mapping[str, np.ndarray]) -> tuple[Arrays, str]:
    """Arrays of Keras's as the network's, those without a use there under their own names; and a remark.

    Raises Unreadable for a network that Keras has not, or computes otherwise.
    """
    network = _find(name)
    network.check(model)
    layers: dict[str, Arrays] = {}
    for full, array in arrays.items():
        layer, _, role = full.rpartition("/")
        layers.setdefault(layer, {})[role] = array
    result: Arrays = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
            layer = _present(network.layer(model, path), layers)
            ours = _layer(module, layer, layers, network, network.flattened.get(path))
            result |= {f"{path}.{key}": array for key, array in ours.items()}
    for layer, roles in layers.items():
        result |= {f"{layer}/{role}": array for role, array in roles.items()}
    return result, f"turned from the layout of Keras's {network.title}, its epsilon and biases folded"


def _find(name: str) -> Network:
    if name in NETWORKS:
        return NETWORKS[name]
    for pattern, reason in REFUSED.items():
        if re.fullmatch(pattern, name):
            raise Unreadable(f"Keras's weights do not fit {name}: {reason}")
    raise Unreadable(f"a file of Keras's, which has no network like {name}; it has {', '.join(NETWORKS)}")


def _present(layer: str, layers: Mapping[str, Arrays]) -> str:
    """The name under which a layer is in the file, if it is there."""
    return next((alias for alias in ALIASES.get(layer, ()) if alias in layers), layer)


def _layer(
    module: nn.Module,
    layer: str,
    layers: dict[str, Arrays],
    network: Network,
    image: tuple[int, int] | None,
) -> Arrays:
    """A layer's arrays as ours, taken out of ``layers``; those that are not there are left out."""
    roles = layers.get(layer, {})
    if isinstance(module, nn.BatchNorm2d):
        before = layers.get(re.sub("bn$", "conv", layer), {})
        return _batch_norm(module, roles, network.eps, before)
    result = {}
    if "kernel" in roles:
        kernel = roles.pop("kernel")
        if image is not None and kernel.ndim == 2 and len(kernel) % (image[0] * image[1]) == 0:
            kernel = kernel.reshape(*image, -1, kernel.shape[-1]).transpose(2, 0, 1, 3)
            kernel = kernel.reshape(-1, kernel.shape[-1])
        result["weight"] = kernel.transpose(3, 2, 0, 1) if kernel.ndim == 4 else kernel.T
    if "bias" in roles and module.bias is not None:
        result["bias"] = roles.pop("bias")
    return result


def _batch_norm(module: nn.BatchNorm2d, roles: Arrays, eps: float, before: Arrays) -> Arrays:
    """Batch norm's arrays, with the difference of the epsilons and the bias of the layer before folded in."""
    if not {"beta", "moving_mean", "moving_variance"} <= set(roles):
        return {}
    mean, variance = roles.pop("moving_mean"), roles.pop("moving_variance")
    if "bias" in before and before["bias"].shape == mean.shape:
        mean = mean - before.pop("bias")
    return {
        "weight": roles.pop("gamma", np.ones_like(mean)),
        "bias": roles.pop("beta"),
        "running_mean": mean,
        "running_var": variance + (eps - module.eps),
    }
