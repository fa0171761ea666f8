"""Settings: numbers that stages read, and that may be changed while packets flow."""

import numpy as np

from scout.paths.model.table import Table
from scout.ring.errors import ScoutError

__all__ = ["Setting"]


class Setting(Table):
    """A number that stages read as an int, and that `Supervisor.change` can set at one request in every replica.

    Bind it where an int can be bound. A stage has it as a plain int: native code reads it once a batch, and no batch
    contains a change. Each replica has a copy for each channel, so that the value is that of the request at hand.

    Parameters
    ----------
    value : int
        The value at the beginning; 64 bits, signed.
    allowed : range, optional
        The values that it can have; by default all.

    Raises
    ------
    ScoutError
        If the value is no int of 64 bits, or none of those allowed.

    Examples
    --------
    >>> most = Setting(1500)
    >>> most.value
    1500

    Then `Filter("short", too_long, most=most)`, and while it runs `supervisor.change(SetValue(most, 576))`.
    """

    def __init__(self, value: int, allowed: range | None = None) -> None:
        self.allowed = allowed
        super().__init__(np.array([self.checked(value)], np.int64), "constant")
        self.kind = "setting"
        self.label = ""  # of the router and the parameter that it was bound to first, as hops.least

    def __repr__(self) -> str:
        return f"Setting({self.value})"

    @property
    def value(self) -> int:
        """The value after the newest change."""
        return int(self.initial[0])

    @value.setter
    def value(self, value: int) -> None:
        self.initial[0] = self.checked(value)

    def checked(self, value: int) -> int:
        """The value, if the setting can have it."""
        if not isinstance(value, int | np.integer) or not -(1 << 63) <= value < 1 << 63:
            raise ScoutError(f"a setting of {value!r}: give an int of 64 bits")
        if self.allowed is not None and int(value) not in self.allowed:
            raise ScoutError(f"a setting of {value}: give {self.allowed.start} to {self.allowed.stop - 1}")
        return int(value)
