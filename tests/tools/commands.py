"""Scout's commands as a shell runs them, for tests."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from scout.tools.cli import app
from scout.tools.guard import exit_status

ROOT = Path(__file__).parents[2]
LESSON = str(ROOT / "examples" / "01_router.py")
SCOUT = [sys.executable, "-c", "from scout.tools.cli import main; main()"]

PATIENCE = 600.0  # seconds: far more than a command takes, compiling on a loaded machine included

MEMORY_ROUTER = """
from scout import Arp, Ethernet, Icmp, Ip, MemoryPort, RouterGraph

graph = RouterGraph("memory")
graph.add(Ethernet("left", MemoryPort("02:00:00:00:00:01", frames=[bytes(60)] * 3)))
graph.add(Ethernet("right", MemoryPort("02:00:00:00:00:02", frames=[])))
graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
for port in ("left", "right"):
    graph.connect("icmp", "ip", port)
    graph.connect("ip", "arp", port)
"""
"""A router file whose input has an end: three frames that are not for the router. Its code is that of `port_router`."""


def here(*arguments: str) -> int:
    """Run a command in this process; its exit status. For commands that end before they do much."""
    return exit_status(lambda: app(list(arguments), standalone_mode=False, prog_name="scout"))


def scout(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    options = {"capture_output": True, "text": True, "timeout": PATIENCE, "check": False} | options
    return subprocess.run([*SCOUT, *arguments], **options)


def start(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True} | options
    return subprocess.Popen([*SCOUT, *arguments], **options)


def report_of(file: Path, command: str) -> dict[str, Any]:
    """The figures that a command has written to a file."""
    written: dict[str, Any] = json.loads(file.read_text())
    assert written["schema"] == 1 and written["command"] == command
    return written
