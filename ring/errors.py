"""The base class of errors that a user can fix. Each is one sentence: the object, the place, the fix."""

__all__ = ["ScoutError"]


class ScoutError(Exception):
    """Bad usage or bad input; the command line prints it as one line and exits with status 2."""
