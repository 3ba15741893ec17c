"""CUDA graphs: work on the GPU that is written down once, and from then on launched as one.

Each kernel that Python launches costs some microseconds of the processor's time. Where a network's kernels
take no longer than that, the GPU waits. :func:`capture` runs a function while CUDA writes down what it would
have the GPU do; :meth:`Graph.launch` then has all of it done, as often as wanted, at the cost of one launch.

A graph does the same again, with numbers from the same addresses. Hence

- what it computes with must stay where it is: the graph's own memory does, as it comes from a pool of its own
  which nobody else is given memory from; for the rest whoever captures must see to it;
- nothing may be copied from the host or to it: the copy would be of whatever lies there later. Functions that
  need a table on the GPU keep it there, :func:`remembered`;
- what is decided by looking at numbers cannot be part of it: refusals are, through :func:`refuse`;
- what random numbers are drawn must be counted on the GPU, see :meth:`Recording.draws_from`.

What needs anything else while it is captured raises an error, mostly :class:`~minicnn.backend.CaptureError`.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from minicnn import backend
from minicnn.backend import CaptureError

MOST_GENERATORS = 16  # that the functions of one graph may draw from


def remembered(make: Callable[..., Any]) -> Callable[..., Any]:
    """A function of hashable arguments that makes arrays for kernels to read, once for each.

    Nobody may change them. Graphs hold on to those they read.
    """

    @functools.lru_cache(maxsize=1024)
    def find(*args: Any) -> Any:
        if backend.capture is not None:  # its numbers would be there only when the graph was launched
            raise CaptureError(f"{make.__name__}{args} would have to be made for this graph")
        return make(*args)

    @functools.wraps(make)
    def found(*args: Any) -> Any:
        arrays = find(*args)
        if backend.capture is not None:
            backend.capture.kept.append(arrays)
        return arrays

    return found


def refuse(wrong: Any, error: Callable[[], Exception]) -> None:
    """Raise ``error()`` if any entry of an array is true: now, or where a graph computes it, once it did."""
    if backend.capture is not None and not isinstance(wrong, np.ndarray | np.generic):
        backend.capture.refusals.append((wrong.any(), error))
    elif wrong.any():
        raise error()


class Draw(NamedTuple):
    """A generator that a graph draws from, and the state that it had in the first run."""

    generator: Any
    seed: int
    offset: int


class Recording:
    """What is noted beside the kernels while work is captured."""

    def __init__(self, moves: Any) -> None:
        self.refusals: list[tuple[Any, Callable[[], Exception]]] = []
        self.kept: list[Any] = []  # arrays that others made and might let go
        self.draws: list[Draw] = []
        self.moves = moves  # on the GPU, for each of them

    def draws_from(self, generator: Any) -> None:
        """Note a generator that is about to set words aside for a kernel.

        The kernel will find them by their number in the first run, and by how far the generator has moved
        since, which each launch writes to the GPU before.
        """
        if any(draw.generator is generator for draw in self.draws):
            return
        if any(draw.seed == generator.seed for draw in self.draws):
            raise CaptureError(f"two generators have the seed {generator.seed}")
        if len(self.draws) == MOST_GENERATORS:
            raise CaptureError(f"there are more than {MOST_GENERATORS} generators")
        self.draws.append(Draw(generator, generator.seed, generator.offset))

    def moved(self, seed: int) -> Any:
        """Where on the GPU it says how many words the generator of this seed has moved: an int64."""
        for index, draw in enumerate(self.draws):
            if draw.seed == seed:
                return self.moves[index : index + 1]
        raise CaptureError(f"random numbers of the seed {seed} are drawn without a generator")

    def rewind(self) -> list[int]:
        """Give back the words that generators set aside, as nothing was drawn; how many each of them did."""
        used = [draw.generator.offset - draw.offset for draw in self.draws]
        for draw in self.draws:
            draw.generator.set_state({"seed": draw.seed, "offset": draw.offset})
        return used


class Graph:
    """Captured work. Its memory is kept as long as the graph, or an array that :meth:`own` returned."""

    def __init__(self, graph: Any, pool: Any, recording: Recording, used: list[int], numbers: Any) -> None:
        self._graph, self._pool, self._recording = graph, pool, recording
        self._used, self._numbers = used, numbers

    def launch(self) -> list[float]:
        """Do the work, and return the numbers that the captured function did; this waits for the GPU.

        Raises what the function :func:`refuse`\\ d: then the work is done all the same.
        """
        draws = self._recording.draws
        if draws:
            moved = np.zeros(MOST_GENERATORS, np.int64)
            moved[: len(draws)] = [draw.generator.offset - draw.offset for draw in draws]
            overwrite(self._recording.moves, moved)
        self._graph.launch()
        for draw, used in zip(draws, self._used, strict=True):
            draw.generator.reserve(used)
        numbers, refusals = backend.move(self._numbers, "cpu").tolist(), self._recording.refusals
        first = len(numbers) - len(refusals)
        for wrong, (_, error) in zip(numbers[first:], refusals, strict=True):
            if wrong:
                raise error()
        return numbers[:first]

    def seeds_are_the_same(self) -> bool:
        """Whether the generators still have the seeds that kernels were given."""
        return all(draw.generator.seed == draw.seed for draw in self._recording.draws)

    def own(self, array: Any) -> Any:
        """The same array, as one that keeps the graph's memory: CuPy's pools take theirs with them."""
        cupy = backend.module_of("cuda")
        place, held = array.data, (array, self._pool)
        memory = cupy.cuda.UnownedMemory(place.ptr, array.nbytes, held, place.device_id)
        return cupy.ndarray(array.shape, array.dtype, cupy.cuda.MemoryPointer(memory, 0), array.strides)


def capture(function: Callable[[], tuple[Any, ...]]) -> Graph:
    """Write down what a function does on the GPU, without doing it.

    The function returns arrays of one number each, which :meth:`Graph.launch` returns; arrays that it leaves
    elsewhere are filled by each launch. It should have run before, so that its kernels are compiled.

    Whatever is raised in the function comes out of here; generators are then, as always, where they were.
    """
    cupy = backend.module_of("cuda")
    cupy.get_default_memory_pool().free_all_blocks()  # the run before left what this one takes once more
    pool = cupy.cuda.MemoryPool(_allocator(cupy))
    recording = Recording(cupy.zeros(MOST_GENERATORS, np.int64))
    stream = cupy.cuda.Stream(non_blocking=True)
    backend.capture = recording
    try:
        with stream, cupy.cuda.using_allocator(pool.malloc), _no_copies_from_host(cupy):
            stream.begin_capture()
            try:
                numbers = _side_by_side(cupy, [*function(), *(wrong for wrong, _ in recording.refusals)])
            except BaseException:
                with contextlib.suppress(RuntimeError):  # what failed may have ended the capture too
                    stream.end_capture()
                raise
            graph = stream.end_capture()
    finally:
        backend.capture = None
        used = recording.rewind()
    return Graph(graph, pool, recording, used, numbers)


def overwrite(array: Any, values: Any) -> None:
    """Copy values of the host into an array on the GPU, after whatever was started there before."""
    array.set(values, backend.module_of("cuda").cuda.get_current_stream())


def _side_by_side(cupy: Any, numbers: list[Any]) -> Any:
    """Single numbers of all dtypes as one array, which is fetched at once."""
    row = cupy.empty(len(numbers), np.float64)
    for index, number in enumerate(numbers):
        row[index] = number
    return row


def _allocator(cupy: Any) -> Callable[[int], Any]:
    """Where the pool of a graph has its memory from: the driver, if as much again is left for others.

    They need it where the same work is done without the graph, and for validation. The limit of CuPy's common
    pool holds for both together.

    A pool that gets none frees what it holds unused and asks again: here that would be memory that the graph
    has been told to use. So the errors are such as CuPy does not know.
    """
    others, taken = cupy.get_default_memory_pool(), 0

    def allocate(size: int) -> Any:
        nonlocal taken
        left, _ = cupy.cuda.runtime.memGetInfo()
        if (limit := others.get_limit()) > 0:
            left = min(left, limit - others.total_bytes() - taken)
        if left - size < taken + size:
            raise CaptureError(f"{taken + size} bytes for a graph do not leave as many for others")
        try:
            memory = cupy.cuda.Memory(size)
        except RuntimeError as error:
            raise CaptureError(f"there is no memory for a graph: {backend.one_line(error)}") from None
        taken += size
        return cupy.cuda.MemoryPointer(memory, 0)

    return allocate


@contextlib.contextmanager
def _no_copies_from_host(cupy: Any) -> Iterator[None]:
    """A block in which CuPy copies no array of the host to the GPU, as it does for a list of indices.

    It does so through pinned memory, which it uses for something else afterwards; but a graph would copy from
    there again, whatever lies there then.
    """

    def none_there(size: int) -> None:
        raise CaptureError(f"CuPy copies {size} bytes from the host in this work")

    cupy.cuda.set_pinned_memory_allocator(none_there)
    try:
        yield
    finally:
        cupy.cuda.set_pinned_memory_allocator(cupy.get_default_pinned_memory_pool().malloc)
