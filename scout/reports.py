"""Reports: what happens during a run, given to the user's callback, whose errors must not end the run."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress

__all__ = ["Reporter", "compiling", "show_compiling"]

_STANDARD_ERROR = 2


class Reporter:
    """Calls a callback for each message; thread-safe as far as the callback is.

    Parameters
    ----------
    report : callable or None
        Receives each message; by default it is printed to standard error.
    """

    def __init__(self, report: Callable[[str], None] | None) -> None:
        self._report = report or _print
        self._said: set[str] = set()

    def __call__(self, message: str) -> None:
        """Report a message. An error of the callback is written to standard error, once for each error."""
        try:
            self._report(message)
        except BaseException as error:  # also SystemExit, which would end the thread that watches the replicas
            text = f"scout: the report callback failed: {type(error).__name__}: {error}; it was told: {message}"
            if self.is_new(f"{type(error).__name__}: {error}"):
                with suppress(OSError):
                    os.write(_STANDARD_ERROR, f"{text}\n".encode(errors="replace"))

    def once(self, message: str) -> None:
        """Report a message unless it was given to this method before."""
        if self.is_new(message):
            self(message)

    def is_new(self, text: str) -> bool:
        """True when it is called with a text for the first time."""
        if text in self._said:
            return False
        self._said.add(text)
        return True


def compiling(part: str) -> str:
    """The sentence about a part that is compiled."""
    return f"compiling {part} (cached from now on)"


def show_compiling(part: str) -> None:
    """Say on standard error what is compiled, if it is a terminal: a first start may take minutes."""
    with suppress(ValueError):  # it is closed
        if sys.stderr.isatty():
            _print(compiling(part))


def _print(message: str) -> None:
    print(f"scout: {message}", file=sys.stderr, flush=True)
