"""Exercises that check themselves: write a forward or a backward, and be told what is wrong with it.

    >>> from minicnn import exercises
    >>> def relu_backward(gy, x):
    ...     return gy * (gy > 0)
    >>> print(exercises.check("relu_backward", relu_backward))
    relu_backward: gx is wrong in 3 of 3 cases
      It is what you get when the gate looks at the sign of gy, not of x.
      First difference, case "a row of numbers": at [1] yours is 0, finite differences say -1.25.
      Wrong cases: a row of numbers; images; exactly zero

An exercise is a table of cases, a forward to differentiate, and one implementation with *slips* in it:
known mistakes, each of which can be switched on. What a student's function returns is compared with finite
differences of the forward; where it differs, with the implementation under each slip and each pair of
slips.

    checking     an exercise, its cases, and the comparison
    dense, convolution, pooling, normalisation      the exercises, by what they are about
    start/       the files that a student begins with
"""

from minicnn.exercises.checking import Case, Exercise, Verdict
from minicnn.exercises.convolution import CONV2D_BACKWARD, CONV2D_FORWARD
from minicnn.exercises.dense import CROSS_ENTROPY_BACKWARD, DROPOUT_BACKWARD, LINEAR_BACKWARD, RELU_BACKWARD
from minicnn.exercises.files import run_file, start_text
from minicnn.exercises.normalisation import BATCH_NORM_BACKWARD
from minicnn.exercises.pooling import AVG_POOL2D_BACKWARD, MAX_POOL2D_BACKWARD

EXERCISES = {
    exercise.name: exercise
    for exercise in (
        RELU_BACKWARD,
        LINEAR_BACKWARD,
        CROSS_ENTROPY_BACKWARD,
        CONV2D_FORWARD,
        CONV2D_BACKWARD,
        MAX_POOL2D_BACKWARD,
        AVG_POOL2D_BACKWARD,
        DROPOUT_BACKWARD,
        BATCH_NORM_BACKWARD,
    )
}
"""From the easiest on."""


def check(name, function) -> Verdict:
    """Try a function on all cases of an exercise; see :class:`Verdict` for what comes back.

    Raises ValueError for a name that is no exercise's, and TypeError for something that cannot be called.

    >>> bool(check("relu_backward", lambda gy, x: gy * (x > 0)))
    True
    """
    if name not in EXERCISES:
        raise ValueError(f"check: there is no exercise {name!r} (known: {', '.join(EXERCISES)})")
    if not callable(function):
        raise TypeError(f"check: function must be callable, but is {type(function).__name__}")
    return EXERCISES[name].check(function)


__all__ = ["EXERCISES", "Case", "Exercise", "Verdict", "check", "run_file", "start_text"]
