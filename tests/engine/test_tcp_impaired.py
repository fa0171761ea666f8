"""Transfers over bad links, with the kernel as the other end; `impaired.py` has the links, and runs larger ones."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from host_router import Host
from impaired import CASES, Case, Link, impaired_host, transfer

pytestmark = pytest.mark.needs_namespaces

BYTES, MANY = 1_000_000, 10_000_000
LIKE_OTHERS = [name for name, case in CASES.items() if replace(case, impairments={}) == Case()]


@pytest.fixture(scope="module")
def impaired() -> Iterator[tuple[Host, Link]]:
    with impaired_host(Case()) as made:
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
@pytest.mark.parametrize("name", sorted(set(CASES) - set(LIKE_OTHERS)))
def test_transfers_are_intact_whatever_the_sizes(name: str) -> None:
    with impaired_host(CASES[name]) as made:
        check(*made, CASES[name], MANY)
