"""The code of README and of the docs runs as it is written."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from scout.tools.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> Iterator[tuple[int, str]]:
    """The page's blocks of code in a language, each with the number of its first line."""
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        yield text[: found.start(1)].count("\n") + 1, found.group(1)


@pytest.mark.parametrize("page", [page for page in PAGES if any(blocks(page, "python"))], ids=lambda page: page.stem)
def test_python(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run one after the other, as a reader would type them, with README's first graph."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "documented"}
    if page != PAGES[0]:
        exec(next(blocks(PAGES[0], "python"))[1].partition("paths =")[0], names)
    for line, block in blocks(page, "python"):
        # With the page's own line numbers, for whoever has to find a failure.
        exec(compile("\n" * (line - 1) + block, str(page), "exec"), names)


def commands() -> Iterator[tuple[str, list[str]]]:
    """Every `scout …` in inline code and in blocks, with the page that it stands on."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found = re.findall(r"`(scout [^`]*)`", text) + re.findall(r"^\s*(?:\$ )?(scout .*)$", text, re.MULTILINE)
        for line in dict.fromkeys(found):
            if "…" not in line:
                yield page.name, shlex.split(line, comments=True)[1:]


@pytest.mark.parametrize(("page", "words"), list(commands()), ids=str)
def test_commands_and_options_exist(page: str, words: list[str]) -> None:
    command: Any = get_command(app)
    words = list(words)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"{page}: there is no command {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("-") and word != "-" and word.split("=")[0] not in known]
    assert not unknown, f"{page}: {words}"
