"""Demux: which path a packet takes, by any of its fields; against a slow classifier that is obviously right."""

import random
import threading
import time
from ipaddress import IPv4Address
from typing import Any

import numba
import numpy as np
import pytest
from demux_frames import ADDRESSES, PORTS, PROTOCOLS, fields_in, frame, takes
from harness import fill, two_ports
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core import types

from scout.domain_demux import demux_functions, find_source
from scout.io.batch import new_batch
from scout.io.packet import NO_PATH
from scout.paths.compiler.generated import load_generated
from scout.paths.compiler.native import BATCH
from scout.paths.demux.find import ENTRY, KIND, PATH, PORT
from scout.paths.demux.pattern import patterns, rank
from scout.paths.demux.table import MOST_KINDS, Clash, DemuxTable
from scout.paths.demux.walk import fields_of, key_of, steps
from scout.paths.model.attributes import Attributes
from scout.paths.model.router import GraphError
from scout.paths.stages.filter import Filter
from scout.paths.wire.ipv4 import SCTP, TCP, UDP
from scout.ring.errors import ScoutError
from scout.ring.segment import address, shared

GRAPH = two_ports().graph
STEPS = steps(GRAPH, "left")
FIELDS = fields_of(STEPS)
DEFAULT = 0


def breadth(attributes: Attributes) -> int:
    """How many packets attributes leave, each field by itself."""
    whole = {"source": 32, "destination": 32, "protocol": 8, "dscp": 6, "source_port": 16, "destination_port": 16}
    product = 1
    for name, bits in whole.items():
        value = attributes.traffic.get(name)
        if value is None:
            product *= 1 << bits
        elif not isinstance(value, int):
            product *= len(value) if isinstance(value, range) else value.num_addresses
    return product


class Demux:
    """A demux table, and the compiled search in it."""

    def __init__(self, room: int = 64) -> None:
        self.table = DemuxTable(2, room)
        self.table.set_default(0, DEFAULT)
        self.paths = np.zeros(NO_PATH + 1, PATH)
        self.batch, self.slots, self.memo = *new_batch(1), np.zeros(4, np.int64)
        arrays = [types.Array(_record(dtype), 1, "C") for dtype in (PORT, KIND)]
        arrays += [types.int64[::1], types.Array(_record(ENTRY), 1, "C"), types.Array(_record(PATH), 1, "C")]
        text = [
            "import numpy as np",
            "from scout.io.access import allow",
            "from scout.domain_demux import name_path",
            "from scout.ring.jit import inline",
            *find_source(GRAPH, GRAPH.ports, "find"),
            "@entry",
            "def find_paths(batch, memo, ports, kinds, heads, entries, paths, epoch):",
            "    packet = batch[0]",
            "    if packet.control:",
            "        name_path(packet, paths, memo)",
            "    else:",
            "        frame, end = packet.frame, packet.end",
            "        packet.path = find(packet.port, frame, end, memo, ports, kinds, heads, entries, epoch)",
            "",
        ]
        signature = types.void(BATCH, types.int64[::1], *arrays, types.int64)
        self._find = load_generated("demux", "\n".join(text), "", signature, demux_functions(GRAPH)).find_paths

    def add(self, path: int, attributes: Attributes, **options: Any) -> None:
        self.table.add(0, path, rank(attributes, FIELDS), patterns(attributes, FIELDS), **options)

    def find(self, data: bytes, epoch: int = 0, port: int = 0, control: int = 0, again: bool = False) -> int:
        """The path of a frame, as compiled code finds it; with `again` in one batch with the frame before."""
        if not again:
            self.memo[:] = -1
        tail = fill(self.batch, self.slots, data, {"port": port, "control": control})
        table = self.table
        self._find(self.batch, self.memo, table.ports, table.kinds, table.heads, table.entries, self.paths, epoch)
        del tail
        return int(self.batch[0]["path"])


def _record(dtype: np.dtype) -> Any:
    return numba.from_dtype(dtype)


def wish(**given: Any) -> Attributes:
    return Attributes.checked("left", **given)


def prefixes() -> Any:
    return st.tuples(st.sampled_from(ADDRESSES), st.sampled_from([8, 16, 17, 24, 25, 31, 32])).map(
        lambda pair: str(IPv4Address(int(IPv4Address(pair[0])) >> 32 - pair[1] << 32 - pair[1])) + f"/{pair[1]}"
    )


def port_ranges() -> Any:
    bounds = st.tuples(st.sampled_from(PORTS), st.integers(1, 70))
    return st.one_of(st.sampled_from(PORTS), bounds.map(lambda pair: range(pair[0], min(65536, sum(pair)))))


WISHES = st.fixed_dictionaries(
    {},
    optional={
        "source": prefixes(),
        "destination": prefixes(),
        "protocol": st.sampled_from([TCP, UDP, SCTP]),
        "source_port": port_ranges(),
        "destination_port": port_ranges(),
        "dscp": st.sampled_from([0, 46, 63]),
    },
).filter(bool)

FRAMES = st.builds(
    frame,
    source=st.sampled_from(ADDRESSES),
    destination=st.sampled_from(ADDRESSES),
    protocol=st.sampled_from(PROTOCOLS),
    ports=st.tuples(st.sampled_from(PORTS), st.sampled_from(PORTS)),
    dscp=st.sampled_from([0, 46, 63]),
    fragment=st.sampled_from([0, 0, 0, 0x4000, 0x2000, 0x2005, 5]),
    options=st.sampled_from([0, 0, 0, 1, 10]),
    version=st.sampled_from([4, 4, 4, 4, 6]),
    ethertype=st.sampled_from([0x0800, 0x0800, 0x0800, 0x0806]),
)
CUTS = st.one_of(st.just(0), st.integers(1, 40))


@settings(max_examples=80, deadline=None)
@given(st.lists(WISHES, max_size=8, unique_by=str), st.lists(st.tuples(FRAMES, CUTS), min_size=1, max_size=20))
def test_a_packet_takes_the_path_of_the_fewest_packets_among_those_that_take_it(wishes: Any, frames: Any) -> None:
    demux, paths = Demux(), {}
    batched = Demux()
    batched.memo[:] = -1
    for path, given_ in enumerate(wishes, start=1):
        try:
            demux.add(path, wish(**given_))
            batched.add(path, wish(**given_))
        except Clash as clash:
            other = paths[clash.path]
            assert breadth(other) == breadth(wish(**given_))  # they have a pattern in common, and the same rank
        else:
            paths[path] = wish(**given_)
    for whole, cut in frames:
        data = whole[: len(whole) - cut]
        found = demux.find(data)
        assert batched.find(data, again=True) == found
        taking = {path: breadth(each) for path, each in paths.items() if takes(each, data)}
        if not taking:
            assert found == DEFAULT
        else:
            assert taking[found] == min(taking.values())
        assert (key_of(STEPS, data) is None) == (fields_in(data) is None)


def test_each_field_tells_packets_apart() -> None:
    """With a frame that differs from the path's traffic in this field alone."""
    base = {"source": "10.0.0.1", "destination": "10.0.0.2", "ports": (7, 53), "dscp": 46}
    cases = {
        "source": ("10.0.0.1", {"source": "10.0.0.3"}),
        "destination": ("10.0.0.2", {"destination": "10.0.0.3"}),
        "protocol": ("udp", {"protocol": TCP}),
        "source_port": (7, {"ports": (8, 53)}),
        "destination_port": (range(50, 60), {"ports": (7, 60)}),
        "dscp": (46, {"dscp": 45}),
    }
    assert set(cases) == set(FIELDS)
    for name, (value, change) in cases.items():
        demux = Demux()
        demux.add(1, wish(**{name: value}))
        assert demux.find(frame(**base)) == 1, name
        assert demux.find(frame(**base | change)) == DEFAULT, name
        assert demux.find(frame(**base), port=1) == NO_PATH, name  # patterns are those of one port


def test_ports_are_found_behind_options_and_fragments_show_none() -> None:
    demux = Demux()
    demux.add(1, wish(protocol="udp"))
    demux.add(2, wish(protocol="udp", destination_port=53))
    demux.add(3, wish(protocol="udp", destination_port=0))
    assert demux.find(frame(ports=(1, 53), options=10)) == 2
    assert demux.find(frame(ports=(1, 0))) == 3
    for fragment in (0x2000, 0x2001, 1):  # the first, one in the middle, the last
        assert demux.find(frame(ports=(1, 53), fragment=fragment)) == 1
        assert demux.find(frame(ports=(1, 0), fragment=fragment)) == 1


def test_what_cannot_be_read_takes_the_default_path() -> None:
    demux = Demux()
    demux.add(1, wish(source="0.0.0.0/0"))
    good = frame()
    assert demux.find(good) == 1
    for size in range(14 + 20):
        assert demux.find(good[:size]) == DEFAULT
    assert demux.find(frame(version=6)) == demux.find(frame(ethertype=0x86DD)) == DEFAULT
    assert demux.find(frame(options=3)[: 14 + 20 + 11]) == DEFAULT


def test_a_control_request_says_its_path() -> None:
    demux = Demux()
    demux.add(1, wish(protocol="udp"))
    demux.paths[40]["port"] = 1
    assert demux.find(bytes(8), port=40, control=1) == 40
    assert demux.batch[0]["port"] == 1


def test_patterns_hold_from_one_epoch_to_another() -> None:
    demux = Demux()
    voice = wish(protocol="udp", destination_port=5060)
    data = frame(ports=(1, 5060))
    demux.add(1, voice, born=2)
    with pytest.raises(Clash) as raised:
        demux.add(2, voice, born=3)
    assert raised.value.path == 1
    demux.table.end(1, 5)
    demux.add(2, voice, born=5)
    assert [demux.find(data, epoch) for epoch in range(7)] == [0, 0, 1, 1, 1, 2, 2]
    demux.table.unlink(1)
    assert [demux.find(data, epoch) for epoch in range(7)] == [0, 0, 0, 0, 0, 2, 2]
    demux.table.free(1)
    demux.add(3, wish(protocol="udp", destination_port=5061))
    assert demux.find(frame(ports=(1, 5061))) == 3
    assert demux.find(data, 6) == 2


def test_memory_of_patterns_is_used_again() -> None:
    demux = Demux(room=1)
    for path in range(5_000):
        demux.add(path, wish(protocol="tcp", source_port=range(path % 30_000, path % 30_000 + 100)))
        demux.table.end(path, 0)
        demux.table.unlink(path)
        demux.table.free(path)
    assert not demux.table.heads.any() and not demux.table.ports["first"].any()
    for path in range(1000):
        demux.add(path, wish(source_port=path))
    assert all(demux.find(frame(ports=(path, 1))) == path for path in range(0, 1000, 7))


def test_room_is_limited() -> None:
    demux = Demux(room=1)
    masks = [(source, destination) for source in range(1, 17) for destination in range(1, 17)]
    for path, (source, destination) in enumerate(masks[:MOST_KINDS], start=1):
        demux.add(path, wish(source=f"0.0.0.0/{source}", destination=f"0.0.0.0/{destination}"))
    with pytest.raises(ScoutError, match="there is room for 255 kinds of patterns; delete some paths first"):
        demux.add(1000, wish(source="0.0.0.0/16", destination="0.0.0.0/16"))
    demux = Demux(room=1)
    with pytest.raises(ScoutError, match="there is room for 1024 patterns; delete some paths first"):
        for path in range(2000):
            demux.add(path, wish(source_port=path))


def test_a_router_that_does_not_stand_above_the_port_cannot_tell_packets_apart() -> None:
    with pytest.raises(GraphError, match="no router above it tells packets apart by destination fe80::/10"):
        patterns(wish(destination="fe80::/10"), FIELDS)


def test_filters_do_not_hide_the_routers_behind_them() -> None:
    made = two_ports((Filter("first", lambda frame, end: 0), ("ip", "first", "left")))
    assert set(fields_of(steps(made.graph, "left"))) == set(FIELDS)


def searcher() -> Any:
    """A compiled function that searches the keys of `words` again and again, and counts wrong answers.

    `search(times, ports, kinds, heads, entries, words, paths, may_miss, done)`: after each round it adds 1 to the word
    at address `done`.
    """
    text = [
        "from scout.paths.demux.find import find",
        "from scout.ring.atomics import store64_release",
        "",
        "@entry",
        "def search(times, ports, kinds, heads, entries, words, paths, may_miss, done):",
        "    wrong = 0",
        "    for time in range(times):",
        "        for index in range(len(paths)):",
        "            found = find(ports, kinds, heads, entries, 0, words[index, 0], words[index, 1], 0)",
        f"            if found != paths[index] and not (may_miss[index] and found == {DEFAULT}):",
        "                wrong += 1",
        "        store64_release(done, time + 1)",
        "    return wrong",
        "",
    ]
    arrays = [types.Array(_record(dtype), 1, "C") for dtype in (PORT, KIND, ENTRY)]
    arrays.insert(2, types.int64[::1])
    numbers = [types.int64[:, ::1], types.int64[::1], types.boolean[::1]]
    signature = types.int64(types.int64, *arrays, *numbers, types.int64)
    return load_generated("search", "\n".join(text), "", signature, {}).search


def test_a_search_finds_the_right_path_while_others_come_and_go() -> None:
    """Some patterns stay; the others are taken away and added again, in the same few buckets and memory."""
    demux = Demux(room=64)
    wishes = [wish(protocol="udp", source_port=index, destination_port=index // 3) for index in range(48)]
    wishes += [wish(protocol="udp", destination=f"10.0.{index}.0/{20 + index % 5}") for index in range(0, 160, 16)]
    keys = [key_of(STEPS, frame(destination="10.9.0.1", ports=(index, index // 3))) for index in range(48)]
    keys += [key_of(STEPS, frame(destination=f"10.0.{index}.1", ports=(999, 999))) for index in range(0, 160, 16)]
    come_and_go = np.arange(len(wishes)) % 3 > 0
    paths = np.arange(1, len(wishes) + 1)
    for index, each in enumerate(wishes):
        demux.add(int(paths[index]), each)
    search, done = searcher(), shared(1, np.int64)
    table, wrong = demux.table, []
    arguments = (
        table.ports,
        table.kinds,
        table.heads,
        table.entries,
        np.array(keys),
        paths,
        come_and_go,
        address(done),
    )
    thread = threading.Thread(target=lambda: wrong.append(search(4_000, *arguments)))
    thread.start()
    alive, chance = set(np.flatnonzero(come_and_go).tolist()), random.Random(1)
    while thread.is_alive():
        some = [index for index in np.flatnonzero(come_and_go).tolist() if chance.random() < 0.5]
        gone = [index for index in some if index in alive]
        for index in gone:
            table.end(index + 1, 0)
        _rounds(thread, done)
        for index in gone:
            table.unlink(index + 1)
        _rounds(thread, done)
        for index in gone:
            table.free(index + 1)
        for index in set(some) - alive:
            demux.add(index + 1, wishes[index])
        alive ^= set(some)
    assert wrong == [0]


def _rounds(thread: threading.Thread, done: np.ndarray) -> None:
    """Wait until a search that runs now is over."""
    until = int(done[0]) + 2
    while thread.is_alive() and done[0] < until:
        time.sleep(0)
