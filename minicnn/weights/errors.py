"""What goes wrong with a file of weights."""


class WeightsError(ValueError):
    """A file that cannot be read as weights, or weights that do not fit a network.

    The message is one line, and begins with the file's name.

    >>> issubclass(WeightsError, ValueError)
    True
    """


class Unreadable(Exception):
    """Why the readers of this package do not take a file; ``read`` puts the file's name before it."""


def shown(text: object, length: int = 80) -> str:
    r"""A piece of a file in a message: printable, on one line, and short.

    >>> shown("conv\n1" + "." * 100)
    'conv 1..........................................................................…'
    """
    cut = str(text)[: 2 * length]
    line = " ".join("".join(c if c.isprintable() else " " for c in cut).split())
    return line if len(line) <= length else line[:length] + "…"
