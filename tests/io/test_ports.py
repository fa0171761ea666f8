"""Memory and pcap ports through a router with replicas: no root, no namespace."""

import os
import signal
import struct
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from scapy.all import ARP, IP, TCP, UDP, Ether, Raw, raw, rdpcap, wrpcap

from scout.io.ports.contract import PortError
from scout.io.ports.memory import MemoryPort
from scout.io.ports.pcap import PcapPort, file_header, read_pcap
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor

LEFT, RIGHT, HOST = "02:00:00:00:00:01", "02:00:00:00:00:02", "02:00:00:00:00:0b"
UDP_PAYLOAD = 42  # offset of the payload in a frame


def packet(number=0, size=18, transport=None):
    payload = struct.pack("!I", number) + bytes(number + index & 0xFF for index in range(size - 4))
    headers = IP(src="10.0.0.2", dst="10.0.1.2") / (transport or UDP(sport=1, dport=2))
    return Ether(dst=LEFT, src=HOST) / headers / Raw(payload)


def frames(count):
    """Frames that carry their numbers."""
    first = bytearray(raw(packet()))
    first[40:42] = bytes(2)  # no UDP checksum
    for number in range(count):
        first[UDP_PAYLOAD : UDP_PAYLOAD + 4] = struct.pack("!I", number)
        yield bytes(first)


def numbers(sent):
    return [struct.unpack_from("!I", frame, UDP_PAYLOAD)[0] for frame in sent]


def missing(data):
    """The word that makes the ones' complement sum of `data` 0xFFFF."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF - total


def supervised(left, right, replicas, order="completed", reports=None, known=True, service=None, **options):
    """A router between two ports; 10.0.1.2, on the right, is known."""
    graph = RouterGraph("ports")
    graph.add(Ethernet("left", left))
    graph.add(Ethernet("right", right))
    graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
    arp = Arp("arp")
    if known:
        arp.pin(1, "10.0.1.2", HOST)
    graph.add(arp)
    graph.add(Icmp("icmp"))
    for port in ("left", "right"):
        graph.connect("icmp", "ip", port)
        graph.connect("ip", "arp", port)
    if service:
        graph.add(service)
        graph.connect("ip", service.name, "left")
    paths = [graph.create_path(port, order=order) for port in ("left", "right")]
    return Supervisor(graph, paths, replicas, report=(reports if reports is not None else []).append, **options)


def finished(supervisor):
    """The accounts of a run that has come to its end by itself; the sums add up."""
    assert supervisor.wait(60.0), supervisor.account()
    supervisor.stop()
    account = supervisor.account()
    assert account["received"] == sum(sum(account[part].values()) for part in ("out", "ended", "drops"))
    return account


def awaited(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)
    return found


# Memory.


@pytest.mark.parametrize("replicas", [1, 2])
def test_every_frame_leaves_once_and_is_seen_by_all(replicas):
    count = 10_000
    left, right = MemoryPort(LEFT, frames=frames(count)), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, replicas) as supervisor:
        account = finished(supervisor)
    assert account == {"received": count, "out": {"right": count}, "ended": {}, "drops": {}}
    figures = supervisor.replica_figures()
    assert sum(row["primary"] for row in figures) == count
    assert [row["seen"] for row in figures] == [count] * replicas
    assert sorted(numbers(right.sent())) == list(range(count))
    assert left.sent() == []
    expected = Ether(next(frames(1)))
    expected.dst, expected.src, expected[IP].ttl = HOST, RIGHT, 63
    del expected[IP].chksum
    assert right.sent()[numbers(right.sent()).index(0)] == raw(expected)


@pytest.mark.parametrize("replicas", [1, 2])
def test_channel_order_is_kept(replicas):
    count = 20_000
    left, right = MemoryPort(LEFT, frames=frames(count)), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, replicas, "channel") as supervisor:
        account = finished(supervisor)
    assert account["out"] == {"right": count}
    assert numbers(right.sent()) == list(range(count))


def test_frames_sent_while_it_runs_and_an_answer():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    with supervised(left, right, 2) as supervisor:
        question = ARP(hwsrc=HOST, psrc="10.0.0.2", pdst="10.0.0.1")
        assert left.send(raw(Ether(dst="ff:ff:ff:ff:ff:ff", src=HOST) / question))
        (answer,) = awaited(left.sent)
        assert Ether(answer)[ARP].hwsrc == LEFT and Ether(answer)[ARP].op == 2
        for number, frame in enumerate(frames(20)):
            assert left.send(frame)
            assert numbers(awaited(lambda number=number: right.sent()[number:])) == [number]
        assert not supervisor.wait(0.1)  # more may come
        left.end()
        right.end()
        account = finished(supervisor)
    assert account == {"received": 21, "out": {"left": 1, "right": 20}, "ended": {}, "drops": {}}
    with pytest.raises(PortError, match="send before end"):
        left.send(b"")


def test_packets_held_until_their_next_hop_is_known_leave_whole():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT)
    with supervised(left, right, 2, known=False) as supervisor:
        for frame in frames(3):
            assert left.send(frame)
        question = Ether(awaited(right.sent)[0])
        assert question[ARP].pdst == "10.0.1.2"
        awaited(lambda: supervisor.memory.holds["count"].sum() == 3)
        assert right.send(raw(Ether(dst=RIGHT, src=HOST) / ARP(op=2, hwsrc=HOST, psrc="10.0.1.2", pdst="10.0.1.1")))
        sent = awaited(lambda: right.sent()[3:] and right.sent()[1:])
        left.end()
        right.end()
        account = finished(supervisor)
    assert sorted(numbers(sent)) == [0, 1, 2]
    assert {frame[:14] for frame in sent} == {raw(Ether(dst=HOST, src=RIGHT, type=0x0800))}
    assert account == {"received": 4, "out": {"right": 3}, "ended": {"learnt": 1}, "drops": {}}


def test_a_port_can_be_run_again():
    left, right = MemoryPort(LEFT, frames=frames(3)), MemoryPort(RIGHT, frames=[])
    for _ in range(2):
        with supervised(left, right, 1) as supervisor:
            assert finished(supervisor)["received"] == 3
        assert numbers(right.sent()) == [0, 1, 2]


def test_what_there_is_no_room_for_is_counted():
    count, size = 100, 16 + 60
    given = [*frames(count), raw(packet(size=1501)), bytes(60)]
    left, right = MemoryPort(LEFT, frames=given), MemoryPort(RIGHT, frames=[], capacity=10 * size)
    with supervised(left, right, 1) as supervisor:
        account = finished(supervisor)
    out = account["out"]["right"]
    assert out == len(right.sent()) == 9  # less what batches take
    assert account["drops"] == {"too-long": 1, "tx-full": count - out, "not-for-us": 1}
    assert account["received"] == count + 2


@pytest.mark.parametrize("size", [18, 33, 700, 1459])
@pytest.mark.parametrize("transport", [UDP(sport=1, dport=2), TCP(sport=1, dport=2, flags="A")])
def test_a_partial_checksum_is_completed(transport, size):
    """As the kernel leaves it: the field holds the pseudo-header's sum. Scapy knows the whole one."""
    whole = Ether(raw(packet(7, size, transport)))  # more than REACH bytes: a part of it never leaves the channel
    partial = bytearray(raw(whole))
    offset = 34 + (6 if UDP in whole else 16)
    pseudo = partial[26:34] + struct.pack("!HH", whole[IP].proto, len(partial) - 34)
    total = sum(struct.unpack("!6H", pseudo))
    partial[offset : offset + 2] = struct.pack("!H", (total & 0xFFFF) + (total >> 16))
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, 1):
        assert left.send(bytes(partial), offload=struct.pack("<BBHHHH", 1, 0, 0, 0, 34, offset - 34))
        (sent,) = awaited(right.sent)
    assert sent[34:] == raw(whole)[34:]


def test_a_checksum_that_comes_to_zero_is_sent_as_ffff():
    frame = bytearray(next(frames(1)))
    pseudo = sum(struct.unpack("!6H", frame[26:34] + struct.pack("!HH", 17, len(frame) - 34)))
    frame[40:42] = struct.pack("!H", (pseudo & 0xFFFF) + (pseudo >> 16))
    frame[58:60] = struct.pack("!H", missing(frame[34:58]))
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, 1):
        left.send(bytes(frame), offload=struct.pack("<BBHHHH", 1, 0, 0, 0, 34, 6))
        (sent,) = awaited(right.sent)
    assert sent[40:42] == b"\xff\xff"


@pytest.mark.parametrize("order", ["completed", "channel"])
@pytest.mark.parametrize("replicas", [1, 2])
def test_killed_replicas_have_successors_and_no_packet_is_lost(order, replicas):
    count, kills = 50_000, 5
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    reports = []
    with supervised(left, right, replicas, order, reports) as supervisor:
        for number, frame in enumerate(frames(count)):
            assert left.send(frame, timeout=20.0)
            if number % (count // kills) == count // kills // 2:
                awaited(lambda: len(reports) == number // (count // kills))  # noqa: B023
                os.kill(supervisor.processes[len(reports) % replicas].pid, signal.SIGKILL)
        left.end()
        account = finished(supervisor)
        assert supervisor.alive == replicas
    assert len(reports) == kills and "replica 0" in reports[0] and "SIGKILL" in reports[0]
    assert "its successor is process" in reports[0]
    assert account["received"] == account["out"]["right"] == count
    got = numbers(right.sent())
    assert sorted(got) == list(range(count))  # each once: what left twice is dropped at the far end
    if order == "channel":
        assert got == sorted(got)


def test_a_killed_shard_sends_a_batch_again_at_most():
    count, kills, batch = 50_000, 10, 32
    left, right = MemoryPort(LEFT, batch=batch), MemoryPort(RIGHT, frames=[])
    reports = []
    service = HeavyHitter("heavy", 1 << 40, mode="sharded")
    with supervised(left, right, 2, reports=reports, service=service) as supervisor:
        owner = None
        for number, frame in enumerate(frames(count)):
            assert left.send(frame, timeout=20.0)
            if number == 1000:
                (owner,) = awaited(lambda: [r["id"] for r in supervisor.replica_figures() if r["primary"]])
            if number % (count // kills) == count // kills // 2:
                awaited(lambda: len(reports) == number // (count // kills))  # noqa: B023
                os.kill(supervisor.processes[owner].pid, signal.SIGKILL)
        left.end()
        finished(supervisor)
    assert sorted(numbers(right.sent())) == list(range(count))
    assert count <= right.transmits["sent"].sum() <= count + kills * batch
    replayed = [row["replayed"] for row in supervisor.replica_figures()]
    assert replayed[owner] > 0


def test_who_dies_again_and_again_at_one_packet_gets_no_more_successors():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    reports = []
    with supervised(left, right, 2, "completed", reports) as supervisor:
        for times in range(4):
            process = supervisor.processes[0]
            os.kill(process.pid, signal.SIGKILL)
            awaited(lambda: len(reports) > times)  # noqa: B023
        assert supervisor.alive == 1 and "1 of 2 replicas go on" in reports[-1]
        for frame in frames(100):
            assert left.send(frame)
        awaited(lambda: len(right.sent()) == 100)


def test_replicas_join_and_leave_while_packets_flow():
    count = 40_000
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, 1, "channel") as supervisor:
        changes = {5_000: supervisor.add_replica, 15_000: lambda: supervisor.remove_replica(0)}
        changes[25_000] = supervisor.add_replica
        for number, frame in enumerate(frames(count)):
            assert left.send(frame, timeout=20.0)
            if number in changes:
                changes[number]()
        left.end()
        account = finished(supervisor)
        assert supervisor.alive == 2
    assert account == {"received": count, "out": {"right": count}, "ended": {}, "drops": {}}
    assert numbers(right.sent()) == list(range(count))
    assert min(row["seen"] for row in supervisor.replica_figures()) > 10_000
    with pytest.raises(ScoutError, match="does not take part"):
        supervisor.remove_replica(7)


def test_nothing_is_taken_for_nobody():
    left, right = MemoryPort(LEFT), MemoryPort(RIGHT, frames=[])
    with supervised(left, right, 1, restarts=0) as supervisor:
        for frame in frames(100):
            assert left.send(frame)
        awaited(lambda: len(right.sent()) == 100)
        os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        assert supervisor.wait(60.0)
        assert supervisor.alive == 0
        assert not left.send(next(frames(1)), timeout=0.01)
    assert supervisor.account() == {"received": 101, "out": {"right": 100}, "ended": {}, "drops": {"ring-full": 1}}


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: MemoryPort("02:00"), "02:00.*not a MAC address"),
        (lambda: MemoryPort(LEFT, mtu=20), "mtu 20; give 68"),
        (lambda: MemoryPort(LEFT, capacity=-1), "capacity -1"),
        (lambda: MemoryPort(LEFT, frames=[(b"", -1)]), "time -1; give nanoseconds"),
        (lambda: MemoryPort(LEFT).send(b""), "not open; use it inside"),
        (lambda: MemoryPort(LEFT, frames=[]).send(b""), "has an end; make it without frames"),
        (lambda: MemoryPort(LEFT).send(b"", offload=b"123"), "offload of 3 bytes"),
    ],
)
def test_bad_use_is_named_with_the_mend(make, words):
    with pytest.raises(PortError, match=words):
        make()


# Files.


@pytest.mark.parametrize("replicas", [1, 2])
def test_from_file_to_file(tmp_path, replicas):
    count = 5_000
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


def test_several_replicas_write_one_whole_file(tmp_path):
    count = 50_000
    right = PcapPort(write=tmp_path / "out.pcap", mac=RIGHT)
    with supervised(MemoryPort(LEFT, frames=frames(count)), right, 2) as supervisor:
        finished(supervisor)
    assert all(row["primary"] for row in supervisor.replica_figures())
    assert Counter(numbers(frame for _, frame in read_pcap(tmp_path / "out.pcap"))) == Counter(range(count))


def test_without_a_file_to_write_frames_are_thrown_away():
    left, right = MemoryPort(LEFT, frames=frames(10)), PcapPort(mac=RIGHT)
    with supervised(left, right, 1) as supervisor:
        assert finished(supervisor)["out"] == {"right": 10}


def test_a_full_disk_is_counted(monkeypatch):
    monkeypatch.setattr(os, "devnull", "/dev/full")
    with supervised(MemoryPort(LEFT, frames=frames(10)), PcapPort(mac=RIGHT), 1) as supervisor:
        account = finished(supervisor)
    assert account["out"] == {} and account["drops"] == {"tx-full": 10}


def test_a_feeding_process_that_dies_is_reported(tmp_path):
    record = struct.pack("=IIII", 0, 0, 60, 60) + next(frames(1))
    (tmp_path / "in.pcap").write_bytes(file_header() + record * 1_000_000)
    left, reports = PcapPort(read=tmp_path / "in.pcap", mac=LEFT), []
    with supervised(left, PcapPort(mac=RIGHT), 1, reports=reports) as supervisor:
        left._feed._players[0].kill()
        awaited(lambda: reports)
        assert "in.pcap" in reports[0]
        assert supervisor.wait(30)


def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path):
    """The feeding process would wait for ever: nobody takes what it sends."""
    program = (
        "import os, signal, test_ports as t\n"
        "left = t.MemoryPort(t.LEFT, frames=t.frames(100_000))\n"
        "supervisor = t.supervised(left, t.MemoryPort(t.RIGHT, frames=[]), 1).__enter__()\n"
        "os.kill(supervisor.processes[0].pid, signal.SIGSTOP)\n"
        "print(left._feed._players[0].pid, supervisor.processes[0].pid, flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    ) as process:
        assert process.stdout
        children = [int(word) for word in process.stdout.readline().split()]
        assert len(children) == 2
        process.kill()
    awaited(lambda: not any(map(runs, children)))


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


HEAD = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
RECORD = struct.pack("<4I", 0, 0, 4, 4) + b"1234"


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "no pcap file"),
        (b"hello world, this is not a capture", "no pcap file"),
        (HEAD[:20], "ends at offset 20"),
        (struct.pack("<I", 0x0A0D0D0A) + bytes(40), "pcapng.*editcap"),
        (struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 113), "link type 113"),
        (HEAD + RECORD + RECORD[:-1], "offset 44 is cut short"),
        (HEAD + RECORD + RECORD[:15], "offset 44 is cut short"),
        (HEAD + struct.pack("<4I", 0, 0, 1 << 19, 4) + bytes(1 << 20), "offset 24 .*damaged"),
        (None, "No such file"),
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
