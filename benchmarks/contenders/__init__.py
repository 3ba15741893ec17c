"""Who takes part. Each file holds one library's side of the same few commands (:mod:`.contender`)."""

from __future__ import annotations

import importlib
import importlib.util
from typing import NamedTuple


class Kind(NamedTuple):
    """A contender: what it is called in tables, the library it needs, and its class."""

    label: str
    library: str
    module: str
    options: dict[str, str]


KINDS = {
    "minicnn": Kind("minicnn", "minicnn", "with_minicnn", {}),
    "torch": Kind("PyTorch", "torch", "with_torch", {"layout": "NCHW"}),
    "torch_channels_last": Kind("PyTorch channels_last", "torch", "with_torch", {"layout": "channels_last"}),
    "jax": Kind("JAX", "jax", "with_jax", {}),
    "minicnn_cuda": Kind("minicnn", "cupy", "with_minicnn_cuda", {}),
    "torch_cuda": Kind("PyTorch", "torch", "with_torch_cuda", {"layout": "NCHW"}),
    "torch_cuda_channels_last": Kind(
        "PyTorch channels_last", "torch", "with_torch_cuda", {"layout": "channels_last"}
    ),
}
TORCH = ("torch", "torch_channels_last")
TORCH_CUDA = ("torch_cuda", "torch_cuda_channels_last")

OF_16_BITS = ("bf16", "fp16")
"""The precisions in which other libraries hold whole arrays."""


def is_installed(library: str) -> bool:
    """Whether a library is there, without importing it."""
    return importlib.util.find_spec(library) is not None


def load(kind: str, backend: str):
    """The contender itself; imports its library."""
    chosen = KINDS[kind]
    module = importlib.import_module(f"benchmarks.contenders.{chosen.module}")
    return module.Contender(backend=backend, **chosen.options)
