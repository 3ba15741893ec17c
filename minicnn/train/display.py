"""What a training shows while it runs: a bar that moves on a terminal, a line for each epoch elsewhere."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from minicnn.train.history import Epoch
from minicnn.train.trainer import Callback, Trainer

if TYPE_CHECKING:
    from rich.console import Console


class Display(Callback):
    """Prints one line for each epoch, and on a terminal shows below it how far the next one is.

    A context manager: the bar is there inside the block.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._epochs = self._steps = 0
        self._bar = None
        if console.is_terminal:
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None, complete_style="blue", finished_style="blue"),
                TextColumn("{task.fields[figures]}"),
                console=console,
                transient=True,
                expand=True,
            )

    def __enter__(self) -> Display:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._bar.stop()

    def on_start(self, trainer: Trainer, epochs: int, steps: int) -> None:
        self._epochs, self._steps = epochs, steps
        self._pace = _Pace(trainer, self._steps)
        if self._bar and trainer.epoch < epochs:
            self._task = self._bar.add_task("", total=steps, figures="", visible=False)
            self._update(trainer)
            self._bar.update(self._task, visible=True, refresh=True)

    def on_step(self, trainer: Trainer) -> None:
        self._pace.step(trainer)
        if self._bar:
            self._update(trainer)

    def on_epoch(self, trainer: Trainer) -> None:
        epoch = trainer.history[-1]
        best = "  [green]best[/green]" if trainer.best is epoch else ""
        if self._bar and trainer.epoch == self._epochs:
            self._bar.remove_task(self._task)
        elif self._bar:
            self._update(trainer)
            self._bar.refresh()
        self.console.print(line(epoch, self._epochs) + best, highlight=False, soft_wrap=True)

    def _update(self, trainer: Trainer) -> None:
        assert self._bar is not None
        s = trainer.sums
        figures = f"loss {s.loss / s.images:.4f} {percent(s.correct / s.images):>9}  " if s.images else ""
        figures += self._pace.text(trainer, self._epochs)
        self._bar.update(
            self._task,
            description=f"epoch {trainer.epoch + 1}/{self._epochs}  batch {s.steps}/{self._steps}",
            completed=s.steps,
            figures=figures,
        )


class _Pace:
    """Images per second, and how long the rest will take, from the steps since this process began."""

    def __init__(self, trainer: Trainer, steps: int) -> None:
        self._per_epoch = steps
        self._began = time.perf_counter()
        self._seconds = 0.0
        self._steps = self._images = 0
        self._before = trainer.sums

    def step(self, trainer: Trainer) -> None:
        s = trainer.sums
        before = self._before if self._before.steps < s.steps else type(s)()
        self._seconds += s.seconds - before.seconds
        self._images += s.images - before.images
        self._steps += 1
        self._before = s

    def text(self, trainer: Trainer, epochs: int) -> str:
        if not self._steps:
            return ""
        left = (epochs - trainer.epoch) * self._per_epoch - trainer.sums.steps
        seconds = round((time.perf_counter() - self._began) / self._steps * left)  # validation included
        minutes, seconds = divmod(seconds, 60)
        return f"{self._images / self._seconds:,.0f} images/s  {minutes}:{seconds:02} left"


def line(epoch: Epoch, epochs: int) -> str:
    """An epoch in words and figures, aligned with those before.

    >>> print(line(Epoch(3, 0.5, 0.85, 0.625, 0.8125, 0.05, 1.25), 12))
    epoch  3/12  loss 0.5000   85.00 %  validation 0.6250   81.25 %  lr 0.05    1.2 s
    """
    text = f"epoch {epoch.number:{len(str(epochs))}}/{epochs}"
    text += f"  loss {epoch.loss:.4f} {percent(epoch.accuracy):>9}"
    if epoch.validation_loss is not None and epoch.validation_accuracy is not None:
        text += f"  validation {epoch.validation_loss:.4f} {percent(epoch.validation_accuracy):>9}"
    return text + f"  lr {epoch.lr:<7.3g} {epoch.seconds:.1f} s"


def percent(share: float) -> str:
    """A share in per cent.

    >>> percent(0.98519)
    '98.52 %'
    """
    return f"{100 * share:.2f} %"
