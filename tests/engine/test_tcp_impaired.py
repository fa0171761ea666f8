"""Transfers over bad links, with the kernel as the other end; `impaired.py` has the links, and runs larger ones."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from host_router import OURS, Host
from impaired import CASES, Case, Link, impaired_host, transfer
from sniffing import WITHOUT, captured, complaints
from test_tcp import together
from test_tcp_records import finish, received, secured

from scout.paths.protocols.tcp.opening import TIMESTAMP_BYTES
from scout.paths.protocols.tcp.path_search import GRANULARITY

pytestmark = pytest.mark.needs_namespaces

BYTES, MANY = 1_000_000, 10_000_000
LIKE_OTHERS = [name for name, case in CASES.items() if replace(case, impairments={}) == Case()]


@pytest.fixture(scope="module", params=[False, True], ids=["interface", "tap"])
def impaired(request: pytest.FixtureRequest) -> Iterator[tuple[Host, Link]]:
    with impaired_host(Case(), tap=request.param) as made:
        yield made


def check(host: Host, link: Link, case: Case, size: int) -> None:
    link.become(case)
    for sends in (False, True):
        transfer(host, case, sends, size)


@pytest.mark.long
def test_transfers_are_intact_over_a_link_that_does_everything(impaired: tuple[Host, Link]) -> None:
    check(*impaired, Case(CASES["all"].impairments), BYTES)


@pytest.mark.long
@pytest.mark.parametrize("name", LIKE_OTHERS)
def test_transfers_are_intact_over_a_bad_link(impaired: tuple[Host, Link], name: str) -> None:
    check(*impaired, CASES[name], MANY)


@pytest.mark.long
@pytest.mark.parametrize("tap", [False, True], ids=["interface", "tap"])
@pytest.mark.parametrize("name", sorted(set(CASES) - set(LIKE_OTHERS)))
def test_transfers_are_intact_whatever_the_sizes(name: str, tap: bool) -> None:
    with impaired_host(CASES[name], tap=tap) as made:
        check(*made, CASES[name], MANY)
        if largest := CASES[name].largest:
            table = made[0].supervisor.table("tcp.connections")
            headers = 20 + 20 + TIMESTAMP_BYTES
            assert any(largest - headers - GRANULARITY < size <= largest - headers for size in table["mss"])


@pytest.mark.long
@pytest.mark.skipif(not shutil.which("tcpdump") or not shutil.which("tshark"), reason="missing: tcpdump or tshark")
def test_tshark_finds_no_fault_in_what_is_said_over_a_bad_link(tmp_path: Path) -> None:
    """With and without records; what comes from the peer was corrupted by the link."""
    case, data = replace(CASES["all"], stream_bytes=1 << 16), bytes(range(256)) * (MANY // 10_000)
    with impaired_host(case) as (host, link):
        host.own.offload("r0", **WITHOUT)
        with captured(host.own, "r0", tmp_path / "capture"):
            check(host, link, case, 2 * BYTES)
            ours, peer = secured(host, 7302)
            with ours, peer.sock:

                def send() -> None:
                    peer.send(data)
                    peer.finish()

                *_, here, there = together(lambda: finish(ours, data), send, lambda: received(ours), peer.receive)
                assert here == there == data
        assert (tmp_path / "capture").stat().st_size > 4 * BYTES
    assert complaints(tmp_path / "capture", source=OURS) == ""
