"""The helpers that users get for tests of their own stages and services."""

import numpy as np
import pytest
from scapy.all import ICMP, IP, UDP, Ether

from scout import Filter, Handler, PcapPort, Requests, RouterGraph, Service, drop
from scout.ring.errors import ScoutError
from scout.testing import HOSTS, ROUTER, MemoryRouter, await_until, ipv4_router

REFUSED = drop("refused")
COUNTS = np.dtype([("packets", "i8")])


def count(frame, end, seen):
    seen[0].packets += 1
    return 0


def datagram(payload=b"hello", **fields):
    headers = Ether(src=HOSTS["left"], dst=ROUTER["left"]) / IP(src="10.0.0.2", dst="10.0.1.2", **fields)
    return bytes(headers / UDP(sport=1, dport=2) / payload)


def refuse(frame, end):
    return REFUSED


def test_a_filter_may_stand_in_the_router():
    graph = ipv4_router(Filter("refusing", refuse))
    leaf, _ = graph.create_path("left").run(datagram())
    assert leaf == "refusing.receive drops refused"


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_service_in_a_router_in_memory(replicas):
    service = Service("counting", {"seen": np.zeros(1, COUNTS)}, [Handler(count)])
    with MemoryRouter(ipv4_router(service), replicas=replicas) as router:
        for number in range(10):
            router.send("left", datagram(bytes([number])))
        router.send("left", datagram(ttl=1))
        sent = [Ether(frame) for frame in router.sent("right")]
        assert [bytes(frame[UDP].payload)[:1] for frame in sent] == [bytes([number]) for number in range(10)]
        assert {(frame.src, frame.dst, frame[IP].ttl) for frame in sent} == {(ROUTER["right"], HOSTS["right"], 63)}
        (answer,) = router.sent("left")
        assert Ether(answer)[ICMP].type == 11  # time exceeded
        assert router.table("counting.seen")["packets"].tolist() == [11]
        assert router.drops() == {}
        assert router.reports == []


def test_what_cannot_be_sent_is_said():
    with MemoryRouter(ipv4_router()) as router:
        with pytest.raises(ScoutError, match=r"port left: a frame of 2000 bytes was left out"):
            router.send("left", bytes(2000))
        with pytest.raises(ScoutError, match="no port 'up'; there are left, right"):
            router.send("up", bytes(60))
        assert router.drops() == {"too-long": 1}


def test_only_ports_in_memory_will_do():
    graph = RouterGraph("files")
    graph.add(Requests("in", PcapPort(read="in.pcap")))
    with pytest.raises(ScoutError, match="port in is not in memory"):
        MemoryRouter(graph)


def test_waiting_in_vain_ends():
    assert await_until(lambda: 5) == 5
    with pytest.raises(ScoutError, match="waited in vain for 0 seconds"):
        await_until(lambda: False, timeout=0)
