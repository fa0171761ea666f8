"""The supervisor: starts a domain on every core, watches them, buries the dead, and keeps the accounts."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing import get_context
from typing import Any, Self

import numpy as np

from scout.domain import CompiledDomain, compile_domain, run_domain
from scout.io.batch import new_batch
from scout.io.hold import HOLD, MOST_HELD, new_hold
from scout.io.packet import PACKET
from scout.io.system import WAITER
from scout.paths.compiler import CompiledPath, compile_path, configuration
from scout.paths.graph import RouterGraph
from scout.paths.path import Path
from scout.paths.stage import Table
from scout.ring.errors import ScoutError
from scout.ring.references import MOST_REPLICAS
from scout.ring.shared import LINE, address, private, shared

__all__ = ["Supervisor", "usable_cores"]

TICK = 0.02  # seconds between looks at the domains: what a death may stall a channel
PORT_TICKS = 25  # ticks between looks at the interfaces
GRACE = 3.0  # seconds that a domain gets to stop

_fork = get_context("fork")


def usable_cores() -> list[int]:
    """The cores that this process may run on."""
    return sorted(os.sched_getaffinity(0))


class Supervisor:
    """Runs the paths of a router graph on a number of cores; a context manager.

    Parameters
    ----------
    graph : RouterGraph
    paths : sequence of Path
        At most one from each port.
    replicas : int, optional
        How many domains; one per core by default.
    cores : sequence of int, optional
        Where to pin them, in turn; by default from the last core down, as the first ones serve more interrupts.
    report : callable, optional
        Is told what happens (a replica died, an interface went away), a line at a time; standard error by default.
    progress : callable, optional
        Is told what is being compiled.

    Raises
    ------
    ScoutError
        On entering, if something does not compile, or a port cannot be opened.

    Examples
    --------
    ::

        with Supervisor(graph, paths, replicas=2) as supervisor:
            supervisor.wait(10.0)
        print(supervisor.account())
    """

    def __init__(
        self,
        graph: RouterGraph,
        paths: Sequence[Path],
        replicas: int | None = None,
        cores: Sequence[int] | None = None,
        report: Callable[[str], None] | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        available = usable_cores()
        self.replicas = len(available) if replicas is None else replicas
        if not 1 <= self.replicas <= MOST_REPLICAS:
            raise ScoutError(f"{self.replicas} replicas: give 1 to {MOST_REPLICAS}")
        order = list(cores) if cores is not None else available[::-1]
        if not order or not set(order) <= set(available):
            raise ScoutError(f"cores {order}: this process may use {available}")
        self.cores = [order[index % len(order)] for index in range(self.replicas)]
        sources = [path.source for path in paths]
        for source in sources:
            if sources.count(source) > 1:
                raise ScoutError(f"two paths begin at {source}; a port has one path")
        self.graph, self.paths = graph, list(paths)
        self._report = report or (lambda line: print(f"scout: {line}", file=sys.stderr, flush=True))
        self._progress = progress or (lambda line: None)
        self.processes: list[Any] = []
        self._watcher: threading.Thread | None = None
        self._dead: dict[int, int] = {}  # replica: ticks since it was found dead
        self._orphans = 0
        self._down: set[str] = set()
        self._lock = threading.Lock()
        self._finished = threading.Event()

    # Life.

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def _start(self) -> None:
        compiled = []
        for path in self.paths:
            self._progress(f"path from {path.source}")
            compiled.append(compile_path(path))
        self._progress("domain")
        domain = compile_domain(self.graph, compiled)
        self._members, self._stop = shared(1, np.int64), shared(1, np.int64)
        self._members[0] = (1 << self.replicas) - 1
        for index, name in enumerate(self.graph.ports):
            self.port(name).open(index, self.replicas, address(self._members))
        for router in self.graph.routers:
            router.start(self.graph)
        self._allocate(compiled, domain)
        for replica in range(self.replicas):
            arguments = (
                self.cores[replica],
                domain.serve,
                self._arguments(replica, compiled, domain),
                os.getpid(),
            )
            self.processes.append(_fork.Process(target=run_domain, args=arguments, name=f"scout-domain-{replica}"))
        for process in self.processes:
            process.start()
        for name in self.graph.ports:
            self.port(name).feed()
        self._watcher = threading.Thread(target=self._watch, name="scout-supervisor", daemon=True)
        self._watcher.start()

    def _allocate(self, compiled: list[CompiledPath], domain: CompiledDomain) -> None:
        lines = LINE // 8
        self.counters = {
            each.path.source: shared((self.replicas, -(-len(each.path.counter_names) // lines) * lines), np.int64)
            for each in compiled
        }
        self.holds = shared(self.replicas, HOLD)
        self._tables = {id(table): self._place(table) for table in domain.tables}
        self._memory: list[Any] = []

    def _place(self, table: Table) -> list[np.ndarray]:
        """The table's array for each replica."""
        initial = table.initial
        if table.kind == "constant":
            return [initial] * self.replicas
        arrays = [shared(initial.shape, initial.dtype) for _ in range(1 if table.kind == "shared" else self.replicas)]
        for replica, array in enumerate(arrays):
            array[:] = initial if table.kind != "number" else replica + 1
        return arrays * (self.replicas // len(arrays))

    def table(self, table: Table, replica: int) -> np.ndarray:
        """A replica's copy of a stage's table, to look at."""
        return self._tables[id(table)][replica]

    def _arguments(self, replica: int, compiled: list[CompiledPath], domain: CompiledDomain) -> tuple[Any, ...]:
        batch, slots = new_batch()
        made, room = new_batch(1)
        resumed = private(MOST_HELD, PACKET)
        hold = self.holds[replica : replica + 1]
        whole = max((each.whole() for each in compiled), key=len)
        waiter, descriptors = self._waiter()
        self._memory += [batch, slots, made, room, resumed, new_hold(hold), whole, waiter, descriptors]
        ports: list[np.ndarray] = []
        for name in self.graph.ports:
            port, own = self.port(name), slice(replica, replica + 1)
            ports += [port.ring, port.cursors[own], port.transmits[own]]
        paths: list[np.ndarray] = []
        for each in compiled:
            paths += [self.counters[each.path.source][replica], configuration(each.path)]
        tables = [self._tables[id(table)][replica] for table in domain.tables]
        return (
            replica,
            address(self._stop),
            waiter,
            batch,
            resumed,
            made,
            hold,
            whole,
            *ports,
            *paths,
            *tables,
        )

    def _waiter(self) -> tuple[np.ndarray, np.ndarray]:
        files = [d for name in self.graph.ports if (d := self.port(name).descriptor) is not None]
        descriptors = private((max(1, len(files)), 2), np.int32)
        for index, file in enumerate(files):
            descriptors[index] = (file, 1)  # POLLIN
        waiter = private(1, WAITER)
        waiter["descriptors"], waiter["count"] = address(descriptors), len(files)
        waiter["timeout"] = 10 if len(files) == len(self.graph.ports) else 0
        return waiter, descriptors

    def port(self, name: str) -> Any:
        """The port that router `name` drives."""
        return self.graph.router(name).port

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is nothing left to do (inputs at their end, or no replica alive); False if not yet."""
        return self._finished.wait(timeout)

    @property
    def alive(self) -> int:
        """How many replicas live."""
        return self.replicas - len(self._dead)

    def stop(self) -> None:
        """Stop the domains and close the ports; the accounts stay."""
        if self.processes:
            self._stop[0] = 1
            self._finished.set()
            if self._watcher:
                self._watcher.join()
            for process in self.processes:
                if process.pid is None:
                    continue  # never started
                process.join(GRACE)
                if process.is_alive():
                    process.kill()
                    process.join()
        for name in self.graph.ports:
            self.port(name).close()

    # Watching.

    def _watch(self) -> None:
        tick = 0
        while not self._finished.wait(TICK):
            tick += 1
            with self._lock:
                self._bury()
                if tick % PORT_TICKS == 0:
                    self._look_at_ports()
            if self.alive == 0 or self._drained():
                self._finished.set()

    def _bury(self) -> None:
        """Take the dead out of every channel, so that nothing waits for them."""
        for replica, process in enumerate(self.processes):
            if replica not in self._dead and not process.is_alive():
                self._members[0] &= ~(1 << replica)
                self._dead[replica] = 0
                self._report(self._obituary(replica, process))
        for replica in self._dead:
            self._unlock(replica)
            for path in self.paths:
                port = self.port(path.source)
                self._orphans += port.bury(replica, path.order == "channel", self._dead[replica] > 0)
            self._dead[replica] += 1

    def _unlock(self, replica: int) -> None:
        """Free the locks that a dead replica held; what they guard is as far as it came."""
        for router in self.graph.routers:
            if router.lock is not None:
                word = self.table(router.lock, replica)
                if word[0] == replica + 1:
                    word[0] = 0

    def _obituary(self, replica: int, process: Any) -> str:
        code = process.exitcode or 0
        cause = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        rest = f"{self.alive} of {self.replicas} replicas go on" if self.alive else "no replica is left"
        return f"replica {replica} (core {self.cores[replica]}, process {process.pid}) died: {cause}; {rest}"

    def _look_at_ports(self) -> None:
        for name in self.graph.ports:
            up = self.port(name).is_up()
            if not up and name not in self._down:
                self._down.add(name)
                self._report(f"port {name}: interface {self.port(name).interface} is down or gone; the others go on")
            elif up and name in self._down:
                self._down.discard(name)
                self._report(f"port {name}: interface {self.port(name).interface} is up again")

    def _drained(self) -> bool:
        """True if every port's input is at its end and all of it has been dealt with."""
        return all(self.port(path.source).drained(set(self._dead)) for path in self.paths)

    # Accounts.

    def replica_figures(self) -> list[dict[str, int]]:
        """For each replica its core, and the packets it has seen and been primary of."""
        figures = []
        for replica in range(self.replicas):
            cursors = [self.port(path.source).cursors[replica] for path in self.paths]
            figures.append(
                {
                    "id": replica,
                    "core": self.cores[replica],
                    "primary": sum(int(cursor["claimed"]) for cursor in cursors),
                    "seen": sum(int(cursor["seen"]) for cursor in cursors),
                }
            )
        return figures

    def flows(self, path: Path) -> dict[tuple[str, str], int]:
        """Packets along every edge of a path so far."""
        return path.flows(self.counters[path.source].sum(axis=0))

    def account(self) -> dict[str, Any]:
        """What became of every packet.

        Returns
        -------
        dict
            `received` (by the kernel's rings), `out` (by port), `ended` and `drops` (by reason); exact once
            stopped: what was received is the sum of the others.
        """
        with self._lock:
            return self._account()

    def _account(self) -> dict[str, Any]:
        out: dict[str, int] = {}
        ended: dict[str, int] = {}
        drops: dict[str, int] = {}
        received = claimed = 0
        for path in self.paths:
            port = self.port(path.source)
            kernel = port.kernel_counters()
            received += sum(kernel.values())
            claimed += int(port.cursors["claimed"].sum()) + sum(kernel.values()) - kernel.pop("received")
            account = path.account(self.counters[path.source].sum(axis=0))
            _add(drops, kernel | account["drops"])
            _add(ended, account["ended"])
        for name in self.graph.ports:
            transmitted = self.port(name).transmitted()
            _add(out, {name: transmitted.pop("sent") - transmitted.pop("made")})
            _add(drops, transmitted)
        held = {field: int(self.holds[field].sum()) for field in ("full", "expired", "count")}
        _add(drops, {"hold-full": held["full"], "hold-expired": held["expired"]})
        if self._finished.is_set():
            # Nobody sees to these any more. What the dead took along is known only as what is missing.
            _add(drops, {"held-at-stop": held["count"]})
            if not self._dead:
                _add(drops, {"unread-at-stop": received - claimed})
            else:
                dealt = sum(sum(part.values()) for part in (out, ended, drops))
                _add(drops, {"replica-died": received - dealt})
        return {"received": received, "out": out, "ended": ended, "drops": drops}


def _add(total: dict[str, int], more: dict[str, int]) -> None:
    for key, value in more.items():
        if value:
            total[key] = total.get(key, 0) + value
