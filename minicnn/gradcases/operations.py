"""Cases for the element-wise operations, reductions, changes of shape, products and activations."""

from typing import Any

import numpy as np

from minicnn import functional as F
from minicnn.gradcases.case import case, distinct, normal, uniform

DIAGONAL = (np.eye(3, 4) > 0).tolist()


def longest(x: Any) -> type:
    """The longest floating dtype on the device of x: GPUs have nothing beyond float64."""
    return np.longdouble if x.device == "cpu" else np.float64


ARITHMETIC = [
    case("add", "one shape", F.add, normal(3, 4), normal(3, 4)),
    case("add", "column and row", F.add, normal(3, 1), normal(4)),
    case("add", "images and one bias a channel", F.add, normal(2, 3, 3, 3), normal(3, 1, 1)),
    case("add", "a tensor to itself", lambda x: F.add(x, x), normal(3, 4)),
    case("sub", "one shape", F.sub, normal(3, 4), normal(3, 4)),
    case("sub", "row and column, square", F.sub, normal(3), normal(3, 1)),
    case("sub", "a number on the left", lambda x: F.sub(2.5, x), normal(3, 4)),
    case("mul", "one shape", F.mul, normal(3, 4), normal(3, 4)),
    case("mul", "column and row", F.mul, normal(3, 1), normal(1, 4)),
    case("mul", "images and one number", F.mul, normal(2, 3, 3, 3), normal()),
    case("mul", "a tensor by itself", lambda x: F.mul(x, x), normal(3, 4)),
    case("mul", "several uses of one result", lambda x: (x * 3) * F.tanh(y := x * 3) + y, normal(3, 4)),
    case("div", "one shape", F.div, normal(3, 4), uniform(0.5, 2, 3, 4)),
    case("div", "row by column", F.div, normal(4), uniform(0.5, 2, 3, 1)),
    case("div", "a number by a tensor below 0", lambda x: F.div(2.5, x), uniform(-2, -0.5, 3, 4)),
    case("neg", "one shape", F.neg, normal(3, 4)),
    case("pow", "a whole exponent", lambda x: F.pow(x, 3), normal(3, 4)),
    case("pow", "a negative exponent", lambda x: F.pow(x, -1.5), uniform(0.5, 2, 3, 4)),
    case("pow", "exponent 0", lambda x: F.pow(x, 0), normal(3, 4)),
    case("pow", "row to the power of a column", F.pow, uniform(0.5, 2, 4), normal(3, 1)),
    case("pow", "a number to the power of a tensor", lambda x: F.pow(2.5, x), normal(3, 4)),
    case("exp", "one shape", F.exp, normal(3, 4)),
    case("log", "positive numbers", F.log, uniform(0.5, 2, 3, 4)),
    case("sqrt", "positive numbers", F.sqrt, uniform(0.5, 2, 3, 4)),
    case("abs", "numbers away from 0", F.abs, distinct(3, 4)),
    case("maximum", "one shape", F.maximum, distinct(3, 4), normal(3, 4)),
    case("maximum", "column and row", F.maximum, distinct(3, 1), normal(4)),
    case("maximum", "a tensor and a number", lambda x: F.maximum(x, 0.3), distinct(3, 4)),
    case("minimum", "one shape", F.minimum, distinct(3, 4), normal(3, 4)),
    case("minimum", "row and column", F.minimum, distinct(4), normal(3, 1)),
    case("clip", "from both sides", lambda x: F.clip(x, -0.71, 0.93), distinct(3, 5)),
    case("clip", "from below", lambda x: F.clip(x, min=-0.71), distinct(3, 5)),
    case("clip", "from above", lambda x: F.clip(x, max=0.93), distinct(3, 5)),
    case("where", "one shape", lambda a, b: F.where(DIAGONAL, a, b), normal(3, 4), normal(3, 4)),
    case("where", "column or row", lambda a, b: F.where(DIAGONAL, a, b), normal(3, 1), normal(4)),
    case("where", "a tensor or a number", lambda x: F.where(x > 0, x, 0.5), distinct(3, 4)),
    # Anything shorter than float64 rounds more than the differences can bear.
    case("cast", "to a longer dtype and back", lambda x: F.cast(F.cast(x, longest(x)), float), normal(3, 4)),
]

PRODUCTS = [
    case("matmul", "matrices", F.matmul, normal(3, 4), normal(4, 5)),
    case("matmul", "square matrices", F.matmul, normal(4, 4), normal(4, 4)),
    case("matmul", "batches", F.matmul, normal(2, 3, 4), normal(2, 4, 5)),
    case("matmul", "a batch and one matrix", F.matmul, normal(2, 3, 4), normal(4, 5)),
    case("matmul", "one matrix and a batch of batches", F.matmul, normal(3, 4), normal(2, 3, 4, 2)),
    case("matmul", "batches broadcast both ways", F.matmul, normal(2, 1, 3, 4), normal(3, 4, 2)),
    case("matmul", "vector and matrix", F.matmul, normal(4), normal(4, 5)),
    case("matmul", "matrix and vector", F.matmul, normal(3, 4), normal(4)),
    case("matmul", "two vectors", F.matmul, normal(4), normal(4)),
    case("matmul", "vector and batch", F.matmul, normal(4), normal(2, 4, 3)),
    case("matmul", "batch and vector", F.matmul, normal(2, 3, 4), normal(4)),
    case("linear", "a batch of vectors", F.linear, normal(5, 4), normal(3, 4), normal(3)),
    case("linear", "square, without bias", F.linear, normal(4, 4), normal(4, 4)),
    case("linear", "one vector", F.linear, normal(4), normal(3, 4), normal(3)),
    case("linear", "sequences of vectors", F.linear, normal(2, 3, 4), normal(5, 4), normal(5)),
]


def top_two(x):
    """The largest entry of each row, and the largest of each column, joined."""
    return F.cat([F.max(x, 1).values, F.max(x, -2, keepdim=True).values.flatten()])


REDUCTIONS = [
    case("sum", "all entries", F.sum, normal(3, 4)),
    case("sum", "one axis, from the end", lambda x: F.sum(x, -1), normal(2, 3, 4)),
    case("sum", "two axes out of order, kept", lambda x: F.sum(x, (-1, 0), keepdim=True), normal(2, 3, 4)),
    case("mean", "all entries", F.mean, normal(3, 4)),
    case("mean", "one axis, kept", lambda x: F.mean(x, 1, keepdim=True), normal(2, 3, 4)),
    case("mean", "two axes", lambda x: F.mean(x, (2, -4)), normal(2, 3, 4, 2)),
    case("var", "all entries", F.var, normal(3, 4)),
    case("var", "one axis, divisor M", lambda x: F.var(x, -1, correction=0), normal(3, 4)),
    case("var", "two axes, kept", lambda x: F.var(x, (0, -1), keepdim=True), normal(2, 3, 4)),
    case("amax", "all entries", F.amax, distinct(3, 4)),
    case("amax", "two axes", lambda x: F.amax(x, (0, -1)), distinct(2, 3, 4)),
    case("amax", "one axis, kept", lambda x: F.amax(x, 1, keepdim=True), distinct(2, 3, 4)),
    case("amin", "all entries", F.amin, distinct(3, 4)),
    case("amin", "two axes", lambda x: F.amin(x, (-2, 0)), distinct(2, 3, 4)),
    case("max", "all entries", F.max, distinct(3, 4)),
    case("max", "one axis, and another kept", top_two, distinct(3, 4)),
    case("min", "all entries", F.min, distinct(3, 4)),
    case("min", "one axis, from the end", lambda x: F.min(x, -2).values, distinct(2, 3, 4)),
]


def weighted(parts):
    """Parts as one, each with a factor of its own, so that none can be taken for another."""
    return F.cat([part.flatten() * (i + 1.0) for i, part in enumerate(parts)])


MASK = np.arange(12).reshape(3, 4) % 3 == 0

SHAPES = [
    case("reshape", "with one size left open", lambda x: F.reshape(x, 4, -1), normal(2, 3, 4)),
    case("flatten", "all axes", F.flatten, normal(2, 3, 4)),
    case("flatten", "two in the middle", lambda x: F.flatten(x, 1, -2), normal(2, 3, 2, 2)),
    case("permute", "a cycle of three", lambda x: F.permute(x, 1, 2, 0), normal(3, 3, 3)),
    case("permute", "counted from the end", lambda x: F.permute(x, (-1, 0, -2, 1)), normal(2, 3, 4, 2)),
    case("transpose", "square", lambda x: F.transpose(x, 0, 1), normal(3, 3)),
    case("transpose", "first and last", lambda x: F.transpose(x, -1, 0), normal(2, 3, 4)),
    case("expand", "a column", lambda x: F.expand(x, 3, 4), normal(3, 1)),
    case("expand", "with new axes", lambda x: F.expand(x, 2, 3, -1, 4), normal(2, 1)),
    case("squeeze", "every axis of size 1", F.squeeze, normal(1, 3, 1, 2)),
    case("squeeze", "one, from the end", lambda x: F.squeeze(x, -2), normal(1, 3, 1, 2)),
    case("unsqueeze", "at the end", lambda x: F.unsqueeze(x, -1), normal(3, 2)),
    case("getitem", "a number", lambda x: x[-2], normal(4, 3)),
    case("getitem", "slices with a step", lambda x: x[1:, ::-2], normal(3, 5)),
    case("getitem", "a new axis and an ellipsis", lambda x: x[None, ..., 1], normal(2, 3, 4)),
    case("getitem", "a mask", lambda x: x[MASK], normal(3, 4)),
    case("getitem", "a list with repeats", lambda x: x[[2, 0, 2, 2]], normal(3, 4)),
    case(
        "getitem", "an array with repeats, after a slice", lambda x: x[:, np.array([1, 1, -1])], normal(3, 4)
    ),
    case("getitem", "two arrays with repeats", lambda x: x[[0, 2, 0, 0], [1, 1, 1, 3]], normal(3, 4)),
    case("getitem", "one entry", lambda x: x[1, 2], normal(3, 4)),
    case("getitem", "overlapping slices", lambda x: x[1:] * x[:-1], normal(4, 3)),
    case("pad", "each side another width", lambda x: F.pad(x, (1, 0, 2, 3)), normal(1, 2, 3, 3)),
    case("pad", "one axis, with a value", lambda x: F.pad(x, (2, 1), value=7.0), normal(2, 3)),
    case("to_device", "to the CPU and back", lambda x: F.to_device(x.cpu() * 2, x.device), normal(3, 4)),
    case("cat", "channels", lambda a, b: F.cat([a, b], 1), normal(2, 1, 3), normal(2, 3, 3)),
    case("cat", "last axis, three of one size", lambda a, b, c: F.cat([a, b, c], -1), *[normal(2, 2)] * 3),
    case("cat", "a tensor with itself", lambda x: F.cat([x, x, x * 2]), normal(2, 3)),
    case("concat", "another name for cat", lambda a, b: F.concat([a, b]), normal(2, 3), normal(1, 3)),
    case("stack", "new first axis", lambda a, b: F.stack([a, b]), normal(2, 3), normal(2, 3)),
    case("stack", "new last axis", lambda a, b: F.stack([a, b], -1), normal(2, 3), normal(2, 3)),
    case("split", "a last part that is smaller", lambda x: weighted(F.split(x, 2)), normal(5, 3)),
    case("split", "sizes, last axis", lambda x: weighted(F.split(x, [1, 3], -1)), normal(2, 4)),
]

ACTIVATIONS = [
    case("relu", "numbers around 0", F.relu, distinct(4, 6)),
    case("relu6", "numbers around 0 and 6", lambda x: F.relu6(4 * x), distinct(4, 6)),
    case("leaky_relu", "the usual slope", F.leaky_relu, distinct(4, 6)),
    case("leaky_relu", "slope 0.3", lambda x: F.leaky_relu(x, 0.3), distinct(4, 6)),
    case("tanh", "numbers around 0", F.tanh, normal(4, 6)),
    case("sigmoid", "numbers around 0", F.sigmoid, normal(4, 6)),
    case("sigmoid", "numbers far from 0", F.sigmoid, uniform(-12, 12, 4, 6)),
    case("silu", "numbers around 0", F.silu, normal(4, 6)),
    case("softmax", "last axis", F.softmax, normal(4, 6)),
    case("softmax", "channels of images", lambda x: F.softmax(x, 1), normal(2, 3, 2, 2)),
    case("softmax", "first axis", lambda x: F.softmax(x, -2), normal(3, 3)),
    case("softmax", "summed up: a gradient of 0", lambda x: F.sum(F.softmax(x), 1), normal(4, 6)),
    case("log_softmax", "last axis", F.log_softmax, normal(4, 6)),
    case("log_softmax", "channels of images", lambda x: F.log_softmax(x, 1), normal(2, 3, 2, 2)),
    case("log_softmax", "numbers far apart", F.log_softmax, uniform(-20, 20, 4, 6)),
]

TABLE = [*ARITHMETIC, *PRODUCTS, *REDUCTIONS, *SHAPES, *ACTIVATIONS]
