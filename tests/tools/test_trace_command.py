"""`scout trace`: what it prints and writes, and what it refuses. It needs no interface and no privilege."""

from pathlib import Path

import pytest
from commands import LESSON, here, report_of
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.utils import wrpcap

FRAME = Ether(src="02:00:00:00:00:0a", dst="02:00:00:00:00:01") / IP(src="10.0.0.2", dst="10.0.1.2") / UDP()
NEIGHBOUR = ("--neighbour", "right/10.0.1.2=02:00:00:00:00:0b")


def test_a_frame_leaves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written = tmp_path / "trace.json"
    assert here("trace", LESSON, "--from", "left", "--hex", bytes(FRAME).hex(), *NEIGHBOUR, "--json", str(written)) == 0
    said = capsys.readouterr().out
    assert "leaves to right: 42 bytes" in said and "ipv4.ttl 64 → 63" in said
    rows = report_of(written, "trace")["results"]
    assert [row["name"] for row in rows][-1] == "right.out"
    assert Ether(bytes.fromhex(rows[-1]["hex"])).dst == "02:00:00:00:00:0b"


def test_packets_are_held_where_the_neighbour_is_not_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert here("trace", LESSON, "--from", "left", "--hex", bytes(FRAME).hex()) == 0
    said = capsys.readouterr().out
    assert "held at arp.resolve until right/10.0.1.2 is known: --neighbour right/10.0.1.2=MAC makes it known" in said


def test_brief_prints_one_line_a_frame(capsys: pytest.CaptureFixture[str]) -> None:
    frames = 'Ether(dst="02:00:00:00:00:01")/IP(dst=["224.0.0.1", "10.0.1.2", "10.0.1.3"])'
    assert here("trace", LESSON, "--from", "left", "--scapy", frames, *NEIGHBOUR, "--brief") == 0
    dropped, left, held = capsys.readouterr().out.splitlines()
    assert dropped == "frame 1: 34 bytes at port left: dropped at ip.lookup: multicast: the destination is in 224/4"
    assert left == "frame 2: 34 bytes at port left: leaves to right: 34 bytes"
    assert held.startswith("frame 3: 34 bytes at port left: held at arp.resolve until")


COMPUTED = """
from scout import Filter, load8
from scout.testing import ipv4_router


def five(frame, end):
    return load8(frame, 0) & 15


graph = ipv4_router(Filter("mine", five))
"""


def test_a_verdict_that_leads_nowhere_is_shown_with_its_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "computed.py"
    file.write_text(COMPUTED)
    assert here("trace", str(file), "--from", "left", "--hex", bytes(FRAME).hex(), "--brief") == 0
    assert "dropped at mine.receive: unknown-verdict: a stage returned a number that is neither 0, one of its " in (
        said := capsys.readouterr().out
    )
    assert said.rstrip().endswith("nor a drop: 5")


def test_a_capture_and_a_scapy_expression(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capture = tmp_path / "in.pcap"
    wrpcap(str(capture), [FRAME] * 3)
    assert here("trace", LESSON, "--from", "left", "--pcap", str(capture), "--count", "2") == 0
    said = capsys.readouterr().out
    assert "frame 2:" in said and "frame 3:" not in said and "more than 2 frames" in said
    expression = 'Ether(dst="02:00:00:00:00:01")/IP(dst=["224.0.0.1", "10.0.1.2"])'
    assert here("trace", LESSON, "--from", "left", "--scapy", expression) == 0
    said = capsys.readouterr().out
    assert "dropped at ip.lookup: multicast: the destination is in 224/4" in said and "frame 2:" in said


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ((), "--from left"),
        (("--from", "up"), "there are paths from left, right"),
        (("--from", "left", "--pcap", "x"), "one of --hex, --pcap and --scapy"),
        (("--from", "left", "--neighbour", "right/10.0.1.2"), "write it as right/10.0.1.2=02:00:00:00:00:0b"),
        (("--from", "left", "--neighbour", "up/10.0.1.2=02:00:00:00:00:0b"), "up"),
    ],
)
def test_bad_input_is_refused(arguments: tuple[str, ...], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert here("trace", LESSON, "--hex", "00", *arguments) == 2
    error = capsys.readouterr().err
    assert complaint in error and error.count("\n") == 1


@pytest.mark.parametrize("option, value", [("--hex", "zz"), ("--scapy", "Ether("), ("--pcap", "/nowhere.pcap")])
def test_frames_that_cannot_be_read_are_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert here("trace", LESSON, "--from", "left", option, value) == 2
    error = capsys.readouterr().err
    assert (value in error or option in error) and error.count("\n") == 1
