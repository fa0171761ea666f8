"""The errors of sockets: those of the kernel's sockets in the same situation."""

import errno
import os

__all__ = ["error_of", "refuse_flags"]


def error_of(number: int) -> OSError:
    """The error of a number (errno); Python chooses the class."""
    return OSError(number, os.strerror(number))


def refuse_flags(flags: int = 0) -> None:
    """Raise an error if a call has flags: there are none here."""
    if flags:
        raise error_of(errno.EOPNOTSUPP)
