"""MAC addresses: as text, and as the 48-bit numbers that compiled code compares."""

import re

from scout.ring.errors import ScoutError

__all__ = ["mac_number", "mac_text"]

_TEXT = re.compile(r"([0-9a-f]{1,2}:){5}[0-9a-f]{1,2}", re.IGNORECASE)


def mac_number(text: str) -> int:
    """The 48-bit number of a MAC address.

    Raises
    ------
    ScoutError
        If the text is none.

    Examples
    --------
    >>> hex(mac_number("02:00:00:00:00:0a"))
    '0x2000000000a'
    """
    if not isinstance(text, str) or not _TEXT.fullmatch(text):
        raise ScoutError(f"{text!r} is not a MAC address; write it as 02:00:00:00:00:01")
    return int.from_bytes(bytes(int(part, 16) for part in text.split(":")), "big")


def mac_text(number: int) -> str:
    """The text of a MAC address.

    Examples
    --------
    >>> mac_text(0x02000000000A)
    '02:00:00:00:00:0a'
    """
    return ":".join(f"{byte:02x}" for byte in number.to_bytes(6, "big"))
