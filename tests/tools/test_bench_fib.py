"""`scout bench fib`: a small run of the real thing; no figure is judged."""

import shutil
from ipaddress import IPv4Address
from pathlib import Path

import numpy as np
import pytest
from commands import here, report_of

from scout.paths.protocols.fib import NO_ROUTE, Fib
from scout.paths.protocols.fib.prefixes import network
from scout.tools.bench import fib as bench_fib
from scout.tools.bench.baselines import dir_24_8
from scout.tools.bench.fib import _Bench
from scout.tools.bench.longest_match import longest_matches
from scout.tools.bench.prefixes import internet

ROUTES = 3_000


@pytest.fixture(autouse=True)
def few_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_fib, "LOOKUPS", 1 << 17)


def test_the_table_has_different_routes_with_networks_of_their_lengths() -> None:
    routes = internet(ROUTES, 1)
    assert len(np.unique(routes[["network", "length"]])) == ROUTES
    assert not (routes["network"] & (1 << 32 - routes["length"]) - 1).any()
    assert 0.5 < (routes["length"] == 24).mean() < 0.7


def test_dir_24_8_agrees_in_python_with_the_fib() -> None:
    routes = internet(ROUTES, 2)
    fib, table = Fib(routes), dir_24_8.build(routes)
    for first in routes["network"][:500].tolist():
        for address in (first - 1, first, first + 128):
            assert dir_24_8.lookup(*table, address) == fib.lookup(address)


def test_the_slow_table_is_as_a_comparison_with_every_route() -> None:
    routes = internet(200, 3)
    known = {network(row): int(row["next_hop"]) for row in routes}
    addresses = np.concatenate([routes["network"] - 1, routes["network"], np.arange(0, 2**32, 2**24)])
    for address, next_hop in zip(addresses.tolist(), longest_matches(routes, addresses).tolist(), strict=True):
        matches = [prefix for prefix in known if IPv4Address(address) in prefix]
        best = max(matches, key=lambda prefix: prefix.prefixlen, default=None)
        assert next_hop == (known[best] if best else NO_ROUTE)


def test_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_fib, "CHANGES", 200)
    report = tmp_path / "fib.json"
    assert here("bench", "fib", "--rounds", "1", "--routes", str(ROUTES), "--json", str(report)) == 0
    rows = report_of(report, "bench fib")["results"]
    names = {"scout", "dir-24-8"} | ({"c"} if shutil.which("cc") or shutil.which("gcc") else set())
    names |= {f"{name}-batch" for name in names}
    for load in ("random", "hot"):
        found = {row["name"]: row for row in rows if row.get("load") == load}
        assert set(found) == names
        assert all(0 < row["mops_min"] <= row["mops_median"] <= row["mops_max"] for row in found.values())
    (scout,) = [row for row in rows if row["name"] == "scout" and "mib" in row]
    assert scout["mib_after_changes"] == scout["mib"] < 67 and scout["changes_per_second"] > 0


def test_wrong_next_hops_are_noticed() -> None:
    bench = _Bench(ROUTES)
    bench.dir[0][:] = 7
    with pytest.raises(RuntimeError, match="dir-24-8 finds other next hops than scout"):
        bench.lookups(1)
    shortest = bench.routes[bench.routes["length"].argmin()]
    bench.fib.change(add=[(network(shortest), 63 - int(shortest["next_hop"]))])
    with pytest.raises(RuntimeError, match="scout finds a wrong next hop for"):
        bench.check(bench.loads["random"])
