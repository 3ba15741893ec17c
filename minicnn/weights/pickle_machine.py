"""Reading a pickle without executing it.

A pickle is a programme for a small machine with a stack and a memo: most of its opcodes push a number or a
text, or gather what is on the stack in a list. Three are dangerous. GLOBAL names any function of any module,
REDUCE calls it, BUILD fills an object by methods of its own; in Python's own reader, loading a file is
therefore running it. This machine knows those opcodes that files of weights consist of. A name means
something to it only if it is in the table that its caller gives, and a call is a call of what the table has
there: nothing is imported, and no attribute is ever looked up.

Also a machine that runs nothing can be kept busy, so bytes and steps are bounded, and keys of dictionaries
are scalars (the hash of a tuple nested a million deep would end the process).

Source: Python's ``pickletools``, whose comments are the definition of the format; protocols 2 to 5.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from minicnn.weights.errors import Unreadable, shown

LONGEST = 2**24
"""Bytes: the pickle of a ResNet-152 with its optimiser has half a million, as the numbers lie elsewhere."""

MOST_STEPS = 10**6

PROTOCOLS = range(2, 6)


class Function(NamedTuple):
    """What a name stands for that may be called."""

    name: str
    call: Callable[..., Any]


class Machine:
    """One run over ``data`` from ``position`` on.

    ``names`` says what the names stand for, a :class:`Function` or a value; ``load`` turns a persistent id,
    with which a pickle refers to things outside itself, into a value.

    >>> Machine(b"\\x80\\x02}X\\x01\\x00\\x00\\x00aK\\x05s.", {}).run()
    {'a': 5}
    >>> Machine(b"\\x80\\x02cos\\nsystem\\nX\\x02\\x00\\x00\\x00ls\\x85R.", {}).run()
    Traceback (most recent call last):
    minicnn.weights.errors.Unreadable: it asks for os.system, which has no place in a file of weights: refused
    """

    kind = "a file of weights"

    def __init__(
        self,
        data: bytes,
        names: Mapping[str, Any],
        load: Callable[[Any], Any] | None = None,
        position: int = 0,
    ) -> None:
        self.data, self.names, self.load, self.position = data, names, load, position
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}
        self.steps = MOST_STEPS

    def run(self) -> Any:
        """The value that the pickle describes; ``position`` is then behind its end.

        Raises Unreadable for a pickle that is damaged, too long, or asks for anything but values.
        """
        while (code := self.take(1)) != b".":
            self.spend(1)
            step = _STEPS.get(code)
            if step is None:
                raise Unreadable(f"damaged, or a pickle of another kind (opcode 0x{code.hex()})")
            step(self)
        return self.pop()

    # What the opcodes do with the data and the stack

    def spend(self, steps: int) -> None:
        """Count steps, up to the bound."""
        self.steps -= steps
        if self.steps < 0:
            raise Unreadable(f"its pickle takes more than {MOST_STEPS:,} steps")

    def take(self, count: int) -> bytes:
        """The next bytes."""
        if not 0 <= count <= len(self.data) - self.position:
            raise Unreadable("damaged, its pickle breaks off")
        self.position += count
        return self.data[self.position - count : self.position]

    def number(self, form: str) -> Any:
        """The next number, as ``struct`` writes its form."""
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def line(self) -> str:
        """The text up to the end of the line."""
        end = self.data.find(b"\n", self.position)
        text = self.take(end - self.position)
        self.position += 1
        return decoded(text)

    def pop(self) -> Any:
        """The last value; not one below the last mark."""
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Unreadable("damaged, its pickle takes from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        """All values above the last mark, which goes with them."""
        if not self.marks:
            raise Unreadable("damaged, its pickle has no mark where one is needed")
        mark = self.marks.pop()
        values = self.stack[mark:]
        del self.stack[mark:]
        return values

    def top(self) -> Any:
        """The last value, which stays."""
        self.stack.append(self.pop())
        return self.stack[-1]

    # The opcodes that do more than push a value

    def extend(self, values: list[Any]) -> None:
        """Put values at the end of the list that is on the stack."""
        into = self.top()
        if type(into) is not list:
            raise Unreadable("damaged, its pickle appends to what is no list")
        into.extend(values)

    def fill(self, pairs: list[Any]) -> None:
        """Put keys and values, in turn, into the dictionary that is on the stack."""
        into = self.top()
        if type(into) is not dict or len(pairs) % 2:
            raise Unreadable("damaged, its pickle has items for what is no dictionary")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            into[checked_key(key)] = value

    def remember(self, key: int) -> None:
        """Keep the last value in the memo."""
        self.memo[key] = self.top()

    def recall(self, key: int) -> None:
        """Push a value from the memo."""
        if key not in self.memo:
            raise Unreadable("damaged, its pickle recalls what it has not remembered")
        self.stack.append(self.memo[key])

    def find(self, module: Any, name: Any) -> None:
        """Push what a name stands for."""
        if not isinstance(module, str) or not isinstance(name, str):
            raise Unreadable("damaged, its pickle has a name that is no text")
        full = f"{module}.{name}"
        if full not in self.names:
            raise Unreadable(f"it asks for {shown(full)}, which has no place in {self.kind}: refused")
        self.stack.append(self.names[full])

    def call(self) -> None:
        """Call a function of the table with the arguments on the stack; each part of them is a step."""
        arguments, function = self.pop(), self.pop()
        if not isinstance(function, Function) or type(arguments) is not tuple:
            raise Unreadable("damaged, its pickle calls what is no function")
        self.spend(sum(len(a) for a in arguments if isinstance(a, list | tuple | dict)))
        try:
            self.stack.append(function.call(*arguments))
        except TypeError:
            raise Unreadable(f"damaged, it gives {function.name} arguments that do not fit") from None

    def build(self) -> None:
        """Leave out what PyTorch hangs on a dictionary (layers' versions) or on a parameter (hooks)."""
        self.pop()
        self.top()

    def old_text(self, text: bytes) -> Any:
        """What a text of Python 2 means, which may be bytes."""
        return decoded(text)

    def refer(self) -> None:
        """Push what a persistent id refers to."""
        if self.load is None:
            raise Unreadable("damaged, its pickle refers to something outside")
        self.stack.append(self.load(self.pop()))


def checked_key(key: Any) -> Any:
    """A key whose hash neither recurses nor is made to be like a hundred thousand others, or Unreadable.

    (The hash of a large whole number is its remainder by 2⁶¹ − 1.)
    """
    if not isinstance(key, str | bytes | int | float | None) or (isinstance(key, int) and abs(key) >= 2**60):
        raise Unreadable(f"it has a dictionary with a {type(key).__name__} for a key: refused")
    return key


def decoded(text: bytes) -> str:
    """UTF-8, or Unreadable."""
    try:
        return text.decode("utf-8")
    except UnicodeDecodeError:
        raise Unreadable("damaged, its pickle has a text that is no text") from None


def _long(machine: Machine, form: str) -> int:
    count = machine.number(form)
    if count > 16:
        raise Unreadable(f"its pickle has a number of {count} bytes")
    return int.from_bytes(machine.take(count), "little", signed=True)


# The opcodes, by what they put on the stack. First: values, from the bytes that follow.
_VALUES: dict[bytes, Callable[[Machine], Any]] = {
    b"N": lambda m: None,  # NONE
    b"\x88": lambda m: True,  # NEWTRUE
    b"\x89": lambda m: False,  # NEWFALSE
    b"K": lambda m: m.number("<B"),  # BININT1
    b"M": lambda m: m.number("<H"),  # BININT2
    b"J": lambda m: m.number("<i"),  # BININT
    b"\x8a": lambda m: _long(m, "<B"),  # LONG1
    b"\x8b": lambda m: _long(m, "<i"),  # LONG4
    b"G": lambda m: m.number(">d"),  # BINFLOAT
    b"X": lambda m: decoded(m.take(m.number("<I"))),  # BINUNICODE
    b"\x8c": lambda m: decoded(m.take(m.number("<B"))),  # SHORT_BINUNICODE
    b"\x8d": lambda m: decoded(m.take(m.number("<Q"))),  # BINUNICODE8
    b"U": lambda m: m.old_text(m.take(m.number("<B"))),  # SHORT_BINSTRING, a text of Python 2
    b"T": lambda m: m.old_text(m.take(m.number("<i"))),  # BINSTRING
    b"C": lambda m: m.take(m.number("<B")),  # SHORT_BINBYTES
    b"B": lambda m: m.take(m.number("<I")),  # BINBYTES
    b"\x8e": lambda m: m.take(m.number("<Q")),  # BINBYTES8
    b")": lambda m: (),  # EMPTY_TUPLE
    b"]": lambda m: [],  # EMPTY_LIST
    b"}": lambda m: {},  # EMPTY_DICT
    # Then: what gathers values into others.
    b"t": lambda m: tuple(m.pop_to_mark()),  # TUPLE
    b"\x85": lambda m: (m.pop(),),  # TUPLE1
    b"\x86": lambda m: (m.pop(), m.pop())[::-1],  # TUPLE2
    b"\x87": lambda m: (m.pop(), m.pop(), m.pop())[::-1],  # TUPLE3
}


def _pushing(value: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda machine: machine.stack.append(value(machine))


def _check_protocol(machine: Machine) -> None:
    if (protocol := machine.number("<B")) not in PROTOCOLS:
        raise Unreadable(f"a pickle of protocol {protocol}, but this minicnn reads 2 to 5")


_STEPS: dict[bytes, Callable[[Machine], Any]] = {
    **{code: _pushing(value) for code, value in _VALUES.items()},
    # The rest changes values that are there, the marks and the memo.
    b"\x80": _check_protocol,  # PROTO
    b"\x95": lambda m: m.take(8),  # FRAME, the length of what follows
    b"(": lambda m: m.marks.append(len(m.stack)),  # MARK
    b"a": lambda m: m.extend([m.pop()]),  # APPEND
    b"e": lambda m: m.extend(m.pop_to_mark()),  # APPENDS
    b"s": lambda m: m.fill([m.pop(), m.pop()][::-1]),  # SETITEM
    b"u": lambda m: m.fill(m.pop_to_mark()),  # SETITEMS
    b"q": lambda m: m.remember(m.number("<B")),  # BINPUT
    b"r": lambda m: m.remember(m.number("<I")),  # LONG_BINPUT
    b"\x94": lambda m: m.remember(len(m.memo)),  # MEMOIZE
    b"h": lambda m: m.recall(m.number("<B")),  # BINGET
    b"j": lambda m: m.recall(m.number("<I")),  # LONG_BINGET
    b"c": lambda m: m.find(m.line(), m.line()),  # GLOBAL
    b"\x93": lambda m: m.find(*[m.pop(), m.pop()][::-1]),  # STACK_GLOBAL
    b"R": Machine.call,  # REDUCE
    b"\x81": Machine.call,  # NEWOBJ, a call of a class
    b"b": lambda m: m.build(),  # BUILD
    b"Q": Machine.refer,  # BINPERSID
}
