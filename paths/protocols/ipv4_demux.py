"""IPv4's part of demux: the key of a packet, from its addresses, protocol, DSCP and L4 ports::

    word 0    63 ... 32                    31 ... 0
              source address               destination address
    word 1    46            45 ... 40      39 ... 32     31 ... 16      15 ... 0
              shows L4 ports   DSCP        protocol      source port    destination port

The L4 ports stand behind a header of variable length. No fragment shows them, not even the first, so that all fragments
of a packet take one path.
"""

from typing import Any

from scout.io.access import load8, load32, load64, require
from scout.paths.model.classifier import DEFAULT_WAY, Classifier, Field
from scout.paths.wire.flow import ports_at
from scout.paths.wire.ipv4 import FRAGMENTED, HEADER, PROTOCOL, SOURCE, TCP, TOS, UDP, VERSION_IHL, header_length
from scout.ring.jit import outline

__all__ = ["CLASSIFIER", "classify"]

_DSCP, _PROTOCOL, _SHOWN = 40, 32, 46  # bits of word 1
_HAS_PORTS = 1 << _SHOWN

_L4_PORTS = 4  # bytes
_PLAIN, _PLAIN_MASK = 0x45 << 56, -1 << 56 | FRAGMENTED
"""The first 8 bytes of a header without options that is no fragment's, under a mask: version, header length, and flag
and offset of fragments."""
_TOS = 48  # bits of these bytes below the type of service


def classify(frame: Any, end: Any) -> tuple[int, int, int]:
    """The key of an IPv4 packet; a packet whose header is malformed takes the port's default path.

    Nearly all packets are TCP or UDP in whole, without options, which one comparison shows.
    """
    if require(frame, end, HEADER + _L4_PORTS):
        first, protocol = load64(frame, VERSION_IHL), load8(frame, PROTOCOL)
        # Not `in`, for which numba would loop over a tuple.
        if first & _PLAIN_MASK == _PLAIN and (protocol == TCP or protocol == UDP):  # noqa: SIM109
            word = _HAS_PORTS | protocol << _PROTOCOL | (first >> _TOS + 2 & 0x3F) << _DSCP
            return 0, load64(frame, SOURCE), word | load32(frame, HEADER)
    return _classify_any(frame, end)


@outline
def _classify_any(frame: Any, end: Any) -> tuple[int, int, int]:
    """`classify`, also of packets with options, of fragments, and of other protocols."""
    if not require(frame, end, HEADER) or load8(frame, VERSION_IHL) >> 4 != 4:
        return DEFAULT_WAY, 0, 0
    size = header_length(frame, VERSION_IHL)
    if size < HEADER or not require(frame, end, size):
        return DEFAULT_WAY, 0, 0
    word = load8(frame, PROTOCOL) << _PROTOCOL | load8(frame, TOS) >> 2 << _DSCP
    at = ports_at(frame, end)
    if at:
        word |= _HAS_PORTS | load32(frame, at)
    return 0, load64(frame, SOURCE), word


CLASSIFIER = Classifier(
    classify,
    fields={
        "source": Field(0, 32, 32),
        "destination": Field(0, 0, 32),
        "dscp": Field(1, _DSCP, 6),
        "protocol": Field(1, _PROTOCOL, 8),
        "source_port": Field(1, 16, 16, _SHOWN),
        "destination_port": Field(1, 0, 16, _SHOWN),
    },
)
