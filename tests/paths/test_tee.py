"""The shipped filters: Counter, Discard and Tee, plain and native."""

import os
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from filter_frames import frame, no_telnet, twin_with
from harness import HOST, LEFT, NOW, RIGHT, Twin, two_ports
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.utils import RawPcapReader, rdpcap

from scout.io.packet import REACH
from scout.io.ports.memory import MemoryPort
from scout.paths.model.router import GraphError
from scout.paths.services.counter import Counter, Counts
from scout.paths.stages.discard import Discard
from scout.paths.stages.filter import Filter
from scout.paths.stages.tee import Tee
from scout.supervisor import Supervisor


@pytest.mark.long
def test_counts_packets_and_bytes() -> None:
    counter = Counter("counter")
    _, twin = twin_with((counter, ("ip", "counter", "left")))
    for size in (0, 1000):
        twin.both(frame(UDP(), body=bytes(size)) + bytes(4))
    # Counted from IP's header on, without the padding.
    assert counter.read() == Counts(2, 2 * (20 + 8) + 1000)
    assert counter.read(np.array([[1, 10], [2, 20]])) == Counts(3, 30)


def test_drops_everything_under_its_reason() -> None:
    made, twin = twin_with(
        (Discard("closed", "left-is-closed"), ("ip", "closed", "left")),
        (Discard("mute", "no-arp-here", "arp"), ("arp", "mute", "right")),
    )
    assert twin.both(frame(UDP())).leaf == "closed.receive drops left-is-closed"
    assert twin.both(frame(UDP(), "10.0.0.1")).leaf == "closed.receive drops left-is-closed"
    right = made.graph.create_path("right")
    other = bytes(Ether(dst="02:00:00:00:00:02") / IP(src="10.0.1.2", dst="10.0.0.2") / UDP())
    assert right.run(other, timestamp=NOW)[0] == "to left"
    back = bytes(Ether(dst="02:00:00:00:00:02") / IP(src="10.0.1.2", dst="10.0.1.2") / UDP())
    assert right.run(back, timestamp=NOW)[0] == "mute.send drops no-arp-here"


@pytest.fixture(scope="module")
def teed(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    folder = tmp_path_factory.mktemp("tee")
    tees = Tee("before", folder / "before.pcap"), Tee("after", folder / "after.pcap", "adjacency")
    made = two_ports((tees[0], ("ip", "before", "left")), (tees[1], ("ip", "after", "arp")))
    made.twin = Twin(made.graph.create_path("left"), *(tee.room for tee in tees))
    made.before, made.after = tees
    return made


def start(teed: SimpleNamespace) -> tuple[Path, Path]:
    teed.before.start(teed.graph)
    teed.after.start(teed.graph)
    return teed.before.file, teed.after.file


@pytest.mark.parametrize("size", [0, REACH - 42, REACH - 41, 1300])
def test_tee_writes_whole_frames_with_their_times(teed: SimpleNamespace, size: int) -> None:
    before, after = start(teed)
    data = frame(UDP(), body=os.urandom(size))
    padded = data + bytes(5)
    result = teed.twin.both(padded, timestamp=NOW + 123_456_789)
    assert result.leaf == "to right"
    # Once by the plain run and once by the native one: two equal records.
    for file, written in ((before, data), (after, data[:14] + result.data[14:])):
        records = list(RawPcapReader(str(file)))
        assert [record for record, _ in records] == [written, written]
        for _, about in records:
            assert (about.sec * 1_000_000_000 + about.usec, about.wirelen) == (
                NOW + 123_456_789,
                len(written),
            )
    assert teed.before.missing.initial[0] == 0
    assert rdpcap(str(before))[0][UDP].dport == 53


def test_tee_gives_an_icmp_error_an_empty_link_header(teed: SimpleNamespace) -> None:
    _, after = start(teed)
    result = teed.twin.both(frame(UDP(), ttl=1))
    assert result.leaf == "to left"
    for packet in rdpcap(str(after)):
        assert bytes(packet) == bytes(12) + b"\x08\0" + result.data[14:]


def test_tee_counts_what_it_cannot_write(teed: SimpleNamespace) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full")
    file, _ = start(teed)
    descriptor, original = os.open(full, os.O_WRONLY), teed.before._descriptor
    keep = os.dup(original)
    os.dup2(descriptor, original)
    try:
        teed.twin.native(frame(UDP()), timestamp=NOW)
    finally:
        os.dup2(keep, original)
        os.close(keep)
        os.close(descriptor)
    assert teed.before.missing.initial[0] == 1
    assert list(RawPcapReader(str(file))) == []


def test_tee_empties_the_file_of_the_run_before(teed: SimpleNamespace) -> None:
    before, _ = start(teed)
    teed.twin.native(frame(UDP()), timestamp=NOW)
    assert len(rdpcap(str(before))) == 1
    start(teed)
    assert before.stat().st_size == 24


def test_replicas_write_to_one_file(teed: SimpleNamespace) -> None:
    before, _ = start(teed)
    frames = {replica: [frame(UDP(), body=bytes([replica]) * size) for size in range(0, 1200, 3)] for replica in (1, 2)}

    def serve(replica: int) -> None:
        for data in frames[replica]:
            teed.twin.native(data, timestamp=NOW)

    replicas = [get_context("fork").Process(target=serve, args=(replica,)) for replica in frames]
    for process in replicas:
        process.start()
    for process in replicas:
        process.join()
        assert process.exitcode == 0
    written = [record for record, _ in RawPcapReader(str(before))]
    for replica, sent in frames.items():
        assert [record for record in written if record[42:43] == bytes([replica])] == sent[1:]
    assert len(written) == sum(map(len, frames.values()))


@pytest.mark.long
@pytest.mark.parametrize("replicas", [1, 2])
def test_each_packet_is_seen_once_however_many_replicas(replicas: int, tmp_path: Path) -> None:
    said = bytes(Ether(src=HOST, dst=LEFT) / ARP(hwsrc=HOST, psrc="10.0.0.2", pdst="10.0.0.1"))
    sent = [frame(UDP(), body=number.to_bytes(4, "big")) for number in range(2000)]
    sent += [frame(TCP(dport=23), body=number.to_bytes(4, "big")) for number in range(100)] + [said] * 30
    counter, arp, tee = Counter("counter"), Counter("arp_counter", "arp"), Tee("tee", tmp_path / "tee.pcap")
    left = MemoryPort(LEFT, frames=[(data, NOW + number) for number, data in enumerate(sent)])
    right = MemoryPort(RIGHT, frames=[])
    made = two_ports(
        (Filter("no_telnet", no_telnet, port=23), ("ip", "no_telnet", "left")),
        (counter, ("no_telnet", "counter", "left")),
        (tee, ("counter", "tee", "left")),
        (arp, ("arp", "arp_counter", "left")),
        ports={"left": left, "right": right},
    )
    paths = [made.graph.create_path(name) for name in ("left", "right")]
    with Supervisor(made.graph, paths, replicas) as supervisor:
        assert supervisor.wait(600)
        account = supervisor.account()
        assert account["drops"] == {"telnet": 100}
        assert account["out"] == {"left": 30, "right": 2000}
        copies = {
            router: [supervisor.table(router.counts, replica) for replica in range(replicas)]
            for router in (counter, arp)
        }
        assert counter.read(copies[counter]).packets == 2100
        assert arp.read(copies[arp]).packets == 60  # requests, and the answers
    written = [record for record, _ in RawPcapReader(str(tee.file))]
    assert sorted(written) == sorted(sent[:2100])


def test_tee_names_a_file_that_it_cannot_write(tmp_path: Path) -> None:
    with pytest.raises(GraphError, match=r"tap: .*nowhere/x\.pcap: No such file"):
        two_ports((Tee("tap", tmp_path / "nowhere" / "x.pcap"), ("ip", "tap", "left")))
