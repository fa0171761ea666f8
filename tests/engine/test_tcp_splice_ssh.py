"""Debian's SSH client and server, with a proxy between them that splices every connection at once."""

import os
import pwd
import random
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from host_router import OURS, PEER, Host, running_host

from scout import Tcp, sockets
from scout.paths.protocols.tcp.rows import SPLICED
from scout.testing import await_until

PROXY, SERVER = 3128, 2222
SEPARATED = Path("/run/sshd")
"""The directory of sshd's processes without rights."""

_PROGRAMS = {name: shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin") for name in ("ssh", "sshd", "ssh-keygen")}


def _has_server() -> bool:
    """True if sshd can run here: it is installed with its user, and this user may change to that one."""
    with suppress(KeyError):
        pwd.getpwnam("sshd")
        return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split()[2] != "1"
    return False


pytestmark = [
    pytest.mark.needs_namespaces,
    pytest.mark.long,
    pytest.mark.skipif(not all(_PROGRAMS.values()) or not _has_server(), reason="missing: sshd, ssh, or root's rights"),
]


@contextmanager
def ssh_server(host: Host, folder: Path) -> Iterator[Path]:
    """Run sshd at the peer, with keys made for it; the file with the user's key."""
    for name in ("host", "user"):
        command = [str(_PROGRAMS["ssh-keygen"]), "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    chosen = {
        "HostKey": folder / "host",
        "AuthorizedKeysFile": folder / "user.pub",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "PidFile": "none",
        "ListenAddress": f"{PEER}:{SERVER}",
    }
    (folder / "settings").write_text("".join(f"{name} {value}\n" for name, value in chosen.items()))
    log, is_new = folder / "log", not SEPARATED.exists()
    SEPARATED.mkdir(exist_ok=True)
    with host.peer.entered(), log.open("w") as file:
        daemon = subprocess.Popen([str(_PROGRAMS["sshd"]), "-D", "-e", "-f", str(folder / "settings")], stderr=file)
    try:
        await_until(lambda: "Server listening" in log.read_text() or daemon.poll() is not None)
        assert daemon.poll() is None, log.read_text()
        yield folder / "user"
    finally:
        daemon.kill()
        daemon.wait()
        if is_new:
            SEPARATED.rmdir()


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with running_host(2, False, Tcp("tcp")) as running:
        yield running


@contextmanager
def splicing_proxy(host: Host, connections: int) -> Iterator[list[OSError]]:
    """Splice so many connections with the server; faults, when the proxy has ended."""
    faults: list[OSError] = []

    def serve(listener: sockets.StreamSocket) -> None:
        try:
            for _ in range(connections):
                client, _ = listener.accept()
                server = host.our_stream()
                server.connect((PEER, SERVER))
                sockets.splice(client, server)
        except OSError as error:
            faults.append(error)

    with host.our_stream(PROXY) as listener:
        listener.listen(4)
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        yield faults
        thread.join(300)
    assert not faults


def test_a_login_commands_and_megabytes_both_ways(host: Host, tmp_path: Path) -> None:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")
    user = pwd.getpwuid(os.getuid()).pw_name
    with ssh_server(host, tmp_path) as key, splicing_proxy(host, 2):

        def ssh(command: str, data: bytes = b"") -> bytes:
            flags = [flag for option in options for flag in ("-o", option)]
            given = [str(_PROGRAMS["ssh"]), "-F", "none", "-i", str(key), *flags, "-p", str(PROXY), f"{user}@{OURS}"]
            with host.peer.entered():
                done = subprocess.run([*given, command], input=data, capture_output=True, timeout=300)
            assert done.returncode == 0, done.stderr
            return done.stdout

        assert ssh("echo $SSH_CONNECTION").split()[::2] == [OURS.encode(), PEER.encode()]
        data = random.Random(1).randbytes(4_000_000)
        assert ssh("cat", data) == data
        assert (host.supervisor.table("tcp.rows")["role"] == SPLICED).any()
