"""Modules that hold modules: lists, and the two ways in which branches meet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from minicnn import functional as F
from minicnn.nn.module import Module


class Row(Module):
    """Modules in a row, under the numbers of their places unless they have names."""

    def append(self, module: Module) -> Self:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())


class ModuleList(Row):
    """A list of modules whose parameters are found; it computes nothing itself."""

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        super().__init__()
        for module in modules:
            self.append(module)

    def __getitem__(self, index: int) -> Module:
        return list(self._modules.values())[index]


class ModuleDict(Module):
    """A dict of modules whose parameters are found; it computes nothing itself."""

    def __init__(self, modules: Mapping[str, Module] | None = None) -> None:
        super().__init__()
        for name, module in (modules or {}).items():
            self.add_module(name, module)

    def __setitem__(self, name: str, module: Module) -> None:
        if name in self._modules:
            setattr(self, name, module)
        else:
            self.add_module(name, module)

    def __getitem__(self, name: str) -> Module:
        return self._modules[name]

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[str]:
        return iter(self._modules)

    def __contains__(self, name: str) -> bool:
        return name in self._modules

    def items(self) -> Any:
        """Names and modules."""
        return self._modules.items()

    def values(self) -> Any:
        """The modules."""
        return self._modules.values()


class Concat(Module):
    """Branches that see the same input; their outputs one after another along the channels.

        y = [branch_1(x), branch_2(x), …]

    Source: the Inception module, Szegedy et al. 2014, "Going deeper with convolutions", figure 2.

    >>> import minicnn as mc
    >>> from minicnn import nn
    >>> module = nn.Concat(nn.Conv2d(3, 8, 1), nn.Conv2d(3, 16, 3, padding=1))
    >>> module(mc.zeros(1, 3, 8, 8)).shape
    (1, 24, 8, 8)
    """

    def __init__(self, *branches: Module, dim: int = 1) -> None:
        super().__init__()
        self.dim = dim
        for i, branch in enumerate(branches):
            self.add_module(str(i), branch)

    def forward(self, x: Any) -> Any:
        return F.cat([branch(x) for branch in self.children()], self.dim)


class Residual(Module):
    """A body and a shortcut around it: y = body(x) + shortcut(x), where no shortcut means x itself.

    Source: He et al. 2015, "Deep residual learning for image recognition", equations 1 and 2.
    """

    def __init__(self, body: Module, shortcut: Module | None = None) -> None:
        super().__init__()
        self.body = body
        self.shortcut = Identity() if shortcut is None else shortcut

    def forward(self, x: Any) -> Any:
        return self.body(x) + self.shortcut(x)


class Identity(Module):
    """y = x."""

    def forward(self, x: Any) -> Any:
        return x
