"""Cases for the layers, through their modules, and for small whole networks."""

from typing import Any

from minicnn import functional as F
from minicnn import models, nn
from minicnn.gradcases.case import distinct, labels, layer, normal, probabilities, uniform

IMAGES = normal(3, 2, 5, 6)
ROWS = normal(4, 3)

WEIGHTED = [
    layer("nn.Linear", "with bias", lambda: nn.Linear(3, 5), ROWS),
    layer("nn.Linear", "without bias", lambda: nn.Linear(3, 5, bias=False), ROWS),
    layer("nn.Conv2d", "3×3", lambda: nn.Conv2d(2, 3, 3), IMAGES),
    layer(
        "nn.Conv2d",
        '"same", stride 2, groups, without bias',
        lambda: nn.Conv2d(2, 4, 3, stride=2, padding="same", groups=2, bias=False),
        IMAGES,
    ),
    layer("nn.SeparableConv2d", "with bias", lambda: nn.SeparableConv2d(2, 3, 3, 1, 1, bias=True), IMAGES),
    layer("nn.SqueezeExcitation", "SiLU", lambda: nn.SqueezeExcitation(4, 2, nn.SiLU), normal(3, 4, 2, 2)),
    layer("nn.SqueezeExcitation", "tanh", lambda: nn.SqueezeExcitation(4, 2, nn.Tanh), normal(3, 4, 2, 2)),
    layer("nn.BatchNorm1d", "training", lambda: nn.BatchNorm1d(3), ROWS),
    layer("nn.BatchNorm1d", "evaluation", lambda: nn.BatchNorm1d(3), ROWS, training=False),
    layer("nn.BatchNorm2d", "training", lambda: nn.BatchNorm2d(2), IMAGES),
    layer("nn.BatchNorm2d", "evaluation", lambda: nn.BatchNorm2d(2), IMAGES, training=False),
    layer("nn.BatchNorm2d", "training, plain mean", lambda: nn.BatchNorm2d(2, momentum=None), IMAGES),
    layer("nn.BatchNorm2d", "training, without scale", lambda: nn.BatchNorm2d(2, affine=False), IMAGES),
    layer(
        "nn.BatchNorm2d",
        "evaluation, without running statistics",
        lambda: nn.BatchNorm2d(2, track_running_stats=False),
        IMAGES,
        training=False,
    ),
]

STATELESS = [
    layer("nn.LocalResponseNorm", "size 3", lambda: nn.LocalResponseNorm(3, 1.0), normal(2, 5, 2, 2)),
    layer("nn.Dropout", "training", lambda: nn.Dropout(0.4), ROWS),
    layer("nn.Dropout", "evaluation", lambda: nn.Dropout(0.4), ROWS, training=False),
    layer("nn.Dropout2d", "training", lambda: nn.Dropout2d(0.4), IMAGES),
    layer("nn.Dropout2d", "evaluation", lambda: nn.Dropout2d(0.4), IMAGES, training=False),
    layer("nn.StochasticDepth", "each image", lambda: nn.StochasticDepth(0.4, "row"), IMAGES),
    layer("nn.StochasticDepth", "evaluation", lambda: nn.StochasticDepth(0.4, "row"), IMAGES, training=False),
    layer("nn.MaxPool2d", "3×3, stride 2", lambda: nn.MaxPool2d(3, 2, 1), distinct(2, 2, 5, 6)),
    layer("nn.AvgPool2d", "3×3, stride 2", lambda: nn.AvgPool2d(3, 2, 1), IMAGES),
    layer("nn.AdaptiveAvgPool2d", "to 2×4", lambda: nn.AdaptiveAvgPool2d((2, 4)), IMAGES),
    layer("nn.AdaptiveMaxPool2d", "to 2×4", lambda: nn.AdaptiveMaxPool2d((2, 4)), distinct(3, 2, 5, 6)),
    layer("nn.Flatten", "images", nn.Flatten, IMAGES),
    layer("nn.ZeroPad2d", "each side another width", lambda: nn.ZeroPad2d((1, 0, 2, 3)), IMAGES),
    layer("nn.ReLU", "numbers around 0", nn.ReLU, distinct(4, 3)),
    layer("nn.ReLU6", "numbers around 0", nn.ReLU6, distinct(4, 3)),
    layer("nn.LeakyReLU", "slope 0.2", lambda: nn.LeakyReLU(0.2), distinct(4, 3)),
    layer("nn.Tanh", "numbers around 0", nn.Tanh, ROWS),
    layer("nn.Sigmoid", "numbers around 0", nn.Sigmoid, ROWS),
    layer("nn.SiLU", "numbers around 0", nn.SiLU, ROWS),
    layer("nn.Softmax", "channels", lambda: nn.Softmax(1), IMAGES),
    layer("nn.LogSoftmax", "last axis", nn.LogSoftmax, ROWS),
]


class ListOfBranches(nn.Module):
    """The sum of what the modules of a list or a dict make of x."""

    def __init__(self, branches: Any) -> None:
        super().__init__()
        self.branches = branches

    def forward(self, x: Any) -> Any:
        """x -> Σ branch(x)"""
        total, *others = [branch(x) for branch in self.branches.children()]
        for other in others:
            total = total + other
        return total


def two_branches() -> tuple[nn.Module, nn.Module]:
    """Branches that fit side by side."""
    return nn.Conv2d(2, 2, 1), nn.Sequential(nn.Conv2d(2, 2, 3, padding=1), nn.Tanh())


CONTAINERS = [
    layer("nn.Sequential", "two layers", lambda: nn.Sequential(nn.Linear(3, 4), nn.Tanh()), ROWS),
    layer(
        "nn.ModuleList", "a sum of branches", lambda: ListOfBranches(nn.ModuleList(two_branches())), IMAGES
    ),
    layer(
        "nn.ModuleDict",
        "a sum of branches",
        lambda: ListOfBranches(nn.ModuleDict(dict(zip("ab", two_branches(), strict=True)))),
        IMAGES,
    ),
    layer("nn.Concat", "two branches", lambda: nn.Concat(*two_branches()), IMAGES),
    layer("nn.Residual", "identity", lambda: nn.Residual(two_branches()[1]), IMAGES),
    layer("nn.Residual", "projection", lambda: nn.Residual(*two_branches()), IMAGES),
    layer("nn.Identity", "images", nn.Identity, IMAGES),
]

WEIGHT = [0.5, 2.0, 1.0]

LOSSES = [
    layer("nn.CrossEntropyLoss", "labels", nn.CrossEntropyLoss, ROWS, labels(3, 4)),
    layer(
        "nn.CrossEntropyLoss",
        "weights and smoothing, summed",
        lambda: nn.CrossEntropyLoss(WEIGHT, reduction="sum", label_smoothing=0.1),
        ROWS,
        labels(3, 4),
    ),
    layer("nn.CrossEntropyLoss", "probabilities", nn.CrossEntropyLoss, ROWS, probabilities(4, 3)),
    layer("nn.NLLLoss", "weights", lambda: nn.NLLLoss(WEIGHT), ROWS, labels(3, 4)),
    layer("nn.BCELoss", "mean", nn.BCELoss, uniform(0.1, 0.9, 4, 3), uniform(0.1, 0.9, 4, 3)),
    layer("nn.BCEWithLogitsLoss", "sum", lambda: nn.BCEWithLogitsLoss("sum"), ROWS, uniform(0.1, 0.9, 4, 3)),
    layer("nn.MSELoss", "mean", nn.MSELoss, ROWS, normal(4, 3)),
]


def small_network() -> nn.Module:
    """A little of everything: residual blocks of both kinds, an Inception module, all the normalisations."""

    def normed(C: int, OC: int, *window: Any, **settings: Any) -> list[nn.Module]:
        return [nn.Conv2d(C, OC, *window, **settings), nn.BatchNorm2d(OC)]

    return nn.Sequential(
        *normed(2, 4, 3, padding=1),
        nn.SiLU(),
        nn.Residual(nn.Sequential(*normed(4, 4, 3, padding=1), nn.ReLU(), *normed(4, 4, 3, padding=1))),
        nn.ReLU(),
        nn.Residual(
            nn.Sequential(*normed(4, 6, 3, 2, 1), nn.LeakyReLU(), *normed(6, 6, 3, padding=1)),
            nn.Sequential(*normed(4, 6, 1, 2)),
        ),
        nn.Concat(
            nn.Conv2d(6, 2, 1),
            nn.Sequential(nn.Conv2d(6, 2, 1), nn.Tanh(), nn.SeparableConv2d(2, 3, 3, padding=1)),
            nn.Sequential(nn.MaxPool2d(3, 1, 1), nn.Conv2d(6, 2, 1)),
        ),
        nn.LocalResponseNorm(3, 1.0),
        nn.Dropout(0.2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(28, 5),
    )


def loss_of(net: Any, x: Any, target: Any) -> Any:
    """The loss of a classifier."""
    return F.cross_entropy(net(x), target, label_smoothing=0.1)


def lenet5() -> nn.Module:
    """The registered network."""
    return models.create("lenet5")


NETWORKS = [
    layer("lenet5", "its logits", lenet5, normal(2, 1, 28, 28)),
    layer("lenet5", "its loss", lenet5, normal(2, 1, 28, 28), labels(10, 2), fn=loss_of),
    layer("network", "residual, Inception; logits", small_network, normal(3, 2, 8, 8)),
    layer("network", "the same, loss", small_network, normal(3, 2, 8, 8), labels(5, 3), fn=loss_of),
    layer("network", "the same, evaluation", small_network, normal(3, 2, 8, 8), training=False),
]

TABLE = [*WEIGHTED, *STATELESS, *CONTAINERS, *LOSSES, *NETWORKS]
