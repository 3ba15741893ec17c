"""minicnn: a convolutional-network engine written from scratch, to be read and to be used.

>>> import minicnn as mc
>>> x = mc.tensor([1.0, 2.0, 3.0], requires_grad=True)
>>> (x * x).sum().backward()
>>> x.grad
array([2., 4., 6.], dtype=float32)

The rooms, from the ground up; each imports only from those before it:

    backend     which device and which family of kernels
    kernels     arrays in, arrays out: convolution, pooling, normalisation
    autograd    Variable, Function and the walk backwards through the graph
    functional  one class per operation, forward above backward
    tensor      Tensor: a Variable with operators
    nn, optim   layers, initialisers, optimisers, schedules
    weights     files of weights: safetensors, PyTorch's, NumPy's, Keras's
    models      the networks, as tables
    data, train, gradcheck, explain, cli
"""

from pathlib import Path

# In a checkout, kernels/ and models/ stand beside this package rather than in it (an installed
# minicnn holds all three), so there the repository's root is searched for subpackages as well.
if not (Path(__file__).parent / "kernels").is_dir():
    __path__.append(str(Path(__file__).parent.parent))

from minicnn import functional, models, nn, optim, random, weights
from minicnn.autograd import Function, enable_grad, is_grad_enabled, no_grad, set_grad_enabled
from minicnn.explain import explain
from minicnn.functional import (
    cat,
    clip,
    concat,
    exp,
    log,
    matmul,
    maximum,
    minimum,
    pad,
    split,
    sqrt,
    stack,
    where,
)
from minicnn.gradcheck import gradcheck
from minicnn.kernels import trace, use
from minicnn.kernels.threads import get_num_threads, set_num_threads
from minicnn.random import manual_seed
from minicnn.tensor import Tensor, arange, empty, from_numpy, ones, rand, randn, tensor, zeros

__version__ = "0.1.0"

__all__ = [
    "Function",
    "Tensor",
    "arange",
    "cat",
    "clip",
    "concat",
    "empty",
    "enable_grad",
    "exp",
    "explain",
    "from_numpy",
    "functional",
    "get_num_threads",
    "gradcheck",
    "is_grad_enabled",
    "log",
    "manual_seed",
    "matmul",
    "maximum",
    "minimum",
    "models",
    "nn",
    "no_grad",
    "ones",
    "optim",
    "pad",
    "rand",
    "randn",
    "random",
    "set_grad_enabled",
    "set_num_threads",
    "split",
    "sqrt",
    "stack",
    "tensor",
    "trace",
    "use",
    "weights",
    "where",
    "zeros",
]
