"""The accessors: the only way in which a stage touches a packet's bytes.

Each accessor has a Python body, for a `Frame` over a bytes buffer, and a numba lowering, for an address. So a stage
runs as plain Python (print, pdb, coverage) and natively, and nothing in it depends on which. Values are int64; on the
wire they are in network order. Offsets count from the header at hand.

A stage calls `require` before it touches bytes whose presence no earlier stage has checked. With `SCOUT_CHECKED=1`
every native access is compared with the packet's bounds; an access outside is counted, and has no effect.
"""

import sys
from typing import Any, Literal

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.typing.templates import infer, infer_global, make_intrinsic_template
from numba.extending import intrinsic, overload

from scout.io.packet import HEADROOM
from scout.ring.errors import ScoutError
from scout.ring.jit import CHECKED
from scout.ring.lowering import mark_packet
from scout.ring.segment import address, private

__all__ = [
    "BOUNDS",
    "Frame",
    "add16",
    "allow",
    "blank",
    "length",
    "load8",
    "load16",
    "load32",
    "load48",
    "load64",
    "lowering",
    "native32",
    "require",
    "store8",
    "store16",
    "store32",
    "store48",
    "store64",
    "sum16",
    "trim",
]

_I64 = ir.IntType(64)

BOUNDS = private(4, np.int64)
"""int64, in checked mode: the first address that may be read, the one behind the last, the number of accesses refused
so far, and the first address that may be written."""


class Frame:
    """A packet for the plain Python run: a bytearray in place of the native run's addresses.

    Parameters
    ----------
    data : bytes
        The frame, from the header at hand on.
    headroom : int
        Bytes before it, for headers that stages push.
    reach : int, optional
        Bytes of `data` that a stage may touch; all by default.

    Attributes
    ----------
    data : bytearray
        The headroom and the frame.
    start, end, origin : int
        Offsets in `data`: of the header at hand, behind the last byte that a stage may touch, and of the frame's first
        byte as received.
    """

    def __init__(self, data: bytes, headroom: int = HEADROOM, reach: int | None = None) -> None:
        self.data = bytearray(headroom) + bytearray(data)
        self.start = self.origin = headroom
        self.end = len(self.data) if reach is None else min(len(self.data), headroom + reach)

    def __len__(self) -> int:
        return self.end - self.start

    def __bytes__(self) -> bytes:
        return bytes(self.data[self.start :])

    def move(self, size: int) -> None:
        """Pull (`size` > 0) or push (`size` < 0) a header."""
        if self.start + size < 0:
            raise ScoutError(f"no room to push {-size} bytes: {self.start} are left before the packet")
        if size > len(self):
            raise ScoutError(f"cannot pull {size} bytes of a packet of {len(self)}: call require first")
        self.start += size

    def span(self, offset: int, size: int) -> slice:
        """The slice of `data` with the `size` bytes at `offset`; an IndexError if they are not all in the packet."""
        if offset < 0 or offset + size > len(self):
            raise IndexError(f"bytes {offset} to {offset + size} of a packet of {len(self)}: call require first")
        return slice(self.start + offset, self.start + offset + size)


def lowering(function: Any) -> Any:
    """Register the decorated numba lowering for an accessor with a Python body."""
    function.has_lowering = True  # the compiler does not translate such functions
    return overload(function, inline="always")


def _direct(accessor: Any) -> Any:
    """Register the decorated definition of an intrinsic as the lowering of an accessor.

    Numba compiles a function for every call of an accessor with another kind of lowering.
    """

    def register(definition: Any) -> Any:
        accessor.has_lowering = True  # the compiler does not translate such functions
        template = make_intrinsic_template(accessor, definition, accessor.__name__)
        infer(template)
        infer_global(accessor, types.Function(template))
        return definition

    return register


def _at_offset(native: Any, *more: Any) -> Any:
    """Signature and code generator of an intrinsic of a frame, an offset, and `more`: `native` takes their sum."""
    signature, at_place = native._defn(None, types.int64, *more)

    def codegen(context: Any, builder: Any, own: Any, args: Any) -> Any:
        return at_place(context, builder, signature, (builder.add(args[0], args[1]), *args[2:]))

    return signature.return_type(types.int64, types.int64, *more), codegen


def require(frame: Any, end: Any, size: int) -> bool:
    """True if the packet has at least `size` bytes from the header at hand on."""
    return len(frame) >= size


def length(frame: Any, end: Any, packet: Any) -> int:
    """Bytes of the packet from the header at hand on, with those that the stage cannot see."""
    return len(frame.data) - frame.start


@lowering(length)
def _native_length(frame, end, packet):  # type: ignore[no-untyped-def]
    return lambda frame, end, packet: end - frame + packet.tail_bytes


def blank(frame: Any, end: Any) -> tuple[Any, Any]:
    """The frame and end of an empty packet, for a function that runs for no packet."""
    return Frame(b"", headroom=0), None


@lowering(blank)
def _native_blank(frame, end):  # type: ignore[no-untyped-def]
    return lambda frame, end: (frame, frame)


def trim(frame: Any, end: Any, packet: Any, size: int) -> None:
    """Cut the packet off after `size` bytes from the header at hand on; the stage must be declared with `resizes`."""
    del frame.data[frame.start + size :]
    frame.end = min(frame.end, len(frame.data))
    packet.tail_bytes = len(frame.data) - frame.end


trim.assigns = (0, 2)  # type: ignore[attr-defined]


@lowering(trim)
def _native_trim(frame, end, packet, size):  # type: ignore[no-untyped-def]
    def native(frame, end, packet, size):  # type: ignore[no-untyped-def]
        surplus = end - frame + packet.tail_bytes - size
        if surplus > 0:
            kept = max(packet.tail_bytes - surplus, 0)
            packet.end = end - (surplus - (packet.tail_bytes - kept))
            packet.tail_bytes = kept

    return native


@_direct(require)
def _native_require(typingctx, frame, end, size):  # type: ignore[no-untyped-def]
    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        # Unsigned: the only comparison of packet bounds that the BPF verifier follows.
        return builder.icmp_unsigned("<=", builder.add(args[0], args[2]), args[1])

    return types.boolean(types.int64, types.int64, types.int64), codegen


def _in_bounds(builder: Any, place: Any, size: int, writes: bool) -> Any:
    """True if [place, place + size) may be touched; counts the access if not."""
    bounds = builder.inttoptr(ir.Constant(_I64, address(BOUNDS)), _I64.as_pointer())
    cell = [builder.gep(bounds, [ir.Constant(_I64, index)]) for index in range(4)]
    low = builder.load(cell[3] if writes else cell[0])
    good = builder.and_(
        builder.icmp_unsigned(">=", place, low),
        builder.icmp_unsigned("<=", builder.add(place, ir.Constant(_I64, size)), builder.load(cell[1])),
    )
    refused = builder.zext(builder.not_(good), _I64)
    builder.store(builder.add(builder.load(cell[2]), refused), cell[2])
    return good


def _loader(bits: int, order: Literal["big", "little"] = "big") -> Any:
    """An accessor that loads an integer of so many bits."""
    width, size = ir.IntType(bits), bits // 8

    def load(frame: Any, offset: int) -> int:
        # 64 bits fill an int64, sign and all.
        return int.from_bytes(frame.data[frame.span(offset, size)], order, signed=bits == 64)

    load.__doc__ = f"The {bits} bits at `offset`, from network order."
    load.__name__ = f"load{bits}"

    @intrinsic
    def native_load(typingctx, place):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pointer = builder.inttoptr(args[0], width.as_pointer())
            if CHECKED:
                result = builder.alloca(width)
                builder.store(ir.Constant(width, 0), result)
                with builder.if_then(_in_bounds(builder, args[0], size, False)):
                    builder.store(mark_packet(builder, builder.load(pointer, align=1)), result)
                value = builder.load(result)
            else:
                value = mark_packet(builder, builder.load(pointer, align=1))
            value = _swapped(builder, value, order)
            return value if bits == 64 else builder.zext(value, _I64)

        return types.int64(types.int64), codegen

    @_direct(load)
    def _native(typingctx, frame, offset):  # type: ignore[no-untyped-def]
        return _at_offset(native_load)

    return load


def _storer(bits: int) -> Any:
    """An accessor that stores an integer of so many bits."""
    width, size = ir.IntType(bits), bits // 8

    def store(frame: Any, offset: int, value: int) -> None:
        frame.data[frame.span(offset, size)] = (value & (1 << bits) - 1).to_bytes(size, "big")

    store.__doc__ = f"Write the low {bits} bits of `value` at `offset`, in network order."
    store.__name__ = f"store{bits}"
    store.assigns = (0,)  # type: ignore[attr-defined]
    store.is_store = True  # type: ignore[attr-defined]  # of bytes; others assign to fields of tables

    @intrinsic
    def native_store(typingctx, place, value):  # type: ignore[no-untyped-def]
        def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
            pointer = builder.inttoptr(args[0], width.as_pointer())
            value = _swapped(builder, args[1] if bits == 64 else builder.trunc(args[1], width), "big")
            if CHECKED:
                with builder.if_then(_in_bounds(builder, args[0], size, True)):
                    mark_packet(builder, builder.store(value, pointer, align=1))
            else:
                mark_packet(builder, builder.store(value, pointer, align=1))
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), codegen

    @_direct(store)
    def _native_store(typingctx, frame, offset, value):  # type: ignore[no-untyped-def]
        return _at_offset(native_store, types.int64)

    return store


def _swapped(builder: Any, value: Any, order: str) -> Any:
    """`value` from this machine's byte order to `order`, or back."""
    return value if value.type.width == 8 or order == sys.byteorder else builder.bswap(value)


load8, load16, load32, load64 = (_loader(bits) for bits in (8, 16, 32, 64))
store8, store16, store32, store64 = (_storer(bits) for bits in (8, 16, 32, 64))

native32 = _loader(32, sys.byteorder)
native32.__name__ = "native32"
native32.__doc__ = """The 32 bits at `offset`, in this machine's byte order, which costs nothing.

For ones' complement sums whose byte order does not matter (RFC 1071 section 2): that a checksum is right can be seen in
either.
"""


def load48(frame: Any, offset: int) -> int:
    """The 48 bits (a MAC address) at `offset`, from network order."""
    return load32(frame, offset) << 16 | load16(frame, offset + 4)


def store48(frame: Any, offset: int, value: int) -> None:
    """Write the low 48 bits of `value` at `offset`, in network order."""
    store32(frame, offset, value >> 16)
    store16(frame, offset + 4, value)


def add16(one: int, other: int) -> int:
    """Ones' complement sum of two 16-bit sums (RFC 1071)."""
    total = one + other
    return (total & 0xFFFF) + (total >> 16)


def sum16(frame: Any, offset: int, size: int) -> int:
    """Ones' complement sum of the 16-bit words of `size` bytes at `offset`, 0 to 0xFFFF (RFC 1071).

    A last odd byte counts as if a zero followed. The Internet checksum is the sum's complement.
    """
    total = 0
    for index in range(0, size - 3, 4):
        total += load32(frame, offset + index)
    rest = size & ~3
    if size & 2:
        total += load16(frame, offset + rest)
        rest += 2
    if size & 1:
        total += load8(frame, offset + rest) << 8
    total = (total & 0xFFFFFFFF) + (total >> 32)
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


@intrinsic
def allow(typingctx, start, end, writable):  # type: ignore[no-untyped-def]
    """In checked mode, let the accessors read [start, end), and write it if `writable`. Else do nothing."""

    def codegen(context, builder, signature, args):  # type: ignore[no-untyped-def]
        if CHECKED:
            bounds = builder.inttoptr(ir.Constant(_I64, address(BOUNDS)), _I64.as_pointer())
            low = builder.select(args[2], args[0], ir.Constant(_I64, (1 << 63) - 1))
            for index, value in ((0, args[0]), (1, args[1]), (3, low)):
                builder.store(value, builder.gep(bounds, [ir.Constant(_I64, index)]))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.boolean), codegen
