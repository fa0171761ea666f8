"""The IPv6 header (RFC 8200 section 3)::

0                        4                6             7           8        24
| version, class, label | payload length | next header | hop limit | source | destination |
"""

__all__ = ["CLASS_SHIFT", "DESTINATION", "HEADER", "HOP_LIMIT", "LEAST_MTU", "NEXT_HEADER", "PAYLOAD_LENGTH", "SOURCE"]

PAYLOAD_LENGTH, NEXT_HEADER, HOP_LIMIT, SOURCE, DESTINATION = 4, 6, 7, 8, 24
HEADER = 40

CLASS_SHIFT = 20
"""In the word at 0: the bits below the traffic class, which are the flow label's."""

LEAST_MTU = 1280
"""Bytes of the longest packet that every link has to carry (section 5)."""
