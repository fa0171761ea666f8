"""The benchmarks' opponents do the work that is claimed for them, and the generator counts what it sends."""

import shutil
import socket
import struct
import subprocess
from pathlib import Path

import pytest

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.tools.bench.baselines import compile_c

ETH_P_IP = 0x0800
SOURCE_MAC, ROUTER_MAC, OUT_MAC, HOP_MAC = (f"02:00:00:00:00:{last}" for last in ("01", "02", "03", "04"))
OWN_MAC = "02:00:00:00:00:fe"  # the router's, not its interface's: its kernel leaves the frames alone


@pytest.fixture(scope="module")
def forward() -> Path:
    program = compile_c("forward.c")
    if program is None:
        pytest.skip("no C compiler is here")
    return program


def checksum(header: bytes) -> int:
    return 0xFFFF - sum(struct.unpack(f"!{len(header) // 2}H", header)) % 0xFFFF


def frame(
    destination: str = "10.0.1.2",
    mac: str = OWN_MAC,
    ethertype: int = ETH_P_IP,
    version: int = 0x45,
    ttl: int = 64,
    length: int = 46,
    mangle: int = 0,
) -> bytes:
    addresses = socket.inet_aton("10.0.0.2") + socket.inet_aton(destination)
    ip = struct.pack("!BBHIBBH", version, 0, length, 0, ttl, 17, 0) + addresses
    ip = ip[:10] + struct.pack("!H", checksum(ip) ^ mangle) + ip[12:]
    macs = bytes.fromhex((mac + SOURCE_MAC).replace(":", ""))
    return macs + struct.pack("!H", ethertype) + ip + bytes(26)


DROPPED = {
    "short": frame()[:33],
    "not_ipv4": frame(ethertype=0x86DD),
    "not_mine": frame(mac=ROUTER_MAC),
    "bad_header": frame(version=0x65),
    "bad_length": frame(length=47),
    "bad_checksum": frame(mangle=1),
    "no_route": frame("10.9.9.9"),
    "ttl_expired": frame(ttl=1),
}


def packet_socket(namespace: Namespace, interface: str, protocol: int = 0) -> socket.socket:
    with namespace.entered():
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((interface, protocol))
    sock.settimeout(600)
    return sock


def test_compile_caches() -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler is here")
    first = compile_c("forward.c", "-DCACHED")
    assert first is not None
    built = first.stat().st_mtime_ns
    again = compile_c("forward.c", "-DCACHED")
    assert again == first and again.stat().st_mtime_ns == built
    assert compile_c("forward.c") != first


def test_without_a_compiler_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert compile_c("forward.c") is None


@pytest.mark.needs_namespaces
def test_forward_routes_and_says_why_it_drops(forward: Path) -> None:
    with Lab("forward") as lab:
        source, router, sink = (lab.namespace(name) for name in ("source", "router", "sink"))
        lab.veth((source, "s0"), (router, "r0"), mac=(SOURCE_MAC, ROUTER_MAC))
        lab.veth((router, "r1"), (sink, "d0"), mac=(OUT_MAC, HOP_MAC))
        routes = [f"10.0.1.0/24,1,{OUT_MAC}", f"10.0.1.2/32,1,{HOP_MAC}"]  # the longer one counts
        with router.entered():
            process = subprocess.Popen(
                [forward, "0", f"r0/{OWN_MAC}", "r1", *routes], stdout=subprocess.PIPE, text=True
            )
        try:
            assert process.stdout and process.stdout.readline() == "ready\n"
            with packet_socket(source, "s0") as sender, packet_socket(sink, "d0", ETH_P_IP) as receiver:
                for dropped in DROPPED.values():
                    sender.send(dropped)
                carries = next(ttl for ttl in range(2, 256) if frame(ttl=ttl)[24] == 0xFF)
                sent = [frame(), frame(ttl=carries)]  # the incremental checksum goes round in the second
                for good in sent:
                    sender.send(good)
                for good in sent:
                    got = receiver.recv(2000)  # the dropped ones would come first
                    assert got[:12] == bytes.fromhex((HOP_MAC + OUT_MAC).replace(":", ""))
                    assert got[22] == good[22] - 1
                    assert sum(struct.unpack("!10H", got[14:34])) % 0xFFFF == 0
                    unchanged = (slice(12, 22), slice(23, 24), slice(26, None))
                    assert all(got[part] == good[part] for part in unchanged)
        finally:
            process.terminate()
            line = process.communicate(timeout=600)[0]
        counters = dict(entry.split("=") for entry in line.split())
        expected = dict.fromkeys(DROPPED, "1") | {"forwarded": "2", "not_sent": "0", "missed": "0"}
        assert counters == expected
