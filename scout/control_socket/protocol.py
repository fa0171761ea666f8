"""The protocol of the control socket: JSON lines. A request is one object on one line, and so is its answer.

A request is ``{"do": "show routes", "limit": 20}``: its name and its parameters. The answer is ``{"ok": true, "time_s":
…, "total": …, "rows": […]}``, with flat objects as rows and the seconds of the router's monotonic clock, by which rates
are computed from two answers; or ``{"ok": false, "error": "one sentence"}``. A connection takes any number of requests,
one after the other.
"""

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from scout.ring.errors import ScoutError

__all__ = ["LINE_TIMEOUT", "LONGEST_LINE", "MOST_CLIENTS", "Rows", "answer", "decode", "encode", "page", "refusal"]

_Item = TypeVar("_Item")

Rows = list[dict[str, Any]]
"""Flat objects that JSON can write, with units in their keys."""

LONGEST_LINE = 1 << 16
"""Bytes of a request at most, with its newline."""

LINE_TIMEOUT = 5.0
"""Seconds that a client has for each request, from its connection or the previous answer to the newline; and as many to
take its answer. So no client keeps its place without using it."""

MOST_CLIENTS = 64
"""Clients that are served at the same time; further ones are refused."""


def encode(message: dict[str, Any]) -> bytes:
    """The line of a request or an answer."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes) -> Any:
    """The value on a line.

    Raises
    ------
    ScoutError
        If it is not JSON in UTF-8.
    """
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:  # both the JSON and its encoding may be wrong, or nested too deeply
        raise ScoutError('the request is not JSON; write one object on a line, as {"do": "show routes"}') from error


def answer(rows: Rows, total: int | None = None) -> dict[str, Any]:
    """The answer to a request that succeeded; `total` if there are more rows than these."""
    return {"ok": True, "time_s": time.monotonic(), "total": len(rows) if total is None else total, "rows": rows}


def page(items: Sequence[_Item], first: int, limit: int, row: Callable[[_Item], dict[str, Any]]) -> dict[str, Any]:
    """The answer with the rows of `limit` of these items, from the `first` one on."""
    return answer([row(item) for item in items[first : first + limit]], len(items))


def refusal(error: object) -> dict[str, Any]:
    """The answer to a request that is refused; the error becomes one line."""
    return {"ok": False, "error": " ".join(str(error).split())}
