"""Stopping between two steps rather than in the middle of one."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any

from minicnn.train.callbacks import Callback
from minicnn.train.trainer import Trainer

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(Exception):
    """Someone asked for an end, with Ctrl-C or SIGTERM; the trainer is between two steps."""


class Interruptible(Callback):
    """Turns Ctrl-C and SIGTERM within a block into :class:`Interrupted` at the next step's end.

    KeyboardInterrupt alone could come in the middle of an update, with half of the parameters new. A second
    signal does not wait: it raises KeyboardInterrupt at once. In other threads than the main one, where
    Python has no signals, it does nothing.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interruptible:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:  # as for a job in the background
                    self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before.clear()

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True

    def on_start(self, trainer: Trainer, epochs: int, steps: int) -> None:
        self._check()

    def on_step(self, trainer: Trainer) -> None:
        self._check()

    def on_validation_batch(self, trainer: Trainer) -> None:
        self._check()

    def on_epoch(self, trainer: Trainer) -> None:
        self._check()

    def _check(self) -> None:
        if self._asked:
            raise Interrupted
