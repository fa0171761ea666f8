"""What the built-in stages forward, and any frame at all, plain and native; Scapy says what the bytes must be."""

from typing import Any

import pytest
from builtin_frames import ARP_BYTES, ECHO, TCP_GSO, UNREACHABLE, ether, forwarded, ip, patched, udp
from harness import HOST, MTU, NOW, Twin
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, TCP, IPOption_NOP
from scapy.layers.l2 import ARP
from scapy.packet import Raw

from scout.io.packet import REACH


@pytest.mark.parametrize(
    "data",
    [
        udp(),
        udp(ttl=2),
        udp(tos=0xFF, flags="DF"),
        udp(flags="MF", frag=8),
        udp(size=REACH - 14 - 28),
        udp(size=REACH - 14 - 27),
        udp(size=1300),
        udp(options=[IPOption_NOP()] * 4),
        bytes(ether() / ip() / TCP(dport=80)),
        bytes(ether() / ip(proto=200)),
    ],
    ids=[
        "udp",
        "last-hop",
        "tos",
        "fragment",
        "all-in-reach",
        "one-beyond",
        "long",
        "options",
        "tcp",
        "bare",
    ],
)
def test_forwards_with_new_addresses_ttl_and_checksum(twin: Twin, data: bytes) -> None:
    result = twin.both(data)
    assert (result.leaf, result.data) == ("to right", forwarded(data))


@pytest.mark.parametrize("checksum", [0x0000, 0xFEFF, 0xFF00, 0xFFFE, 0x00FF])
def test_mends_checksum_at_its_corners(twin: Twin, checksum: int) -> None:
    # The identification that makes the checksum what we want.
    base = int.from_bytes(udp(id=0)[24:26], "big")
    wanted = (base - checksum) % 0xFFFF
    data = udp(id=wanted)
    assert int.from_bytes(data[24:26], "big") in (checksum, checksum ^ 0xFFFF if checksum == 0 else checksum)
    assert twin.both(data).data == forwarded(data)


@pytest.mark.parametrize("size", [0, 3, 600])
def test_cuts_off_what_the_link_padded(twin: Twin, size: int) -> None:
    data = udp(size=size)
    for padding in (1, 18, 700):
        result = twin.both(data + b"\xee" * padding)
        assert (result.leaf, result.data) == ("to right", forwarded(data))


def test_forwards_super_frame_whose_segments_fit(twin: Twin) -> None:
    data = bytes(ether() / ip() / TCP(dport=80, options=[("NOP", None)] * 4) / Raw(bytes(5000)))
    fits = MTU["right"] - 20 - 24
    assert twin.both(data, gso_type=TCP_GSO, gso_size=fits).leaf == "to right"
    assert twin.both(data, gso_type=TCP_GSO, gso_size=fits + 1).leaf.endswith("fragmentation-needed")


# Any frame at all.

SEEDS = [
    udp(),
    udp(ttl=1),
    udp("10.0.0.1", size=5),
    udp("10.0.0.99"),
    udp(size=700),
    udp(options=[IPOption_NOP()] * 4),
    udp(size=MTU["right"] - 27, flags="DF"),
    bytes(ether() / ip() / TCP(dport=80)),
    ECHO,
    bytes(ether() / ip("10.0.0.1") / ICMP() / Raw(bytes(900))),
    ARP_BYTES,
    bytes(ether() / ARP(op=2, hwsrc=HOST, psrc="10.0.0.99", pdst="10.0.0.1")),
    UNREACHABLE,
]
patches = st.lists(st.tuples(st.integers(0, 60), st.binary(min_size=1, max_size=2)), max_size=3)
fields = st.fixed_dictionaries(
    {"timestamp": st.integers(NOW, NOW + (1 << 36))},
    optional={"gso_type": st.integers(0, 5), "gso_size": st.integers(0, 1500), "flags": st.integers(0, 255)},
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SEEDS), patches, st.booleans(), st.integers(0, 1600), st.binary(max_size=20), fields)
def test_plain_and_native_agree_on_mutated_frames(
    router: Any,
    seed: bytes,
    changes: list[tuple[int, bytes]],
    mend: bool,
    size: int,
    padding: bytes,
    fields: dict[str, int],
) -> None:
    data = seed
    for offset, new in changes:
        data = patched(data, min(offset, len(data) - len(new)), new)
    if mend:
        data = patched(data, 0, b"", mend=True)
    router.twin.reset()
    router.twin.both((data + padding)[: max(size, 1)] if size < len(data) else data + padding, **fields)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=1600), st.booleans(), fields)
def test_plain_and_native_agree_on_random_frames(router: Any, noise: bytes, ours: bool, fields: dict[str, int]) -> None:
    router.twin.reset()
    router.twin.both((udp()[:14] if ours else b"") + noise, **fields)
