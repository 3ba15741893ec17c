"""From a file's arrays into a network, and back."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minicnn import files, nn
from minicnn.backend import is_array, move
from minicnn.tensor import Tensor
from minicnn.weights import keras_networks
from minicnn.weights.errors import Unreadable, WeightsError
from minicnn.weights.names import AUXILIARY, COUNTER, renamed
from minicnn.weights.reading import read
from minicnn.weights.report import LoadReport, few

Source = str | os.PathLike[str] | Mapping[str, Any]


def load(model: nn.Module, source: Source, *, replace_head: bool = False) -> LoadReport:
    """Copy weights from a file, or from arrays by name, into a network; all of them, or none.

    Every array of the network must be in the source, in its shape, and nothing else. Harmless are only
    batch norm's counters of batches, which older files lack, and the auxiliary heads of a network that was
    built without them. Floating-point numbers of another width are converted. Older names of published
    files, "module." before every name, and the layouts of Keras's networks are understood
    (:mod:`minicnn.weights.names`, :mod:`minicnn.weights.keras_networks`).

    ``replace_head=True`` is for a network with another number of classes than the file's: its last layer
    (and that of each auxiliary head) then stays as it was drawn; also where the file has none.

    Raises :class:`WeightsError`, which says what does not fit; the network is then as it was.

    >>> import tempfile
    >>> from minicnn import models
    >>> a, b = models.create("lenet5"), models.create("lenet5", num_classes=26)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save(a, f"{folder}/lenet5.safetensors")
    ...     report = load(b, f"{folder}/lenet5.safetensors", replace_head=True)
    >>> len(report.matched), report.misshaped[0]
    (8, ('output.weight', (10, 84), (26, 84)))
    >>> load(b, a.state_dict())
    Traceback (most recent call last):
    minicnn.weights.errors.WeightsError: arrays: made for 10 classes, but LeNet5 has 26; give
    replace_head=True to keep its own output.weight, output.bias
    """
    arrays: Mapping[str, Any]
    if isinstance(source, Mapping):
        arrays, where, label = {k: _array(k, v) for k, v in source.items()}, "arrays", "arrays"
    else:
        arrays, where, label = read(source), str(source), Path(source).name
    try:
        return _load(model, _title(model), arrays, label, replace_head)
    except Unreadable as reason:
        raise WeightsError(f"{where}: {reason}") from None


def save(model: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write a network's parameters and buffers, under the names of its ``state_dict``, as safetensors.

    Raises ValueError for a file name that ends as another format's, and OSError when it cannot be written; a
    file that was there is then as it was.
    """
    from safetensors.numpy import save as packed

    if Path(path).suffix in (".pth", ".pt", ".npz", ".h5"):
        raise ValueError(f"save: writes safetensors, but {str(path)!r} ends in {Path(path).suffix}")
    arrays = {name: move(array, "cpu") for name, array in model.state_dict().items()}
    files.write(path, packed(arrays, {"made-by": "minicnn"}))


def _load(
    model: nn.Module, title: str, arrays: Mapping[str, Any], label: str, replace_head: bool
) -> LoadReport:
    notes = []
    if keras_networks.is_keras(arrays):
        arrays, note = keras_networks.converted(model, title, arrays)
        notes.append(note)
    own = model.state_dict()
    theirs = _under_own_names(arrays, own)
    missing = [name for name in own if name not in theirs]
    unexpected = [name for name in theirs if name not in own]
    both = [name for name in own if name in theirs]
    misshaped = [name for name in both if theirs[name].shape != own[name].shape]

    head = _head(model)
    faults = Faults(title)
    faults.add("missing", [n for n in missing if not _may_miss(n, head if replace_head else ())])
    faults.add("unexpected", [n for n in unexpected if not _may_be_left(n, own)])
    _add_differences(faults, {n: (theirs[n], own[n]) for n in both}, head)
    faults.check()
    if misshaped and not replace_head:
        old, new = theirs[misshaped[0]].shape[0], own[misshaped[0]].shape[0]
        raise Unreadable(
            f"made for {old:,} classes, but {title} has {new:,}; give replace_head=True to keep its own "
            f"{few(misshaped)}"
        )

    matched = [name for name in both if name not in misshaped]
    model.load_state_dict({name: theirs[name] for name in matched}, strict=False)
    return LoadReport(
        source=label,
        model=title,
        matched=tuple(matched),
        missing=tuple(missing),
        unexpected=tuple(unexpected),
        misshaped=tuple((n, theirs[n].shape, own[n].shape) for n in misshaped),
        cast=tuple(
            (n, str(theirs[n].dtype), str(own[n].dtype)) for n in matched if theirs[n].dtype != own[n].dtype
        ),
        notes=tuple(notes),
    )


class Faults:
    """What does not fit, collected so that one error can say it all."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.lines: list[str] = []

    def add(self, what: str, items: list[str]) -> None:
        """Note what is wrong in the same way."""
        if items:
            self.lines.append(f"{len(items):,} {what}: {few(items)}")

    def check(self) -> None:
        """Raise Unreadable if something was noted."""
        if self.lines:
            raise Unreadable(f"does not fit {self.title}; {'; '.join(self.lines)}")


def _add_differences(faults: Faults, pairs: Mapping[str, tuple[Any, Any]], head: set[str]) -> None:
    """Note where the file's array is not like the network's, but for the number of classes in the head."""
    faults.add(
        "of another shape",
        [
            f"{name} {theirs.shape}, expected {own.shape}"
            for name, (theirs, own) in pairs.items()
            if theirs.shape != own.shape and not (name in head and _differ_in_classes(theirs, own))
        ],
    )
    faults.add(
        "of another kind",
        [
            f"{name} {theirs.dtype}, expected {own.dtype}"
            for name, (theirs, own) in pairs.items()
            if (theirs.dtype.kind == "f") != (own.dtype.kind == "f")
        ],
    )


def _title(model: nn.Module) -> str:
    name = getattr(model, "name", None)
    return name if isinstance(name, str) else type(model).__name__


def _array(name: str, value: Any) -> Any:
    if not isinstance(name, str):
        raise WeightsError(f"arrays: {name!r} is no name of an array")
    array = value.data if isinstance(value, Tensor) else value
    array = array if is_array(array) else np.asarray(array)
    if array.dtype.kind not in "fiub":
        raise WeightsError(f"arrays: {name} is {array.dtype}, not numbers")
    return array


def _under_own_names(arrays: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    names = renamed(arrays, own)
    result = {names[name]: array for name, array in arrays.items()}
    if len(result) < len(names):
        twice = next(new for old, new in names.items() if new != old and new in names)
        raise Unreadable(f"has {twice} under two names")
    return result


def _head(model: nn.Module) -> set[str]:
    """The arrays of the layers that end in classes: the network's last one, and each auxiliary head's."""
    layers = [path for path, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    last = {next((prefix for prefix in AUXILIARY if path.startswith(prefix)), ""): path for path in layers}
    return {f"{path}.{kind}" for path in last.values() for kind in ("weight", "bias")}


def _differ_in_classes(theirs: Any, own: Any) -> bool:
    return theirs.ndim == own.ndim and theirs.shape[1:] == own.shape[1:]


def _may_miss(name: str, head: set[str] | tuple[()]) -> bool:
    return name in head or name.rpartition(".")[2] == COUNTER


def _may_be_left(name: str, own: Mapping[str, Any]) -> bool:
    if name.rpartition(".")[2] == COUNTER:
        return True
    prefix = next((prefix for prefix in AUXILIARY if name.startswith(prefix)), None)
    return prefix is not None and not any(other.startswith(prefix) for other in own)
