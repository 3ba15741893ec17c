"""Files of weights: every format read as it was written, and loading, all or nothing."""

import json
import re
import zipfile

import numpy as np
import pytest
import torch_files
from cases import on_host
from safetensors.numpy import load_file, save_file
from torch_files import Built, Call, Name, Raw, of_arrays, tensor, write_legacy, write_zip

import minicnn as mc
from minicnn import models, nn, weights
from minicnn.weights import WeightsError

GENERATOR = np.random.default_rng(5)

ARRAYS = {
    "conv.weight": GENERATOR.normal(size=(4, 3, 2, 2)).astype(np.float32),
    "conv.half": GENERATOR.normal(size=5).astype(np.float16),
    "bn.double": GENERATOR.normal(size=(2, 3)),
    "bn.num_batches_tracked": np.array(7),
    "bytes": np.arange(6, dtype=np.uint8).reshape(2, 3),
    "flags": np.array([True, False, True]),
    "short": np.arange(-3, 3, dtype=np.int16),
    "int": np.arange(-3, 3, dtype=np.int32),
    "char": np.arange(-3, 3, dtype=np.int8),
    "empty": np.zeros((0, 3), np.float32),
}


def same(found, expected):
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert (found[name].shape, found[name].dtype) == (array.shape, array.dtype), name
        np.testing.assert_array_equal(found[name], array)
        assert not found[name].flags.writeable


def refused(path, match):
    with pytest.raises(WeightsError, match=match) as caught:
        weights.read(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 400


# -------------------------------------------------------------------------------------------- formats


def test_safetensors(tmp_path):
    save_file(ARRAYS, tmp_path / "w")
    same(weights.read(tmp_path / "w"), ARRAYS)


def test_safetensors_with_bfloat16(tmp_path):
    bits = np.array([0x3F80, 0xC020, 0x0001, 0x7F80], np.uint16)
    header = {
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "b": {"dtype": "BF16", "shape": [2, 2], "data_offsets": [4, 12]},
    }
    text = json.dumps(header).encode()
    content = len(text).to_bytes(8, "little") + text + np.float32(3).tobytes() + bits.tobytes()
    (tmp_path / "w").write_bytes(content)
    found = weights.read(tmp_path / "w")
    np.testing.assert_array_equal(found["b"], np.array([[1, -2.5], [2.0**-133, np.inf]], np.float32))
    (tmp_path / "w").write_bytes(content.replace(b"F32", b"F99"))
    refused(tmp_path / "w", "damaged or no safetensors file")


@pytest.mark.parametrize("write", [np.savez, np.savez_compressed])
def test_npz(tmp_path, write):
    arrays = {**ARRAYS, "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3))}
    write(tmp_path / "w.npz", **arrays)
    same(weights.read(tmp_path / "w.npz"), arrays)


def test_npz_of_another_byte_order(tmp_path):
    np.savez(tmp_path / "w.npz", x=np.arange(4, dtype=">f4"))
    same(weights.read(tmp_path / "w.npz"), {"x": np.arange(4, dtype=np.float32)})


@pytest.mark.parametrize("order", ["little", "big"])
def test_pytorch(tmp_path, order):
    same(weights.read(write_zip(tmp_path / "w", *of_arrays(ARRAYS), order=order)), ARRAYS)


def test_pytorch_packed_again(tmp_path):
    path = write_zip(tmp_path / "w", *of_arrays(ARRAYS), packing=zipfile.ZIP_DEFLATED)
    same(weights.read(path), ARRAYS)


def test_pytorch_legacy(tmp_path):
    same(weights.read(write_legacy(tmp_path / "w", *of_arrays(ARRAYS, more=(None,)))), ARRAYS)


@pytest.mark.parametrize("legacy", [False, True])
def test_views_of_one_storage(tmp_path, legacy):
    """One allocation, two tensors: one transposed, one with an offset."""
    numbers, more = np.arange(12, dtype=np.float32), (None,) if legacy else ()
    document = {
        "turned": tensor("0", (4, 3), (1, 4), size=12, more=more),
        "part": tensor("0", (2, 2), (6, 1), offset=4, size=12, more=more),
        "one": tensor("0", (), (), offset=11, size=12, more=more),
    }
    found = weights.read((write_legacy if legacy else write_zip)(tmp_path / "w", document, {"0": numbers}))
    np.testing.assert_array_equal(found["turned"], numbers.reshape(3, 4).T)
    np.testing.assert_array_equal(found["part"], [[4, 5], [10, 11]])
    assert found["one"] == 11
    assert np.shares_memory(found["turned"], found["one"])


def test_a_view_of_a_storage_in_a_legacy_file(tmp_path):
    """Older torch could save a storage as a part of another: here its elements 4 to 9."""
    view = tensor("0", (2, 2), offset=1, size=12, more=(("1", 4, 6),))
    path = write_legacy(tmp_path / "w", {"v": view}, {"0": np.arange(12, dtype=np.float32)})
    np.testing.assert_array_equal(weights.read(path)["v"], [[5, 6], [7, 8]])
    outside = tensor("0", (2, 2), size=12, more=(("1", 9, 6),))
    write_legacy(path, {"v": outside}, {"0": np.arange(12, dtype=np.float32)})
    refused(path, "a view reaches beyond its storage")


def test_bfloat16_of_pytorch(tmp_path):
    bits = np.array([0x3F80, 0xC020], np.uint16)
    path = write_zip(tmp_path / "w", {"b": tensor("0", (2,), kind="BFloat16Storage")}, {"0": bits})
    same(weights.read(path), {"b": np.array([1, -2.5], np.float32)})


def test_what_older_pythons_and_torches_wrote(tmp_path):
    """An ordered dictionary made of pairs, with a state; parameters; names as texts of Python 2."""
    plain = tensor("0", (3,), more=(None,))
    old = Call(Name("torch._utils", "_rebuild_tensor"), plain.arguments[:4])
    parameter = Built(Call(Name("torch.nn.parameter", "Parameter"), (old,)), (True, False, {}))
    newer = Call(Name("torch._utils", "_rebuild_parameter"), (plain, True, {}))
    pairs = [[Raw(b"U\x01a"), parameter], ["b", newer]]
    document = Built(Call(torch_files.ORDERED, (pairs,)), {"_metadata": {"": {"version": 1}}})
    numbers = np.arange(3, dtype=np.float32)
    found = weights.read(write_legacy(tmp_path / "w", document, {"0": numbers}))
    same(found, {"a": numbers, "b": numbers})


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model_state", "model", "net"])
def test_a_checkpoint_of_someone_elses_training(tmp_path, key):
    inner, storages = of_arrays(ARRAYS)
    spare = tensor("spare", (5,))
    document = {"epoch": 3, "best": spare, key: inner, "optimizer": {"state": {0: {"m": spare}}, "lr": 0.1}}
    same(weights.read(write_zip(tmp_path / "w", document, storages)), ARRAYS)  # where "spare" is missing


def test_the_newer_protocols(tmp_path):
    """Frames, short texts, a memo without numbers, names from the stack: protocols 4 and 5."""
    code = (
        b"\x80\x04\x95" + bytes(8) + b"\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93\x94)R\x94"
        b"\x8c\x01a\x94" + torch_files.encoded(tensor("0", (2,))) + b"s."
    )
    numbers = np.arange(2, dtype=np.float32)
    same(weights.read(write_zip(tmp_path / "w", code, {"0": numbers})), {"a": numbers})


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "an empty file"),
        (b"<!DOCTYPE html><html>", "a web page, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (b"\x1f\x8b\x08\x00", "packed by gzip"),
        (b"GIF89a", "not a file of weights: neither safetensors"),
        (b"PK\x05\x06" + bytes(18), "a zip archive that neither PyTorch nor NumPy wrote"),
        (b"PK\x03\x04" + bytes(90), "damaged"),
        (torch_files.pickled({"a": 1}), "a pickle, but not one that torch.save writes"),
    ],
)
def test_other_files(tmp_path, content, match):
    (tmp_path / "w").write_bytes(content)
    refused(tmp_path / "w", match)


def test_no_file(tmp_path):
    refused(tmp_path / "absent", "there is no such file")
    refused(tmp_path, "not a file")
    np.save(tmp_path / "w.npy", np.ones(3))
    refused(tmp_path / "w.npy", "a single array without a name")


@pytest.mark.parametrize(
    ("document", "match"),
    [
        ([1, 2], "it holds no dictionary of tensors"),
        ({}, "it holds no dictionary of tensors"),
        (
            {"epoch": 3},
            "not a state dict, as epoch is of type int, nor a dictionary with one as 'state_dict', 'm",
        ),
        ({5: tensor("0", (3,))}, "not a state dict, as 5 in it is no name"),
        (Call(Name("torchvision.models.resnet", "ResNet"), ()), "asks for torchvision.models.resnet.ResNet"),
    ],
)
def test_other_pickles(tmp_path, document, match):
    refused(write_zip(tmp_path / "w", document, {"0": np.ones(3, np.float32)}), match)


def test_torchscript(tmp_path):
    path = write_zip(tmp_path / "w", {}, {}, more=[("net/constants.pkl", b"")])
    refused(path, "a TorchScript programme")


# -------------------------------------------------------------------------------------------- loading


def network(num_classes=10):
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(64, num_classes),
    )


def arrays_of(model):
    return {name: on_host(array).copy() for name, array in model.state_dict().items()}


def unlike(model):
    """Arrays that fit a model and are not its own."""
    return {name: array + np.ones_like(array) for name, array in arrays_of(model).items()}


def holds(model, arrays):
    assert set(arrays) == set(model.state_dict())
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(on_host(array), arrays[name])


def unfit(model, source, match, **options):
    """Refused in one line, and the model is as it was."""
    before = arrays_of(model)
    with pytest.raises(WeightsError, match=match) as caught:
        weights.load(model, source, **options)
    assert "\n" not in str(caught.value)
    holds(model, before)


def test_saved_and_loaded(tmp_path):
    a, b = network(), network()
    a[1].running_mean.data[...] = 5
    weights.save(a, tmp_path / "w.safetensors")
    report = weights.load(b, tmp_path / "w.safetensors")
    holds(b, arrays_of(a))
    assert report == weights.LoadReport("w.safetensors", "Sequential", tuple(a.state_dict()))
    assert str(report) == "w.safetensors: 9 arrays loaded into Sequential"
    assert set(load_file(tmp_path / "w.safetensors")) == set(a.state_dict())


@pytest.mark.parametrize("name", ["w.pth", "w.npz", "w.h5"])
def test_saving_under_another_formats_name(tmp_path, name):
    with pytest.raises(ValueError, match=rf"writes safetensors, but '.*{name}' ends in \{name[1:]}"):
        weights.save(network(), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_arrays_and_tensors_instead_of_a_file():
    model = network()
    arrays = unlike(model)
    weights.load(model, {name: mc.tensor(array) for name, array in arrays.items()})
    holds(model, arrays)
    unfit(model, {**arrays, "0.bias": np.array(["a"])}, "^arrays: 0.bias is <U1, not numbers")


def test_everything_that_does_not_fit_is_named(tmp_path):
    model = network()
    arrays = unlike(model)
    del arrays["5.bias"], arrays["1.num_batches_tracked"]
    arrays |= {"0.weight": np.ones((2, 3), np.float32), "more": np.ones(1), "0.bias": np.zeros(4, int)}
    save_file(arrays, tmp_path / "w")
    unfit(
        model,
        tmp_path / "w",
        f"^{re.escape(str(tmp_path / 'w'))}: does not fit Sequential; 1 missing: 5.bias; 1 unexpected: more; "
        r"1 of another shape: 0.weight \(2, 3\), expected \(4, 1, 3, 3\); "
        "1 of another kind: 0.bias int64, expected float32$",
    )


def test_many_faults_are_counted():
    model = network()
    unfit(
        model, {"x": np.ones(1)}, "8 missing: 0.weight, 0.bias, 1.weight, 1.bias and 4 more; 1 unexpected: x"
    )


def test_other_widths_of_numbers_are_converted():
    model = network()
    arrays = unlike(model)
    arrays |= {"0.weight": arrays["0.weight"].astype(np.float16), "0.bias": arrays["0.bias"].astype(float)}
    report = weights.load(model, arrays)
    holds(model, arrays)
    assert report.cast == (("0.weight", "float16", "float32"), ("0.bias", "float64", "float32"))
    assert str(report).splitlines()[1:] == [
        "  1 array converted from float16 to float32",
        "  1 array converted from float64 to float32",
    ]


def test_counters_of_batches_may_be_missing_or_too_many():
    model = network()
    arrays = unlike(model)
    del arrays["1.num_batches_tracked"]
    arrays["2.num_batches_tracked"] = np.array(3)
    report = weights.load(model, arrays)
    assert (report.missing, report.unexpected) == (("1.num_batches_tracked",), ("2.num_batches_tracked",))
    assert "  not in the file, as they were: 1.num_batches_tracked" in str(report)
    assert "  left out, not in the network: 2.num_batches_tracked" in str(report)


def test_another_number_of_classes():
    model, arrays = network(3), unlike(network())
    unfit(model, arrays, "arrays: made for 10 classes, but Sequential has 3; give replace_head=True to keep")
    own = arrays_of(model)
    report = weights.load(model, arrays, replace_head=True)
    holds(model, {**arrays, **{name: own[name] for name in ("5.weight", "5.bias")}})
    assert report.misshaped == (("5.weight", (10, 64), (3, 64)), ("5.bias", (10,), (3,)))
    assert "  5.weight (3, 64) stays as it was: the file's is (10, 64)" in str(report)


def test_the_head_is_replaced_only_if_that_is_what_differs():
    model, arrays = network(3), unlike(network())
    unfit(model, {**arrays, "0.bias": np.ones(5)}, "0.bias", replace_head=True)
    unfit(model, {**arrays, "5.weight": np.ones((10, 65))}, "5.weight", replace_head=True)
    headless = {name: array for name, array in arrays.items() if not name.startswith("5.")}
    unfit(model, headless, "2 missing: 5.weight, 5.bias")
    assert weights.load(model, headless, replace_head=True).missing == ("5.weight", "5.bias")


def test_the_same_number_of_classes_is_loaded_also_with_replace_head():
    model = network()
    weights.load(model, arrays := unlike(model), replace_head=True)
    holds(model, arrays)


def test_auxiliary_heads_of_a_network_without():
    with_heads = models.create("googlenet", width=4, num_classes=5, aux_logits=True)
    arrays = unlike(with_heads)
    model = models.create("googlenet", width=4, num_classes=5)
    report = weights.load(model, arrays)
    assert {name.split(".")[0] for name in report.unexpected} == {"aux1", "aux2"}
    holds(model, {name: arrays[name] for name in model.state_dict()})
    weights.load(with_heads, arrays)
    unfit(with_heads, arrays_of(model), "missing: aux1.conv.conv.weight", replace_head=True)
    unfit(model, {**arrays, "aux3.weight": np.ones(1)}, "unexpected: aux3.weight")


def test_all_heads_are_replaced():
    model = models.create("googlenet", width=4, num_classes=3, aux_logits=True)
    arrays = unlike(models.create("googlenet", width=4, num_classes=5, aux_logits=True))
    report = weights.load(model, arrays, replace_head=True)
    heads = {f"{layer}.{kind}" for layer in ("fc", "aux1.fc2", "aux2.fc2") for kind in ("weight", "bias")}
    assert {name for name, _, _ in report.misshaped} == heads


SMALL_DENSENET = {"width": 6, "growth": 4, "depths": (1, 2, 1, 1), "num_classes": 5}


def test_densenets_of_2017():
    model = models.create("densenet121", **SMALL_DENSENET)
    arrays = unlike(model)
    older = {re.sub(r"(denselayer\d+\.\w+)(\d)\.", r"\1.\2.", name): a for name, a in arrays.items()}
    assert "features.denseblock2.denselayer2.norm.1.weight" in older
    weights.load(model, older)
    holds(model, arrays)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod."])
def test_names_of_wrapped_networks(wrapper):
    model = network()
    arrays = unlike(model)
    weights.load(model, {wrapper + name: array for name, array in arrays.items()})
    holds(model, arrays)
    some = {(wrapper if i else "") + name: array for i, (name, array) in enumerate(arrays.items())}
    unfit(model, some, "unexpected: " + wrapper)


def test_one_array_under_two_names():
    model = models.create("densenet121", **SMALL_DENSENET)
    arrays, name = arrays_of(model), "features.denseblock1.denselayer1.norm1.weight"
    twice = {**arrays, name.replace("norm1", "norm.1"): arrays[name]}
    unfit(model, twice, f"has {name} under two names")


def test_into_a_network_on_the_gpu(gpu, tmp_path):
    model = network()
    arrays = unlike(model)
    model.cuda()
    np.savez(tmp_path / "w.npz", **arrays)
    weights.load(model, tmp_path / "w.npz")
    holds(model, arrays)
    weights.save(model, tmp_path / "w.safetensors")
    weights.load(model, load_file(tmp_path / "w.safetensors"))
    holds(model, arrays)


# -------------------------------------------------------------------------------- files of PyTorch's own


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.mark.oracle
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_torch_saves(torch, tmp_path, zipped, protocol):
    base = torch.arange(24.0).reshape(4, 6)
    state = {name: torch.from_numpy(array.copy()) for name, array in ARRAYS.items()}
    state |= {"turned": base.T, "part": base[1:3, ::2], "row": base[2], "scalar": base[3, 5]}
    state |= {"parameter": torch.nn.Parameter(base * 2), "bfloat16": base.to(torch.bfloat16) / 3}
    path = tmp_path / "w.pth"
    torch.save(state, path, pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
    same(
        weights.read(path),
        {
            name: tensor.detach().float().numpy() if name == "bfloat16" else tensor.detach().numpy()
            for name, tensor in state.items()
        },
    )


@pytest.mark.oracle
@pytest.mark.parametrize("zipped", [True, False])
def test_a_network_of_torchs(torch, tmp_path, zipped):
    """A state dict with its metadata, in half precision, in a training's checkpoint."""
    theirs = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.BatchNorm2d(4)).half()
    ours = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    theirs(torch.randn(2, 1, 5, 5).half()).sum().backward()
    optimizer.step()
    checkpoint = {"state_dict": theirs.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}
    torch.save(checkpoint, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    report = weights.load(ours, tmp_path / "w.pth")
    assert len(report.cast) == 6
    holds(ours, {name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    torch.save(theirs, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    refused(tmp_path / "w.pth", r"asks for torch.nn.modules.container.Sequential")
