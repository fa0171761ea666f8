"""The soak: nothing is lost while replicas are killed, join and leave."""

import json

import pytest

from scout.tools.bench.soak import run


@pytest.mark.long
def test_nothing_is_lost_and_the_figures_say_so(tmp_path, capsys):
    file = tmp_path / "soak.json"
    assert run(2_000_000, 2, 0.01, 1, str(file)) == 0
    (row,) = json.loads(file.read_text())["results"]
    assert row["requests"] == 2_000_000 and row["without_primary"] == 0
    assert row["states_at_the_end"] == 1 and row["places_diverged"] == 0
    assert "without_primary" in capsys.readouterr().out
