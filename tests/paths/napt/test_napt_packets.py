"""The packets of a NAPT that are not plain ones: fragments, errors, hairpins, and what is not translated."""

from typing import Any

import pytest
from harness import GATEWAY, HOST, NOW
from napt_world import (
    HOSTS,
    OWN,
    REMOTES,
    SECOND,
    World,
    echo,
    error,
    forwarded,
    ipv4_bytes,
    layer_of,
    made_of,
    number_of,
    ran,
    renumbered,
    tcp,
    udp,
)
from scapy.all import ICMP, IP, UDP, Ether, Raw, fragment, raw


def parts(packet: Any, size: int = 400) -> list[Any]:
    """A packet in fragments; of one that a router has passed on, as they are then."""
    return [IP(raw(each)) for each in fragment(IP(ipv4_bytes(packet)), size)]


@pytest.mark.parametrize("packet", [
    udp("10.0.0.3", 2000, REMOTES[0], 53, bytes(range(256)) * 4, id=77),
    tcp("10.0.0.3", 2000, REMOTES[0], 80, "PA", bytes(range(256)) * 4, id=78),
    echo("10.0.0.3", 2000, REMOTES[0]) / Raw(bytes(1000)),
])  # fmt: skip
def test_fragments_are_translated_behind_their_first(world: World, packet: Any) -> None:
    layer = layer_of(packet)
    world.out(udp("10.0.0.4", 2000, REMOTES[0], 53))  # the port is taken: it has to change
    world.out(tcp("10.0.0.4", 2000, REMOTES[0], 53))
    world.out(echo("10.0.0.4", 2000, REMOTES[0]))
    first, *later = parts(packet)
    for part in later:
        world.check(world.run("left", part), "napt.send drops napt-fragment")
    whole = IP(ipv4_bytes(packet))
    results = [world.run("left", part) for part in (first, *later)]
    external = number_of(IP(results[0].data[14:]), layer, "sport")
    world.reference.out(whole, layer, 2000, external, world.now)
    assert external != 2000
    there = renumbered(whole, layer, "sport", OWN, external)
    for result, expected in zip(results, parts(there), strict=True):
        world.check(result, "to right", expected, GATEWAY)
    # And an answer.
    answer = packet.copy()
    answer.src, answer.dst = REMOTES[0], OWN
    if layer is ICMP:
        answer[ICMP].type, answer[ICMP].id = 0, external
    else:
        answer[layer].sport, answer[layer].dport = packet[layer].dport, external
    here = renumbered(IP(ipv4_bytes(answer)), layer, "dport", "10.0.0.3", 2000)
    for part, expected in zip(parts(answer), parts(here), strict=True):
        world.check(world.run("right", part), "to left", expected, HOSTS["10.0.0.3"])
    world.now += 30 * SECOND
    world.check(world.run("right", parts(answer)[1]), "napt.receive drops napt-fragment")


def test_hosts_inside_reach_each_other_and_hear_of_errors(world: World) -> None:
    one = world.out(udp("10.0.0.3", 2000, REMOTES[0], 53))[UDP].sport
    other = world.out(udp("10.0.0.4", 3000, REMOTES[0], 53))[UDP].sport
    sent = udp("10.0.0.3", 2000, OWN, other, bytes(30))
    world.hairpin(sent)
    got = IP(
        forwarded(renumbered(renumbered(IP(ipv4_bytes(sent)), UDP, "sport", OWN, one), UDP, "dport", "10.0.0.4", 3000))
    )
    refusal = error("10.0.0.4", got, 38, 3, 3, OWN)
    sent.ttl = got.ttl
    expected = error(OWN, IP(ipv4_bytes(sent)), 38, 3, 3, "10.0.0.3")
    world.check(world.run("left", refusal), "to left", expected, HOSTS["10.0.0.3"])
    # A packet for no mapping is for the router itself, which answers that the port is unreachable.
    assert Ether(world.run("left", udp("10.0.0.3", 2000, OWN, 4000)).data)[ICMP].code == 3


def test_the_routers_own_errors_quote_what_their_reader_sent(world: World) -> None:
    sent = IP(ipv4_bytes(udp("10.0.0.3", 2000, REMOTES[0], 53, ttl=1)))
    answer = Ether(world.run("left", sent).data)[IP]
    assert (answer.src, answer.dst, answer[ICMP].type) == ("10.0.0.1", "10.0.0.3", 11)
    assert raw(answer[ICMP].payload) == raw(sent)
    assert not world.made.service.read(world.now)
    external = world.out(udp("10.0.0.3", 3001, REMOTES[0], 53))[UDP].sport
    back = IP(ipv4_bytes(udp(REMOTES[0], 53, OWN, external, ttl=1)))
    result = world.run("right", back)
    answer = Ether(result.data)[IP]
    assert result.leaf == "to right"
    assert (answer.src, answer.dst, answer[ICMP].type) == (OWN, REMOTES[0], 11)
    assert raw(answer[ICMP].payload) == raw(back)
    assert ipv4_bytes(answer) == raw(answer)


def test_the_sender_hears_that_nobody_could_be_asked(world: World) -> None:
    """A packet held until its next hop is known comes back translated: the error must not quote that."""
    sent = IP(ipv4_bytes(udp("10.0.0.3", 2000, "10.0.1.99", 53)))
    world.out(udp("10.0.0.4", 2000, REMOTES[0], 53))
    result = world.run("left", sent)
    assert result.leaf == "arp.resolve holds"
    held = IP(result.data)
    assert held.src == OWN and held[UDP].sport != 2000
    at = list(world.made.left.stages).index("napt.returned")
    result = world.twins["left"].both(raw(held), timestamp=world.now, at=at, error=3 << 24 | 1 << 16)
    answer = Ether(result.data)[IP]
    assert result.leaf == "to left"
    assert (answer.src, answer.dst, answer[ICMP].type, answer[ICMP].code) == ("10.0.0.1", "10.0.0.3", 3, 1)
    assert raw(answer[ICMP].payload) == forwarded(sent)


def test_the_router_answers_for_its_own_address(world: World) -> None:
    answer = Ether(world.run("right", IP(ipv4_bytes(echo(REMOTES[0], 5, OWN)))).data)[IP]
    assert (answer.src, answer[ICMP].type, answer[ICMP].id) == (OWN, 0, 5)
    answer = Ether(world.run("left", IP(ipv4_bytes(echo("10.0.0.3", 5, OWN)))).data)[IP]
    assert (answer.src, answer.dst, answer[ICMP].type) == (OWN, "10.0.0.3", 0)
    assert not world.made.service.read(world.now)


def test_what_only_passes_is_left_alone(world: World) -> None:
    inside = IP(ipv4_bytes(udp("10.0.0.3", 2000, "10.0.0.2", 53)))
    world.check(world.run("left", inside), "to left", inside, HOST)
    outside = IP(ipv4_bytes(udp("10.0.1.2", 2000, REMOTES[0], 53)))
    world.check(world.run("right", outside), "to right", outside, GATEWAY)
    past = IP(ipv4_bytes(udp(REMOTES[0], 53, "10.0.0.3", 53)))
    world.check(world.run("right", past), "to left", past, HOSTS["10.0.0.3"])


def test_no_host_sends_by_the_routers_own_address() -> None:
    made = made_of()
    for packet in (udp(OWN, 2000, REMOTES[0], 53), tcp(OWN, 2000, REMOTES[0], 80), echo(OWN, 7, REMOTES[0])):
        assert ran(made.left, packet)[0] == "left.ipv4 drops own-source"
    assert not made.service.read(NOW)


def test_an_echo_of_zeros_has_the_checksum_of_ones() -> None:
    """RFC 1071: the sum of nothing but zeros is 0, and its complement 0xFFFF."""
    made = made_of()
    external = ran(made.left, IP(src="10.0.0.2", dst=REMOTES[0]) / ICMP())[1][ICMP].id
    leaf, got = ran(made.right, IP(src=REMOTES[0], dst=OWN) / ICMP(type=0, id=external, seq=0))
    assert (leaf, raw(got)[20:28].hex()) == ("to left", "0000ffff00000000")
