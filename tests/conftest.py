"""An ordinary user's tests run in a sandbox, entered here: before any test imports numpy and its threads."""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from scout.io.host import sandbox
from scout.ring.errors import ScoutError

# A shell starts background jobs with SIGINT ignored, nohup with SIGHUP; processes that tests start would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# Else each process that a test starts would compile all of Scout's sources anew, and each run all tests.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

gc.disable()  # until all tests are collected: hardly any of what is imported is garbage

try:
    sandbox.enter()
    WHY_NOT = ""
except ScoutError as error:
    WHY_NOT = str(error)


_HERE = Path(__file__).parent

_FIRST = (
    "engine/test_tcp_records.py",
    "tools/test_cli.py",
    "engine/test_live_paths.py",
    "io/test_live_ports.py",
    "engine/test_path_queues.py",
    "io/test_ports.py",
)
"""The files that take longest. Begun last, one of them would keep one process busy while the others have ended."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False  # pytest-xdist: by their order, not by how many tests they have
    if getattr(config.option, "numprocesses", None):
        gc.enable()  # other processes collect the tests


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    first = {str(_HERE / name): number for number, name in enumerate(_FIRST)}
    items.sort(key=lambda item: first.get(str(item.path), len(first)))


def pytest_collection_finish() -> None:
    _collect()
    gc.enable()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    yield
    if nextitem is None or nextitem.path != item.path:  # the fixtures of the module have been torn down too
        _collect()


def _collect() -> None:
    """Free the garbage, which keeps tables of many MiB: each fork would copy the page tables of all of it.

    What is left stays until the end: what modules have imported, and what numba knows of compiled functions. Frozen, it
    is not gone through again by later collections.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def patience() -> Iterator[None]:
    """Nothing is given up because the machine is slow: no replica that leaves is killed, and no request is refused.

    Tests of a limit choose their own.
    """
    with pytest.MonkeyPatch.context() as patch:
        for limit in (
            "scout.membership._LEAVE_GRACE",
            "scout.endpoints.sockets._PATIENCE",
            "scout.endpoints.sockets._RESETTING",
            "scout.control_socket.changes._PATIENCE",
            "scout.live_ports._PATIENCE",
        ):
            patch.setattr(limit, 600.0)
        yield


def pytest_runtest_setup(item: pytest.Item) -> None:
    if WHY_NOT and item.get_closest_marker("needs_namespaces"):
        pytest.skip(WHY_NOT)
