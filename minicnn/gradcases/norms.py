"""Cases for batch norm, local response normalisation, dropout, and squeeze-and-excitation."""

from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn import random
from minicnn.gradcases.case import Case, case, normal, uniform

TRAINING = ("batch_norm.training", "batch_norm.training_backward")
INFERENCE = ("batch_norm.inference", "batch_norm.inference_backward")
RESPONSE = ("local_response_norm.forward", "local_response_norm.backward")
DROPOUT = ("dropout.forward", "dropout.backward")


def trained(x: Any, w: Any = None, b: Any = None, **settings: Any) -> Any:
    """Batch norm in training."""
    return F.batch_norm(x, None, None, w, b, training=True, **settings)


def with_statistics(x: Any, w: Any, b: Any) -> Any:
    """Batch norm in training, with running statistics that move and must have no part in the gradient."""
    C = x.shape[1]
    return F.batch_norm(x, [0.0] * C, [1.0] * C, w, b, training=True)


def applied(x: Any, w: Any = None, b: Any = None, **settings: Any) -> Any:
    """Batch norm in inference, with fixed statistics."""
    C = x.shape[1]
    return F.batch_norm(x, np.linspace(-1, 1, C).tolist(), np.linspace(0.5, 2, C).tolist(), w, b, **settings)


def summed(x: Any, w: Any, b: Any) -> Any:
    """The sum of a batch norm's outputs, which does not depend on x."""
    return F.sum(trained(x, w, b))


def channels_last(x: Any, w: Any, b: Any) -> Any:
    """Batch norm of an array whose memory is not in the usual order."""
    return F.permute(trained(F.permute(x, 0, 3, 1, 2), w, b), 0, 2, 3, 1)


IN_TRAINING: list[Any] = [
    ("images", trained, normal(3, 4, 3, 2), normal(4), normal(4)),
    ("vectors", trained, normal(6, 4), normal(4), normal(4)),
    ("sequences", trained, normal(3, 2, 4), normal(2), normal(2)),
    ("without scale and shift", trained, normal(3, 2, 3, 3)),
    ("one image, one channel", trained, normal(1, 1, 3, 3), normal(1), normal(1)),
    ("a large ε", lambda *inputs: trained(*inputs, eps=0.5), normal(4, 3), normal(3), normal(3)),
    ("a mean far from 0", trained, uniform(9, 12, 3, 2, 3, 3), normal(2), normal(2)),
    ("with running statistics", with_statistics, normal(3, 2, 3, 3), normal(2), normal(2)),
    ("memory in another order", channels_last, normal(3, 3, 2, 4), normal(4), normal(4)),
    ("summed up: a gradient of 0", summed, normal(3, 2, 3, 3), normal(2), normal(2)),
]

IN_INFERENCE: list[Any] = [
    ("images", normal(3, 4, 3, 2), normal(4), normal(4)),
    ("vectors", normal(6, 4), normal(4), normal(4)),
    ("without scale and shift", normal(3, 2, 3, 3)),
]

BATCH_NORM = [
    case("batch_norm", f"training, {description}", fn, *inputs, parts=TRAINING)
    for description, fn, *inputs in IN_TRAINING
]
BATCH_NORM += [
    case("batch_norm", f"inference, {description}", applied, *inputs, parts=INFERENCE)
    for description, *inputs in IN_INFERENCE
]


def followed(training: bool, activation: str | None) -> Any:
    """Batch norm, a shortcut's addition and an activation, by the kernels that do all at once."""
    batch_norm = trained if training else applied
    return lambda x, w, b, *s: batch_norm(x, w, b, shortcut=s[0] if s else None, activation=activation)


IMAGES = normal(3, 4, 3, 2)
FOLLOWED: list[Any] = [
    ("and ReLU", "relu", IMAGES, normal(4), normal(4)),
    ("and ReLU6", "relu6", IMAGES, uniform(3, 6, 4), uniform(-1, 6, 4)),
    ("and a shortcut", None, IMAGES, normal(4), normal(4), IMAGES),
    ("a shortcut and ReLU", "relu", IMAGES, normal(4), normal(4), IMAGES),
    ("vectors, a shortcut and ReLU", "relu", normal(6, 4), normal(4), normal(4), normal(6, 4)),
]

BATCH_NORM += [
    case(
        "batch_norm",
        f"{mode}, {description}",
        followed(mode == "training", activation),
        *inputs,
        parts=tuple(f"{part}_clipped" for part in (TRAINING if mode == "training" else INFERENCE[:1])),
    )
    for mode in ("training", "inference")
    for description, activation, *inputs in FOLLOWED
]


VECTORS = normal(6, 4), normal(4), normal(4)
SILU = tuple(f"{part}_silu" for part in TRAINING)
BATCH_NORM += [
    case(
        "batch_norm", "training, and SiLU", followed(True, "silu"), IMAGES, normal(4), normal(4), parts=SILU
    ),
    case("batch_norm", "training, vectors and SiLU", followed(True, "silu"), *VECTORS, parts=SILU),
    case("batch_norm", "inference, vectors and SiLU", followed(False, "silu"), *VECTORS, parts=INFERENCE),
]


def response(description: str, shape: tuple, *settings: Any) -> Case:
    """Local response normalisation."""
    fn = lambda x: F.local_response_norm(x, *settings)  # noqa: E731  (a case holds a function)
    return case("local_response_norm", description, fn, normal(*shape), parts=RESPONSE)


RESPONSES = [
    response("AlexNet's setting", (2, 7, 2, 2), 5, 1e-4, 0.75, 2.0),
    response("a strong α", (2, 7, 2, 2), 5, 1.0, 0.75, 2.0),
    response("an even window", (2, 6, 2, 2), 4, 2.0, 0.75, 1.0),
    response("a window of two", (1, 4, 2, 3), 2, 2.0, 0.5, 1.0),
    response("a window of one channel", (1, 3, 2, 2), 1, 1.0, 0.75, 1.0),
    response("a window wider than the channels", (1, 3, 2, 2), 8, 2.0, 0.75, 1.0),
    response("β above 1, sequences", (2, 5, 3), 3, 1.0, 1.5, 1.0),
]


def seeded(operation: Any, p: float) -> Any:
    """Dropout that draws one mask at every call."""
    return lambda x: operation(x, p, generator=random.Generator(7))


def silenced(mode: str) -> Any:
    """Stochastic depth that draws one mask at every call."""
    return lambda x: F.stochastic_depth(x, 0.4, mode, generator=random.Generator(8))


def excited_by_silu(x: Any, w1: Any, b1: Any, w2: Any, b2: Any) -> Any:
    """Squeeze-and-excitation as in EfficientNet."""
    return F.squeeze_excitation(x, w1, b1, w2, b2, "silu")


DROPOUTS = [
    case("dropout", "p = 0.4", seeded(F.dropout, 0.4), normal(4, 6), parts=DROPOUT),
    case("dropout", "p = 0.9", seeded(F.dropout, 0.9), normal(4, 6), parts=DROPOUT),
    case("dropout", "p = 1", seeded(F.dropout, 1.0), normal(4, 6), parts=DROPOUT),
    case("dropout", "outside training", lambda x: F.dropout(x, 0.4, training=False), normal(4, 6), parts=()),
    case("dropout2d", "p = 0.4", seeded(F.dropout2d, 0.4), normal(3, 4, 2, 2), parts=DROPOUT),
    case("stochastic_depth", "each image", silenced("row"), normal(5, 2, 2, 3), parts=DROPOUT),
    case("stochastic_depth", "the whole batch", silenced("batch"), normal(3, 4), parts=DROPOUT),
]

DENSE = normal(2, 4), normal(2), normal(4, 2), normal(4)
EXCITATIONS = [
    case("squeeze_excitation", "ReLU", F.squeeze_excitation, normal(3, 4, 2, 3), *DENSE),
    case("squeeze_excitation", "SiLU", excited_by_silu, normal(2, 4, 3, 3), *DENSE),
    case("squeeze_excitation", "one pixel", excited_by_silu, normal(2, 4, 1, 1), *DENSE),
]

TABLE = [*BATCH_NORM, *RESPONSES, *DROPOUTS, *EXCITATIONS]
