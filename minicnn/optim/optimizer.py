"""What all optimisers share: parameter groups, options, state, and the walk over the parameters.

An optimiser is a subclass that says three things: its options, their allowed ranges, and which operation
computes the paper's equation, with which `numbers`. See `sgd.py` for the shortest, and
`kernels/numpy/optim.py` for the equations.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf, isfinite
from typing import Any, ClassVar

import numpy as np

from minicnn import backend, kernels
from minicnn.autograd import check_one_device
from minicnn.backend import unknown
from minicnn.optim import state_dicts
from minicnn.tensor import Tensor

Params = Iterable[Tensor] | Iterable[dict[str, Any]]
Options = dict[str, Any]
State = dict[str, Any]


class Optimizer:
    """The base class. Use `SGD`, `RMSprop`, `Adam`, `AdamW`, `Adamax` or `NAdam`.

    `params` are Tensors, or dicts `{"params": tensors, option: value, ...}`, one for each group with options
    of its own. `param_groups` is the list of these dicts, each completed with the defaults; changing an
    option in it (`optimizer.param_groups[0]["lr"] = 0.01`) takes effect at the next step.

    Errors: TypeError for what is no Tensor; ValueError for an empty list, for a parameter that is given
    twice, for a tensor that was computed from others, and for an option that is unknown or outside its range.
    """

    ranges: ClassVar[dict[str, tuple[float, float]]] = {"lr": (0.0, inf), "weight_decay": (0.0, inf)}
    """Each numeric option's range: low <= value < high. An option that is not here is True or False."""

    operation: ClassVar[str]
    """The operation that updates lists of parameters, in place."""

    array_names: ClassVar[tuple[str, ...]] = ()
    """The arrays that are kept for each parameter. They have its shape and begin as zeros."""

    start: ClassVar[dict[str, int | float]] = {"step": 0}
    """The numbers that are kept for each parameter, as they are before its first step."""

    decays_gradient: ClassVar[bool] = True
    """Whether weight decay is the gradient of an L2 penalty: g + weight_decay · w takes the place of g."""

    def __init__(self, params: Params, defaults: Options) -> None:
        self.defaults = self._checked_options(defaults)
        self.param_groups: list[Options] = []
        self.state: dict[Tensor, State] = {}
        if isinstance(params, Tensor | set | frozenset):
            found = type(params).__name__  # a set has no order, and parameters are known by their number
            raise TypeError(f"{self._name}: params is one {found}, but a list of Tensors is expected")
        given: list[Any] = list(params)
        if not given:
            raise ValueError(f"{self._name}: params is empty, so there is nothing to optimise")
        for group in given if isinstance(given[0], dict) else [{"params": given}]:
            self.add_param_group(group)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a dict `{"params": tensors, option: value, ...}`; what it leaves out has the default value."""
        if not isinstance(param_group, dict) or "params" not in param_group:
            raise TypeError(
                f"{self._name}: a parameter group is a dict with the key params, not {param_group!r}"
            )
        params = param_group["params"]
        params = [params] if isinstance(params, Tensor) else list(params)
        self._check_params(params)
        options = {name: value for name, value in param_group.items() if name != "params"}
        self.param_groups.append({"params": params, **self._checked_options({**self.defaults, **options})})

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients: set them to None, or with set_to_none=False fill their arrays with zeros."""
        for p in self._params():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad[...] = 0

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient, in place, and return closure() if one is given.

        Errors: ValueError if a gradient's shape or dtype is not its parameter's, TypeError if it is on
        another device; nothing has been updated then.
        """
        loss = None if closure is None else closure()
        self._check_gradients()
        jobs: dict[type, tuple[list, list, list, list]] = {}  # the operation's arguments, for each device
        for group in self.param_groups:
            names = self.arrays_for(group)
            for p in group["params"]:
                if p.grad is not None:
                    state = self._next_state(p, names, group)
                    ws, gs, states, numbers = jobs.setdefault(type(p.data), ([], [], [], []))
                    ws.append(p.data)
                    gs.append(p.grad)
                    states.append(tuple(state[name] if name in names else None for name in self.array_names))
                    numbers.append(self.numbers(state, group))
                    p.mark_changed()
        for job in jobs.values():
            kernels.run(self.operation, *job)
        return loss

    def advance(self, state: State, options: Options) -> None:
        """Bring the numbers in a parameter's state to the step that is about to be made."""
        state["step"] += 1

    def numbers(self, state: State, options: Options) -> tuple[float, ...]:
        """Return the numbers of the operation for one parameter; what `direction` gives stands first."""
        raise NotImplementedError(f"{self._name} has no numbers")

    def direction(self, options: Options) -> tuple[bool, float]:
        """Whether to go up the gradient, and how much of w is added to it, as an L2 penalty's gradient."""
        decay = options["weight_decay"] if self.decays_gradient else 0.0
        return options["maximize"], decay

    def arrays_for(self, options: Options) -> tuple[str, ...]:
        """Those of `array_names` that these options need."""
        return self.array_names

    def state_dict(self) -> dict[str, Any]:
        """Return copies of the state, as NumPy arrays, and the options; parameters are numbers in it.

            {"state": {0: {"step": 7, name: array, ...}, ...},
             "param_groups": [{"lr": 0.1, ..., "params": [0, ...]}, ...]}

        Everything but the arrays can be written as JSON.
        """
        return state_dicts.save(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from what `state_dict` returned; the next step is, bit for bit, what it would have been.

        Errors: ValueError or TypeError if it does not fit this optimiser and its parameters; nothing has been
        changed then.
        """
        state_dicts.load(self, state_dict)

    def __repr__(self) -> str:
        groups = [
            {**{k: v for k, v in group.items() if k != "params"}, "params": len(group["params"])}
            for group in self.param_groups
        ]
        return f"{self._name}({', '.join(map(str, groups))})"

    # ------------------------------------------------------------------------------------------------ inside

    @property
    def _name(self) -> str:
        return type(self).__name__

    def _params(self) -> Iterator[Tensor]:
        for group in self.param_groups:
            yield from group["params"]

    def _next_state(self, p: Tensor, names: tuple[str, ...], group: Options) -> State:
        """The state for the step that is about to be made, with arrays of these names."""
        state = self.state.setdefault(p, dict(self.start))
        for name in names:
            if name not in state:
                state[name] = backend.module_of(p.data).zeros(p.shape, p.dtype)
            elif type(state[name]) is not type(p.data):  # the model has moved to another device
                state[name] = backend.move(state[name], p.device)
        self.advance(state, group)
        return state

    def _check_params(self, params: list[Any]) -> None:
        if not params:
            raise ValueError(f"{self._name}: params of a group is empty, so there is nothing to optimise")
        seen = {id(p) for p in self._params()}
        for p in params:
            if not isinstance(p, Tensor):
                raise TypeError(f"{self._name}: params holds {type(p).__name__}, but Tensors are expected")
            if not p.is_leaf:
                raise ValueError(
                    f"{self._name}: params holds a result of {type(p.grad_fn).__name__}, shape {p.shape}, "
                    "but only tensors that were not computed from others can be optimised"
                )
            if id(p) in seen:
                raise ValueError(f"{self._name}: params holds the same tensor of shape {p.shape} twice")
            seen.add(id(p))

    def _check_gradients(self) -> None:
        for i, p in enumerate(self._params()):
            g = p.grad
            if g is not None and (g.shape != p.shape or g.dtype != p.dtype):
                raise ValueError(
                    f"{self._name}: parameter {i} is {p.dtype} {p.shape}, but its grad is {g.dtype} {g.shape}"
                )
            if g is not None and type(g) is not type(p.data):
                check_one_device(self._name, {f"the grad of parameter {i}": g, "the parameter": p})

    def _checked_options(self, options: Options) -> Options:
        """The options with numbers as floats, or an error that names the first wrong one."""
        known = getattr(self, "defaults", options).keys() | state_dicts.EXTRA_OPTIONS
        checked = {}
        for name, value in options.items():
            if name not in known:
                raise ValueError(f"{self._name}: option {unknown(name, known)}")
            if name in state_dicts.EXTRA_OPTIONS:
                checked[name] = value
            elif name == "betas":
                checked[name] = self._checked_betas(value)
            elif name in self.ranges:
                checked[name] = self._checked_number(name, value)
            elif not isinstance(value, bool):
                raise TypeError(f"{self._name}: {name} is {value!r}, but True or False is expected")
            else:
                checked[name] = value
        return checked

    def _checked_betas(self, value: Any) -> tuple[float, float]:
        if not isinstance(value, tuple | list) or len(value) != 2:
            raise TypeError(f"{self._name}: betas is {value!r}, but a pair of numbers is expected")
        return self._checked_number("betas", value[0]), self._checked_number("betas", value[1])

    def _checked_number(self, name: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise TypeError(f"{self._name}: {name} is {value!r}, but a number is expected")
        low, high = self.ranges[name]
        if not (low <= value < high and isfinite(value)):
            raise ValueError(f"{self._name}: {name} is {value}, but {low:g} <= {name} < {high:g} is expected")
        return float(value)
