"""Ranges of an array for code that runs compiled and as plain Python: filled, copied, and asked for ahead of their use.

Numba has slices too, but copies one by memory that it counts references to, which compiled code here does without.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic, overload

from scout.ring.atomics import prefetch_read

__all__ = ["copy_range", "fetch", "fill_range"]


def fill_range(array: Any, first: int, count: int, value: int) -> None:
    """Give `count` items of an array from `first` on a value; also in plain Python."""
    array[first : first + count] = value


def copy_range(array: Any, target: int, source: int, count: int) -> None:
    """Copy `count` items of an array from `source` on to `target` on, which do not overlap; also in plain Python."""
    array[target : target + count] = array[source : source + count]


def fetch(array: Any, index: int) -> None:
    """Ask for the cache line of an item of an array, to be read soon; nothing in plain Python."""


# All have a lowering of their own: the compiler of paths does not translate their Python bodies.
_OWN: tuple[tuple[Any, tuple[int, ...]], ...] = ((fill_range, (0,)), (copy_range, (0,)), (fetch, ()))
for _function, _assigned in _OWN:
    _function.has_lowering, _function.assigns = True, _assigned

_OPTIONS: dict[str, Any] = {"forceinline": True, "_nrt": False}


@overload(fill_range, jit_options=_OPTIONS)  # type: ignore[arg-type]
def _fill_range(array, first, count, value):  # type: ignore[no-untyped-def]
    def fill(array, first, count, value):  # type: ignore[no-untyped-def]
        for index in range(first, first + count):
            array[index] = value

    return fill


@overload(copy_range, jit_options=_OPTIONS)  # type: ignore[arg-type]
def _copy_range(array, target, source, count):  # type: ignore[no-untyped-def]
    def copy(array, target, source, count):  # type: ignore[no-untyped-def]
        for index in range(count):
            array[target + index] = array[source + index]

    return copy


@intrinsic
def _address_of(typingctx, array, index):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = signature.args[0]
        data = context.make_array(kind)(context, builder, args[0]).data
        return builder.ptrtoint(builder.gep(data, [args[1]]), context.get_value_type(types.int64))

    return types.int64(array, types.int64), codegen


_native_address_of: Any = _address_of


@overload(fetch, jit_options=_OPTIONS)  # type: ignore[arg-type]
def _fetch(array, index):  # type: ignore[no-untyped-def]
    return lambda array, index: prefetch_read(_native_address_of(array, index))
