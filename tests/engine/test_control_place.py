"""Where control sockets are: their folder, their names, and what is left by dead processes."""

import os
import socket
import stat
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
from counting import counting_router

from scout.control_socket import place
from scout.control_socket.client import ask, find, running
from scout.control_socket.server import ControlSocket
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime directory without the sockets of other tests."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


@pytest.fixture
def router() -> SimpleNamespace:
    """A router that does not run: it says what it is all the same."""
    made = counting_router()
    made.supervisor = Supervisor(made.graph, made.paths, replicas=1)
    return made


def test_sockets_are_private_and_have_names_of_their_own(router: SimpleNamespace, tmp_path: Path) -> None:
    with (
        ControlSocket(router.supervisor, "/a/b/counting.py") as one,
        ControlSocket(router.supervisor, "counting.py") as two,
    ):
        assert [one.path, two.path] == [tmp_path / "scout" / name for name in ("counting.sock", "counting-2.sock")]
        assert stat.S_IMODE(one.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(one.path.parent.stat().st_mode) == 0o700
        assert set(running()) == {one.path, two.path}
        assert find("/a/b/counting.py") == one.path
        with pytest.raises(ScoutError, match=r"several routers run: .*counting-2\.sock"):
            find()
    assert not place.folder().exists()
    with pytest.raises(ScoutError, match="no router runs"):
        find()


def test_a_socket_that_a_dead_process_left_is_removed_at_the_next_start(
    router: SimpleNamespace, tmp_path: Path
) -> None:
    (tmp_path / "scout").mkdir(0o700)
    for name in ("dead.sock", "counting.sock"):
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "scout" / name))
    with pytest.raises(ScoutError, match="no router runs"):
        find()
    with ControlSocket(router.supervisor, "counting.py") as control:
        assert [path.name for path in place.sockets()] == [control.path.name] == ["counting.sock"]


def test_a_folder_that_is_removed_meanwhile_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last router that runs removes it, between this one's making it and its taking the lock."""
    made, removed = place._made, []

    def made_and_removed_once(folder: Path) -> Path:
        made(folder)
        if not removed:
            folder.rmdir()
            removed.append(folder)
        return folder

    monkeypatch.setattr(place, "_made", made_and_removed_once)
    listener, path = place.listen("router")
    with listener:
        assert removed and path == tmp_path / "scout" / "router.sock" and path.is_socket()


def test_a_socket_in_a_folder_of_the_users_leaves_the_folder(router: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    with ControlSocket(router.supervisor, path=str(tmp_path / "mine" / "socket")):
        pass
    assert list((tmp_path / "mine").iterdir()) == []


def test_a_path_that_cannot_be_a_socket_is_refused(router: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with ControlSocket(router.supervisor) as control:
        for path, words in (
            (control.path, "a running process listens there"),
            (tmp_path / "file", "this is no socket"),
            (tmp_path / "nowhere" / "x", "No such file"),
            (tmp_path / ("x" * 120), "longer than 107 bytes"),
        ):
            with pytest.raises(ScoutError, match=words), ControlSocket(router.supervisor, path=str(path)):
                pass
        assert (tmp_path / "file").read_text() == "mine"
        assert ask(control.path, "show router")["ok"]


def test_a_folder_that_others_may_use_is_refused(router: SimpleNamespace, tmp_path: Path) -> None:
    (tmp_path / "scout").mkdir()
    (tmp_path / "scout").chmod(0o777)
    with pytest.raises(ScoutError, match="others may use it"), ControlSocket(router.supervisor):
        pass


def test_without_a_runtime_directory_there_is_a_folder_for_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "gone"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    found = place.folder()
    assert found.parent in (tmp_path, Path(f"/run/user/{os.getuid()}")) and "scout" in found.name
