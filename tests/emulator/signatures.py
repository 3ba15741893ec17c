"""Which of NumPy's functions, methods and ufuncs CuPy 14 has too, and with which arguments.

Only those that someone here may want; what is not listed, the emulator refuses. Where CuPy is installed (it
needs no GPU for that) a test compares these tables with it.
"""

import inspect

UFUNCS = frozenset(
    """
    absolute add subtract multiply divide true_divide floor_divide remainder power negative positive divmod
    exp exp2 expm1 log log2 log10 log1p sqrt square cbrt reciprocal sign tanh sinh cosh sin cos tan arctan
    maximum minimum fmax fmin floor ceil rint trunc isfinite isinf isnan nextafter copysign hypot
    equal not_equal less less_equal greater greater_equal logical_and logical_or logical_not logical_xor
    abs bitwise_and bitwise_or bitwise_xor invert left_shift right_shift matmul
    """.split()  # noqa: SIM905 (a list would take a page)
)

METHODS = {
    "sum": "self, axis=None, dtype=None, out=None, keepdims=False",
    "prod": "self, axis=None, dtype=None, out=None, keepdims=False",
    "mean": "self, axis=None, dtype=None, out=None, keepdims=False",
    "var": "self, axis=None, dtype=None, out=None, ddof=0, keepdims=False",
    "std": "self, axis=None, dtype=None, out=None, ddof=0, keepdims=False",
    "max": "self, axis=None, out=None, keepdims=False",
    "min": "self, axis=None, out=None, keepdims=False",
    "argmax": "self, axis=None, out=None, dtype=None, keepdims=False",
    "argmin": "self, axis=None, out=None, dtype=None, keepdims=False",
    "all": "self, axis=None, out=None, keepdims=False",
    "any": "self, axis=None, out=None, keepdims=False",
    "cumsum": "self, axis=None, dtype=None, out=None",
    "clip": "self, min=None, max=None, out=None",
    "round": "self, decimals=0, out=None",
    "astype": "self, dtype, order='K', casting=None, subok=None, copy=True",
    "copy": "self, order='C'",
    "reshape": "self, *shape, order='C'",
    "transpose": "self, *axes",
    "swapaxes": "self, axis1, axis2",
    "squeeze": "self, axis=None",
    "ravel": "self, order='C'",
    "flatten": "self, order='C'",
    "view": "self, dtype=None",
    "take": "self, indices, axis=None, out=None",
    "repeat": "self, repeats, axis=None",
    "argsort": "self, axis=-1, kind=None",
    "sort": "self, axis=-1, kind=None",
    "nonzero": "self",
    "fill": "self, value",
    "dot": "self, b, out=None",
}

FUNCTIONS = {
    "sum": "a, axis=None, dtype=None, out=None, keepdims=False",
    "prod": "a, axis=None, dtype=None, out=None, keepdims=False",
    "mean": "a, axis=None, dtype=None, out=None, keepdims=False",
    "var": "a, axis=None, dtype=None, out=None, ddof=0, keepdims=False",
    "std": "a, axis=None, dtype=None, out=None, ddof=0, keepdims=False",
    "max": "a, axis=None, out=None, keepdims=False",
    "min": "a, axis=None, out=None, keepdims=False",
    "amax": "a, axis=None, out=None, keepdims=False",
    "amin": "a, axis=None, out=None, keepdims=False",
    "argmax": "a, axis=None, dtype=None, out=None, keepdims=False",
    "argmin": "a, axis=None, dtype=None, out=None, keepdims=False",
    "all": "a, axis=None, out=None, keepdims=False",
    "any": "a, axis=None, out=None, keepdims=False",
    "count_nonzero": "a, axis=None",
    "cumsum": "a, axis=None, dtype=None, out=None",
    "clip": "a, a_min, a_max, out=None",
    "where": "condition, x=None, y=None",
    "copyto": "dst, src, casting='same_kind', where=None",
    "concatenate": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "stack": "tup, axis=0, out=None, *, dtype=None, casting='same_kind'",
    "split": "ary, indices_or_sections, axis=0",
    "array_split": "ary, indices_or_sections, axis=0",
    "take_along_axis": "a, indices, axis",
    "put_along_axis": "arr, indices, values, axis",
    "expand_dims": "a, axis",
    "broadcast_to": "array, shape",
    "squeeze": "a, axis=None",
    "reshape": "a, newshape, order='C'",
    "ravel": "a, order='C'",
    "transpose": "a, axes=None",
    "swapaxes": "a, axis1, axis2",
    "moveaxis": "a, source, destination",
    "flip": "a, axis=None",
    "repeat": "a, repeats, axis=None",
    "tile": "A, reps",
    "pad": "array, pad_width, mode='constant', **kwargs",
    "outer": "a, b, out=None",
    "dot": "a, b, out=None",
    "einsum": "*operands, **kwargs",
    "argsort": "a, axis=-1, kind=None",
    "sort": "a, axis=-1, kind=None",
    "copy": "a, order='K'",
    "may_share_memory": "a, b, max_work=None",
    "shares_memory": "a, b, max_work=None",
    "shape": "a",
    "size": "a, axis=None",
    "ndim": "a",
    "array2string": "a, *args, **kwargs",
}


def bound(name, signature, args, kwargs):
    """The arguments as CuPy's function would take them, only those that were given; TypeError for others."""
    try:
        return inspect.signature(eval(f"lambda {signature}: None")).bind(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
