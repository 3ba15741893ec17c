"""Optimizer.state_dict and load_state_dict: plain numbers and arrays out, and in again with every check."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn.backend import is_array, move

if TYPE_CHECKING:
    from minicnn.optim.optimizer import Optimizer
    from minicnn.tensor import Tensor

EXTRA_OPTIONS = frozenset({"initial_lr", "name"})
"""What a group may hold beside the optimiser's options: a schedule's note, and a name for people."""


def save(optimizer: Optimizer) -> dict[str, Any]:
    """See `Optimizer.state_dict`."""
    numbers = {p: i for i, p in enumerate(optimizer._params())}
    groups = zip(optimizer.param_groups, _numbered(optimizer), strict=True)
    return {
        "state": {
            numbers[p]: {k: np.array(move(v, "cpu")) if is_array(v) else v for k, v in state.items()}
            for p, state in optimizer.state.items()
        },
        "param_groups": [
            {
                **{k: list(v) if isinstance(v, tuple) else v for k, v in group.items()},
                "params": params,
            }
            for group, params in groups
        ],
    }


def load(optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
    """See `Optimizer.load_state_dict`."""
    owner = f"{type(optimizer).__name__}.load_state_dict"
    if not isinstance(state_dict, dict) or set(state_dict) != {"state", "param_groups"}:
        found = sorted(map(str, state_dict)) if isinstance(state_dict, dict) else type(state_dict).__name__
        raise ValueError(f"{owner}: a dict with the keys state and param_groups is expected, not {found}")
    options = _checked_groups(owner, optimizer, state_dict["param_groups"])
    state = _checked_state(owner, optimizer, options, state_dict["state"])
    for group, new in zip(optimizer.param_groups, options, strict=True):
        params = group["params"]
        group.clear()
        group.update(params=params, **new)
    optimizer.state = state


def _checked_groups(owner: str, optimizer: Optimizer, saved: Any) -> list[dict[str, Any]]:
    """The saved options of each group, if the groups are this optimiser's."""
    own = _numbered(optimizer)
    if not isinstance(saved, list) or not all(isinstance(group, dict) for group in saved):
        raise ValueError(f"{owner}: param_groups is no list of dicts")
    found = [group.get("params") for group in saved]
    if found != own:
        raise ValueError(
            f"{owner}: the saved groups hold parameters {_brief(found)}, but this optimiser's {_brief(own)}"
        )
    checked = []
    for i, group in enumerate(saved):
        options = {name: value for name, value in group.items() if name != "params"}
        if missing := sorted(optimizer.defaults.keys() - options.keys()):
            raise ValueError(f"{owner}: group {i} has no {', '.join(missing)}")
        checked.append(optimizer._checked_options(options))
    return checked


def _checked_state(
    owner: str, optimizer: Optimizer, options: list[dict[str, Any]], saved: Any
) -> dict[Tensor, dict[str, Any]]:
    """The saved state by parameter, if each entry has the names, shapes and dtypes of this optimiser."""
    if not isinstance(saved, dict):
        raise ValueError(f"{owner}: state is {type(saved).__name__}, but a dict is expected")
    params = [
        (p, group) for own, group in zip(optimizer.param_groups, options, strict=True) for p in own["params"]
    ]
    state = {}
    for i, entry in saved.items():
        if not isinstance(i, int) or isinstance(i, bool) or not 0 <= i < len(params):
            raise ValueError(f"{owner}: state has the key {i!r}, but 0 to {len(params) - 1} are expected")
        p, group = params[i]
        if not isinstance(entry, dict):
            raise ValueError(f"{owner}: state of parameter {i} is {type(entry).__name__}, not a dict")
        required = {*optimizer.start, *optimizer.arrays_for(group)}
        if missing := sorted(required - entry.keys()):
            raise ValueError(f"{owner}: state of parameter {i} has no {', '.join(missing)}")
        if extra := sorted(map(str, entry.keys() - {*optimizer.start, *optimizer.array_names})):
            raise ValueError(f"{owner}: state of parameter {i} has the unexpected {', '.join(extra)}")
        state[p] = {
            name: _checked_entry(f"{owner}: {name} of parameter {i}", value, p, optimizer.start.get(name))
            for name, value in entry.items()
        }
    return state


def _checked_entry(where: str, value: Any, p: Tensor, start: int | float | None) -> Any:
    """A number of the type it starts with; or else a copy, on the parameter's device, of a fitting array."""
    if start is not None:
        if type(value) is not type(start):
            raise ValueError(f"{where} is {value!r}, but {type(start).__name__} is expected")
        return value
    if not is_array(value):
        raise ValueError(f"{where} is {type(value).__name__}, but an array is expected")
    if value.shape != p.shape or value.dtype != p.dtype:
        raise ValueError(f"{where} is {value.dtype} {value.shape}, but the parameter is {p.dtype} {p.shape}")
    return move(value.copy(order="C"), p.device)


def _numbered(optimizer: Optimizer) -> list[list[int]]:
    """The parameters' numbers by group, counted through all groups."""
    count = itertools.count()
    return [[next(count) for _ in group["params"]] for group in optimizer.param_groups]


def _brief(groups: list[Any]) -> str:
    """[[0, 1], [2]] as it is; long lists of parameters by their number."""
    return str([g if not isinstance(g, list) or len(g) < 5 else f"{len(g)} parameters" for g in groups])
