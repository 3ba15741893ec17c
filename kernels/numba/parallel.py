"""A function that runs on all cores at once, on each of them with a part of the work.

Numba has loops for this (``prange``), but takes them apart and compiles their bodies four times over: 0.8 s
for the three lines of ReLU, and 23 s for all that a step of LeNet-5 needs. Here a kernel is compiled as any
other function is, and a few instructions around it hand it to Numba's threads: 0.2 s, and 8 s.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import FunctionType
from typing import Any

import numba
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, compiler
from numba.core.registry import cpu_target
from numba.extending import intrinsic

from minicnn.kernels.numba.vectors import WHOLE

SPINS = "10000"
"""How often a thread that waits looks for work before it sleeps: for about as long as the Python between
two kernels takes. GNU's OpenMP looks 30 times as often. Where the cores are free that is no gain: a step of
LeNet-5 on two cores took 2.4 ms, with OpenMP's count 2.7 (medians of four runs). Where two other programs
keep both cores busy, it keeps from work those for which it waits: 370 ms in place of 30."""


def _load_threads() -> None:
    """Start Numba's threads, which machine code from disk refers to. They read the environment only here."""
    chosen = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys()
    if not chosen:
        os.environ["GOMP_SPINCOUNT"] = SPINS
    numba.get_num_threads()
    if not chosen:
        del os.environ["GOMP_SPINCOUNT"]  # other programs, begun from here, have their own


_load_threads()

CORE = types.UniTuple(types.intp, 2)  # its number, and how many there are
BYTES = ir.IntType(8).as_pointer()
PLACES = WHOLE.as_pointer()

_run: Any = None  # for type checkers: each kernel's copy of _launch has its own


def _launch(*arguments):
    return _run(arguments)


def on_all_cores(function: Callable[..., None], **options: Any) -> Any:
    """A dispatcher that runs the function on all cores, and returns whether it failed on any of them.

    The function's first parameter is a CORE; those after it are the dispatcher's.
    """
    # Numba keeps machine code by a function's file, line and name: the copy goes by those of the kernel.
    own = function.__code__
    code = _launch.__code__.replace(
        co_filename=own.co_filename,
        co_firstlineno=own.co_firstlineno,
        co_name=own.co_name,
        co_qualname=own.co_qualname,
    )
    names = {"_run": intrinsic(_runner(function, options)), "__name__": function.__module__}
    return njit(**options)(FunctionType(code, names))


def _runner(function: Callable[..., None], options: dict[str, Any]) -> Any:
    """What the intrinsic is made of that calls the function, on all cores, with a tuple of arguments."""

    def run(typing_context, arguments):
        def emit(context, builder, signature, given):
            part = _part(context, builder.module, function, options, arguments)
            failed = cgutils.alloca_once_value(builder, WHOLE(0))
            data = cgutils.pack_struct(builder, [_borrowed(context, builder, arguments, given[0]), failed])
            _parallel_for(builder, part, cgutils.alloca_once_value(builder, data))
            return builder.icmp_signed("!=", builder.load(failed), WHOLE(0))

        return types.boolean(arguments), emit

    return run


def _borrowed(context: Any, builder: ir.IRBuilder, kind: Any, value: ir.Value) -> ir.Value:
    """The same arrays without owners, so that no reference is counted, in a place that all cores share."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = ir.Constant(array.meminfo.type, None)
        return array._getvalue()
    for position, inner in enumerate(getattr(kind, "types", ())):  # of a tuple's entries
        borrowed = _borrowed(context, builder, inner, builder.extract_value(value, position))
        value = builder.insert_value(value, borrowed, position)
    return value


def _part(context, module: ir.Module, function, options: dict[str, Any], arguments) -> ir.Function:
    """What a thread calls: the function, for the cores numbered from args[0] on, dims[0] of them.

    What its pointers point to has been put there by :func:`_parallel_for`, and ``data`` by the intrinsic.
    """
    flags: Any = compiler.Flags()
    cpu_target.options.parse_as_flags(flags, {"nopython": True, **options, "no_cpython_wrapper": True})
    flags.no_compile = True
    signature = types.void(CORE, *arguments.types)
    # Into the caller's own library. In one of its own it would be optimised twice, sums reordered twice, and
    # the process that compiles could run the first of the two, those that read from disk the second.
    library = context.active_code_library
    compiled = compiler.compile_internal(
        context.typing_context, context, library, function, signature.args, types.void, flags, {}
    )

    type_of_data = ir.LiteralStructType([context.get_value_type(arguments), PLACES])
    entry = ir.FunctionType(ir.VoidType(), [BYTES.as_pointer(), PLACES, PLACES, BYTES])
    part = ir.Function(module, entry, module.get_unique_name("part"))
    part.linkage = "internal"
    builder = ir.IRBuilder(part.append_basic_block())
    args, dims, steps, data = part.args
    data = builder.load(builder.bitcast(data, type_of_data.as_pointer()))
    given, failed = cgutils.unpack_tuple(builder, data)
    values = cgutils.unpack_tuple(builder, given)
    body = context.declare_function(module, compiled.fndesc)
    first = builder.ptrtoint(builder.load(args), WHOLE)
    end, cores = builder.add(first, builder.load(dims)), builder.load(builder.gep(steps, [WHOLE(1)]))
    with cgutils.for_range_slice(builder, first, end, WHOLE(1)) as (number, _):
        core = context.make_tuple(builder, CORE, [number, cores])
        status, _ = context.call_conv.call_function(
            builder, body, types.void, signature.args, [core, *values]
        )
        with cgutils.if_unlikely(builder, status.is_error):
            builder.store(WHOLE(1), failed)
    builder.ret_void()
    return part


def _parallel_for(builder: ir.IRBuilder, part: ir.Function, data: ir.Value) -> None:
    """Call Numba's loop on all threads in use.

    It is made for functions of arrays, and calls them with the addresses of elements. Here there is one
    "array", which begins at address 0 and whose elements are a byte each: addresses are the cores' numbers.
    """
    get_threads = ir.FunctionType(ir.IntType(32), [])
    number = builder.call(cgutils.get_or_insert_function(builder.module, get_threads, "get_num_threads"), [])
    threads = builder.sext(number, WHOLE)
    args = cgutils.alloca_once_value(builder, ir.Constant(BYTES, None))
    dims = cgutils.alloca_once_value(builder, threads)
    steps = cgutils.alloca_once(builder, WHOLE, size=2)
    builder.store(WHOLE(1), steps)
    builder.store(threads, builder.gep(steps, [WHOLE(1)]))  # read by _part alone
    part, data = builder.bitcast(part, BYTES), builder.bitcast(data, BYTES)
    arguments = [part, args, dims, steps, data, WHOLE(0), WHOLE(1), number]
    loop = ir.FunctionType(ir.VoidType(), [argument.type for argument in arguments])
    builder.call(cgutils.get_or_insert_function(builder.module, loop, "numba_parallel_for"), arguments)
