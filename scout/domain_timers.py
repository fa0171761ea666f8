"""The part of a domain's loop that has a router's timers served: it makes a request when their time has come.

A router that wants it says in `deadline` when. The request is one of a replica itself (`PortOperations.expire`), in the
channel of the port from which the router's own path comes, so every replica serves the timers at one position. The
lookout makes it; the others do only where it is late, as it may have died or have no processor.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from scout.domain_plan import DomainPlan
from scout.paths.model.path import Path
from scout.paths.model.table import Table

__all__ = ["Deadline", "begin_timers", "deadlines_of", "timers"]

LATE = 1_000_000
"""Nanoseconds after which other replicas than the lookout make the request, and any makes it again."""


SET_BACK = 1_000_000_000
"""Nanoseconds by which the clock may be earlier than before until it is taken to have been set back."""


class Deadline(NamedTuple):
    """The deadline of a router with timers."""

    port: str
    protocol: int
    table: Table


def deadlines_of(paths: Sequence[Path]) -> list[Deadline]:
    """The deadlines of routers on these paths: those that are state of a path from a port for requests."""
    found: dict[str, Deadline] = {}
    for path in paths:
        graph = path.router_graph
        if graph.router(path.source).port.operations.expire is None:
            continue
        for name in sorted(path.routers & {router.name for router in graph.routers}):
            router: Any = graph.router(name)
            if router.deadline is not None and any(table is router.deadline for table in path.tables):
                found[name] = Deadline(path.source, router.protocol, router.deadline)
    return list(found.values())


def begin_timers(plan: DomainPlan) -> list[str]:
    """The lines before the loop's first round."""
    return [
        line
        for index in range(len(plan.timers))
        for line in (
            f"asked_{index}, asked_at_{index} = 0, 0  # its last request",
            f"seen_{index} = 0  # when its time was looked at last",
        )
    ]


def timers(plan: DomainPlan) -> list[str]:
    """The lines of a round."""
    if not plan.timers:
        return []
    lines = ["# timers", "waiter[0].until = NEVER"]
    for index, timer in enumerate(plan.timers):
        lines += [
            f"due = deadline_{index}[0]",
            "if due < NEVER:",
            "    moment = now(waiter)",
            f"    if moment < seen_{index} - {SET_BACK}:",
            "        due = moment  # the clock was set back: the request tells the router",
            f"    elif not is_lookout(waiter[0].bell, replica) or due == asked_{index}:",
            f"        due = max(due, asked_at_{index} if due == asked_{index} else 0) + {LATE}",
            f"    seen_{index} = moment",
            "    if moment < due:",
            "        waiter[0].until = min(waiter[0].until, due)",
            "    else:",
            f"        port_{timer.port}_expire(port_{timer.port}_transmit[0], {timer.protocol})",
            f"        asked_{index}, asked_at_{index} = deadline_{index}[0], moment",
            "        work += 1",
        ]
    return lines
