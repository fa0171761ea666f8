"""Stock programs with applications of our TCP, on a link and on a TAP device; and tshark's opinion of what they say."""

import importlib.util
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from host_router import OURS, PEER, Host, running_host
from scapy.all import IP, TCP, Ether, wrpcap
from sniffing import WITHOUT, captured, complaints
from test_tcp import DATA, together

from scout import Tcp
from scout.testing import await_until

pytestmark = pytest.mark.needs_namespaces

EXAMPLES = Path(__file__).parents[2] / "examples"
LESSON = """
import importlib.util, sys
from scout import sockets
sockets.attach(sys.argv[1])
spec = importlib.util.spec_from_file_location("lesson", sys.argv[2])
lesson = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lesson)
"""
"""The beginning of a program that is an application of ours from a lesson."""

IPERF_PORT = "5201"
"""Of what iperf3 sends too much would be captured."""

SERVE_HTTP = LESSON + "lesson.asyncio.run(lesson.serve(sys.argv[3]))"
SERVE_IPERF = LESSON + "lesson.serve(sockets)"
MEASURE = LESSON + "lesson.SECONDS = 1; lesson.measure(sockets, sys.argv[3], 1, sys.argv[4] == '-R')"


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [each for each in programs if shutil.which(each) is None]
    return pytest.mark.skipif(bool(missing), reason=f"missing: {', '.join(missing)}")


@pytest.fixture(scope="module", params=["link", pytest.param("tap", marks=pytest.mark.long)])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host, on a link without offloads or on a TAP device; at the end tshark has found no fault in what was said."""
    has_tap, capture = request.param == "tap", tmp_path_factory.mktemp("programs") / "capture"
    with running_host(2, has_tap, Tcp("tcp"), sockets=512) as running, ExitStack() as capturing:
        if not has_tap:  # each packet is seen as it would be on a wire
            running.peer.offload("eth0", **WITHOUT)
            running.own.offload("r0", **WITHOUT)
        if shutil.which("tcpdump"):
            capturing.enter_context(captured(running.peer, "r0" if has_tap else "eth0", capture, f"port {IPERF_PORT}"))
        yield running
        capturing.close()
        if capture.exists() and shutil.which("tshark"):
            assert complaints(capture, has_checksums=not has_tap) == ""


@contextmanager
def started(host: Host, command: list[str], ready: str | None, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program in the peer's namespace, once it has said something."""
    with host.peer.entered():
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    try:
        while ready is not None and ready not in (line := process.stdout.readline()):  # type: ignore[union-attr]
            assert line, command
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()  # type: ignore[union-attr]


def run(host: Host, *command: str, data: bytes = b"") -> bytes:
    """The output of a program in the peer's namespace."""
    with host.peer.entered():
        return subprocess.run(command, input=data, capture_output=True, check=True).stdout


def ours(program: str, host: Host, lesson: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", program, host.name, str(EXAMPLES / lesson), *arguments]


def lesson(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("lesson", EXAMPLES / name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def receive(sock: Any) -> bytes:
    return b"".join(iter(lambda: sock.recv(1 << 17), b""))


def connect(host: Host, port: int) -> Any:
    """A connection of ours to a program that does not say when it listens."""
    found = []

    def has_connected() -> bool:
        sock = host.our_stream()
        if sock.connect_ex((PEER, port)):
            sock.close()
            return False
        found.append(sock)
        return True

    await_until(has_connected)
    return found[0]


@needs("nc")
def test_nc_talks_to_our_server(host: Host) -> None:
    with host.our_stream(7701) as listener:
        listener.listen(1)

        def serve() -> bytes:
            with listener.accept()[0] as sock:
                got = receive(sock)
                sock.sendall(got[::-1])
            return got

        answer, got = together(lambda: run(host, "nc", "-N", OURS, "7701", data=DATA), serve)
    assert got == DATA and answer == DATA[::-1]


@needs("nc")
def test_our_client_talks_to_nc(host: Host, tmp_path: Path) -> None:
    (tmp_path / "question").write_bytes(DATA)
    with (
        open(tmp_path / "question", "rb") as question,
        open(tmp_path / "answer", "wb") as answer,
        host.peer.entered(),
        subprocess.Popen(["nc", "-N", "-l", PEER, "7702"], stdin=question, stdout=answer) as nc,
    ):
        with connect(host, 7702) as sock:
            got = receive(sock)  # first: nc ends when its peer has ended, whatever it still has to send
            sock.sendall(DATA[::-1])
        assert nc.wait(300) == 0
    assert got == DATA and (tmp_path / "answer").read_bytes() == DATA[::-1]


@needs("curl", "openssl")
def test_curl_talks_to_our_server(host: Host, tmp_path: Path) -> None:
    tenth = lesson("10_http_server.py")
    tenth.make_certificate(tmp_path)
    with started(host, ours(SERVE_HTTP, host, "10_http_server.py", str(tmp_path)), "ready"):
        assert run(host, "curl", "-sS", f"http://{OURS}/hello/you") == b"hello, you\n"
        secret = run(host, "curl", "-sS", "--cacert", f"{tmp_path}/cert.pem", f"https://{OURS}/hello/secret")
        assert secret == b"hello, secret\n"
        assert run(host, "curl", "-sS", f"http://{OURS}/back", "--data-binary", "@-", data=DATA) == DATA


def test_our_client_talks_to_pythons_server(host: Host, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    command = [sys.executable, "-u", "-m", "http.server", "7703", "--bind", PEER, "--directory", str(tmp_path)]
    with started(host, command, "Serving", stderr=subprocess.DEVNULL), connect(host, 7703) as sock:
        sock.sendall(b"GET /file HTTP/1.0\r\n\r\n")
        head, _, body = receive(sock).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.0 200") and body == DATA


@pytest.mark.long
@needs("iperf3")
def test_iperf3_talks_to_our_server(host: Host) -> None:
    with started(host, ours(SERVE_IPERF, host, "11_iperf3.py"), "ready"):
        for direction in ([], ["-R"]):
            assert b"receiver" in run(host, "iperf3", "-c", OURS, "-n", "4M", *direction)


@pytest.mark.long
@needs("iperf3")
def test_our_client_talks_to_iperf3(host: Host) -> None:
    with started(host, ["iperf3", "-s", "--forceflush"], "listening"):
        for direction in ("-", "-R"):
            assert b"Gbit/s" in run(host, *ours(MEASURE, host, "11_iperf3.py", PEER, direction))


@needs("tshark")
def test_a_fault_would_be_found(tmp_path: Path) -> None:
    good = Ether(dst="02:00:00:00:00:01", src="02:00:00:00:00:02") / IP(src=PEER, dst=OURS) / TCP()
    bad = good.copy()
    bad[TCP].chksum = 1
    for packet, found in ((good, False), (bad, True)):
        wrpcap(str(tmp_path / "capture"), [packet])
        assert bool(complaints(tmp_path / "capture")) == found
