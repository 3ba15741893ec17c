"""Where published files name a parameter otherwise than the network does, and what may be missing or left."""

import re
from collections.abc import Container, Iterable

# What wrappers put before every name: torch.nn.DataParallel, torch.compile.
WRAPPERS = ("module.", "_orig_mod.")

# Older names. A row counts for a name that the network does not have, and if it then has the other.
OLDER = (
    (r"(\.denselayer\d+\.(?:norm|conv))\.([12])\.", r"\1\2."),  # torchvision's DenseNets of 2017
    (r"^last_linear\.", "fc."),  # pretrainedmodels, from which timm's files come
    (r"^last_linear\.", "classif."),
    (r"^last_linear\.", "classifier."),
)

# The auxiliary heads of Inception networks, which a network may be built without.
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")

# How often batch norm has seen a batch: torch before 0.4.1 did not count, and inference does not ask.
COUNTER = "num_batches_tracked"


def renamed(names: Iterable[str], own: Container[str]) -> dict[str, str]:
    """The file's names, each with what the network calls the same array; unknown ones stay as they are.

    >>> renamed(["module.features.denseblock1.denselayer2.norm.1.weight", "module.epoch"],
    ...         {"features.denseblock1.denselayer2.norm1.weight"})
    {'module.features.denseblock1.denselayer2.norm.1.weight': 'features.denseblock1.denselayer2.norm1.weight',
     'module.epoch': 'epoch'}
    """
    result = {name: name for name in names}
    for wrapper in WRAPPERS:
        if all(name.startswith(wrapper) for name in result.values()):
            result = {name: now.removeprefix(wrapper) for name, now in result.items()}
    return {name: _current(now, own) for name, now in result.items()}


def _current(name: str, own: Container[str]) -> str:
    if name not in own:
        for pattern, replacement in OLDER:
            if (other := re.sub(pattern, replacement, name)) in own:
                return other
    return name
