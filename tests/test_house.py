"""The house: which room imports which, what an import costs, and that every example in it is true."""

import ast
import doctest
import importlib
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# From the ground up. A room imports from itself and from those before it; rooms on one line are
# neighbours and do not import each other.
FLOORS = [
    ["backend", "files", "partial", "figures"],
    ["cuda_graphs", "download"],
    ["kernels"],
    ["autograd", "random"],
    ["functional"],
    ["tensor"],
    ["nn"],
    ["weights"],
    ["optim", "models", "gradcheck"],
    ["data", "summary", "exercises"],
    ["gradcases"],
    ["train"],
    ["predict", "explain", "lessons"],
    ["commands"],
    ["cli"],
    ["__init__", "__main__"],
]
FLOOR = {room: height for height, rooms in enumerate(FLOORS) for room in rooms}


def modules():
    """Every module of the package as (room, path)."""
    for folder in ("minicnn", "kernels", "models"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            inside = path.relative_to(ROOT / folder)
            yield (inside.parts[0].removesuffix(".py") if folder == "minicnn" else folder), path


def dotted(path):
    """The name under which a file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "minicnn" else ("minicnn", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """The rooms that a module imports, wherever in the file the import stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            assert not isinstance(node, ast.ImportFrom), f"{path}: relative import"
            continue
        for name in names:
            parts = name.split(".")
            if parts[0] == "minicnn":
                yield parts[1] if len(parts) > 1 and parts[1] in FLOOR else "__init__"


@pytest.mark.parametrize(
    ("room", "path"), [pytest.param(*m, id=str(m[1].relative_to(ROOT))) for m in modules()]
)
def test_arrows_point_down(room, path):
    assert room in FLOOR, f"{room} has no place in the house yet: give it a floor"
    for other in imported(path):
        if other == "__init__" and room in ("lessons", "commands", "cli", "__main__", "gradcases"):
            continue  # these stand outside, and use minicnn as anyone would
        assert other == room or FLOOR[other] < FLOOR[room], f"{room} imports {other}"


def test_every_package_is_installed():
    found = {dotted(path) for _, path in modules() if path.name == "__init__.py"}
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert sorted(listed) == sorted(found)


def test_no_pickle():
    for _, path in modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            assert not {"pickle", "marshal", "shelve", "dill"} & set(names), path
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert ast.literal_eval(node.value) is False, path


def in_fresh_python(code):
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=ROOT
    ).stdout


def test_import_loads_nothing_heavy():
    code = "import sys, minicnn; print([m for m in sys.modules if '.' not in m])"
    loaded = ast.literal_eval(in_fresh_python(code))
    heavy = {
        "matplotlib",
        "rich",
        "PIL",
        "cupy",
        "torch",
        "numba",
        "scipy",
        "safetensors",
        "h5py",
        "platformdirs",
        "http",
        "urllib3",
    }
    assert not heavy & set(loaded)


def test_import_is_quick():
    code = "import time, numpy; t = time.process_time(); import minicnn; print(time.process_time() - t)"
    assert min(float(in_fresh_python(code)) for _ in range(3)) < 0.5


def test_files_are_of_readable_size():
    long = {str(p.relative_to(ROOT)): n for _, p in modules() if (n := len(p.read_text().splitlines())) > 500}
    assert not long


ROOMS = [dotted(path) for room, path in modules() if room != "__main__"]


@pytest.mark.parametrize("name", ROOMS)
def test_examples_in_docstrings(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_public_functions_have_docstrings():
    bare = []
    for name in ROOMS:
        module = importlib.import_module(name)
        for key, value in vars(module).items():
            if key.startswith("_") or getattr(value, "__module__", None) != name:
                continue
            if callable(value) and not (getattr(value, "__doc__", None) or "").strip():
                bare.append(f"{name}.{key}")
    assert not bare


def test_readme_examples_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = (ROOT / "README.md").read_text(encoding="utf-8").split("```python\n")[1:]
    assert len(blocks) == 5
    names = {}
    for block in blocks:
        exec(block.partition("```")[0], names)
    printed = capsys.readouterr().out
    losses = [float(line.split()[1]) for line in printed.splitlines()[:10]]
    assert losses[9] < losses[0]
    assert printed.count("right: worst relative error") == 2
    assert "[conv2d.forward[numpy:toeplitz]]\n" in printed
    assert "8 arrays loaded into LeNet5" in printed
