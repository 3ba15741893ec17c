"""Training steps as CUDA graphs: forward, loss and backward of a batch in one launch.

The first step with batches of some shape runs as always. In the second, what it does on the GPU is captured;
from then on a step copies its images and labels to where the graph looks for them, launches it, and finds the
gradients where it leaves them. The numbers are the same, bit for bit. The optimiser's step is no part of it:
that is one launch anyway, and its learning rate may be another in each step.
"""

from __future__ import annotations

import operator
import random as python_random
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend, cuda_graphs, kernels, nn
from minicnn.autograd import is_grad_enabled, leaves_of
from minicnn.cuda_graphs import CaptureError, Graph
from minicnn.tensor import Tensor
from minicnn.train.loop import Loss, find_gradients, hits, home

MOST_GRAPHS = 4
"""That are kept: a graph holds the memory of a whole step, and an epoch has batches of two sizes."""

PLAIN = {int, float, str}  # attributes that are compared by value, all others by identity
CONTAINERS = {list, dict, set}  # and these by their length as well


class CapturedSteps:
    """Another :func:`~minicnn.train.loop.find_gradients`, which launches a CUDA graph where it can.

    A graph is launched only where everything is as it was when it was captured: the batch's shapes and
    dtypes; the model's modules with all their attributes, its parameters and buffers, and which of them are
    trained; the loss; and what ``mc.use`` has set. Else the step runs as always, as it does on the CPU, for a
    model with forward hooks, and inside ``mc.trace()``.

    What cannot be captured is tried once: ``why_not`` then says why, and all steps run as always. It is what
    looks at numbers in the middle of a step, copies them to or from the host, or draws them there.

    The gradients of a step are overwritten by the next.
    """

    def __init__(self) -> None:
        self.why_not = ""
        self._steps: dict[Any, _Step] = {}  # what the batch is like -> its graph
        self._seen: dict[Any, list] = {}  # and what a step depended on that ran as always

    def __call__(
        self, model: nn.Module, loss_fn: Loss, images: np.ndarray, labels: np.ndarray
    ) -> tuple[float, int]:
        """Leave each parameter's gradient; return the loss, and how many images were right."""
        if self.why_not or home(model) != "cuda" or not is_plain(model):
            return find_gradients(model, loss_fn, images, labels)
        batch = tuple((array.shape, array.dtype.str) for array in (images, labels))
        now = dependencies(model, loss_fn)
        step = self._steps.get(batch)
        if step is None or not step.fits(now):
            self._steps.pop(batch, None)
            step = self._captured(batch, now, model, loss_fn, images, labels)
        if step is None:
            return find_gradients(model, loss_fn, images, labels)
        return step.run(images, labels)

    def _captured(self, batch: Any, now: list, *given: Any) -> _Step | None:
        """A graph for the second step of its kind; None for the first, and for what cannot be captured."""
        if not same(self._seen.get(batch, []), now):
            make_room(self._seen)
            self._seen[batch] = now
            return None
        make_room(self._steps)
        try:
            self._steps[batch] = capture(now, *given)
        except Exception as error:
            self.why_not = backend.one_line(error)
            self._steps.clear()
        return self._steps.get(batch)


class _Step(NamedTuple):
    """A graph, what it depends on, where it looks for a batch, and what it leaves."""

    graph: Graph
    dependencies: list
    images: Any
    labels: Any
    gradients: Sequence[tuple[Tensor, Any]]  # parameters with their gradients
    changed: list[Tensor]  # buffers that it writes to

    def fits(self, now: list) -> bool:
        """Whether a launch does what a step would do now."""
        return same(self.dependencies, now) and self.graph.seeds_are_the_same()

    def run(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, int]:
        """Launch it on a batch."""
        cuda_graphs.overwrite(self.images, images)
        cuda_graphs.overwrite(self.labels, labels)
        for buffer in self.changed:
            buffer.mark_changed()
        loss, correct = self.graph.launch()
        for parameter, gradient in self.gradients:
            parameter.grad = gradient
        return loss, int(correct)


def make_room(found: dict) -> None:
    """Forget the oldest entries of what may have no more than ``MOST_GRAPHS``."""
    while len(found) >= MOST_GRAPHS:
        del found[next(iter(found))]


def capture(now: list, model: nn.Module, loss_fn: Loss, images: np.ndarray, labels: np.ndarray) -> _Step:
    """Capture a step on batches like this one; whatever comes of it, the model is as it was before."""
    x, target = (Tensor(backend.move(array, "cuda").copy()) for array in (images, labels))
    parameters, buffers = list(model.parameters()), list(model.buffers())
    if any(parameter.grad is not None for parameter in parameters):
        raise CaptureError("gradients add up over several steps")
    attributes = [(place, dict(place)) for module in model.modules() for place in places(module)]
    arrays = [(tensor, tensor.data) for tensor in (*parameters, *buffers)]
    counts = [buffer._changes[0] for buffer in buffers]
    chance = python_random.getstate(), np.random.get_state()  # noqa: NPY002 (theirs, which a model may use)

    def step() -> tuple[Any, Any]:
        logits = model(x)
        loss = loss_fn(logits, target)
        if leaves_of(loss) - set(parameters):
            raise CaptureError("there are gradients to tensors that are no parameters of the model")
        loss.backward()
        return loss.data, hits(logits, target)

    try:
        graph = cuda_graphs.capture(step)
        if not same(now, dependencies(model, loss_fn)):
            raise CaptureError("a step changes attributes of the model, or puts other arrays in their place")
        gradients = [(p, graph.own(p.grad)) for p in parameters if p.grad is not None]
    finally:
        drawn = was_drawn_from(*chance)
        for parameter in parameters:
            parameter.grad = None
        for place, before in attributes:
            place.clear()
            place.update(before)
        for tensor, array in arrays:
            if tensor.data is not array:
                tensor.data = array
    if drawn:
        raise CaptureError("random numbers were drawn on the host")
    changed = [b for b, count in zip(buffers, counts, strict=True) if b._changes[0] != count]
    return _Step(graph, now, x.data, target.data, gradients, changed)


def is_plain(model: nn.Module) -> bool:
    """Whether nobody looks on while the model computes."""
    return not kernels.tracing() and not any(module._hooks for module in model.modules())


def places(module: nn.Module) -> tuple[dict, ...]:
    """Where a module keeps its attributes."""
    return module.__dict__, module._parameters, module._buffers, module._modules


def dependencies(model: nn.Module, loss_fn: Loss) -> list[Any]:
    """Everything that decides what a step does, but for the batch and random numbers: see :func:`same`.

    It is asked for before each launch, and may take no more than some microseconds for each layer.
    """
    modules = [*model.modules(), *(loss_fn.modules() if isinstance(loss_fn, nn.Module) else ())]
    found: list[Any] = [*kernels.settings(), is_grad_enabled(), loss_fn, *modules]
    for module in modules:
        attributes = module.__dict__.values()
        found += attributes
        found += [len(value) for value in attributes if type(value) in CONTAINERS]
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                found += (tensor, tensor._data, tensor.requires_grad)
    return found


def same(before: list, now: list) -> bool:
    """Whether both list the same objects, or equal numbers and texts."""
    if len(before) != len(now):
        return False
    return all(map(operator.is_, before, now)) or all(
        a is b or (type(a) is type(b) and type(a) in PLAIN and a == b)
        for a, b in zip(before, now, strict=True)
    )


def was_drawn_from(python: Any, numpy: Any) -> bool:
    """Whether Python's and NumPy's common generators are no longer in these states; puts them back there."""
    drawn = python_random.getstate() != python
    python_random.setstate(python)
    pairs = zip(np.random.get_state(), numpy, strict=True)  # noqa: NPY002
    drawn |= not all(np.array_equal(now, before) for now, before in pairs)
    np.random.set_state(numpy)  # noqa: NPY002
    return drawn
