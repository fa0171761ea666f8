"""Six stages as users write them, which `scout bench path` puts into its path."""

from typing import Any

import numpy as np

from scout.io.access import add16, load8, load16, load32, require, store8, store16
from scout.paths.model.table import Table
from scout.paths.model.verdict import drop
from scout.paths.stages.filter import Filter
from scout.paths.wire.flow import mix
from scout.paths.wire.ipv4 import CHECKSUM, DESTINATION, PROTOCOL, SOURCE, TCP, TOS, TOTAL_LENGTH, UDP

__all__ = ["filters", "no_telnet"]

NO_TELNET, BLOCKED = drop("telnet"), drop("blocked")
EXPEDITED = 46 << 2  # the byte TOS of the DSCP "expedited forwarding" (RFC 3246)


def no_telnet(frame: Any, end: Any) -> int:
    """Drop TCP to port 23."""
    if load8(frame, PROTOCOL) == TCP and require(frame, end, 24) and load16(frame, 22) == 23:
        return NO_TELNET
    return 0


def count_protocols(frame: Any, end: Any, protocols: Any) -> int:
    """Count the packets of each protocol."""
    protocols[load8(frame, PROTOCOL)] += 1
    return 0


def mark(frame: Any, end: Any) -> int:
    """Mark UDP to the ports of voice for expedited forwarding."""
    if load8(frame, PROTOCOL) == UDP and require(frame, end, 24) and 16384 <= load16(frame, 22) < 32768:
        change = add16(load8(frame, TOS) ^ 0xFFFF, EXPEDITED)
        store8(frame, TOS, EXPEDITED)
        store16(frame, CHECKSUM, ~add16(load16(frame, CHECKSUM) ^ 0xFFFF, change))
    return 0


def block(frame: Any, end: Any, blocked: Any) -> int:
    """Drop packets from the networks (/16) of a list."""
    if blocked[load16(frame, SOURCE)]:
        return BLOCKED
    return 0


def count_sizes(frame: Any, end: Any, sizes: Any) -> int:
    """Count the packets of each size, in steps of 64 bytes."""
    sizes[load16(frame, TOTAL_LENGTH) >> 6] += 1
    return 0


def count_flows(frame: Any, end: Any, flows: Any) -> int:
    """Count the packets of each pair of addresses, by hash."""
    flows[mix(load32(frame, SOURCE) << 32 | load32(frame, DESTINATION)) & len(flows) - 1] += 1
    return 0


def filters() -> list[Filter]:
    """A filter of each stage."""

    def counters(size: int) -> Table:
        return Table(np.zeros(size, np.int64), "private")

    return [
        Filter("no_telnet", no_telnet),
        Filter("protocols", count_protocols, protocols=counters(256)),
        Filter("mark", mark),
        Filter("block", block, blocked=Table(np.zeros(1 << 16, np.uint8), "constant")),
        Filter("sizes", count_sizes, sizes=counters(1024)),
        Filter("flows", count_flows, flows=counters(1024)),
    ]
