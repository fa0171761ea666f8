"""Verdicts: what a stage function returns besides the number of an outcome."""

import zlib

from scout.ring.errors import ScoutError

__all__ = ["HOLD", "RULED_OUT", "TOO_LONG", "DropReason", "Hold", "drop", "reason_of"]


class DropReason(int):
    """A verdict of a stage: the packet goes no further, and is counted under a name. Made by `drop`."""

    name: str

    def __repr__(self) -> str:
        return f"drop({self.name!r})"

    __str__ = int.__repr__  # numba writes a constant into its code by its text

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return drop, (self.name,)


_reasons: dict[int, DropReason] = {}


def drop(name: str) -> DropReason:
    """The verdict that drops a packet and counts it under `name`.

    Call it at the top of a module and return the result from a stage. It is a negative int that depends
    on the name alone, so that compiled code in the cache stays valid.

    Raises
    ------
    ScoutError
        If another name has the same number, or the name is no line of text.

    Examples
    --------
    >>> TELNET = drop("telnet")
    >>> TELNET < 0, TELNET == drop("telnet")
    (True, True)
    """
    if not isinstance(name, str) or not name or not name.isprintable():
        raise ScoutError(f"drop({name!r}): give a name, one line of printable text, as in drop('telnet')")
    code = -(zlib.crc32(name.encode()) & 0x3FFFFFFF) - 16
    known = _reasons.get(code)
    if known is None:
        known = DropReason(code)
        known.name = name
        _reasons[code] = known
    elif known.name != name:
        raise ScoutError(f"drop reasons {known.name!r} and {name!r} have the same number; rename one")
    return known


def reason_of(verdict: int) -> str:
    """The name of a drop verdict."""
    known = _reasons.get(verdict)
    return known.name if known else "unknown-verdict"


TOO_LONG = drop("too-long-for-payload")
"""The verdict on a packet that a stage wants in one piece and that does not fit."""

RULED_OUT = drop("ruled-out")
"""The verdict on a packet that the path's attributes rule out: another path should have taken it."""


class Hold(int):
    """The type of `HOLD`, by which a function that holds packets is recognised."""

    def __repr__(self) -> str:
        return "HOLD"

    __str__ = int.__repr__

    def __reduce__(self) -> str:
        return "HOLD"


HOLD = Hold(-1)
"""The verdict of a stage that cannot go on yet: the packet is kept and comes back to this stage."""
