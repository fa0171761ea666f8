"""A probe: one function that tries what Scout needs, in a process of its own.

So this process stays as it is, whatever namespaces a probe enters, and even if a probe dies.
"""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Literal

from scout.io.host.interrupts import uninterrupted
from scout.ring.errors import ScoutError

__all__ = ["Check", "Probe", "Shortfall", "Status", "check"]

Status = Literal["ok", "missing", "optional"]

PROBE_SECONDS = 60.0  # importing numba from a cold disk takes the longest


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a probe.

    Attributes
    ----------
    name : str
    status : {"ok", "missing", "optional"}
        `missing` is something that Scout needs; `optional` is missing too, and only what `meaning` names needs it.
    found : str
        The finding, in words.
    meaning : str
        The purpose for which Scout needs it.
    fix : str
        How to get it; empty if the status is `ok`.
    """

    name: str
    status: Status
    found: str
    meaning: str
    fix: str


@dataclass(frozen=True, slots=True)
class Probe:
    """A thing to try, and the message when that fails.

    Attributes
    ----------
    name : str
    lack : {"missing", "optional"}
        The status when the probe fails.
    meaning : str
        The purpose for which Scout needs it.
    fix : str
        How to get it.
    look : callable
        Returns what it found, or raises.
    """

    name: str
    lack: Status
    meaning: str
    fix: str
    look: Callable[[], str]


class Shortfall(Exception):
    """The probed thing works, but less well than it could; the text says what was found."""


def check(probe: Probe) -> Check:
    """Run a probe in a forked process."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_look, args=(probe, theirs))
    with uninterrupted():  # the child inherits this: it ends by itself, and removes its namespaces first
        process.start()
    theirs.close()  # so that a probe that dies ends the pipe
    status, found, fix = probe.lack, f"no answer in {PROBE_SECONDS:g} s", probe.fix
    try:
        if ours.poll(PROBE_SECONDS):
            status, found, fix = ours.recv()
        else:
            process.kill()
    except EOFError:
        process.join()
        found = f"the probe died with status {process.exitcode}"
    finally:
        process.join(1)
        process.kill()
        process.join()
        ours.close()
    return Check(probe.name, status, found, probe.meaning, fix)


def _look(probe: Probe, report: Connection) -> None:
    """Run in a forked process."""
    try:
        report.send(("ok", probe.look(), ""))
    except Shortfall as shortfall:
        report.send(("optional", str(shortfall), probe.fix))
    except ScoutError as error:
        found, _, fix = str(error).partition("; ")  # a ScoutError names the fix itself
        report.send((probe.lack, found, fix or probe.fix))
    except OSError as error:
        report.send((probe.lack, error.strerror or str(error), probe.fix))
    except Exception as error:  # any failure is the result of the probe
        report.send((probe.lack, f"{type(error).__name__}: {error}", probe.fix))
