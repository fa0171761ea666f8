"""Every kind of port keeps the contract of ports (`scout.io.ports.contract`), seen from outside."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.core import types

from scout.io.batch import new_batch
from scout.io.channels.contract import ChannelOperations, PacketChannel
from scout.io.endpoints.message import DATA, HEADER, HEADER_STRUCT
from scout.io.host.lab import Lab
from scout.io.host.process import Child
from scout.io.ports.afpacket import AfPacketPort
from scout.io.ports.applications import ApplicationPort
from scout.io.ports.contract import Port, PortOperations
from scout.io.ports.memory import MemoryPort
from scout.io.ports.pcap import PcapPort
from scout.io.ports.tap_device import TapPort
from scout.paths.compiler.native import BATCH
from scout.ring.fuse import EntryCompiler
from scout.ring.jit import OPTIONS
from scout.ring.membership import MOST_REPLICAS
from scout.tools.bench.trace_port import TracePort

MAC = "02:00:00:00:00:77"
FRAME = bytes.fromhex("020000000002020000000077") + b"\x88\xb5" + bytes(46)  # an ethertype for experiments
SOCKET = 1 << 16  # the number of a socket in row 0
MESSAGE = HEADER_STRUCT.pack(DATA, 17, 0, SOCKET, 0, 0, 0, 0, HEADER << 16)
KINDS: dict[str, Callable[[Path], Port]] = {
    "applications": lambda folder: ApplicationPort("contract", sockets=2),
    "memory": lambda folder: MemoryPort(MAC),
    "pcap": lambda folder: PcapPort(write=folder / "out.pcap", mac=MAC),
    "trace": lambda folder: TracePort(MAC, [FRAME] * 16),
    "interface": lambda folder: AfPacketPort("left", mac=MAC),
    "tap": lambda folder: TapPort("tap", mac=MAC),
}


@pytest.fixture(
    params=[
        pytest.param(kind, marks=[pytest.mark.needs_namespaces] if kind in ("interface", "tap") else [])
        for kind in KINDS
    ]
)
def port(request: Any, tmp_path: Path) -> Iterator[Port]:
    """An open port of each kind, with one replica."""
    with ExitStack() as stack:
        if request.param in ("interface", "tap"):
            lab = stack.enter_context(Lab("contract"))
            namespace = lab.namespace("router")
            lab.veth((namespace, "left"), (lab.namespace("host"), "eth0"))
            stack.enter_context(namespace.entered())
        made = KINDS[request.param](tmp_path)
        stack.callback(made.close)
        made.open(0)
        made.enlist(0)
        if isinstance(made, ApplicationPort):
            made.memory.numbers[0] = SOCKET
        yield made


@cache
def sender(operations: PortOperations) -> Any:
    """A compiled function that sends a frame so many times, and flushes, with a port's compiled operations."""
    enqueue, flush = operations.enqueue, operations.flush
    array = types.Array(numba.from_dtype(operations.transmit), 1, "C")

    def send(transmits: Any, batch: Any, count: int) -> None:
        for _ in range(count):
            enqueue(transmits[0], batch[0], batch.ctypes.data)
        flush(transmits[0])

    return numba.njit(types.void(array, BATCH, types.int64), pipeline_class=EntryCompiler, **OPTIONS)(send)


def add_and_flush(port: Port, count: int) -> None:
    """Send `count` frames as replica 0."""
    batch, slots = new_batch(1)
    frame = MESSAGE if isinstance(port, ApplicationPort) else FRAME
    slots[64 : 64 + len(frame)] = np.frombuffer(frame, np.uint8)
    batch["end"] = batch["frame"] + len(frame)
    sender(port.operations)(port.transmits[:1], batch, count)


def test_an_open_port_says_what_it_is(port: Port) -> None:
    assert isinstance(port.operations, PortOperations)
    assert port.transmits.dtype == port.operations.transmit and len(port.transmits) == MOST_REPLICAS
    mac, mtu = (0x02_00_00_00_00_00, 65535) if isinstance(port, ApplicationPort) else (0x02_00_00_00_00_77, 1500)
    assert port.interface and port.mac == mac and port.mtu == mtu
    assert port.fault() == "" and port.warnings() == []
    port.refresh()
    assert port.mtu == mtu


def test_frames_leave_by_a_process_that_has_only_the_descriptors_of_the_port(port: Port) -> None:
    if isinstance(port, TracePort):  # it has room for none
        return
    sender(port.operations)  # compiled before the process forks, since the next test needs it too
    child = Child(add_and_flush, port, 3, keep=port.descriptors())
    assert child.join(600) and child.exitcode == 0
    assert port.transmitted()["sent"] == 3


def test_frames_that_leave_are_counted(port: Port) -> None:
    assert port.transmitted()["sent"] == 0
    if isinstance(port, TracePort):  # it has room for none
        add_and_flush(port, 3)
        assert port.transmitted() == {"sent": 0, "made": 0, "tx-full": 3}
        return
    add_and_flush(port, 3)
    add_and_flush(port, 0)
    figures = port.transmitted()
    assert figures.pop("sent") == 3 and not any(figures.values())
    port.resume(0)  # nothing was added that had not left
    add_and_flush(port, 1)
    assert port.transmitted()["sent"] == 4


def test_the_channel_of_a_port_has_all_that_the_supervisor_wants(port: Port) -> None:
    channel: PacketChannel = port.channel({0: port}, 1, keeps=False)
    try:
        assert isinstance(channel.operations, ChannelOperations)
        assert channel.ring.dtype == channel.operations.ring and len(channel.ring) == 1
        assert channel.cursors.dtype == channel.operations.cursor and len(channel.cursors) == MOST_REPLICAS
        assert {"open", "primary", "claimed", "seen", "replayed"} <= set(channel.cursors.dtype.names or ())
        assert channel.is_member(0) and not channel.is_member(1)
        assert channel.position(0) == channel.controls_done(0) == channel.unfinished(0) == channel.lag(0) == 0
        assert channel.release_failed() == [] and channel.counters()["received"] == 0
        assert channel.join(1, *channel.foremost()) and channel.is_member(1)
        channel.retire(1, ordered=False)
        assert not channel.is_member(1)
    finally:
        channel.close()
