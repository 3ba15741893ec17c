"""Keras's ``.h5`` and ``.weights.h5``: HDF5, with a group for each layer.

There are two layouts. Keras 1 and 2, and Keras 3 for names that end in ``.h5``, list the layers in an
attribute ``layer_names``, and in each layer's group its arrays in ``weight_names``. A ``.weights.h5`` of
Keras 3 numbers the arrays in ``layers/conv2d_7/vars/0, 1, …`` and has the layer's own name beside them.

What an array is called differs from version to version; what it is follows from its place and rank.

HDF5 is a large format, and its library is written in C: a file made to break it may do so. All that can be
checked from here is: no links to other files, no compression, no array larger than what the file holds.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.weights.dtypes import is_plain
from minicnn.weights.errors import Unreadable, shown

SIGNATURE = b"\x89HDF\r\n\x1a\n"

# The ranks of a layer's arrays in Keras's order, and what the arrays are.
ROLES = {
    (4,): ("kernel",),
    (4, 1): ("kernel", "bias"),
    (2,): ("kernel",),
    (2, 1): ("kernel", "bias"),
    (4, 4): ("depthwise_kernel", "pointwise_kernel"),
    (4, 4, 1): ("depthwise_kernel", "pointwise_kernel", "bias"),
    (1, 1, 1): ("beta", "moving_mean", "moving_variance"),
    (1, 1, 1, 1): ("gamma", "beta", "moving_mean", "moving_variance"),
}

MOST_GROUPS = 10_000


def read(path: Path) -> dict[str, np.ndarray]:
    """The arrays as "layer/role", where the role is a number in layers that are not in ``ROLES``.

    Raises Unreadable for a file that is no file of Keras's, and where h5py is missing.
    """
    try:
        import h5py
    except ImportError:
        raise Unreadable("to read Keras's files, h5py is needed: pip install h5py") from None
    try:
        with h5py.File(path, "r") as file:
            datasets = _datasets(file)
            _check_sizes(datasets, path.stat().st_size)
            layers = {layer: [array[()] for array in arrays] for layer, arrays in datasets.items()}
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise Unreadable(f"damaged, or HDF5 of another kind ({shown(error)})") from None
    if not layers:
        raise Unreadable("an HDF5 file, but not one of Keras's weights")
    return {
        f"{layer}/{role}": np.asarray(array).astype(array.dtype.newbyteorder("="), copy=False)
        for layer, arrays in layers.items()
        for role, array in zip(_roles(arrays), arrays, strict=True)
    }


def _roles(arrays: list[np.ndarray]) -> tuple[str, ...]:
    return ROLES.get(tuple(array.ndim for array in arrays), tuple(map(str, range(len(arrays)))))


def _datasets(file: Any) -> dict[str, list[Any]]:
    """The arrays of each layer, not read yet, in the order that Keras gives them."""
    group = _member(file, "model_weights") if "model_weights" in file else file
    layers = list(_texts(group, "layer_names"))
    if not layers:
        return dict(_numbered(file))
    found = {}
    for layer in layers:
        members = _member(group, layer)
        arrays = [_member(members, name) for name in _texts(members, "weight_names")]
        if arrays:
            found[layer] = arrays
    return found


def _texts(group: Any, name: str) -> Iterator[str]:
    """A list of texts in an attribute; a long one is divided among name0, name1, …"""
    parts = itertools.takewhile(group.attrs.__contains__, (f"{name}{i}" for i in itertools.count()))
    for part in [name] if name in group.attrs else parts:
        for text in np.ravel(group.attrs[part]):
            yield text.decode() if isinstance(text, bytes) else str(text)


def _numbered(file: Any) -> Iterator[tuple[str, list[Any]]]:
    """The layers of a ``.weights.h5`` of Keras 3; where the layers' names are missing, their paths."""
    pending, seen, groups = [("", file)], set(), 1
    while pending:
        path, group = pending.pop()
        inner = {key: _member(group, key) for key in group}
        arrays = inner.pop("vars", {})
        if len(arrays):
            layer = str(arrays.attrs.get("name", path.removeprefix("layers/")))
            if layer in seen:
                raise Unreadable(f"it has two layers named {shown(layer)}")
            seen.add(layer)
            yield layer, [_member(arrays, str(i)) for i in range(len(arrays))]
        pending += [(f"{path}/{key}".lstrip("/"), g) for key, g in inner.items() if hasattr(g, "keys")]
        groups += len(inner)
        if groups > MOST_GROUPS:
            raise Unreadable(f"it has more than {MOST_GROUPS:,} groups")


def _member(group: Any, path: str) -> Any:
    """What lies under a path; links, which may lead to other files, are refused."""
    import h5py

    for part in path.strip("/").split("/"):
        if group.get(part, getlink=True, getclass=True) is not h5py.HardLink:
            raise Unreadable(f"damaged, it has no {shown(path)}, or only a link to it")
        group = group[part]
    return group


def _check_sizes(layers: dict[str, list[Any]], size: int) -> None:
    """Refuse what would take more memory than the file has bytes."""
    for layer, arrays in layers.items():
        for array in arrays:
            if array.is_virtual or array.external or array.id.get_create_plist().get_nfilters():
                raise Unreadable(f"an array of layer {shown(layer)} is packed, or lies elsewhere")
            if not is_plain(array.dtype):
                raise Unreadable(f"layer {shown(layer)} holds {shown(array.dtype)}, not numbers")
            size -= array.nbytes
            if size < 0 or array.id.get_storage_size() < array.nbytes:
                raise Unreadable(f"damaged, the arrays of layer {shown(layer)} are larger than the file")
