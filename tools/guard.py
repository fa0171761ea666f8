"""How every command ends: its exit status, and one line on standard error instead of a traceback.

Status 0 is success, 1 failed work (also output that cannot be written), 2 bad usage or bad input, and 130 an
interruption. SIGTERM and SIGHUP (the terminal was closed) interrupt a command as Ctrl-C does. An interruption cannot
be raised while a library's C code calls back into Python, or while an object is deleted: Python would report and forget
it. It is repeated a moment later.
"""

import errno
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

import typer

from scout.ring.errors import ScoutError
from scout.tools.files import OutputError

__all__ = ["exit_status", "guarded"]

# Typer carries click's classes, in recent versions under names of its own.
UsageError: Any = typer.BadParameter.__base__
AnyError: Any = UsageError.__base__

_AGAIN = 0.01  # seconds until an interruption that could not be raised is repeated

_GONE = (errno.EPIPE, errno.EIO)
"""Errors of writing to a closed pipe, and to a closed terminal."""


class _ReaderGone(OutputError):
    """The reader of standard output has gone, as in `scout … | head`: there is nothing more to do."""


class _Output:
    """Standard output whose errors are distinguished from all others: they are raised as `OutputError`."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream
        self._error: OutputError | None = None  # raised again at every further attempt: a library may catch it once

    def write(self, text: str) -> int:
        self._try(lambda: self._stream.write(text))
        return len(text)

    def flush(self) -> None:
        self._try(self._stream.flush)

    def _try(self, action: Callable[[], object]) -> None:
        if self._error:
            raise self._error
        try:
            action()
        except OSError as error:
            # Python flushes the stream once more at exit: the contents of its buffer must go nowhere then.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            kind = _ReaderGone if error.errno in _GONE else OutputError
            self._error = kind(f"standard output: {error.strerror}")
            raise self._error from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Messages(_Output):
    """Standard error: if it cannot be written, there is nobody left to tell."""

    def _try(self, action: Callable[[], object]) -> None:
        with suppress(OutputError):
            super()._try(action)


def guarded(work: Callable[[], object]) -> None:
    """Run a command and end the process with its exit status.

    A reader that goes away (`scout … | head`) does not make a command fail.

    Parameters
    ----------
    work : callable
        Its return value, if it is an integer, is the exit status.
    """
    streams = _prepare_streams()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup has SIGHUP ignored
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)
    sys.unraisablehook = _unraised
    status = exit_status(lambda: _flushed(work()))
    with suppress(OutputError):  # what was printed before an error
        sys.stdout.flush()
    sys.stdout, sys.stderr = streams  # Python flushes them at exit
    sys.exit(status)


def _flushed(result: object) -> object:
    sys.stdout.flush()
    return result


def exit_status(work: Callable[[], object]) -> int:
    """Run a command; print an error as one line, and return the exit status."""
    try:
        status = work()
        return status if isinstance(status, int) else 0
    except UsageError as error:
        if "NoArgs" in type(error).__name__:  # a command without arguments shows its help
            print(error.format_message(), file=sys.stderr)
            return 2
        command = error.ctx.command_path if error.ctx else "scout"
        return _fail(f"{error.format_message().rstrip('. ')}; see {command} --help", 2)
    except AnyError as error:
        return _fail(error.format_message(), 2)
    except _ReaderGone:
        return 0
    except OutputError as error:
        return _fail(str(error), 1)
    except ScoutError as error:
        return _fail(str(error), 2)
    except (KeyboardInterrupt, typer.Abort):
        return 130


def _prepare_streams() -> tuple[Any, Any]:
    """Put streams in place whose errors are known; return those that were there before."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # closed by the caller (`>&-`): the next file opened would take its number
            os.open(os.devnull, os.O_RDWR)
    output: Any = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 (as long as the process)
    messages: Any = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (output, messages):
        stream.reconfigure(errors="replace")  # a table's lines on a terminal that knows only ASCII
    sys.stdout, sys.stderr = _Output(output), _Messages(messages)  # type: ignore[assignment]
    return output, messages


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _unraised(unraisable: Any) -> None:
    """Repeat an interruption that could not be raised; report other exceptions as Python does."""
    if issubclass(unraisable.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    else:
        sys.__unraisablehook__(unraisable)


def _fail(message: str, status: int) -> int:
    print(f"scout: {' '.join(message.split())}", file=sys.stderr)
    return status
