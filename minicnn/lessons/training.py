"""The training loop that the lessons share, in the ten lines that it takes."""

from __future__ import annotations

from minicnn import functional as F
from minicnn import nn, no_grad, optim, tensor
from minicnn.data import DataLoader, Split


def train(
    net: nn.Module, split: Split, epochs: int, lr: float, batch_size: int = 64, momentum: float = 0.9
) -> list[float]:
    """Train by gradient descent with momentum; returns the mean loss of each epoch."""
    optimizer = optim.SGD([p for p in net.parameters() if p.requires_grad], lr=lr, momentum=momentum)
    loader = DataLoader(split, batch_size=batch_size, shuffle=True, seed=0)
    losses = []
    for epoch in range(epochs):
        total = 0.0
        for images, labels in loader.epoch(epoch):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(tensor(images)), tensor(labels))
            loss.backward()
            optimizer.step()
            total += loss.item() * len(labels)
        losses.append(total / len(split))
    return losses


def accuracy(net: nn.Module, split: Split) -> float:
    """The share of images that the network names rightly, in inference mode."""
    net.eval()
    with no_grad():
        guesses = net(tensor(split.images)).numpy().argmax(axis=1)
    net.train()
    return float((guesses == split.labels).mean())
