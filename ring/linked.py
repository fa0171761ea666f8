"""Calls by address: compiled code calls a function that was compiled apart from it.

Code that calls an entry by its name contains the entry's code: LLVM optimises it and makes machine code of it again for
every such caller. A call by address costs some 2 ns more, and the caller depends only on the signature.
"""

from typing import Any

from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

__all__ = ["caller", "described", "viewer"]


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


def viewer(kind: Any, shape: tuple[int, ...]) -> Any:
    """A function for compiled code that finds an array of a known shape in memory.

    Parameters
    ----------
    kind
        The numba type of the array, in C order.
    shape : tuple of int

    Returns
    -------
    callable
        `view(address)` is the array of this type and shape whose first element is there.
    """

    @intrinsic
    def view(typing_context: Any, place: Any) -> Any:
        def lower(context: Any, builder: Any, own: Any, values: Any) -> Any:
            word = context.get_value_type(types.intp)
            return _array(context, builder, kind, values[0], [word(length) for length in shape])

        return kind(types.int64), lower

    return view


def described(kind: Any) -> Any:
    """A function for compiled code that finds an array by its description: its address and its shape, int64 each.

    Parameters
    ----------
    kind
        The numba type of the array, in C order.

    Returns
    -------
    callable
        `view(address)` is the array of this type whose description is there.
    """

    @intrinsic
    def view(typing_context: Any, place: Any) -> Any:
        def lower(context: Any, builder: Any, own: Any, values: Any) -> Any:
            first = builder.inttoptr(values[0], context.get_value_type(types.int64).as_pointer())
            data, *shape = [builder.load(cgutils.gep_inbounds(builder, first, at)) for at in range(1 + kind.ndim)]
            return _array(context, builder, kind, data, shape)

        return kind(types.int64), lower

    return view


def _array(context: Any, builder: Any, kind: Any, data: Any, shape: list[Any]) -> Any:
    """An array in C order whose first element is at the address `data`."""
    made = make_array(kind)(context, builder)
    size = context.get_value_type(types.intp)(context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    steps = [size]
    for length in shape[:0:-1]:
        steps.insert(0, builder.mul(steps[0], length))
    populate_array(
        made,
        data=builder.inttoptr(data, made.data.type),
        shape=shape,
        strides=steps,
        itemsize=size,
        meminfo=None,
    )
    return made._getvalue()
