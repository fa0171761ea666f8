"""UDP (RFC 768)::

0             2                  4        6          8
| source port | destination port | length | checksum | data
"""

__all__ = ["CHECKSUM", "DESTINATION", "HEADER", "LENGTH", "SOURCE"]

SOURCE, DESTINATION, LENGTH, CHECKSUM = 0, 2, 4, 6
HEADER = 8
