"""Labs against the kernel they are made in: traffic, counters, and that nothing is left of them."""

import multiprocessing
import os
import select
import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection

import pytest
from pyroute2 import netns

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace, entered
from scout.io.host.process import Child
from scout.ring.errors import ScoutError

pytestmark = pytest.mark.needs_namespaces

UDP_SEGMENT = 103  # linux/udp.h
HEADERS = 14 + 20 + 8  # Ethernet, IPv4, UDP


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Namespace, Namespace]]:
    with Lab("pair") as lab:
        left, right = lab.namespace("left"), lab.namespace("right")
        lab.veth((left, "eth0"), (right, "r0"), mtu=9000)
        left.address("eth0", "10.0.0.2/24")
        right.address("r0", "10.0.0.1/24")
        left.neighbour("eth0", "10.0.0.1", "02:00:00:00:00:02")
        right.neighbour("r0", "10.0.0.2", "02:00:00:00:00:01")
        yield left, right


def udp(namespace: Namespace, address: str) -> socket.socket:
    with namespace.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.settimeout(600)
    sock.bind((address, 0))
    return sock


def here() -> str:
    return os.readlink("/proc/thread-self/ns/net")


def test_udp_round_trip_moves_the_counters(pair: tuple[Namespace, Namespace]) -> None:
    left, right = pair
    with udp(left, "10.0.0.2") as client, udp(right, "10.0.0.1") as server:
        before = left.link_stats("eth0"), right.link_stats("r0")
        client.sendto(b"hello", server.getsockname())
        data, peer = server.recvfrom(100)
        server.sendto(data * 2, peer)
        assert client.recv(100) == b"hellohello"
        after = left.link_stats("eth0"), right.link_stats("r0")
    moved = [
        {name: getattr(b, name) - getattr(a, name) for name in ("rx_packets", "tx_packets", "rx_bytes", "tx_bytes")}
        for a, b in zip(before, after, strict=True)
    ]
    there, back = HEADERS + 5, HEADERS + 10
    assert moved[0] == {"rx_packets": 1, "tx_packets": 1, "rx_bytes": back, "tx_bytes": there}
    assert moved[1] == {"rx_packets": 1, "tx_packets": 1, "rx_bytes": there, "tx_bytes": back}


@pytest.mark.skipif(not shutil.which("ping"), reason="needs ping")
def test_ping_through_a_router_that_forwards(capfd: pytest.CaptureFixture[str]) -> None:
    host = here()
    with Lab("routed") as lab:
        left, router, right = (lab.namespace(name) for name in ("left", "router", "right"))
        lab.veth((left, "eth0"), (router, "r0"))
        lab.veth((router, "r1"), (right, "eth0"))
        for namespace, interface, net in (
            (left, "eth0", "1.2"),
            (router, "r0", "1.1"),
            (router, "r1", "2.1"),
        ):
            namespace.address(interface, f"10.0.{net}/24")
        right.address("eth0", "10.0.2.2/24")
        left.route("default", via="10.0.1.1")
        right.route("10.0.1.0/24", via="10.0.2.1", interface="eth0")
        with left.entered():  # a new namespace does not forward
            assert subprocess.run(["ping", "-n", "-c1", "-W0.2", "10.0.2.2"]).returncode == 1
        router.sysctl("net.ipv4.ip_forward", 1)
        process = left.run(os.execvp, "ping", ["ping", "-n", "-c1", "-W60", "10.0.2.2"])
        process.join(600)
        assert process.exitcode == 0, capfd.readouterr().out
    assert here() == host


def test_ipv6_is_off_until_asked_for(pair: tuple[Namespace, Namespace]) -> None:
    left, _ = pair
    with pytest.raises(ScoutError, match=r"net\.ipv6\.conf\.all\.disable_ipv6"):
        left.address("eth0", "fd00::1/64")
    left.sysctl("net.ipv6.conf.all.disable_ipv6", 0)
    left.address("eth0", "fd00::1/64")
    with left.entered(), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as sock:
        sock.bind(("fd00::1", 0))  # at once: no duplicate address detection
    left.sysctl("net.ipv6.conf.all.disable_ipv6", 1)


def test_offload_decides_where_a_udp_super_frame_is_split(pair: tuple[Namespace, Namespace]) -> None:
    left, right = pair

    def frames_seen() -> int:
        before = right.link_stats("r0").rx_packets
        with udp(left, "10.0.0.2") as client, udp(right, "10.0.0.1") as server:
            client.setsockopt(socket.SOL_UDP, UDP_SEGMENT, 100)
            client.sendto(bytes(1000), server.getsockname())
            for _ in range(10):
                assert len(server.recv(2000)) == 100
        return right.link_stats("r0").rx_packets - before

    assert frames_seen() == 1  # veth's default: it passes the veth whole
    left.offload("eth0", tx_udp_segmentation=False)
    assert frames_seen() == 10
    left.offload("eth0", tx_udp_segmentation=True)
    assert frames_seen() == 1


def test_received_frames_are_joined_up_to_a_size(pair: tuple[Namespace, Namespace]) -> None:
    _, right = pair
    right.gro_max_size("r0", 16_370)
    with right.entered():
        shown = subprocess.run(["ip", "-d", "link", "show", "r0"], capture_output=True, text=True).stdout
    assert "gro_max_size 16370" in shown
    with pytest.raises(ScoutError, match="size of joined frames of r0"):
        right.gro_max_size("r0", 1 << 30)


def test_macs_mtu_and_kernel_names(pair: tuple[Namespace, Namespace]) -> None:
    left, right = pair
    with right.entered():
        shown = subprocess.run(["ip", "-o", "link", "show", "r0"], capture_output=True, text=True).stdout
    assert "mtu 9000" in shown and "02:00:00:00:00:02" in shown
    assert left.netns.startswith(f"scout-{os.getpid()}.") and left.netns.endswith("-pair-left")


def test_entered_moves_one_thread_and_comes_back(pair: tuple[Namespace, Namespace]) -> None:
    left, right = pair
    host = here()
    others: list[str] = []
    with left.entered():
        inside = here()
        started = threading.Thread(target=lambda: others.append(here()))  # a thread starts where its maker is
        started.start()
        started.join()
        with right.entered():
            assert here() not in (host, inside)
        assert here() == inside
    with pytest.raises(ZeroDivisionError), left.entered():
        _ = 1 / 0
    assert here() == host != inside
    assert others == [inside]


def test_run_is_in_the_namespace(pair: tuple[Namespace, Namespace]) -> None:
    left, _ = pair
    receive, send = multiprocessing.Pipe(duplex=False)
    process = left.run(lambda: send.send(here()))
    assert receive.poll(60)
    with left.entered():
        assert receive.recv() == here()
    process.join()
    assert process.exitcode == 0


def test_a_process_outlives_the_thread_that_started_it(pair: tuple[Namespace, Namespace]) -> None:
    processes: list[Child] = []
    thread = threading.Thread(target=lambda: processes.append(pair[0].run(signal.pause)))
    thread.start()
    thread.join()
    assert processes[0].is_alive()
    processes[0].terminate()
    assert processes[0].join(600) and processes[0].exitcode == -signal.SIGTERM


def stubborn(ready: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.write(ready, b"x")
    signal.pause()


@pytest.mark.parametrize("end", [ZeroDivisionError, KeyboardInterrupt, SystemExit, None])
def test_nothing_is_left_however_the_block_ends(end: type[BaseException] | None) -> None:
    lab = Lab("short")
    try:
        with lab:
            namespace = lab.namespace("only")
            process = namespace.run(signal.pause)
            assert namespace.netns in netns.listnetns()
            if end is not None:
                raise end
    except BaseException as error:
        assert type(error) is end
    assert namespace.netns not in netns.listnetns()
    assert process.exitcode == -signal.SIGTERM
    lab.__exit__(None, None, None)  # a second time is allowed
    with pytest.raises(ScoutError, match="not entered"):
        lab.namespace("late")


@pytest.mark.parametrize("moment", ["attach", "remove"])
def test_ctrl_c_waits_for_what_must_not_be_left_half_done(monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    work = getattr(netns, moment)
    names: list[str] = []

    def interrupted(name: str, *args: int) -> None:
        names.append(name)
        os.kill(os.getpid(), signal.SIGINT)
        work(name, *args)

    monkeypatch.setattr(netns, moment, interrupted)
    with pytest.raises(KeyboardInterrupt), Lab("interrupted") as lab:
        lab.namespace("one")
        lab.namespace("two")
    assert len(names) == (2 if moment == "remove" else 1)
    assert not set(names) & set(netns.listnetns())
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_process_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("scout.io.host.lab.GRACE_SECONDS", 0.05)
    ready, write = os.pipe()
    with Lab("stubborn") as lab:
        process = lab.namespace("only").run(stubborn, write)
        assert os.read(ready, 1) == b"x"
    assert process.exitcode == -signal.SIGKILL
    os.close(ready)
    os.close(write)


def test_a_forked_copy_does_not_take_the_lab_away() -> None:
    with Lab("owned") as lab:
        namespace = lab.namespace("only")
        copy = multiprocessing.get_context("fork").Process(target=lab.__exit__, args=(None, None, None))
        copy.start()
        copy.join()
        assert copy.exitcode == 0
        assert namespace.netns in netns.listnetns()


def leave_and_die(report: Connection) -> None:
    lab = Lab("killed").__enter__()
    namespace = lab.namespace("left")
    report.send((namespace.netns, namespace.run(signal.pause).pid))
    os.kill(os.getpid(), signal.SIGKILL)


def await_end(pid: int) -> None:
    with suppress(ProcessLookupError):  # it has ended already
        ended = os.pidfd_open(pid)
        try:
            assert select.select([ended], [], [], 60)[0], f"process {pid} of the lab outlives it"
        finally:
            os.close(ended)


def test_the_next_lab_removes_what_a_killed_process_left() -> None:
    receive, send = multiprocessing.Pipe(duplex=False)
    killed = multiprocessing.get_context("fork").Process(target=leave_and_die, args=(send,))
    killed.start()
    name, orphan = receive.recv()
    await_end(orphan)
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert name in netns.listnetns()

    # A living process with the pid of a dead one: the start time in the name tells them apart.
    reused = f"scout-{os.getpid()}.1-old-left"
    netns.create(reused)
    with Lab("living") as living:
        kept = living.namespace("left").netns
        assert not {name, reused} & set(netns.listnetns())
        with Lab("next"):
            assert kept in netns.listnetns()


def test_errors_name_the_object_and_the_fix(pair: tuple[Namespace, Namespace]) -> None:
    left, right = pair
    with Lab("errors") as lab:
        lab.namespace("one")
        with pytest.raises(ScoutError, match="namespace one exists"):
            lab.namespace("one")
        with pytest.raises(ScoutError, match="no name"):
            lab.namespace("a/b")
        with pytest.raises(ScoutError, match="eth0 to right r1: File exists"):
            lab.veth((left, "eth0"), (right, "r1"))
        with pytest.raises(ScoutError, match="1 to 15 characters"):
            lab.veth((left, "a" * 16), (right, "r1"))
        with pytest.raises(ScoutError, match="not a MAC address"):
            lab.veth((left, "e1"), (right, "r1"), mac=("02:00:00:00:00:01", "zz"))
    with pytest.raises(ScoutError, match="no interface eth9; there are: eth0, lo"):
        left.link_stats("eth9")
    with pytest.raises(ScoutError, match="near it are tx-udp-segmentation"):
        left.offload("eth0", tx_udp_segment=True)
    with pytest.raises(ScoutError, match="does not let tx-checksum-ip-generic"):
        left.offload("lo", tx_checksum_ip_generic=False)
    with pytest.raises(ScoutError, match="whole machine"):
        left.sysctl("kernel.hostname", "mine")
    with pytest.raises(ScoutError, match=r"net\.none = 1: No such file"):
        left.sysctl("net.none", 1)
    with pytest.raises(ScoutError, match="leads nowhere"):
        left.route("default")
    with pytest.raises(ScoutError, match="does not appear"):
        left.address("eth0", "10.0.0.300/24")
    with pytest.raises(ScoutError, match=f"there are: .*{left.netns}"), entered("no-such"):
        pass
