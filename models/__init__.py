"""The networks: one file per family, each network a table of tuples or a page of plain layers.

>>> import minicnn as mc
>>> mc.models.create("lenet5", num_classes=26).output.weight.shape
(26, 84)
>>> mc.models.info("lenet5").input_shape
(1, 28, 28)
"""

from minicnn.models import (  # importing a family registers its networks
    alexnet,  # noqa: F401
    cifar_resnet,  # noqa: F401
    course,  # noqa: F401
    densenet,  # noqa: F401
    efficientnet,  # noqa: F401
    googlenet,  # noqa: F401
    heads,  # noqa: F401
    inception_resnet,  # noqa: F401
    inception_v2,  # noqa: F401
    inception_v3,  # noqa: F401
    inception_v4,  # noqa: F401
    lenet,  # noqa: F401
    lenet_1998,  # noqa: F401
    mobilenet,  # noqa: F401
    nasnet,  # noqa: F401
    resnet,  # noqa: F401
    resnet_v2,  # noqa: F401
    transfer,
    vgg,  # noqa: F401
    xception,  # noqa: F401
)
from minicnn.models.preprocessing import Preprocessing
from minicnn.models.published import Published, get_model_weights
from minicnn.models.registry import ModelInfo, create, info, register
from minicnn.models.registry import names as list
from minicnn.models.transfer import cut, freeze, replace_head, unfreeze

__all__ = [
    "ModelInfo",
    "Preprocessing",
    "Published",
    "create",
    "cut",
    "freeze",
    "get_model_weights",
    "info",
    "list",
    "register",
    "replace_head",
    "transfer",
    "unfreeze",
]
