"""What the figures were taken on: processor, cores, caches, memory in use, versions."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LIBRARIES = (
    "numpy",
    "numba",
    "llvmlite",
    "torch",
    "torchvision",
    "jax",
    "jaxlib",
    "cupy-cuda12x",
    "cupy-cuda13x",
)
CPUS = Path("/sys/devices/system/cpu")
SAME = ("cpu", "gpu", "cores", "threads", "backend", "python", "libraries", "settings")
"""What must be equal for two results to stand in one table."""


def describe(threads: int, backend: str) -> dict[str, Any]:
    """The machine, the versions and the settings: what is kept beside every result."""
    return {
        "cpu": cpu_model(),
        "cores": len(cores()),
        "threads": threads,
        "vectors": vectors(),
        "caches": caches(),
        "memory_gb": memory_gb(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "backend": backend,
        "libraries": {name: version for name in LIBRARIES if (version := installed(name))},
    }


def today() -> str:
    """The date, as kept with each row."""
    return datetime.date.today().isoformat()


def commit() -> str:
    """The commit that was measured, with a + if files differ from it; empty outside a git checkout."""
    try:
        asked = ["git", "-C", str(ROOT), "describe", "--always", "--exclude=*", "--dirty=+"]
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def installed(name: str) -> str:
    """The version of a library, empty where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _read(path: Path | str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def cpu_model() -> str:
    """The processor's name, as it gives it itself."""
    if found := re.search(r"^model name\s*: (.*)$", _read("/proc/cpuinfo"), re.MULTILINE):
        return found[1]
    if sys.platform == "darwin":
        asked = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(asked, capture_output=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()


def vectors() -> str:
    """The widest vector instructions, where the system tells."""
    flags = _read("/proc/cpuinfo")
    for flag, name in (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON")):
        if re.search(rf"\b{flag}\b", flags):
            return name
    return "NEON" if platform.machine() == "arm64" else ""


def cores() -> list[int]:
    """One processor number for each physical core that this process may use.

    Two hardware threads of a core share its arithmetic units: a second one adds noise, not speed. Where the
    system does not tell which belong together, each counts.
    """
    if hasattr(os, "sched_getaffinity"):
        usable = sorted(os.sched_getaffinity(0))
    else:
        usable = list(range(os.cpu_count() or 1))
    first: dict[object, int] = {}
    for cpu in usable:
        topology = CPUS / f"cpu{cpu}" / "topology"
        core = (_read(topology / "physical_package_id"), _read(topology / "core_id"))
        first.setdefault(core if all(core) else cpu, cpu)
    return list(first.values())


def caches() -> dict[str, int]:
    """Bytes of each cache that the first core sees: {"L1": …, "L2": …, "L3": …}; empty where unknown."""
    found = {}
    for index in sorted(CPUS.glob(f"cpu{cores()[0]}/cache/index*")):
        size = re.fullmatch(r"(\d+)([KM])", _read(index / "size"))
        if size and _read(index / "type") != "Instruction":
            found[f"L{_read(index / 'level')}"] = int(size[1]) << {"K": 10, "M": 20}[size[2]]
    return found


def load() -> float:
    """How many processes wanted a core, on average over the last minute; 0 where unknown."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def memory_gb() -> int | None:
    """The machine's main memory in GiB."""
    found = re.search(r"MemTotal:\s*(\d+) kB", _read("/proc/meminfo"))
    return round(int(found[1]) / 2**20) if found else None


def memory_in_use() -> int | None:
    """Bytes of main memory that this process holds now; on macOS the most it has held; else None."""
    found = re.search(r"VmRSS:\s*(\d+) kB", _read("/proc/self/status"))
    return int(found[1]) * 1024 if found else peak_memory()


def peak_memory() -> int | None:
    """Bytes of main memory that this process has held at most, since :func:`forget_peak`; or None."""
    if found := re.search(r"VmHWM:\s*(\d+) kB", _read("/proc/self/status")):
        return int(found[1]) * 1024
    try:
        import resource
    except ImportError:  # Windows
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024  # macOS counts bytes, others kilobytes


def forget_peak() -> None:
    """Let the peak begin anew at what is held now, where the system can (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return
