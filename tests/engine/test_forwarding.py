"""The router between two kernels: ping, TCP with default offloads, errors, deaths, and exact accounts."""

import os
import shutil
import signal
import socket
import subprocess

import pytest
from lab_router import LEFT, RIGHT, awaited_error, router_graph, running
from pyroute2 import IPRoute
from scapy.all import ICMP, IP, Ether, raw, rdpcap

from scout.io.host.lab import Lab
from scout.io.host.process import usable_cores
from scout.io.ports.contract import PortError
from scout.supervisor import Supervisor
from scout.testing import await_until
from scout.tools.traffic.flood import Flood
from scout.tools.traffic.peers import ping, tcp_transfer
from scout.tools.traffic.two_hosts import MACS

pytestmark = pytest.mark.needs_namespaces

REPLICAS = sorted({1, max(2, len(usable_cores()))})


def flood_to(address):
    """A flood of small frames from the left host, by way of the router."""
    return Flood(60, LEFT, address, *(int(mac.replace(":", ""), 16) for mac in MACS[:2]))


def passed(run):
    """Packets that went from left to right; answers to ARP requests from the right are none of them."""
    return int(run.supervisor.flows(run.supervisor.paths[0])["right.out", "to right"])


def lost_before_the_router(run):
    """Frames that the kernel dropped on their way to the router, as its queue between two interfaces was full."""
    return run.router.link_stats("r0").rx_dropped + run.left.link_stats("eth0").tx_dropped


@pytest.mark.parametrize(
    ("replicas", "order"),
    [(REPLICAS[0], "completed"), (REPLICAS[-1], "channel")]
    + [pytest.param(*each, marks=pytest.mark.long) for each in ((REPLICAS[0], "channel"), (REPLICAS[-1], "completed"))],
)
def test_ping_and_tcp_pass_and_every_packet_has_one_primary(replicas, order):
    with running(replicas, order) as run:
        assert ping(run.left, RIGHT, 5)["received"] == 5
        assert ping(run.right, LEFT, 5)["received"] == 5
        result = tcp_transfer(run.left, run.right, RIGHT, 32 << 20, 120.0)
        assert result["intact"] and result["bytes"] == 32 << 20
        run.settle()
        await_until(lambda: not any(row["lag"] for row in run.supervisor.replica_figures()))  # the primary is in front
        run.supervisor.stop()
        account = run.supervisor.account()
        kernel = account["drops"].get("ring-full", 0) + account["drops"].get("unread-at-stop", 0)
        figures = run.supervisor.replica_figures()
        assert sum(row["primary"] for row in figures) == account["received"] - kernel
        if not account["drops"].get("unread-at-stop"):
            assert {row["seen"] for row in figures} == {account["received"] - kernel}


@pytest.mark.parametrize("replicas", [pytest.param(1, marks=pytest.mark.long), REPLICAS[-1]])
def test_every_frame_leaves_or_found_the_ring_full_and_the_sums_add_up(replicas):
    with running(replicas) as run:
        assert ping(run.left, RIGHT, 2)["received"] == 2
        run.left.offload("eth0", tx_udp_segmentation=False)
        flood = flood_to(RIGHT)
        before = passed(run) - lost_before_the_router(run)
        with run.right.entered():
            sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sink:
            sink.bind((RIGHT, 4001))
            run.left.run(flood.run, "eth0", 0.5, 20_000.0).join()
            run.settle()
        account = run.supervisor.account()
        full = account["drops"].pop("ring-full", 0)  # a machine at work elsewhere may leave the router no time
        assert flood.sent > 0
        assert passed(run) + full + lost_before_the_router(run) - before == flood.sent
        assert not account["drops"]


@pytest.mark.parametrize("replicas", [pytest.param(1, marks=pytest.mark.long), REPLICAS[-1]])
def test_a_router_with_nothing_to_do_has_returned_all_frames_before_it_sleeps(replicas):
    with running(replicas) as run:
        assert ping(run.left, RIGHT, 5)["received"] == 5
        cursors = [channel.cursors[:replicas] for channel, _ in run.supervisor.channels]
        await_until(lambda: all((each["head"] > 0).all() and (each["floor"] == each["head"]).all() for each in cursors))


def test_a_flood_beyond_capacity_is_accounted_for_to_the_frame():
    with running(1) as run:
        assert ping(run.left, RIGHT, 2)["received"] == 2
        run.left.offload("eth0", tx_udp_segmentation=False)
        flood = flood_to("10.0.1.77")
        before = run.supervisor.account()["received"] - lost_before_the_router(run)
        run.left.run(flood.run, "eth0", 0.5).join()
        # 10.0.1.77 does not exist: packets are held, then refused.
        run.settle()
        account = run.supervisor.account()
        assert account["received"] + lost_before_the_router(run) - before >= flood.sent
        assert account["drops"]["hold-full"] > 0


def test_time_exceeded_and_unreachable_reach_the_sender():
    with running(1) as run:
        with run.left.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: the kernel checks and reports the error
            for ttl, address, expected in (
                (1, RIGHT, 113),  # EHOSTUNREACH: time exceeded
                (64, "192.0.2.1", 101),  # ENETUNREACH: no route
                (64, "10.0.0.1", 111),  # ECONNREFUSED: port unreachable at the router
            ):
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                sock.connect((address, 9))
                sock.send(b"x")
                assert awaited_error(sock) == expected, address


def test_host_unreachable_after_asking_in_vain():
    with running(1) as run:
        with run.left.entered():
            sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with sock:
            sock.connect(("10.0.1.99", 9))
            sock.setsockopt(socket.IPPROTO_IP, 11, 1)
            sock.send(b"x")
            assert awaited_error(sock) == 113
        run.settle()


def test_the_path_mtu_reaches_the_sender():
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
            assert tcp_transfer(left, right, RIGHT, 4 << 20, 600.0)["intact"]
        finally:
            supervisor.stop()


def has_read_all(run, replica):
    """True if a replica that did not die has seen all that the rings took."""
    account = run.supervisor.account()
    return run.supervisor.replica_figures()[replica]["seen"] >= account["received"] - account["drops"].get(
        "ring-full", 0
    )


def test_a_killed_replica_is_reported_and_has_a_successor():
    with running(2, "channel") as run:
        assert ping(run.left, RIGHT, 2)["received"] == 2
        run.left.offload("eth0", tx_udp_segmentation=False)
        flood, before = flood_to(RIGHT), run.supervisor.replica_figures()[0]["seen"]
        process = run.left.run(flood.run, "eth0", 3600.0)
        await_until(lambda: run.supervisor.replica_figures()[0]["seen"] > before + 1000)
        killed = run.supervisor.processes[0]
        killed.kill()
        await_until(lambda: run.supervisor.processes[0] is not killed and run.reports)
        flood.stop()
        process.join()
        assert run.supervisor.alive == 2
        assert "replica 0" in run.reports[0] and "SIGKILL" in run.reports[0] and "successor" in run.reports[0]
        await_until(lambda: has_read_all(run, 1))  # else the ring may be full of what was sent before
        before = run.supervisor.replica_figures()
        assert ping(run.left, RIGHT, 20)["received"] == 20
        for replica, figures in enumerate(before):
            await_until(lambda: run.supervisor.replica_figures()[replica]["seen"] > figures["seen"])  # noqa: B023
        run.supervisor.stop()
        received, dealt = run.sums()
        assert received == dealt
        # A successor sends again, at the most, the batch in which the replica died and the packets after it.
        assert -256 <= run.supervisor.account()["drops"].get("replica-died", 0) <= 256


def test_a_replica_without_successors_is_retired_and_the_other_goes_on():
    with running(2, "channel", restarts=0) as run:
        assert ping(run.left, RIGHT, 2)["received"] == 2
        os.kill(run.supervisor.processes[0].pid, signal.SIGKILL)
        await_until(lambda: run.reports)
        assert ping(run.left, RIGHT, 20)["received"] == 20
        assert run.supervisor.alive == 1 and "1 of 2 replicas go on" in run.reports[0]


def test_all_replicas_dead_ends_the_run():
    with running(1, restarts=0) as run:
        os.kill(run.supervisor.processes[0].pid, signal.SIGKILL)
        assert run.supervisor.wait(600)
        assert run.supervisor.alive == 0


def test_an_interface_that_goes_away_is_reported_and_the_router_goes_on():
    with running(1) as run:
        assert ping(run.left, RIGHT, 1)["received"] == 1
        with IPRoute(netns=run.router.netns) as ip:
            ip.link("del", index=ip.link_lookup(ifname="r1")[0])
            await_until(lambda: run.reports)
            assert "right" in run.reports[0] and "r1" in run.reports[0]
            assert ping(run.left, "10.0.0.1", 3)["received"] == 3
            # Another interface of that name is not the one that the router has open.
            ip.link("add", ifname="r1", kind="veth", peer={"ifname": "r2"})
            ip.link("set", index=ip.link_lookup(ifname="r1")[0], state="up")
            ip.link("set", index=ip.link_lookup(ifname="r2")[0], state="up")
            assert run.supervisor.port("right").fault() == "is down or gone"
            with pytest.raises(PortError, match="r1: cannot send"):
                run.supervisor.add_replica()
        assert not any("up again" in line for line in run.reports)


def test_an_interface_that_is_set_down_and_up_is_reported_up_again():
    with running(1) as run:
        with IPRoute(netns=run.router.netns) as ip:
            index = ip.link_lookup(ifname="r1")[0]
            ip.link("set", index=index, state="down")
            await_until(lambda: run.reports)
            ip.link("set", index=index, state="up")
            await_until(lambda: len(run.reports) == 2)
        assert run.reports[1] == "port right: interface r1 is up again"


def test_a_carrier_that_is_lost_is_reported():
    with running(1) as run:
        with IPRoute(netns=run.right.netns) as ip:
            (index,) = [link["index"] for link in ip.get_links() if link.get_attr("IFLA_IFNAME") != "lo"]
            ip.link("set", index=index, state="down")
            await_until(lambda: run.reports)
            ip.link("set", index=index, state="up")
            await_until(lambda: len(run.reports) == 2)
        assert run.reports == [
            "port right: interface r1 has no carrier; the other ports go on",
            "port right: interface r1 is up again",
        ]


def test_what_is_sent_without_a_carrier_is_counted_as_dropped():
    """The kernel takes such frames from a socket, and drops them without an error."""
    with running(1) as run:
        assert ping(run.left, RIGHT, 1)["received"] == 1  # the router knows the next hop
        with IPRoute(netns=run.right.netns) as ip, run.left.entered():
            (index,) = [link["index"] for link in ip.get_links() if link.get_attr("IFLA_IFNAME") != "lo"]
            ip.link("set", index=index, state="down")
            await_until(lambda: run.reports)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                for _ in range(5):
                    sender.sendto(b"in vain", (RIGHT, 9))
                await_until(lambda: run.supervisor.account()["drops"].get("tx-down", 0) >= 5)
                ip.link("set", index=index, state="up")
                await_until(lambda: len(run.reports) == 2)
                sent = run.supervisor.account()["out"]["right"]
                sender.sendto(b"not in vain", (RIGHT, 9))
                await_until(lambda: run.supervisor.account()["out"]["right"] > sent)


def test_a_missing_interface_is_named_with_those_that_exist():
    with Lab("missing") as lab:
        space = lab.namespace("router")
        graph = router_graph()
        paths = [graph.create_path("left")]
        with space.entered(), pytest.raises(PortError, match=r"^port left: no interface r0 here; there are lo"):
            Supervisor(graph, paths, 1).__enter__()


@pytest.mark.skipif(shutil.which("ping") is None, reason="ping is not installed")
def test_ping_the_program_agrees():
    with running(2) as run, run.left.entered():
        result = subprocess.run(
            ["ping", "-c", "3", "-i", "0.05", "-s", "1472", "-W", "60", RIGHT],
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
        dump.communicate(timeout=600)
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
                command = ["iperf3", "-c", RIGHT, "-n", "20M", "-R"]
                await_until(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0)
            server.wait(600)
        finally:
            server.kill()
            server.wait()
