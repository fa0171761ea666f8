"""The FIB: known answers, a naive longest-prefix oracle, and what numba makes of the lookup."""

import doctest
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network

import numba
import numpy as np
import pytest
from fib_oracle import compiled, edges, expected, looked_up, lookup_all
from hypothesis import given, settings
from hypothesis import strategies as st

from scout.paths.protocols.fib import LAST_NEXT_HOP, NO_ROUTE, ROUTE, Fib, lookup
from scout.paths.protocols.fib import fib as module
from scout.ring import jit
from scout.ring.errors import ScoutError
from scout.ring.fuse import EntryCompiler

NESTED = [
    ("0.0.0.0/0", 9),
    ("10.1.2.0/23", 1),
    ("10.1.2.0/24", 2),
    ("10.1.2.128/25", 3),
    ("10.1.2.255/32", 4),
    ("10.1.3.1", 0),
]


@pytest.mark.parametrize(
    ("address", "next_hop"),
    [
        ("0.0.0.0", 9),
        ("10.1.1.255", 9),
        ("10.1.2.0", 2),
        ("10.1.2.127", 2),
        ("10.1.2.128", 3),
        ("10.1.2.254", 3),
        ("10.1.2.255", 4),
        ("10.1.3.0", 1),
        ("10.1.3.1", 0),
        ("10.1.3.2", 1),
        ("10.1.4.0", 9),
        ("255.255.255.255", 9),
    ],
)
@pytest.mark.parametrize("order", [1, -1])
def test_nested_prefixes(address: str, next_hop: int, order: int) -> None:
    fib = Fib(NESTED[::order])
    assert fib.lookup(address) == next_hop
    assert fib.lookup(int(IPv4Address(address))) == next_hop


def test_around_a_longer_prefix_the_default_route_applies() -> None:
    routes = [("10.1.2.128/25", 3)]
    assert Fib(routes).lookup("10.1.2.1") == NO_ROUTE
    assert Fib([*routes, ("0.0.0.0/0", 7)]).lookup("10.1.2.1") == 7


def test_empty() -> None:
    fib = Fib()
    assert (len(fib), fib.routes) == (0, [])
    assert looked_up(fib, np.array([0, 1, 2**31, 2**32 - 1])).tolist() == [NO_ROUTE] * 4


def test_default_route_alone_takes_no_memory() -> None:
    fib = Fib([("0.0.0.0/0", 5)])
    assert looked_up(fib, np.array([0, 1, 2**31, 2**32 - 1])).tolist() == [5] * 4
    assert fib.used == Fib().used


def test_halves_and_the_largest_next_hop() -> None:
    fib = Fib([("0.0.0.0/1", 0), ("128.0.0.0/1", LAST_NEXT_HOP)])
    ends = np.array([0, 2**31 - 1, 2**31, 2**32 - 1])
    assert looked_up(fib, ends).tolist() == [0, 0, LAST_NEXT_HOP, LAST_NEXT_HOP]


def test_routes_come_back_by_length_and_network() -> None:
    fib = Fib([(IPv4Network("10.0.0.0/8"), 1), ("192.0.2.1", 2), ("9.0.0.0/8", 3), ("0.0.0.0/0", 4)])
    assert [(str(network), next_hop) for network, next_hop in fib.routes] == [
        ("0.0.0.0/0", 4),
        ("9.0.0.0/8", 3),
        ("10.0.0.0/8", 1),
        ("192.0.2.1/32", 2),
    ]
    assert len(fib) == 4


@pytest.mark.parametrize(
    ("routes", "message"),
    [
        ([("10.1.2.3/24", 0)], r"route 10\.1\.2\.3/24: .* beyond /24; write 10\.1\.2\.0/24"),
        ([("1.0.0.0/0", 0)], r"route 1\.0\.0\.0/0: .* write 0\.0\.0\.0/0"),
        (
            [("10.0.0.0/8", 1), ("11.0.0.0/8", 1), ("10.0.0.0/8", 2)],
            r"10\.0\.0\.0/8 is given twice, next hop 1 and next hop 2;",
        ),
        ([("0.0.0.0/0", 1), ("0.0.0.0/0", 1)], r"0\.0\.0\.0/0 is given twice"),
        ([("10.0.0.0/8", -1)], r"10\.0\.0\.0/8: next hop -1 is out of range"),
        ([("10.0.0.0/8", LAST_NEXT_HOP + 1)], "is out of range"),
        ([("10.0.0.0/8", 2**80)], "is out of range"),
        (np.array([(10 << 24, 8, 0), (1 << 24, 7, 0)], ROUTE), r"route 1\.0\.0\.0/7: .* write 0\.0\.0\.0/7"),
        (np.array([(10 << 24, 33, 0)], ROUTE), "route 0: network 167772160 and length 33 are no IPv4 prefix"),
        (np.array([(1 << 32, 8, 0)], ROUTE), "are no IPv4 prefix"),
        (np.array([(10 << 24, 8, -1)], ROUTE), r"10\.0\.0\.0/8: next hop -1 is out of range"),
    ],
)
def test_bad_routes(routes: list[tuple[str, int]], message: str) -> None:
    with pytest.raises(ScoutError, match=message):
        Fib(routes)
    fib = Fib(NESTED)
    with pytest.raises(ScoutError, match=message):
        fib.change(add=routes)
    assert sorted(fib.routes) == sorted(Fib(NESTED).routes)


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "eth0",
        "10/8",
        "10.0.0.0/",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/ 8",
        "010.0.0.0/8",
        "1\0",
        "é",
        "::/0",
    ],
)
def test_malformed_prefix(prefix: str) -> None:
    with pytest.raises(ScoutError, match="not an IPv4 prefix"):
        Fib([(prefix, 0)])
    with pytest.raises(ScoutError, match="not an IPv4 prefix"):
        Fib().change(remove=[prefix])


@pytest.mark.parametrize("address", ["", "10.0.0", "10.0.0.256", "::1", -1, 2**32])
def test_lookup_of_no_address(address: str | int) -> None:
    with pytest.raises(ScoutError, match="not an IPv4 address"):
        Fib().lookup(address)


def prefixes(lengths: st.SearchStrategy[int], addresses: st.SearchStrategy[int]) -> st.SearchStrategy[IPv4Network]:
    return st.builds(lambda bits, length: IPv4Network((bits, length), strict=False), addresses, lengths)


ANYWHERE = st.integers(0, 2**32 - 1)
NEARBY = st.integers(0x0A0101F0, 0x0A01040F)  # two /23s and some, so that prefixes nest and meet
SCATTERED = prefixes(st.integers(8, 32), ANYWHERE)
CLUSTERED = prefixes(st.sampled_from([0, 1, 7, 8, 9, 17, 18, 19, 22, 23, 24, 25, 26, 29, 30, 31, 32]), NEARBY)


@settings(deadline=None, max_examples=40)
@given(
    st.dictionaries(SCATTERED | CLUSTERED, st.integers(0, LAST_NEXT_HOP), max_size=20),
    st.lists(NEARBY | ANYWHERE, max_size=20),
)
@pytest.mark.parametrize("look", [lookup, compiled], ids=["python", "numba"])
def test_as_the_naive_longest_match(
    look: Callable[..., int], routes: dict[IPv4Network, int], addresses: list[int]
) -> None:
    fib = Fib(routes.items())
    for address in [*addresses, *edges(list(routes)).tolist()]:
        matches = [network for network in routes if IPv4Address(address) in network]
        best = max(matches, key=lambda network: network.prefixlen, default=None)
        assert look(*fib.arrays, fib.version, address) == (NO_ROUTE if best is None else routes[best])


@pytest.mark.parametrize("has_default", [True, pytest.param(False, marks=pytest.mark.long)])
def test_thousand_routes(has_default: bool) -> None:
    random = np.random.default_rng(24)
    # Few distinct first octets and long common prefixes, so that most routes lie within others.
    bits = random.choice(random.integers(0, 2**32, 100), 1_500) ^ random.integers(0, 2**10, 1_500)
    lengths = random.integers(1, 33, 1_500)
    networks = list({IPv4Network((int(b), int(n)), strict=False) for b, n in zip(bits, lengths, strict=True)})
    routes = [(network, int(random.integers(0, 64))) for network in networks[:1_000]]
    if has_default:
        routes.append((IPv4Network("0.0.0.0/0"), 99))
    fib = Fib(routes)
    assert len(fib) == 1_000 + has_default

    inside = edges([network for network, _ in routes])
    addresses = np.concatenate([inside, random.integers(0, 2**32, 20_000 - inside.size)])
    np.testing.assert_array_equal(looked_up(fib, addresses), expected(routes, addresses))


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_compiled_lookup_neither_counts_references_nor_counts_from_the_end() -> None:
    # Not an entry, which keeps its machine code alone.
    compiled = numba.njit(lookup_all.signature, pipeline_class=EntryCompiler, **jit.OPTIONS)(lookup_all.function)
    (assembly,) = compiled.inspect_asm().values()
    native = assembly[: assembly.index(".cfi_endproc")]  # what follows is the wrapper for Python
    assert "NRT_" not in native
    assert "$63" not in native  # the shift that spreads an index's sign


def test_example() -> None:
    assert doctest.testmod(module).failed == 0
