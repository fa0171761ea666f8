"""The Internet checksum (RFC 1071), and its update when a field changes (RFC 1624).

A checksum is the complement of the ones' complement sum of 16-bit words. In such a sum 0 and 0xFFFF are the same
number, but only the sum of nothing but zeros is 0.

Checksums are computed in four places, because each reads packet bytes in its own way:

- `sum16` and `add16` of `scout.io.access` are the accessors that sum the bytes of a frame in a stage function. A stage
  uses them for headers, and for packets that it has as a whole (`payload=True`).
- `scout.io.packet_sum` sums a received packet in a stage function also where its end lies elsewhere, in the tail. A
  stage that checks a whole packet uses it, so that nothing need be copied.
- This module has the rules of protocols on top of the accessors: the pseudo-header, and the update of a checksum when a
  field changes.
- `scout.io.transmit.sums` sums over memory addresses, in this machine's byte order, when packets leave: it completes
  the checksums that a device would have completed. No stage uses it.

The first three work in the plain run, too.
"""

from typing import Any

from scout.io.access import Frame, add16, load32, sum16
from scout.paths.wire.ipv4 import DESTINATION, SOURCE

__all__ = ["adjust", "adjust_nonzero", "checksum", "delta", "pseudo_header_sum"]


def checksum(data: bytes) -> int:
    """The Internet checksum of `data`; in plain Python, for tools.

    Examples
    --------
    >>> hex(checksum(bytes.fromhex("0001f203f4f5f6f7")))  # the example of RFC 1071 section 3
    '0x220d'
    """
    return ~sum16(Frame(data, headroom=0), 0, len(data)) & 0xFFFF


def pseudo_header_sum(frame: Any, at: int, protocol: int, size: int) -> int:
    """Ones' complement sum of the IPv4 pseudo-header that the checksums of TCP and UDP cover (RFC 9293 section 3.1).

    Parameters
    ----------
    frame
    at : int
        Offset of the IPv4 header that has the addresses.
    protocol, size : int
        The protocol's number, and the bytes of its header and data.
    """
    total = load32(frame, at + SOURCE) + load32(frame, at + DESTINATION) + protocol + size
    # The sum has up to 34 bits. A fold adds the bits above the 16th: what is left has 18 bits, then 17, then 16.
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def delta(before: int, after: int) -> int:
    """The amount by which a sum grows when a field of 16 or 32 bits changes: ~m + m' of RFC 1624 section 3.

    Deltas of several fields are added with `add16`.
    """
    # Of four words, so 18 bits: the first fold leaves 17 of them, the second one 16.
    total = (~before >> 16 & 0xFFFF) + (~before & 0xFFFF) + (after >> 16) + (after & 0xFFFF)
    total = (total & 0xFFFF) + (total >> 16)
    return (total & 0xFFFF) + (total >> 16)


def adjust(before: int, grown: int) -> int:
    """The new checksum of data whose checksum was `before` and whose sum has grown by `grown`.

    HC' = ~(~HC + ~m + m'), RFC 1624 equation 3. The result may be 0 but never 0xFFFF. That is right for data that is
    never all zeros: an IPv4 header, and a TCP segment with its pseudo-header.
    """
    return add16(before ^ 0xFFFF, grown) ^ 0xFFFF


def adjust_nonzero(before: int, grown: int) -> int:
    """Like `adjust`, with 0xFFFF in place of 0: for UDP and ICMP.

    In UDP 0 says that there is no checksum (RFC 768). An ICMP message may become all zeros (an echo reply with
    identifier 0), and then 0xFFFF alone is right. Where it is not all zeros a receiver accepts both.
    """
    after = add16(before ^ 0xFFFF, grown) ^ 0xFFFF
    return after if after != 0 else 0xFFFF
