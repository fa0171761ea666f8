"""State that several replicas may write: accessors that are atomic where a service's mode asks for it.

A service's code is the same in all modes. In mode "atomic" its handlers, and the functions they call, get the atomic
twin of each accessor; so do a handler and a filter's function that are given a shared table, in every mode. Everywhere
else one replica at a time writes a table, and the accessors are plain. Each accessor has a Python body and a numba
lowering.

The field of a row is named by a literal string. Values are int64; the field is an integer of 32 or 64 bits.
"""

from collections.abc import Callable
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import types
from numba.core.cgutils import memset
from numba.extending import intrinsic, overload

from scout.io.access import lowering
from scout.paths.model.references import rebound
from scout.ring.atomics import compare_exchange, load64_acquire, store64_release
from scout.ring.errors import ScoutError
from scout.ring.jit import inline
from scout.ring.wait import relax

__all__ = ["acquire", "add_to", "atomically", "clear", "exchange_in", "load_from", "release", "store_to"]

_ATOMIC = ".atomic"
"""Ends the qualified names of atomic twins: the cache tells compiled functions apart by these names."""

_I8, _I64 = ir.IntType(8), ir.IntType(64)


def add_to(table: Any, row: int, field: str, value: int) -> int:
    """Add `value` to a field of a row; the field's value before."""
    record = table[row]
    before = getattr(record, field)
    setattr(record, field, before + value)
    return before


def load_from(table: Any, row: int, field: str) -> int:
    """The value of a field of a row."""
    return getattr(table[row], field)


def store_to(table: Any, row: int, field: str, value: int) -> None:
    """Write a field of a row."""
    setattr(table[row], field, value)


def exchange_in(table: Any, row: int, field: str, expected: int, value: int) -> bool:
    """Write a field of a row if its value is `expected`; True if it was."""
    record = table[row]
    if getattr(record, field) != expected:
        return False
    setattr(record, field, value)
    return True


def clear(table: Any, row: int) -> None:
    """Set all fields of a row to zero. Not atomic in any mode."""
    table.clear(row)


def _pointer(context: Any, builder: Any, table: Any, value: Any, row: Any, offset: int) -> Any:
    """Pointer to the byte at `offset` of a row."""
    data = builder.bitcast(context.make_array(table)(context, builder, value).data, _I8.as_pointer())
    start = builder.mul(row, ir.Constant(_I64, table.dtype.size))
    return builder.gep(data, [builder.add(start, ir.Constant(_I64, offset))])


def _field(table: Any, field: Any) -> tuple[int, Any]:
    """Offset and type of the field that is named."""
    if not isinstance(table, types.Array) or not isinstance(table.dtype, types.Record):
        raise TypeError(
            "add_to, load_from, store_to and exchange_in want a table with fields, as np.zeros(4, [('packets', 'i8')])"
        )
    if not isinstance(field, types.StringLiteral):
        raise TypeError(
            "add_to, load_from, store_to and exchange_in want the name of a field, written there as 'packets'"
        )
    name = field.literal_value
    if name not in table.dtype.fields:
        raise TypeError(f"the table has no field {name!r}")
    kind = table.dtype.typeof(name)
    if kind not in (types.int32, types.uint32, types.int64, types.uint64):
        raise TypeError(f"field {name!r} is no integer of 32 or 64 bits")
    return table.dtype.offset(name), kind


def _operation(emit: Callable[..., Any], returns: Any) -> Any:
    """An intrinsic whose code `emit(builder, pointer, expected, value, bytes)` writes, for a field of any width."""

    @intrinsic(prefer_literal=True)
    def operate(typingctx, table, row, field, expected, value):  # type: ignore[no-untyped-def]
        offset, kind = _field(table, field)
        width, whole = ir.IntType(kind.bitwidth), kind.bitwidth == 64

        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pointer = _pointer(context, builder, signature.args[0], args[0], args[1], offset)
            given = [each if whole else builder.trunc(each, width) for each in args[3:]]
            result = emit(builder, builder.bitcast(pointer, width.as_pointer()), *given, kind.bitwidth // 8)
            if returns == types.void:
                return context.get_dummy_value()
            if returns == types.boolean or whole:
                return result
            return (builder.sext if kind.signed else builder.zext)(result, _I64)

        return returns(table, types.int64, field, types.int64, types.int64), codegen

    return operate


# Each operation plain, then atomic. A replica that reads a value with acquire order also sees all that was written
# before the release that stored the value.


def _plain_add(builder: Any, pointer: Any, expected: Any, value: Any, size: int) -> Any:
    before = builder.load(pointer, align=size)
    builder.store(builder.add(before, value), pointer, align=size)
    return before


def _atomic_add(builder: Any, pointer: Any, expected: Any, value: Any, size: int) -> Any:
    return builder.atomic_rmw("add", pointer, value, "acq_rel")


def _plain_load(builder: Any, pointer: Any, expected: Any, value: Any, size: int) -> Any:
    return builder.load(pointer, align=size)


def _atomic_load(builder: Any, pointer: Any, expected: Any, value: Any, size: int) -> Any:
    return builder.load_atomic(pointer, "acquire", size)


def _plain_store(builder: Any, pointer: Any, expected: Any, value: Any, size: int) -> Any:
    builder.store(value, pointer, align=size)


def _atomic_store(builder: Any, pointer: Any, expected: Any, value: Any, size: int) -> Any:
    builder.store_atomic(value, pointer, "release", size)


def _plain_exchange(builder: Any, pointer: Any, expected: Any, value: Any, size: int) -> Any:
    before = builder.load(pointer, align=size)
    same = builder.icmp_signed("==", before, expected)
    builder.store(builder.select(same, value, before), pointer, align=size)
    return same


def _atomic_exchange(builder: Any, pointer: Any, expected: Any, value: Any, size: int) -> Any:
    result = builder.cmpxchg(pointer, expected, value, "acq_rel", "acquire")
    return builder.extract_value(result, 1)


def _lower(body: Any, implement: Callable[[Any], Any], plain: Any, atomic: Any, returns: Any, assigns: bool) -> None:
    """Give `body` its plain lowering, and an atomic twin that has the atomic one."""
    body.atomic = FunctionType(body.__code__, body.__globals__, body.__name__)
    body.atomic.__qualname__ += _ATOMIC
    for function, emit in ((body, plain), (body.atomic, atomic)):
        function.has_lowering = True  # the compiler leaves such functions alone
        function.assigns = (0,) if assigns else ()
        overload(function, inline="always", prefer_literal=True)(implement(_operation(emit, returns)))


def _implement_add(operate: Any) -> Any:
    def implement(table, row, field, value):  # type: ignore[no-untyped-def]
        return lambda table, row, field, value: operate(table, row, field, 0, value)

    return implement


def _implement_load(operate: Any) -> Any:
    def implement(table, row, field):  # type: ignore[no-untyped-def]
        return lambda table, row, field: operate(table, row, field, 0, 0)

    return implement


def _implement_exchange(operate: Any) -> Any:
    def implement(table, row, field, expected, value):  # type: ignore[no-untyped-def]
        return lambda table, row, field, expected, value: operate(table, row, field, expected, value)

    return implement


_lower(add_to, _implement_add, _plain_add, _atomic_add, types.int64, assigns=True)
_lower(load_from, _implement_load, _plain_load, _atomic_load, types.int64, assigns=False)
_lower(store_to, _implement_add, _plain_store, _atomic_store, types.void, assigns=True)
_lower(exchange_in, _implement_exchange, _plain_exchange, _atomic_exchange, types.boolean, assigns=True)


@intrinsic
def _clear(typingctx, table, row):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        pointer = _pointer(context, builder, kind, args[0], args[1], 0)
        memset(builder, pointer, ir.Constant(_I64, kind.dtype.size), 0)
        return context.get_dummy_value()

    return types.void(table, types.int64), codegen


@lowering(clear)
def _native_clear(table, row):  # type: ignore[no-untyped-def]
    return lambda table, row: _clear(table, row)


clear.assigns = (0,)  # type: ignore[attr-defined]


def atomically(function: Any) -> Any:
    """A copy of `function` in which it and all plain functions that it calls use the atomic twins of the accessors."""
    done: dict[Any, Any] = {}

    def twin(value: Any) -> Any:
        if hasattr(value, "has_lowering"):
            return getattr(value, "atomic", value)
        if not isinstance(value, FunctionType):
            return value
        if value not in done:
            done[value] = rebound(value, twin)
            done[value].__qualname__ += _ATOMIC
        return done[value]

    return twin(function)


# The lock of mode "locked" is a word: 0 if it is free, else the number of the replica that holds it plus 1, so that the
# supervisor can free it when that replica has died.


def acquire(lock: Any, number: Any) -> None:
    """Take the lock for the replica whose number plus 1 is `number[0]`; wait while another replica holds it."""
    if lock[0]:
        raise ScoutError(f"the lock is held by replica {lock[0] - 1}")
    lock[0] = number[0]


@lowering(acquire)
def _native_acquire(lock, number):  # type: ignore[no-untyped-def]
    return lambda lock, number: _take(lock.ctypes.data, number[0])


@inline
def _take(word: int, number: int) -> None:
    looks = 0
    # Acquire order: sees all that the last holder wrote before its release (`release`).
    while not compare_exchange(word, 0, number):
        while load64_acquire(word) != 0:  # reading alone leaves the cache line with the holder
            relax(looks)
            looks += 1


def release(lock: Any) -> None:
    """Free the lock."""
    lock[0] = 0


@lowering(release)
def _native_release(lock):  # type: ignore[no-untyped-def]
    # Release order: the next holder's compare-exchange (`acquire`) sees all that was written under the lock.
    return lambda lock: store64_release(lock.ctypes.data, 0)
