"""Changes of settings: the numbers that stages, filters and services read.

Example
    supervisor.change(SetValue(most, 576))  # most = Setting(1500), bound to a parameter of a stage
"""

from dataclasses import dataclass, field

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
    >>> SetValue(most, 576).text
    'SetValue a setting: 1500 to 576'
    """

    setting: Setting
    value: int
    was: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "was", self.setting.value)  # later it is the new value

    @property
    def text(self) -> str:
        """The setting, its value when this change was written, and the new one."""
        return f"SetValue {self.setting.label or 'a setting'}: {self.was} to {self.value}"
