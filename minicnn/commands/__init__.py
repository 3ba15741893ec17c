"""The commands of ``minicnn``, one module each.

A command is a module with ``run(given)``, whose docstring describes it in ``--help`` and which returns the
exit code. Those that take options have ``add_options(parser)``, and where their help needs an end,
``epilog()``. What only one command needs is imported when that command runs.
"""

from minicnn.commands import (
    augment,
    compare,
    eval,
    exercise,
    explain,
    features,
    filters,
    gradcheck,
    lesson,
    look,
    models,
    predict,
    summary,
    train,
)

COMMANDS = {
    "train": train,
    "eval": eval,
    "compare": compare,
    "predict": predict,
    "features": features,
    "augment": augment,
    "models": models,
    "summary": summary,
    "gradcheck": gradcheck,
    "explain": explain,
    "look": look,
    "filters": filters,
    "lesson": lesson,
    "exercise": exercise,
}
"""In the order in which ``minicnn --help`` lists them."""
