"""The control socket: what it answers, what it refuses, and that it goes on whatever clients do."""

import errno
import inspect
import json
import os
import socket
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from counting import counting_router

from scout.control_socket import server
from scout.control_socket.changes import Changes, _traffic
from scout.control_socket.client import ask
from scout.control_socket.figures import Figures
from scout.control_socket.protocol import LONGEST_LINE, MOST_CLIENTS
from scout.control_socket.requests import REQUESTS
from scout.control_socket.server import ControlSocket
from scout.control_socket.state import State
from scout.control_socket.traces import Traces
from scout.io.host.process import Child
from scout.paths.model.attributes import WISHES
from scout.ring.errors import ScoutError
from scout.supervisor import Supervisor
from scout.testing import await_until

PATIENCE = 60.0  # seconds for an answer on a loaded machine
NO_SUCH_USER = 77  # the exit status of a process that cannot become another user


@pytest.fixture(autouse=True)
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime directory without the sockets of other tests, and time enough for clients on a loaded machine."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(server, "LINE_TIMEOUT", PATIENCE)


@pytest.fixture(scope="module")
def router() -> Iterator[SimpleNamespace]:
    """A running router; tests give it sockets of their own."""
    made = counting_router()
    with Supervisor(made.graph, made.paths, replicas=1) as supervisor:
        made.supervisor = supervisor
        yield made


@pytest.fixture
def control(router: SimpleNamespace) -> Iterator[ControlSocket]:
    with ControlSocket(router.supervisor, "counting.py") as opened:
        yield opened


class Client:
    """A client that sends what it likes."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        self._socket.connect(str(path))
        self._lines = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        with suppress(BrokenPipeError):  # it may be refused before it has sent all
            self._socket.sendall(data)

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def answer(self) -> dict[str, Any]:
        read: dict[str, Any] = json.loads(self._lines.readline())
        return read

    def at_end(self) -> bool:
        """True if the router has closed the connection."""
        try:
            return self._lines.readline() == b""
        except ConnectionResetError:  # it had not read all that was sent
            return True

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


@pytest.fixture
def client(control: ControlSocket) -> Iterator[Client]:
    made = Client(control.path)
    yield made
    made.close()


def line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def refused(answer: dict[str, Any]) -> str:
    assert answer["ok"] is False and set(answer) == {"ok", "error"}
    assert len(answer["error"].splitlines()) == 1
    return str(answer["error"])


# The requests.


def test_each_request_has_one_method_with_its_parameters() -> None:
    for request in REQUESTS:
        (method,) = (
            getattr(each, request.method) for each in (Figures, State, Traces, Changes) if hasattr(each, request.method)
        )
        names = [each.name for each in request.parameters]
        wanted = list(inspect.signature(method).parameters)[1:]
        if wanted[-1:] == ["given"]:  # the attributes of a path's traffic
            wanted[-1:] = inspect.signature(_traffic).parameters
        if wanted[-1:] == ["wishes"]:
            wanted[-1:] = WISHES
        assert wanted == names


def test_a_client_may_make_many_requests_and_learns_what_runs(router: SimpleNamespace, client: Client) -> None:
    client.send(line(do="show router") + line(do="show graph"))
    (row,) = client.answer()["rows"]
    assert (row["router"], row["state"], row["replicas"], row["pid"]) == ("counting", "running", 1, os.getpid())
    assert [each["kind"] for each in client.answer()["rows"]] == ["Requests", "Service", "End"]


def test_figures_are_those_of_the_account(router: SimpleNamespace, control: ControlSocket) -> None:
    for _ in range(150):
        router.port.send(b"request", timeout=PATIENCE)
    await_until(lambda: sum(row["primary"] for row in ask(control.path, "show replicas")["rows"]) >= 150)
    account = router.supervisor.account()
    rows = ask(control.path, "show figures")["rows"]
    (path,) = (row for row in rows if row["name"] == "path")
    (port,) = (row for row in rows if row["name"] == "port")
    assert path["packets"] == port["received"] == account["received"]
    ended = [row for row in ask(control.path, "show account")["rows"] if row["name"] == "ended"]
    assert {row["reason"]: row["packets"] for row in ended} == account["ended"]
    assert [row["lag"] for row in rows if row["name"] == "channel"] == [0]
    (total,) = ask(control.path, "show table", {"table": "hundreds.total"})["rows"]
    assert total["requests"] >= 150


def test_handlers_are_bound_and_unbound(control: ControlSocket) -> None:
    def bound() -> dict[str, bool]:
        return {row["handler"]: row["bound"] for row in ask(control.path, "show handlers")["rows"]}

    assert bound() == {"count": True, "report": True}
    ask(control.path, "unbind", {"service": "hundreds", "handlers": ["report"]})
    assert bound() == {"count": True, "report": False}
    ask(control.path, "bind", {"service": "hundreds", "handlers": ["report"]})
    assert bound() == {"count": True, "report": True}
    for service, handler, words in (
        ("hundreds", "x", "no handler 'x'"),
        ("done", "x", "no service"),
        ("x", "x", "'x'"),
    ):
        with pytest.raises(ScoutError, match=words):
            ask(control.path, "bind", {"service": service, "handlers": [handler]})


def test_settings_are_shown_and_set(router: SimpleNamespace, control: ControlSocket) -> None:
    assert ask(control.path, "show settings")["rows"] == [{"setting": "hundreds.every", "value": 100}]
    reports = router.supervisor.table("hundreds.reports")
    before, sent = int(reports[0]), int(router.supervisor.table("hundreds.total")[0]["requests"])
    ask(control.path, "set", {"setting": "hundreds.every", "value": 1})
    for _ in range(5):
        router.port.send(b"request", timeout=PATIENCE)
    await_until(lambda: int(reports[0]) == before + 5)
    ask(control.path, "set", {"setting": "hundreds.every", "value": 100})
    assert int(router.supervisor.table("hundreds.total")[0]["requests"]) == sent + 5


def test_replicas_join_and_leave(router: SimpleNamespace, control: ControlSocket) -> None:
    (joined,) = ask(control.path, "add-replica")["rows"]
    states = {row["replica"]: row["state"] for row in ask(control.path, "show replicas")["rows"]}
    assert states == {0: "takes part", joined["replica"]: "takes part"}
    ask(control.path, "remove-replica", {"replica": joined["replica"]})
    assert router.supervisor.taking_part == [0]
    with pytest.raises(ScoutError, match="last one"):
        ask(control.path, "remove-replica", {"replica": 0})


def test_rows_come_in_pages(control: ControlSocket) -> None:
    answer = ask(control.path, "show table", {"table": "hundreds.events", "first": 30, "limit": 1})
    assert [row["row"] for row in answer["rows"]] == [30] and answer["total"] == 32


def test_a_router_that_compiles_says_so_and_answers_nothing_else() -> None:
    made = counting_router()
    with ControlSocket(Supervisor(made.graph, made.paths, replicas=1), "waiting.py") as control:
        assert ask(control.path, "show router")["rows"][0]["state"] == "compiling"
        for request in ("show ports", "add-replica", "stop"):
            with pytest.raises(ScoutError, match="still compiling"):
                ask(control.path, request)


def test_stop_calls_what_the_script_says(router: SimpleNamespace, control: ControlSocket) -> None:
    with pytest.raises(ScoutError, match="end the script"):
        ask(control.path, "stop")
    calls: list[str] = []
    with ControlSocket(router.supervisor, "other.py", stop=lambda: calls.append("stop")) as other:
        assert ask(other.path, "stop")["rows"] == [{"router": "counting", "state": "stopping"}]
    assert calls == ["stop"]


def test_a_socket_closes_without_a_word_while_a_client_waits(
    router: SimpleNamespace, caplog: pytest.LogCaptureFixture
) -> None:
    with ControlSocket(router.supervisor, "other.py") as control:
        client = Client(control.path)
        client.send(line(do="show router"))
        assert client.answer()["rows"]  # so it is served
    assert client.at_end() and caplog.records == []
    client.close()


def test_a_reload_shows_its_changes_first_if_that_is_wished(router: SimpleNamespace, tmp_path: Path) -> None:
    file = tmp_path / "counting_file.py"
    lines = [
        "from counting import counting_router",
        "made = counting_router({})",
        "graph, paths = made.graph, made.paths",
    ]
    with ControlSocket(router.supervisor, str(file), str(tmp_path / "one.sock")) as control:
        for value in (50, 100):
            file.write_text("\n".join(lines).format(value))
            changes = [{"change": f"SetValue hundreds.every: {150 - value} to {value}"}]
            for dry in (True, True, False):  # one that is made has changed the setting when it is shown
                assert ask(control.path, "reload", {"dry_run": dry})["rows"] == changes
            assert ask(control.path, "reload", {"dry_run": True})["rows"] == []


# What is refused.


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"\n", "not JSON"),
        (b"show routes\n", "not JSON"),
        (b"\xff\xfe\n", "not JSON"),
        (b"[" * 60_000 + b"\n", "not JSON"),
        (b'{"do": ' + b"1" * 10_000 + b"}\n", "not JSON"),
        (b"[]\n", "an object"),
        (b"null\n", "an object"),
        (b"{}\n", "an object"),
        (line(do=7), "an object"),
        (line(do="show everything"), "there is no request 'show everything'; the nearest is"),
        (line(do="x" * 60_000), "there is no request"),
        (line(do="__init__"), "there is no request"),
        (line(do="show routes", of="left"), "no parameter 'of'; it takes first, limit"),
        (line(do="show routes", limit=0), "limit is 0; give a number, from 1 to 1,000"),
        (line(do="show routes", limit=True), "limit is True"),
        (line(do="show routes", limit=1e300), "limit is 1e+300"),
        (line(do="show routes", first="1"), "first is '1'"),
        (line(do="show edges", path="a\nb"), "path is 'a\\nb'; give a name"),
        (line(do="show edges", path="nosuch"), "no path begins at 'nosuch'"),
        (line(do="show table"), "table is missing"),
        (line(do="show table", table="nosuch"), "no table 'nosuch'"),
        (line(do="show table", table="hundreds.total", replica=9), "no replica 9"),
        (line(do="bind", service="hundreds", handlers="report"), "give one name or more"),
        (line(do="bind", service="hundreds", handlers=[]), "give one name or more"),
        (line(do="bind", service="hundreds", handlers=["x"] * 2000), "give one name or more"),
        (line(do="set", setting="nosuch", value=1), "no setting 'nosuch'; there are hundreds.every"),
        (line(do="set", setting="hundreds.every", value=1 << 63), "value is 9223372036854775808; give a number"),
        (line(do="route add", prefix="10.9.0.1/16", via="10.0.1.2"), "prefix is '10.9.0.1/16'; give an IPv4 prefix"),
        (line(do="route add", prefix="10.9.0.0/16", via="10.0.1.2"), "takes"),
        (line(do="neighbour set", port="left", address="10.0.0", mac="x"), "address is '10.0.0'; give an IPv4 address"),
        (line(do="remove-replica", replica=-1), "replica is -1"),
        (line(do="reload", dry_run=1), "dry_run is 1; give true or false"),
        (
            line(do="port add", port="left", interface="eth3", frames=512),
            "no parameter 'frames'; it takes port, interface, mac, promiscuous, coalesce",
        ),
        (line(do="remove-replica", replica=30), "replica 30 does not take part"),
    ],
)
def test_a_bad_request_is_refused_in_one_line_and_changes_nothing(
    router: SimpleNamespace, client: Client, sent: bytes, words: str
) -> None:
    before = router.supervisor.taking_part, router.supervisor.table("hundreds.bound").tolist()
    client.send(sent)
    assert words in refused(client.answer())
    client.send(line(do="show router"))
    assert client.answer()["ok"], "the connection goes on"
    assert before == (router.supervisor.taking_part, router.supervisor.table("hundreds.bound").tolist())


@pytest.mark.parametrize("size", [LONGEST_LINE + 1, 1 << 22])
def test_a_huge_request_is_refused_and_its_client_with_it(control: ControlSocket, client: Client, size: int) -> None:
    client.send(b'{"do": "' + b"x" * size)
    assert "longer than 65,536 bytes" in refused(client.answer())
    assert client.at_end()
    assert ask(control.path, "show router")["ok"]


def test_a_request_without_its_end_is_refused(control: ControlSocket, client: Client) -> None:
    client.send(line(do="stop")[:-1])
    client.end()
    assert "no newline" in refused(client.answer())
    assert client.at_end()


@pytest.mark.parametrize("half", [b"", b'{"do": "sho'])
def test_a_client_that_does_not_finish_its_request_loses_its_place(
    control: ControlSocket, client: Client, half: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LINE_TIMEOUT", 0.05)
    late = Client(control.path)  # `client` was accepted with the time that it had before
    late.send(half)
    assert "no whole request" in refused(late.answer())
    assert late.at_end()
    late.close()


def test_a_client_that_takes_no_answers_loses_its_place(
    control: ControlSocket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LINE_TIMEOUT", 0.2)
    greedy = Client(control.path)
    greedy._socket.setblocking(False)
    with pytest.raises(OSError):  # full, or closed
        while True:
            greedy._socket.send(line(do="show edges") * 100)
    await_until(lambda: control._clients == 0)
    monkeypatch.setattr(server, "LINE_TIMEOUT", PATIENCE)
    assert ask(control.path, "show router")["ok"]
    greedy.close()


def test_clients_beyond_the_bound_are_refused_and_the_others_served(control: ControlSocket) -> None:
    clients = [Client(control.path) for _ in range(100)]
    for each in clients:
        each.send(line(do="show router"))
    answers = [each.answer() for each in clients]
    assert sum(answer["ok"] for answer in answers) == MOST_CLIENTS
    assert {refused(answer) for answer in answers if not answer["ok"]} == {
        "64 clients are being served; try again when one has gone"
    }
    for each in clients:
        each.close()
    await_until(lambda: control._clients == 0)
    assert ask(control.path, "show router")["ok"]


def as_another_user(path: Path, words: str) -> None:
    """Connect as another user: the process ends with 0 if the router's answer contains the words."""
    try:
        os.setgroups([])
        os.setuid(65534)
    except OSError:
        raise SystemExit(NO_SUCH_USER) from None
    try:
        client = Client(path)
    except OSError as error:
        raise SystemExit(errno.errorcode[error.errno or 0] != words) from None
    client.send(line(do="add-replica"))
    raise SystemExit(words not in refused(client.answer()))


@pytest.mark.parametrize(("mode", "words"), [(0o600, "EACCES"), (0o666, "belongs to user")])
def test_another_user_is_refused_by_the_file_and_by_the_router(router: SimpleNamespace, mode: int, words: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with ControlSocket(router.supervisor, path=f"{folder}/open.sock") as control:
            assert stat.S_IMODE(control.path.stat().st_mode) == 0o600
            control.path.chmod(mode)
            process = Child(as_another_user, control.path, words)
            assert process.join(PATIENCE)
    if process.exitcode == NO_SUCH_USER:
        pytest.skip("this process cannot become another user")
    assert process.exitcode == 0, process.error
    assert router.supervisor.taking_part == [0]


def test_an_error_of_the_routers_own_is_one_line_and_the_next_request_is_answered(
    control: ControlSocket, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(Supervisor, "account")
    with pytest.raises(ScoutError, match="the router failed in this request: AttributeError"):
        ask(control.path, "show account")
    assert "goes on after an error: Traceback" in capsys.readouterr().err
    assert ask(control.path, "show router")["ok"]


def test_replicas_hold_no_sockets_of_clients(router: SimpleNamespace, control: ControlSocket, client: Client) -> None:
    client.send(line(do="add-replica"))
    (joined,) = client.answer()["rows"]
    ours = os.readlink(f"/proc/self/fd/{control._listener.fileno()}")
    folder = Path(f"/proc/{router.supervisor.processes[joined['replica']].pid}/fd")
    links = [os.readlink(each) for each in folder.iterdir()]
    assert ours.startswith("socket:") and not [link for link in links if link.startswith("socket:")]
    ask(control.path, "remove-replica", {"replica": joined["replica"]})
