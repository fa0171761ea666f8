"""NAPT between kernels: ping, TCP, UDP in fragments, ICMP errors, a forwarded port."""

import socket

import pytest
from lab_router import awaited_error, router_graph, two_hosts
from napt_world import OWN

from scout.io.host.lab import Lab
from scout.paths.services.napt import Napt
from scout.supervisor import Supervisor
from scout.tools.traffic.peers import ping, tcp_transfer


@pytest.mark.needs_namespaces
@pytest.mark.long
@pytest.mark.parametrize(("replicas", "mode"), [(2, "replicated"), (2, "locked")])
def test_two_kernels_talk_through_it(replicas: int, mode: str) -> None:
    """With default offloads: checksums are left to devices, and frames are longer than the MTU."""
    graph = router_graph()
    service = graph.add(Napt("napt", "left", "right", forward={("tcp", 8080): "10.0.0.2:80"}, mode=mode))
    for names in (("ip", "napt", "left"), ("ip", "napt", "right"), ("napt", "arp")):
        graph.connect(*names)
    with Lab("napt") as lab:
        left, router, right = two_hosts(lab)
        supervisor = Supervisor(graph, [graph.create_path(port) for port in ("left", "right")], replicas)
        with router.entered(), supervisor:
            assert ping(left, "10.0.1.2", 5)["received"] == 5
            assert ping(left, OWN, 2)["received"] == ping(right, OWN, 2)["received"] == 2
            assert tcp_transfer(left, right, "10.0.1.2", 16 << 20, 600.0)["intact"]
            with right.entered():
                server, datagrams = (
                    socket.create_server(("10.0.1.2", 80)),
                    socket.socket(socket.AF_INET, socket.SOCK_DGRAM),
                )
            with left.entered():
                callers = [socket.socket() for _ in range(3)]
                sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with server, datagrams, sender:
                datagrams.bind(("10.0.1.2", 53))
                server.settimeout(600)
                for each in (datagrams, sender):
                    each.settimeout(600)
                for caller in callers:
                    with caller:
                        caller.settimeout(600)
                        caller.connect(("10.0.1.2", 80))
                        accepted, peer = server.accept()
                        with accepted:
                            assert peer == (OWN, caller.getsockname()[1])
                            caller.sendall(b"question")
                            assert accepted.recv(100) == b"question"
                            accepted.sendall(b"answer")
                            assert caller.recv(100) == b"answer"
                with left.entered():
                    inside = socket.create_server(("10.0.0.2", 80))
                with right.entered():
                    caller = socket.socket()
                with inside, caller:
                    for each in (inside, caller):
                        each.settimeout(600)
                    caller.connect((OWN, 8080))
                    accepted, peer = inside.accept()
                    with accepted:
                        assert peer == caller.getsockname()
                        accepted.sendall(b"forwarded")
                        assert caller.recv(100) == b"forwarded"
                sender.connect(("10.0.1.2", 53))
                for body in (b"x", bytes(1400), bytes(range(250)) * 20):  # the last in fragments
                    sender.send(body)
                    got, peer = datagrams.recvfrom(65535)
                    assert got == body and peer == (OWN, sender.getsockname()[1])
                    datagrams.sendto(body, peer)
                    assert sender.recv(65535) == body
                # Errors: from the far kernel, and from the router.
                sender.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR
                for address, port, ttl, expected in (
                    ("10.0.1.2", 9, 64, 111),
                    ("10.0.1.2", 53, 1, 113),
                ):
                    sender.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
                    sender.connect((address, port))
                    sender.send(b"x")
                    assert awaited_error(sender) == expected, (address, port, ttl)
            supervisor.stop()
            drops = supervisor.account()["drops"]
            assert not [reason for reason in drops if reason.startswith("napt-")], drops
            found = service.read(0, supervisor.table(service.tables["mappings"], 0))
            assert {str(each.inside.address) for each in found} == {"10.0.0.2"}
            assert all(each.external == (8080 if each.inside.port == 80 else each.inside.port) for each in found)
