"""A router whose paths have queues, between two ports in memory, and numbered frames for its paths."""

import os
import signal
import struct
from contextlib import contextmanager

from demux_frames import frame
from port_router import ADDRESSES, HOST, LEFT, RIGHT

from scout.io.ports.memory import MemoryPort
from scout.paths.model.graph import RouterGraph
from scout.paths.protocols.arp import Arp
from scout.paths.protocols.ethernet import Ethernet
from scout.paths.protocols.icmp import Icmp
from scout.paths.protocols.ipv4 import Ip
from scout.supervisor import Supervisor

L4_PORT, NUMBER = 14 + 22, 14 + 24  # offsets of the destination port and of the number in `numbered`
VOICE, BULK, MAIL = 5060, 5061, 5062
START = 1_700_000_000_000_000_000


def numbered(number, port, size=4):
    """A frame to 10.0.1.2 and an L4 port that carries its number."""
    payload = struct.pack("!I", number) + bytes(index & 0xFF for index in range(size - 4))
    return frame("10.0.0.2", "10.0.1.2", ports=(1, port), payload=payload)


class Queued:
    """A router between two ports; UDP to some L4 ports has paths with queues, with the wishes given for each."""

    def __init__(self, wishes, service=None, known=True):
        self.left, self.right = MemoryPort(LEFT), MemoryPort(RIGHT)
        self.graph = RouterGraph("queued")
        self.graph.add(Ethernet("left", self.left))
        self.graph.add(Ethernet("right", self.right))
        self.graph.add(Ip("ip", ADDRESSES))
        arp = Arp("arp")
        if known:
            arp.pin(1, "10.0.1.2", HOST)
        self.graph.add(arp)
        self.graph.add(Icmp("icmp"))
        for port in ("left", "right"):
            self.graph.connect("icmp", "ip", port)
            self.graph.connect("ip", "arp", port)
        if service:
            self.graph.add(service)
            self.graph.connect("ip", service.name, "left")
        self.queued = [
            self.graph.create_path("left", protocol="udp", destination_port=port, **wish)
            for port, wish in wishes.items()
        ]
        self.paths = [*self.queued, self.graph.create_path("left"), self.graph.create_path("right")]

    def supervisor(self, replicas=1, **options):
        """A supervisor that does not run yet. Paths may be created in all, so that the same loop serves them."""
        return Supervisor(self.graph, self.paths, replicas, report=[].append, **{"most_paths": 16} | options)

    def end(self):
        self.left.end()
        self.right.end()

    def sent(self):
        """The L4 port and the number of each frame that left on the right."""
        sent = self.right.sent()
        return [struct.unpack_from("!H", each, L4_PORT) + struct.unpack_from("!I", each, NUMBER) for each in sent]


@contextmanager
def paused(supervisor, replica=0):
    """All that is sent meanwhile waits when the only replica goes on."""
    os.kill(supervisor.processes[replica].pid, signal.SIGSTOP)
    yield
    os.kill(supervisor.processes[replica].pid, signal.SIGCONT)
