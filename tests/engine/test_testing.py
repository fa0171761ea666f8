"""The helpers that users get for tests of their own stages and services."""

import sys
from pathlib import Path

import numpy as np
import pytest
from scapy.all import ICMP, IP, TCP, UDP, Ether

from scout import AfPacketPort, End, Filter, Handler, MemoryPort, PcapPort, Requests, RouterGraph, Service, Table, drop
from scout.io.mac import mac_text
from scout.loader import load_router
from scout.ring.errors import ScoutError
from scout.testing import HOSTS, ROUTER, MemoryRouter, await_until, ipv4_router

EXAMPLES = Path(__file__).parents[2] / "examples"
REFUSED = drop("refused")
COUNTS = np.dtype([("packets", "i8")])


def count(frame, end, seen):
    seen[0].packets += 1
    return 0


def datagram(payload=b"hello", dst="10.0.1.2", **fields):
    headers = Ether(src=HOSTS["left"], dst=ROUTER["left"]) / IP(src="10.0.0.2", dst=dst, **fields)
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


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda: MemoryRouter(Filter("refusing", refuse)), r"MemoryRouter of a Filter: .* ipv4_router\(stage\)"),
        (lambda: ipv4_router(refuse), r"ipv4_router of a function: .* Filter\('name', function\)"),
        (lambda: MemoryRouter(ipv4_router()).drops(), r"has not started; use it inside `with MemoryRouter"),
        (lambda: MemoryRouter(ipv4_router()).send("left", bytes(60)), "is not open; use it inside `with"),
        (lambda: Table([1]), r"table of \[1\]: give a numpy array"),
    ],
)
def test_a_wrong_use_is_told_with_the_right_one(ask, words):
    with pytest.raises(ScoutError, match=words):
        ask()


@pytest.mark.long
def test_ports_in_memory_take_the_place_of_others(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "scout_router_02_own_stage", None)  # restored afterwards
    graph, paths = load_router(str(EXAMPLES / "02_own_stage.py"))
    graph.router("arp").pin("right", "10.0.1.2", HOSTS["right"])
    with MemoryRouter(graph, paths) as router:
        router.send("left", datagram())
        telnet = Ether(src=HOSTS["left"], dst=ROUTER["left"]) / IP(src="10.0.0.2", dst="10.0.1.2") / TCP(dport=23)
        router.send("left", bytes(telnet))
        (sent,) = router.sent("right")
        assert (Ether(sent).src, Ether(sent).dst) == (ROUTER["right"], HOSTS["right"])
        assert router.drops() == {"telnet": 1}


def test_what_a_replaced_port_was_given_stays():
    graph = RouterGraph("given")
    given = [
        AfPacketPort("r0"),
        AfPacketPort("r1", mac="02:00:00:00:05:01"),
        PcapPort(read="in", mac="02:00:00:00:06:01"),
    ]
    given += [MemoryPort("02:00:00:00:07:01", mtu=900, frames=[]), MemoryPort("02:00:00:00:08:01", mtu=800)]
    for index, port in enumerate(given):
        graph.add(Requests(f"in{index}", port))
        graph.add(End(f"end{index}", "request"))
        graph.connect(f"end{index}", f"in{index}")
    MemoryRouter(graph)
    ports = [graph.router(name).port for name in graph.ports]
    assert [(mac_text(port.mac)[9:], port.mtu) for port in ports] == [
        ("00:00:01", 1500),
        ("00:05:01", 1500),
        ("00:06:01", 1500),
        ("00:07:01", 900),
        ("00:08:01", 800),
    ]
    assert ports[4] is given[4] and all(isinstance(port, MemoryPort) and port.is_live for port in ports)


def test_an_expectation_that_fails_says_what_became_of_the_packets():
    with pytest.raises(AssertionError) as caught, MemoryRouter(ipv4_router()) as router:
        router.send("left", datagram(dst="10.0.1.77"))
        router.send("left", bytes(60))
        assert router.held() == 1
        assert router.sent("left") == ["a frame"]
    (note,) = caught.value.__notes__
    assert "received 2; sent 0 by left; sent " in note and "; dropped 1 for not-for-us; holds 1 until" in note


def test_waiting_in_vain_ends():
    assert await_until(lambda: 5) == 5
    with pytest.raises(ScoutError, match="waited in vain for 0 seconds"):
        await_until(lambda: False, timeout=0)
