"""Versions of the FIB: changes as the oracle has them, old versions, memory, failures."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network

import numba
import numpy as np
import pytest
from fib_oracle import edges, expected, looked_up
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.compiler_lock import global_compiler_lock

from scout.paths.protocols.fib import NO_ROUTE, Fib
from scout.paths.protocols.fib import tier as tier_module
from scout.paths.protocols.fib.layout import HOPS
from scout.ring.errors import ScoutError
from scout.testing import await_until

ROUTES = [("0.0.0.0/0", 9), ("10.0.0.0/8", 1), ("10.1.0.0/16", 2), ("10.1.2.0/24", 3), ("10.1.2.3/32", 4)]


def test_a_change_leaves_the_version_before_as_it_is() -> None:
    fib = Fib(ROUTES)
    before = fib.version
    after = fib.change(
        add=[("10.1.2.0/24", 5), ("192.0.2.0/24", 6)], remove=["10.1.2.3/32", "10.1.0.0/16", "0.0.0.0/0"]
    )
    assert fib.version == after != before
    addresses = ["10.1.2.3", "10.1.2.4", "10.1.3.1", "10.2.0.0", "192.0.2.1", "8.8.8.8"]
    assert [fib.lookup(address) for address in addresses] == [5, 5, 1, 1, 6, NO_ROUTE]
    assert [fib.lookup(address, before) for address in addresses] == [4, 3, 2, 1, 9, 9]
    assert sorted(fib.routes) == sorted(Fib([("10.0.0.0/8", 1), ("10.1.2.0/24", 5), ("192.0.2.0/24", 6)]).routes)
    assert len(fib) == 3


def test_a_change_of_nothing_is_a_version_too() -> None:
    fib = Fib(ROUTES)
    before, used = fib.version, fib.used
    assert fib.change() != before
    fib.release(before)
    assert fib.used == used


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"remove": ["10.9.0.0/16"]}, r"route 10\.9\.0\.0/16 cannot be removed: there is none"),
        ({"remove": ["10.1.0.0/17"]}, r"route 10\.1\.0\.0/17 cannot be removed"),
        ({"add": [("10.1.0.0/16", 7)], "remove": ["10.1.0.0/16"]}, "is given twice, next hop 7 and removed"),
        ({"remove": ["10.1.0.0/16", "10.1.0.0/16"]}, "is given twice, removed and removed"),
        ({"remove": ["10.1.2.3/24"]}, "beyond /24"),
    ],
)
def test_a_change_that_is_refused_changes_nothing(change: dict[str, list], message: str) -> None:
    fib = Fib(ROUTES)
    version, used = fib.version, fib.used
    with pytest.raises(ScoutError, match=message):
        fib.change(add=[("11.0.0.0/8", 1), *change.get("add", [])], remove=change.get("remove", []))
    assert (fib.version, fib.used, sorted(fib.routes)) == (version, used, sorted(Fib(ROUTES).routes))


def test_versions_are_released_once_and_not_the_newest() -> None:
    fib = Fib(ROUTES)
    first = fib.version
    with pytest.raises(ScoutError, match="is the newest of the FIB"):
        fib.release(first)
    second = fib.change(add=[("11.0.0.0/8", 1)])
    fib.release(first)
    for use in (fib.release, lambda version: fib.lookup("10.0.0.1", version)):
        with pytest.raises(ScoutError, match=f"no version {first}; the newest is {second}"):
            use(first)


def test_memory_comes_back_when_all_older_versions_are_released() -> None:
    fib = Fib(ROUTES)
    used = fib.used
    first = fib.version
    second = fib.change(add=[("10.1.2.64/26", 8)])
    fib.change(remove=["10.1.2.64/26"])
    most = fib.used
    fib.release(second)
    assert fib.used == most
    assert fib.lookup("10.1.2.65", first) == 3
    fib.release(first)
    assert fib.used == used


def test_leaves_that_become_equal_are_merged() -> None:
    fib = Fib()
    empty = fib.used
    fib.change(add=[("10.1.2.3/32", 1)])
    fib.change(remove=["10.1.2.3/32"])
    for version in [each.root for each in fib._versions][:-1]:
        fib.release(version)
    assert fib.used == empty


def test_stamps_of_changes_begin_anew_before_they_do_not_fit() -> None:
    """A piece whose stamp is that of the change in progress is written to, although older versions may have it."""
    other, fib = Fib(ROUTES), Fib(ROUTES)
    stamps, state = fib._arena.memory.stamps, fib._arena.memory.state
    assert stamps.max() == state["transaction"][0] == 1
    state["transaction"] = np.iinfo(stamps.dtype).max - 3
    changes = [[(f"10.1.{block}.{4 * host}/30", 7) for block in range(3)] for host in range(8)]
    versions = [fib.version]
    for change in changes:
        other.change(change)
        versions.append(fib.change(change))
        assert len(fib._arena.retired) == len(other._arena.retired), "a piece of the change's own is not copied again"
    assert 0 < state["transaction"][0] < 10
    for index, version in enumerate(versions):
        found = [fib.lookup(f"10.1.1.{4 * host}", version) for host in range(8)]
        assert found == [7] * index + [2] * (8 - index)


PREFIXES = st.builds(
    lambda bits, length: IPv4Network((bits, length), strict=False),
    st.integers(0x0A0101F0, 0x0A01040F) | st.integers(0, 2**32 - 1),
    st.integers(0, 32),
)
CHANGES = st.lists(st.dictionaries(PREFIXES, st.integers(-1, 5), max_size=8), min_size=1, max_size=8)
ADDRESSES = st.lists(st.integers(0, 2**32 - 1), max_size=5)


@pytest.mark.parametrize(
    ("few", "examples"),
    [(0, 40), (10**9, 6), pytest.param(10**9, 40, marks=pytest.mark.long)],
    ids=["native", "python", "python-long"],
)
def test_changes_are_as_a_new_table(few: int, examples: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier_module, "FEW", few)
    check = settings(deadline=None, max_examples=examples)(given(CHANGES, ADDRESSES)(changes_are_as_a_new_table))
    check()


def changes_are_as_a_new_table(changes: list[dict[IPv4Network, int]], addresses: list[int]) -> None:
    """Look at every version."""
    fib, routes, versions = Fib(), {}, []
    for change in changes:
        gone = [prefix for prefix, hop in change.items() if hop < 0 and prefix in routes]
        added = {prefix: hop for prefix, hop in change.items() if hop >= 0}
        fib.change(add=added.items(), remove=gone)
        routes = {prefix: hop for prefix, hop in (routes | added).items() if prefix not in gone}
        versions.append((fib.version, dict(routes)))
    looked = np.array([*addresses, *edges([prefix for change in changes for prefix in change]).tolist()], np.int64)
    for version, kept in versions:
        np.testing.assert_array_equal(looked_up(fib, looked, version), expected(list(kept.items()), looked))
    assert dict(fib.routes) == routes
    assert fib.used >= Fib(routes.items()).used


def nested_routes(random: np.random.Generator, count: int) -> dict[IPv4Network, int]:
    """Routes with a few first octets, so that most lie within others."""
    bits = random.choice(random.integers(0, 2**32, 30), count) ^ random.integers(0, 2**14, count)
    lengths = random.integers(1, 33, count)
    networks = [IPv4Network((int(b), int(n)), strict=False) for b, n in zip(bits, lengths, strict=True)]
    return dict(zip(networks, random.integers(0, 64, count).tolist(), strict=True))


def test_many_changes_end_as_a_new_table_and_memory_is_flat() -> None:
    random = np.random.default_rng(3)
    routes = nested_routes(random, 3_000)
    fib = Fib(routes.items())
    new, least = nested_routes(random, 20_000), fib.used
    most = 0
    for prefix, hop in new.items():
        version = fib.version
        gone = list(routes)[int(random.integers(len(routes)))]
        fib.change(add=[(prefix, hop)], remove=[gone] if gone != prefix else [])
        fib.release(version)
        if gone != prefix:
            del routes[gone]
        routes[prefix] = hop
        most = max(most, fib.used)
    looked = edges(list(new))
    np.testing.assert_array_equal(looked_up(fib, looked), expected(list(routes.items()), looked))
    assert fib.used == Fib(routes.items()).used
    assert most < 2 * least


@pytest.mark.parametrize("few", [0, 10**9], ids=["native", "python"])
def test_a_change_without_room_changes_nothing_and_loses_no_memory(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier_module, "FEW", few)
    fib = Fib(ROUTES, room=60_000)
    version, used = fib.version, fib.used
    many = [(f"{octet}.1.2.3/32", 7) for octet in range(20, 40)]
    for _ in range(3):
        with pytest.raises(ScoutError, match=r"no room for 21 changes: .* by 1 versions; release old ones"):
            fib.change(add=many, remove=["10.1.0.0/16"])
        assert (fib.version, fib.used, sorted(fib.routes)) == (version, used, sorted(Fib(ROUTES).routes))
        assert fib.lookup("10.1.0.0") == 2
    fib.change(add=many[:2], remove=["10.1.0.0/16"])
    assert (fib.lookup("20.1.2.3"), fib.lookup("10.1.0.0"), fib.lookup("10.1.0.0", version)) == (7, 1, 2)


@pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled")
def test_changes_one_by_one_do_not_wait_for_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tier_module, "FEW", 10)
    monkeypatch.setattr(tier_module, "_compiled", compiled := {})
    fib, routes = Fib(), [(IPv4Network((10 << 24 | number << 8, 24)), number) for number in range(20)]
    with compiler_busy():
        for route in routes:
            fib.change(add=[route])
        assert compiled and not any(function.is_ready for function in compiled.values())
    await_until(lambda: all(function.is_ready for function in compiled.values()))
    fib.change(add=[("10.0.0.0/8", 99)])
    looked = edges([prefix for prefix, _ in routes])
    known = [*routes, (IPv4Network("10.0.0.0/8"), 99)]
    assert [fib.lookup(address) for address in looked.tolist()] == expected(known, looked).tolist()


@contextmanager
def compiler_busy() -> Iterator[None]:
    """Another thread compiles something for the time of a `with` block."""
    begun, done = threading.Event(), threading.Event()

    def compile_something() -> None:
        with global_compiler_lock:
            begun.set()
            done.wait()

    thread = threading.Thread(target=compile_something)
    thread.start()
    begun.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_next_hops_beyond_those_that_have_codes_are_found_too() -> None:
    random = np.random.default_rng(7)
    prefixes = [IPv4Network((10 << 24 | int(bits) << 6, 26)) for bits in random.choice(1 << 12, 600, replace=False)]
    routes = dict(zip(prefixes, range(600), strict=True))
    fib = Fib(routes.items())
    whole = [(IPv4Network("10.0.0.0/17"), 5000), (IPv4Network("32.0.0.0/5"), 5001), (IPv4Network("10.0.0.1"), 5002)]
    fib.change(add=whole)
    looked = np.concatenate([edges(list(routes)), edges([prefix for prefix, _ in whole])])
    np.testing.assert_array_equal(looked_up(fib, looked), expected([*routes.items(), *whole], looked))
    assert fib.next_hops(IPv4Network("32.0.0.0/4")) == {5001, NO_ROUTE}
    assert dict(fib.routes) == routes | dict(whole)
    fib.change(remove=prefixes)  # their codes are free for others now
    fib.change(add=[(prefix, 7000 + hop) for prefix, hop in routes.items()])
    later = [(prefix, 7000 + hop) for prefix, hop in routes.items()]
    np.testing.assert_array_equal(looked_up(fib, looked), expected([*later, *whole], looked))


@pytest.mark.parametrize("few", [0, 10**9], ids=["native", "python"])
def test_nodes_grow_out_of_their_block_and_come_back(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node of a block has room for 24 codes, or for 20 where it also has a part outside."""
    monkeypatch.setattr(tier_module, "FEW", few)
    slots = [IPv4Network((10 << 24 | slot << 8, 24)) for slot in range(1, 64, 2)]
    longer = IPv4Network("10.0.0.64/26")
    routes, fib = [(IPv4Network("0.0.0.0/0"), 9)], Fib([("0.0.0.0/0", 9)])
    looked = edges([*slots, longer])
    empty = fib.used

    def change(add: list[tuple[IPv4Network, int]] = (), remove: list[IPv4Network] = ()) -> None:  # type: ignore[assignment]
        version = fib.version
        fib.change(add, remove)
        fib.release(version)
        routes[:] = [*(route for route in routes if route[0] not in remove), *add]
        np.testing.assert_array_equal(looked_up(fib, looked), expected(routes, looked))
        found = {fib.lookup(int(each)) for each in looked if each >> 14 == 10 << 10}
        assert found <= fib.next_hops(IPv4Network("10.0.0.0/18")) == found | {9}

    for hop, slot in enumerate(slots):
        change(add=[(slot, hop)])
        change(add=[(longer, 77)])
        change(remove=[longer])
    for slot in slots:
        change(remove=[slot])
    assert fib.used == empty


def test_prefixes_of_one_next_hop_in_one_node_are_kept_apart() -> None:
    fib = Fib([("10.0.0.0/17", 1), ("10.0.0.0/19", 1)])
    fib.change(add=[("10.0.0.0/18", 2)])
    assert [fib.lookup(each) for each in ("10.0.31.255", "10.0.32.0", "10.0.64.0")] == [1, 2, 1]
    fib.change(remove=["10.0.0.0/19"])
    assert fib.next_hops(IPv4Network("10.0.0.0/18")) == {2}


def test_scattered_memory_is_used_again() -> None:
    fib = Fib(room=78_000)
    for octets in (range(20, 24), range(30, 34), range(40, 44)):
        prefixes = [f"{octet}.1.2.3/32" for octet in octets]
        for change in ({"add": [(prefix, 7) for prefix in prefixes]}, {"remove": prefixes}):
            version = fib.version
            fib.change(**change)
            fib.release(version)
    assert fib.used == Fib().used


def test_processes_forked_before_see_versions_made_afterwards() -> None:
    fib = Fib(ROUTES)
    to_child, from_parent = os.pipe()
    to_parent, from_child = os.pipe()
    child = os.fork()
    if child == 0:
        version = int.from_bytes(os.read(to_child, 8))
        os.write(from_child, bytes([1 + fib.arrays[0][2 * version + HOPS], *_hops(fib, version)]))
        os._exit(0)
    os.write(from_parent, fib.change(add=[("10.1.2.0/24", 6), ("0.0.0.0/0", 8)]).to_bytes(8))
    assert list(os.read(to_parent, 3)) == [9, 6, 8]
    os.waitpid(child, 0)
    for descriptor in (to_child, from_parent, to_parent, from_child):
        os.close(descriptor)


def _hops(fib: Fib, version: int) -> list[int]:
    """Next hops as a process sees them that has the arrays and a version's number only."""
    from scout.paths.protocols.fib import lookup

    return [lookup(*fib.arrays, version, address) for address in (0x0A010205, 0x08080808)]
