"""Answers about what a router is and does: its graph, paths, ports and replicas, and where packets went.

All figures are in shared memory anyway, so that reading them costs the domains nothing. Latencies alone are measured
only while somebody reads them.
"""

import os
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path as FilePath
from typing import Any

import psutil

from scout.accounts import account_rows
from scout.control_socket.kinds import MOST_ROWS
from scout.control_socket.protocol import answer, page
from scout.drop_reasons import meaning
from scout.io.mac import mac_text
from scout.io.ports.afpacket import AfPacketPort
from scout.paths.model.path import Path
from scout.paths.model.references import written
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor

__all__ = ["Figures"]


class Figures:
    """A method for each such request; the parameters are those of `scout.control_socket.requests`.

    Parameters
    ----------
    supervisor : Supervisor
    file : str
        The router file.
    """

    def __init__(self, supervisor: Supervisor, file: str) -> None:
        self._supervisor, self._file = supervisor, str(FilePath(file).resolve())
        self._began = time.monotonic()

    def show_router(self) -> dict[str, Any]:
        supervisor = self._supervisor
        row: dict[str, Any] = {"router": supervisor.graph.name, "file": self._file, "pid": os.getpid()}
        row |= {"state": "running" if supervisor.taking_part else "compiling", "replicas": supervisor.alive}
        return answer([row | {"since_s": round(time.monotonic() - self._began, 3)}])

    def show_graph(self) -> dict[str, Any]:
        graph = self._supervisor.graph
        return answer(
            [
                {
                    "router": router.name,
                    "kind": type(router).__name__,
                    "stands_on": ", ".join(graph.successors(router.name)),
                    "port": repr(router.port) if router.port else "",
                }
                for router in graph.routers
            ]
        )

    def show_paths(self, first: int, limit: int) -> dict[str, Any]:
        channels = {
            path.source: number for number, (_, paths) in enumerate(self._supervisor.channels) for path in paths
        }
        return page(
            self._supervisor.paths,
            first,
            limit,
            lambda path: {
                **self._path_figures(path),
                "order": path.release_order,
                "tier": path.tier,
                "stages": len(path.stages),
                "replicated_stages": len(path.replicated),
                "channel": channels[path.source],
            },
        )

    def _path_figures(self, path: Path) -> dict[str, Any]:
        figures = self._supervisor.path_figures(path)
        drops = figures.pop("drops")
        reasons = ", ".join(f"{reason} {packets:,}" for reason, packets in sorted(drops.items()))
        return figures | {"dropped": sum(drops.values()), "reasons": reasons}

    def show_edges(self, path: str | None, empty: bool) -> dict[str, Any]:
        found = self._supervisor.flows_by_shape()
        if path is not None:
            named = [each for each in self._supervisor.paths if path in (each.source, each.name)]
            if not named:
                sources = ", ".join(dict.fromkeys(each.source for each in self._supervisor.paths))
                raise ScoutError(f"no path begins at {path!r}; paths begin at {sources}")
            found = [(named[0], self._supervisor.flows(named[0]))]
        return answer(
            [
                {"path": each.name, "from": tail, "to": head, "packets": packets}
                for each, flows in found
                for (tail, head), packets in flows.items()
                if packets or empty
            ]
        )

    def show_ports(self) -> dict[str, Any]:
        rows, supervisor = [], self._supervisor
        entered: dict[str, int] = defaultdict(int)
        for path, flows in supervisor.flows_by_shape():
            entered[path.source] += _entered(path, flows)
        for name in supervisor.graph.ports:
            port, left = supervisor.port(name), supervisor.port(name).transmitted()
            row = {"port": name, "interface": port.interface, "mac": mac_text(port.mac), "mtu_bytes": port.mtu}
            row |= {"state": port.fault() or "is up", "received": entered[name]}
            row |= {"sent": left.pop("sent"), "made_here": left.pop("made"), "not_sent": sum(left.values())}
            way, because = (port.way, port.hindrance) if isinstance(port, AfPacketPort) else ("", "")
            row |= {"single_frames_by": way, "because": because}
            rows.append(row)
        return answer(rows)

    def show_channels(self) -> dict[str, Any]:
        return answer(
            [
                {
                    "channel": number,
                    "ports": ", ".join(dict.fromkeys(path.source for path in paths)),
                    "replica": replica,
                    "position": channel.position(replica),
                    "lag": channel.lag(replica),
                }
                for number, (channel, paths) in enumerate(self._supervisor.channels)
                for replica in self._supervisor.taking_part
            ]
        )

    def show_queues(self) -> dict[str, Any]:
        return answer(self._supervisor.queue_figures())

    def show_path_requests(self) -> dict[str, Any]:
        return answer(self._supervisor.path_requests())

    def show_drops(self) -> dict[str, Any]:
        stages: dict[str, set[str]] = defaultdict(set)
        modules: dict[str, set[str]] = defaultdict(set)
        for path, flows in self._supervisor.flows_by_shape():
            for (tail, head), packets in flows.items():
                if packets and path.nodes[head]["kind"] == "drop":
                    reason = path.nodes[head]["label"]
                    stages[reason].add(f"{path.name}: {tail}")
                    modules[reason] |= self._modules(path, tail)
        ports = {type(self._supervisor.port(name)).__module__ for name in self._supervisor.graph.ports}
        return answer(
            [
                {
                    "reason": reason,
                    "packets": packets,
                    "stages": ", ".join(sorted(stages[reason])),
                    "meaning": meaning(reason, self._supervisor.graph, sorted(modules[reason] or ports)),
                }
                for reason, packets in sorted(self._supervisor.account()["drops"].items())
            ]
        )

    def show_replicas(self) -> dict[str, Any]:
        rows, supervisor = [], self._supervisor
        for figures in supervisor.replica_figures():
            replica = figures.pop("id")
            takes_part = replica in supervisor.taking_part
            pid = supervisor.processes[replica].pid
            row: dict[str, Any] = {"replica": replica, "state": "takes part" if takes_part else "has left", "pid": pid}
            row |= {"core": figures.pop("core"), **figures, "cpu_s": _cpu_time(pid) if takes_part else 0.0}
            rows.append(row)
        return answer(rows)

    def show_latencies(self) -> dict[str, Any]:
        return answer(self._supervisor.latencies())

    def show_account(self) -> dict[str, Any]:
        return answer(account_rows(self._supervisor.account()))

    def show_figures(self) -> dict[str, Any]:
        parts = {
            "port": self.show_ports(),
            "path": self.show_paths(0, MOST_ROWS),
            "edge": self.show_edges(None, empty=True),
            "queue": self.show_queues(),
            "drop": self.show_drops(),
            "channel": self.show_channels(),
            "replica": self.show_replicas(),
            "latency": self.show_latencies(),
        }
        return answer([{"name": name} | row for name, part in parts.items() for row in part["rows"]])

    def _modules(self, path: Path, stage: str) -> set[str]:
        """The modules whose docstrings may say why a stage drops packets."""
        router = self._supervisor.graph.router(path.nodes[stage]["router"])
        return {type(router).__module__, *(each.__module__ for each in written(path.nodes[stage]["stage"].function))}


def _entered(path: Path, flows: dict[tuple[str, str], int]) -> int:
    """The packets that have entered a path."""
    begin = f"port {path.source}"
    return sum(packets for (tail, _), packets in flows.items() if tail == begin)


def _cpu_time(pid: int) -> float:
    """The CPU time of a process, seconds; 0 if it has ended."""
    with suppress(psutil.Error):
        used = psutil.Process(pid).cpu_times()
        return round(float(used.user + used.system), 2)  # the kernel counts hundredths
    return 0.0
