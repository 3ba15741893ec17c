"""The trainings of accuracy.py again in PyTorch: the same images in the same order, augmented alike.

What accuracy.py left under --runs says how. The weights are those that minicnn began with, and the rates are
its own, epoch by epoch, so that the two differ in rounding only. It takes as long again; what was interrupted
goes on after the last whole epoch. Networks with dropout are left out, which no two libraries draw alike.
"""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # so that this file can be run from anywhere

import numpy as np

from benchmarks.accuracy import about, check_options, command, keep, parse
from benchmarks.networks import NETWORKS
from benchmarks.options import chosen, is_installed
from benchmarks.problem import Problem, ended, write_whole
from benchmarks.results import Row, stamp
from minicnn.data import DataLoader, Split, batches
from minicnn.train.prepare import prepare
from minicnn.train.run import Run

NAMES = ("lenet5", "cifar_resnet20")
"""Those without dropout that have a twin in PyTorch."""


def main(arguments: list[str]) -> None:
    """Train what the arguments ask for, and keep how it went."""
    given = parse(__doc__, NAMES, arguments)
    if not is_installed("torch"):
        raise Problem("torch is not installed: pip install torch")
    for name in chosen(NAMES, given.only):
        print(f"== {name}", flush=True)
        rows = Twin(name, command(name, given.quick), given.runs / name, given.threads).trained()
        keep(rows, given)


class Twin:
    """A network in PyTorch on its way through the training that minicnn's has been through."""

    def __init__(self, name: str, words: list[str], folder: Path, threads: int) -> None:
        import torch

        torch.set_num_threads(threads)
        try:
            self.run: Run = prepare({}, repeat=folder, out=folder / "torch")  # which writes nothing
        except ValueError as error:
            raise Problem(f"{error} (accuracy.py --only {name} makes one)") from None
        check_options(name, words, vars(self.run.options), folder)
        ours = self.run.trainer
        self.about, self.kept = about(name, words, "PyTorch"), folder / "torch.pt"
        self.net = NETWORKS[name].twin()
        state = {key: torch.from_numpy(np.array(array)) for key, array in ours.model.state_dict().items()}
        self.net.load_state_dict(state, strict=False)  # it counts batches, too
        group = ours.optimizer.param_groups[0]
        self.optimizer = torch.optim.SGD(
            self.net.parameters(), group["lr"], group["momentum"], weight_decay=group["weight_decay"]
        )
        self.rows: list[Row] = []
        if self.kept.exists():
            state = torch.load(self.kept, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.rows = state["rows"]

    def trained(self) -> list[Row]:
        """A row for each epoch, with the test in the last."""
        ours, dataset = self.run.trainer, self.run.dataset
        loader = ours.loader(dataset.train)
        epochs = self.run.options.epochs
        for epoch in range(epochs):
            if epoch >= len(self.rows):
                for group in self.optimizer.param_groups:
                    group["lr"] = ours.optimizer.param_groups[0]["lr"]
                self.rows.append(self._epoch(loader, epoch))
                self._keep()
            if ours.scheduler is not None:
                ours.scheduler.step()
        test = {"test_accuracy": self._right(dataset.test), "images": len(dataset.test)}
        print(f"test accuracy {test['test_accuracy']:.2%}", flush=True)
        return [*self.rows[:-1], self.rows[-1] | test]

    def _epoch(self, loader: DataLoader, epoch: int) -> Row:
        import torch
        from torch.nn.functional import cross_entropy

        start, loss_sum, right, seen = time.perf_counter(), 0.0, 0, 0
        self.net.train()
        for images, labels in loader.epoch(epoch):
            y = torch.from_numpy(labels)
            self.optimizer.zero_grad()
            logits = self.net(torch.from_numpy(images))
            loss = cross_entropy(logits, y, label_smoothing=self.run.options.label_smoothing)
            loss.backward()
            self.optimizer.step()
            loss_sum += loss.item() * len(y)
            right += int((logits.argmax(1) == y).sum())
            seen += len(y)
        row = self.about | {"epoch": epoch + 1}
        row |= {"loss": loss_sum / seen, "accuracy": right / seen, "seconds": time.perf_counter() - start}
        print("epoch {epoch}  loss {loss:.4f}  {accuracy:.2%}  {seconds:.1f} s".format(**row), flush=True)
        return row | {"test_accuracy": None, "images": None} | stamp()

    def _right(self, split: Split) -> float:
        import torch

        self.net.eval()
        with torch.inference_mode():
            found = [self.net(torch.from_numpy(images)).argmax(1) for images, _ in batches(split, 250)]
        return float((torch.cat(found).numpy() == split.labels).mean())

    def _keep(self) -> None:
        import torch

        state = {"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "rows": self.rows}
        written = io.BytesIO()
        torch.save(state, written)
        write_whole(self.kept, written.getvalue())


if __name__ == "__main__":
    sys.exit(ended(main))
