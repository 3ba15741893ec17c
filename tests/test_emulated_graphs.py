"""The emulated GPU's captures: nothing is done before a launch, and what CUDA refuses is refused."""

import gc

import numpy as np
import pytest
from emulator import arrays, graphs, host, memory, module

cupy = module.build()

pytestmark = pytest.mark.skipif(host.COMPILER is None, reason="there is no C++ compiler")

DOUBLE = 'extern "C" __global__ void twice(const float *x, float *y) { y[threadIdx.x] = 2 * x[threadIdx.x]; }'


def captured(work, pool=None):
    """A graph of some work, with its pool and what the work returned."""
    pool, stream = pool or cupy.cuda.MemoryPool(), cupy.cuda.Stream(non_blocking=True)
    with stream, cupy.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        try:
            result = work()
        finally:
            graph = stream.end_capture()
    return graph, pool, result


@pytest.fixture
def x():
    return cupy.asarray(np.arange(4, dtype=np.float32))


OPERATIONS = {
    "operators": lambda x: (x + 1) * x - x / 2,
    "functions": lambda x: np.where(x > 1, np.exp(x), x.sum()),
    "methods": lambda x: x.reshape(2, 2).T.sum(axis=0).astype(np.float64),
    "making": lambda x: cupy.full(3, 2.0) + cupy.ones(3) + np.zeros_like(x)[:3],
    "indices": lambda x: x[x.astype(np.int64)] + x[1:2] + x[::-1],
    "many": lambda x: np.concatenate(np.split(x, 4)[::-1]),
}


def in_place(x):
    """Writes into what it made, in every way."""
    y = x.copy()
    y += x
    y[1:3] = x[0]
    y[x > 2] = 7
    np.multiply(y, 3, out=y)
    np.add.at(y, x.astype(np.int64), 1)
    np.put_along_axis(y, np.zeros_like(x, np.int64)[:1], x[3:], 0)
    return y


OPERATIONS["in place"] = in_place


@pytest.mark.parametrize("work", OPERATIONS.values(), ids=OPERATIONS)
def test_operations_are_done_when_launched(x, work):
    expected = work(x).get()
    graph, _pool, y = captured(lambda: work(x))
    assert x.tolist() == [0, 1, 2, 3]
    assert np.isnan(y.get()).all()  # poisoned
    for _ in range(2):
        graph.launch()
        np.testing.assert_array_equal(y.get(), expected)
    x[...] = x[::-1].copy()
    graph.launch()
    np.testing.assert_array_equal(y.get(), work(x).get())


def test_kernels_are_launched_when_the_graph_is(x):
    twice = cupy.RawModule(code=DOUBLE).get_function("twice")

    def work():
        y = cupy.empty(4, np.float32)
        twice((1,), (4,), (x, y))
        return y

    graph, _pool, y = captured(work)
    assert np.isnan(y.get()).all()
    graph.launch()
    assert y.tolist() == [0, 2, 4, 6]
    x += 1
    graph.launch()
    assert y.tolist() == [2, 4, 6, 8]


def test_memory_is_given_out_again_within_a_graph(x):
    """So that results which nobody holds are overwritten, as on a GPU."""

    def work():
        first = x + 1
        place = first.data.ptr
        y = first * 2
        del first
        second = y * 10
        assert second.data.ptr == place
        return y, second

    graph, pool, (y, second) = captured(work)
    graph.launch()
    assert (y.tolist(), second.tolist()) == ([2, 4, 6, 8], [20, 40, 60, 80])
    assert pool.total_bytes() == 2 * memory.ALIGNMENT


REFUSED = {
    "get": lambda x: x.get(),
    "item": lambda x: x[0].item(),
    "truth": lambda x: bool(x.any()),
    "float": lambda x: float(x.sum()),
    "words": lambda x: f"{x}",
    "a copy from the host": lambda x: cupy.asarray(np.ones(4)),
    "set": lambda x: x.set(np.ones(4, np.float32)),
    "a list of indices": lambda x: x[[0, 1]],
    "a mask": lambda x: x[x > 1],
    "many pointers": lambda x: np.concatenate([x] * 9),
    "cuBLAS": lambda x: x @ x,
    "Thrust": lambda x: np.sort(x),
    "waiting": lambda x: cupy.cuda.get_current_stream().synchronize(),
}


@pytest.mark.parametrize("work", REFUSED.values(), ids=REFUSED)
def test_what_no_graph_can_hold(x, work):
    work(x)
    stream, pool = cupy.cuda.Stream(non_blocking=True), cupy.cuda.MemoryPool()
    with stream, cupy.cuda.using_allocator(pool.malloc):
        stream.begin_capture()
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="CaptureUnsupported"):
            work(x)
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="CaptureInvalidated"):
            stream.end_capture()
    work(x)


def test_the_null_stream_captures_nothing():
    with pytest.raises(RuntimeError, match="legacy"):
        cupy.cuda.Stream.null.begin_capture()


def test_memory_of_the_common_pool_is_refused(x):
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream:
        stream.begin_capture()
        with pytest.raises(AssertionError, match="common pool"):
            x + 1
        stream.end_capture()


def test_a_graph_whose_memory_is_gone(x):
    graph, pool, y = captured(lambda: x + 1)
    graph.launch()
    del pool
    gc.collect()
    assert np.isnan(y.get()).all()  # a pool takes its memory with it
    with pytest.raises(AssertionError, match="memory that has been freed"):
        graph.launch()


def test_a_graph_whose_input_is_gone():
    inputs = [cupy.ones(4)]
    graph, _pool, _ = captured(lambda: inputs[0] + 1)
    graph.launch()
    inputs.clear()
    with pytest.raises(AssertionError, match="memory that has been freed"):
        graph.launch()


def test_memory_of_another_owner(x):
    place = graphs.UnownedMemory(x.data.ptr, x.nbytes, x, 0)
    same = arrays.ndarray(x.shape, x.dtype, memory.MemoryPointer(place, 0), x.strides)
    same += 1
    assert x.tolist() == [1, 2, 3, 4]
