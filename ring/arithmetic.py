"""Arithmetic modulo 2 ** 64 on int64, for hashes.

Numba tells LLVM that signed additions and multiplications do not overflow, so the result of one that does is undefined.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic, overload

__all__ = ["multiply"]


def multiply(one: int, other: int) -> int:
    """The product modulo 2 ** 64, as an int64; also in plain Python."""
    product = one * other & (1 << 64) - 1
    return product - (1 << 64) if product >> 63 else product


@intrinsic
def _multiply_words(typingctx, one, other):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.mul(*args)  # without the flag `nsw`

    return types.int64(types.int64, types.int64), codegen


_native_multiply: Any = _multiply_words


@overload(multiply, jit_options={"forceinline": True, "_nrt": False})  # type: ignore[typeddict-unknown-key]
def _multiply(one, other):  # type: ignore[no-untyped-def]
    return lambda one, other: _native_multiply(one, other)
