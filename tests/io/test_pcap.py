"""Ports on capture files, through a router with replicas: formats, times, damaged files, dead feeders."""

import gzip
import os
import signal
import struct
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from port_router import HOST, LEFT, PEER, RIGHT, finished, frames, numbers, packet, supervised
from scapy.all import ARP, IP, UDP, Ether, Raw, raw, rdpcap, wrpcap, wrpcapng

from scout.io.ports.contract import PortError
from scout.io.ports.memory import MemoryPort
from scout.io.ports.pcap import PcapPort
from scout.io.ports.pcap_file import file_header, read_pcap
from scout.testing import await_until


@pytest.mark.parametrize("replicas", [2, pytest.param(1, marks=pytest.mark.long)])
def test_from_file_to_file(tmp_path, replicas):
    count = 2_500  # more than twice what the channel holds
    given = [packet(number, 18 + number % 900) for number in range(count)]
    for number, each in enumerate(given):
        each.time = 1_600_000_000 + number / 1000
    wrpcap(str(tmp_path / "in.pcap"), given)
    left = PcapPort(read=tmp_path / "in.pcap", mac=LEFT)
    right = PcapPort(write=str(tmp_path / "out.pcap"), mac=RIGHT)
    with supervised(left, right, replicas, "channel") as supervisor:
        account = finished(supervisor)
    assert account == {"received": count, "out": {"right": count}, "ended": {}, "drops": {}}
    got = rdpcap(str(tmp_path / "out.pcap"))
    assert numbers(map(raw, got)) == list(range(count))
    assert [each[Raw].load for each in got] == [each[Raw].load for each in given]
    assert [round(float(each.time) * 1000) for each in got] == [1_600_000_000_000 + number for number in range(count)]
    assert all((each.src, each.dst, each[IP].ttl) == (RIGHT, HOST, 63) for each in got)
    assert [frame for _, frame in read_pcap(tmp_path / "out.pcap")] == list(map(raw, got))


def test_a_packet_in_a_capture_waits_for_an_answer_in_the_same_capture(tmp_path):
    given = [
        Ether(src=HOST, dst=LEFT) / IP(src="10.0.0.2", dst="10.0.0.9") / UDP(),
        Ether(src=PEER, dst=LEFT) / ARP(op=2, hwsrc=PEER, psrc="10.0.0.9", hwdst=LEFT, pdst="10.0.0.1"),
    ]
    for number, each in enumerate(given):
        each.time = 1_000_000_000 + number / 1000
    wrpcap(str(tmp_path / "in.pcap"), given)
    left = PcapPort(read=tmp_path / "in.pcap", write=tmp_path / "out.pcap", mac=LEFT)
    with supervised(left, MemoryPort(RIGHT, frames=[]), 1, known=False) as supervisor:
        account = finished(supervisor)
    assert account == {"received": 2, "out": {"left": 1}, "ended": {"learnt": 1}, "drops": {}}
    packet, question = sorted(rdpcap(str(tmp_path / "out.pcap")), key=lambda each: ARP in each)
    assert UDP in packet and packet.dst == PEER
    assert question[ARP].pdst == "10.0.0.9"  # the router made it, at the time of the packets
    assert given[0].time <= question.time <= given[1].time


def test_several_replicas_write_one_whole_file(tmp_path):
    count = 50_000
    right = PcapPort(write=tmp_path / "out.pcap", mac=RIGHT)
    with supervised(MemoryPort(LEFT, frames=frames(count)), right, 2) as supervisor:
        finished(supervisor)
    assert all(row["primary"] for row in supervisor.replica_figures())
    assert Counter(numbers(frame for _, frame in read_pcap(tmp_path / "out.pcap"))) == Counter(range(count))


def without_packets(folder):
    """A port that reads a file without packets, and writes none."""
    (folder / "empty.pcap").write_bytes(file_header())
    return PcapPort(read=folder / "empty.pcap", mac=RIGHT)


def test_without_a_file_to_write_frames_are_thrown_away(tmp_path):
    left, right = MemoryPort(LEFT, frames=frames(10)), without_packets(tmp_path)
    with supervised(left, right, 1) as supervisor:
        assert finished(supervisor)["out"] == {"right": 10}


def test_a_port_without_a_file_is_refused():
    with pytest.raises(PortError, match="PcapPort without a file: give read=, write= or both"):
        PcapPort(mac=RIGHT)


def test_a_full_disk_is_counted(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "devnull", "/dev/full")
    with supervised(MemoryPort(LEFT, frames=frames(10)), without_packets(tmp_path), 1) as supervisor:
        account = finished(supervisor)
    assert account["out"] == {} and account["drops"] == {"tx-full": 10}


class SlowPort(PcapPort):
    """A port whose feeding process does not come to the end of its file."""

    def play(self, feed, producer):
        super().play(feed, producer)
        signal.pause()


def test_a_feeding_process_that_dies_is_reported(tmp_path):
    record = struct.pack("=IIII", 0, 0, 60, 60) + next(frames(1))
    (tmp_path / "in.pcap").write_bytes(file_header() + record * 100)
    left, reports = SlowPort(read=tmp_path / "in.pcap", mac=LEFT), []
    with supervised(left, without_packets(tmp_path), 1, reports=reports) as supervisor:
        left._feed._players[0].kill()
        await_until(lambda: reports)
        assert "in.pcap" in reports[0]
        assert supervisor.wait(600)


def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path):
    """The feeding process would wait for ever: no replica takes its packets."""
    program = (
        "import os, signal, port_router as t\n"
        "from scout import MemoryPort\n"
        "left = MemoryPort(t.LEFT, frames=t.frames(100_000))\n"
        "supervisor = t.supervised(left, MemoryPort(t.RIGHT, frames=[]), 1).__enter__()\n"
        "os.kill(supervisor.processes[0].pid, signal.SIGSTOP)\n"
        "print(left._feed._players[0].pid, supervisor.processes[0].pid, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[1]
    ) as process:
        assert process.stdout
        children = [int(word) for word in process.stdout.readline().split()]
        assert len(children) == 2
        process.kill()
    await_until(lambda: not any(map(runs, children)))


def runs(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_both_byte_orders_and_resolutions(tmp_path):
    file = tmp_path / "in.pcap"
    for order in "<>":
        for magic, scale in ((0xA1B2C3D4, 1000), (0xA1B23C4D, 1)):
            head = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, 1)
            data = next(frames(1))
            record = struct.pack(f"{order}4I", 5, 7, len(data), len(data))
            file.write_bytes(head + record + data + struct.pack(f"{order}4I", 6, 8, 0, 60))
            assert list(read_pcap(file)) == [(5 * 10**9 + 7 * scale, data), (6 * 10**9 + 8 * scale, b"")]
            right = PcapPort(write=tmp_path / "out.pcap", mac=RIGHT)
            with supervised(PcapPort(read=file, mac=LEFT), right, 1) as supervisor:
                assert finished(supervisor)["drops"] == {"too-short": 1}
            ((timestamp, _),) = read_pcap(tmp_path / "out.pcap")
            assert timestamp == 5 * 10**9 + 7 * scale


def ng(order, link=1, seconds=5):
    """A pcapng file of two packets: one with its time, in units of 2 ** -10 seconds, and one without."""

    def block(kind, body):
        size = 12 + len(body)
        return struct.pack(f"{order}2I", kind, size) + body + struct.pack(f"{order}I", size)

    section = struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1)
    unit = struct.pack(f"{order}HHB3xHH", 9, 1, 0x80 | 10, 0, 0)
    ticks = seconds << 10 | 1 << 9
    stamped = struct.pack(f"{order}5I", 0, ticks >> 32, ticks & 0xFFFF_FFFF, 2, 60) + b"ab\0\0"
    plain = struct.pack(f"{order}I", 3) + b"cde\0"
    blocks = [(0x0A0D0D0A, section), (1, struct.pack(f"{order}HHI", link, 0, 0) + unit), (6, stamped), (3, plain)]
    return b"".join(block(*each) for each in blocks)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("compressed", [False, True])
def test_pcapng_is_read_in_both_byte_orders(tmp_path, order, compressed):
    data = ng(order)
    (tmp_path / "in").write_bytes(gzip.compress(data) if compressed else data)
    assert list(read_pcap(tmp_path / "in")) == [(5_500_000_000, b"ab"), (5_500_000_000, b"cde")]


@pytest.mark.parametrize("name", ["in.pcapng", "in.pcapng.gz", "in.pcap.gz"])
def test_a_capture_in_another_format_is_received(tmp_path, name):
    given = list(frames(3))
    file = tmp_path / name
    write = wrpcapng if "pcapng" in name else wrpcap
    write(str(tmp_path / "plain"), [Ether(frame) for frame in given])
    data = (tmp_path / "plain").read_bytes()
    file.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    right = MemoryPort(RIGHT, frames=[])
    with supervised(PcapPort(read=file, mac=LEFT), right, 1) as supervisor:
        assert finished(supervisor)["out"] == {"right": 3}
    assert numbers(right.sent()) == [0, 1, 2]


HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
RECORD = struct.pack("<4I", 0, 0, 4, 4) + b"1234"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no pcap or pcapng file"),
        (b"hello world, this is not a capture", "no pcap or pcapng file"),
        (HEAD[:20], "ends at offset 20"),
        (struct.pack("<I", 0x0A0D0D0A) + bytes(40), "block at offset 0 is cut short or damaged"),
        (ng("<")[:-4], "block at offset 96 is cut short or damaged"),
        (ng("<", link=113), "link type 113"),
        (ng("<", seconds=1 << 33), "packet at offset 60 is not of the years"),
        (gzip.compress(HEAD + RECORD, mtime=0)[:-9], "compressed data is cut short or damaged"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 113), "link type 113"),
        (HEAD + RECORD + RECORD[:-1], "offset 44 is cut short"),
        (HEAD + RECORD + RECORD[:15], "offset 44 is cut short"),
        (HEAD + struct.pack("<4I", 0, 0, 1 << 19, 4) + bytes(1 << 20), "offset 24 .*damaged"),
        (None, "No such file"),
    ],
    ids=[
        "empty",
        "text",
        "header cut",
        "section cut",
        "block cut",
        "pcapng link type",
        "pcapng year",
        "gzip cut",
        "link type",
        "frame cut",
        "record cut",
        "size damaged",
        "missing",
    ],
)
def test_a_bad_file_is_named_with_the_place_before_traffic(tmp_path, data, words):
    file = tmp_path / "in.pcap"
    if data is not None:
        file.write_bytes(data)
    with pytest.raises(PortError, match=f"in.pcap: .*{words}"):
        list(read_pcap(file))
    with pytest.raises(PortError, match=f"in.pcap: .*{words}"):
        PcapPort(read=file).open(0)


def test_a_file_is_not_written_over_while_it_is_read(tmp_path):
    file = tmp_path / "in.pcap"
    file.write_bytes(HEAD + RECORD)
    with pytest.raises(PortError, match="another file"):
        PcapPort(read=file, write=file).open(0)
    assert file.read_bytes() == HEAD + RECORD


def test_a_file_that_cannot_be_written(tmp_path):
    with pytest.raises(PortError, match=r"out\.pcap: .*can be written"):
        PcapPort(write=tmp_path / "none" / "out.pcap").open(0)
