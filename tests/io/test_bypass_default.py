"""Single frames leave past the queueing discipline by default, where they pass nothing by."""

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest
from egress_hooks import nft_chain, run_tc, tcx_program
from lab_router import RIGHT, Running, running

from scout.io.host.lab import Lab
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.bypass import UNKNOWN, Bypass
from scout.io.ports.interface import NO_INTERFACE
from scout.testing import await_until
from scout.tools.traffic.peers import ping
from scout.tools.traffic.two_hosts import two_hosts

pytestmark = pytest.mark.needs_namespaces

DROP, PASS = 2, 0  # verdicts of a BPF program
ALL = "protocol all u32 match u32 0 0 flowid 1:1"
"""A filter of tc that matches all frames."""
AWAY = f"{ALL} action mirred egress redirect dev lo"


@pytest.fixture(scope="module")
def run() -> Iterator[Running]:
    """A router whose ports have their default options."""
    with running() as made:
        if made.supervisor.port("right").way != "AF_XDP":
            pytest.skip("this kernel has no AF_XDP sockets, or this process may not ask for BPF programs")
        yield made


def _port(run: Running) -> Any:
    return run.supervisor.port("right")


def _answered(run: Running) -> bool:
    return bool(ping(run.left, RIGHT, 1)["received"] == 1)


def test_frames_leave_so(run: Running) -> None:
    before = _port(run).bypassed
    await_until(lambda: _answered(run))
    assert _port(run).bypassed > before and run.reports == []
    assert _port(run).options["bypass"] is None


@contextmanager
def _tc(*commands: str) -> Iterator[None]:
    """Commands of tc at r1, and what undoes them; the first one adds a qdisc."""
    for command in commands:
        run_tc(command)
    try:
        yield
    finally:
        run_tc(f"qdisc del dev r1 {'root' if ' root ' in commands[0] else 'clsact'}")


def _tcx(verdict: int) -> AbstractContextManager[None]:
    return tcx_program(socket.if_nametoindex("r1"), verdict)


HOOKS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "tc": lambda: _tc("qdisc add dev r1 clsact", f"filter add dev r1 egress {AWAY}"),
    "tc-chain": lambda: _tc("qdisc add dev r1 clsact", f"filter add dev r1 egress chain 7 {ALL}"),
    "tc-block": lambda: _tc("qdisc add dev r1 egress_block 22 clsact", f"filter add block 22 {AWAY}"),
    "tcx": lambda: _tcx(DROP),
    "tcx-pass": lambda: _tcx(PASS),
    "nft": lambda: nft_chain("r1", 1, 0),
    "nft-accept": lambda: nft_chain("r1", 1, 1),
    "queue": lambda: _tc("qdisc add dev r1 root tbf rate 1mbit burst 1540 latency 1s"),
}
REASONS = {"tc": "filter of tc", "tcx": "BPF program", "nft": "chain of nft", "queue": "queueing discipline tbf"}
PASSED = {"tc-chain", "tcx-pass", "nft-accept", "queue"}
"""The hooks under which pings are still answered."""


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_for_outgoing_frames_are_not_passed_by(run: Running, name: str) -> None:
    port = _port(run)
    with run.router.entered(), HOOKS[name]():
        await_until(lambda: port.way == "AF_PACKET")
        assert REASONS[name.split("-")[0]] in port.hindrance
        before = port.bypassed
        if name in PASSED:
            await_until(lambda: _answered(run))
        else:
            assert not _answered(run)
        assert port.bypassed == before
    await_until(lambda: port.way == "AF_XDP")
    assert port.hindrance == ""
    before = port.bypassed
    await_until(lambda: _answered(run))
    assert port.bypassed > before


OTHERS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "clsact alone": lambda: _tc("qdisc add dev r1 clsact"),
    "tc ingress": lambda: _tc("qdisc add dev r1 clsact", f"filter add dev r1 ingress {ALL}"),
    "nft ingress": lambda: nft_chain("r1", 0, 1),
}


@pytest.mark.parametrize("name", OTHERS)
def test_hooks_for_frames_that_come_change_nothing(run: Running, name: str) -> None:
    with run.router.entered():
        asked = Bypass(socket.if_nametoindex("r1"), past_hooks=False)
        try:
            with OTHERS[name]():
                assert asked.hindrance() == ""
            with HOOKS["tc"]():
                assert asked.hindrance()
            assert asked.hindrance() == ""
        finally:
            asked.close()


def test_another_interface_may_have_filters(run: Running) -> None:
    with run.router.entered():
        asked = [Bypass(socket.if_nametoindex(name), past_hooks=False) for name in ("r0", "r1")]
        try:
            with HOOKS["tc"]():
                assert [each.hindrance() for each in asked] == ["", "a filter of tc"]
            with HOOKS["tcx"]():
                assert [each.hindrance() for each in asked] == ["", "a BPF program"]
        finally:
            for each in asked:
                each.close()


def test_a_thread_in_another_namespace_does_not_ask_for_programs_there(run: Running) -> None:
    with run.router.entered():
        asked = Bypass(socket.if_nametoindex("r1"), past_hooks=False)
    try:
        with run.left.entered():
            assert asked.hindrance() == UNKNOWN
        with run.router.entered():
            assert asked.hindrance() == ""
    finally:
        asked.close()


def test_a_port_without_an_interface_says_so() -> None:
    assert AfPacketPort().hindrance == NO_INTERFACE


def test_a_queue_at_the_start_does_not_decide_for_the_whole_run(run: Running) -> None:
    """The fixture has shown that there are AF_XDP sockets."""
    with Lab("later") as lab:
        _, router, _ = two_hosts(lab)
        with router.entered():
            port = AfPacketPort("r1")
            with HOOKS["queue"]():
                port.open(1)
                port.enlist(0)
                assert port.way == "AF_PACKET"
            try:
                await_until(lambda: port.refresh() or port.way == "AF_XDP")
            finally:
                port.close()


@pytest.mark.skipif(not shutil.which("tcpdump"), reason="there is no tcpdump")
def test_tcpdump_sees_what_leaves(run: Running) -> None:
    command = ["tcpdump", "-Z", "root", "--immediate-mode", "-n", "-l", "-Q", "out", "-i", "r1", "icmp"]
    with run.router.entered():
        dump = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert dump.stdout and dump.stderr
        while "listening" not in dump.stderr.readline():
            assert dump.poll() is None
        await_until(lambda: _port(run).hindrance == "another program captures")
        await_until(lambda: _answered(run))
        assert "ICMP echo request" in dump.stdout.readline()
    finally:
        dump.terminate()
        dump.communicate()
    await_until(lambda: _port(run).way == "AF_XDP")
