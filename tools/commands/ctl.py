"""`scout ctl`: requests of a running router's control socket, as sub-commands.

The sub-commands, their arguments and their help are made from the table of requests.
"""

import inspect
from collections.abc import Callable
from itertools import groupby
from typing import Annotated, Any

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from scout.control_socket.client import ask, find
from scout.control_socket.requests import GROUPS, REQUESTS, Parameter, Request
from scout.tools.options import Json, Socket
from scout.tools.report import Report

__all__ = ["app"]

_IDENTIFIERS = {"pid", "replica", "core", "channel", "mtu_bytes", "next_hop", "row", "key"}
"""Columns of numbers that count nothing, and get no separators of thousands."""


def _choose(context: typer.Context, socket: Socket = None) -> None:
    context.obj = socket


def _command(request: Request) -> Callable[..., None]:
    """The function of a sub-command, whose signature says what typer reads from the command line."""

    def work(context: typer.Context, socket: str | None, json: str | None, **given: Any) -> None:
        report = Report(f"ctl {request.name}", json)
        parameters = {name: value for name, value in given.items() if value is not None}
        answer = ask(socket or context.obj or find(), request.name, parameters)
        _show(report, answer["rows"], answer["total"])
        report.write(parameters, answer["rows"])

    parameters = [
        inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context),
        *map(_read_by_typer, request.parameters),
        inspect.Parameter("socket", inspect.Parameter.KEYWORD_ONLY, annotation=Socket, default=None),
        inspect.Parameter("json", inspect.Parameter.KEYWORD_ONLY, annotation=Json, default=None),
    ]
    work.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    work.__annotations__ = {each.name: each.annotation for each in parameters}
    work.__doc__ = f"{request.about[0].upper()}{request.about[1:]}."
    return work


def _read_by_typer(parameter: Parameter) -> inspect.Parameter:
    """A parameter of a request as one of a command: an argument if it must be given, else an option."""
    python = parameter.kind.python
    kind: Any = list[python] if parameter.kind.many else python  # type: ignore[valid-type]
    kinds = f": {parameter.kind.about}" if parameter.kind.word else ""
    text = f"{parameter.about[0].upper()}{parameter.about[1:]}{kinds}."
    read: dict[str, Any] = {"annotation": Annotated[kind, typer.Argument(metavar=parameter.name.upper(), help=text)]}
    if not parameter.required:
        name = parameter.name.replace("_", "-")
        names = f"--{name}/--no-{name}" if parameter.default is True else f"--{name}"
        option = typer.Option(names, metavar=parameter.kind.word or None, help=text)
        read = {"annotation": Annotated[kind | None, option], "default": None}  # the router knows the default
    return inspect.Parameter(parameter.name, inspect.Parameter.KEYWORD_ONLY, **read)


def _show(report: Report, rows: list[dict[str, Any]], total: int) -> None:
    """Print rows, those in succession that have the same keys as one table."""
    if not rows:
        report.say("none")
    if not report.console.is_terminal:
        report.console.width = 200  # a pipe has no width of its own
    for keys, alike in groupby(rows, key=tuple):
        report.console.print(_table(keys, list(alike)))
    if total > len(rows):
        report.say(f"{len(rows):,} of {total:,} rows; --first and --limit choose others")


def _table(keys: tuple[str, ...], rows: list[dict[str, Any]]) -> Table:
    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for key in keys:
        is_number = type(rows[0][key]) in (int, float)
        shown.add_column(key.replace("_", " "), justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        shown.add_row(*(Text(_text(key, row[key])) for key in keys))  # no markup: brackets stay brackets
    return shown


def _text(key: str, value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and key not in _IDENTIFIERS:
        return f"{value:,}"
    return str(value)


def _made() -> typer.Typer:
    made = typer.Typer(no_args_is_help=True, help="See and steer a running router.", callback=_choose)
    groups: dict[str, typer.Typer] = {}
    for request in REQUESTS:
        group, _, word = request.name.rpartition(" ")
        if group and group not in groups:
            groups[group] = typer.Typer(no_args_is_help=True, help=GROUPS[group])
            made.add_typer(groups[group], name=group, epilog=f"Example: scout ctl {request.name} --json -")
        example = f"Example: scout ctl {request.name} {request.example}".rstrip()
        groups.get(group, made).command(word, epilog=example)(_command(request))
    return made


app = _made()
