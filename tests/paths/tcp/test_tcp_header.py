"""The header and its options, against Scapy."""

import random

import numpy as np
import pytest
from scapy.layers.inet import TCP

from scout.io.access import Frame
from scout.paths.compiler.plain import Record
from scout.paths.protocols.tcp.actions import ACTION
from scout.paths.protocols.tcp.header import SEGMENT, read_header, write_header


def read(data: bytes, size: int | None = None) -> tuple[int, np.void]:
    segments = np.zeros(1, SEGMENT)
    header = read_header(
        Frame(data, headroom=0), len(data), 0, len(data) if size is None else size, Record(segments[0])
    )
    return header, segments[0]


def written(**fields: int) -> bytes:
    actions = np.zeros(1, ACTION)
    actions["scale"] = -1
    for name, value in fields.items():
        if name == "sacks":
            actions["sacks"][0, : len(value)] = value  # type: ignore[arg-type]
        else:
            actions[name] = value
    frame = Frame(bytes(60), headroom=0)
    header = write_header(frame, 0, 5000, 80, Record(actions[0]))
    return bytes(frame)[:header]


def test_what_is_written_is_read_by_scapy() -> None:
    data = written(
        flags=0x12,
        sequence=7,
        acknowledgement=9,
        window=500,
        urgent=3,
        mss=1460,
        scale=7,
        sack_permitted=1,
        has_timestamp=1,
        tsval=11,
        tsecr=12,
    )
    seen = TCP(data)
    assert (seen.sport, seen.dport, seen.flags, seen.seq, seen.ack) == (5000, 80, "SA", 7, 9)
    assert (seen.window, seen.urgptr, seen.chksum) == (500, 3, 0)
    options = {name: value for name, value in seen.options if name != "NOP"}
    assert options == {"MSS": 1460, "SAckOK": b"", "Timestamp": (11, 12), "WScale": 7}


def test_sack_is_written() -> None:
    data = written(flags=0x10, has_timestamp=1, tsval=1, tsecr=2, sack_count=3, sacks=[(1, 2), (3, 4), (5, 0xFFFFFFFF)])  # type: ignore[arg-type]
    assert len(data) == 60
    assert dict(TCP(data).options)["SAck"] == (1, 2, 3, 4, 5, 0xFFFFFFFF)


def test_what_scapy_writes_is_read() -> None:
    options = [("MSS", 1400), ("WScale", 3), ("SAckOK", b""), ("Timestamp", (5, 6))]
    header, seen = read(
        bytes(TCP(sport=1, dport=2, seq=3, ack=4, flags="SEC", window=5, urgptr=6, options=options)) + b"xy"
    )
    assert header == 40
    assert (seen["sequence"], seen["acknowledgement"], seen["flags"], seen["window"]) == (3, 4, 0xC2, 5)
    assert (seen["mss"], seen["scale"], seen["sack_permitted"], seen["length"]) == (1400, 3, 1, 2)
    assert (seen["has_timestamp"], seen["tsval"], seen["tsecr"], seen["urgent"]) == (1, 5, 6, 6)


def test_options_are_read_wherever_they_stand() -> None:
    """MUST-64: at any alignment, and in any segment (MUST-5)."""
    raw = bytes(TCP(flags="A", options=[("NOP", None), ("SAck", (1, 2, 3, 4)), ("MSS", 99)]))
    _, seen = read(raw)
    assert (seen["sack_count"], seen["sacks"][:2].tolist(), seen["mss"]) == (2, [(1, 2), (3, 4)], 99)


def test_unknown_options_are_passed_over() -> None:
    """MUST-6, by their length (MUST-68)."""
    _, seen = read(bytes(TCP(options=[(200, b"abcde"), ("MSS", 77)])))
    assert seen["mss"] == 77


@pytest.mark.parametrize("option", [b"\x02\x00\x00\x00", b"\x02\x01\x00\x00", b"\x08\x0a\x01\x01", b"\x01\x01\x01\x02"])
def test_an_impossible_length_ends_the_options(option: bytes) -> None:
    """MUST-7."""
    raw = bytearray(bytes(TCP()) + option)
    raw[12] = 6 << 4
    header, seen = read(bytes(raw))
    assert (header, seen["mss"], seen["has_timestamp"]) == (24, 0, 0)


def test_an_option_of_another_length_is_ignored() -> None:
    raw = bytearray(bytes(TCP()) + b"\x02\x03\x05\x03\x03\x07\x00\x00")
    raw[12] = 7 << 4
    header, seen = read(bytes(raw))
    assert (header, seen["mss"], seen["scale"]) == (28, 0, 7)


@pytest.mark.parametrize("words", [0, 4, 6, 15])
def test_a_header_that_is_cut_off_or_too_short(words: int) -> None:
    raw = bytearray(bytes(TCP()))
    raw[12] = words << 4
    assert read(bytes(raw))[0] == 0
    assert read(bytes(TCP()), 19)[0] == 0


def test_random_headers_are_read_or_refused() -> None:
    draw = random.Random(5)
    for _ in range(3000):
        raw = bytearray(draw.randbytes(draw.randrange(61)))
        if len(raw) > 12 and draw.random() < 0.8:
            raw[12] = len(raw) // 4 << 4
        header, seen = read(bytes(raw))
        assert header == 0 or 20 <= header <= len(raw)
        if header:
            assert seen["length"] == len(raw) - header
            assert 0 <= seen["sack_count"] <= 4
            assert -1 <= seen["scale"] <= 255
