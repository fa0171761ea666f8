"""`scout bench udp`: a small run of the real thing; no figure is judged."""

from pathlib import Path

import pytest
from commands import report_of, scout


@pytest.mark.needs_namespaces
@pytest.mark.long
def test_rows(tmp_path: Path) -> None:
    report = tmp_path / "udp.json"
    scout("bench", "udp", "--rounds", "1", "--seconds", "0.05", "--json", str(report))
    rows = report_of(report, "bench udp")["results"]
    assert {row["name"] for row in rows} == {"kernel", "scout"}
    assert {row["measure"] for row in rows} == {"round-trip", "receive", "send"}
    for row in rows:
        keys = ("us_p50", "us_p99") if row["measure"] == "round-trip" else ("pps_min", "pps_median", "pps_max")
        assert all(row[key] > 0 for key in keys)
