"""Training: the loop, and around it validation, checkpoints, pictures and a display.

>>> from minicnn import data, models, optim, train
>>> digits = data.load("digits")
>>> model = models.create("mlp_300_100")
>>> trainer = train.Trainer(model, optim.SGD(model.parameters(), lr=0.1))
>>> trainer.fit(digits.train, digits.validation, epochs=2)
>>> train.evaluate(model, digits.test).accuracy > 0.8
True

    loop        the training loop, and measuring what was learnt
    capture     the loop's forward and backward as a CUDA graph, on the GPU
    history     what is remembered of the epochs
    trainer     epochs, validation, the best weights
    state       a trainer's whole state as arrays and a document
    checkpoint  a training's state in a file; weights alone are in minicnn.weights
    interrupt   Ctrl-C between two steps
    display     a bar, or a line for each epoch
    plots       pictures
    recipes     optimisers, schedules and default settings by name
    options     what was given, what the recipes add, what a checkpoint remembers
    folders     where a training's files go
    run         a whole training, as ``minicnn train`` does it
"""

from minicnn.train.checkpoint import CheckpointError
from minicnn.train.history import Epoch
from minicnn.train.loop import DivergedError, Evaluation, Step, evaluate, train
from minicnn.train.trainer import Callback, Trainer
from minicnn.weights import load as load_weights
from minicnn.weights import save as save_weights

__all__ = [
    "Callback",
    "CheckpointError",
    "DivergedError",
    "Epoch",
    "Evaluation",
    "Step",
    "Trainer",
    "evaluate",
    "load_weights",
    "save_weights",
    "train",
]
