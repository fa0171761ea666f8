"""The plain run: leaves and bytes, errors that name the stage, tables and records."""

import traceback
from typing import Any

import numba
import numpy as np
import pytest
from harness import GATEWAY, HOST, LEFT, NOW, RIGHT, two_ports
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from scout.io.access import allow, load8, load16, load64, require, store8, store16, trim
from scout.io.packet import PACKET, REACH
from scout.paths.compiler.inlining import native
from scout.paths.compiler.interpreter import try_stage
from scout.paths.compiler.plain import Record
from scout.paths.model.verdict import HOLD, drop
from scout.paths.protocols.adjacencies import ADJACENCY
from scout.paths.stages.filter import Filter
from scout.ring.errors import ScoutError


def udp(size: int = 20, ttl: int = 9) -> bytes:
    """A UDP packet from the host on the left."""
    header = IP(src="10.0.0.2", dst="10.9.0.7", ttl=ttl, id=4711)
    return bytes(Ether(src=HOST, dst=LEFT) / header / UDP(sport=1000, dport=2000) / Raw(bytes(size)))


def test_path_run_gives_leaf_and_bytes() -> None:
    path = two_ports().graph.create_path("left")
    forwarded = bytes.fromhex((GATEWAY + RIGHT).replace(":", "")) + udp(ttl=8)[12:]
    # The UDP checksum does not cover the TTL, so the frame is that of a sender with one less.
    assert path.run(udp(), timestamp=NOW) == ("to right", forwarded)
    assert path.run(b"") == ("left.in drops too-short", b"")


def beyond_reach(frame: Any, end: Any, packet: Any) -> int:
    return 0 if require(frame, end, REACH - 14 + 1) else drop_short


drop_short = drop("short")


def test_a_stage_sees_as_much_as_natively() -> None:
    long = udp(size=1000)
    for payload, leaf in ((False, "seen.receive drops short"), (True, "to right")):
        seen = Filter("seen", beyond_reach, payload=payload)
        graph = two_ports((seen, ("ip", "seen", "left"))).graph
        assert graph.create_path("left").run(long, timestamp=NOW)[0] == leaf


def careless(frame: Any, end: Any) -> int:
    return load16(frame, 600)


def silent(frame: Any, end: Any) -> Any:
    return None


def misspelt(frame: Any, end: Any, packet: Any) -> int:
    packet.destinatoin = 1
    return 0


@pytest.mark.parametrize(
    ("function", "line", "telling"),
    [
        (careless, 1, "IndexError: bytes 600 to 602 of a packet of 48: call require first"),
        (silent, 0, "it returns none; return 0 to go on"),
        (misspelt, 1, "AttributeError: no field 'destinatoin'"),
    ],
)
def test_an_exception_names_stage_file_and_line(function: Any, line: int, telling: str) -> None:
    graph = two_ports((Filter("mine", function), ("ip", "mine", "left"))).graph
    with pytest.raises(ScoutError) as caught:
        graph.create_path("left").run(udp())
    text = str(caught.value)
    assert text.startswith(f"{__file__}:{function.__code__.co_firstlineno + line}: stage mine.receive: {telling}")
    assert "\n" not in text
    assert caught.value.__cause__ is not None
    assert traceback.format_exception(caught.value.__cause__)


def odd(frame: Any, end: Any) -> int:
    return 7


def waiting(frame: Any, end: Any) -> int:
    return HOLD


def inner(frame: Any, end: Any) -> int:
    return drop("inner")


def test_names_unknown_verdicts_and_holds() -> None:
    wrong = "mine.receive unknown-verdict 7: neither 0, one of its outcomes, nor a drop"
    inside = "make drop('inner') at the top of the module and return it here"
    made = f"mine.receive unknown-verdict {int(drop('inner'))}: {inside}"
    for function, leaf in ((odd, wrong), (inner, made), (waiting, "mine.receive holds")):
        graph = two_ports((Filter("mine", function), ("ip", "mine", "left"))).graph
        assert graph.create_path("left").run(udp()) == (leaf, udp()[14:])


# Stages by themselves, tables and records.

ROW = np.dtype([("small", "u1"), ("signed", "i2"), ("wide", "i8"), ("pair", "i8", 2)])


def overflow(frame: Any, end: Any, packet: Any, rows: Any, words: Any) -> int:
    row = rows[1]
    row.small = 200
    row.small += 100  # 300 in 8 bits
    row.signed = 0x8000
    row.wide = (row.small + 1) << 40
    row.pair[1] = row.small * 0x1234567
    words[0] = 1 << 32 | words[1]
    packet.link_broadcast = 256 + 3
    packet.next_hop = load64(frame, 0)
    store8(frame, 0, 0x1FF)
    store16(frame, 1, -2)
    trim(frame, end, packet, 9)
    return row.small << 8 | packet.link_broadcast


def test_numbers_have_the_width_of_native_ones() -> None:
    def tables() -> tuple[np.ndarray, np.ndarray]:
        return np.zeros(2, ROW), np.full(2, 0xFFFFFFFF, np.uint32)

    data = bytes(range(0xF8, 0x100)) + b"abcdef"
    rows, words = tables()
    verdict, after = try_stage(overflow, data, packet={"path": 0}, rows=rows, words=words)
    assert verdict == 44 << 8 | 3
    assert after == b"\xff\xff\xfe" + data[3:9]

    compiled, native_rows, native_words = native(overflow), *tables()

    @numba.njit
    def run(place, size, packets, rows, words):  # type: ignore[no-untyped-def]
        allow(place, place + size, True)
        return compiled(place, place + size, packets[0], rows, words)

    room, packets = np.frombuffer(bytearray(data), np.uint8), np.zeros(1, PACKET)
    packets["end"] = room.ctypes.data + len(data)
    assert run(room.ctypes.data, len(data), packets, native_rows, native_words) == verdict
    assert packets[0]["end"] - room.ctypes.data == len(after)
    assert room.tobytes()[: len(after)] == after
    assert np.array_equal(native_rows, rows)
    assert np.array_equal(native_words, words)


def test_record_reads_python_ints_and_writes_through() -> None:
    rows = np.zeros(3, ADJACENCY)
    record = Record(rows[1])
    record.mac = 1 << 47
    assert type(record.mac) is int
    assert rows[1]["mac"] == 1 << 47
    with pytest.raises(AttributeError, match="no field 'address'; there are key, mac, expires, state"):
        record.address  # noqa: B018


def first(frame: Any, end: Any, limit: int, primary: bool) -> int:
    return load8(frame, 0) + limit + primary


def test_try_stage_asks_for_what_is_not_bound() -> None:
    assert try_stage(first, b"\x05", limit=2) == (8, b"\x05")
    assert try_stage(first, b"\x05", limit=lambda: 2, primary=False) == (7, b"\x05")
    with pytest.raises(ScoutError, match=r"first: TypeError: parameter 'limit' is not bound; give limit=\.\.\."):
        try_stage(first, b"\x05")
