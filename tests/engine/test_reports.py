"""The lines that a run prints on standard error by itself."""

import io
import sys
from pathlib import Path

import pytest

from scout.paths.compiler import generated
from scout.reports import show_compiling


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_is_told_what_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, text in ((Terminal(), "scout: compiling a part (cached from now on)\n"), (io.StringIO(), "")):
        monkeypatch.setattr(sys, "stderr", stream)
        show_compiling("a part")
        assert stream.getvalue() == text


def test_code_in_the_cache_is_not_said_to_be_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(generated, "cache_folder", lambda: tmp_path)
    told: list[int] = []
    for number in (1, 1, 2):
        monkeypatch.setattr(generated, "_loaded", {})  # as in another process
        generated.load_generated(
            "nothing", f"number = {number}", "", None, {}, lambda number=number: told.append(number)
        )
    assert told == [1, 2]
