"""Arrays of one call of a compiled function: on its stack, as numba makes none without counting references."""

from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

__all__ = ["local"]

_BYTES = 8


def local(size: int) -> Any:
    """A function for compiled code that gives it an int64[size] of its own, which begins as whatever was there."""
    kind = types.int64[::1]

    @intrinsic
    def room(typing_context: Any) -> Any:
        def lower(context: Any, builder: Any, own: Any, values: Any) -> Any:
            word = context.get_value_type(types.intp)
            made = make_array(kind)(context, builder)
            memory = cgutils.alloca_once(builder, ir.ArrayType(word, size))
            populate_array(
                made,
                data=builder.bitcast(memory, made.data.type),
                shape=[word(size)],
                strides=[word(_BYTES)],
                itemsize=word(_BYTES),
                meminfo=None,
            )
            return made._getvalue()

        return kind(), lower

    return room
