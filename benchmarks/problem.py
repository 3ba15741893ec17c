"""What goes wrong is one line on stderr, not a traceback; and a file is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path


class Problem(Exception):
    """Something a person can put right; its text is one line that says what it is."""


def ended(main: Callable[[list[str]], None], arguments: Sequence[str] | None = None) -> int:
    """Run a script's main function; the exit code: 0, 1 for a problem, 130 when interrupted."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    if arguments is None:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that workers are stopped then, too
    try:
        main(sys.argv[1:] if arguments is None else list(arguments))
    except (Problem, OSError) as problem:
        print(f"benchmarks: {' '.join(str(problem).split())}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("benchmarks: interrupted; what was measured to the end is kept", file=sys.stderr)
        return 130
    return 0


def write_whole(path: Path, content: str | bytes) -> None:
    """Write to a file beside it, and put that in its place when it is complete."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        os.chmod(name, 0o644)  # mkstemp's files are for their owner only
        os.replace(name, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
