"""Memory by address: plain and atomic accesses with an explicit order, for compiled code only.

Numba has no CPU atomics (numba#2988); these are made with llvmlite. Addresses and values are int64. An
order says what the access pairs with: `load_acquire` sees all that was written before the
`store_release`, or the releasing half of the `fetch_*`, whose value it reads.

"""

import platform
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

__all__ = [
    "compare_exchange",
    "copy",
    "count_rare",
    "exchange",
    "fence",
    "fetch_add",
    "fetch_and",
    "fetch_or",
    "fetch_sub",
    "load32",
    "load32_acquire",
    "load64",
    "load64_acquire",
    "load64_seq",
    "move",
    "pause",
    "popcount",
    "prefetch",
    "prefetch_read",
    "store32",
    "store32_release",
    "store64",
    "store64_release",
    "sum_words",
]

_I8, _I32, _I64 = ir.IntType(8), ir.IntType(32), ir.IntType(64)


def _pointer(builder: Any, address: Any, width: Any) -> Any:
    return builder.inttoptr(address, width.as_pointer())


def _load(bits: int, order: str) -> Any:
    width = ir.IntType(bits)

    @intrinsic
    def load(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pointer = _pointer(builder, args[0], width)
            value = builder.load_atomic(pointer, order, bits // 8) if order else builder.load(pointer, align=1)
            return value if bits == 64 else builder.zext(value, _I64)

        return types.int64(types.int64), codegen

    return load


def _store(bits: int, order: str) -> Any:
    width = ir.IntType(bits)

    @intrinsic
    def store(typingctx, address, value):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pointer = _pointer(builder, args[0], width)
            value = args[1] if bits == 64 else builder.trunc(args[1], width)
            if order:
                builder.store_atomic(value, pointer, order, bits // 8)
            else:
                builder.store(value, pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    return store


def _fetch(operation: str, order: str = "acq_rel") -> Any:
    @intrinsic
    def fetch(typingctx, address, value):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            # acq_rel: a thread that reads the result sees this thread's earlier stores, and the other way round.
            return builder.atomic_rmw(operation, _pointer(builder, args[0], _I64), args[1], order)

        return types.int64(types.int64, types.int64), codegen

    return fetch


load32, load64 = _load(32, ""), _load(64, "")
store32, store64 = _store(32, ""), _store(64, "")
load32_acquire, load64_acquire = _load(32, "acquire"), _load(64, "acquire")
store32_release, store64_release = _store(32, "release"), _store(64, "release")
load64_seq = _load(64, "seq_cst")
fetch_add: Any = _fetch("add")
fetch_sub: Any = _fetch("sub")
# seq_cst: all threads see one order of these accesses. For words that two sides write and then read crosswise, where at
# least one side has to see the other's store.
exchange, fetch_or, fetch_and = _fetch("xchg", "seq_cst"), _fetch("or", "seq_cst"), _fetch("and", "seq_cst")


@intrinsic
def _compare_exchange(typingctx, address, expected, value):  # type: ignore[no-untyped-def]
    """True if the word held `expected` and now holds `value` (acq_rel; acquire on failure)."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        pointer = _pointer(builder, args[0], _I64)
        result = builder.cmpxchg(pointer, args[1], args[2], "acq_rel", "acquire")
        return builder.extract_value(result, 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


compare_exchange: Any = _compare_exchange


@intrinsic
def _fence(typingctx):  # type: ignore[no-untyped-def]
    """Everything before happens before everything after, for all threads (seq_cst)."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), codegen


fence: Any = _fence


@intrinsic
def _popcount(typingctx, value):  # type: ignore[no-untyped-def]
    """How many bits of `value` are set."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.ctpop(args[0])

    return types.int64(types.int64), codegen


popcount: Any = _popcount


def _memory_intrinsic(name: str) -> Any:
    @intrinsic
    def call(typingctx, target, source, size):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pointer = _I8.as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [pointer, pointer, _I64, ir.IntType(1)])
            function = builder.module.declare_intrinsic(name, [pointer, pointer, _I64], kind)
            target, source = (builder.inttoptr(argument, pointer) for argument in args[:2])
            builder.call(function, [target, source, args[2], ir.Constant(ir.IntType(1), 0)])
            return context.get_dummy_value()

        return types.void(types.int64, types.int64, types.int64), codegen

    return call


copy = _memory_intrinsic("llvm.memcpy")
"""copy(target, source, bytes): the two may not overlap."""
move = _memory_intrinsic("llvm.memmove")
"""move(target, source, bytes): the two may overlap."""


_WORDS = 64  # of 32 bits, that `sum_words` adds up


@intrinsic
def _sum_words(typingctx, address):  # type: ignore[no-untyped-def]
    """The sum of the 64 words of 32 bits at an address: LLVM makes no vectors of loads from computed addresses."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        vector = ir.VectorType(_I64, 8)
        low, half = (ir.Constant(vector, [number] * 8) for number in (0xFFFFFFFF, 32))
        total = ir.Constant(vector, [0] * 8)
        for offset in range(0, _WORDS * 4, 64):
            words = builder.load(_pointer(builder, builder.add(args[0], ir.Constant(_I64, offset)), vector), align=1)
            total = builder.add(total, builder.add(builder.and_(words, low), builder.lshr(words, half)))
        name = "llvm.vector.reduce.add.v8i64"
        function = builder.module.globals.get(name)
        if function is None:
            function = ir.Function(builder.module, ir.FunctionType(_I64, [vector]), name)
        return builder.call(function, [total])

    return types.int64(types.int64), codegen


sum_words: Any = _sum_words


def _prefetch(writes: int) -> Any:
    @intrinsic
    def call(typingctx, address):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pointer = _I8.as_pointer()
            kind = ir.FunctionType(ir.VoidType(), [pointer, _I32, _I32, _I32])
            function = builder.module.declare_intrinsic("llvm.prefetch", [pointer], kind)
            constants = [ir.Constant(_I32, number) for number in (writes, 3, 1)]  # for all levels, data
            builder.call(function, [builder.inttoptr(args[0], pointer), *constants])
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    return call


prefetch: Any = _prefetch(1)
prefetch_read: Any = _prefetch(0)
"""prefetch(address): ask for the cache line there, to be written soon; `prefetch_read`: only to be read."""


@intrinsic
def _pause(typingctx):  # type: ignore[no-untyped-def]
    """Tell the core that this is a spin loop (`pause` on x86, `yield` on ARM)."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        hint = {"x86_64": "pause", "aarch64": "yield"}.get(platform.machine(), "")
        builder.asm(ir.FunctionType(ir.VoidType(), []), hint, "", [], side_effect=True)
        return context.get_dummy_value()

    return types.void(), codegen


pause: Any = _pause


@intrinsic
def _count_rare(typingctx, address):  # type: ignore[no-untyped-def]
    """Add 1 to the word at `address`, by a call that tells LLVM that this is seldom.

    A block with a call of a cold function is laid out away from the others: the usual way runs straight on.
    """

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(ir.VoidType(), [_I64])
        function = builder.module.globals.get("scout_count_rare")
        if function is None:
            function = ir.Function(builder.module, kind, "scout_count_rare")
            function.linkage = "linkonce_odr"
            function.attributes.add("cold")
            function.attributes.add("noinline")
            inner = ir.IRBuilder(function.append_basic_block())
            pointer = _pointer(inner, function.args[0], _I64)
            inner.store(inner.add(inner.load(pointer), ir.Constant(_I64, 1)), pointer)
            inner.ret_void()
        builder.call(function, [args[0]])
        return context.get_dummy_value()

    return types.void(types.int64), codegen


count_rare: Any = _count_rare
