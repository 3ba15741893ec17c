"""What a network costs: parameters, multiply-accumulates and activation memory, layer by layer.

>>> from minicnn import models
>>> report = summarize(models.create("lenet5"), (1, 28, 28))
>>> report.parameters, report.macs
(61706, 416520)
>>> [row.parameters for row in report.rows if row.parameters]
[156, 2416, 48120, 10164, 850]
"""

import io
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from minicnn import kernels, nn
from minicnn.autograd import no_grad
from minicnn.nn.module import inference
from minicnn.tensor import Tensor, zeros

if TYPE_CHECKING:
    from rich.table import Table

# Layers whose output is their input under another shape: they hold no memory of their own.
_VIEWS = (nn.Flatten, nn.Identity)


@dataclass(frozen=True)
class Row:
    """One call of one layer.

    ``output_shape`` is None for a layer that did not run (an auxiliary head, in inference).
    ``parameters`` and ``trainable`` count the values this layer brings: a layer called twice, or one that
    shares its weights with an earlier one, counts them once, where they first appear.
    ``macs`` and ``activation_bytes`` are those of the whole batch.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...] | None
    parameters: int
    trainable: int
    macs: int
    activation_bytes: int


@dataclass(frozen=True)
class Summary:
    """The rows of :func:`summarize` in the order of execution, and their totals.

    ``buffers`` counts the values a network keeps without training them (running means and variances, not the
    integer that counts batches). ``training_bytes`` and ``inference_bytes``, of activations, are defined in
    :func:`summarize`; ``weight_bytes`` are the parameters'.
    ``str()`` gives the table as text.
    """

    model: str
    input_shape: tuple[int, ...]
    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    buffers: int
    macs: int
    training_bytes: int
    inference_bytes: int
    weight_bytes: int

    @property
    def not_trainable(self) -> int:
        """The number of parameters that are frozen."""
        return self.parameters - self.trainable

    def to_dict(self) -> dict[str, Any]:
        """The summary as dictionaries, lists and numbers, for ``json.dumps``."""
        plain = asdict(self)
        plain["not_trainable"] = self.not_trainable
        plain["input_shape"] = list(self.input_shape)
        plain["rows"] = [dict(row, output_shape=_listed(row["output_shape"])) for row in plain["rows"]]
        return plain

    def table(self) -> "Table":
        """The summary as a rich table, for a program that prints in colour."""
        from rich import box
        from rich.table import Table

        title = f"{self.model}, input {_sizes(self.input_shape)}"
        table = Table(title=title, box=box.SIMPLE_HEAD, show_footer=True)
        table.add_column("layer", "total", no_wrap=True)
        table.add_column("kind", no_wrap=True)
        table.add_column("output", no_wrap=True)
        table.add_column("parameters", f"{self.parameters:,}", justify="right")
        table.add_column("MACs", f"{self.macs:,}", justify="right")
        table.add_column("activations", _bytes(self.training_bytes), justify="right")
        for row in self.rows:
            table.add_row(
                row.name,
                row.kind,
                _sizes(row.output_shape) if row.output_shape is not None else "(not run)",
                f"{row.parameters:,}" if row.parameters else "",
                f"{row.macs:,}" if row.macs else "",
                _bytes(row.activation_bytes) if row.activation_bytes else "",
            )
        return table

    def __str__(self) -> str:
        from rich.console import Console

        text = io.StringIO()
        console = Console(file=text, width=200, color_system=None, force_terminal=False)
        console.print(self.table())
        lines = [line.rstrip() for line in text.getvalue().splitlines()]
        lines += [
            f"  parameters         {self.parameters:,}: {self.trainable:,} trainable, "
            f"{self.not_trainable:,} not; {self.buffers:,} values in buffers",
            f"  weights' memory    {_bytes(self.weight_bytes)}; training adds as much for gradients, "
            "and for each moment of the optimiser",
            f"  activation memory  {_bytes(self.training_bytes)} in training, "
            f"{_bytes(self.inference_bytes)} in inference",
        ]
        return "\n".join(line for line in lines if line)


def summarize(
    model: nn.Module, input_shape: tuple[int, ...], batch_size: int = 1, name: str | None = None
) -> Summary:
    """Count what each layer of a network holds and does, by running it once on a batch of no images.

    Shapes, which are all that is wanted, pass through the layers all the same, and nothing is computed: what
    the weights are does not matter, and the largest network takes a moment. (On a GPU, where no kernel can
    be launched for nothing, and for a network that fails without images, it is one image of zeros.) The
    pass runs in evaluation mode without a graph; afterwards every module is in the mode it was in, also when
    the pass fails.

    There is one row for every call of a module with no modules inside it, and one for a module that has some
    but owns parameters besides. Work that ``forward`` does by functions rather than by modules is not seen.

    Multiply-accumulates, biases not counted, all other layers 0:

        convolution   N · OH · OW · OC · (C / groups) · KH · KW
        dense         N · out · in

    Activation memory, in bytes of the dtype in which the network ran:

        training     the sum of all layers' outputs, since each waits for the backward pass, as what
                     its layer saved or as what the next layer did;
        inference    the most that one layer needs, its inputs and its output together, if every array
                     is freed as soon as the next layer has read it.

    Both are of the layers as they are written. What runs keeps less in training where layers are joined
    (:func:`minicnn.nn.chain`): of ResNet-18 it held two thirds, of DenseNet-121 four fifths. In inference,
    ResNet-18 took 0.9 times as much, DenseNet-121, whose branches wait, 1.6 times.

    Flatten and Identity give their input back under another shape and add nothing to either; a dropout layer
    counts in training although in this pass it does nothing. Parameters, gradients and a kernel's scratch
    memory are left out, in training also the input batch itself. The figure for inference is exact for layers
    in a row; where a network branches, the branch that waits is not in it.

    Shapes: ``input_shape`` is that of one image, without the batch: (C, H, W), or (features,). The first axis
    of every layer's output is taken to be the batch; its other axes are those of one image, and everything is
    that image's times ``batch_size``, so a batch of any size can be asked about.
    ``name`` heads the table in place of the name of the network's class.

    Raises TypeError when ``model`` is not a module, ValueError for sizes that are not positive integers, and
    whatever the network raises for an image of that shape.

    >>> from minicnn import nn
    >>> print(summarize(nn.Conv2d(3, 200, 5, padding=2), (3, 100, 150), batch_size=100).training_bytes)
    1200000000
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"summarize: model must be a Module, but is {type(model).__name__}")
    sizes = tuple(input_shape) if isinstance(input_shape, tuple | list) else (input_shape,)
    if not sizes or not all(_is_positive_int(size) for size in sizes):
        raise ValueError(
            f"summarize: input_shape must be positive integers (C, H, W), but is {input_shape!r}"
        )
    if not _is_positive_int(batch_size):
        raise ValueError(f"summarize: batch_size must be a positive integer, but is {batch_size!r}")

    recorder = _run(model, sizes, batch_size)

    rows = tuple(recorder.rows)
    buffers = [b.data for b in model.buffers()]
    return Summary(
        model=name or type(model).__name__,
        input_shape=(batch_size, *sizes),
        rows=rows,
        parameters=sum(row.parameters for row in rows),
        trainable=sum(row.trainable for row in rows),
        buffers=sum(b.size for b in buffers if np.issubdtype(b.dtype, np.floating)),
        macs=sum(row.macs for row in rows),
        training_bytes=sum(row.activation_bytes for row in rows),
        inference_bytes=recorder.largest_pair,
        weight_bytes=sum(p.data.nbytes for p in model.parameters()),
    )


def _run(model: nn.Module, sizes: tuple[int, ...], batch_size: int) -> "_Recorder":
    """One pass of no images, or of one where that fails, as ``reshape(len(x), -1)`` does."""
    own = next(model.parameters(), None)
    like: dict[str, Any] = {} if own is None else {"dtype": own.dtype, "device": own.device}
    for images in (0, 1) if own is None or own.device == "cpu" else (1,):
        recorder = _Recorder(model, batch_size)
        try:
            with recorder.attached(), inference(model), no_grad(), kernels.use("numpy"):
                model(zeros(images, *sizes, **like))
        except ValueError:
            if images:
                raise
            continue
        recorder.add_modules_that_did_not_run()
        break
    return recorder


class _Recorder:
    """Collects a row whenever a module it watches has run."""

    def __init__(self, model: nn.Module, batch_size: int) -> None:
        self.rows: list[Row] = []
        self.largest_pair = 0
        self._batch_size = batch_size
        self._counted: set[int] = set()
        self._ran: set[str] = set()
        self._watched = {
            name: module
            for name, module in model.named_modules()
            if not _has_children(module) or _own_parameters(module)
        }

    @contextmanager
    def attached(self) -> Iterator[None]:
        handles = []
        try:
            for name, module in self._watched.items():
                handles.append(module.register_forward_hook(self._hook(name)))
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _hook(self, name: str) -> Callable[[nn.Module, tuple, Any], None]:
        def record(module: nn.Module, inputs: tuple, output: Any) -> None:
            self._ran.add(name)
            self._record(name, module, inputs, output)

        return record

    def _record(self, name: str, module: nn.Module, inputs: tuple, output: Any) -> None:
        N = self._batch_size
        outputs = _tensors(output)
        shape = (N, *outputs[0].shape[1:]) if outputs and outputs[0].shape else ()
        held = 0
        if not _has_children(module):  # a container's output is that of a layer inside it
            held = 0 if isinstance(module, _VIEWS) else N * sum(map(_image_bytes, outputs))
            read = N * sum(map(_image_bytes, _tensors(inputs)))
            written = 0 if isinstance(module, nn.Dropout | nn.Dropout2d | nn.StochasticDepth) else held
            self.largest_pair = max(self.largest_pair, read + written)
        self._add(name, module, shape, N * _macs(module, output), held)

    def add_modules_that_did_not_run(self) -> None:
        for name, module in self._watched.items():
            if name not in self._ran and _own_parameters(module):
                self._add(name, module, None, 0, 0)

    def _add(self, name: str, module: nn.Module, shape: tuple | None, macs: int, held: int) -> None:
        new = [p for p in _own_parameters(module) if id(p) not in self._counted]
        self._counted.update(id(p) for p in new)
        count = sum(p.data.size for p in new)
        trainable = sum(p.data.size for p in new if p.requires_grad)
        kind = type(module).__name__
        self.rows.append(Row(name or kind, kind, shape, count, trainable, macs, held))


def _macs(module: nn.Module, output: Any) -> int:
    """For one image: each value of these layers is a dot product with one filter, or row, of the weights."""
    if isinstance(module, nn.Conv2d | nn.Linear):
        w = module.weight.data
        return prod(output.shape[1:]) * (w.size // w.shape[0])
    return 0


def _has_children(module: nn.Module) -> bool:
    return next(iter(module.children()), None) is not None


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, dict):
        values = values.values()
    return [x for x in values if isinstance(x, Tensor)] if isinstance(values, Iterable) else []


def _own_parameters(module: nn.Module) -> list[Tensor]:
    return [p for name, p in module.named_parameters() if "." not in name]


def _image_bytes(x: Tensor) -> int:
    """What one image of a batch takes."""
    return prod(x.shape[1:]) * x.data.itemsize


def _is_positive_int(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and bool(value > 0)


def _listed(shape: tuple[int, ...] | None) -> list[int] | None:
    return None if shape is None else list(shape)


def _sizes(shape: tuple[int, ...]) -> str:
    return " × ".join(str(size) for size in shape)


def _bytes(count: int) -> str:
    """Bytes in decimal units: 12,000,000 is 12 MB, as in the literature on these networks."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count} B"
