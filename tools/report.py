"""The JSON report that every command with figures writes (`--json PATH`, `-` for standard output)."""

import json
import os
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scout.ring.errors import ScoutError

__all__ = ["machine", "write_json"]


def machine() -> dict[str, Any]:
    """What the figures were measured on: cores this process may use, CPU model, kernel, versions."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
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


def write_json(path: str, command: str, parameters: dict[str, Any], results: list[dict[str, Any]]) -> None:
    """Write one report object to `path`, `-` for standard output.

    Raises
    ------
    ScoutError
        If the file cannot be written.
    """
    report = {
        "schema": 1,
        "command": command,
        "machine": machine(),
        "parameters": parameters,
        "results": results,
    }
    text = json.dumps(report, indent=2) + "\n"
    if path == "-":
        sys.stdout.write(text)
        return
    try:
        Path(path).write_text(text)
    except OSError as error:
        raise ScoutError(f"--json {path}: {error.strerror}; name a file that can be written, or -") from error
