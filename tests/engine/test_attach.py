"""Errors of applications that find no router, or several; no router runs here."""

import socket
from pathlib import Path

import pytest

from scout import sockets
from scout.control_socket import place
from scout.endpoints.registry import SUFFIX
from scout.ring.errors import ScoutError


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime directory without the sockets of other tests."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def test_without_a_router_the_error_says_how_to_start_one() -> None:
    with pytest.raises(ScoutError, match=r"no router with an ApplicationPort runs .*scout run"):
        sockets.attach()
    with pytest.raises(ScoutError, match=r"lesson.apps: no router runs there .*choose one that runs: none"):
        sockets.attach("lesson")


def test_the_error_names_the_routers_that_run() -> None:
    made = [place.listen(name, None, SUFFIX, socket.SOCK_SEQPACKET) for name in ("one", "two")]
    try:
        with pytest.raises(ScoutError, match=r"several routers run \(one, two\)"):
            sockets.attach()
        with pytest.raises(ScoutError, match="choose one that runs: one, two"):
            sockets.attach("three")
    finally:
        for listener, path in made:
            inode = path.stat().st_ino
            listener.close()
            place.remove(path, inode)
