"""Changes of settings: the numbers that stages, filters and services read.

Example
    supervisor.change(SetValue(most, 576))  # most = Setting(1500), bound to a parameter of a stage
"""

from dataclasses import dataclass

from scout.paths.model.change import Change
from scout.paths.model.setting import Setting

__all__ = ["SetValue"]


@dataclass(frozen=True)
class SetValue(Change):
    """Give a setting another value.

    Parameters
    ----------
    setting : Setting
        One that a stage of the running paths is bound to.
    value : int

    Examples
    --------
    >>> from scout.paths.model.setting import Setting
    >>> most = Setting(1500)
    >>> SetValue(most, 576).value
    576
    """

    setting: Setting
    value: int
