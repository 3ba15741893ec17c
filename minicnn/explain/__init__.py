"""Explanations, in the engine's own numbers: of an operation step by step, of a network at work on an image.

of a network at work:

network                  its layers' numbers for one image
watch, units, receptive  the pass itself, single units, and what they see of the image: receptive fields
training_step            what one step of training changes
views                    what its answer rests on
network_page, network_text

of an operation:

document, words, grids   what a page holds, how numbers are written, and the grids that all pages have
point                    an operation's numbers: forward, backward and by finite differences
convolution … relu       what there is to say about each operation
options, operations      what can be asked for
page, text               the same document for a browser and for a terminal

and pictures, for which functions compute arrays and others draw them:

observe                  a network's layers as they ran, its filters and feature maps
sensitivity              which pixels matter: saliency, deconvolution, guided backprop
cam                      where a network looks: Grad-CAM and occlusion
responses                what units respond to most in a data set
filters                  image kernels, such as Sobel's, on a photograph
pictures                 all of these for one network and one image, drawn and put into words
drawing, filter_sheet, network_sheets, response_sheet
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

if TYPE_CHECKING:
    from minicnn import nn
    from minicnn.explain.document import Explanation
    from minicnn.explain.network import NetworkExplanation


@overload
def explain(operation: str, **options: Any) -> Explanation: ...
@overload
def explain(operation: nn.Module, **options: Any) -> NetworkExplanation: ...
def explain(operation: str | nn.Module, **options: Any) -> Explanation | NetworkExplanation:
    """Explain an operation, or a network, with real numbers: forward, and backward, step by step.

    A notebook shows the result. Elsewhere ``.save("a.html")`` writes one HTML file that needs no network,
    and ``.text()`` is for a terminal. Every number is the engine's, computed by its reference kernels in
    float64, and beside each derivative stands the same by finite differences.

    A network is explained with an image: ``explain(model, x=…, label=…)`` shows every layer's shapes, feature
    maps and gradients, single units with their inputs, and one step of training, in the network's dtype; see
    :func:`minicnn.explain.network.explain_network`.

    Args:
        operation: conv2d, depthwise_conv2d, conv1x1, max_pool2d, avg_pool2d, batch_norm,
            local_response_norm, relu, dropout, linear, cross_entropy, cat or add; or a network.
        **options: what `minicnn explain` takes: ``input``, a shape as "1x5x5" or (1, 5, 5), C×H×W with or
            without a batch in front; ``kernel``, ``stride``, ``padding``, ``dilation``, a number or two;
            ``groups``, ``outputs``, ``seed`` and so on.

    Raises:
        ValueError: an operation or option that there is not, a value that is none, or more numbers than a
            page of 2 MB can show.

    >>> import minicnn as mc
    >>> mc.explain("conv2d", input="1x5x5", kernel=3, stride=2, padding=1).facts[2]
    ('y', '1×1×3×3  (N, OC, OH, OW)')
    """
    from minicnn.explain import network, operations

    if not isinstance(operation, str):
        return network.explain_network(operation, **options)
    return operations.explain(operation, options)
