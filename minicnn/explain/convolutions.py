"""The pages about convolution: in general, 1×1, and depthwise."""

from __future__ import annotations

from minicnn.explain import convolution_backward, convolution_forward
from minicnn.explain.convolution import Convolution
from minicnn.explain.document import Explanation
from minicnn.explain.point import Draw
from minicnn.kernels import Window
from minicnn.kernels.geometry import Pair


def conv2d(
    input: tuple[int, ...],
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
    outputs: int | None,
    seed: int,
) -> Explanation:
    """A convolution: as windows, as matrix products, and its three gradients."""
    ph, pw = padding
    window = Window(kernel, stride, ((ph, ph), (pw, pw)), dilation, groups)
    c = Convolution(input, window, groups if outputs is None else outputs, Draw(seed))
    grids, scenes = c.common_grids(), []
    for more, scene in (*convolution_forward.scenes(c), *convolution_backward.scenes(c)):
        grids += more
        scenes.append(scene)
    return Explanation(
        title="conv2d",
        words="Filters slide over an image; at each place, pixels times weights, summed, make one number.",
        equations=[
            "y[n, oc, oh, ow] = b[oc] + Σ_c Σ_i Σ_j x[n, c, oh·s + i·d − p, ow·s + j·d − p] · w[oc, c, i, j]"
        ],
        facts=c.facts(),
        grids={grid.key: grid for grid in grids},
        scenes=scenes,
    )


def conv1x1(input: tuple[int, ...], outputs: int, stride: Pair, seed: int) -> Explanation:
    """A 1×1 convolution: at each pixel, the same small fully connected layer over its channels."""
    e = conv2d(input, (1, 1), stride, (0, 0), (1, 1), 1, outputs, seed)
    e.title = "conv1x1"
    e.words = (
        "A window of one pixel: at every place the channels alone are mixed, by the same matrix w (OC, C). "
        "The columns of im2col are the image itself. It is used to make channels fewer or more."
    )
    return e


def depthwise_conv2d(
    input: tuple[int, ...], kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, seed: int
) -> Explanation:
    """A depthwise convolution: each channel has a filter of its own, and channels are not mixed."""
    channels = input[1]
    e = conv2d(input, kernel, stride, padding, dilation, channels, channels, seed)
    e.title = "depthwise_conv2d"
    e.words = (
        "groups = C: each channel is convolved with a filter of its own, and no product mixes two channels. "
        "A 1×1 convolution usually follows, and mixes them."
    )
    return e
