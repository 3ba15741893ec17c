"""The child process of one contender: commands come in as lines of JSON, answers go out the same way.

    {"command": "run", "given": {"work": "step", "repetitions": 3}}   ->   {"answer": 0.0123}
    a command that fails                                              ->   {"error": "ValueError: …"}

It ends when its input does, that is, with the process that started it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterable
from typing import Any, TextIO


def serve(contender: Any, requests: Iterable[str], replies: TextIO) -> None:
    """Obey until the requests end."""
    for line in requests:
        try:
            request = json.loads(line)
            if request["command"] not in contender.COMMANDS:
                raise ValueError(f"there is no command {request['command']!r}")
            reply = {"answer": getattr(contender, request["command"])(**request["given"])}
        except Exception as error:  # whatever it is, the other side must hear of it
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


def main(kind: str, backend: str, cpus: str) -> None:
    """Become the contender of this kind, on these processors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interruption means
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints must not pass for a reply
    if cpus and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [int(cpu) for cpu in cpus.split(",")])
    from benchmarks.contenders import load  # only now: threads inherit the processors allowed here

    serve(load(kind, backend), sys.stdin, replies)


if __name__ == "__main__":
    main(*sys.argv[1:])
