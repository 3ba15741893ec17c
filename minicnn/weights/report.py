"""What came of loading weights."""

from dataclasses import dataclass


@dataclass(frozen=True)
class LoadReport:
    """What :func:`minicnn.weights.load` did, array by array; names are the network's.

    ``source`` is the file's name, ``model`` the network's. ``matched`` were copied, of these ``cast`` from
    another dtype, given as (name, the file's, the network's). ``missing`` are not in the file and stayed
    as they were, ``unexpected`` are in the file and not in the network, and ``misshaped`` differ in shape, as
    (name, the file's, the network's): each only as far as that is harmless or was asked for. ``notes`` say
    what else was done, in sentences. ``str`` of it is a text of a few lines.
    """

    source: str
    model: str
    matched: tuple[str, ...]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    misshaped: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...] = ()
    cast: tuple[tuple[str, str, str], ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.source}: {counted(len(self.matched), 'array')} loaded into {self.model}"]
        kinds = {(old, new) for _, old, new in self.cast}
        for old, new in sorted(kinds):
            count = sum(entry[1:] == (old, new) for entry in self.cast)
            lines.append(f"  {counted(count, 'array')} converted from {old} to {new}")
        for name, theirs, ours in self.misshaped:
            lines.append(f"  {name} {ours} stays as it was: the file's is {theirs}")
        if self.missing:
            lines.append(f"  not in the file, as they were: {few(self.missing)}")
        if self.unexpected:
            lines.append(f"  left out, not in the network: {few(self.unexpected)}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def counted(number: int, what: str) -> str:
    """A number with its noun.

    >>> counted(1, "array"), counted(2, "array")
    ('1 array', '2 arrays')
    """
    return f"{number:,} {what}" + ("" if number == 1 else "s")


def few(items: tuple[str, ...] | list[str], most: int = 4) -> str:
    """The first of many, and how many more there are.

    >>> few(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    more = f" and {len(items) - most:,} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
