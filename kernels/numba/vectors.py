"""Vectors for Numba, which knows none: the LLVM instructions that the intrinsics of this folder emit.

An intrinsic is a function whose machine code we write ourselves, an instruction at a time, in LLVM's
language, which is the same for every processor. It is compiled for the machine it runs on; no C compiler
is needed. :class:`Emitter` has the few instructions that the kernels are made of.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir


def _vector_bytes() -> int:
    features = binding.get_host_cpu_features()
    if features.get("avx512f"):
        return 64
    return 32 if features.get("avx2") and features.get("fma") else 16


VECTOR_BYTES = _vector_bytes()
"""Bytes in a vector register of this machine: 64 with AVX-512, 32 with AVX2, 16 with NEON or SSE."""

WHOLE = ir.IntType(64)


class Emitter:
    """Writes instructions on vectors of one dtype into the function that Numba is compiling.

    Built from an intrinsic's own arguments, of which ``pointer`` and ``number`` then speak by position.
    Indices count numbers, not bytes or vectors, and may be Python's or the program's.
    """

    def __init__(
        self, context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any, dtype: Any
    ) -> None:
        self.context, self.builder, self.types, self.arguments = context, builder, signature.args, arguments
        self.bits = dtype.bitwidth
        self.lanes = VECTOR_BYTES * 8 // self.bits
        self.single = ir.FloatType() if self.bits == 32 else ir.DoubleType()
        self.vector = ir.VectorType(self.single, self.lanes)
        self.zero = ir.Constant(self.vector, None)

    def pointer(self, position: int, start: Any = None) -> ir.Value:
        """Into the flat array that is this argument, as far as ``start`` or the next argument says."""
        array = self.context.make_array(self.types[position])
        data = array(self.context, self.builder, self.arguments[position]).data
        return self.at(data, self.arguments[position + 1] if start is None else start)

    def index(self, *factors: Any) -> ir.Value:
        """The product of whole numbers, Python's or the program's."""
        product = None
        for factor in factors:
            factor = factor if isinstance(factor, ir.Value) else WHOLE(factor)
            product = factor if product is None else self.builder.mul(product, factor)
        return product

    def at(self, pointer: ir.Value, index: Any) -> ir.Value:
        """The pointer moved on."""
        return self.builder.gep(pointer, [self.index(index)])

    def number(self, pointer: ir.Value, index: Any) -> ir.Value:
        """A single number from memory."""
        return self.builder.load(self.at(pointer, index))

    def load(self, pointer: ir.Value, index: Any) -> ir.Value:
        """A vector from memory."""
        value = self.builder.load(self._vector_at(pointer, index))
        value.align = self.bits // 8  # no more than that of a single number
        return value

    def store(self, value: ir.Value, pointer: ir.Value, index: Any) -> None:
        """A vector to memory."""
        self.builder.store(value, self._vector_at(pointer, index)).align = self.bits // 8

    def _vector_at(self, pointer: ir.Value, index: Any) -> ir.Value:
        return self.builder.bitcast(self.at(pointer, index), self.vector.as_pointer())

    def constant(self, value: float) -> ir.Value:
        """A vector of the same number in each lane."""
        return ir.Constant(self.vector, [self.single(float(value))] * self.lanes)

    def spread(self, number: ir.Value) -> ir.Value:
        """A vector with this number in each lane."""
        blank = ir.Constant(self.vector, ir.Undefined)
        lane = self.builder.insert_element(blank, number, ir.IntType(32)(0))
        return self.shuffle(lane, blank, [0] * self.lanes)

    def shuffle(self, a: ir.Value, b: ir.Value, lanes: list[int]) -> ir.Value:
        """A vector of these lanes of a, and from number ``self.lanes`` on, of b."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), self.lanes), lanes)
        return self.builder.shuffle_vector(a, b, mask)

    def clip(self, a: ir.Value, low: ir.Value, high: ir.Value) -> ir.Value:
        """min(max(a, low), high), where a NaN passes."""
        a = self.builder.select(self.builder.fcmp_ordered("<", a, low), low, a)
        return self.builder.select(self.builder.fcmp_ordered(">", a, high), high, a)

    def fma(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        """a · b + c, rounded once; declared by hand, as llvmlite's helper knows single numbers only."""
        name = f"llvm.fma.v{self.lanes}f{self.bits}"
        module = self.builder.module
        fma = module.globals.get(name)
        if fma is None:
            fma = ir.Function(module, ir.FunctionType(self.vector, [self.vector] * 3), name)
        return self.builder.call(fma, [a, b, c])
