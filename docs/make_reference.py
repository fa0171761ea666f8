"""Write docs/reference.md, the list of shipped modules, from their docstrings, and the table of requests in
docs/control.md: python docs/make_reference.py

The docstring of a module begins with a line that says what it does. Fields such as `Requires: arp.` follow, and
sections: a title on a line of its own with indented lines below it::

    Drops
        policed: the flow's bucket has less than the packet's size.
    Example
        TokenBucket("policer", rate=125_000, burst=30_000)
"""

import inspect
import re
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import scout
from scout.control_socket.requests import REQUESTS, Request
from scout.drop_reasons import OF_EVERY_PATH, OF_THE_ACCOUNTS, documented, sections

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
FIELD = re.compile(r"^(Requires|Provides|Requires and provides|Drops): (.*?)\.$", re.MULTILINE | re.DOTALL)

KINDS = {
    "scout.paths.protocols": ("Routers", "Protocol modules of the router graph."),
    "scout.paths.stages": ("Stages", "Modules that stand between two routers, or begin and end a path of requests."),
    "scout.paths.services": (
        "Services",
        "Stages with a state on every replica. They are connected like a `Filter`: "
        '`graph.add(...)`, then `graph.connect("ip", NAME, PORT)`.',
    ),
    "scout.paths.changes": ("Changes", "What `Supervisor.change` makes [while packets flow](while-running.md)."),
    "scout.io.ports": ("Ports", "Packets are received from ports and sent to ports."),
}

HEAD = """\
# Reference: the shipped modules

This page is generated from the docstrings by `python docs/make_reference.py`. `help(scout.NAME)` shows the parameters
of each, with their units.

"""

BEGIN, END = "<!-- requests: written by docs/make_reference.py -->", "<!-- end -->"


@dataclass(frozen=True)
class Shipped:
    """One module, and what its docstring says; its public classes by name."""

    name: str
    classes: dict[str, Any]
    summary: str
    fields: str
    drops: dict[str, str]
    example: str

    @property
    def kind(self) -> str:
        return _kind(self.name)

    @property
    def file(self) -> str:
        return self.name.removeprefix("scout.").replace(".", "/") + ".py"


def _kind(module: str) -> str:
    """The package that a module belongs to; a protocol with a package of its own has its router in `router.py`."""
    return module.removesuffix(".router").rpartition(".")[0]


def shipped() -> list[Shipped]:
    """All modules of `KINDS` that define a public class, in the order of the page."""
    found: dict[str, dict[str, Any]] = {}
    for name in scout.__all__:
        value = getattr(scout, name)
        if inspect.isclass(value) and _kind(value.__module__) in KINDS:
            found.setdefault(value.__module__, {})[name] = value
    modules = [_read(name, classes) for name, classes in found.items()]
    return sorted(modules, key=lambda module: (list(KINDS).index(module.kind), module.name))


def _read(name: str, classes: dict[str, Any]) -> Shipped:
    text = f"{inspect.getdoc(import_module(name))}\n"
    return Shipped(
        name,
        classes,
        text.partition("\n")[0],
        " ".join(f"{title}: {' '.join(value.split())}." for title, value in FIELD.findall(text)),
        documented(text),
        sections(text).get("Example", ""),
    )


def _signature(name: str, value: Any) -> str:
    parameters = inspect.signature(value).parameters.values()
    return f"{name}({', '.join(str(each.replace(annotation=each.empty)) for each in parameters)})"


def _entry(module: Shipped) -> str:
    lines = [f"### {', '.join(module.classes)}", f"{module.summary} [{module.file}](../{module.file})", ""]
    lines += [*(f"    {_signature(*each)}" for each in module.classes.items()), ""]
    if module.fields:
        lines += [module.fields, ""]
    if module.example:
        lines += ["Example:", "", *(f"    {line}".rstrip() for line in module.example.splitlines()), ""]
    if module.drops:
        lines += [_table("drop reason", module.drops)]
    return "\n".join(lines)


def _table(title: str, meanings: dict[str, str]) -> str:
    lines = [f"| {title} | meaning |", "|---|---|", *(f"| {reason} | {text} |" for reason, text in meanings.items())]
    return "\n".join([*lines, ""])


def page() -> str:
    """The text of docs/reference.md."""
    modules = shipped()
    text = HEAD
    for kind, (title, about) in KINDS.items():
        entries = "\n".join(_entry(module) for module in modules if module.kind == kind)
        text += f"## {title}\n{about}\n\n{entries}\n"
    text += f"## Drop reasons of every path\n{_table('reason', OF_EVERY_PATH)}\n"
    text += "## Drop reasons of the accounts\n[The accounts](architecture.md#accounts) also have these.\n\n"
    return text + _table("reason", OF_THE_ACCOUNTS)


def _request(request: Request) -> str:
    parameters = [
        f"`{each.name}`: {each.about} ({each.kind.about})" + ("" if each.required else "; optional")
        for each in request.parameters
    ]
    return f"| `{request.name}` | {request.about} | {'<br>'.join(parameters)} |"


def control_page() -> str:
    """The text of docs/control.md: as it is, with the table of requests written anew."""
    before, mark, rest = (FOLDER / "control.md").read_text().partition(f"{BEGIN}\n")
    rows = "\n".join(["| request | what it does | parameters |", "|---|---|---|", *map(_request, REQUESTS)])
    return f"{before}{mark}{rows}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    (FOLDER / "reference.md").write_text(page())
    (FOLDER / "control.md").write_text(control_page())
