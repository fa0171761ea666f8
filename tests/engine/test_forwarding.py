"""The router between two kernels: ping, TCP with default offloads, errors, deaths, and exact accounts."""

import os
import shutil
import signal
import socket
import subprocess
import time

import pytest
from lab_router import LEFT, RIGHT, router_graph, running
from scapy.all import ICMP, IP, Ether, raw, rdpcap

from scout.io.host.lab import Lab
from scout.io.ports.contract import PortError
from scout.supervisor import Supervisor, usable_cores
from scout.tools.traffic.flood import Flood
from scout.tools.traffic.peers import ping, tcp_transfer
from scout.tools.traffic.two_hosts import MACS

pytestmark = pytest.mark.needs_namespaces

REPLICAS = sorted({1, max(2, len(usable_cores()))})


def settled(run, deadline=10.0):
    """Wait until all that was received is accounted for."""
    end = time.monotonic() + deadline
    while time.monotonic() < end:
        received, dealt = run.sums()
        if received == dealt:
            return received
        time.sleep(0.02)
    raise AssertionError(f"received {received}, accounted for {dealt}: {run.supervisor.account()}")


@pytest.mark.parametrize("order", ["completed", "channel"])
@pytest.mark.parametrize("replicas", REPLICAS)
def test_ping_and_tcp_pass_and_every_packet_has_one_primary(replicas, order):
    with running(replicas, order) as run:
        assert ping(run.left, RIGHT, 5)["received"] == 5
        assert ping(run.right, LEFT, 5)["received"] == 5
        result = tcp_transfer(run.left, run.right, RIGHT, 32 << 20, 30.0)
        assert result["intact"] and result["bytes"] == 32 << 20
        settled(run)
        run.supervisor.stop()
        account = run.supervisor.account()
        kernel = account["drops"].get("ring-full", 0) + account["drops"].get("unread-at-stop", 0)
        figures = run.supervisor.replica_figures()
        assert sum(row["primary"] for row in figures) == account["received"] - kernel
        if not account["drops"].get("unread-at-stop"):
            assert {row["seen"] for row in figures} == {account["received"] - kernel}


@pytest.mark.parametrize("replicas", REPLICAS)
def test_nothing_is_lost_below_capacity_and_the_sums_add_up(replicas):
    with running(replicas) as run:
        assert ping(run.left, RIGHT, 2)["received"] == 2
        run.left.offload("eth0", tx_udp_segmentation=False)
        flood = Flood(60, LEFT, RIGHT, *(int(mac.replace(":", ""), 16) for mac in MACS[:2]))
        before = run.supervisor.account()["out"].get("right", 0)
        with run.right.entered():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sink:
            sink.bind((RIGHT, 4001))
            run.left.run(flood.run, "eth0", 0.5, 20_000.0).join()
            settled(run)
        account = run.supervisor.account()
        assert flood.sent > 1000
        assert account["out"]["right"] - before == flood.sent
        assert not account["drops"]


def test_a_flood_beyond_capacity_is_accounted_for_to_the_frame():
    with running(1) as run:
        assert ping(run.left, RIGHT, 2)["received"] == 2
        run.left.offload("eth0", tx_udp_segmentation=False)
        flood = Flood(60, LEFT, "10.0.1.77", *(int(mac.replace(":", ""), 16) for mac in MACS[:2]))
        before = run.left.link_stats("eth0").tx_packets
        start = run.supervisor.account()["received"]
        run.left.run(flood.run, "eth0", 0.5).join()
        backlog = run.router.link_stats("r0").rx_dropped
        assert run.left.link_stats("eth0").tx_packets - before >= flood.sent
        # 10.0.1.77 does not exist: packets are held, then refused.
        settled(run)
        account = run.supervisor.account()
        assert account["received"] - start + backlog >= flood.sent
        assert account["drops"]["hold-full"] > 0


def test_time_exceeded_and_unreachable_reach_the_sender():
    with running(1) as run:
        with run.left.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: the kernel checks and reports the error
            sock.settimeout(0.1)
            for ttl, address, expected in (
                (1, RIGHT, 113),  # EHOSTUNREACH: time exceeded
                (64, "192.0.2.1", 101),  # ENETUNREACH: no route
                (64, "10.0.0.1", 111),  # ECONNREFUSED: port unreachable at the router
            ):
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                sock.connect((address, 9))
                sock.send(b"x")
                assert awaited_error(sock) == expected, address


def awaited_error(sock):
    end = time.monotonic() + 5
    while time.monotonic() < end:
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            return error
        time.sleep(0.01)
    return 0


def test_host_unreachable_after_asking_in_vain():
    with running(1) as run:
        with run.left.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.connect(("10.0.1.99", 9))
            sock.setsockopt(socket.IPPROTO_IP, 11, 1)
            sock.send(b"x")
            assert awaited_error(sock) == 113
        settled(run)


def test_path_mtu_is_told_to_the_sender():
    with Lab("mtu") as lab:
        left, router, right = (lab.namespace(name) for name in ("left", "router", "right"))
        lab.veth((left, "eth0"), (router, "r0"), mac=(MACS[0], MACS[1]))
        lab.veth((router, "r1"), (right, "eth0"), mac=(MACS[2], MACS[3]), mtu=1280)
        left.address("eth0", f"{LEFT}/24")
        left.route("default", via="10.0.0.1")
        right.address("eth0", f"{RIGHT}/24")
        right.route("default", via="10.0.1.1")
        graph = router_graph()
        paths = [graph.create_path(port) for port in ("left", "right")]
        with router.entered():
            supervisor = Supervisor(graph, paths, 1, report=print)
            supervisor.__enter__()
        try:
            with left.entered():
                sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with sock:
                sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER: always don't-fragment
                sock.setsockopt(socket.IPPROTO_IP, 11, 1)
                sock.connect((RIGHT, 9))
                sock.send(bytes(1400))
                assert awaited_error(sock) == 90  # EMSGSIZE
                assert sock.getsockopt(socket.IPPROTO_IP, 14) == 1280  # IP_MTU
            assert tcp_transfer(left, right, RIGHT, 4 << 20, 20.0)["intact"]
        finally:
            supervisor.stop()


def test_a_killed_replica_is_reported_and_has_a_successor():
    with running(2, "channel") as run:
        assert ping(run.left, RIGHT, 2)["received"] == 2
        run.left.offload("eth0", tx_udp_segmentation=False)
        flood = Flood(60, LEFT, RIGHT, *(int(mac.replace(":", ""), 16) for mac in MACS[:2]))
        process = run.left.run(flood.run, "eth0", 1.5)
        time.sleep(0.5)
        killed = run.supervisor.processes[0].pid
        os.kill(killed, signal.SIGKILL)
        process.join()
        assert run.supervisor.alive == 2 and run.supervisor.processes[0].pid != killed
        assert "replica 0" in run.reports[0] and "SIGKILL" in run.reports[0] and "successor" in run.reports[0]
        before = run.supervisor.replica_figures()
        assert ping(run.left, RIGHT, 20)["received"] == 20
        after = run.supervisor.replica_figures()
        assert after[0]["seen"] > before[0]["seen"] and after[1]["seen"] > before[1]["seen"]
        run.supervisor.stop()
        received, dealt = run.sums()
        assert received == dealt
        # What was open at the death is sent again from the batch on in which it happened, at the most.
        assert -256 <= run.supervisor.account()["drops"].get("replica-died", 0) <= 256


def test_a_replica_without_successors_is_buried_and_the_other_goes_on():
    with running(2, "channel", restarts=0) as run:
        assert ping(run.left, RIGHT, 2)["received"] == 2
        os.kill(run.supervisor.processes[0].pid, signal.SIGKILL)
        assert ping(run.left, RIGHT, 20)["received"] == 20
        assert run.supervisor.alive == 1 and "1 of 2 replicas go on" in run.reports[0]


def test_all_replicas_dead_ends_the_run():
    with running(1, restarts=0) as run:
        os.kill(run.supervisor.processes[0].pid, signal.SIGKILL)
        assert run.supervisor.wait(5.0)
        assert run.supervisor.alive == 0


def test_an_interface_that_goes_away_is_reported_and_the_router_goes_on():
    with running(1) as run:
        assert ping(run.left, RIGHT, 1)["received"] == 1
        from pyroute2 import IPRoute

        with IPRoute(netns=run.router.netns) as ip:
            ip.link("del", index=ip.link_lookup(ifname="r1")[0])
        end = time.monotonic() + 5
        while not run.reports and time.monotonic() < end:
            time.sleep(0.02)
        assert "right" in run.reports[0] and "r1" in run.reports[0]
        assert ping(run.left, "10.0.0.1", 3)["received"] == 3


def test_a_missing_interface_is_named_with_those_that_exist():
    with Lab("missing") as lab:
        space = lab.namespace("router")
        graph = router_graph()
        paths = [graph.create_path("left")]
        with space.entered(), pytest.raises(PortError, match=r"r0.*no such interface.*lo"):
            Supervisor(graph, paths, 1).__enter__()


@pytest.mark.skipif(shutil.which("ping") is None, reason="ping is not installed")
def test_ping_the_program_agrees():
    with running(2) as run, run.left.entered():
        result = subprocess.run(
            ["ping", "-c", "3", "-i", "0.05", "-s", "1472", "-W", "3", RIGHT],
            capture_output=True,
            text=True,
            check=False,
        )
        assert "3 received" in result.stdout, result.stdout + result.stderr


@pytest.mark.skipif(shutil.which("tcpdump") is None, reason="tcpdump is not installed")
def test_tcpdump_sees_no_bad_checksum(tmp_path):
    """Small segments, so that nothing is left to a device: what the router sends is right on the wire."""
    with running(1) as run:
        capture = tmp_path / "out.pcap"
        with run.right.entered():
            dump = subprocess.Popen(
                ["tcpdump", "-Z", "root", "--immediate-mode", "-c", "10", "-i", "eth0", "-w", str(capture), "icmp"],
                stderr=subprocess.PIPE, text=True,
            )  # fmt: skip
            said = dump.stderr.readline()
        if "listening" not in said:
            dump.communicate()
            pytest.skip(f"tcpdump does not start in a sandbox: {said.strip()}")
        assert ping(run.left, RIGHT, 5)["received"] == 5
        dump.communicate(timeout=10)
        packets = rdpcap(str(capture))
        assert sum(packet[ICMP].type == 8 for packet in packets) == 5
        for packet in packets:
            again = Ether(raw(packet))
            del again[IP].chksum, again[ICMP].chksum
            assert raw(again) == raw(packet)


@pytest.mark.skipif(shutil.which("iperf3") is None, reason="iperf3 is not installed")
def test_iperf3_both_ways():
    with running(2, "channel") as run:
        with run.right.entered():
            server = subprocess.Popen(["iperf3", "-s", "-1", "-J"], stdout=subprocess.DEVNULL)
        try:
            with run.left.entered():
                for _ in range(50):
                    result = subprocess.run(
                        ["iperf3", "-c", RIGHT, "-n", "20M", "-R"],
                        capture_output=True,
                        text=True,
                        check=False,
                    )
                    if result.returncode == 0:
                        break
                    time.sleep(0.05)
            assert result.returncode == 0, result.stdout + result.stderr
            server.wait(10)
        finally:
            server.kill()
            server.wait()
