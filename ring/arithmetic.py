"""Arithmetic on int64 as words of 64 bits: products modulo 2 ** 64 for hashes, and counts of bits.

Numba tells LLVM that signed additions and multiplications do not overflow, so the result of one that does is undefined.
"""

from typing import Any

from numba import types
from numba.extending import intrinsic, overload

__all__ = ["multiply", "ones_from"]


def multiply(one: int, other: int) -> int:
    """The product modulo 2 ** 64, as an int64; also in plain Python."""
    product = one * other & (1 << 64) - 1
    return product - (1 << 64) if product >> 63 else product


# Both have a lowering of their own: the compiler of paths does not translate their Python bodies.
multiply.has_lowering = True  # type: ignore[attr-defined]


@intrinsic
def _multiply_words(typingctx, one, other):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.mul(*args)  # without the flag `nsw`

    return types.int64(types.int64, types.int64), codegen


_native_multiply: Any = _multiply_words


@overload(multiply, jit_options={"forceinline": True, "_nrt": False})  # type: ignore[typeddict-unknown-key]
def _multiply(one, other):  # type: ignore[no-untyped-def]
    return lambda one, other: _native_multiply(one, other)


def ones_from(word: int, bit: int) -> int:
    """How many of the bits `bit` (0 to 63) to 63 of an int64 are set; also in plain Python."""
    return ((int(word) & (1 << 64) - 1) >> int(bit)).bit_count()


ones_from.has_lowering = True  # type: ignore[attr-defined]


@intrinsic
def _ones_from_bit(typingctx, word, bit):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.ctpop(builder.lshr(args[0], args[1]))

    return types.int64(types.int64, types.int64), codegen


_native_ones_from: Any = _ones_from_bit


@overload(ones_from, jit_options={"forceinline": True, "_nrt": False})  # type: ignore[typeddict-unknown-key]
def _ones_from(word, bit):  # type: ignore[no-untyped-def]
    return lambda word, bit: _native_ones_from(word, bit)
