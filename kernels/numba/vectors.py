"""Vectors for Numba, which knows none: the LLVM instructions that the intrinsics of this folder emit.

An intrinsic is a function whose machine code we write ourselves, an instruction at a time, in LLVM's
language, which is the same for every processor. It is compiled for the machine it runs on; no C compiler
is needed. :class:`Emitter` has the few instructions that the kernels are made of.
"""

from __future__ import annotations

from collections.abc import Sequence
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
        self,
        context: Any,
        builder: ir.IRBuilder,
        signature: Any,
        arguments: Any,
        dtype: Any,
        lanes: int | None = None,
    ) -> None:
        self.context, self.builder, self.types, self.arguments = context, builder, signature.args, arguments
        self.bits = dtype.bitwidth
        self.lanes = VECTOR_BYTES * 8 // self.bits if lanes is None else lanes
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
        return self._load(pointer, index, self.vector)

    def load_each(self, step: int, pointer: ir.Value, index: Any) -> ir.Value:
        """A vector of every ``step``-th number; those after the last one are read, too."""
        if step == 1:
            return self.load(pointer, index)
        value = self._load(pointer, index, ir.VectorType(self.single, step * self.lanes))
        return self._lanes_of(value, range(0, step * self.lanes, step))

    def _load(self, pointer: ir.Value, index: Any, vector: ir.VectorType) -> ir.Value:
        value = self.builder.load(self._vector_at(pointer, index, vector))
        value.align = self.bits // 8  # no more than that of a single number
        return value

    def store(self, value: ir.Value, pointer: ir.Value, index: Any) -> None:
        """A vector, of any length, to memory."""
        self.builder.store(value, self._vector_at(pointer, index, value.type)).align = self.bits // 8

    def store_first(self, count: ir.Value, value: ir.Value, pointer: ir.Value, index: Any) -> None:
        """So many of a vector's numbers, or all, to memory: nothing else is touched."""
        n, module = value.type.count, self.builder.module
        numbers = ir.VectorType(WHOLE, n)
        lanes = ir.Constant(numbers, list(range(n)))
        wanted = self.builder.icmp_signed("<", lanes, self._splat(count, numbers))
        place = self._vector_at(pointer, index, value.type)
        arguments = [value, place, ir.IntType(32)(self.bits // 8), wanted]
        name = f"llvm.masked.store.v{n}f{self.bits}.p0"
        store = module.globals.get(name)
        if store is None:
            kind = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
            store = ir.Function(module, kind, name)
        self.builder.call(store, arguments)

    def _vector_at(self, pointer: ir.Value, index: Any, vector: ir.VectorType) -> ir.Value:
        return self.builder.bitcast(self.at(pointer, index), vector.as_pointer())

    def constant(self, value: float) -> ir.Value:
        """A vector of the same number in each lane."""
        return ir.Constant(self.vector, [self.single(float(value))] * self.lanes)

    def spread(self, number: ir.Value) -> ir.Value:
        """A vector with this number in each lane."""
        return self._splat(number, self.vector)

    def _splat(self, number: ir.Value, vector: ir.VectorType) -> ir.Value:
        first = self.builder.insert_element(ir.Constant(vector, ir.Undefined), number, ir.IntType(32)(0))
        return self._lanes_of(first, [0] * vector.count)

    def shuffle(self, a: ir.Value, b: ir.Value, lanes: Sequence[int]) -> ir.Value:
        """A vector of these lanes of a and, after its last one, of b."""
        mask = ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), list(lanes))
        return self.builder.shuffle_vector(a, b, mask)

    def _lanes_of(self, a: ir.Value, lanes: Sequence[int]) -> ir.Value:
        return self.shuffle(a, ir.Constant(a.type, ir.Undefined), lanes)

    def in_turns(self, vectors: list[ir.Value]) -> ir.Value:
        """A long vector: the first number of each of these, then the second of each, and so on."""
        joined, count = vectors[0], len(vectors)
        for n, vector in enumerate(vectors[1:], 1):
            # Two vectors are shuffled at a time, and they must be equally long.
            longer = self._lanes_of(vector, [i % self.lanes for i in range(n * self.lanes)])
            joined = self.shuffle(joined, longer, range((n + 1) * self.lanes))
        order = [i % count * self.lanes + i // count for i in range(count * self.lanes)]
        return self._lanes_of(joined, order)

    def keep(self, a: ir.Value, bits: ir.Value) -> ir.Value:
        """a where all bits are set, and 0 where none is."""
        return self.builder.bitcast(self.builder.and_(self.builder.bitcast(a, bits.type), bits), a.type)

    def bits_at(self, pointer: ir.Value, index: Any) -> ir.Value:
        """A vector of whole numbers as long as the others, from memory."""
        return self._load(pointer, index, ir.VectorType(ir.IntType(self.bits), self.lanes))

    def sum(self, a: ir.Value) -> ir.Value:
        """The sum of a vector's numbers, neighbours first."""
        numbers = [self.builder.extract_element(a, WHOLE(lane)) for lane in range(self.lanes)]
        while len(numbers) > 1:
            numbers = [self.builder.fadd(*pair) for pair in zip(numbers[::2], numbers[1::2], strict=True)]
        return numbers[0]

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
