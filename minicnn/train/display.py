"""What is shown of work under way: of a training a line for each epoch, on a terminal curves and bars."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from minicnn.train.callbacks import Callback
from minicnn.train.history import Epoch
from minicnn.train.trainer import Trainer

if TYPE_CHECKING:
    from rich.console import Console, Group

CURVE = 40
"""Characters that a curve is wide at most."""


@contextmanager
def counted(words: str, images: int, console: Console | None = None) -> Iterator[Callable[[int], None]]:
    """Yields what is to be told how many images are done, and shows it as a bar, which goes when all are.

    On a terminal only, and that of stderr unless another console is given.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = console or Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(words, total=images)
        yield lambda done: progress.update(task, completed=done)


class Display(Callback):
    """Prints one line for each epoch; on a terminal shows below it how far the next one is, and the curves.

    A context manager: bar and curves are there inside the block. At the end the curves are printed.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._epochs = self._steps = 0
        self._curves: list[str] = []
        self._bar = None
        if console.is_terminal:
            from rich.live import Live
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(bar_width=None, complete_style="blue", finished_style="blue"),
                TextColumn("{task.fields[figures]}"),
                expand=True,
            )
            self._live = Live(get_renderable=self._rendered, console=console, transient=True)

    def __enter__(self) -> Display:
        if self._bar:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar:
            self._live.stop()

    def _rendered(self) -> Group:
        from rich.console import Group
        from rich.text import Text

        assert self._bar is not None
        return Group(*map(Text, self._curves), self._bar.get_renderable())

    def on_start(self, trainer: Trainer, epochs: int, steps: int) -> None:
        self._epochs, self._steps = epochs, steps
        self._pace = _Pace(trainer, self._steps)
        if self._bar and trainer.epoch < epochs:
            self._task = self._bar.add_task("", total=steps, figures="", visible=False)
            self._update(trainer)
            self._bar.update(self._task, visible=True)
            self._live.refresh()

    def on_step(self, trainer: Trainer) -> None:
        self._pace.step(trainer)
        if self._bar:
            self._update(trainer)

    def on_epoch(self, trainer: Trainer) -> None:
        epoch = trainer.history[-1]
        best = "  [green]best[/green]" if trainer.best is epoch else ""
        self._curves = curves(trainer.history)
        if self._bar and (trainer.epoch == self._epochs or trainer.stopped):
            self._bar.remove_task(self._task)
        elif self._bar:
            self._update(trainer)
            self._live.refresh()
        self.console.print(line(epoch, self._epochs) + best, highlight=False, soft_wrap=True)

    def on_end(self, trainer: Trainer) -> None:
        if self._bar:
            self._live.stop()
            for text in curves(trainer.history):
                self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        if trainer.stopped:
            words = f"stopped after {trainer.epoch} of {self._epochs} epochs: {trainer.stopped}"
            self.console.print(words, highlight=False, markup=False, soft_wrap=True)

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


def curves(history: Sequence[Epoch]) -> list[str]:
    """Loss and accuracy as curves of text, with the first and the last figure; none for a single epoch.

    They are those of validation where there is one.

    >>> epochs = [Epoch(n, 1 / n, 1 - 1 / n, None, None, 0.1, 1.0) for n in range(1, 9)]
    >>> for text in curves(epochs):
    ...     print(text)
    loss        1.0000 █▄▃▂▂▁▁▁ 0.1250
    accuracy    0.00 % ▁▅▆▇▇███ 87.50 %
    """
    if len(history) < 2:
        return []
    validated = all(epoch.validation_loss is not None for epoch in history)
    title = "validation " if validated else ""
    losses = [(e.validation_loss if validated else e.loss) or 0.0 for e in history]
    shares = [(e.validation_accuracy if validated else e.accuracy) or 0.0 for e in history]
    rows = (("loss", [f"{x:.4f}" for x in losses], losses), ("accuracy", [*map(percent, shares)], shares))
    return [f"{title}{name:<8} {words[0]:>9} {sparkline(values)} {words[-1]}" for name, words, values in rows]


def sparkline(values: Sequence[float], width: int = CURVE) -> str:
    """Numbers as a row of bars from the lowest to the highest; of many, evenly spaced ones.

    >>> sparkline([0, 1, 2, 7]), sparkline([3, 3]), len(sparkline(range(1000)))
    ('▁▂▃█', '▁▁', 40)
    """
    count = min(len(values), width)
    chosen = [values[round(i * (len(values) - 1) / max(count - 1, 1))] for i in range(count)]
    low, high = min(chosen), max(chosen)
    return "".join("▁▂▃▄▅▆▇█"[round(7 * (v - low) / (high - low)) if high > low else 0] for v in chosen)


def percent(share: float) -> str:
    """A share in per cent.

    >>> percent(0.98519)
    '98.52 %'
    """
    return f"{100 * share:.2f} %"
