"""What every packet port has in common."""

from scout.ring.errors import ScoutError

__all__ = ["PortError", "mac_number", "mac_text"]


class PortError(ScoutError):
    """A port that cannot be opened or used."""


def mac_number(text: str) -> int:
    """The 48-bit number of a MAC address written as 02:00:00:00:00:01."""
    parts = text.split(":")
    try:
        values = [int(part, 16) for part in parts]
    except ValueError:
        values = []
    if len(values) != 6 or any(not 0 <= value < 256 for value in values):
        raise PortError(f"{text!r} is not a MAC address; write it as 02:00:00:00:00:01")
    return int.from_bytes(bytes(values), "big")


def mac_text(number: int) -> str:
    """A MAC address as 02:00:00:00:00:01."""
    return ":".join(f"{byte:02x}" for byte in number.to_bytes(6, "big"))
