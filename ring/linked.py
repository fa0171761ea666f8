"""Calls by address: compiled code calls a function that was compiled apart from it.

Code that calls an entry by its name contains the entry's code: LLVM optimises it and makes machine code of it again for
every such caller. A call by address costs some 2 ns more, and the caller depends only on the signature.
"""

from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic

__all__ = ["caller"]


def caller(signature: Any) -> Any:
    """A function for compiled code that calls machine code of a numba `signature`.

    Returns
    -------
    callable
        `call(address, arguments)`: the address is `Entry.address`, the arguments are a tuple. An exception of the
        function is one of the caller.
    """
    wanted = signature.args

    @intrinsic
    def call(typing_context: Any, address: Any, arguments: Any) -> Any:
        def lower(context: Any, builder: Any, own: Any, values: Any) -> Any:
            pointer, given = values
            function = context.call_conv.get_function_type(signature.return_type, wanted)
            pointer = builder.inttoptr(pointer, function.as_pointer())
            parts = [
                context.cast(builder, builder.extract_value(given, index), kind, wanted[index])
                for index, kind in enumerate(own.args[1])
            ]
            status, result = context.call_conv.call_function(builder, pointer, signature.return_type, wanted, parts)
            with cgutils.if_unlikely(builder, status.is_error):
                context.call_conv.return_status_propagate(builder, status)
            return result

        return signature.return_type(types.int64, arguments), lower

    return call
