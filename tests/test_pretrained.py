"""Weights by name: the table against its sources, downloads of them, and networks built with them."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from http_server import Server, body, status

import minicnn as mc
from minicnn import nn, weights
from minicnn.download import DownloadError
from minicnn.models import Published, get_model_weights, pretrained, published
from minicnn.models.preprocessing import HALF
from minicnn.models.published import PUBLISHED, TIMM, TORCHVISION
from minicnn.weights import WeightsError

ROWS = {f"{row.network}-{row.name}": row for row in PUBLISHED}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for weights."""
    monkeypatch.setenv(pretrained.ENVIRONMENT_VARIABLE, str(tmp_path / "weights"))
    return tmp_path / "weights"


# -------------------------------------------------------------------------------------------- the table


@pytest.mark.parametrize("key", ROWS)
def test_a_row_makes_sense(key: str) -> None:
    row = ROWS[key]
    about = mc.models.info(row.network)
    assert set(row.options) <= set(about.options)
    assert about.options["num_classes"] == row.classes
    assert row.url.startswith("https://")
    assert (row.sha256 == "") == ("huggingface.co" in row.url)
    assert row.sha256 in row.file
    assert 50 < row.top1 < row.top5 < 100
    if row.size is not None:  # float32, and little else but for heads that are left out
        assert 0.99 < row.size * 2**20 / (4 * about.parameters) < 2.1


def test_names_and_files_are_unique() -> None:
    assert len(ROWS) == len(PUBLISHED) == len({row.file for row in PUBLISHED})


@pytest.mark.parametrize("network", sorted({row.network for row in PUBLISHED}))
def test_the_best_is_last(network: str) -> None:
    rows = get_model_weights(network)
    assert rows[-1].top1 == max(row.top1 for row in rows)


@pytest.mark.oracle
def test_the_table_is_torchvisions(torchvision) -> None:
    for network in dict.fromkeys(row[0] for row in TORCHVISION):
        enum = torchvision.get_model_weights(network)
        ours = {row.name: row for row in get_model_weights(network)}
        theirs = {w.name: w for w in enum if w.name != "IMAGENET1K_FEATURES"}  # VGG-16 for detectors
        assert list(ours) == list(theirs)
        assert get_model_weights(network)[-1].name == enum.DEFAULT.name
        for name, row in ours.items():
            meta, how = theirs[name].meta, theirs[name].transforms()
            accuracy = meta["_metrics"]["ImageNet-1K"]
            assert (row.top1, row.top5) == (accuracy["acc@1"], accuracy["acc@5"])
            assert (row.url, row.size) == (theirs[name].url, meta["_file_size"])
            p = row.preprocessing
            assert [p.resize, p.crop] == [*how.resize_size, *how.crop_size]
            assert (p.mean, p.std) == (tuple(how.mean), tuple(how.std))
            assert p.interpolation == how.interpolation.value
            assert (p.scale, p.channels) == (255, "RGB")


@pytest.mark.oracle
@pytest.mark.parametrize("row", TIMM, ids=lambda row: row[0])
def test_the_table_is_timms(torchvision, row) -> None:
    timm = pytest.importorskip("timm")
    network, repository, *_, resize, crop = row
    config = timm.get_pretrained_cfg(repository)
    size = (config.test_input_size or config.input_size)[1]
    assert (config.hf_hub_id, config.num_classes) == (f"timm/{repository}", 1000)
    assert (crop, resize) == (size, int(size / (config.test_crop_pct or config.crop_pct)))
    (ours,) = get_model_weights(network)
    assert (ours.preprocessing.mean, ours.preprocessing.std) == (config.mean, config.std) == (HALF, HALF)
    assert ours.preprocessing.interpolation == config.interpolation


@pytest.mark.oracle
def test_the_other_rows_are_their_packages(torchvision) -> None:
    timm = pytest.importorskip("timm")
    (xception,) = get_model_weights("xception")
    config = timm.get_pretrained_cfg("legacy_xception.tf_in1k")
    how = xception.preprocessing
    assert (xception.url, how.mean, how.std) == (config.url, config.mean, config.std)
    assert (how.crop, how.resize) == (299, int(299 / config.crop_pct))
    settings = pytest.importorskip("pretrainedmodels").models.nasnet_mobile.pretrained_settings
    (nasnet,) = get_model_weights("nasnetamobile")
    theirs = settings["nasnetamobile"]["imagenet"]
    assert nasnet.sha256 in theirs["url"]
    how = nasnet.preprocessing
    assert ([3, how.crop, how.crop], list(how.mean), list(how.std)) == (
        theirs["input_size"],
        theirs["mean"],
        theirs["std"],
    )


# -------------------------------------------------------------------------------------------- downloads


@pytest.fixture
def file(tmp_path: Path) -> bytes:
    """A file of weights for a small ResNet."""
    mc.manual_seed(5)
    weights.save(mc.models.create("resnet18", width=4, num_classes=1000), tmp_path / "w.safetensors")
    return (tmp_path / "w.safetensors").read_bytes()


def offered(monkeypatch: pytest.MonkeyPatch, url: str, content: bytes, **changes: object) -> Published:
    """Published weights of resnet18, in place of all others, at an address."""
    row = replace(
        get_model_weights("resnet18")[0],
        url=url,
        file="small.safetensors",
        sha256=hashlib.sha256(content).hexdigest()[:8],
        size=len(content) / 2**20,
    )
    row = replace(row, **changes)
    monkeypatch.setattr(published, "PUBLISHED", (row,))
    return row


def test_created_with_weights_by_name(
    server: Server, monkeypatch: pytest.MonkeyPatch, folder: Path, file: bytes
) -> None:
    offered(monkeypatch, server.url("/w", body(file)), file)
    for name in ("DEFAULT", "IMAGENET1K_V1", "DEFAULT"):
        model = mc.models.create("resnet18", weights=name, width=4, progress=False)
        assert server.asked == ["/w"]  # once
    assert [path.name for path in folder.iterdir()] == ["small.safetensors"]
    mc.manual_seed(5)
    expected = mc.models.create("resnet18", width=4).state_dict()
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, expected[key])
    assert model.training


def test_nothing_is_drawn(server: Server, monkeypatch: pytest.MonkeyPatch, file: bytes) -> None:
    offered(monkeypatch, server.url("/w", body(file)), file)
    state = mc.random.default_generator.get_state()
    mc.models.create("resnet18", weights="DEFAULT", width=4, progress=False)
    assert mc.random.default_generator.get_state() == state


def test_another_number_of_classes(server: Server, monkeypatch: pytest.MonkeyPatch, file: bytes) -> None:
    offered(monkeypatch, server.url("/w", body(file)), file)
    expected = (
        r"^create: resnet18's weights IMAGENET1K_V1 are for 1000 classes, but num_classes is 7; with repl"
    )
    with pytest.raises(ValueError, match=expected):
        mc.models.create("resnet18", weights="DEFAULT", num_classes=7, width=4)
    assert server.asked == []
    options = {"weights": "DEFAULT", "num_classes": 7, "width": 4, "replace_head": True, "progress": False}
    model = mc.models.create("resnet18", **options)
    assert model.fc.weight.shape == (7, 32)
    assert 0 < model.fc.weight.data.std() < 1
    mc.manual_seed(5)
    first = mc.models.create("resnet18", width=4).conv1.weight.data
    np.testing.assert_array_equal(model.conv1.weight.data, first)


def test_offline(server: Server, monkeypatch: pytest.MonkeyPatch, folder: Path, file: bytes) -> None:
    row = offered(monkeypatch, server.url("/w", body(file)), file)
    path = folder / "small.safetensors"
    expected = (
        f"^resnet18's weights IMAGENET1K_V1 are not on this machine: get {row.url} and put it at {path}$"
    )
    with pytest.raises(FileNotFoundError, match=expected):
        mc.models.create("resnet18", weights="DEFAULT", offline=True)
    folder.mkdir()
    path.write_bytes(file)
    mc.models.create("resnet18", weights="DEFAULT", width=4, offline=True)
    path.write_bytes(file[:-1])
    with pytest.raises(
        ValueError, match=f"not resnet18's weights IMAGENET1K_V1, .* and not with {row.sha256}; dele"
    ):
        mc.models.create("resnet18", weights="DEFAULT", width=4)
    assert server.asked == []


@pytest.mark.parametrize("content", [b"wrong", bytes(2**22)], ids=["wrong", "much too large"])
def test_what_is_not_the_file(
    server: Server, monkeypatch: pytest.MonkeyPatch, folder: Path, file: bytes, content: bytes
) -> None:
    offered(monkeypatch, server.url("/w", body(content)), file)
    with pytest.raises(DownloadError, match="small.safetensors could not be downloaded"):
        mc.models.create("resnet18", weights="DEFAULT", progress=False)
    assert list(folder.iterdir()) == []


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize {}\n"


def hub(server: Server, monkeypatch: pytest.MonkeyPatch, content: bytes, pointer: str) -> None:
    server.url("/timm/x/raw/main/model.safetensors", body(pointer.encode()))
    url = server.url("/timm/x/resolve/main/model.safetensors", body(content))
    offered(monkeypatch, url, content, sha256="", size=None)


def test_the_hub_tells_the_checksum(
    server: Server, monkeypatch: pytest.MonkeyPatch, folder: Path, file: bytes
) -> None:
    hub(server, monkeypatch, file, POINTER.format(hashlib.sha256(file).hexdigest(), len(file)))
    mc.models.create("resnet18", weights="DEFAULT", width=4, progress=False)
    assert [path.name for path in folder.iterdir()] == ["small.safetensors"]
    assert [path.split("/")[3] for path in server.asked] == ["raw", "resolve"]


@pytest.mark.parametrize(
    ("pointer", "words"),
    [
        (POINTER.format("0" * 64, 10), "wrong content|announces"),
        ("<html>sign in</html>", "does not tell the checksum of small.safetensors"),
        ("oid sha256:xyz\nsize -1", "does not tell the checksum"),
    ],
)
def test_a_hub_that_tells_otherwise(
    server: Server, monkeypatch: pytest.MonkeyPatch, folder: Path, file: bytes, pointer: str, words: str
) -> None:
    hub(server, monkeypatch, file, pointer)
    with pytest.raises(DownloadError, match=words):
        mc.models.create("resnet18", weights="DEFAULT", width=4, progress=False)
    assert not folder.exists() or list(folder.iterdir()) == []


def test_a_hub_that_is_not_there(server: Server, monkeypatch: pytest.MonkeyPatch, file: bytes) -> None:
    url = server.url("/timm/x/resolve/main/model.safetensors", status(404))
    offered(monkeypatch, url, file, sha256="", size=None)
    with pytest.raises(DownloadError, match="HTTP 404"):
        mc.models.create("resnet18", weights="DEFAULT", progress=False)


def test_the_cache_is_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pretrained.ENVIRONMENT_VARIABLE)
    assert pretrained.folder().parts[-2:] == ("minicnn", "weights")


# ------------------------------------------------------------------------------------------------ files


def test_created_with_a_file(tmp_path: Path, file: bytes) -> None:
    for path in (tmp_path / "w.safetensors", str(tmp_path / "w.safetensors")):
        model = mc.models.create("resnet18", weights=path, width=4)
    with pytest.raises(WeightsError, match="w.safetensors: made for 1,000 classes, but resnet18 has 3; give"):
        mc.models.create("resnet18", weights=path, width=4, num_classes=3)
    other = mc.models.create("resnet18", weights=path, width=4, num_classes=3, replace_head=True)
    np.testing.assert_array_equal(other.conv1.weight.data, model.conv1.weight.data)


@pytest.mark.parametrize(
    ("network", "given", "words"),
    [
        (
            "resnet50",
            "IMAGENET1K_V3",
            "'IMAGENET1K_V3': resnet50 has DEFAULT, IMAGENET1K_V1, IMAGENET1K_V2, and",
        ),
        ("lenet5", "DEFAULT", "'DEFAULT': lenet5 has no published ones, and there is no file of that name"),
        ("resnet50", Path("DEFAULT"), "there is no file of that name"),
    ],
)
def test_what_is_neither_name_nor_file(network: str, given: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mc.models.create(network, weights=given)


def test_no_head_to_replace() -> None:
    with pytest.raises(ValueError, match="there are no weights whose head to replace"):
        mc.models.create("lenet5", replace_head=True)


def test_a_file_of_keras_has_options_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "mine.h5").touch()
    assert pretrained.find("resnet50", tmp_path / "mine.h5").options == {"stride_on": "1x1"}
    assert pretrained.find("vgg16", tmp_path / "mine.h5").options == {}


def test_transform_input_is_for_colours() -> None:
    with pytest.raises(ValueError, match="googlenet: transform_input is for 3 colours, but in_channels is 1"):
        mc.models.create("googlenet", transform_input=True, in_channels=1)


@pytest.mark.oracle
@pytest.mark.parametrize("network", ["googlenet", "inception_v3"])
def test_logits_of_torchvisions_loaded_network(torchvision, tmp_path: Path, network: str) -> None:
    """The file has auxiliary heads, and the network turns its input into TensorFlow's range."""
    import torch

    torch.manual_seed(1)
    options = {"aux_logits": True, "transform_input": True, "init_weights": False}
    theirs = getattr(torchvision, network)(**options).eval()
    with torch.no_grad():
        for name, buffer in theirs.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
    (row,) = get_model_weights(network)
    torch.save(theirs.state_dict(), tmp_path / row.file)
    ours = mc.models.create(network, weights=tmp_path / row.file).eval()
    x = np.random.default_rng(0).standard_normal((2, 3, 80, 80)).astype(np.float32)
    with mc.no_grad(), torch.no_grad():
        found, expected = ours(mc.tensor(x)).data, theirs(torch.from_numpy(x)).numpy()
    assert not any(isinstance(module, nn.Module) and "aux" in name for name, module in ours.named_modules())
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
