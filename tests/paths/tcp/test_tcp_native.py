"""The core as native code: the same as plain Python, event by event; and the kernel as peer, at size."""

import hashlib
import itertools
import random
from typing import Any

import numpy as np
import pytest
from tcp_end import End
from tcp_nonsense import talks_of_nonsense
from tcp_simulator import MILLISECOND, App, Impairment, Network, transfer
from tcp_wire import wired
from test_tcp_kernel import serve_hash
from test_tcp_transfers import IMPAIRMENTS, PEERS

from scout.paths.protocols.tcp.native import native_serve

pytestmark = pytest.mark.long  # it is compiled for some 15 seconds

SECOND = 1_000_000_000


def different(one: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    names = one.dtype.names or ()
    return {name: (one[name][0], other[name][0]) for name in names if not np.array_equal(one[name], other[name])}


@pytest.mark.parametrize("peers", PEERS)
@pytest.mark.parametrize("name", ["clean", "bottleneck", "all"])
def test_native_equals_plain(name: str, peers: str) -> None:
    draw = random.Random(name)
    ends = End(1000, (5000, 80), **PEERS[peers]), End(2000, (80, 5000), **PEERS[peers])
    for end in ends:
        end.log = []
    network = Network(App(ends[0], draw.randbytes(60_000)), App(ends[1], draw.randbytes(9_000)), IMPAIRMENTS[name])
    ends[1].listen(network.now)
    ends[0].connect(network.now)
    network.run()
    for end in ends:
        assert len(end.log or []) > 20
        compare(end)


def compare(end: End) -> None:
    """Serve each request natively, from the state that plain Python had before it."""
    serve, log = native_serve(), end.log or []
    for (earlier, _, before, left), (request, segment, after, actions) in itertools.pairwise(log):
        connections, out = before.copy(), left.copy()
        if earlier["more"][0] == 0:
            out["count"] = 0
        serve(connections, 0, request, segment, end.settings, out)
        assert connections.tobytes() == after.tobytes(), different(connections, after)
        assert out.tobytes() == actions.tobytes()


@pytest.mark.parametrize("seed", range(8))
def test_native_equals_plain_for_nonsense(seed: int) -> None:
    for end in talks_of_nonsense(seed, 1500):
        compare(end)


@pytest.mark.needs_namespaces
@pytest.mark.parametrize("offloads", [False, True])
def test_megabytes_to_and_from_the_kernel(offloads: bool) -> None:
    data = random.Random(3).randbytes(12_000_000)
    with wired(offloads) as wire:
        wire.in_thread(serve_hash, wire.kernel_listener(5001), data)
        end = wire.end(4000, 5001, serve=native_serve(), LARGEST_SEND=64_000 if offloads else 0)
        end.connect(0)
        app = App(end, data)
        wire.drive(lambda: end.state in ("TIME_WAIT", "CLOSED") and end.told["received"] == end.read_bytes, app.step)
        wire.finish()
        assert bytes(app.got[:32]) == hashlib.sha256(data).digest()
        assert hashlib.sha256(app.got[32:]).digest() == hashlib.sha256(data).digest()


@pytest.mark.parametrize("peers", PEERS)
@pytest.mark.parametrize("name", IMPAIRMENTS)
def test_transfers_with_many_seeds(name: str, peers: str) -> None:
    for seed in range(6):
        chosen = {"serve": native_serve(), "checks": seed == 0} | PEERS[peers]
        transfer(300_000, 100_000, IMPAIRMENTS[name], 100 + seed, **chosen)


@pytest.mark.parametrize("seed", range(10))
def test_networks_that_are_hardly_usable(seed: int) -> None:
    rule = Impairment(loss=0.15, burst=0.02, reordering=0.2, duplication=0.2, corruption=0.1, jitter=20 * MILLISECOND)
    transfer(40_000, 10_000, rule, seed, serve=native_serve(), USER_TIMEOUT=3600 * SECOND)


def test_megabytes_over_a_bad_network() -> None:
    rule = Impairment(loss=0.01, reordering=0.05, duplication=0.01, corruption=0.001)
    transfer(10_000_000, 1_000_000, rule, serve=native_serve(), checks=False)
