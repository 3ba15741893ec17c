"""AlexNet: rectifiers, dropout and normalisation across maps.

A. Krizhevsky, I. Sutskever and G. Hinton 2012. Three of the things that made a
network of 60 million parameters trainable, each tried here on a small one:

    ReLU     max(0, x) has slope 1 wherever it is open. tanh is flat where it
             is saturated, and little comes back.
    dropout  each step, half of a layer's neurons are left out. None can rely
             on another one being there, so the network learns less by heart;
             in use all are there, and each step has scaled what it kept.
    LRN      a neuron is divided by how active its neighbours across maps are:
             b = a / (k + α/n Σ a²)^β. It did help a little then; batch norm
             has replaced it.
"""

import numpy as np

import minicnn as mc
from minicnn import data, nn
from minicnn import functional as F
from minicnn.lessons.drawing import Sketchbook, curves
from minicnn.lessons.training import accuracy, train


def network(activation: type[nn.Module], dropout: float = 0.0) -> nn.Sequential:
    """Four layers for 28×28 digits."""
    mc.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, padding=2), activation(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2), activation(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(16 * 49, 128), activation(), nn.Dropout(dropout), nn.Linear(128, 10),
    )  # fmt: skip


def main(draw: Sketchbook) -> None:
    """ReLU against tanh, dropout against none, and what LRN does to five maps."""
    digits = data.load("digits")
    print("ReLU against tanh, loss after each of 6 epochs at the same small rate:")
    losses = {}
    for activation in (nn.Tanh, nn.Sigmoid, nn.ReLU):
        losses[activation.__name__] = train(network(activation), digits.train, epochs=6, lr=0.01)
        print(f"  {activation.__name__:<9}{' '.join(f'{loss:.3f}' for loss in losses[activation.__name__])}")
    with draw.picture("relu", size=4) as axes:
        curves(axes, losses, "the same network, another bend", "epoch", "training loss")

    few = digits.train.take(np.arange(80))
    print("\ndropout, trained on 80 digits only:")
    for p in (0.0, 0.5):
        net = network(nn.ReLU, p)
        train(net, few, epochs=40, lr=0.02, batch_size=16)
        print(
            f"  p = {p}: {accuracy(net, few):6.1%} on those 80, {accuracy(net, digits.test):6.1%} on new ones"
        )
    print("  (with one seed and 270 test images a difference below 3 % says nothing: try others.)")

    maps = mc.tensor(np.array([1.0, 1, 8, 1, 1, 1]).reshape(1, 6, 1, 1))
    normalised = F.local_response_norm(maps, size=5, alpha=0.5, beta=0.75, k=1.0).numpy().ravel()
    print(f"\nLRN: one of six maps is loud, {maps.numpy().ravel()}; after it {normalised.round(2)}:")
    print("  its neighbours within two maps are quietened most, the last one is too far away to hear it.")
    print("\nTry: `minicnn summary alexnet_2012`: where are its parameters, and where is its work?")
