"""The priority of benchmarks, where the kernel tells of no session."""

from pathlib import Path

import pytest

from scout.tools.bench import priority


@pytest.mark.parametrize("told", ["", "/autogroup-7 nice 0\n", None])
def test_it_runs_whatever_the_kernel_tells_of_the_session(
    told: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container with its own share of the processor the file is empty; without autogroups there is none."""
    session = tmp_path / "autogroup"
    if told is not None:
        session.write_text(told)
    monkeypatch.setattr(priority, "_SESSION", session)
    monkeypatch.setattr(priority.os, "setpriority", lambda *_: None)
    with priority.preferred():
        began = True
    assert began
    if told:
        assert session.read_text().strip() == "0"
