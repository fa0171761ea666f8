"""The IPv6 header (RFC 8200 section 3), as far as flows need it::

0                   4                6             7           8        24
| version, class ...| payload length | next header | hop limit | source | destination |
"""

__all__ = ["DESTINATION", "HEADER", "NEXT_HEADER", "SOURCE"]

NEXT_HEADER, SOURCE, DESTINATION = 6, 8, 24
HEADER = 40
