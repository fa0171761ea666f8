"""The next hops of a whole prefix, against a lookup of every address."""

import random
from ipaddress import IPv4Network

import pytest

from scout.paths.protocols.fib import Fib


def random_prefix(chance: random.Random, lengths: range) -> IPv4Network:
    """A prefix in 10.1.0.0/19, or around it."""
    bits = 32 - chance.choice(lengths)
    return IPv4Network(((10 << 24 | 1 << 16 | chance.randrange(1 << 13)) >> bits << bits, 32 - bits))


def test_they_are_those_of_its_addresses_and_no_others() -> None:
    chance = random.Random(5)
    for _ in range(12):
        routes = {random_prefix(chance, range(8, 33)): chance.randrange(5) for _ in range(chance.randrange(1, 40))}
        if chance.random() < 0.5:
            routes[IPv4Network("0.0.0.0/0")] = 7
        fib = Fib(routes.items())
        for prefix in [random_prefix(chance, range(20, 33)) for _ in range(20)]:
            assert fib.next_hops(prefix) == {fib.lookup(int(address)) for address in prefix}, prefix


@pytest.mark.parametrize(
    ("prefix", "next_hops"),
    [
        ("10.1.0.0/16", {1, 3}),
        ("10.1.2.0/24", {1, 3}),
        ("10.1.2.3", {3}),
        ("10.1.3.0/24", {1}),
        ("10.0.0.0/8", {0, 1, 2, 3}),
        ("10.2.0.0/16", {0, 2}),
        ("10.2.0.128/25", {2}),
        ("10.2.0.0/24", {0, 2}),
        ("10.128.0.0/9", {0}),
        ("11.0.0.0/8", {-1}),
        ("10.0.0.0/7", {-1, 0, 1, 2, 3}),
        ("0.0.0.0/0", {-1, 0, 1, 2, 3}),
        ("0.0.0.0/5", {-1}),
    ],
)
def test_known_answers(prefix: str, next_hops: set[int]) -> None:
    fib = Fib([("10.0.0.0/8", 0), ("10.1.0.0/16", 1), ("10.2.0.128/25", 2), ("10.1.2.3/32", 3)])
    assert fib.next_hops(IPv4Network(prefix)) == next_hops


def test_a_route_that_longer_ones_hide_is_not_among_them() -> None:
    fib = Fib([("10.0.0.0/24", 1), ("10.0.0.0/25", 2), ("10.0.0.128/25", 2)])
    assert fib.next_hops(IPv4Network("10.0.0.0/24")) == {2}


def test_each_version_has_its_own() -> None:
    fib = Fib([("10.0.0.0/8", 1)])
    before, prefix = fib.version, IPv4Network("10.4.0.0/16")
    fib.change(add=[("10.4.5.0/24", 2)])
    assert fib.next_hops(prefix) == {1, 2} and fib.next_hops(prefix, before) == {1}
