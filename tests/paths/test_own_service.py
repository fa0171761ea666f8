"""A service that a user writes, from the names of `scout` alone."""

import numpy as np
import traces
from harness import NOW, Replicas, Twin, one_port

from scout import (
    EVICT,
    Event,
    Handler,
    Service,
    Table,
    after,
    drop,
    five_tuple,
    new_table,
    place,
    raise_event,
    rows,
    segments,
)

TOO_MANY = drop("too-many-flows")
BUSY, CALM = Event("own-busy"), Event("own-calm")
SECOND = 10**9
PAUSE = 5 * SECOND


def limit(frame, end, packet, flows, book, counts, events, timers):
    """Count a flow's packets; after 3 of them drop the flow's packets until a timer says that it is calm again."""
    key, more = five_tuple(frame, end)
    if key == 0:
        return 0
    flow = flows[place(flows, counts, key, more, packet.timestamp, 60 * SECOND, EVICT)]
    flow.packets += segments(frame, end, packet)[0]
    if book[0].busy:
        return TOO_MANY
    if flow.packets >= 3:
        book[0].busy = 1
        raise_event(events, BUSY, flow.packets)
        after(timers, packet, PAUSE, CALM, 0)
    return 0


def calm(frame, end, book):
    """Let packets pass again."""
    book[0].busy = 0
    return 0


def alert(frame, end, argument, alerts):
    """Note how many packets there were."""
    alerts[0] = argument
    return 0


def own() -> Service:
    return Service(
        "limiter",
        {"flows": new_table(64, [("packets", "i8")]), "book": np.zeros(1, [("busy", "i8")])},
        [Handler(limit), Handler(calm, CALM), Handler(alert, BUSY, run="primary")],
        alerts=Table(np.zeros(1, np.int64), "private"),
    )


DATA = traces.frame((0x0A000002, 0x0A090007, 6, 5, 80), bytes(100))


def test_it_runs_the_same_as_plain_python_and_natively() -> None:
    service = own()
    twin = Twin(one_port(service).create_path("left"))
    stamps = [0, 1, 2, 3, 2 + PAUSE - 1, 2 + PAUSE]
    leaves = [twin.both(DATA, timestamp=NOW + stamp).leaf.removeprefix("limiter.receive drops ") for stamp in stamps]
    assert leaves == ["end", "end", "end", "too-many-flows", "too-many-flows", "end"]
    assert rows(service.tables["flows"].initial)["packets"].tolist() == [6]


def test_replicas_agree_and_the_primary_alone_alerts() -> None:
    service = own()
    replicas = Replicas(one_port(service).create_path("left"), 2)
    for number in range(3):
        replicas.serve(DATA, primary=1, timestamp=NOW + number)
    assert replicas.agree_in(service.tables["flows"])
    alerts = service.bindings["alerts"]
    assert [int(replicas.table(alerts, replica)[0]) for replica in (0, 1)] == [0, 3]
