"""Answers about what a router knows: its addresses, routes, next hops, neighbours, tables of services, and handlers."""

from collections.abc import Sequence
from ipaddress import IPv4Address
from typing import Any, TypeVar

import numpy as np

from scout.control_socket.protocol import Rows, answer, page
from scout.io.mac import mac_text
from scout.paths.framework.service import Service
from scout.paths.model.graph import RouterGraph
from scout.paths.model.setting import Setting
from scout.paths.protocols.adjacencies import RESERVED, STATIC, UNKNOWN
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.protocols.next_hop import KIND_NAMES, UNUSED
from scout.paths.stages.filter import Filter
from scout.supervisor import Supervisor
from scout.tables import find_table

__all__ = ["State", "settings"]

_Item = TypeVar("_Item")


class State:
    """A method for each such request; the parameters are those of `scout.control_socket.requests`."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def show_addresses(self) -> dict[str, Any]:
        return answer(
            [
                {"router": ip.name, "port": port, "address": str(address)}
                for ip in self._routers(Ip)
                for port, addresses in ip.addresses.items()
                for address in addresses
            ]
        )

    def show_routes(self, first: int, limit: int) -> dict[str, Any]:
        rows: Rows = []
        total = 0
        for ip in self._routers(Ip):
            start = max(0, first - total)
            for prefix, hop in ip.fib.listed(start, start + limit - len(rows)):
                rows.append({"prefix": str(prefix), **self._next_hop(ip, hop)})
            total += len(ip.fib)
        return answer(rows, total)

    def show_next_hops(self, first: int, limit: int) -> dict[str, Any]:
        hops = [
            (ip, index)
            for ip in self._routers(Ip)
            for index in np.flatnonzero(ip.next_hops.initial["kind"] != UNUSED).tolist()
        ]
        return page(hops, first, limit, lambda hop: {"next_hop": hop[1], **self._next_hop(*hop)})

    def show_neighbours(self, first: int, limit: int) -> dict[str, Any]:
        now = max(self._supervisor.memory.now(channel) for channel, _ in self._supervisor.channels)
        rows: list[np.void] = []
        for arp in self._routers(Arp):
            table = self._supervisor.table(arp.adjacencies).copy()
            rows += list(table[table["key"] != 0])
        return page(rows, first, limit, lambda row: self._neighbour(row, now))

    def show_tables(self) -> dict[str, Any]:
        return answer(
            [
                {
                    "table": name,
                    "kind": table.kind,
                    "rows": len(table.initial),
                    "fields": ", ".join(table.initial.dtype.names or ()) or str(table.initial.dtype),
                }
                for name, table in sorted(self._supervisor.tables.items())
            ]
        )

    def show_table(self, table: str, replica: int | None, first: int, limit: int) -> dict[str, Any]:
        found = self._supervisor.table(find_table(self._supervisor.tables, table), replica)
        has_keys = found.dtype.names and "key" in found.dtype.names
        used: Sequence[int] = np.flatnonzero(found["key"]).tolist() if has_keys else range(len(found))
        return page(used, first, limit, lambda index: {"row": index, **_fields(found, index)})

    def show_handlers(self) -> dict[str, Any]:
        rows: Rows = []
        for service in self._routers(Service):
            bound = service.names_in(int(self._supervisor.table(service.tables["bound"])[0]))
            for name, handler in zip(service.names_in(-1), service.handlers, strict=True):
                event = handler.event.name if handler.event is not None else ""
                row = {"service": service.name, "handler": name, "event": event, "runs_on": handler.run}
                rows.append(row | {"bound": name in bound})
        return answer(rows)

    def show_settings(self) -> dict[str, Any]:
        found = settings(self._supervisor.graph)
        return answer([{"setting": name, "value": setting.value} for name, setting in found.items()])

    def _routers(self, kind: type[_Item]) -> list[_Item]:
        """The routers of a class that a path leads through: only those have memory."""
        graph = self._supervisor.graph
        used = {data["router"] for path in self._supervisor.paths for _, data in path.nodes(data=True)}
        return [router for router in graph.routers if isinstance(router, kind) and router.name in used]

    def _next_hop(self, ip: Ip, index: int) -> dict[str, Any]:
        hop = ip.next_hops.initial[index]
        has_port = hop["port"] >= 0
        return {
            "kind": KIND_NAMES[int(hop["kind"])],
            "gateway": str(IPv4Address(int(hop["address"]))) if hop["address"] else "",
            "port": self._supervisor.graph.ports[int(hop["port"])] if has_port else "",
            "source": str(IPv4Address(int(hop["source"]))) if has_port else "",
        }

    def _neighbour(self, row: np.void, now: int) -> dict[str, Any]:
        key, left_ns = int(row["key"]), int(row["expires"]) - now
        static, known = row["state"] == STATIC, row["expires"] != UNKNOWN
        state = "reachable" if left_ns > 0 else "expired" if known else "incomplete"
        return {
            "port": self._supervisor.graph.ports[(key >> 32) - 1],
            "address": str(IPv4Address(key & 0xFFFFFFFF)),
            "mac": mac_text(int(row["mac"])) if known else "",
            "state": "static" if static else state,
            "gateway": bool(row["state"] == RESERVED),
            "expires_in_s": round(left_ns / 1e9, 3) if left_ns > 0 and not static else None,
        }


def settings(graph: RouterGraph) -> dict[str, Setting]:
    """The settings of filters and services by name, `router.parameter`.

    Settings that routers keep for themselves are not among them: as the version of a FIB no number is right but theirs.
    """
    return {
        f"{router.name}.{parameter}": value
        for router in graph.routers
        if isinstance(router, Filter)
        for parameter, value in router.bindings.items()
        if isinstance(value, Setting)
    }


def _fields(table: np.ndarray, index: int) -> dict[str, Any]:
    """The fields of a row of a table, as JSON can write them."""
    row = table[index]
    names = table.dtype.names
    return {name: row[name].tolist() for name in names} if names else {"value": row.tolist()}
