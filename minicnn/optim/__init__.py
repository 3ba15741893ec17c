"""Optimisers, which move the parameters down their gradients, and the schedules of their learning rates.

A training step is three calls:

>>> import numpy as np
>>> from minicnn import nn, optim
>>> w = nn.Parameter(np.array([3.0, -2.0]))
>>> optimizer = optim.SGD([w], lr=0.1)
>>> for _ in range(50):
...     optimizer.zero_grad()
...     (w * w).sum().backward()
...     optimizer.step()
>>> bool(abs(w.data).max() < 1e-4)
True
"""

from minicnn.optim import lr_scheduler
from minicnn.optim.adam import Adam, Adamax, AdamW, NAdam
from minicnn.optim.groups import param_groups
from minicnn.optim.optimizer import Optimizer
from minicnn.optim.rmsprop import RMSprop
from minicnn.optim.sgd import SGD

__all__ = ["SGD", "Adam", "AdamW", "Adamax", "NAdam", "Optimizer", "RMSprop", "lr_scheduler", "param_groups"]
