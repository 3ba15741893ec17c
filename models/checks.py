"""Checks that the networks share, so that a wrong size is named as the network's own input, in one line."""

from collections.abc import Sequence

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


def check_size(name: str, x: Tensor, in_channels: int, least: int = 1, why: str = "") -> None:
    """Refuse a batch that is not N images of ``in_channels`` channels, each side ``least`` pixels or more.

    For networks that end in a mean over the image, which fit any size from the smallest on; ``why`` says what
    takes so many pixels.

    Raises ValueError.
    """
    if len(x.shape) != 4 or x.shape[1] != in_channels:
        raise ValueError(f"{name}: x has shape {tuple(x.shape)}, but (N, {in_channels}, H, W) is expected")
    if min(x.shape[2:]) < least:
        raise ValueError(
            f"{name}: x has shape {tuple(x.shape)}, but H and W of at least {least} are expected: {why}"
        )


def check_positive(name: str, **values: int) -> None:
    """Refuse an option that is not a positive integer; raises ValueError naming it."""
    for option, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name}: {option} must be a positive integer, but is {value!r}")


def check_multiple(name: str, divisor: int, **values: int) -> None:
    """Refuse an option that is not a positive multiple of ``divisor``; raises ValueError naming it."""
    check_positive(name, **values)
    for option, value in values.items():
        if value % divisor:
            raise ValueError(f"{name}: {option} must be a multiple of {divisor}, but is {value}")


def check_factor(name: str, **values: float) -> None:
    """Refuse an option that is not a number above 0; raises ValueError naming it."""
    for option, value in values.items():
        if not isinstance(value, int | float) or not value > 0:
            raise ValueError(f"{name}: {option} must be a number > 0, but is {value!r}")


def check_depths(name: str, depths: Sequence[int], stages: int) -> None:
    """Refuse depths that are not one positive integer for each stage; raises ValueError."""
    if not isinstance(depths, Sequence) or len(depths) != stages:
        raise ValueError(f"{name}: depths must be {stages} numbers, one for each stage, but is {depths!r}")
    check_positive(name, **{f"depths[{stage}]": depth for stage, depth in enumerate(depths)})
