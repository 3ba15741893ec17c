"""The parent's end: each contender in a process of its own, idle while another one measures.

So neither thread pools nor allocators of two libraries meet, and each has a peak memory of its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

from benchmarks import machine
from benchmarks.contenders import KINDS
from benchmarks.problem import Problem

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
    "NPROC",  # JAX
)


def environment(threads: int) -> dict[str, str]:
    """That of a process which finds this checkout, and computes on so many threads."""
    limits = dict.fromkeys(THREAD_VARIABLES, str(threads))
    known = os.environ.get("PYTHONPATH")
    path = str(machine.ROOT) + (os.pathsep + known if known else "")
    return os.environ | limits | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}


class Worker:
    """A contender's process; a context manager, so that none outlives the benchmark.

    Raises Problem, one line, when a command fails or the process dies.
    """

    def __init__(self, kind: str, threads: int, backend: str) -> None:
        self.kind, self.label = kind, KINDS[kind].label
        self.threads, self.backend = threads, backend
        self.start()

    def start(self) -> None:
        """Start the process; it imports its library before the first command."""
        cpus = ",".join(map(str, machine.cores()[: self.threads]))
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115 (stop closes it)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", self.kind, self.backend, cpus],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.complaints,
            encoding="utf-8",
            env=environment(self.threads),
            start_new_session=True,  # Ctrl-C reaches the parent alone
        )

    def call(self, command: str, **given: Any) -> Any:
        """Send one command and wait for its answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        line = ""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps({"command": command, "given": given}), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        if not line:
            raise Problem(f"{self.label}: the process ended during {command!r}: {self._last_words()}")
        reply = json.loads(line)
        if "error" in reply:
            raise Problem(f"{self.label}: {command}: {reply['error']}")
        return reply["answer"]

    def _last_words(self) -> str:
        code = self.process.wait()
        self.complaints.seek(0)
        lines = self.complaints.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else f"exit code {code}"

    def stop(self) -> None:
        """End the process, even in the middle of a command."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.complaints):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()

    def restart(self) -> None:
        """A fresh process in place of this one."""
        self.stop()
        self.start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
