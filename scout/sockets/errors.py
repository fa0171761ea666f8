"""The errors of sockets: those of the kernel's sockets in the same situation."""

import errno
import os

__all__ = ["error_of", "refuse_flags"]


_TEXTS = {errno.EBADMSG: "a record could not be opened: it was altered on the way, or the keys of both ends differ"}


def error_of(number: int) -> OSError:
    """The error of a number (errno); Python chooses the class."""
    return OSError(number, _TEXTS.get(number) or os.strerror(number))


def refuse_flags(flags: int = 0) -> None:
    """Raise an error if a call has flags: there are none here."""
    if flags:
        raise error_of(errno.EOPNOTSUPP)
