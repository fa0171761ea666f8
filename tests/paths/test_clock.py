"""The time of a service: what it makes of timestamps that step back, and that timers, rows and handlers follow it."""

from typing import Any

import numpy as np
import traces
from harness import NOW, Replicas, Twin, one_port, two_ports

from scout.paths.framework.clock import STEP
from scout.paths.framework.events import Event, Handler
from scout.paths.framework.service import Service
from scout.paths.framework.timers import after

DATA = traces.frame((0x0A000002, 0x0A090007, 17, 5, 53), b"body")
RING = Event("clock-ring")
SECOND, HOUR = 10**9, 3600 * 10**9


def note(frame: Any, end: Any, packet: Any, log: Any) -> int:
    log[0].time = packet.timestamp
    return 0


def noting() -> Service:
    return Service("clocked", {"log": np.zeros(1, [("time", "i8")])}, [Handler(note)])


def times(twin: Twin, service: Service, *stamps: int) -> list[int]:
    """The service's times of packets with these timestamps, after NOW both."""
    found = []
    for stamp in stamps:
        assert twin.both(DATA, timestamp=NOW + stamp).leaf == "end"
        found.append(int(service.tables["log"].initial["time"][0]) - NOW)
    return found


def test_time_follows_the_timestamps_and_never_runs_backwards() -> None:
    service = noting()
    twin = Twin(one_port(service).create_path("left"))
    # Out of order by less than a second: it stands still.
    assert times(twin, service, 0, 5, 3, 6, 6 - STEP + 1, 7) == [0, 5, 5, 6, 6, 7]
    # Set back by an hour: it goes on from there, and follows small steps as before.
    assert times(twin, service, 7 - HOUR, 9 - HOUR, 8 - HOUR, 20 - HOUR) == [7, 9, 9, 20]
    # Set ahead again: that may as well be an hour without a packet.
    assert times(twin, service, 0, 1) == [HOUR, HOUR + 1]


def test_zero_is_a_time() -> None:
    service = noting()
    twin = Twin(one_port(service).create_path("left"))
    assert times(twin, service, -NOW, 1 - NOW, -NOW) == [-NOW, 1 - NOW, 1 - NOW]


def test_ports_whose_captures_began_at_different_times_have_one_time() -> None:
    service = noting()
    made = two_ports((service, ("ip", "clocked", "left"), ("ip", "clocked", "right")))
    left, right = made.graph.create_path("left"), made.graph.create_path("right")
    found = []
    for step in range(4):
        for path, stamp in ((left, NOW + step), (right, NOW - HOUR + step)):
            path.run(DATA, timestamp=stamp)
            found.append(int(service.tables["log"].initial["time"][0]) - NOW)
    assert found == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_packet_has_its_own_timestamp_again_behind_the_service() -> None:
    graph = one_port(first := noting())
    path = graph.create_path("left")
    replicas = Replicas(path, 2)
    for stamp in (NOW, NOW - HOUR):
        replicas.serve(DATA, 0, timestamp=stamp)
        assert replicas.batch["timestamp"][0] == stamp
    clocks = [replicas.table(first.tables["clock"], replica) for replica in (0, 1)]
    assert (clocks[0] == clocks[1]).all() and clocks[0]["offset"][0] == HOUR


def arm(frame: Any, end: Any, packet: Any, timers: Any, log: Any) -> int:
    if packet.next_hop:
        after(timers, packet, packet.next_hop, RING, 0)
    return 0


def ring(frame: Any, end: Any, log: Any) -> int:
    log[0].rung += 1
    return 0


def test_a_timer_fires_although_the_clock_was_set_back() -> None:
    service = Service("bell", {"log": np.zeros(1, [("rung", "i8")])}, [Handler(arm), Handler(ring, RING)])
    twin = Twin(one_port(service).create_path("left"))
    log = service.tables["log"].initial
    twin.both(DATA, timestamp=NOW, next_hop=10 * SECOND)
    for stamp, rung in ((0, 0), (9 * SECOND, 0), (10 * SECOND, 1)):
        twin.both(DATA, timestamp=NOW - HOUR + stamp)
        assert log["rung"][0] == rung
