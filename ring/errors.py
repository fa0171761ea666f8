"""The errors that a user can mend. Each is one sentence: the thing, the place, the mend."""

__all__ = ["ScoutError"]


class ScoutError(Exception):
    """Bad usage or bad input; the command line prints it as one line and exits with status 2."""
