"""`scout bench fib`: lookups in the FIB, building it, changing it, and its memory.

The table has the Internet's mix of prefix lengths. Lookups go to random addresses, of all there are, and to 100,000
random ones again and again (hot). A generator in the loop makes the addresses (xorshift32: Marsaglia, "Xorshift RNGs",
2003), and the next hops are summed up: so nothing but the table and the hot addresses takes room in the cache. The
baselines are the same lookup in C, in the same memory, and DIR-24-8, which Scout used before: its table is in huge
pages where the kernel gives them. One core.

All three are measured in two forms: one lookup after another, and in batches of as many as compiled paths look up ahead
for (`scout.paths.compiler.ahead.GROUP`). A batch asks for the lines of all its addresses first.

Before and after the changes, the next hop of every address of the loads is compared with that of a slow, obviously
right table (`longest_match`); the baselines have to come to the same sum.

Changes take one route away or bring it back, each by a version of its own that is released at the next one.
"""

import ctypes
import time
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from scout.paths.compiler.ahead import GROUP
from scout.paths.compiler.inlining import native_helper
from scout.paths.protocols.fib import Fib, lookup, next_hop_at, place_of
from scout.paths.protocols.fib.prefixes import network
from scout.ring.jit import entry, inline
from scout.ring.local import local
from scout.ring.segment import address
from scout.tools.bench.baselines import compile_c, dir_24_8
from scout.tools.bench.longest_match import longest_matches
from scout.tools.bench.prefixes import NEXT_HOPS, internet
from scout.tools.bench.rounds import interleaved, rounded, spread
from scout.tools.report import Report

__all__ = ["run"]

SEED = 1
LOOKUPS = 1 << 22
HOT = 100_000
CHANGES = 20_000
BUILDS = 3
BATCH = "-batch"
"""The suffix of the names of contenders that look up in batches."""

_WORDS = types.int64[::1]
_FIB = (types.int32[::1], types.int64[::1], types.uint8[::1], types.int64)
_DIR = (types.int32[::1], types.int32[::1])
_lookup, _place_of, _next_hop_at = native_helper(lookup), native_helper(place_of), native_helper(next_hop_at)
_dir_lookup, _dir_fetch = native_helper(dir_24_8.lookup), native_helper(dir_24_8.fetch_entry)
_group = local(GROUP)


@inline
def _next(state: int) -> int:
    """The next of the 2**32 - 1 numbers of 32 bits that are not 0."""
    state ^= state << 13 & 0xFFFFFFFF
    state ^= state >> 17
    return state ^ (state << 5 & 0xFFFFFFFF)


@inline
def _address(state, hot):  # type: ignore[no-untyped-def]
    """The address that a number stands for: itself, or one of the hot ones."""
    return hot[state * len(hot) >> 32] if len(hot) > 0 else state


@entry(types.int64(*_FIB, _WORDS, types.int64))
def _lookups(entries, vectors, leaves, root, hot, count):  # type: ignore[no-untyped-def]
    state, total = SEED, 0
    for _ in range(count):
        state = _next(state)
        total += _lookup(entries, vectors, leaves, root, _address(state, hot))
    return total


@entry(types.int64(*_FIB, _WORDS, types.int64))
def _batches(entries, vectors, leaves, root, hot, count):  # type: ignore[no-untyped-def]
    places, state, total = _group(), SEED, 0
    for _ in range(0, count, GROUP):
        for index in range(GROUP):
            state = _next(state)
            places[np.uintp(index)] = _place_of(entries, vectors, root, _address(state, hot))
        for index in range(GROUP):
            total += _next_hop_at(entries, vectors, leaves, root, places[np.uintp(index)])
    return total


@entry(types.void(*_FIB, _WORDS, _WORDS, _WORDS))
def _looked_up(entries, vectors, leaves, root, hot, addresses, next_hops):  # type: ignore[no-untyped-def]
    state = SEED
    for index in range(len(addresses)):
        state = _next(state)
        addresses[index] = _address(state, hot)
        next_hops[index] = _lookup(entries, vectors, leaves, root, addresses[index])


@entry(types.int64(*_DIR, _WORDS, types.int64))
def _dir_lookups(table, groups, hot, count):  # type: ignore[no-untyped-def]
    state, total = SEED, 0
    for _ in range(count):
        state = _next(state)
        total += _dir_lookup(table, groups, _address(state, hot))
    return total


@entry(types.int64(*_DIR, _WORDS, types.int64))
def _dir_batches(table, groups, hot, count):  # type: ignore[no-untyped-def]
    addresses, state, total = _group(), SEED, 0
    for _ in range(0, count, GROUP):
        for index in range(GROUP):
            state = _next(state)
            addresses[np.uintp(index)] = _dir_fetch(table, _address(state, hot))
        for index in range(GROUP):
            total += _dir_lookup(table, groups, addresses[np.uintp(index)])
    return total


def _timed(work: Callable[[], Any]) -> float:
    """Seconds that something takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _timed_warm(work: Callable[[], Any]) -> float:
    """Seconds that something takes when it has just been done: with what it left in the caches, not what others did."""
    work()
    return _timed(work)


def _fastest(work: Callable[[], Any]) -> float:
    """Seconds that it takes at least."""
    return min(_timed(work) for _ in range(BUILDS))


def _ratios(rate: dict[str, float], rates: dict[str, dict[str, float]]) -> dict[str, float]:
    """The ratios of a median to those of the baselines."""
    return {
        f"ratio_to_{name}": rounded(rate["mops_median"] / other["mops_median"])
        for name, other in rates.items()
        if not name.startswith("scout")
    }


class _Bench:
    """The table, and what looks addresses up in it."""

    def __init__(self, routes: int) -> None:
        self.routes = internet(routes, SEED)
        hot = np.random.default_rng(SEED).integers(0, 2**32, HOT)
        self.loads = {"random": hot[:0], "hot": hot}
        self.changed = [(str(network(row)), int(row["next_hop"])) for row in self.routes[: CHANGES // 2]]
        self.fib = Fib(self.routes)  # measured later, when all is compiled
        self.dir = dir_24_8.build(self.routes)

    def contenders(self) -> dict[str, Callable[[NDArray[np.int64]], int]]:
        """Functions that look up addresses, of all or of the hot ones that they are given, and add the next hops up."""
        found: dict[str, Callable[[NDArray[np.int64]], int]] = {}
        for form, ours, theirs in (("", _lookups, _dir_lookups), (BATCH, _batches, _dir_batches)):
            found["scout" + form] = lambda hot, f=ours: int(f(*self.fib.arrays, self.fib.version, hot, LOOKUPS))  # type: ignore[misc]
            found["dir-24-8" + form] = lambda hot, f=theirs: int(f(*self.dir, hot, LOOKUPS))  # type: ignore[misc]
        if path := compile_c("fib.c", "-shared", "-fPIC", f"-DGROUP={GROUP}"):
            library = ctypes.CDLL(str(path))
            for form, function in (("", library.lookups), (BATCH, library.batches)):
                function.restype = ctypes.c_int64
                found["c" + form] = lambda hot, f=function: int(f(*map(ctypes.c_uint64, self._c_arguments(hot))))  # type: ignore[misc]
        return found

    def _c_arguments(self, hot: NDArray[np.int64]) -> list[int]:
        entries, vectors, _ = self.fib.arrays
        return [self.fib.version, address(entries), address(vectors), SEED, address(hot), len(hot), LOOKUPS]

    def check(self, hot: NDArray[np.int64]) -> None:
        """Compare the next hop of every address of a load with that of a slow table."""
        addresses, next_hops = np.empty(LOOKUPS, np.int64), np.empty(LOOKUPS, np.int64)
        _looked_up(*self.fib.arrays, self.fib.version, hot, addresses, next_hops)
        addresses, places = np.unique(addresses, return_inverse=True)  # in order: the search is faster
        wrong = next_hops != longest_matches(self.routes, addresses)[places]
        if wrong.any():
            raise RuntimeError(
                f"scout finds a wrong next hop for {IPv4Address(int(addresses[places[wrong.argmax()]]))}"
            )

    def lookups(self, rounds: int) -> list[dict[str, Any]]:
        """The rows for lookups."""
        contenders, rows = self.contenders(), []
        for load, hot in self.loads.items():
            self.check(hot)
            sums = {name: contender(hot) for name, contender in contenders.items()}
            for name, total in sums.items():
                if total != sums["scout"]:
                    raise RuntimeError(f"{name} finds other next hops than scout")
            work = [partial(_timed_warm, partial(contender, hot)) for contender in contenders.values()]
            seconds = interleaved(work, rounds, f"fib, {load}")
            rates = {
                name: spread([LOOKUPS / each / 1e6 for each in taken], "mops")
                for name, taken in zip(contenders, seconds, strict=True)
            }
            rows += [
                {"name": name, "load": load, **rate, **(_ratios(rate, rates) if name.startswith("scout") else {})}
                for name, rate in rates.items()
            ]
        return rows

    def structures(self) -> list[dict[str, Any]]:
        """The rows for building, changing and memory."""
        scout = {
            "name": "scout",
            "build_seconds": rounded(_fastest(lambda: Fib(self.routes))),
            "mib": rounded(self.fib.used / 2**20),
            "writer_mib": rounded(self.fib.writer_bytes / 2**20),
            "changes_per_second": rounded(CHANGES / _timed(self.change)),
            "mib_after_changes": rounded(self.fib.used / 2**20),
        }
        self.check(self.loads["random"])
        baseline = {
            "name": "dir-24-8",
            "build_seconds": rounded(_fastest(lambda: dir_24_8.build(self.routes))),
            "mib": rounded(sum(array.nbytes for array in self.dir) / 2**20),
        }
        return [scout, baseline]

    def change(self) -> None:
        """Take random routes away and bring them back."""
        for prefix, next_hop in self.changed:
            for add, remove in (((), [prefix]), ([(prefix, next_hop)], ())):
                before = self.fib.version
                self.fib.change(add, remove)
                self.fib.release(before)


def run(rounds: int, routes: int, json_path: str | None) -> None:
    """Measure, print two tables, write the figures."""
    report = Report("bench fib", json_path)
    bench = _Bench(routes)
    lookups, structures = bench.lookups(rounds), bench.structures()
    for rows in (lookups, structures):
        keys = dict.fromkeys(key for row in rows for key in row)
        report.show([{key: row.get(key, "") for key in keys} for row in rows])
    if not any(row["name"] == "c" for row in lookups):
        report.say("no C compiler was found, so C is left out")
    parameters = {
        "rounds": rounds,
        "routes": routes,
        "next_hops": NEXT_HOPS,
        "hot_addresses": HOT,
        "batch": GROUP,
        "cores": 1,
    }
    report.write(parameters, lookups + structures)
