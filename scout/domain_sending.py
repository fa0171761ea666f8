"""The functions of a domain's loop by which packets leave: `send`, and `prepare` for what needs no order."""

from scout.domain_plan import DomainPlan, transmits
from scout.io.packet import HELD, WAITING

__all__ = ["prepare_call", "prepare_function", "send_function"]


def send_function(plan: DomainPlan) -> list[str]:
    """The function that sends the packets of a batch."""
    ports = range(len(plan.graph.ports))
    lines = [
        "@callee",  # the loop calls it at several places
        f"def send(batch, count, hold, number, {transmits(plan)}):",
        '    """Send the packets that leave by a port, keep those that are held; `number` is that of their batch."""',
        *(f"    port_{index}_transmit[0].number = number" for index in ports),
        *(["    leaving = 0"] if plan.accounts else []),
        "    for index in range(count):",
        "        packet = batch[index]",
        "        record = batch.ctypes.data + index * RECORD",
        *(["        leaving += packet.egress >= 0"] if plan.accounts else []),
    ]
    for index in ports:
        lines += [
            f"        {'elif' if index else 'if'} packet.egress == {index}:",
            f"            port_{index}_enqueue(port_{index}_transmit[0], packet, record)",
        ]
    lines += [f"        elif packet.egress == {HELD}:", "            keep(hold[0], packet, record)"]
    if plan.delays:
        lines += [
            f"        elif packet.egress == {WAITING}:",
            "            delay(hold[0], packet, record, hold.ctypes.data)",
        ]
    lines += (f"    port_{index}_flush(port_{index}_transmit[0])" for index in ports)
    return [*lines, *(["    return leaving"] if plan.accounts else [])]


def _prepared(plan: DomainPlan) -> dict[int, str]:
    """The indices of ports whose packets are prepared before their turn, and the records that this takes."""
    ports = enumerate(plan.graph.router(name).port for name in plan.graph.ports)
    return {index: f"port_{index}_transmit" for index, port in ports if port.operations.prepare is not None}


def prepare_function(plan: DomainPlan) -> list[str]:
    """The function that does what needs no order, before the packets of a batch leave."""
    if not _prepared(plan):
        return []
    lines = [
        "",
        "",
        "@callee",
        f"def prepare(batch, count, {', '.join(_prepared(plan).values())}):",
        '    """Do the part of sending that needs no order."""',
        "    for index in range(count):",
        "        packet = batch[index]",
    ]
    for index, transmit in _prepared(plan).items():
        lines += [
            f"        if packet.egress == {index}:",
            f"            port_{index}_prepare({transmit}[0], packet)",
        ]
    return lines


def prepare_call(plan: DomainPlan) -> list[str]:
    """The call of this function for a batch."""
    return [f"prepare(batch, count, {', '.join(_prepared(plan).values())})"] if _prepared(plan) else []
