"""The types of the parameters of requests: what a value is, and how it is read."""

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from scout.io.mac import mac_number

__all__ = [
    "ADDRESS",
    "FLAG",
    "FRACTION",
    "INTERFACE",
    "MAC",
    "MOST_ROWS",
    "NAME",
    "NAMES",
    "PREFIX",
    "Kind",
    "number",
]

MOST_ROWS = 1000
"""Rows of one answer at most: a longer answer would keep the router's other threads waiting while it is encoded."""

_LONGEST_TEXT = 255


@dataclass(frozen=True)
class Kind:
    """A type of parameters.

    Attributes
    ----------
    word : str
        The word for a value in the help; empty for an option that takes none.
    about : str
        The kind of value, for people.
    read : callable
        Gives the value of a JSON value. Raises ValueError or ScoutError if it is none.
    python : type
        The type of the JSON value, which a command line converts its text to.
    many : bool
        True for a list of such values.
    """

    word: str
    about: str
    read: Callable[[Any], Any]
    python: type = str
    many: bool = False


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not value.isprintable():
        raise ValueError
    return value


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not 0 < len(value) <= MOST_ROWS:
        raise ValueError
    return [_text(each) for each in value]


def _address(value: Any) -> IPv4Address:
    return IPv4Address(_text(value))


def _prefix(value: Any) -> IPv4Network:
    return IPv4Network(_text(value))


def _interface(value: Any) -> IPv4Interface:
    return IPv4Interface(_text(value))


def _mac(value: Any) -> str:
    mac_number(value)
    return str(value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError
    return value


_GREATEST = 2**31  # of the numbers that have no other bound


def number(least: int, most: int = _GREATEST) -> Kind:
    """Whole numbers from `least` on, up to `most`."""

    def read(value: Any) -> int:
        if type(value) is not int or not least <= value <= most:  # a bool is an int, and no number of anything
            raise ValueError
        return value

    bound = f"{least:,} or more" if most == _GREATEST else f"from {least:,} to {most:,}"
    return Kind("NUMBER", f"a number, {bound}", read, int)


def _fraction(value: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < _GREATEST:  # NaN is not
        raise ValueError
    return float(value)


NAME = Kind("NAME", "a name", _text)
FRACTION = Kind("NUMBER", "a number, as 0.25, 0 or more", _fraction, float)
NAMES = Kind("NAME", "one name or more", _texts, many=True)
ADDRESS = Kind("ADDRESS", "an IPv4 address, as 10.0.1.2", _address)
INTERFACE = Kind("ADDRESS/LENGTH", "an IPv4 address with its prefix's length, as 10.0.2.1/24", _interface)
PREFIX = Kind("PREFIX", "an IPv4 prefix, as 10.9.0.0/16", _prefix)
FLAG = Kind("", "true or false", _flag, bool)
MAC = Kind("MAC", "a MAC address, as 02:00:00:00:00:0a", _mac)
