"""The part of a domain's loop that tries packets that are held again."""

from scout.domain_live import live_divert, live_held
from scout.domain_plan import DomainPlan, call, is_of, transmits
from scout.io.packet import DROPPED

__all__ = ["divert", "held", "holds"]


def holds(plan: DomainPlan) -> bool:
    return plan.grows or any(stage.holds for shape in plan.shapes for stage in shape.path.stages.values())


def held(plan: DomainPlan) -> list[str]:
    """Try packets that are held again; those held for too long go where their stage says, or are dropped."""
    routers = [router for router in plan.graph.routers if router.changes is not None]
    changes = " + ".join(f"{plan.tables[id(router.changes)]}[0]" for router in routers) or "0"
    again: list[str] = []
    for shape in plan.shapes:
        if shape.path.aside:
            first = shape.path.held_counter(next(iter(shape.path.stages)))
            row = f"packet.path * {shape.plan.row} + " if shape.many else ""
            again += [
                f"            {'elif' if again else 'if'} {is_of(plan, shape)}:",
                f"                path_{shape.name}_counters[{row}{first} + packet.at] -= 1",
                f"                {call(plan, shape, 'run', 'resumed, index, index + 1')}",
            ]
    if plan.grows:
        again += live_held(plan, "elif" if again else "if")
    return [
        "# held",
        f"if hold[0].count and is_due(hold[0], {changes}):",
        f"    open_bank(hold[0], {changes})",
        "    while True:",
        "        count = take_back(hold[0], resumed)",
        "        if count == 0:",
        "            break",
        "        for index in range(count):",
        "            packet = resumed[index]",
        "            packet.timestamp = hold[0].now",
        f"            if has_expired(packet, hold[0].now) and not divert(packet{_paths(plan)}):",
        f"                packet.egress = {DROPPED}",
        "                hold[0].expired += 1",
        "                continue",
        *again,
        f"        send(resumed, count, hold, -1, {transmits(plan)})",
    ]


def _paths(plan: DomainPlan) -> str:
    return (", demux_paths" if plan.demuxes else "") + (", contexts" if plan.grows else "")


def divert(plan: DomainPlan) -> list[str]:
    """Where packets enter that were held for too long. A path leaves it out where that leads to replicated work."""
    lines = []
    for shape in plan.shapes:
        path = shape.path
        for node, data in path.nodes(data=True):
            target = data.get("timeout")
            if target is None:
                continue
            lines += [
                f"    if {is_of(plan, shape)} and packet.at == {data['index']}:  # {node}",
                f"        packet.at = {path.nodes[target]['index']}  # {target}",
                "        packet.held_since = packet.timestamp",
                "        return True",
            ]
    if plan.grows:
        lines += live_divert(plan)
    return [
        "@inline",
        f"def divert(packet{_paths(plan)}):",
        '    """Let a packet that was held for too long go on where its stage wants it; False if that is nowhere."""',
        *lines,
        "    return False",
    ]
