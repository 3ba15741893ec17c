"""CUDA graphs themselves: their memory, what they read, and what cannot be captured in one."""

import gc

import numpy as np
import pytest
from cases import on_host
from emulator import memory, use
from emulator.use import cupy
from test_capture import IMAGES, graphs_of, trainer

import minicnn as mc
from minicnn import backend, cuda_graphs, kernels, random
from minicnn import functional as F
from minicnn.backend import CaptureError

__all__ = ["cupy"]  # a fixture

pytestmark = pytest.mark.usefixtures("cupy")


def test_memory_goes_with_the_graph():
    gc.collect()
    before = memory.driver.used_bytes()
    captured = trainer(True)
    captured.fit(IMAGES, epochs=2)
    gradient = captured.model.head.weight.grad
    expected = gradient.get()
    total = sum(step.graph._pool.total_bytes() for step in graphs_of(captured))
    del captured
    gc.collect()
    assert np.isfinite(expected).all()
    np.testing.assert_array_equal(gradient.get(), expected)  # whoever holds a gradient may read it
    if use.kind() == "GPU":
        return  # which says only roughly what it has left
    assert 0 < memory.driver.used_bytes() - before < total
    del gradient
    gc.collect()
    assert memory.driver.used_bytes() == before


def test_many_tensors_one_after_another():
    """CuPy copies a table from the host to concatenate more than eight arrays at once."""
    x = mc.tensor(np.arange(20.0), requires_grad=True, device="cuda")

    def work():
        y = mc.stack([x[i] * i for i in range(20)]).reshape(4, 5).sum(dim=0)
        (y * y).sum().backward()
        return (y.data.sum(),)

    work()
    (expected, gradient), x.grad = (sum(i * i for i in range(20)), x.grad), None
    graph = cuda_graphs.capture(work)
    assert graph.launch() == [expected]
    np.testing.assert_array_equal(on_host(x.grad), on_host(gradient))


def test_captured_work_is_not_done_yet():
    x = mc.ones(4, device="cuda")
    total = mc.zeros(4, device="cuda")

    def work():
        total.data[...] += x.data
        return (total.data.sum(),)

    graph = cuda_graphs.capture(work)
    assert total.tolist() == [0] * 4
    assert graph.launch() == [4]
    x.data[...] = 2
    assert graph.launch() == [12]
    assert total.tolist() == [3] * 4


def test_what_is_wrong_inside_comes_out_and_leaves_nothing_behind():
    with pytest.raises(KeyError, match="inside"):
        cuda_graphs.capture(lambda: {}["inside"])
    assert backend.capture is None
    assert cuda_graphs.capture(lambda: (mc.ones(3, device="cuda").data.sum(),)).launch() == [3]


def test_words_are_set_aside_when_they_are_drawn():
    generator = random.Generator(2)
    x = mc.ones(1000, device="cuda")
    generator.reserve(5)
    graph = cuda_graphs.capture(lambda: (F.dropout(x, 0.5, True, generator).data.sum(),))
    assert generator.offset == 5
    for offset in (5, 1005, 2, 77):  # and back, as where a training is resumed
        generator.set_state({"seed": 2, "offset": offset})
        (found,) = graph.launch()
        assert generator.offset == offset + 1000
        generator.set_state({"seed": 2, "offset": offset})
        assert found == F.dropout(x, 0.5, True, generator).sum().item()


def test_dropout_without_a_generator_is_refused():
    x = mc.ones(8, device="cuda").data
    with pytest.raises(CaptureError, match="seed 5 are drawn without a generator"):
        cuda_graphs.capture(lambda: (kernels.run("dropout.forward", x, 0.5, (8,), 5, 0)[0].sum(),))


def test_tables_that_a_graph_reads_stay():
    @cuda_graphs.remembered
    def table(number):
        return mc.zeros(2, device="cuda").data + number

    table(5.0)
    graph = cuda_graphs.capture(lambda: ((table(5.0) * 2).sum(),))
    for number in range(1100):  # more than are remembered
        table(-float(number))
    assert graph.launch() == [20]
    with pytest.raises(CaptureError, match=r"table\(5.0,\) would have to be made"):
        cuda_graphs.capture(lambda: (table(5.0).sum(),))  # as it was forgotten
    assert table(5.0).tolist() == [5, 5]
