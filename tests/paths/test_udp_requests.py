"""Local requests to the router `Udp`, as plain Python and natively: the words that an application writes."""

from ipaddress import IPv4Address
from types import SimpleNamespace

import pytest
from harness import LEFT, Twin, number
from host_router import OURS, PEER, host_graph

from scout.io.endpoints.message import BIND, FAILED, HEADER, HEADER_STRUCT, LOCAL, REMOTE, SEND

SOCKET, UDP_PROTOCOL = 5 << 16 | 3, 17
WORDS = ["00" * 12, "ff" * 12, "00000000 00000000 00000001", "00000000 00000000 7f000000"]


@pytest.fixture(scope="module")
def local() -> Twin:
    graph = host_graph(SimpleNamespace(mac=number(LEFT), mtu=1500))
    graph.configure()
    return Twin(graph.create_path("apps"))


def request(kind: int, local: tuple[str, int], remote: tuple[str, int], before: bytes) -> bytes:
    """A local request whose addresses have these 12 bytes before them."""
    here, there = int(IPv4Address(local[0])), int(IPv4Address(remote[0]))
    data = bytearray(HEADER_STRUCT.pack(kind, UDP_PROTOCOL, 0, SOCKET, here, there, local[1], remote[1], 7))
    for at in (LOCAL, REMOTE):
        data[at : at + 12] = before
    return bytes(data)


@pytest.mark.parametrize("words", WORDS)
def test_of_an_address_only_its_own_bytes_count(local: Twin, words: str) -> None:
    before = bytes.fromhex(words)
    local.reset()
    assert local.both(request(BIND, (OURS, 53), ("0.0.0.0", 0), before)).leaf == "changed"
    sent = local.both(request(SEND, (OURS, 0), (PEER, 99), before) + b"hello")
    assert sent.leaf.startswith("arp") or sent.leaf == "to eth0"
    failed = local.both(request(SEND, (OURS, 0), ("192.0.2.1", 99), before) + b"hello")  # there is no route
    assert failed.leaf == "to apps" and failed.data[0] == FAILED and len(failed.data) >= HEADER
