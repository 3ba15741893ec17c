"""Training: the loop, and around it validation, checkpoints, pictures and a display.

A training in ten lines, in which nothing is hidden:

>>> from minicnn import data, functional as F, from_numpy, models, optim, train
>>> digits = data.load("digits")
>>> model = models.create("mlp_300_100")
>>> optimizer = optim.SGD(model.parameters(), lr=0.1)
>>> loader = data.DataLoader(digits.train, batch_size=64, shuffle=True)
>>> for epoch in range(2):
...     for images, labels in loader.epoch(epoch):
...         optimizer.zero_grad()
...         loss = F.cross_entropy(model(from_numpy(images)), labels)
...         loss.backward()
...         optimizer.step()
>>> train.evaluate(model, digits.test).accuracy > 0.8
True

and with all that one wants around it:

>>> trainer = train.Trainer(model, optimizer, clip_norm=1.0, ema=0.99)
>>> callbacks = [train.EarlyStopping(patience=2)]
>>> trainer.fit(digits.train, digits.validation, epochs=2, callbacks=callbacks)
>>> train.evaluate(model, digits.test).accuracy > 0.8
True

    loop        the training loop, and measuring what was learnt
    capture     the loop's forward and backward as a CUDA graph, on the GPU
    mixing      batches of mixed images
    averaging   the moving average of the weights
    history     what is remembered of the epochs
    trainer     epochs, validation, the best weights
    callbacks   who looks on, and may stop it
    state       a trainer's whole state as arrays and a document
    checkpoint  a training's state in a file; weights alone are in minicnn.weights
    interrupt   Ctrl-C between two steps
    display     a bar and curves of text, or a line for each epoch
    metrics     confusion matrix, top-k, precision and recall
    plots       pictures
    recipes     optimisers, schedules and settings by name, the literature's among them
    options     what was given, what the recipes add, what a checkpoint remembers
    folders     where a training's files go
    features    what a frozen base computes, kept
    saved       networks that a training left
    results     figures and pictures of a test
    comparison  several trainings beside each other
    again       what resuming and repeating a training need to know of it
    prepare     everything that can be wrong, found before any work is done
    run         a whole training, as ``minicnn train`` does it
"""

from minicnn.train.averaging import WeightAverage
from minicnn.train.callbacks import Callback, EarlyStopping, HistoryFile, SaveBest
from minicnn.train.checkpoint import CheckpointError
from minicnn.train.history import Epoch
from minicnn.train.loop import DivergedError, Evaluation, Step, evaluate, train
from minicnn.train.mixing import CutMix, MixUp
from minicnn.train.saved import open_run
from minicnn.train.trainer import Trainer
from minicnn.weights import load as load_weights
from minicnn.weights import save as save_weights

__all__ = [
    "Callback",
    "CheckpointError",
    "CutMix",
    "DivergedError",
    "EarlyStopping",
    "Epoch",
    "Evaluation",
    "HistoryFile",
    "MixUp",
    "SaveBest",
    "Step",
    "Trainer",
    "WeightAverage",
    "evaluate",
    "load_weights",
    "open_run",
    "save_weights",
    "train",
]
