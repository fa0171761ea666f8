"""The sandbox as an ordinary user meets it: in a process of its own, started by root as nobody."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyroute2
import pytest
from pyroute2 import netns

from scout.io.host import sandbox

pytestmark = pytest.mark.needs_namespaces

NOBODY = 65534
PYTHONPATH = os.pathsep.join(str(path) for path in (Path(__file__).parents[2], Path(pyroute2.__file__).parents[1]))


def run_as_nobody(python: str, code: str) -> Any:
    run = subprocess.run(
        [python, "-c", code],
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": PYTHONPATH, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
    return json.loads(run.stdout)


@pytest.fixture(scope="module")
def as_nobody() -> Callable[[str], Any]:
    """Run a program that prints one JSON value, as an ordinary user."""
    # A virtual environment's Python can lie in root's home, where nobody may not read.
    for python in (sys.executable, shutil.which(f"python3.{sys.version_info.minor}", path="/usr/bin")):
        try:
            if python and run_as_nobody(python, "import pyroute2, scout.io.host.sandbox; print(1)"):
                return lambda code: run_as_nobody(python, code)
        except (OSError, AssertionError):
            continue
    pytest.skip("cannot become nobody here; an ordinary user's tests all run in the sandbox anyway")


def test_an_ordinary_user_makes_a_lab(as_nobody: Callable[[str], Any]) -> None:
    before = os.listdir("/run")
    seen = as_nobody("""
import json, os, socket, sys
from scout.io.host import sandbox
light = not {"numpy", "numba", "pyroute2"} & set(sys.modules)
was = os.geteuid(), os.readlink("/proc/self/ns/net")
results = [sandbox.enter(), sandbox.enter()]  # inside it is root, so the second does nothing

with socket.create_server(("127.0.0.1", 0)) as server:
    socket.create_connection(server.getsockname()).close()

from scout.io.host.lab import Lab
with Lab("sandboxed") as lab:
    left, right = lab.namespace("left"), lab.namespace("right")
    lab.veth((left, "eth0"), (right, "eth0"))
    left.address("eth0", "10.0.0.1/24")
    right.address("eth0", "10.0.0.2/24")
    left.sysctl("net.ipv4.ip_forward", 1)
    left.offload("eth0", tx_udp_segmentation=False)
    with left.entered():
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with right.entered():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    server.settimeout(600)
    server.bind(("10.0.0.2", 0))
    client.sendto(b"hello", server.getsockname())
    data = server.recv(100).decode()
    inside = os.listdir("/run/netns")
print(json.dumps({
    "light": light, "was": was, "is": (os.geteuid(), os.readlink("/proc/self/ns/net")), "results": results,
    "data": data, "inside": inside, "left": os.listdir("/run/netns"), "run": os.listdir("/run"),
}))
""")
    assert seen["light"], "scout.io.host.sandbox imports what starts threads"
    assert seen["results"] == [True, False]
    assert seen["was"] == [NOBODY, os.readlink("/proc/self/ns/net")]
    assert seen["is"][0] == 0 and seen["is"][1] != seen["was"][1]
    assert seen["data"] == "hello"
    assert len(seen["inside"]) == 2 and seen["left"] == []
    assert not set(seen["inside"]) & set(netns.listnetns())
    assert set(before) <= set(seen["run"]), "the rest of /run is still there"


def test_threads_are_named_as_the_cause(as_nobody: Callable[[str], Any]) -> None:
    message = as_nobody("""
import json, threading
from scout.io.host import sandbox
from scout.ring.errors import ScoutError
stop = threading.Event()
threading.Thread(target=stop.wait).start()
try:
    sandbox.enter()
except ScoutError as error:
    print(json.dumps(str(error)))
stop.set()
""")
    assert "2 threads are running" in message and "before numpy" in message


def test_the_limit_on_user_namespaces_is_named_as_the_cause(as_nobody: Callable[[str], Any]) -> None:
    message = as_nobody("""
import ctypes, json, struct
from scout.io.host import sandbox
from scout.ring.errors import ScoutError
sandbox.enter()
with open("/proc/sys/user/max_user_namespaces", "w") as limit:
    limit.write("0")
no_capabilities = struct.pack("Ii", 0x20080522, 0), bytes(24)  # linux/capability.h: version 3, this process
assert ctypes.CDLL(None).capset(*no_capabilities) == 0
try:
    sandbox.enter()
except ScoutError as error:
    print(json.dumps(str(error)))
""")
    assert "user.max_user_namespaces" in message


@pytest.mark.parametrize(
    ("setting", "value", "number"),
    [
        ("kernel/unprivileged_userns_clone", "0", 1),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", 13),
        ("user/max_user_namespaces", "0", 28),
    ],
)
def test_the_setting_that_forbids_it_is_named(
    monkeypatch: pytest.MonkeyPatch, setting: str, value: str, number: int
) -> None:
    # These kernels are others' machines: the setting is made up, the choice of the mend is not.
    monkeypatch.setattr(sandbox, "_sysctl", lambda name: value if name == setting else None)
    assert setting.replace("/", ".") in sandbox._fix(OSError(number, "refused"))


def test_root_stays_where_it_is() -> None:
    before = os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/user")
    assert os.geteuid() == 0  # in the sandbox too
    assert not sandbox.needed()
    assert sandbox.enter() is False
    assert (os.readlink("/proc/self/ns/net"), os.readlink("/proc/self/ns/user")) == before
