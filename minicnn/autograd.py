"""The engine: Variables hold arrays, Functions compute one from others, backward walks back.

While a Function computes, it notes its inputs; those notes are the graph. For a loss L at its end,
the chain rule says what each Function must hand down. If y = f(a, b), then

    ∂L/∂a = ∂L/∂y · ∂y/∂a        and likewise for b,

so that a Function needs to know only its own derivative, never the rest of the graph. Where a
Variable was used several times, the gradients of its uses add up.
"""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minicnn import backend

Array = np.ndarray


class _Recording(threading.local):
    enabled = True


_recording = _Recording()


class set_grad_enabled(contextlib.ContextDecorator):
    """Switch the recording of the graph on or off in this thread, for a ``with`` block or a function.

    >>> from minicnn import set_grad_enabled, tensor
    >>> x = tensor([2.0], requires_grad=True)
    >>> with set_grad_enabled(False):
    ...     (x * x).requires_grad
    False
    """

    def __init__(self, mode: bool) -> None:
        self.mode = bool(mode)
        self._before: list[bool] = []  # a stack, as one instance may decorate a recursive function

    def __enter__(self) -> None:
        self._before.append(_recording.enabled)
        _recording.enabled = self.mode

    def __exit__(self, *_: object) -> None:
        _recording.enabled = self._before.pop()


class no_grad(set_grad_enabled):
    """Record no graph: for evaluation, and for changing parameters by hand.

    >>> from minicnn import no_grad, tensor
    >>> w = tensor([1.0], requires_grad=True)
    >>> with no_grad():
    ...     w -= 0.5
    >>> w
    tensor([0.5], requires_grad=True)
    """

    def __init__(self) -> None:
        super().__init__(False)


class enable_grad(set_grad_enabled):
    """Record the graph again, inside a :class:`no_grad` block."""

    def __init__(self) -> None:
        super().__init__(True)


def is_grad_enabled() -> bool:
    """Whether operations are being recorded in this thread."""
    return _recording.enabled


class Variable:
    """An array and its place in the graph. :class:`minicnn.tensor.Tensor` adds the operators.

    Attributes:
        data: the array.
        grad: the gradient that backward left here, an array like ``data``, or None.
        requires_grad: whether backward should reach this variable.
        grad_fn: the Function that computed it; None for a leaf of the graph.
    """

    __slots__ = ("__weakref__", "_changes", "_data", "grad", "grad_fn", "requires_grad")
    __array_ufunc__ = None  # so that array + tensor asks the tensor, not NumPy

    def __init__(self, data: Array, requires_grad: bool = False) -> None:
        backend.device_of(data)  # raises TypeError for what is no array
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"requires_grad: only floating-point data has gradients, not {data.dtype}")
        self._data = data
        self._changes = [0]  # a list, so that a view of the same memory can share the count
        self.grad: Array | None = None
        self.grad_fn: Function | None = None
        self.requires_grad = requires_grad

    @property
    def data(self) -> Array:
        return self._data

    @data.setter
    def data(self, array: Array) -> None:
        if array is self._data:  # x.data += 1 ends here
            self._changes[0] += 1
        else:
            self._data, self._changes = array, [0]

    def mark_changed(self) -> None:
        """Say that the array was changed in place, so that a backward that still needs it can object."""
        self._changes[0] += 1

    @property
    def is_leaf(self) -> bool:
        """Whether this is a start of the graph rather than some Function's result."""
        return self.grad_fn is None

    @property
    def shape(self) -> tuple[int, ...]:
        return self._data.shape

    @property
    def ndim(self) -> int:
        return self._data.ndim

    @property
    def dtype(self) -> np.dtype:
        return self._data.dtype

    @property
    def device(self) -> str:
        """Where the array lives: "cpu" or "cuda"."""
        return backend.device_of(self._data)

    def backward(self, gradient: Any = None, retain_graph: bool = False) -> None:
        """Add ∂L/∂v to ``v.grad`` for every leaf v that this variable was computed from.

        Args:
            gradient: ∂L/∂self, an array or variable like self. May be left out where self is the loss L,
                a single number: then it is 1.
            retain_graph: keep what the Functions saved, so that backward can run again.

        Raises:
            RuntimeError: nothing here requires a gradient; self is not a single number and no gradient
                was given; the graph was freed by an earlier backward; or a saved array has been
                changed in place since.
        """
        if not self.requires_grad:
            raise RuntimeError("backward: no input of this computation has requires_grad=True")
        gy = self._upstream(gradient)
        if self.grad_fn is None:
            self.grad = gy.copy() if self.grad is None else self.grad + gy
        else:
            _walk(self.grad_fn, gy, retain_graph)

    def _upstream(self, gradient: Any) -> Array:
        """The gradient to start from, checked."""
        if gradient is None:
            if self._data.size != 1:
                raise RuntimeError(
                    f"backward: a gradient is needed for a result of shape {self.shape}; "
                    "only a single number can do without"
                )
            return np.ones_like(self._data)
        gy = gradient._data if isinstance(gradient, Variable) else gradient
        if not hasattr(gy, "dtype"):
            gy = backend.move(np.asarray(gy, self.dtype), self.device)
        check_one_device("backward", {"gradient": gy, "the result": self})
        if gy.shape != self.shape or gy.dtype != self.dtype:
            raise ValueError(
                f"backward: gradient is {gy.dtype} {gy.shape}, but the result is {self.dtype} {self.shape}"
            )
        return gy


class Edge:
    """Where the gradient to an input goes, and what it must look like: all that the graph keeps of it.

    Not its data, which can then be let go as soon as no Function has saved it: what batch norm hands to a
    ReLU is gone before the next layer computes, and a network takes half the memory.
    """

    __slots__ = ("dtype", "shape", "target")

    def __init__(self, x: Variable) -> None:
        self.target: Variable | Function = x if x.grad_fn is None else x.grad_fn
        self.shape, self.dtype = x._data.shape, x._data.dtype


class Function:
    """One operation: ``forward`` and ``backward`` on arrays. Calling it computes, and records.

    A subclass writes ``forward(*arrays)``, which returns one new array, and ``backward(gy)``, which
    returns the gradient to each of forward's arrays, in order, as one array or a tuple; None where
    there is none. The arrays that backward needs go through ``self.save``, which can tell when one
    has been changed meanwhile, and which lets go of them in time. Settings are ``__init__``'s arguments.

    >>> import minicnn as mc
    >>> class Cube(mc.Function):
    ...     def forward(self, x):
    ...         self.save(x)
    ...         return x * x * x
    ...
    ...     def backward(self, gy):
    ...         (x,) = self.saved
    ...         return gy * 3 * x * x
    >>> x = mc.tensor([1.0, 2.0], requires_grad=True)
    >>> Cube()(x).sum().backward()
    >>> x.grad
    array([ 3., 12.], dtype=float32)
    """

    result_type: type[Variable] = Variable
    """What a result is wrapped in: tensor.py, which stands above this room, sets Tensor here."""

    returns_view = False
    """Whether forward's result may share memory with its input, as a reshape's does."""

    _created = itertools.count()

    inputs: tuple[Edge | None, ...] = ()
    saved: tuple[Any, ...] = ()
    needs: tuple[bool, ...] = ()  # for each input, whether backward must return its gradient
    order = -1  # functions are numbered as they record: a result's function comes after its inputs'
    recording = False
    _watched: tuple[tuple[list[int], int, Array, bytes | None], ...] = ()

    def forward(self, *arrays: Any) -> Array:
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def backward(self, gy: Array) -> Any:
        raise NotImplementedError(f"{type(self).__name__} has no backward")

    def __call__(self, *inputs: Any) -> Any:
        inputs = tuple([x if x is None or isinstance(x, Variable) else as_variable(x) for x in inputs])
        if len({type(x._data) for x in inputs if x is not None}) > 1:
            check_one_device(type(self).__name__, {f"input {i}": x for i, x in enumerate(inputs)})
        self.needs = tuple([x is not None and x.requires_grad for x in inputs])
        self.recording = _recording.enabled and True in self.needs
        y = self.forward(*[None if x is None else x._data for x in inputs])
        if isinstance(y, np.generic):  # NumPy turns arrays without axes into scalars
            y = np.asarray(y)
        result = self.result_type(y)
        if self.returns_view and np.may_share_memory(y, inputs[0]._data):
            result._changes = inputs[0]._changes
        if self.recording:
            self.inputs = tuple([None if x is None or not x.requires_grad else Edge(x) for x in inputs])
            self.order = next(Function._created)
            result.requires_grad = True
            result.grad_fn = self
            if self.saved:
                self._watched = tuple(_watch(self.saved, (*inputs, result)))
        return result

    def save(self, *arrays: Any) -> None:
        """Keep arrays for backward, as ``self.saved``; keeps nothing where nothing is recorded."""
        if self.recording:
            self.saved = arrays

    def check_unchanged(self) -> None:
        """Raise RuntimeError if a saved array is no longer what it was."""
        for changes, count, array, values in self._watched:
            if changes[0] != count or (values is not None and array.tobytes() != values):
                raise RuntimeError(
                    f"backward: an array of shape {array.shape} that {type(self).__name__} saved was "
                    "changed in place since; compute with a copy, or change it after backward"
                )

    def free(self) -> None:
        """Let go of everything that was kept for backward."""
        self.saved = self.inputs = self._watched = ()
        self.recording = False


# Arrays up to this many entries are also compared by value: no counter sees x.data[0] = 5, but this
# does, at the sizes at which people try such things. A copy and a comparison take 0.7 µs at most.
COMPARED_BY_VALUE = 1024


def _watch(saved: Sequence[Any], variables: Sequence[Variable | None]) -> Any:
    """What tells later whether those of the saved arrays that others can see are unchanged."""
    for array in saved:
        for variable in variables:
            if variable is not None and variable._data is array:
                small = array.size <= COMPARED_BY_VALUE and isinstance(array, np.ndarray)
                values = array.tobytes() if small else None
                yield variable._changes, variable._changes[0], array, values
                break


def check_one_device(operation: str, values: Mapping[str, Any]) -> None:
    """Raise TypeError unless all of these arrays and variables are on one device; None is on any."""
    first = None
    for name, value in values.items():
        if value is None:
            continue
        device = backend.device_of(value._data if isinstance(value, Variable) else value)
        if first is None:
            first = name, device
        elif device != first[1]:
            raise TypeError(
                f"{operation}: {name} is on {device!r}, but {first[0]} is on {first[1]!r}; "
                f"move one of them with .to({device!r}) or .to({first[1]!r})"
            )


def as_variable(value: Any, device: str | None = None) -> Variable:
    """A value as a leaf of the graph: an array as it is, where it is.

    Numbers and lists go through NumPy to a device: to the one given, or to where new tensors are made.
    """
    if isinstance(value, Variable):
        return value
    array = value if hasattr(value, "dtype") else np.asarray(value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"expected numbers, got {array.dtype} from {type(value).__name__}")
    if not backend.is_array(value):
        array = backend.move(array, device or backend.default_device())
    return Function.result_type(array)


def _walk(last: Function, gy: Array, retain_graph: bool) -> None:
    """Visit every function that leads to ``last``, each after all that used its result.

    Descending order of creation is such an order. No recursion: a graph may be thousands deep.
    """
    functions = _ancestors(last)
    gradients: dict[Function, Array] = {last: gy}
    own: set[Variable | Function] = set()  # whose gradient so far is an array that nobody else holds
    for function in functions:
        gy = gradients.pop(function)
        if not function.recording:
            raise RuntimeError(
                f"backward: the graph was freed at {type(function).__name__} by an earlier backward; "
                "pass retain_graph=True to the first if a second is to follow"
            )
        function.check_unchanged()
        gxs = function.backward(gy)
        gxs = gxs if isinstance(gxs, tuple) else (gxs,)
        for edge, gx in zip(function.inputs, gxs, strict=True):
            if edge is None or gx is None:
                continue
            if isinstance(gx, np.generic):
                gx = np.asarray(gx)
            if gx.shape != edge.shape or gx.dtype != edge.dtype:
                raise RuntimeError(
                    f"{type(function).__name__}.backward returned {gx.dtype} {gx.shape} "
                    f"for an input that is {edge.dtype} {edge.shape}"
                )
            shared = gx is gy or gx.base is not None or sum(g is gx for g in gxs) > 1
            _add(edge.target, gx, gradients, own, shared)
        if not retain_graph:
            function.free()


def leaves_of(result: Variable) -> set[Variable]:
    """The leaves of the graph that backward from here would reach."""
    functions = [] if result.grad_fn is None else _ancestors(result.grad_fn)
    edges = [edge for function in functions for edge in function.inputs if edge is not None]
    return {edge.target for edge in edges if isinstance(edge.target, Variable)}


def _ancestors(last: Function) -> list[Function]:
    """Every function that ``last`` depends on, itself included, latest first."""
    found, pending = {last}, [last]
    while pending:
        for edge in pending.pop().inputs:
            if edge is not None and isinstance(edge.target, Function) and edge.target not in found:
                found.add(edge.target)
                pending.append(edge.target)
    return sorted(found, key=lambda function: function.order, reverse=True)


def _add(target: Variable | Function, gx: Array, gradients: dict, own: set, shared: bool) -> None:
    """Add gx to what has been received there, in place only where no other gradient is the same memory."""
    is_leaf = isinstance(target, Variable)
    before = target.grad if isinstance(target, Variable) else gradients.get(target)
    if before is None:
        total = gx.copy() if shared and is_leaf else gx
    elif target in own:
        before += gx
        total = before
    else:
        total = before + gx
        own.add(target)
    if isinstance(target, Variable):
        target.grad = total
    else:
        gradients[target] = total
