"""The code of README.md and docs/*.md runs and prints what the page says; commands, options and files exist.

The `python` blocks of a page are one program: a later block uses the names of the earlier ones. A `text` block that
follows a `python` block is what the block prints. A `python` block that begins with a comment `# NAME.py` is a file of
this name beside the program instead; pytest runs it if it is a test. The `sh` blocks of a page run as one script, as
root of network and mount namespaces of their own. Code that is indented and not fenced does not run.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from scout.tools.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w+)\n(.*?)^```$\n*(?:^```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
NAMED = re.compile(r"# (\w+\.py)\n")
MARK = "-- end of a block --"
SECONDS = 900
SHORT = {"README"}  # the others take long: each compiles what it shows


def blocks(page: Path, language: str) -> list[tuple[int, str, str | None]]:
    """The blocks of a page in a language: the lines before each, its text, and what it prints if the page says so."""
    text = page.read_text()
    return [
        (text[: found.start(2)].count("\n"), found[2], found[3])
        for found in FENCED.finditer(text)
        if found[1] == language
    ]


def files(page: Path) -> dict[str, str]:
    """The page's `python` blocks that are files, by name."""
    named = [(re.match(NAMED, text), text) for _, text, _ in blocks(page, "python")]
    return {found[1]: text for found, text in named if found}


def statements(page: Path) -> list[tuple[int, str, str | None]]:
    """The page's other `python` blocks."""
    return [block for block in blocks(page, "python") if not re.match(NAMED, block[1])]


def program(page: Path) -> str:
    """The latter as one program, each line at the line number that it has in the page."""
    lines: list[str] = []
    for before, text, _ in statements(page):
        lines += [""] * (before - len(lines)) + text.splitlines() + [f"print({MARK!r})"]
    return "\n".join(lines) + "\n"


def pages_with(language: str) -> list[Any]:
    """The pages that have blocks in a language, as parameters of a test."""
    return [
        pytest.param(page, id=page.stem, marks=[] if page.stem in SHORT else pytest.mark.long)
        for page in PAGES
        if blocks(page, language)
    ]


@pytest.mark.parametrize("page", pages_with("python"))
def test_the_python_of_a_page_prints_what_the_page_says(page, tmp_path):
    file = tmp_path / f"{page.stem.replace('-', '_')}.py"
    file.write_text(program(page))
    result = subprocess.run(
        [sys.executable, file.name], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert result.returncode == 0, f"{page.name}, by its line numbers: {result.stderr}"
    printed = result.stdout.split(f"{MARK}\n")
    said = [text for _, _, text in statements(page)]
    for (before, _, expected), actual in zip(statements(page), printed, strict=False):
        assert expected is None or actual == expected, f"{page.name}: the block at line {before + 1} prints otherwise"
    assert len(printed) == len(said) + 1
    for name, text in files(page).items():
        (tmp_path / name).write_text(text)
    for name in filter(lambda name: name.startswith("test_"), files(page)):
        command = [sys.executable, "-m", "pytest", "-q", name]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert result.returncode == 0, f"{page.name}, {name}: {result.stdout}{result.stderr}"


@pytest.mark.needs_namespaces
@pytest.mark.parametrize("page", pages_with("sh"))
def test_the_commands_of_a_page_succeed(page, tmp_path):
    commands = "\n".join(text for _, text, _ in blocks(page, "sh"))
    missing = [program for program in ("ip", "unshare", "ping") if program in commands and not shutil.which(program)]
    if missing or not shutil.which("unshare"):
        pytest.skip(f"{page.name}: there is no {', '.join(missing) or 'unshare'} here")
    # Named namespaces are files in /run/netns: the script has a folder of its own there, which goes with it.
    script = f"set -eu\nmount -t tmpfs none /run\nmkdir -p /run/netns\nip link set lo up\n{commands}"
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    result = subprocess.run(
        ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "bash", "-c", script],
        cwd=tmp_path,
        env=os.environ | {"PATH": path},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 0, f"{page.name}: {result.stdout}{result.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_files_that_a_page_links_to_exist(page):
    for target in LINK.findall(page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target}"


def commands() -> list[tuple[str, str]]:
    """The pages, each with a command line `scout ...` that it has in inline code or in a block."""
    found = []
    for page in PAGES:
        text = page.read_text()
        lines = re.findall(r"`(scout [^`]*)`", text) + re.findall(r"^\s*(scout .*)$", text, re.MULTILINE)
        found += [(page.stem, line) for line in dict.fromkeys(lines)]
    return found


@pytest.mark.parametrize(("page", "line"), commands())
def test_the_commands_and_options_that_a_page_names_exist(page, line):
    words, command = shlex.split(line, comments=True)[1:], get_command(app)
    while words and hasattr(command, "commands") and not words[0].startswith("-"):
        name = words.pop(0)
        assert name in command.commands, f"{page}: {line}: there is no command {name}"
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help", "-"}
    assert [word for word in words if word.startswith("-") and word.split("=")[0] not in known] == [], f"{page}: {line}"
