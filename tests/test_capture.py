"""Training steps as CUDA graphs: the same numbers as without, in one launch; the rest runs as always."""

import numpy as np
import pytest
from cases import normal
from emulator.use import cupy

import minicnn as mc
from minicnn import backend, cuda_graphs, nn, optim, random
from minicnn import functional as F
from minicnn.backend import CaptureError
from minicnn.data import Split
from minicnn.kernels import cuda
from minicnn.optim.lr_scheduler import StepLR
from minicnn.train import Trainer
from minicnn.train.capture import CapturedSteps

__all__ = ["cupy"]  # a fixture

pytestmark = pytest.mark.usefixtures("cupy")

IMAGES = Split(normal("images", (28, 2, 8, 8), np.float32), np.arange(28) * 7 % 5)
BATCH = 8  # so that each epoch ends with a smaller one


class Network(nn.Module):
    """Something of everything, small."""

    def __init__(self, momentum=0.1):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU())
        self.conv = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4, momentum=momentum)
        self.pool, self.drop = nn.MaxPool2d(2), nn.Dropout(0.4)
        self.head = nn.Linear(4 * 2 * 2, 5)

    def forward(self, x):
        x = self.stem(x)
        x = self.pool((self.norm(self.conv(x)) + x).relu())
        x = F.avg_pool2d(x * 2.0 - 1, 3, 2, 1)
        return self.head(self.drop(x.flatten(1)))


def trainer(capture, create=Network, optimizer="SGD", **options):
    """A new training on the GPU."""
    mc.manual_seed(3)
    model = create()
    if optimizer == "SGD":
        chosen = optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    else:
        chosen = getattr(optim, optimizer)(model.parameters(), lr=0.01)
    schedule = StepLR(chosen, 1, gamma=0.5)
    options = {"batch_size": BATCH, "device": "cuda", "capture": capture, **options}
    return Trainer(model, chosen, schedule, **options)


def state(trained):
    """All that a training leaves."""
    arrays = {name: backend.move(a, "cpu") for name, a in trained.model.state_dict().items()}
    numbers = [(epoch.loss, epoch.accuracy, epoch.validation_loss) for epoch in trained.history]
    return numbers, random.default_generator.get_state(), {name: a.tolist() for name, a in arrays.items()}


def compared(epochs=3, **options):
    """Train with and without graphs; the numbers must be equal to the last bit. The one with is returned."""
    plain = trainer(False, **options)
    plain.fit(IMAGES, IMAGES.take(slice(5)), epochs=epochs)
    expected = state(plain)
    captured = trainer(True, **options)
    captured.fit(IMAGES, IMAGES.take(slice(5)), epochs=epochs)
    assert state(captured) == expected
    return captured


def graphs_of(trained):
    return list(trained.steps._steps.values())


@pytest.mark.parametrize(
    "options",
    [{"optimizer": "SGD"}, {"optimizer": "Adam"}, {"precision": "tf32"}, {"precision": "fp16"}],
    ids=str,
)
def test_captured_steps_are_those_without(options):
    captured = compared(**options)
    assert captured.steps.why_not == ""
    assert [step.images.shape[0] for step in graphs_of(captured)] == [8, 4]  # and the smaller last one


@pytest.mark.parametrize(
    "create",
    [
        pytest.param(
            lambda: nn.Sequential(nn.Flatten(), nn.BatchNorm1d(128), nn.Linear(128, 5)), id="vectors"
        ),
        pytest.param(
            lambda: nn.Sequential(
                nn.Conv2d(2, 8, 3, stride=2, groups=2),
                nn.LocalResponseNorm(3),
                nn.Dropout2d(0.5, generator=random.Generator(9)),
                nn.AdaptiveAvgPool2d(2),
                nn.Flatten(),
                nn.Dropout(0.5),
                nn.Tanh(),
                nn.Linear(32, 5),
            ),
            id="two generators",
        ),
        pytest.param(
            lambda: nn.Sequential(
                nn.Concat(nn.Conv2d(2, 3, 1), nn.Conv2d(2, 8, 3, padding=1)),
                nn.AdaptiveMaxPool2d(2),
                nn.Flatten(),
                nn.Linear(44, 5),
            ),
            id="branches",
        ),
    ],
)
def test_other_networks(create):
    captured = compared(create=create)
    assert captured.steps.why_not == ""
    assert len(graphs_of(captured)) == 2


@pytest.fixture
def launches(monkeypatch):
    """The kernels of ours that are launched from Python."""
    names = []

    def counted(launch):
        def counting(function, *rest):
            names.append(function)
            launch(function, *rest)

        return counting

    for module in vars(cuda).values():
        if hasattr(module, "launch") and module.__name__.startswith("minicnn.kernels.cuda."):
            monkeypatch.setattr(module, "launch", counted(module.launch))
    return names


def test_a_captured_step_launches_only_the_optimiser(launches):
    captured = trainer(True)
    captured.fit(IMAGES, epochs=2)
    assert len(launches) > 60
    launches.clear()
    captured.fit(IMAGES, epochs=3)
    assert len(launches) == 4  # steps


def test_the_graphs_of_the_last_sizes_are_kept():
    """No more of them; and where ever more sizes come, it is not worth while to capture any."""
    captured = trainer(True)

    def sizes(*sizes):
        for size in sizes:
            captured.steps(captured.model, captured.loss_fn, IMAGES.images[:size], IMAGES.labels[:size])
            captured.optimizer.zero_grad()
        return [step.images.shape[0] for step in graphs_of(captured)]

    assert sizes(2, 3, 4, 5, 6, 2, 3, 4, 5, 6) == []
    assert sizes(3, 4, 5, 6) == [3, 4, 5, 6]
    assert sizes(2, 2, 2, 6) == [4, 5, 6, 2]


def test_on_the_cpu_nothing_is_captured():
    on_cpu = trainer(True, device="cpu")
    on_cpu.fit(IMAGES, epochs=2)
    assert graphs_of(on_cpu) == []


# Where everything is no longer as it was


def changing(change, **options):
    """A training of four epochs with a change after the second."""

    def trained(capture):
        with mc.use(backend.current_backend()):  # settings are as before afterwards
            one = trainer(capture, **options)
            one.fit(IMAGES, epochs=2)
            change(one)
            one.fit(IMAGES, epochs=4)
            return one, state(one)

    (_, expected), (captured, found) = trained(False), trained(True)
    assert found == expected
    return captured


def freeze(trained):
    trained.model.stem.requires_grad_(False)
    trained.model.conv.requires_grad_(False)


@pytest.mark.parametrize(
    "change",
    [
        freeze,
        lambda trained: setattr(trained.model.drop, "p", 0.7),
        lambda trained: trained.model.norm.register_buffer("more", mc.ones(1, device="cuda")),
        lambda trained: setattr(trained.model.conv.weight, "data", trained.model.conv.weight.data * 2),
        lambda trained: setattr(trained, "loss_fn", nn.CrossEntropyLoss(label_smoothing=0.2)),
        lambda trained: mc.use(conv2d="naive"),
        lambda trained: mc.use(fuse=False),
        lambda trained: mc.use(precision="bf16"),
        lambda trained: trained.model.to("cpu").to("cuda"),
        lambda trained: mc.manual_seed(11),
        lambda trained: trained.model.load_state_dict(Network().state_dict()),
    ],
)
def test_a_change_is_noticed(change):
    captured = changing(change)
    assert captured.steps.why_not == ""
    assert len(graphs_of(captured)) == 2  # other ones, where something else is to be computed


def test_modules_in_inference_mode_are_noticed():
    class Frozen(Network):
        frozen = True

        def train(self, mode=True):
            super().train(mode)
            if self.frozen:
                self.norm.eval()
            return self

    assert len(graphs_of(compared(create=Frozen))) == 2
    captured = changing(lambda trained: setattr(trained.model, "frozen", False), create=Frozen)
    assert captured.model.norm.num_batches_tracked.item() == 8
    assert len(graphs_of(captured)) == 2


def test_hooks_and_traces_see_every_step():
    seen = []
    captured = trainer(True)
    captured.fit(IMAGES, epochs=2)
    with captured.model.conv.register_forward_hook(lambda *_: seen.append(1)):
        captured.fit(IMAGES, epochs=3)
    assert len(seen) == 4
    with mc.trace() as ran:
        captured.fit(IMAGES, epochs=4)
    assert [one.operation for one in ran].count("dropout.forward") == 4
    assert captured.steps.why_not == ""
    assert len(graphs_of(captured)) == 2


def test_the_model_is_resumed_in_the_middle(tmp_path):
    plain = trainer(False)
    plain.fit(IMAGES, epochs=4)
    expected = state(plain)
    captured = trainer(True)
    captured.fit(IMAGES, epochs=2)
    captured.save(tmp_path / "c.safetensors")
    captured.fit(IMAGES, epochs=3)
    captured.load(tmp_path / "c.safetensors")  # back, with the graphs that there are
    captured.fit(IMAGES, epochs=4)
    assert state(captured) == expected
    fresh = trainer(True)
    fresh.load(tmp_path / "c.safetensors")
    fresh.fit(IMAGES, epochs=4)
    assert state(fresh) == expected


# What is refused


def test_a_label_out_of_range_is_refused_in_a_graph_too():
    wrong = np.array([0, 1, 5, 2, 3, 10**9, -(2**40), 1])  # the kernels read nothing there
    messages = []
    for capture in (False, True):
        one = trainer(capture)
        one.fit(IMAGES, epochs=2)
        one.optimizer.zero_grad()
        before = state(one)
        find = one.steps or mc.train.loop.find_gradients
        with pytest.raises(ValueError, match="label 5 is out of range for 5 classes") as caught:
            find(one.model, one.loss_fn, IMAGES.images[:8], wrong)
        messages.append(str(caught.value))
        assert all(p.grad is None for p in one.model.parameters())
        assert state(one)[1] != before[1]  # dropout has drawn
        messages.append(state(one))
        assert np.isfinite(find(one.model, one.loss_fn, IMAGES.images[:8], IMAGES.labels[:8])[0])
    assert messages[:2] == messages[2:]


def test_probabilities_out_of_range_are_refused():
    x = mc.tensor([0.5, 1.0], device="cuda")
    t = mc.tensor([0.0, 1.0], device="cuda")
    F.binary_cross_entropy(x, t)
    graph = cuda_graphs.capture(lambda: (F.binary_cross_entropy(x, t).data,))
    assert graph.launch() == [pytest.approx(-np.log(0.5) / 2)]
    for value in (1.5, float("nan")):
        x.data[1] = value
        with pytest.raises(ValueError, match="x must lie between 0 and 1"):
            graph.launch()


# What cannot be captured


class Around(nn.Module):
    """A network with something before it."""

    def __init__(self, before):
        super().__init__()
        self.network, self.before = Network(), before

    def forward(self, x):
        return self.network(self.before(x))


def add_noise(x):
    return x + mc.rand(*x.shape, device=x.device)


def scale_by_chance(x):
    return x * np.random.rand()  # noqa: NPY002


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (lambda x: x * float(abs(x).max()), ""),
        (lambda x: x if x.sum() > 0 else -x, ""),
        (lambda x: x.cpu().cuda(), "copied"),
        (lambda x: x * mc.tensor(np.ones(8, np.float32), device="cuda"), "copied"),
        (lambda x: x[:, [1, 0]], "copies 16 bytes from the host"),
        (lambda x: (x.reshape(-1, 8) @ x.reshape(-1, 8)[:8].T).reshape(x.shape), ""),
        (add_noise, "drawn on the host"),
        (lambda x: x * float(random.default_generator.uniform()), "drawn on the host"),
        (scale_by_chance, "drawn on the host"),
        (lambda x: F.dropout(x, 0.5, True, random.Generator(3)), "two generators"),
    ],
)
def test_what_cannot_be_captured_runs_as_always(before, why):
    np.random.seed(0)  # noqa: NPY002
    plain = trainer(False, create=lambda: Around(before))
    plain.fit(IMAGES.take(slice(24)), epochs=2)
    np.random.seed(0)  # noqa: NPY002
    expected = state(plain)
    captured = trainer(True, create=lambda: Around(before))
    captured.fit(IMAGES.take(slice(24)), epochs=2)
    assert state(captured) == expected
    assert why in captured.steps.why_not
    assert captured.steps.why_not
    assert graphs_of(captured) == []
    assert backend.capture is None


def test_momentum_none_looks_at_the_count():
    captured = compared(create=lambda: Network(momentum=None))
    assert captured.steps.why_not
    assert graphs_of(captured) == []


class Puts(Network):
    """Puts a new array in the place of a buffer in each step, or counts."""

    def __init__(self, how):
        super().__init__()
        self.register_buffer("last", mc.zeros(1))
        self.how, self.count = how, 0

    def forward(self, x):
        if self.how == "tensor":
            self.last = x.sum().detach()
        elif self.how == "array":
            self.last.data = x.sum(keepdim=True).reshape(1).data
        else:
            self.count += 1
        return super().forward(x)


@pytest.mark.parametrize("how", ["tensor", "array", "count"])
def test_models_that_change_in_each_step(how):
    """Their attributes are others in each step, so that there is nothing to be captured."""
    captured = compared(create=lambda: Puts(how))
    assert graphs_of(captured) == []
    steps = CapturedSteps()
    model = Puts(how).to("cuda").train()
    now = mc.train.capture.dependencies(model, F.cross_entropy)
    before = {name: a.tolist() for name, a in model.state_dict().items()}
    with pytest.raises(CaptureError, match="changes attributes"):
        mc.train.capture.capture(now, model, F.cross_entropy, IMAGES.images[:8], IMAGES.labels[:8])
    assert mc.train.capture.same(now, mc.train.capture.dependencies(model, F.cross_entropy))
    assert {name: a.tolist() for name, a in model.state_dict().items()} == before
    assert steps.why_not == ""


def test_gradients_that_add_up_are_not_captured():
    """As where the optimiser has some of the parameters only."""

    def head_only(capture):
        one = trainer(capture)
        optimizer = optim.SGD(one.model.head.parameters(), lr=0.1)
        one = Trainer(one.model, optimizer, batch_size=BATCH, capture=capture)
        one.fit(IMAGES, epochs=2)
        return one, state(one), [p.grad.tolist() for p in one.model.parameters()]

    (_, *expected), (captured, *found) = head_only(False), head_only(True)
    assert found == expected
    assert "add up" in captured.steps.why_not


def test_gradients_to_tensors_outside_of_the_model_are_not_captured():
    scale = mc.ones(1, requires_grad=True, device="cuda")
    captured = trainer(True, create=lambda: Around(lambda x: x * scale))
    captured.fit(IMAGES, epochs=1)
    assert "no parameters of the model" in captured.steps.why_not
    assert scale.grad is not None


def test_a_step_whose_graph_finds_no_memory_runs_as_always(cupy, monkeypatch):
    def none_left(size):
        raise cupy.cuda.runtime.CUDARuntimeError(2)

    monkeypatch.setattr(cupy.cuda, "Memory", none_left)
    captured = compared()
    assert captured.steps.why_not.startswith("there is no memory for a graph: ")
    assert graphs_of(captured) == []


def test_a_graph_keeps_to_the_limit_of_the_memory_pool(cupy):
    x = mc.ones(10_000, device="cuda").data
    pool = cupy.get_default_memory_pool()
    pool.free_all_blocks()
    pool.set_limit(size=pool.total_bytes() + 100_000)
    try:
        assert cuda_graphs.capture(lambda: ((x + 1).sum(),)).launch() == [20_000]
        with pytest.raises(CaptureError, match="do not leave as many for others"):
            cuda_graphs.capture(lambda: (((x + 1) + (x + 2)).sum(),))
    finally:
        pool.set_limit(size=0)
