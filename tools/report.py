"""The output of commands: tables and sentences for people, and the JSON report (`--json PATH`)."""

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from scout.tools.files import write_file

__all__ = ["Report", "machine"]


def machine() -> dict[str, Any]:
    """The machine that figures were measured on: cores this process may use, CPU model, kernel, versions."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "model": model,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "numba": version("numba"),
    }


class Report:
    """The output of one command.

    Standard output is for people, unless `--json -` claims it for the report: then tables and sentences go to standard
    error.

    Parameters
    ----------
    command : str
        The command's name, as "bench path".
    path : str or None
        Where the JSON report goes: a file, `-` for standard output, or None for nowhere.

    Attributes
    ----------
    console : rich.console.Console
        Where people read.
    """

    def __init__(self, command: str, path: str | None) -> None:
        self._command, self._path = command, path
        self.console = Console(stderr=path == "-")

    def say(self, *sentences: str) -> None:
        """Print sentences, one on each line."""
        for sentence in sentences:
            print(sentence, file=sys.stderr if self._path == "-" else sys.stdout)

    def note(self, message: str) -> None:
        """Print a line about what is going on, on standard error: for a terminal as for the log of a service."""
        print(f"scout: {message}", file=sys.stderr, flush=True)

    def show(self, rows: list[dict[str, Any]]) -> None:
        """Print rows that have the same keys as a table."""
        shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1))
        for key in rows[0]:
            shown.add_column(key, justify="left" if key == "name" else "right", no_wrap=True)
        for row in rows:
            shown.add_row(*(f"{value:,}" if isinstance(value, int) else str(value) for value in row.values()))
        if not self.console.is_terminal:
            self.console.width = 200  # a pipe has no width of its own
        self.console.print(shown)

    def write(self, parameters: dict[str, Any], results: list[dict[str, Any]]) -> None:
        """Write the JSON report, if one is wanted.

        Parameters
        ----------
        parameters : dict
            The settings on which the figures depend, besides the machine.
        results : list of dict
            One flat object for each measured row, with units in the keys.

        Raises
        ------
        OutputError
            If it cannot be written.
        """
        if self._path is None:
            return
        report = {
            "schema": 1,
            "command": self._command,
            "machine": machine(),
            "parameters": parameters,
            "results": results,
        }
        text = json.dumps(report, indent=2) + "\n"
        if self._path == "-":
            sys.stdout.write(text)
        else:
            write_file(self._path, text.encode())
