"""What is remembered of the epochs: the finished ones, and the one that is under way."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Epoch:
    """What is kept of a finished epoch; ``number`` counts from 1, validation is None where there was none."""

    number: int
    loss: float
    accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    lr: float
    seconds: float

    def is_better_than(self, other: Epoch | None) -> bool:
        """Whether its validation accuracy is higher, or as high with a lower validation loss.

        >>> first, second = Epoch(1, 0.5, 0.9, 0.4, 0.8, 0.1, 1.0), Epoch(2, 0.2, 0.9, 0.3, 0.8, 0.1, 1.0)
        >>> second.is_better_than(first), first.is_better_than(None)
        (True, True)
        """
        if self.validation_accuracy is None or self.validation_loss is None:
            return False
        if other is None or other.validation_accuracy is None or other.validation_loss is None:
            return True
        if self.validation_accuracy != other.validation_accuracy:
            return self.validation_accuracy > other.validation_accuracy
        return self.validation_loss < other.validation_loss

    @staticmethod
    def read(entry: dict[str, Any]) -> Epoch:
        """An epoch from what ``asdict`` made of it; raises TypeError or ValueError for anything else."""
        epoch = Epoch(**entry)
        optional = {"validation_loss", "validation_accuracy"}
        for name, value in asdict(epoch).items():
            expected = int if name == "number" else float
            if type(value) is not expected and not (value is None and name in optional):
                raise ValueError(f"history has {name}={value!r}, but {expected.__name__} is expected")
        return epoch


@dataclass(frozen=True)
class Sums:
    """The epoch under way: steps and images so far, the sum of the images' losses, how many were right."""

    steps: int = 0
    images: int = 0
    loss: float = 0.0
    correct: int = 0
    seconds: float = 0.0

    @staticmethod
    def read(entry: dict[str, Any]) -> Sums:
        """Sums from what ``asdict`` made of them; raises TypeError or ValueError for anything else."""
        sums = Sums(**entry)
        if len(entry) < len(asdict(sums)):
            raise ValueError(f"sums have only {', '.join(entry) or 'nothing'}")
        for name, value in asdict(sums).items():
            if type(value) is not type(getattr(Sums, name)) or value < 0:
                raise ValueError(f"sums have {name}={value!r}")
        return sums
