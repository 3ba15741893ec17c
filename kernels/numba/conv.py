"""Direct convolution: the tables that turn each of its passes into the product of micro.py.

                     rows q                    k                          W
    forward          output pixels             taps (c, i, j)             weights
    grad_input       input pixels              taps (oc, i, j)            weights, channels exchanged
    grad_weight      weights (c, i, j)         output pixels              gy

With a stride s, an input pixel meets only every s-th tap of a filter. grad_input therefore goes over the
pixels in s·s phases, in each of which all pixels meet the same taps: no product with zero is computed.
"""

from __future__ import annotations

import functools

import numpy as np

from minicnn.kernels.geometry import Phase, Window, phases
from minicnn.kernels.numba import narrow
from minicnn.kernels.numba.compiling import compiled, plain, share
from minicnn.kernels.numba.gemm import BLOCK, correlate, packed, sweep
from minicnn.kernels.numba.micro import PIXELS, tile_for
from minicnn.kernels.numba.scratch import padded, scratch
from minicnn.kernels.numba.turning import FREE, bias_of, bounds_of
from minicnn.kernels.registry import chooser, kernel
from minicnn.kernels.winograd import is_for

# A gradient to few weights is split by images into so many jobs, whose sums are then added. A fixed number,
# not the number of cores, so that the result does not depend on the machine.
ENOUGH_JOBS = 16


@functools.cache
def forward_offsets(C: int, H: int, W: int, g: Window) -> np.ndarray:
    """How far from a window's first pixel each tap (c, i, j) looks, in a padded image of C·H·W numbers."""
    c = np.arange(C)[:, None, None] * (H * W)
    i = np.arange(g.kernel[0])[:, None] * (g.dilation[0] * W)
    return (c + i + np.arange(g.kernel[1]) * g.dilation[1]).ravel().astype(np.int64)


@kernel("conv2d.forward", "numba", "direct")
@kernel("conv2d.forward_clipped", "numba", "direct")
def forward(x, w, b, g: Window, bounds=FREE):
    """(N, C, H, W), (OC, C/groups, KH, KW), (OC,) or None -> (N, OC, OH, OW), clipped to the bounds."""
    OH, OW = g.output_size(*x.shape[2:])
    x = padded(x, g.padding)
    N, C, H, W = x.shape
    w = plain(w)
    OC, G, T = w.shape[0], g.groups, w.shape[2] * w.shape[3]
    tile = tile_for(x.dtype, OC // G)
    y = np.empty((N, OC, OH, OW), x.dtype)
    sweep(
        x.reshape(-1),
        packed(w, G, OC // G, C // G * T, (w.size // G, C // G * T), tile.width(x.dtype)),
        bias_of(b, OC, x.dtype),
        bounds_of(bounds, x.dtype),
        forward_offsets(C // G, H, W, g),
        (N, G, OH, OW),
        (C * H * W, C // G * H * W, g.stride[0] * W, g.stride[1]),
        y.reshape(-1),
        (OC * OH * OW, OC // G * OH * OW, OW, 1, OH * OW, 0),
        OC // G,
        *tile.tags,
    )
    return y


@kernel("conv2d.grad_input", "numba", "direct")
def grad_input(gy, w, x_shape, g: Window):
    """The gradient of the loss to x, given the gradient gy to y: (N, C, H, W)."""
    (N, C, H, W), OC, G = x_shape, w.shape[0], g.groups
    w, tile, T = plain(w), tile_for(gy.dtype, C // G), w.shape[2] * w.shape[3]

    def compute(gy, phase, taps, offset, out):
        YH, YW = gy.shape[2:]
        sweep(
            gy.reshape(-1),
            packed(w, G, C // G, taps, (w.size // G, T, C // G * T), tile.width(gy.dtype), OC // G),
            bias_of(None, C, gy.dtype),
            bounds_of(FREE, gy.dtype),
            offset,
            (N, G, *phase.size),
            (OC * YH * YW, OC // G * YH * YW, YW, 1),
            out,
            (C * H * W, C // G * H * W, phase.size[1], 1, H * W, phase.begin),
            C // G,
            *tile.tags,
        )

    return by_phases(gy, w.shape, x_shape, g, compute)


def by_phases(gy, w_shape, x_shape, g: Window, compute, room: int = 0):
    """The gradient to x, of which ``compute(padded gy, phase, taps, offset, out)`` writes one phase.

    Where there are several, they are computed one after the other in memory. Written where they belong, with
    gaps between, the results of each would fetch every line of the gradient from memory once more: it took
    1.4 times as long.
    """
    border, found = phases(*x_shape[2:], *gy.shape[2:], g)
    gy = padded(gy, border, room)
    YH, YW = gy.shape[2:]
    gx = np.empty(x_shape, gy.dtype)
    apart = gx if g.stride == (1, 1) else scratch("phases", x_shape, gy.dtype)
    for phase in found:
        if phase.taps and 0 not in phase.size:
            taps, offset = tables(phase, w_shape[0] // g.groups, YH, YW, w_shape[3])
            compute(gy, phase, taps, offset, apart.reshape(-1))
    if apart is not gx:
        interleave(apart, found, g.stride, gx)
    return gx


def tables(phase: Phase, OC: int, YH: int, YW: int, KW: int) -> tuple[np.ndarray, np.ndarray]:
    """A phase's taps as numbers in a filter, and where in padded gy each (oc, tap) is."""
    away = np.array([rows * YW + columns for _, _, rows, columns in phase.taps])
    offset = (np.arange(OC)[:, None] * (YH * YW) + away).ravel()
    offset += phase.start[0] * YW + phase.start[1]
    return np.array([i * KW + j for i, j, _, _ in phase.taps]), offset


@kernel("conv2d.grad_weight", "numba", "direct")
def grad_weight(gy, x, w_shape, g: Window):
    """The gradient of the loss to w, given the gradient gy to y: (OC, C/groups, KH, KW)."""
    (N, OC, OH, OW), G = gy.shape, g.groups
    x = padded(x, g.padding)
    _, C, H, W = x.shape
    tile = tile_for(x.dtype, OC // G)
    width = tile.width(x.dtype)
    P = OH * OW
    gy = packed(plain(gy), N * G, OC // G, P, (OC // G * P, P), width)
    blocks = gy.shape[1]
    base = forward_offsets(C // G, H, W, g)
    Q = base.size
    base = np.concatenate([base, np.full(tile.rows, base[0])])
    offset = (np.arange(OH)[:, None] * (g.stride[0] * W) + np.arange(OW) * g.stride[1]).ravel()
    jobs = G * blocks * -(-Q // BLOCK)
    parts = np.empty((max(1, min(N, -(-ENOUGH_JOBS // jobs))), G, blocks, Q, width), x.dtype)
    correlate(
        x.reshape(-1),
        C * H * W,
        C // G * H * W,
        base,
        offset,
        gy.reshape(N, G, *gy.shape[1:]),
        parts,
        *tile.tags,
    )
    gw = parts.sum(axis=0) if len(parts) > 1 else parts[0]
    gw = gw.transpose(0, 1, 3, 2).reshape(G, -1, Q)[:, : OC // G]
    return gw.reshape(w_shape)


def unit_stride(*arguments):
    """Whether this is for the arguments of a kernel: are pixels side by side in x so in y?"""
    return arguments[3].stride == (1, 1)


@kernel("conv2d.forward", "numba", "narrow", unit_stride)
@kernel("conv2d.forward_clipped", "numba", "narrow", unit_stride)
def narrow_forward(x, w, b, g: Window, bounds=FREE):
    """As ``forward``, with pixels in the vectors of a tile."""
    OH, OW = g.output_size(*x.shape[2:])
    x = padded(x, g.padding, narrow.ROOM)
    (N, C, H, W), OC, G = x.shape, w.shape[0], g.groups
    y = np.empty((N, OC, OH, OW), x.dtype)
    narrow.sweep(
        x.reshape(-1),
        plain(w).reshape(-1),
        bias_of(b, OC, x.dtype),
        bounds_of(bounds, x.dtype),
        forward_offsets(C // G, H, W, g),
        (N, G, OC // G, OH, OW),
        (C * H * W, C // G * H * W, W),
        y.reshape(-1),
        (OC * OH * OW, OH * OW, OW, 0),
        *PIXELS.tags,
    )
    return y


@kernel("conv2d.grad_input", "numba", "narrow")
def narrow_grad_input(gy, w, x_shape, g: Window):
    """As ``grad_input``, with pixels in the vectors of a tile."""
    (N, C, H, W), OC, G = x_shape, w.shape[0], g.groups
    exchanged = w.reshape(G, OC // G, C // G, -1).transpose(0, 2, 1, 3)

    def compute(gy, phase, taps, offset, out):
        YH, YW = gy.shape[2:]
        narrow.sweep(
            gy.reshape(-1),
            plain(exchanged[..., taps]).reshape(-1),
            bias_of(None, C, gy.dtype),
            bounds_of(FREE, gy.dtype),
            offset,
            (N, G, C // G, *phase.size),
            (OC * YH * YW, OC // G * YH * YW, YW),
            out,
            (C * H * W, H * W, phase.size[1], phase.begin),
            *PIXELS.tags,
        )

    return by_phases(gy, w.shape, x_shape, g, compute, narrow.ROOM)


@kernel("conv2d.grad_weight", "numba", "narrow", unit_stride)
def narrow_grad_weight(gy, x, w_shape, g: Window):
    """As ``grad_weight``, with pixels in the vectors of a tile."""
    x = padded(x, g.padding, narrow.ROOM)
    offset = forward_offsets(x.shape[1] // g.groups, *x.shape[2:], g)
    return narrow.correlate(x, gy, offset, g.groups).reshape(w_shape)


@compiled
def _interleave(core, apart, places, stride, gx):
    for index in share(core, len(gx)):
        source, image = apart[index], gx[index]
        for number in range(len(places)):
            h, w, rows, columns, begin, met = places[number]
            for i in range(rows):
                for j in range(columns):
                    value = source[begin + i * columns + j] if met else source.dtype.type(0)
                    image[h + i * stride[0], w + j * stride[1]] = value


def interleave(apart, found, stride, gx):
    """Put the pixels of each phase in their places, and zeros where no tap met any."""
    places = np.array([(*p.first, *p.size, p.begin, len(p.taps) > 0) for p in found])
    N, C, H, W = gx.shape
    _interleave(apart.reshape(N * C, H * W), places, stride, gx.reshape(N * C, H, W))


@chooser("conv2d.forward", "numba")
@chooser("conv2d.forward_clipped", "numba")
def for_forward(x, w, b, g: Window, bounds=FREE):
    """What "auto" means for y."""
    OH, OW = g.output_size(*x.shape[2:])
    few = g.stride == (1, 1) and narrow.pays(w.shape[0] // g.groups, OH * OW)
    return choose(w.shape, g, (OH, OW), few)


@chooser("conv2d.grad_input", "numba")
def for_grad_input(gy, w, x_shape, g: Window):
    """What "auto" means for the gradient to x, whose pixels are this convolution's outputs."""
    few = narrow.pays(w.shape[1], x_shape[2] * x_shape[3] // (g.stride[0] * g.stride[1]))
    return choose(w.shape, g, x_shape[2:], few)


@chooser("conv2d.grad_weight", "numba")
def for_grad_weight(gy, x, w_shape, g: Window):
    """What "auto" means for the gradient to w; there is no pointwise kernel for it."""
    few = g.stride == (1, 1) and narrow.pays(w_shape[0] // g.groups, gy.shape[2] * gy.shape[3])
    names = [name for name in choose(w_shape, g, gy.shape[2:], few) if name != "pointwise"]
    if min(w_shape[:2]) < FEW_TO_CORRELATE:
        names.sort(key=lambda name: name.startswith("winograd"))
    return names


FEW_CHANNELS = 8  # below, transforming a tile costs more than its products
FEW_TO_CORRELATE = 32  # the same where two images are transformed: with 16 channels it took 1.4 times as long


def choose(w_shape, g: Window, size, few: bool):
    """The algorithms for a geometry with outputs of this size, in few channels or not, the best first.

    Filters of one channel each leave a register tile nearly empty: they have loops of their own. 1×1 is a
    matrix product as it stands. Few channels leave most lanes of a vector empty, unless pixels fill them.
    For 3×3 it is a question of the products for each pair of channels; where they are equal, of accuracy.
    Register tiles can do all that remains.
    """
    if g.groups > 1 and w_shape[1] == 1:
        return ["depthwise", "direct"]
    if g == Window((1, 1)):
        return ["pointwise", "direct"]
    if few:
        return ["narrow", "direct"]
    if not is_for(g) or min(w_shape[:2]) < FEW_CHANNELS:
        return ["direct"]
    tiles = {m: -(-size[0] // m) * -(-size[1] // m) for m in (2, 4)}
    products = {"direct": 9 * size[0] * size[1], "winograd2": 16 * tiles[2], "winograd": 36 * tiles[4]}
    return sorted(products, key=products.__getitem__)
