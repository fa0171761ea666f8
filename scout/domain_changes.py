"""The text by which a domain makes a change, when it comes to the control request of the change.

A change is a piece of the log that the supervisor writes (`scout.changes`): a row that names its epoch and the number
of rows that follow, and then those. A row gives a setting its new value, or is an order for a router.

Each channel has its own copy of the settings in each replica, and its own position at which it comes to the change. A
router's tables are one in a replica: its orders are made by the first channel that comes to them.
"""

from scout.paths.model.graph import RouterGraph
from scout.paths.model.stage import Stage
from scout.paths.model.table import Table

__all__ = ["HEAD", "LOG", "SETTING", "ChangeText", "amenders"]

LOG = 1 << 16
"""Rows of the log of changes; a power of two. Untouched pages cost nothing."""

SETTING, HEAD = -1, -2
"""In the place of a router's index in a row of the log: a setting, by its index `one`, becomes `two`; the first row of
the change with the epoch `one`, which `two` rows follow."""


def amenders(graph: RouterGraph) -> dict[int, Stage]:
    """The functions that make orders, by the index of their router."""
    found = ((index, router.amender()) for index, router in enumerate(graph.routers))
    return {index: stage for index, stage in found if stage is not None}


class ChangeText:
    """The function `change` of a domain's loop, and the call of it.

    Parameters
    ----------
    stages : dict of int to Stage
        The amenders, by the index of their router.
    tables : dict of int to str
        The name of each table in the text, by the table's `id`.
    channels : int
    """

    def __init__(self, stages: dict[int, Stage], tables: dict[int, str], channels: int) -> None:
        self._channels = channels
        self._bound = {
            index: [tables[id(value)] for name in stage.parameters if isinstance(value := stage.bindings[name], Table)]
            for index, stage in stages.items()
        }
        self._tables = list(dict.fromkeys(name for given in self._bound.values() for name in given))

    def function(self) -> list[str]:
        """The function `change`, which makes a change for one channel."""
        epochs = [f"positions[{2 * self._channels + channel}]" for channel in range(self._channels)]
        orders: list[str] = []
        for index, given in self._bound.items():
            orders += [
                f"            {'elif' if orders else 'if'} order.router == {index}:",
                f"                amend_{index}({', '.join(['order', 'now', *given])})",
            ]
        return [
            "@callee",
            f"def change({', '.join(['log, number, now, channel, settings, positions', *self._tables])}):",
            '    """Make the change at row `number` of the log, for one channel; `now` is the time of its request."""',
            f"    head = log[number & {LOG - 1}]",
            *([f"    is_first = {' and '.join(f'head.one > {epoch}' for epoch in epochs)}"] if orders else []),
            "    for index in range(number + 1, number + 1 + head.two):",
            f"        order = log[index & {LOG - 1}]",
            f"        if order.router == {SETTING}:",
            "            settings[channel, order.one] = order.two",
            *(["        elif is_first:", *orders] if orders else []),
            f"    positions[{2 * self._channels} + channel] = head.one",
        ]

    def call(self, channel: int) -> str:
        """Make the change whose control request is the batch at hand."""
        given = ["log, batch[0].argument, batch[0].timestamp", str(channel), "settings, positions", *self._tables]
        return f"change({', '.join(given)})"
