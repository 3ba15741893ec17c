"""A student's file: where it begins, and how it is run."""

from __future__ import annotations

import importlib.util
import traceback
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from minicnn.exercises.checking import Verdict

if TYPE_CHECKING:
    from minicnn.exercises.checking import Exercise


def start_text(name: str) -> str:
    """The file that a student begins with: the equation, what is given, and the function to write.

    >>> print(start_text("relu_backward").splitlines()[0])
    \"\"\"Write relu_backward: the gradient of max(x, 0), a gate.
    """
    return (files("minicnn.exercises") / "start" / f"{name}.py").read_text(encoding="utf-8")


def run_file(exercise: Exercise, path: Path) -> Verdict:
    """Run a student's file and try the exercise's function from it.

    What goes wrong in the file is a verdict too, with the line where it happened: a student reads that line,
    not a traceback through the checker. (The file is the student's own program, and does what it says.)

    Raises OSError for a file that cannot be read.
    """
    source = path.read_bytes()
    spec = importlib.util.spec_from_loader("exercise", loader=None)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    module.__file__ = str(path)
    try:
        program = compile(source, str(path), "exec")
    except (SyntaxError, ValueError) as error:  # ValueError: null bytes, in older Pythons
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        words = error.msg if isinstance(error, SyntaxError) else error
        return Verdict(exercise.name, (f"{path} is no Python: {words}{line}",))
    try:
        exec(program, vars(module))
    except (Exception, SystemExit) as error:
        return _broken(exercise, path, error)
    function = getattr(module, exercise.name, None)
    if not callable(function):
        return Verdict(exercise.name, (f"{path} defines no function of that name",))
    try:
        return exercise.check(function)
    except NotImplementedError as error:
        return Verdict(exercise.name, (f"still to be written{_line(path, error)}",))
    except KeyboardInterrupt as error:  # in a loop without end, the student's only way out
        if not _line(path, error):
            raise
        return Verdict(exercise.name, (f"stopped{_line(path, error)}",))
    except (Exception, SystemExit) as error:
        if not _line(path, error):  # a call that does not fit the function has no line in the file
            return Verdict(exercise.name, (f"cannot be called: {error}",))
        return _broken(exercise, path, error)


def _broken(exercise: Exercise, path: Path, error: BaseException) -> Verdict:
    words = "the program is ended" if isinstance(error, SystemExit) else str(error)
    return Verdict(exercise.name, (f"{type(error).__name__}{': ' * bool(words)}{words}{_line(path, error)}",))


def _line(path: Path, error: BaseException) -> str:
    """The last line of the student's own file on the way to the error."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return f"\n  at line {frames[-1].lineno}: {frames[-1].line}" if frames else ""
