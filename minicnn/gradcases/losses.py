"""Cases for the losses, with every kind of target, weight and reduction."""

from typing import Any

from minicnn import functional as F
from minicnn.gradcases.case import Case, case, labels, normal, probabilities, uniform

LABELS = ("cross_entropy.forward", "cross_entropy.backward")
WEIGHT = [0.5, 2.0, 1.0, 3.0]  # of four classes


def with_settings(loss: Any, settings: dict[str, Any]) -> Any:
    """A loss of x and target."""
    return lambda x, target: loss(x, target, **settings)


def classes(description: str, x: tuple = (5, 4), target: Any = None, **settings: Any) -> Case:
    """Cross-entropy; the target is one label for each x[n] unless another is given."""
    target = labels(x[1], x[0], *x[2:]) if target is None else target
    fn = with_settings(F.cross_entropy, settings)
    return case("cross_entropy", description, fn, normal(*x), target, parts=LABELS)


def distributions(description: str, x: tuple = (5, 4), **settings: Any) -> Case:
    """Cross-entropy to probabilities, which has no kernels of its own."""
    fn = with_settings(F.cross_entropy, settings)
    return case("cross_entropy", description, fn, normal(*x), probabilities(*x), parts=())


IGNORED = [0, 3, -1, 2, -1]

CROSS_ENTROPY = [
    classes("labels"),
    classes("labels, summed", reduction="sum"),
    classes("labels, each by itself", reduction="none"),
    classes("label smoothing", label_smoothing=0.1),
    classes("class weights", weight=WEIGHT),
    classes("class weights, each by itself", weight=WEIGHT, reduction="none"),
    classes("ignored labels", target=IGNORED, ignore_index=-1),
    classes("ignored labels, each by itself", target=IGNORED, ignore_index=-1, reduction="none"),
    classes(
        "weights, smoothing and ignored labels",
        target=IGNORED,
        weight=WEIGHT,
        ignore_index=-1,
        label_smoothing=0.2,
    ),
    classes("a label for each pixel", (2, 4, 3, 2)),
    classes("pixels with weights and smoothing", (2, 4, 3, 2), weight=WEIGHT, label_smoothing=0.1),
    distributions("probabilities"),
    distributions("probabilities, each by itself", reduction="none"),
    distributions("probabilities, weights and smoothing", weight=WEIGHT, label_smoothing=0.2),
    distributions("probabilities of pixels", (2, 4, 3, 2)),
]


def picked(description: str, x: tuple = (5, 4), target: Any = None, **settings: Any) -> Case:
    """Negative log-likelihood; x need be no log-probabilities for its gradient to be right."""
    target = labels(x[1], x[0], *x[2:]) if target is None else target
    return case("nll_loss", description, with_settings(F.nll_loss, settings), normal(*x), target)


LIKELIHOOD = [
    picked("labels"),
    picked("labels, each by itself", reduction="none"),
    picked("weights and ignored labels", target=IGNORED, weight=WEIGHT, ignore_index=-1),
    picked("a label for each pixel, summed", (2, 4, 3, 2), reduction="sum"),
]


# x and target alike are checked: a target may be another network's output.
PAIRS = [
    case(loss.__name__, description, with_settings(loss, {"reduction": reduction}), x, target)
    for loss, x, target in [
        (F.binary_cross_entropy, uniform(0.1, 0.9, 3, 4), uniform(0.1, 0.9, 3, 4)),
        (F.binary_cross_entropy_with_logits, normal(3, 4), uniform(0.1, 0.9, 3, 4)),
        (F.mse_loss, normal(3, 4), normal(3, 4)),
    ]
    for description, reduction in [("mean", "mean"), ("sum", "sum"), ("each by itself", "none")]
]

TABLE = [*CROSS_ENTROPY, *LIKELIHOOD, *PAIRS]
