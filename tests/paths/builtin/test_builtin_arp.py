"""What the built-in stages learn and ask by ARP, plain and native; Scapy says what the bytes must be."""

from typing import Any

import numba
import numpy as np
import pytest
from builtin_frames import BROADCAST, check_error, ether, forwarded, udp
from harness import HOST, LEFT, NOW, RIGHT, Twin, number
from scapy.layers.l2 import ARP, Ether

from scout.io.access import allow
from scout.io.packet import PACKET
from scout.paths.compiler.inlining import native
from scout.paths.compiler.interpreter import try_stage
from scout.paths.protocols.adjacencies import FOREVER
from scout.paths.protocols.arp import WISH, WISHES, request


def test_answers_an_arp_request_and_learns_who_sent_it(router: Any, twin: Twin) -> None:
    mac = "02:00:00:00:00:63"
    ask = Ether(src=mac, dst=BROADCAST) / ARP(op=1, hwsrc=mac, psrc="10.0.0.99", pdst="10.0.0.1")
    result = twin.both(bytes(ask) + bytes(18))
    reply = ARP(op="is-at", hwsrc=LEFT, psrc="10.0.0.1", hwdst=mac, pdst="10.0.0.99")
    assert result.leaf == "to left"
    assert result.data[:42] == bytes(Ether(src=LEFT, dst=mac) / reply)
    (learnt,) = [row for row in router.arp.adjacencies.initial if row["key"] == 1 << 32 | 0x0A000063]
    assert (learnt["mac"], learnt["expires"]) == (number(mac), NOW + 60_000_000_000)
    assert router.arp.changes.initial[0] == 1


def test_answers_a_probe_and_learns_nothing(router: Any, twin: Twin) -> None:
    probe = Ether(src=HOST, dst=BROADCAST) / ARP(op=1, hwsrc=HOST, psrc="0.0.0.0", pdst="10.0.0.1")
    result = twin.both(bytes(probe))
    reply = ARP(op="is-at", hwsrc=LEFT, psrc="10.0.0.1", hwdst=HOST, pdst="0.0.0.0")
    assert result.data == bytes(Ether(src=LEFT, dst=HOST) / reply)
    assert router.arp.changes.initial[0] == 0


@pytest.mark.parametrize(
    ("psrc", "pdst", "changes"),
    [
        ("10.0.0.99", "10.0.0.1", 1),  # meant for us
        ("10.0.0.98", "10.0.0.77", 1),  # not for us, but from a neighbour that is known
        ("10.0.0.99", "10.0.0.77", 0),  # neither
        ("10.7.0.99", "10.0.0.1", 0),  # of another network
    ],
)
def test_learns_by_the_rules_of_rfc_826(router: Any, twin: Twin, psrc: str, pdst: str, changes: int) -> None:
    twin.both(bytes(ether() / ARP(op=2, hwsrc=HOST, psrc="10.0.0.98", hwdst=LEFT, pdst="10.0.0.1")))
    router.arp.changes.initial[0] = 0
    said = Ether(src=HOST, dst=LEFT) / ARP(op=2, hwsrc=HOST, psrc=psrc, hwdst=LEFT, pdst=pdst)
    assert twin.both(bytes(said)).leaf == "learnt"
    assert router.arp.changes.initial[0] == changes


def test_drops_when_no_adjacency_is_free(router: Any, twin: Twin) -> None:
    adjacencies = router.arp.adjacencies.initial
    adjacencies["expires"] = FOREVER
    said = ether(dst=BROADCAST) / ARP(op=1, hwsrc=HOST, psrc="10.0.0.99", pdst="10.0.0.1")
    assert twin.both(bytes(said)).leaf == "arp.in drops adjacency-table-full"


def test_holds_until_the_next_hop_is_learnt(router: Any, twin: Twin) -> None:
    mac = "02:00:00:00:00:63"
    data = udp("10.0.0.99")
    held = twin.both(data)
    assert (held.leaf, held.fields["error"]) == ("arp.resolve holds", 3 << 24 | 1 << 16)
    assert held.data == forwarded(data)[14:]  # the IP packet, its TTL decremented
    assert router.arp.wishes.initial["key"][:2].tolist() == [1, 1 << 32 | 0x0A000063]
    assert router.arp.wishes.initial["source"][1] == 0x0A000001

    assert twin.both(data).leaf == "arp.resolve holds"
    assert router.arp.wishes.initial["key"][0] == 1, "asked for twice within a second"
    assert twin.both(data, timestamp=NOW + 1_000_000_000).leaf == "arp.resolve holds"
    assert router.arp.wishes.initial["key"][0] == 2

    reply = ARP(op=2, hwsrc=mac, psrc="10.0.0.99", hwdst=LEFT, pdst="10.0.0.1")
    assert twin.both(bytes(ether(src=mac) / reply)).leaf == "learnt"
    sent = twin.both(data)
    expected = Ether(forwarded(data))
    expected.src, expected.dst = LEFT, mac
    assert (sent.leaf, sent.data) == ("to left", bytes(expected))

    # Where it is held it goes on, with the header at hand that was at hand then.
    at = list(twin.path.stages).index("arp.resolve")
    fields = {name: held.fields[name] for name in ("next_hop", "error")}
    assert twin.both(held.data, at=at, **fields).data == sent.data


def test_asks_anew_in_the_last_quarter_of_an_adjacency(router: Any, twin: Twin) -> None:
    said = ether() / ARP(op=1, hwsrc=HOST, psrc="10.0.0.99", pdst="10.0.0.1")
    twin.both(bytes(said))
    for seconds, leaf, asked in ((44, "to left", 0), (46, "to left", 1), (61, "arp.resolve holds", 2)):
        assert twin.both(udp("10.0.0.99"), timestamp=NOW + seconds * 1_000_000_000).leaf == leaf
        assert router.arp.wishes.initial["key"][0] == asked


def test_answers_for_a_packet_that_was_held_too_long(twin: Twin) -> None:
    data = udp("10.0.0.99")
    held = twin.both(data)
    stages = list(twin.path.stages)
    timeout = twin.path.nodes["arp.resolve"]["timeout"]
    result = twin.both(held.data, at=stages.index(timeout), error=held.fields["error"])
    assert result.leaf == "to left"
    check_error(result.data, forwarded(data), 3, 1)


def test_makes_an_arp_request(router: Any, twin: Twin) -> None:
    expected = Ether(src=RIGHT, dst=BROADCAST) / ARP(op="who-has", hwsrc=RIGHT, psrc="10.0.1.1", pdst="10.0.1.9")
    wishes, macs = np.zeros(WISHES, WISH), router.arp.macs.initial

    def wish() -> None:
        wishes[:2] = [(1, 0), (2 << 32 | 0x0A000109, 0x0A000101)]

    wish()
    made, data = try_stage(request, bytes(42), wishes=wishes, macs=macs)
    assert (made, data, wishes["key"][0]) == (1, bytes(expected), 0)
    assert try_stage(request, bytes(42), wishes=wishes, macs=macs)[0] == 0

    compiled = native(request)

    @numba.njit
    def emit(place, packets, wishes, macs):  # type: ignore[no-untyped-def]
        allow(place, place + 42, True)
        return compiled(place, place + 42, packets[0], wishes, macs)

    wish()
    room, packets = np.zeros(42, np.uint8), np.zeros(1, PACKET)
    assert emit(room.ctypes.data, packets, wishes, macs) == 1
    assert (room.tobytes(), packets[0]["egress"], wishes["key"][0]) == (bytes(expected), 1, 0)
