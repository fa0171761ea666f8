"""The accounts of a run: the fate of every packet, and the work of each replica."""

from collections.abc import Iterable, Sequence
from typing import Any

from scout.domain_arguments import Channels
from scout.memory import Memory
from scout.path_queues import DROPS
from scout.paths.model.graph import RouterGraph
from scout.paths.model.path import Path

__all__ = ["account", "account_rows", "figures", "path_figures", "queue_figures"]


def figures(channels: Sequence[Any], replica: int) -> dict[str, int]:
    """How many packets of these channels a replica has dealt with, and how many requests still wait for it."""
    cursors = [channel.cursors[replica] for channel in channels]
    return {
        "id": replica,
        "primary": sum(int(cursor["claimed"]) for cursor in cursors),
        "seen": sum(int(cursor["seen"]) for cursor in cursors),
        "replayed": sum(int(cursor["replayed"]) for cursor in cursors),
        "lag": sum(channel.lag(replica) for channel in channels),
    }


def queue_figures(memory: Memory) -> list[dict[str, Any]]:
    """The figures of each path's queue, the sums of all replicas; see `Supervisor.queue_figures`."""
    rows = memory.paths.queues.figures()
    for row in rows:
        used = memory.paths.account_of(row.pop("number"))
        row |= {"throttled": used["throttled"], "bytes": used["bytes"], "busy_s": _seconds(used["busy"])}
    return rows


def path_figures(path: Path, memory: Memory) -> dict[str, Any]:
    """The use of a path, and the fate of its packets; see `Supervisor.path_figures`."""
    counted = memory.paths.counters(path)
    flows = path.flows(counted)
    drops = {reason: count for reason, count in path.account(counted)["drops"].items() if count}
    used, queue = memory.paths.account(path), memory.paths.queue_of(path)
    _add(drops, {"over-budget": used["throttled"], **{reason: queue[name] for name, reason in DROPS.items() if queue}})
    return {
        "path": path.name,
        "packets": sum(packets for (tail, _), packets in flows.items() if tail == path.entry),
        "bytes": used["bytes"] if path.is_accounted else None,
        "busy_s": _seconds(used["busy"]) if path.is_accounted else None,
        "waiting": queue.get("waiting", 0),
        "drops": drops,
        "memory_bytes": memory.paths.memory(path),
    }


def _seconds(nanoseconds: int) -> float:
    return round(nanoseconds / 1e9, 6)


def account(graph: RouterGraph, channels: Channels, memory: Memory, over: bool, deaths: bool) -> dict[str, Any]:
    """The fate of every packet; see `Supervisor.account`.

    Parameters
    ----------
    graph : RouterGraph
    channels : sequence of tuple
        The channels, each with its paths.
    memory : Memory
    over : bool
        True if no replica serves any more.
    deaths : bool
        True if a replica died. The packets that died with it, less those that its successor dealt with a second time,
        are known only as the difference between what was received and what is accounted for.
    """
    out: dict[str, int] = {}
    ended: dict[str, int] = {}
    drops: dict[str, int] = {}
    received = claimed = made = 0
    for channel, _ in channels:
        claimed += int(channel.cursors["claimed"].sum())  # read first: replicas may still claim packets
        counted_before = channel.counters()
        received += sum(counted_before.values())
        claimed += sum(counted_before.values()) - counted_before.pop("received")
        _add(drops, counted_before)
    for shape in memory.paths.shapes:
        total = memory.paths.total(shape)
        made += shape.path.emitted(total)
        counted = shape.path.account(total)
        _add(drops, counted["drops"])
        _add(ended, counted["ended"])
    _add(drops, {"no-path": int(memory.refused[:, 0].sum())})
    for name in graph.ports:
        transmitted = graph.router(name).port.transmitted()
        _add(out, {name: transmitted.pop("sent") - transmitted.pop("made")})
        _add(drops, transmitted)
    _add(ended, {"change": int(memory.changed.sum())})
    held = {field: int(memory.holds[field].sum()) for field in ("full", "expired", "held", "delayed")}
    _add(drops, {"hold-full": held["full"], "hold-expired": held["expired"]})
    _add(drops, {**memory.paths.queues.drops(), "over-budget": memory.paths.throttled})
    if over:
        _add(drops, {"held-at-stop": held["held"] + held["delayed"], "queued-at-stop": memory.paths.queues.waiting()})
        if not deaths:
            _add(drops, {"unread-at-stop": received - claimed})
        else:
            missing = received + made - sum(sum(part.values()) for part in (out, ended, drops))
            _add(drops, {"replica-died" if missing > 0 else "done-again": missing})
    emitted = {"made": made} if made else {}
    return {"received": received, **emitted, "out": out, "ended": ended, "drops": drops}


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for key, value in more.items():
        if value:
            total[key] = total.get(key, 0) + value


def account_rows(account: dict[str, Any]) -> list[dict[str, Any]]:
    """The account of a supervisor as flat rows: `name`, `packets`, and the port or the reason."""
    rows: list[dict[str, Any]] = [{"name": "received", "packets": account["received"]}]
    rows += [{"name": "made", "packets": account["made"]}] if account.get("made") else []
    rows += _counted("out", "port", account["out"])
    rows += _counted("ended", "reason", account["ended"])
    rows += _counted("dropped", "reason", account["drops"])
    return rows


def _counted(name: str, key: str, counts: dict[str, int]) -> Iterable[dict[str, Any]]:
    return ({"name": name, key: which, "packets": count} for which, count in sorted(counts.items()))
