"""Checks that the networks share, so that a wrong size is named as the network's own input, in one line."""

from minicnn.tensor import Tensor


def check_images(name: str, x: Tensor, input_shape: tuple[int, int, int]) -> None:
    """Refuse a batch that is not N images of exactly ``input_shape`` = (C, H, W).

    A network that ends in dense layers fits one image size only; without this check a wrong size would
    surface as a matrix product that fails several layers later.

    Raises ValueError.
    """
    if x.shape[1:] != input_shape:
        expected = ", ".join(str(size) for size in input_shape)
        raise ValueError(f"{name}: x has shape {tuple(x.shape)}, but (N, {expected}) is expected")


def check_positive(name: str, **values: int) -> None:
    """Refuse an option that is not a positive integer; raises ValueError naming it."""
    for option, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}: {option} must be a positive integer, but is {value!r}")
