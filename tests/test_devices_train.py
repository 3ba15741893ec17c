"""Trainings and the command line on the GPU, and what is said where there is none, or too small a one.

The arrays are those of a GPU, or of the emulated one; the reference stands in for the kernels.
"""

import subprocess
import sys

import numpy as np
import pytest
from cases import normal, on_host
from emulator import module, use

import minicnn as mc
from minicnn import backend, data, models, nn, optim
from minicnn.cli import main
from minicnn.train import Trainer, load_weights, save_weights
from minicnn.train.loop import DivergedError, evaluate, train
from minicnn.train.mixing import CutMix, Either, MixUp


@pytest.fixture(autouse=True)
def _begins_on_the_cpu():
    """As for most users: what is to be on the GPU is brought there."""
    with mc.use(backend.cpu_backend()):
        yield


# Training


@pytest.fixture(scope="module")
def digits():
    return data.load("digits")


def trainer(device, **options):
    mc.manual_seed(1)
    model = models.create("mlp_300_100")
    return Trainer(model, optim.SGD(model.parameters(), lr=0.1, momentum=0.9), device=device, **options)


def test_a_training_on_the_gpu_is_that_of_the_cpu(gpu, digits):
    histories = []
    for device in ("cpu", "cuda", "auto"):
        trained = trainer(device, batch_size=256)
        trained.fit(digits.train, digits.validation, epochs=2)
        assert {p.device for p in trained.model.parameters()} == {"cpu" if device == "cpu" else "cuda"}
        assert all(type(epoch.loss) is float for epoch in trained.history)
        assert all(isinstance(array, np.ndarray) for array in trained.best_weights.values())
        histories.append([(epoch.loss, epoch.validation_accuracy) for epoch in trained.history])
        trained.restore_best()
        found = evaluate(trained.model, digits.test)
        assert isinstance(found.probabilities, np.ndarray)
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-5)
    assert histories[2] == histories[1]


def test_all_that_a_trainer_can_do_is_the_same_on_the_gpu(gpu, digits):
    """Clipping, pieces, the average of the weights, mixed batches, frozen layers."""
    ends = []
    for device in ("cpu", "cuda"):
        settings = {"accumulate": 2, "clip_norm": 0.5, "clip_value": 0.01, "ema": 0.9}
        mix = Either(MixUp(10, 0.4), CutMix(10))
        trained = trainer(device, batch_size=256, mix=mix, **settings)
        models.freeze(trained.model, "dense1")
        before = on_host(trained.model.dense1.weight.data).copy()
        trained.fit(digits.train, digits.validation, epochs=2)
        assert (on_host(trained.model.dense1.weight.data) == before).all()
        assert {p.device for p in trained.average.model.parameters()} == {
            "cpu" if device == "cpu" else "cuda"
        }
        assert all(isinstance(array, np.ndarray) for array in trained.best_weights.values())
        ends.append([(epoch.loss, epoch.validation_loss) for epoch in trained.history])
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-4)


def test_a_step_waits_for_the_gpu_once(gpu, digits, monkeypatch):
    """Whatever a network's depth: the loss and the hits come together; besides, labels are looked at once."""
    if use.kind() == "GPU":
        pytest.skip("CuPy's methods cannot be watched")
    asked = []

    def watched(name, method):
        def asking(self, *args, **kwargs):
            asked.append(name)
            return method(self, *args, **kwargs)

        return asking

    for name in ("get", "item", "__bool__", "__float__", "__int__", "tolist", "tobytes"):
        monkeypatch.setattr(gpu.ndarray, name, watched(name, getattr(gpu.ndarray, name)))
    for depth in (1, 4):
        layers = [layer for _ in range(depth) for layer in (nn.Linear(9, 9), nn.BatchNorm1d(9), nn.ReLU())]
        model = nn.Sequential(nn.Flatten(), *layers, nn.Linear(9, 10)).to("cuda")
        batch = [(normal("images", (8, 1, 3, 3), np.float32), np.arange(8))]
        next(train(model, batch, nn.CrossEntropyLoss(), optim.SGD(model.parameters(), lr=0.1)))
        assert asked == ["__bool__", "get"]
        asked.clear()


def test_divergence_is_noticed_on_the_gpu(gpu, digits):
    trained = trainer("cuda", batch_size=256)
    trained.optimizer.param_groups[0]["lr"] = 1e30
    with pytest.raises(DivergedError, match="try a smaller learning rate"):
        trained.fit(digits.train, epochs=1)
    trained = trainer("cuda")
    name, array = list(trained.model.state_dict().items())[2]
    array[0] = float("nan")
    with pytest.raises(DivergedError, match=f"{name} holds NaN or infinity"):
        trained._check_parameters()


def test_checkpoints_cross_devices(gpu, digits, tmp_path):
    """Saved after one epoch on one device, continued on the other."""
    straight = trainer("cpu", batch_size=256)
    straight.fit(digits.train, digits.validation, epochs=2)
    for first, second in (("cuda", "cpu"), ("cpu", "cuda")):
        begun = trainer(first, batch_size=256)
        begun.fit(digits.train, digits.validation, epochs=1)
        begun.save(tmp_path / "c.safetensors")
        resumed = trainer(second, batch_size=256)
        resumed.load(tmp_path / "c.safetensors")
        resumed.fit(digits.train, digits.validation, epochs=2)
        assert {p.device for p in resumed.model.parameters()} == {second}
        np.testing.assert_allclose(resumed.history[-1].loss, straight.history[-1].loss, rtol=1e-5)
        save_weights(resumed.model, tmp_path / "w.safetensors")
        load_weights(begun.model, tmp_path / "w.safetensors")
        for name, array in resumed.model.state_dict().items():
            np.testing.assert_array_equal(on_host(begun.model.state_dict()[name]), on_host(array))


# Where there is no GPU, or too small a one


def test_without_cupy(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", None)  # as if it were not installed
    install = r'CuPy is not installed; pip install "cupy-cuda12x\[ctk\]" or "cupy-cuda13x\[ctk\]"'
    for ask in (
        lambda: backend.check_device("cuda"),
        lambda: mc.use("cuda"),
        lambda: mc.ones(1).to("cuda"),
        lambda: mc.zeros(2, device="cuda"),
        lambda: nn.Linear(1, 1).cuda(),
        lambda: trainer("cuda"),
    ):
        with pytest.raises(ValueError, match=f"^device: 'cuda' cannot be used: {install}") as caught:
            ask()
        assert "\n" not in str(caught.value)
    assert backend.current_backend() != "cuda"
    assert backend.resolve("auto") == "cpu"
    assert capsys.readouterr().err == ""  # nobody expected a GPU


def test_cupy_without_a_gpu(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "cupy", module.build(devices=0))
    monkeypatch.setattr(backend, "_told", False)
    reason = "CuPy is installed, but finds no NVIDIA GPU .*no CUDA-capable device"
    with pytest.raises(ValueError, match=f"^device: 'cuda' cannot be used: {reason}") as caught:
        mc.ones(1).cuda()
    assert "\n" not in str(caught.value)
    assert [backend.resolve("auto") for _ in range(3)] == ["cpu"] * 3
    (line,) = capsys.readouterr().err.splitlines()  # once
    assert line.startswith("minicnn: using the CPU: CuPy is installed, but finds no NVIDIA GPU")


@pytest.mark.parametrize(
    ("device", "message"),
    [
        ("cuda:1", "device: 'cuda:1', but one GPU is used, .* CUDA_VISIBLE_DEVICES=1 makes that one it"),
        ("gpu", "device: 'gpu' is unknown"),
        ("cpu:0", "device: 'cpu:0' is unknown; did you mean 'cpu'"),
    ],
)
def test_devices_that_there_are_not(device, message):
    for ask in (backend.check_device, backend.resolve, lambda name: mc.zeros(1, device=name)):
        with pytest.raises(ValueError, match=message):
            ask(device)


def test_a_cupy_that_cannot_be_imported(monkeypatch):
    def broken(name):
        raise ImportError("libcublas.so.13: cannot open shared object file")

    monkeypatch.setattr(backend.importlib, "import_module", broken)
    with pytest.raises(ValueError, match=r"CuPy cannot be imported \(libcublas.so.13: .*; pip install"):
        backend.check_device("cuda")


def test_importing_minicnn_for_the_gpu_imports_no_cupy():
    code = "import sys, minicnn; print('cupy' in sys.modules, minicnn.backend.current_backend())"
    environment = {"MINICNN_BACKEND": "cuda", "PATH": "", "PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert done.stdout == "False cuda\n"


@pytest.fixture
def limited(gpu):
    """A GPU with little memory left."""
    pool = gpu.get_default_memory_pool()
    yield lambda room: pool.set_limit(size=pool.used_bytes() + room)
    pool.set_limit(size=0)


ONE_LINE = r"^on the GPU: out of memory allocating [\d,]+ bytes .*; [\d.]+ of its [\d.]+ GiB are free; "


def test_out_of_memory_is_one_line(limited, digits):
    trained = trainer("cuda", batch_size=64)
    limited(100_000)
    with pytest.raises(backend.OutOfGPUMemory, match=ONE_LINE + "a smaller batch size than 64 needs less$"):
        trained.fit(digits.train, epochs=1)
    with pytest.raises(backend.OutOfGPUMemory, match=ONE_LINE + "a smaller batch size needs less$"):
        evaluate(trained.model, digits.test)
    with pytest.raises(backend.OutOfGPUMemory, match=ONE_LINE + "the model alone needs more$"):
        trainer("cuda")


def test_another_lack_of_memory_stays_what_it_is():
    with pytest.raises(MemoryError, match="^the host's$"), backend.explained_memory("advice"):
        raise MemoryError("the host's")


# The command line


@pytest.fixture
def run(capsys, tmp_path, monkeypatch):
    """Run a command; return its exit code and what it printed on stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(backend, "_told", False)

    def run(*arguments):
        code = main(arguments)
        return code, *capsys.readouterr()

    return run


TRAIN = ("train", "mlp_300_100", "--epochs", "1", "--batch-size", "256", "--no-plots")


def test_train_on_the_gpu(gpu, run):
    code, out, err = run(*TRAIN, "--device", "cuda")
    assert (code, err) == (0, "")
    assert "on the GPU: " in out
    results = out.splitlines()[-3]
    assert results.startswith("test accuracy")
    code, out, err = run(*TRAIN, "--device", "cpu", "--out", "on-cpu")
    assert (code, err) == (0, "")
    assert "GPU" not in out
    assert out.splitlines()[-3] == results
    assert run(*TRAIN, "--device", "auto", "--out", "auto")[1].count("on the GPU: ") == 1


def test_train_goes_on_on_another_device(gpu, run):
    assert run(*TRAIN, "--schedule", "constant", "--device", "cuda")[0] == 0
    more = [*TRAIN[:3], "2", *TRAIN[4:], "--resume", "--schedule", "constant"]
    code, out, err = run(*more, "--device", "cpu")
    assert (code, err) == (0, "")
    assert "resuming" in out


def test_train_with_too_little_memory(limited, run):
    limited(100_000)
    code, _, err = run(*TRAIN, "--device", "cuda")
    assert code == 1
    (line,) = err.splitlines()
    assert line.startswith("minicnn: on the GPU: out of memory allocating ")


def test_train_where_there_is_no_gpu(monkeypatch, run):
    monkeypatch.setitem(sys.modules, "cupy", None)
    code, out, err = run(*TRAIN, "--device", "cuda")
    assert (code, out) == (2, "")
    (line,) = err.splitlines()
    assert line.startswith("minicnn: device: 'cuda' cannot be used: CuPy is not installed; pip install")
    monkeypatch.setitem(sys.modules, "cupy", module.build(devices=0))
    code, out, err = run(*TRAIN, "--device", "cuda")
    assert (code, out) == (2, "")
    assert err.startswith(
        "minicnn: device: 'cuda' cannot be used: CuPy is installed, but finds no NVIDIA GPU"
    )
    code, out, err = run(*TRAIN, "--device", "auto")
    assert code == 0
    (line,) = err.splitlines()
    assert line.startswith("minicnn: using the CPU: CuPy is installed, but finds no NVIDIA GPU")


def test_gradcheck_on_the_gpu(gpu, run):
    for arguments in (("--device", "cuda"), ("--device", "auto"), ("--backend", "cuda")):
        code, out, err = run("gradcheck", "--only", "tanh", *arguments)
        assert (code, err) == (0, "")
        assert out.startswith("kernels: cuda\n")
        assert "cuda:stand-in" in out
    assert run("gradcheck", "--only", "tanh", "--device", "cpu")[1].startswith("kernels: numpy")
    code, _, err = run("gradcheck", "--backend", "cuda", "--device", "cpu")
    assert (code, len(err.splitlines())) == (2, 1)
    assert backend.current_backend() != "cuda"


def test_gradcheck_where_there_is_no_gpu(monkeypatch, run):
    monkeypatch.setitem(sys.modules, "cupy", None)
    for arguments in (("--device", "cuda"), ("--backend", "cuda")):
        code, out, err = run("gradcheck", *arguments)
        assert (code, out) == (2, "")
        assert err.startswith("minicnn: device: 'cuda' cannot be used: CuPy is not installed")
    assert run("gradcheck", "--only", "tanh", "--device", "auto")[0] == 0
