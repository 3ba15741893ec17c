"""Which GPU the figures were taken on: its name, size and clocks, and what drives it."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

from benchmarks import machine
from benchmarks.problem import Problem
from minicnn import backend

ASKED = ("driver_version", "clocks.sm", "clocks.max.sm", "clocks.max.mem", "power.limit", "temperature.gpu")
"""What NVIDIA's own tool is asked for, where it is installed."""


def require() -> None:
    """Raise Problem where there is no GPU to measure on."""
    if reason := backend.why_no_gpu():
        raise Problem(f"nothing can be measured here: {reason}")


def describe() -> dict[str, Any]:
    """The GPU as CuPy sees it; raises whatever CuPy does where there is none."""
    import cupy

    runtime, device = cupy.cuda.runtime, cupy.cuda.Device(0)
    known = runtime.getDeviceProperties(0)
    return {
        "name": known["name"].decode(),
        "capability": device.compute_capability,
        "multiprocessors": known["multiProcessorCount"],
        "memory_gb": round(known["totalGlobalMem"] / 2**30, 1),
        "L2_mb": round(known["l2CacheSize"] / 2**20, 1),
        "cuda_driver": runtime.driverGetVersion(),
        "cuda_runtime": runtime.runtimeGetVersion(),
        "nvrtc": ".".join(map(str, cupy.cuda.nvrtc.getVersion())),
        "cupy": cupy.__version__,
        **_told_by_nvidia(device.pci_bus_id),
    }


def _told_by_nvidia(bus: str) -> dict[str, str]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return {}
    asked = [tool, f"--id={bus}", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=20)
    values = [value.strip() for value in done.stdout.strip().split(",")]
    return dict(zip(ASKED, values, strict=True)) if len(values) == len(ASKED) else {}


def slug(name: str) -> str:
    """The GPU's name as part of a file's.

    >>> slug("NVIDIA H200"), slug("NVIDIA GeForce RTX 4090")
    ('h200', 'geforce-rtx-4090')
    """
    return re.sub(r"[^a-z0-9]+", "-", name.lower().removeprefix("nvidia")).strip("-")


def machine_with(about: dict[str, Any]) -> dict[str, Any]:
    """What is kept beside results: the host, and the GPU."""
    return machine.describe(len(machine.cores()), "cuda") | {"gpu": about["name"], "gpu_details": about}
