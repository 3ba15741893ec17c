"""Files of weights that are damaged, or made to do harm: each is refused in one line, at little cost."""

import contextlib
import json
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch_files
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from torch_files import (
    Call,
    Name,
    Raw,
    Reference,
    encoded,
    of_arrays,
    pickled,
    tensor,
    write_legacy,
    write_zip,
)

from minicnn import weights
from minicnn.weights import WeightsError, pickle_machine, zip_file
from minicnn.weights.errors import Unreadable
from minicnn.weights.pickle_machine import Machine
from minicnn.weights.torch_file import NAMES

ARRAYS = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2),
    "conv.bias": np.array([0.5, -1], np.float16),
    "bn.num_batches_tracked": np.array(7),
}


def cheaply_read(path, megabytes=100):
    """The arrays of a file, or the message with which it is refused; within a bound of memory."""
    tracemalloc.start()
    try:
        outcome = weights.read(path)
    except WeightsError as error:
        outcome = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < megabytes * 2**20
    if isinstance(outcome, str):
        assert outcome.startswith(f"{path}: ")
        assert outcome.isprintable()
        assert len(outcome) < len(str(path)) + 400
    return outcome


def refused(path, match):
    message = cheaply_read(path)
    assert isinstance(message, str), "it was read"
    assert match in message


def same(found):
    return sorted(found) == sorted(ARRAYS) and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array)
        for name, array in ARRAYS.items()
    )


# ------------------------------------------------------------------------------------------- damage

FORMATS = {
    "zip": lambda path: write_zip(path, *of_arrays(ARRAYS)),
    "zip, packed": lambda path: write_zip(path, *of_arrays(ARRAYS), packing=zipfile.ZIP_DEFLATED),
    "legacy": lambda path: write_legacy(path, *of_arrays(ARRAYS, more=(None,))),
    "npz": lambda path: np.savez(path, **ARRAYS),
    "npz, packed": lambda path: np.savez_compressed(path, **ARRAYS),
    "safetensors": lambda path: save_file(ARRAYS, path),
}


@pytest.fixture(scope="module", params=FORMATS)
def sound(request, tmp_path_factory):
    """A format, the content of a sound file, and a path for others."""
    path = tmp_path_factory.mktemp("sound") / "w.npz"
    FORMATS[request.param](path)
    assert same(weights.read(path))
    return request.param, path.read_bytes(), path


changes = st.lists(st.tuples(st.integers(0, 2**16), st.integers(1, 255)), min_size=1, max_size=4)


@settings(max_examples=150)
@given(changes=changes)
def test_changed_bytes(sound, changes):
    """A damaged file is refused, unless what changed does not matter, or is a number that nothing checks."""
    kind, content, path = sound
    damaged = bytearray(content)
    for position, change in changes:
        damaged[position % len(damaged)] ^= change
    path.write_bytes(damaged)
    found = cheaply_read(path)
    if not isinstance(found, str) and kind.startswith("zip"):
        assert same(found)


@settings(max_examples=60)
@given(cuts=st.tuples(st.integers(0, 2**16), st.integers(0, 2**16)), twice=st.booleans())
def test_cut_and_repeated(sound, cuts, twice):
    """A piece of a file is missing, or there twice."""
    kind, content, path = sound
    a, b = sorted(cut % (len(content) + 1) for cut in cuts)
    path.write_bytes(content[:b] + content[a:] if twice else content[:a] + content[b:])
    found = cheaply_read(path)
    if not isinstance(found, str) and kind.startswith("zip"):
        assert same(found)


def test_cut_off_anywhere(sound):
    _, content, path = sound
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        refused(path, "")


names = st.sampled_from(["os\nsystem\n", *(name[::-1].replace(".", "\n", 1)[::-1] + "\n" for name in NAMES)])
opcodes = st.one_of(
    st.sampled_from([bytes([code]) for code in range(256)]),
    st.sampled_from([bytes([code]) for code in b")]}(RbQuseat\x81\x86"]),
    st.builds(lambda name: b"c" + name.encode(), names),
    st.builds(lambda n: b"K" + bytes([n]), st.integers(0, 255)),
    st.builds(encoded, st.recursive(
        st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=3) | st.floats(),
        lambda inner: st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple),
        max_leaves=6,
    )),
    st.builds(encoded, st.builds(tensor, st.text(max_size=2), st.tuples(st.integers(-1, 3)))),
)  # fmt: skip


@settings(max_examples=400)
@given(code=st.lists(opcodes, max_size=25).map(b"".join), tail=st.binary(max_size=8))
def test_random_programmes(code, tail):
    """The machine gives a value or Unreadable, whatever it is told to do."""
    with contextlib.suppress(Unreadable):
        Machine(b"\x80\x02" + code + tail + b".", NAMES, lambda reference: reference).run()


@settings(max_examples=100)
@given(code=st.lists(opcodes, max_size=12).map(b"".join))
def test_random_programmes_in_files(tmp_path_factory, code):
    folder = tmp_path_factory.mktemp("random")
    document = {"a": tensor("0", (3,)), "b": Raw(code)}
    cheaply_read(write_zip(folder / "w", document, {"0": np.ones(3, np.float32)}))
    document = {"a": tensor("0", (3,), more=(None,)), "b": Raw(code)}
    cheaply_read(write_legacy(folder / "w", document, {"0": np.ones(3, np.float32)}))


# ------------------------------------------------------------------------------------ pickles that act

TEXT = encoded("touch harmed")
ACTING = {
    "os.system": b"cos\nsystem\n" + TEXT + b"\x85R",
    "posix.system": b"cposix\nsystem\n(" + TEXT + b"tR",
    "builtins.eval": b"\x8c\x08builtins\x8c\x04eval\x93" + encoded("open('harmed', 'w')") + b"\x85R",
    "subprocess.Popen": b"csubprocess\nPopen\n" + encoded(["touch", "harmed"]) + b"\x85\x81",
    "builtins.getattr": b"cbuiltins\ngetattr\n" + encoded(("", "join")) + b"R",
    "torch._utils._rebuild_tensor_v2.__globals__": b"\x8c\x0ctorch._utils"
    + encoded("_rebuild_tensor_v2.__globals__")
    + b"\x93",
    "collections.OrderedDict.fromkeys": b"\x8c\x0bcollections" + encoded("OrderedDict.fromkeys") + b"\x93",
    "torch.load": b"ctorch\nload\n" + TEXT + b"\x85R",
    "numpy.load": b"cnumpy\nload\n" + TEXT + b"\x85R",
    "": b"ccollections\nOrderedDict\n)Rccollections\nOrderedDict\nb",
    "opcode 0x69": b"(" + TEXT + b"ios\nsystem\n",  # INST
    "opcode 0x6f": b"(cbuiltins\neval\n" + TEXT + b"o",  # OBJ: the name is refused first
    "opcode 0x82": b"\x82\x01",  # EXT1
    "opcode 0x92": b"ccollections\nOrderedDict\n)}\x92",  # NEWOBJ_EX
    "opcode 0x50": b"Pstorage\n",  # PERSID
    "opcode 0x49": b"I01\n",  # INT, of protocol 0
}


@pytest.mark.parametrize("what", ACTING)
def test_pickles_that_act(tmp_path, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    code = b"\x80\x04" + ACTING[what] + b"."
    expected = "asks for builtins.eval" if what == "opcode 0x6f" else what
    refused(write_zip(tmp_path / "w", code, {}), expected)
    (tmp_path / "w").write_bytes(code)
    refused(tmp_path / "w", expected)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


DEEP = 200_000  # a tuple as deep as that overflows the stack of whoever asks for its hash
STEPS = 10**5  # a lower bound, so that these tests are quick

BOMBS = {
    "nested tuples as a key": (b"}(" + b")" + b"\x85" * DEEP + b"Nu", "a dictionary with a tuple for a key"),
    "nested lists": (b"]" * STEPS + b"a" * (STEPS - 1), "it holds no dictionary of tensors"),
    "nested tuples": (b")" + b"\x85" * DEEP, "it holds no dictionary of tensors"),
    "nested dictionaries": (b"}N" * 50_000 + b"}" + b"s" * 50_000, "not a state dict"),
    "a list in itself": (b"]q\x00h\x00a", "it holds no dictionary of tensors"),
    "a dictionary in itself": (b"}q\x00(" + encoded("model") + b"h\x00u", "as model is of type dict"),
    "doubling": (b")" + b"q\x00h\x00\x86" * 50_000, "it holds no dictionary of tensors"),
    "a number of 255 bytes": (b"\x8a\xff" + bytes(255), "a number of 255 bytes"),
    "a number of two gigabytes": (b"\x8b\xff\xff\xff\x7f", "a number of 2147483647 bytes"),
    "a number of negative length": (b"\x8b\xff\xff\xff\xff", "breaks off"),
    "a text of negative length": (b"T\xff\xff\xff\xff", "breaks off"),
    "a text beyond the end": (b"\x8d" + b"\xff" * 8, "breaks off"),
    "a text that is no text": (b"U\x01\xff", "a text that is no text"),
    "keys of one hash": (b"}(" + encoded(2**61 - 1) + b"N" + encoded(2**62 - 2) + b"Nu", "a int for a key"),
    "a name without end": (b"c" + b"a" * 1000, "breaks off"),
    "a name of a million letters": (b"c" + b"a" * 10**6 + b"\nb\n", "it asks for aaaaa"),
    "a name of strange letters": (b"c\x1b[31m\x07\nb\n", "it asks for [31m"),
    "a name that is no text": (encoded([]) + encoded("x") + b"\x93", "a name that is no text"),
    "an empty stack": (b"R", "an empty stack"),
    "below a mark": (b"N(a", "an empty stack"),
    "no mark": (b"Nt", "no mark"),
    "an empty memo": (b"h\x05", "recalls what it has not remembered"),
    "an unknown protocol": (b"\x80\x06", "protocol 6, but this minicnn reads 2 to 5"),
}

ENDLESS = {
    "nothing": b"N" * (STEPS + 1),
    "dictionaries": b"}" * (STEPS + 1),
    "memo": b"N" + b"\x94" * (STEPS + 1),
    "one list, copied again and again": b"](" + encoded(["a", 1]) * 10_000 + b"eq\x00"
    b"(" + (encoded(torch_files.ORDERED) + b"h\x00\x85R") * 10,
    "one tuple, copied again and again": b"(" + b"N" * 60_000 + b"tq\x00"
    b"(" + (encoded(Name("torch", "Size")) + b"h\x00\x85R") * 10,
}


def written(path, code):
    return write_zip(path, b"\x80\x04" + code + b".", {}, packing=zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize("what", BOMBS)
def test_pickles_made_to_exhaust(tmp_path, what):
    code, match = BOMBS[what]
    refused(written(tmp_path / "w", code), match)


@pytest.mark.parametrize("what", ENDLESS)
def test_endless_pickles(tmp_path, monkeypatch, what):
    monkeypatch.setattr(pickle_machine, "MOST_STEPS", STEPS)
    refused(written(tmp_path / "w", ENDLESS[what]), "takes more than 100,000 steps")


@pytest.mark.slow
@pytest.mark.parametrize("opcode", [b"N", b"}", b"]", b"}\x94"])
def test_the_memory_of_an_endless_pickle(tmp_path, opcode):
    path = written(tmp_path / "w", opcode * 1_100_000)
    assert "takes more than 1,000,000 steps" in cheaply_read(path, megabytes=250)


def test_a_pickle_of_gigabytes(tmp_path):
    with zipfile.ZipFile(tmp_path / "w", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("net/data.pkl", b"\x80\x02" + b"N" * pickle_machine.LONGEST)
    refused(tmp_path / "w", "its pickle has more than 16,777,216 bytes")


# ------------------------------------------------------------------------------------ tensors that lie

NUMBERS = {"0": np.arange(12, dtype=np.float32)}
LYING = {
    "beyond the storage": (tensor("0", (4, 4), size=12), "reaches beyond its storage of 12 elements"),
    "offset beyond": (tensor("0", (2,), offset=11, size=12), "reaches beyond its storage"),
    "strides beyond": (tensor("0", (2, 2), (11, 1), size=12), "reaches beyond its storage"),
    "terabytes from one number": (tensor("0", (2**20, 2**20), (0, 0), size=12), "reaches beyond its storage"),
    "one number twice": (tensor("0", (13,), (0,), size=12), "reaches beyond its storage"),
    "negative offset": (tensor("0", (2,), offset=-1, size=12), "a size in it is"),
    "negative stride": (tensor("0", (2,), (-1,), offset=5, size=12), "a size in it is"),
    "negative shape": (tensor("0", (-2, -3), (3, 1), size=12), "a size in it is"),
    "huge stride": (tensor("0", (1, 2), (2**70, 1), size=12), "a size in it is"),
    "a fraction": (tensor("0", (2.0,), (1,), size=12), "a size in it is"),
    "yes for a size": (tensor("0", (True,), (1,), size=12), "a size in it is"),
    "no strides": (tensor("0", (2, 2), (), size=12), "shape and strides do not agree"),
    "a hundred axes": (tensor("0", (1,) * 100, size=12), "shape and strides do not agree"),
    "empty and huge": (tensor("0", (0, 2**40, 2**40), (0, 0, 0), size=12), "reaches beyond its storage"),
    "a storage of petabytes": (tensor("0", (3,), size=2**47), "it has no storage 0 of 140,737,488,355,328"),
    "a larger storage": (tensor("0", (13,)), "it has no storage 0 of 13 elements"),
    "no storage": (tensor("1", (3,)), "it has no storage 1 of 3 elements"),
    "up and away": (tensor("../../secret", (3,)), "it has no storage ../../secret of 3 elements"),
    "from the root": (tensor("/etc/passwd", (3,)), "it has no storage /etc/passwd of 3 elements"),
    "a number as storage": (Call(torch_files.REBUILD, (5, 0, (), (), False, None)), "has no storage"),
    "too few arguments": (Call(torch_files.REBUILD, (5,)), "arguments that do not fit"),
    "a list of sizes": (Call(torch_files.REBUILD, (tensor("0", (3,)).arguments[0], 0, [3], (1,))), "has no"),
    "a module": (Reference(("module", Name("torch", "FloatStorage"), "a", "b")), "other than a storage"),
    "a text for an id": (Reference("storage"), "other than a storage"),
    "a storage of nothing": (Reference(("storage", 5, "0", "cpu", 12)), "has no type or no key"),
    "a parameter of nothing": (Call(Name("torch.nn.parameter", "Parameter"), (5,)), "is no tensor"),
    "a dictionary of nothing": (Call(torch_files.ORDERED, (5,)), "made of what is no list"),
    "a dictionary of no pairs": (Call(torch_files.ORDERED, ([1, 2],)), "not made of pairs"),
}  # fmt: skip


@pytest.mark.parametrize("what", LYING)
def test_tensors_that_lie(tmp_path, what):
    described, match = LYING[what]
    refused(write_zip(tmp_path / "w", {"x": described}, NUMBERS), match)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


@pytest.mark.parametrize("legacy", [False, True])
def test_one_storage_of_two_sizes(tmp_path, legacy):
    more = (None,) if legacy else ()
    document = {"a": tensor("0", (12,), more=more), "b": tensor("0", (10**6,), more=more)}
    path = (write_legacy if legacy else write_zip)(tmp_path / "w", document, NUMBERS)
    refused(path, "storage 0 is of two kinds")


def legacy_with(path, keys, lengths, numbers=b""):
    """A legacy file of one tensor, with these keys and lengths of storages."""
    write_legacy(path, {"x": tensor("0", (12,), more=(None,))}, {})
    content = path.read_bytes().removesuffix(pickled([])) + pickled(keys)
    path.write_bytes(content + b"".join(struct.pack("<q", n) + numbers for n in lengths))
    return path


@pytest.mark.parametrize(
    ("keys", "lengths", "match"),
    [
        (["0"], [12], "storage 0 is not all there"),
        (["0"], [2**40], "storage 0 is not all there"),
        (["0"], [-1], "storage 0 is not all there"),
        ([], [], "a storage is missing"),
        (["1"], [12], "its list of storages is not that of its tensors"),
        (["0", "0"], [12, 12], "its list of storages is not that of its tensors"),
        ([["0"]], [12], "a dictionary with a list for a key"),
        ("0", [12], "its list of storages is not that of its tensors"),
    ],
)
def test_legacy_storages_that_lie(tmp_path, keys, lengths, match):
    refused(legacy_with(tmp_path / "w", keys, lengths), match)


def test_a_legacy_file_of_a_big_endian_machine(tmp_path):
    path = write_legacy(tmp_path / "w", {}, {})
    path.write_bytes(path.read_bytes().replace(b"little_endian\x88", b"little_endian\x89"))
    refused(path, "from a big-endian machine")


# --------------------------------------------------------------------------------- archives that lie


def test_a_zip_bomb(tmp_path):
    """A storage of 80 MB that takes 80 kB."""
    zeros = np.zeros(2 * 10**7, np.float32)
    path = write_zip(
        tmp_path / "w", {"x": tensor("0", zeros.shape)}, {"0": zeros}, packing=zipfile.ZIP_DEFLATED
    )
    refused(path, "it unpacks to far more than its own size")
    np.savez_compressed(tmp_path / "w.npz", x=zeros)
    refused(tmp_path / "w.npz", "it unpacks to far more than its own size")


def test_an_archive_that_unpacks_to_more_than_it_says(tmp_path):
    path = write_zip(
        tmp_path / "w", {"x": tensor("0", (10**6,))}, {"0": np.zeros(10**6)}, packing=zipfile.ZIP_DEFLATED
    )
    content = path.read_bytes()
    assert content.count(struct.pack("<I", 8_000_000)) >= 1
    path.write_bytes(content.replace(struct.pack("<I", 8_000_000), struct.pack("<I", 4_000_000)))
    refused(path, "damaged")


def test_many_small_bombs(tmp_path):
    """Each entry is within the bound, all together are not."""
    np.savez_compressed(tmp_path / "w.npz", **{f"x{i}": np.zeros(2**21) for i in range(6)})
    refused(tmp_path / "w.npz", "it unpacks to far more than its own size")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name(tmp_path):
    more = [("net/data/0", b"\xff" * 48)]
    path = write_zip(tmp_path / "w", {"x": tensor("0", (12,))}, NUMBERS, more=more)
    refused(path, "it has two entries named net/data/0")


def test_two_pickles(tmp_path):
    path = write_zip(tmp_path / "w", {}, {}, more=[("other/data.pkl", pickled({}))])
    refused(path, "a zip archive that neither PyTorch nor NumPy wrote")


def test_an_unknown_byte_order(tmp_path):
    path = write_zip(tmp_path / "w", {"x": tensor("0", (12,))}, NUMBERS)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, b"middle" if name.endswith("byteorder") else content)
    refused(path, "its byte order is b'middle'")


def test_an_encrypted_entry(tmp_path):
    path = write_zip(tmp_path / "w", {}, {})
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(signature)
        while at >= 0:
            content[at + flags] |= 1
            at = content.find(signature, at + 1)
    path.write_bytes(content)
    refused(path, "net/byteorder in it is encrypted")


def test_an_unusual_packing(tmp_path):
    refused(write_zip(tmp_path / "w", {}, {}, packing=zipfile.ZIP_LZMA), "packed in an unusual way")


def test_a_directory_of_gigabytes(tmp_path, monkeypatch):
    monkeypatch.setattr(zip_file._BoundedFile, "bound", 500)
    path = tmp_path / "w.npz"
    np.savez(path, **{f"array{i}": np.zeros(1) for i in range(20)})
    refused(path, "its directory claims")


# ----------------------------------------------------------------------------- NumPy and safetensors


def npy(header, content=b"", version=(1, 0)):
    text = header.encode()
    return b"\x93NUMPY" + bytes(version) + struct.pack("<H", len(text)) + text + content


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", b"\x80\x02N."), "holds object"),
        (npy("{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}", bytes(8)), "holds complex64"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (2**40,)}"), "no header that NumPy writes"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}"), "declares the shape"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}"), "declares the shape"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': (0,)}", b"more"), "declares the shape"),
        (npy("{'descr': '<f4', 'fortran_order': False, 'shape': __import__('os')}"), "no header"),
        (npy("(" * 5000), "no header"),
        (npy("{'descr': 'zz'}"), "no header"),
        (npy("", version=(9, 9)), "no header"),
        (b"\x80\x02N.", "no header"),
        (b"", "no header"),
    ],
)
def test_arrays_of_numpy_that_lie(tmp_path, content, match):
    with zipfile.ZipFile(tmp_path / "w", "w") as archive:
        archive.writestr("../x.npy", content)
    refused(tmp_path / "w", match)
    assert [path.name for path in tmp_path.iterdir()] == ["w"]


def safetensors(header, content=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + content


def entry(shape, first, end, dtype="F32"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, end]}


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (safetensors(b"{}" + b" " * 60, length=2**63), "not a file of weights"),
        (safetensors(b"{" * 100_000), "damaged or no safetensors file"),
        (safetensors(b'{"a":' * 50_000 + b"1" + b"}" * 50_000), "damaged or no safetensors file"),
        (
            safetensors({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
            "damaged or no safetensors",
        ),
        (safetensors({"a": entry([2], 0, 8)}, bytes(4)), "damaged or no safetensors file"),
        (safetensors({"a": entry([2], 0, 8)}, bytes(12)), "damaged or no safetensors file"),
        (safetensors({"a": entry([2**32, 2**32], 0, 8)}, bytes(8)), "damaged or no safetensors file"),
        (safetensors({"a": entry([0, 2**62], 0, 0)}), ""),
        (safetensors({"a": entry([-1], 0, 8)}, bytes(8)), "damaged or no safetensors file"),
        (safetensors({"a": entry([2], 0, 2, "F8_E4M3")}, bytes(2)), "a is of type F8_E4M3"),
        (safetensors({"a": entry([1], 0, 8, "C64")}, bytes(8)), "a is of type C64"),
        (safetensors({"a": {}}), "damaged or no safetensors file"),
        (safetensors([1]), "not a file of weights"),
    ],
)
def test_safetensors_that_lie(tmp_path, content, match):
    (tmp_path / "w").write_bytes(content)
    refused(tmp_path / "w", match)


def test_a_header_of_megabytes(tmp_path):
    (tmp_path / "w").write_bytes(safetensors(b"{}" + b" " * 2**24))
    refused(tmp_path / "w", "a header of 16,777,218 bytes")
