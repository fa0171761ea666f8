"""The text by which a domain makes a change, when it comes to the control request of the change.

A change is a piece of the log that the supervisor writes (`scout.changes`): a row that names its epoch and the number
of rows that follow, and then those. A row gives a setting its new value, or is an order for a router.

Each channel has its own copy of the settings in each replica, and its own position at which it comes to the change. A
router's tables are one in a replica: its orders are made by the first channel that comes to them.
"""

from scout.paths.model.graph import RouterGraph
from scout.paths.model.stage import Stage

__all__ = ["HEAD", "LOG", "SETTING", "amenders", "change_call", "change_source"]

LOG = 1 << 16
"""Rows of the log of changes; a power of two. Untouched pages cost nothing."""

SETTING, HEAD = -1, -2
"""In the place of a router's index in a row of the log: a setting, by its index `one`, becomes `two`; the first row of
the change with the epoch `one`, which `two` rows follow."""


def amenders(graph: RouterGraph) -> dict[int, Stage]:
    """The functions that make orders, by the index of their router."""
    found = ((index, router.amender()) for index, router in enumerate(graph.routers))
    return {index: stage for index, stage in found if stage is not None}


def change_source(channels: int) -> list[str]:
    """The function `change`, which makes a change for one channel."""
    epochs = [f"positions[{2 * channels + channel}]" for channel in range(channels)]
    return [
        "@callee",
        "def change(log, number, now, channel, settings, positions, amenders):",
        '    """Make the change at row `number` of the log, for one channel; `now` is the time of its request."""',
        f"    head = log[number & {LOG - 1}]",
        f"    is_first = {' and '.join(f'head.one > {epoch}' for epoch in epochs)}",
        "    for index in range(number + 1, number + 1 + head.two):",
        f"        order = log[index & {LOG - 1}]",
        f"        if order.router == {SETTING}:",
        "            settings[channel, order.one] = order.two",
        "        elif is_first:",
        "            amend(order, now, amenders)",
        f"    positions[{2 * channels} + channel] = head.one",
    ]


def change_call(channel: int) -> str:
    """Make the change whose control request is the batch at hand."""
    return f"change(log, batch[0].argument, batch[0].timestamp, {channel}, settings, positions, amenders)"
