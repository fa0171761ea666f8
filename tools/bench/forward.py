"""`scout bench forward`: 60- and 1514-byte frames, and TCP, between two namespaces.

Every contender has a topology of its own (source - router - sink, all alike), so that all exist at once and can be
measured in turn. The generator is pinned to the first core, the router to the last. The sink's kernel drops the frames,
whose MAC address is not its own; the benchmark counts the frames that arrive at the sink's interface.

The flood is one flow. Scout hands its frames to the kernel as super-frames (`scout.io.transmit.coalesce`). If those
arrived whole, each would count as one frame: so in all topologies the router's outgoing veth takes no super-frames, and
the kernel cuts them there into the frames that were sent. The setting changes nothing for the other contenders, which
send single frames. With `separate` the generator's device completes the checksums; then no two frames can be joined, as
with many flows.
"""

import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import Any

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace
from scout.io.host.process import usable_cores
from scout.io.mac import mac_number
from scout.io.ports.afpacket import AfPacketPort
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.supervisor import Supervisor
from scout.tools.bench.baselines import compile_c, python_socket
from scout.tools.bench.rounds import interleaved, spread
from scout.tools.report import Report
from scout.tools.traffic.flood import Flood
from scout.tools.traffic.peers import tcp_transfer

__all__ = ["run"]

MACS = [f"02:00:00:00:00:{number:02x}" for number in range(1, 5)]  # source, r0, r1, sink
ROUTER_MACS = ("02:00:00:00:01:01", "02:00:00:00:01:02")
"""MAC addresses of the routers in user space. With the interfaces' own addresses the kernel would also look up each
frame's route, in the sender's time."""
NOBODY = "02:00:00:00:00:ff"  # what flood frames are sent on to: the sink's kernel drops them at once
SOURCE, SINK, SINK_HOST = "10.0.0.2", "10.0.1.2", "10.0.1.3"  # floods go to SINK_HOST, TCP to SINK
WARM_UP = 0.2  # seconds
TRANSFER = 512 << 20
PATIENCE = 60.0


class _Topology:
    """A source, a router and a sink."""

    def __init__(self, lab: Lab, name: str, router_mac: str = MACS[1]) -> None:
        self.router_mac = router_mac
        self.source, self.router, self.sink = (lab.namespace(f"{name}-{part}") for part in ("a", "r", "b"))
        lab.veth((self.source, "eth0"), (self.router, "r0"), mac=(MACS[0], MACS[1]))
        lab.veth((self.router, "r1"), (self.sink, "eth0"), mac=(MACS[2], MACS[3]))
        self.source.address("eth0", f"{SOURCE}/24")
        self.source.route("default", via="10.0.0.1")
        self.sink.address("eth0", f"{SINK}/24")
        self.sink.route("default", via="10.0.1.1")

    def cut_super_frames(self, separate: bool) -> None:
        """Have the kernel cut UDP super-frames of the generator and of the router at the device; TCP's stay whole."""
        self.source.offload("eth0", tx_udp_segmentation=False, tx_checksum_ip_generic=not separate)
        self.router.offload("r1", tx_udp_segmentation=False)

    def flood(self, frame_bytes: int, seconds: float) -> float:
        """Packets a second that arrive at the sink."""
        flood = Flood(frame_bytes, SOURCE, SINK_HOST, mac_number(MACS[0]), mac_number(self.router_mac))
        process = self.source.run(flood.run, "eth0", WARM_UP + seconds + 1.0, None, usable_cores()[0])
        time.sleep(WARM_UP)
        start, before = time.perf_counter(), self.sink.link_stats("eth0").rx_packets
        time.sleep(seconds)
        after, end = self.sink.link_stats("eth0").rx_packets, time.perf_counter()
        flood.stop()
        process.join()
        return (after - before) / (end - start)

    def tcp(self) -> float:
        """Goodput of one connection, Gbit/s."""
        result = tcp_transfer(self.source, self.sink, SINK, TRANSFER, PATIENCE)
        if not result["intact"]:
            raise RuntimeError(f"the transfer did not arrive intact: {result}")
        return result["gbps"]


class _Contender:
    """A router to be measured: `serving` has it at work for the time of a `with` block."""

    def __init__(
        self,
        name: str,
        replicas: int,
        topology: _Topology,
        serving: Callable[[], AbstractContextManager[Any]],
    ):
        self.name, self.replicas, self.topology, self.serving = name, replicas, topology, serving

    def flood(self, frame_bytes: int, seconds: float) -> float:
        with self.serving():
            return self.topology.flood(frame_bytes, seconds)

    def tcp(self) -> float:
        with self.serving():
            return self.topology.tcp()


def _scout(lab: Lab, name: str, replicas: int, order: str) -> _Contender:
    topology = _Topology(lab, name, ROUTER_MACS[0])

    def serving() -> AbstractContextManager[Any]:
        graph = RouterGraph("bench_forward")
        graph.add(Ethernet("left", AfPacketPort("r0", mac=ROUTER_MACS[0])))
        graph.add(Ethernet("right", AfPacketPort("r1", mac=ROUTER_MACS[1])))
        graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
        arp = Arp("arp")
        arp.pin(1, SINK_HOST, NOBODY)
        graph.add(arp)
        graph.add(Icmp("icmp"))
        for port in ("left", "right"):
            graph.connect("icmp", "ip", port)
            graph.connect("ip", "arp", port)
        paths = [graph.create_path(port, order=order) for port in ("left", "right")]
        return _Inside(topology.router, Supervisor(graph, paths, replicas, report=lambda line: None))

    return _Contender("scout-afpacket", replicas, topology, serving)


class _Inside:
    """A context manager entered in a namespace, left outside of it."""

    def __init__(self, namespace: Namespace, inner: AbstractContextManager[Any]) -> None:
        self._namespace, self._inner = namespace, inner

    def __enter__(self) -> Any:
        with self._namespace.entered():
            return self._inner.__enter__()

    def __exit__(self, *exception: Any) -> None:
        self._inner.__exit__(*exception)


def _kernel(lab: Lab, name: str) -> _Contender:
    topology = _Topology(lab, name)
    router = topology.router
    router.address("r0", "10.0.0.1/24")
    router.address("r1", "10.0.1.1/24")
    router.neighbour("r1", SINK_HOST, NOBODY)
    router.sysctl("net.ipv4.ip_forward", 1)
    return _Contender("kernel", 0, topology, nullcontext)


class _Process:
    """A forwarder in a process of its own, for the time of a `with` block."""

    def __init__(self, namespace: Namespace, function: Callable[..., Any], *arguments: Any) -> None:
        self._namespace, self._function, self._arguments = namespace, function, arguments

    def __enter__(self) -> None:
        self._process = self._namespace.run(self._function, *self._arguments)
        time.sleep(WARM_UP)

    def __exit__(self, *exception: Any) -> None:
        self._process.terminate()
        self._process.join()


def _python(lab: Lab) -> _Contender:
    topology, core = _Topology(lab, "python", ROUTER_MACS[0]), usable_cores()[-1]
    routes = {"10.0.1.0/24": mac_number(NOBODY).to_bytes(6, "big")}
    arguments = (core, "r0", "r1", mac_number(ROUTER_MACS[0]).to_bytes(6, "big"), routes)
    return _Contender("python-socket", 1, topology, lambda: _Process(topology.router, python_socket.serve, *arguments))


def _c(lab: Lab, program: str) -> _Contender:
    topology, core = _Topology(lab, "c", ROUTER_MACS[0]), usable_cores()[-1]
    ports = [f"{name}/{mac}" for name, mac in zip(("r0", "r1"), ROUTER_MACS, strict=True)]
    command = [program, str(core), *ports, f"10.0.1.0/24,1,{NOBODY}", f"10.0.0.0/24,0,{MACS[0]}"]
    return _Contender("c-afpacket", 1, topology, lambda: _Process(topology.router, _execute, command))


def _execute(command: list[str]) -> None:
    quiet = os.open(os.devnull, os.O_WRONLY)
    os.dup2(quiet, 1)
    os.execv(command[0], command)


def run(rounds: int, seconds: float, sizes: list[int], separate: bool, json_path: str | None) -> None:
    """Measure, print two tables, write the figures.

    Parameters
    ----------
    rounds : int
        How often each contender is measured.
    seconds : float
        How long a measurement lasts.
    sizes : list of int
        Sizes of the frames in bytes, without the check sequence.
    separate : bool
        True for frames that cannot be joined to super-frames.
    json_path : str or None
        Where to write the figures.
    """
    report = Report("bench forward", json_path)
    everyone = len(usable_cores())
    program = compile_c("forward.c")
    rows: list[dict[str, Any]] = []
    with ExitStack() as stack:
        lab = stack.enter_context(Lab("bench"))
        contenders = [_scout(lab, "one", 1, "completed")]
        if everyone > 1:
            contenders.append(_scout(lab, "all", everyone, "completed"))
        contenders += [_kernel(lab, "kernel"), _python(lab)]
        if program:
            contenders.append(_c(lab, str(program)))
        for contender in contenders:
            contender.topology.cut_super_frames(separate)
        with contenders[0].serving():
            pass  # compiled before anything is measured
        for size in sizes:
            calls = [lambda c=contender, s=size: c.flood(s, seconds) for contender in contenders]
            for contender, figures in zip(contenders, interleaved(calls, rounds, f"{size}-byte frames"), strict=True):
                who = {"name": contender.name, "replicas": contender.replicas, "frame_bytes": size}
                rows.append(who | spread(figures, "pps"))
        streams = [_scout(lab, "tcp1", 1, "channel")]
        if everyone > 1:
            streams.append(_scout(lab, "tcpn", everyone, "channel"))
        streams.append(_kernel(lab, "tcpk"))
        transfers: list[Callable[[], float]] = [contender.tcp for contender in streams]
        tcp_rows: list[dict[str, Any]] = []
        for contender, figures in zip(streams, interleaved(transfers, rounds, "TCP"), strict=True):
            tcp_rows.append(
                {"name": contender.name, "replicas": contender.replicas, "load": "tcp"} | spread(figures, "gbps")
            )
    report.show(_with_ratios(rows))
    report.show(tcp_rows)
    if not program:
        report.say("no C compiler was found, so c-afpacket is left out")
    parameters = {
        "rounds": rounds,
        "seconds": seconds,
        "separate": separate,
        "cores": everyone,
        "sender_core": usable_cores()[0],
    }
    report.write(parameters, rows + tcp_rows)


def _with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with each one's median over that of Scout's one replica at the same frame size."""
    base = {
        row["frame_bytes"]: row["pps_median"]
        for row in rows
        if row["name"] == "scout-afpacket" and row["replicas"] == 1
    }
    for row in rows:
        scout = base[row["frame_bytes"]]
        row["ratio_to_scout"] = round(row["pps_median"] / scout, 3) if scout else None
    return rows
