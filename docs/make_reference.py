"""Write docs/reference.md, the list of shipped modules, from their docstrings: python docs/make_reference.py

A section of a docstring is a title, underlined or not, with text below it. The reasons in a section "Drops" are lines
of their own, with their meaning indented below them or behind a colon. A section "Example" or "Examples" has code that
makes an object of the class; it may use `graph`, a graph with the routers "left", "right", "ip", "arp" and "icmp".
"""

import inspect
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from textwrap import dedent
from typing import Any

import scout

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
UNDERLINED = r"^{title}\n-+\n(.*?)(?=^\w[\w ]*\n-+\n|\Z)"  # as numpydoc has it: in the docstring of a class
INDENTED = r"^{title}\n((?:[ ]{{4}}.*\n|\n)+)"  # in the docstring of a module
FIELD = re.compile(r"^(Services|Requires|Provides|Requires and provides): (.*?)\.$", re.MULTILINE | re.DOTALL)
REASONS = re.compile(r"^([\w-]+(?:, [\w-]+)*)(?:: |\n)(.*?)(?=^\S|\Z)", re.MULTILINE | re.DOTALL)

KINDS = {
    "scout.paths.protocols": ("Routers", "Protocol modules of the router graph."),
    "scout.paths.stages": ("Stages", "Modules that stand between two routers, or begin and end a path of requests."),
    "scout.paths.services": (
        "Services",
        "Stages with a state on every replica. They are connected like a `Filter`: "
        '`graph.add(...)`, then `graph.connect("ip", NAME, PORT)`.',
    ),
    "scout.io.ports": ("Ports", "What packets are received from and sent to."),
}

HEAD = """\
# Reference: the shipped modules

This page is generated from the docstrings by `python docs/make_reference.py`. `help(scout.NAME)` shows the parameters
of each, with their units.

"""

GENERAL = """\
## Drop reasons of every path
| reason | meaning |
|---|---|
| no-TYPE | the service of this type that the packet should use is connected to nothing |
| not-on-path | the packet would leave by a port that `create_path(to=...)` leaves out |
| too-long-for-payload | a stage with `payload=True` needs the whole packet, and it is longer than 64 KiB |
| unknown-verdict | a stage returned a number that is neither 0, one of its outcomes, nor a drop |

[The accounts](architecture.md#accounts) also count what ports and the kernel drop.
"""


@dataclass(frozen=True)
class Shipped:
    """One shipped class, and what its docstring and its module's say."""

    name: str
    value: Any
    summary: str
    services: str
    drops: dict[str, str]
    example: str

    @property
    def kind(self) -> str:
        return self.value.__module__.rpartition(".")[0]

    @property
    def file(self) -> str:
        return self.value.__module__.removeprefix("scout.").replace(".", "/") + ".py"


def shipped() -> list[Shipped]:
    """All public classes of `KINDS`, in the order of the page."""
    values = [(name, getattr(scout, name)) for name in scout.__all__]
    found = [
        _read(name, value)
        for name, value in values
        if inspect.isclass(value) and value.__module__.rpartition(".")[0] in KINDS
    ]
    return sorted(found, key=lambda each: (list(KINDS).index(each.kind), each.name))


def _read(name: str, value: Any) -> Shipped:
    own, shared = inspect.getdoc(value) or "", inspect.getdoc(import_module(value.__module__)) or ""
    fields = FIELD.findall(own) or FIELD.findall(shared)
    drops = {
        reason: " ".join(meaning.split()).removesuffix(".")
        for reasons, meaning in REASONS.findall(_section(own, shared, "Drops"))
        for reason in reasons.split(", ")
    }
    return Shipped(
        name,
        value,
        shared.partition("\n")[0],
        " ".join(f"{title}: {' '.join(text.split())}." for title, text in fields),
        drops,
        _code(_section(own, shared, "Examples?")),
    )


def _section(own: str, shared: str, title: str) -> str:
    """The text of a section of a class's docstring, or else of its module's."""
    found = re.search(UNDERLINED.format(title=title), own, re.MULTILINE | re.DOTALL)
    found = found or re.search(INDENTED.format(title=title), f"{shared}\n", re.MULTILINE)
    return dedent(found[1]).strip("\n") if found else ""


def _code(example: str) -> str:
    """An example without the mark `::` of a block of code."""
    return dedent(example.removeprefix("::\n")).strip("\n")


def _signature(name: str, value: Any) -> str:
    parameters = inspect.signature(value).parameters.values()
    return f"{name}({', '.join(str(each.replace(annotation=each.empty)) for each in parameters)})"


def _entry(module: Shipped) -> str:
    lines = [f"### {module.name}", f"{module.summary} [{module.file}](../{module.file})", ""]
    lines += [f"    {_signature(module.name, module.value)}", ""]
    if module.services:
        lines += [module.services, ""]
    if module.example:
        lines += ["Example:", "", *(f"    {line}".rstrip() for line in module.example.splitlines()), ""]
    if module.drops:
        lines += ["| drop reason | meaning |", "|---|---|"]
        lines += [f"| {reason} | {meaning} |" for reason, meaning in module.drops.items()] + [""]
    return "\n".join(lines)


def page() -> str:
    """The text of docs/reference.md."""
    modules = shipped()
    text = HEAD
    for kind, (title, about) in KINDS.items():
        entries = "\n".join(_entry(module) for module in modules if module.kind == kind)
        text += f"## {title}\n{about}\n\n{entries}\n"
    return text + GENERAL


if __name__ == "__main__":
    (FOLDER / "reference.md").write_text(page())
