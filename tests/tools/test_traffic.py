"""The generator sends what it says, and the sink accounts for every frame."""

import json
import shutil
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
from commands import here
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.all import IP, UDP, Ether, wrpcap

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.mac import mac_number
from scout.ring.errors import ScoutError
from scout.tools.traffic import flood as flood_module
from scout.tools.traffic import peers
from scout.tools.traffic.flood import HEADERS, IMIX, MAGIC, MOST_FLOWS, Flood
from scout.tools.traffic.replay import Replay
from scout.tools.traffic.sink import WINDOW, Sink, account, new_flows

MACS = ("02:00:00:00:00:01", "02:00:00:00:00:02")
SOURCE, SINK = "10.0.0.1", "10.0.0.2"
ETH_P_IP = 0x0800


def accounted(sequences: list[int]) -> dict[str, int]:
    flows = new_flows(1)
    account(flows, np.array(sequences, np.int64))
    return {name: int(flows[name][0]) for name in ("next", "lost", "reordered", "duplicates", "late")}


@given(st.data())
@settings(deadline=None)
def test_what_is_lost_reordered_and_duplicated_is_counted(data: st.DataObject) -> None:
    count = data.draw(st.integers(1, 2000))
    lost = data.draw(st.sets(st.integers(0, count - 1), max_size=count // 3))
    again = data.draw(st.sets(st.integers(0, count - 1), max_size=20)) - lost
    sent = [number for number in range(count) if number not in lost]
    # A frame may be passed by frames that were sent up to half a window later.
    delays = {number: data.draw(st.integers(0, WINDOW // 2 - 1)) for number in sent[:: max(1, len(sent) // 10)]}
    arrived = sorted(sent + list(again), key=lambda number: number + delays.get(number, 0))
    counted = accounted(arrived)
    passed = sum(any(other > number for other in arrived[: arrived.index(number)]) for number in delays)
    highest = max(arrived, default=-1)
    assert counted == {
        "next": highest + 1,
        "lost": len([number for number in lost if number < highest]),
        "reordered": passed,
        "duplicates": len(again),
        "late": 0,
    }


@pytest.mark.parametrize(("gap", "late"), [(WINDOW - 1, 0), (WINDOW, 1), (10 * WINDOW, 1)])
def test_a_frame_that_is_older_than_the_window_is_late(gap: int, late: int) -> None:
    counted = accounted([0, 2, 2 + gap - 1, 1])
    assert counted["late"] == late and counted["reordered"] == 1 - late
    assert counted["lost"] == gap - 2 + late


@contextmanager
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    with Lab("traffic") as lab:
        left, right = lab.namespace("left"), lab.namespace("right")
        lab.veth((left, "eth0"), (right, "eth0"), mac=MACS)
        left.address("eth0", f"{SOURCE}/24")
        right.address("eth0", f"{SINK}/24")
        yield left, right


def flood(
    sizes: int | tuple[int, ...] = 60, flows: int = 1, destination: str = SINK, burst: int | None = None
) -> Flood:
    return Flood(sizes, SOURCE, destination, mac_number(MACS[0]), mac_number(MACS[1]), flows=flows, burst=burst)


@pytest.mark.needs_namespaces
@pytest.mark.parametrize("xdp", [True, False])
def test_frames_of_a_flood_are_right(xdp: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError("no such sockets")

    if not xdp:
        monkeypatch.setattr(flood_module, "XdpSocket", refuse)
    with pair() as (left, right):
        left.offload("eth0", tx_checksum_ip_generic=False)  # the kernel completes the checksums
        with right.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as receiver:
            receiver.bind(("eth0", ETH_P_IP))
            receiver.settimeout(600)
            sent = flood(IMIX, 5, "10.9.0.0/30")
            left.run(sent.run, "eth0", 60.0, None, None, 24).join()
            assert (sent.sent, sent.refused) == (24, 0)
            frames = [receiver.recv(2000) for _ in range(24)]
    for index, frame in enumerate(frames):
        assert len(frame) == IMIX[index % len(IMIX)]
        packet = Ether(frame)
        assert (packet.src, packet.dst) == MACS
        assert packet[IP].src == SOURCE and packet[IP].dst == f"10.9.0.{index % 5 % 2 + 1}"
        assert packet[UDP].sport == 1024 + index % 5
        assert packet[IP].id == index // 5 and packet[IP].len == len(frame) - 14
        assert struct.unpack_from("=IIQ", frame, HEADERS) == (MAGIC, index % 5, index // 5)
        again = Ether(frame)
        del again[IP].chksum, again[UDP].chksum
        assert bytes(again) == frame  # scapy computes the same checksums


@pytest.mark.needs_namespaces
@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize(("flows", "burst"), [(1, None), (7, None), (7, 4), (1, 1)])
def test_a_sink_receives_each_frame_of_a_flood_once(flows: int, burst: int | None, cut: bool) -> None:
    """Also those of super-frames, whole or cut."""
    with pair() as (left, right):
        left.offload("eth0", tx_udp_segmentation=not cut)
        with right.entered():
            sink = Sink("eth0")
        with sink:
            receiving = right.run(sink.run)
            sent = flood(flows=flows, burst=burst)
            left.run(sent.run, "eth0", 60.0, None, None, 640).join()
            sink.settle(640, 60.0)
            sink.stop()
            receiving.join()
            figures = sink.figures(sent.sent)
    assert sent.sent == 640
    assert figures == {
        "received": 640,
        "lost": 0,
        "reordered": 0,
        "duplicates": 0,
        "late": 0,
        "other": figures["other"],
        "missed_by_sink": 0,
    }


@pytest.mark.needs_namespaces
def test_a_sink_tells_loss_from_reordering_between_flows() -> None:
    def frame(flow: int, sequence: int) -> bytes:
        label = struct.pack("=IIQ", MAGIC, flow, sequence)
        return bytes(Ether(src=MACS[0], dst=MACS[1]) / IP(src=SOURCE, dst="10.0.0.9") / UDP(sport=1, dport=2) / label)

    with pair() as (left, right), left.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind(("eth0", 0))
        with right.entered():
            sink = Sink("eth0", flows=2)
        with sink:
            for flow, sequence in ((0, 0), (1, 0), (0, 2), (1, 3), (0, 1), (1, 0), (5, 9)):
                sender.send(frame(flow, sequence))
            sender.send(b"\xff" * 60)
            while sink.received + sink.other < 8:
                sink.take()
            figures = sink.figures()
    assert {"received": 7, "lost": 2, "reordered": 1, "duplicates": 1, "late": 0, "other": 1}.items() <= figures.items()


@pytest.mark.needs_namespaces
def test_a_capture_is_sent_again_and_again(tmp_path: Path) -> None:
    capture = str(tmp_path / "three.pcap")
    wrpcap(capture, [Ether(bytes(60 + index)) for index in range(3)])
    with pair() as (left, right), right.entered(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as receiver:
        receiver.bind(("eth0", 0x0003))
        receiver.settimeout(600)
        replay = Replay(capture)
        left.run(replay.run, "eth0", 60.0, None, None, 7).join()
        assert [len(receiver.recv(2000)) for _ in range(7)] == [60, 61, 62, 60, 61, 62, 60]
    assert replay.sent == 7


@pytest.mark.needs_namespaces
def test_the_command_reports_both_ends(capsys: pytest.CaptureFixture[str]) -> None:
    with pair() as (left, right):
        ends = ("--from", f"{left.netns}/eth0", "--to", f"{right.netns}/eth0")
        assert here("traffic", *ends, "--flows", "3", "--pps", "20000", "--frames", "300", "--json", "-") == 0
    report = json.loads(capsys.readouterr().out)
    sender, sink = report["results"]
    assert report["command"] == "traffic"
    assert (sender["name"], sender["sent"], sender["refused"]) == ("generator", 300, 0)
    assert (sink["name"], sink["received"], sink["lost"], sink["duplicates"]) == ("sink", 300, 0, 0)


@pytest.mark.needs_namespaces
@pytest.mark.parametrize("flows", ["1", "2"])
def test_nothing_is_sent_by_an_interface_that_is_down(flows: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pair() as (left, _):
        with left.netlink("setting eth0 down") as ip:
            ip.link("set", index=ip.link_lookup(ifname="eth0")[0], state="down")
        ends = ("--from", f"{left.netns}/eth0", "--destination", SINK, "--next-hop", MACS[1])
        assert here("traffic", *ends, "--flows", flows, "--seconds", "0.1") == 1
    assert "interface eth0: nothing could be sent; is it up?" in capsys.readouterr().err


@pytest.mark.needs_namespaces
def test_not_more_frames_are_sent_than_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pair() as (left, right):
        ends = ("--from", f"{left.netns}/eth0", "--to", f"{right.netns}/eth0")
        assert here("traffic", *ends, "--frames", "10", "--json", "-") == 0
    assert [row.get("sent", row.get("received")) for row in json.loads(capsys.readouterr().out)["results"]] == [10, 10]


@pytest.mark.needs_namespaces
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from", "HERE/nosuch0", "--to", "HERE/eth0"], ["nosuch0", "there are: eth0"]),
        (["--from", "HERE/eth0"], ["--destination"]),
        (["--from", "HERE/eth0", "--destination", "10.9.9.9"], ["no route to 10.9.9.9", "--next-hop"]),
        (["--from", "HERE/eth0", "--destination", "nowhere"], ["--destination nowhere"]),
        (["--to", "nosuchspace/eth0"], ["nosuchspace"]),
        (["--from", "HERE/eth0", "--pcap", "/nowhere.pcap"], ["/nowhere.pcap"]),
    ],
)
def test_bad_usage_in_a_namespace(arguments: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pair() as (left, _):
        assert here("traffic", *(argument.replace("HERE", left.netns) for argument in arguments)) == 2
    errors = capsys.readouterr().err
    assert len(errors.strip().splitlines()) == 1, errors
    assert all(word in errors for word in words), errors


@pytest.mark.parametrize(
    "arguments",
    [
        (59, SOURCE, SINK, 1, 2),
        (1515, SOURCE, SINK, 1, 2),
        (60, "nowhere", SINK, 1, 2),
        (60, SOURCE, "10.0.0.1/8", 1, 2),
        (60, SOURCE, SINK, 1, 2, 64, MOST_FLOWS + 1),
        (60, SOURCE, SINK, 1, 2, 64, 0),
    ],
)
def test_a_flood_that_cannot_be(arguments: tuple[int, str, str, int, int]) -> None:
    with pytest.raises(ScoutError):
        Flood(*arguments)


@pytest.mark.needs_namespaces
@pytest.mark.parametrize("program", ["python", "iperf3"])
def test_the_ends_of_tcp_set_their_congestion_control(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if program == "iperf3" and not shutil.which(program):
        pytest.skip("missing: iperf3")
    with Lab("control") as lab:
        left, right = lab.namespace("left"), lab.namespace("right")
        lab.veth((left, "eth0"), (right, "eth0"))
        left.address("eth0", f"{SOURCE}/24")
        right.address("eth0", f"{SINK}/24")
        assert peers.tcp_goodput(left, right, SINK, 1, 0.1, program) > 0
        monkeypatch.setattr(peers, "CONTROL", "none")  # that is none's name, so the sender cannot set it
        with suppress(ScoutError):
            assert peers.tcp_goodput(left, right, SINK, 1, 0.1, program) == 0
