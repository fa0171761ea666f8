"""Arithmetic on int64 as words of 64 bits: products modulo 2 ** 64 for hashes, and counts of bits.

Numba tells LLVM that signed additions and multiplications do not overflow, so the result of one that does is undefined.
"""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

__all__ = ["multiply", "ones_up_to"]


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


def ones_up_to(word: int, bit: int) -> int:
    """How many of the bits 0 to `bit` (0 to 63) of an int64 are set; also in plain Python."""
    return (int(word) & (2 << int(bit)) - 1).bit_count()


ones_up_to.has_lowering = True  # type: ignore[attr-defined]


@intrinsic
def _ones_up_to_bit(typingctx, word, bit):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        # 63 - bit for a bit of 0 to 63, as the exclusive or of the two: the higher bits are shifted out.
        distance = builder.xor(args[1], ir.Constant(args[1].type, 63))
        return builder.ctpop(builder.shl(args[0], distance))

    return types.int64(types.int64, types.int64), codegen


_native_ones_up_to: Any = _ones_up_to_bit


@overload(ones_up_to, jit_options={"forceinline": True, "_nrt": False})  # type: ignore[typeddict-unknown-key]
def _ones_up_to(word, bit):  # type: ignore[no-untyped-def]
    return lambda word, bit: _native_ones_up_to(word, bit)
