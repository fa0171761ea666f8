"""The table of requirements in docs/tcp.md: all of RFC 9293's, and tests that there are."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]


def rows() -> list[list[str]]:
    text = (ROOT / "docs/tcp.md").read_text(encoding="utf-8").partition("| MUST |")[2]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines()[2:] if line]


def test_every_requirement_is_in_the_table() -> None:
    found = set()
    for numbers, _, _ in rows():
        for part in numbers.split(","):
            first, _, last = part.partition(" to ")
            found |= set(range(int(first), int(last or first) + 1))
    assert found == set(range(1, 70))


def test_the_tests_in_the_table_exist() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    for _, requirement, tests in rows():
        names = re.findall(r"`(\w+)`", tests)
        assert names or tests.startswith("not met: "), requirement
        for name in names:
            assert f"def {name}(" in text, name
