"""The micro-kernel: every convolution pass, forward and backward, is this one product.

    Y[q, o] = Σ_k X[base_q + offset_k] · W[k, o]

In forward, q is an output pixel, k a filter tap (c, i, j), o an output channel: base_q is where the
pixel's window begins in the padded image, offset_k how far from there the tap looks. No im2col buffer
is formed, since X is read in place, through two short tables; stride, dilation and padding live in
the tables and cost nothing. The two gradients are the same product with other tables (see conv.py).

A *tile* of some rows by some vectors is held in registers while k runs. Each step reads the vectors of
W and a single number of X for each row, and makes rows · vectors fused multiply-adds: with the shapes
below, more arithmetic than memory can slow down. Numba knows no vector type, so the tile is emitted as
LLVM instructions by an intrinsic. It is compiled for the machine it runs on; no C compiler is needed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from llvmlite import binding, ir
from numba import types
from numba.extending import intrinsic


class Tile(NamedTuple):
    """Rows (single numbers of X), vectors (of W), and bytes in a vector."""

    rows: int
    vectors: int
    vector_bytes: int

    def width(self, dtype: np.dtype) -> int:
        """Channels in a tile."""
        return self.vectors * self.vector_bytes // dtype.itemsize

    @property
    def tags(self) -> tuple[tuple[bool, ...], tuple[bool, ...]]:
        """Rows and vectors as the lengths of tuples: what the compiler can see of an argument is its type."""
        return (False,) * self.rows, (False,) * self.vectors


def _tiles() -> tuple[Tile, Tile]:
    """The tiles for this machine: one for many channels, one for up to half as many.

    The accumulators, a step's vectors of W and one number of X must fit the registers: 16 of 32 bytes with
    AVX2, 32 of 64 bytes with AVX-512, 32 of 16 bytes with NEON.
    """
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return Tile(12, 2, 64), Tile(24, 1, 64)
    if features.get("avx2") and features.get("fma"):
        return Tile(6, 2, 32), Tile(12, 1, 32)
    if features.get("neon"):
        return Tile(6, 4, 16), Tile(12, 2, 16)
    return Tile(4, 2, 16), Tile(8, 1, 16)


WIDE, NARROW = _tiles()


def _tile(typing_context, x, x0, base, base0, offset, k0, count, w, w0, y, y0, fresh, rows, vectors):
    """A register tile of the product above, for ``count`` values of k.

    x, base, offset, w and y are flat arrays; x0, base0, k0, w0 and y0 say where in them to begin. w has a
    row of vectors for each k, y one for each row of the tile. y is overwritten if fresh, else added to.
    """
    signature = types.void(x, x0, base, base0, offset, k0, count, w, w0, y, y0, fresh, rows, vectors)

    def emit(context, builder, signature, arguments):
        def begin(position):
            """A pointer into the array that is argument ``position``, as far in as the next argument says."""
            array = context.make_array(signature.args[position])(context, builder, arguments[position])
            return builder.gep(array.data, [arguments[position + 1]])

        bits = x.dtype.bitwidth
        shape = len(rows), len(vectors), WIDE.vector_bytes * 8 // bits
        pointers = [begin(position) for position in (0, 2, 4, 7, 9)]
        _emit(builder, shape, bits, pointers, arguments[6], arguments[11])
        return context.get_dummy_value()

    return signature, emit


tile: Any = intrinsic(_tile)


def _emit(b, shape, bits, pointers, count, fresh):
    """entry -> (resume: load Y) -> loop over k -> done: store Y, with the sums in registers throughout."""
    rows, vectors, lanes = shape
    x, base, offset, w, y = pointers
    number = ir.FloatType() if bits == 32 else ir.DoubleType()
    vector, whole = ir.VectorType(number, lanes), ir.IntType(64)
    cells = [(p, v) for p in range(rows) for v in range(vectors)]

    def at(pointer, index):
        return b.gep(pointer, [index if isinstance(index, ir.Value) else whole(index)])

    def vector_at(pointer, index):
        return b.bitcast(at(pointer, index), vector.as_pointer())

    def load_vector(pointer, index):
        value = b.load(vector_at(pointer, index))
        value.align = bits // 8  # no more than that of a single number
        return value

    windows = [at(x, b.load(at(base, p))) for p in range(rows)]
    fma = _declare_fma(b.module, vector, lanes, bits)
    entry, resume, loop, done = b.block, *(b.append_basic_block(n) for n in ("resume", "loop", "done"))
    b.cbranch(fresh, loop, resume)

    b.position_at_end(resume)
    so_far = {(p, v): load_vector(y, (p * vectors + v) * lanes) for p, v in cells}
    b.branch(loop)

    b.position_at_end(loop)
    k = b.phi(whole)
    sums = {cell: b.phi(vector) for cell in cells}
    look = b.load(at(offset, k))
    row_of_w = at(w, b.mul(k, whole(vectors * lanes)))
    weights = [load_vector(row_of_w, v * lanes) for v in range(vectors)]
    blank = ir.Constant(vector, ir.Undefined)
    first_lane = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
    added = {}
    for p in range(rows):
        single = b.insert_element(blank, b.load(at(windows[p], look)), ir.IntType(32)(0))
        spread = b.shuffle_vector(single, blank, first_lane)
        for v in range(vectors):
            added[p, v] = b.call(fma, [spread, weights[v], sums[p, v]])
    following = b.add(k, whole(1))
    b.cbranch(b.icmp_signed("<", following, count), loop, done)

    for start in (entry, resume):
        k.add_incoming(whole(0), start)
    k.add_incoming(following, loop)
    for cell in cells:
        sums[cell].add_incoming(ir.Constant(vector, None), entry)
        sums[cell].add_incoming(so_far[cell], resume)
        sums[cell].add_incoming(added[cell], loop)

    b.position_at_end(done)
    for p, v in cells:
        b.store(added[p, v], vector_at(y, (p * vectors + v) * lanes)).align = bits // 8


def _declare_fma(module: ir.Module, vector: ir.Type, lanes: int, bits: int) -> ir.Function:
    """LLVM's fused multiply-add on vectors, declared by hand: llvmlite's helper knows only single numbers."""
    name = f"llvm.fma.v{lanes}f{bits}"
    return module.globals.get(name) or ir.Function(module, ir.FunctionType(vector, [vector] * 3), name)
