"""The receive ring of an AF_PACKET socket: the channel of one interface, or of several, in one order.

All replicas map the socket's TPACKET_V2 ring and read its frames (`scout.io.channels.kernel_ring_protocol`). A socket
that is bound to no interface receives from all interfaces of the namespace; a filter in the kernel passes only frames
of the channel's ports.

Its methods, in the order of a run:

- the constructor makes the socket and its ring; `plug`, which it calls if there are interfaces, has these take frames
  for the MAC addresses wanted;
- `feed` binds the socket: frames come from now on. In two steps, for a change of ports: `prepare` does what may fail,
  `admit` lets the frames in;
- `quiesce` stops them, with none left on the way, and `resume_receiving` undoes it;
- `is_drained` says when replicas have served what is in the ring; `unplug` then lets the interface go;
- `close` gives all back.

The interface of a port that has the ring alone can come and go while replicas run. Without one the socket is bound to
none, and the channel brings control requests alone. The socket and its ring stay, so replicas have them from the start:
to make a ring while they run would take a core from them, as the kernel clears its memory at one stretch.
"""

import ctypes
import mmap
import socket
import struct
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

from scout.io.batch import BATCH_SIZE
from scout.io.channels.contract import PacketChannel
from scout.io.channels.kernel_ring_operations import OPERATIONS
from scout.io.channels.kernel_ring_protocol import CONTROL, MOST_CONTROLS, RING, add_control, settle
from scout.io.channels.packet_socket import (
    ETH_P_ALL,
    NO_PROTOCOL,
    SOL_PACKET,
    STATISTICS,
    bind,
    ring_socket,
    set_memberships,
    slots_for,
)
from scout.io.host.socket_filter import NO_FRAMES, attach, detach, of_interfaces
from scout.io.ports.contract import PortError
from scout.ring.layout import CHANNEL, CLAIM, CONTROLS, GATING, MEMBER, WORDS
from scout.ring.membership import MOST_REPLICAS, join, passed, resume
from scout.ring.retirement import retire, unfinished
from scout.ring.segment import LINE, address, shared

__all__ = ["KernelRing"]

BATCH = 128
"""The most frames that are dequeued together: of 16 flows 8 packets each, which leave as one super-frame."""
NAP = 1e-3  # seconds between looks whether there is room for a control request


class KernelRing:
    """The channel by which packets come from the interfaces of some ports; opens it.

    Parameters
    ----------
    ports : mapping of int to AfPacketPort
        By index; the ports are open. A port alone may have no interface yet.
    replicas : int
        How many take part from the start.
    keeps : bool
        True if requests are kept back to each replica's newest snapshot.

    Attributes
    ----------
    ring, cursors : numpy.ndarray
        For the compiled loops, shared: one `RING`, and a `MEMBER` for each replica.

    Raises
    ------
    PortError
        If raw sockets are not allowed, or the kernel makes no ring of this size.
    """

    operations = OPERATIONS

    def __init__(self, ports: Mapping[int, Any], replicas: int, keeps: bool) -> None:
        self._ports = dict(ports)
        self._names = " and ".join(port.interface for port in self._ports.values())
        self._kernel = np.zeros(2, np.int64)  # frames that arrived at the socket, and how many of them it dropped
        self._lock = threading.Lock()  # `add_control` and `join` must not run at the same time
        self._shards = 1
        self._slots = slots_for(max(port.longest for port in self._ports.values()))
        # In blocks, by which the kernel allocates the ring's memory.
        self._blocks = -(-max(port.frames for port in self._ports.values()) // self._slots.together)
        frames = self._blocks * self._slots.together
        self._socket: socket.socket | None = None
        self._memory: mmap.mmap | None = None
        ring = self._open(frames)
        # Replicas may still have to follow the claims of all frames in the ring and of all control requests that wait.
        marks = 1 << (frames + MOST_CONTROLS - 1).bit_length()
        self._marks = shared(marks, np.int64)
        self._words = shared((WORDS, LINE // 8), np.int64)
        self._words[GATING, 0] = (1 << replicas) - 1
        self._controls = shared(MOST_CONTROLS, CONTROL)
        self._interfaces = shared((len(self._ports), 2), np.int64)
        for entry, (index, port) in zip(self._interfaces, self._ports.items(), strict=True):
            entry[:] = port.number, index
        self.ring, self.cursors = shared(1, RING), shared(MOST_REPLICAS, MEMBER)
        self._channel = shared(1, CHANNEL)
        # Requests since the newest snapshot stay in the ring for a successor: an interval of at most half of the frames
        # leaves the other half to the kernel.
        interval = 1 << (frames // 2).bit_length() - 1
        values = {
            "ring": ring,
            "entries": frames,
            "stride": self._slots.size,
            "words": address(self._words),
            "members": address(self.cursors),
            "marks": address(self._marks),
            "mark_count": marks,
            "mark_stride": self._marks.itemsize,
            "lap_bits": marks.bit_length() - 1,
            "policy": CLAIM,
            "batch": min(BATCH, BATCH_SIZE, interval),
            "group": 1,
            "interval": interval,
            "keeps": keeps,
            "laps": 0,
            "wakes": 0,
            "bell": 0,
        }
        for name, value in values.items():
            self._channel[name] = self.ring[name] = value
        self.ring["port"], self.ring["ports"] = next(iter(self._ports)), len(self._ports)
        self.ring["interfaces"], self.ring["controls"] = address(self._interfaces), address(self._controls)

    def _open(self, frames: int) -> int:
        """Make the socket and its ring, which nothing feeds yet; the ring's address."""
        self._socket = made = ring_socket(self._names, self._slots, self._blocks)
        try:
            self._memory = mmap.mmap(made.fileno(), frames * self._slots.size)
            if self._has_interfaces:
                self.plug()
        except (OSError, PortError) as error:
            self.close()
            if isinstance(error, PortError):
                raise
            raise PortError(f"port {self._names}: the ring cannot be mapped: {error.strerror}") from error
        return ctypes.addressof(ctypes.c_char.from_buffer(self._memory))

    # The interface, which a channel of one port can be without.

    @property
    def _has_interfaces(self) -> bool:
        return all(port.interface for port in self._ports.values())

    def plug(self) -> None:
        """Have the interfaces take the frames that the ports want; nothing comes before `feed` or `admit`.

        Raises
        ------
        PortError
            If an interface is gone.
        """
        assert self._socket
        self._names = " and ".join(port.interface for port in self._ports.values())
        for port in self._ports.values():
            set_memberships(self._socket, port, True)

    def quiesce(self) -> None:
        """Receive no more frames; the ring keeps those that came. All that were on their way are in it on return."""
        assert self._socket
        attach(self._socket, NO_FRAMES)
        with suppress(OSError):  # an interface that is gone brings none
            # The kernel waits here until no frame is on its way to the socket (synchronize_net). A socket cannot be
            # bound to no protocol.
            bind(self._socket, NO_PROTOCOL, self._number)

    @property
    def is_drained(self) -> bool:
        """True if replicas have served all frames that the ring took."""
        self._read_kernel()
        taken = int(self._kernel[0] - self._kernel[1])
        return all(int(self.cursors["head"][replica]) == taken for replica in self._members())

    def unplug(self) -> None:
        """Let the interface of the one port go, by which nothing comes any more."""
        assert self._socket
        attach(self._socket, NO_FRAMES)  # else frames of that protocol would come, by any interface
        for port in self._ports.values():
            set_memberships(self._socket, port, False)
        bind(self._socket, NO_PROTOCOL, 0)

    @property
    def _number(self) -> int:
        """The kernel's index of the one interface, or 0."""
        return next(iter(self._ports.values())).number if len(self._ports) == 1 else 0

    @property
    def descriptor(self) -> int:
        """The socket, which becomes readable when frames arrive."""
        assert self._socket
        return self._socket.fileno()

    def attach(self, bell: int) -> None:
        """Have this bell rung after control requests."""
        self.ring["bell"] = bell

    def feed(self) -> None:
        """Start to receive, if there are interfaces.

        Raises
        ------
        PortError
            If an interface is gone.
        """
        if self._has_interfaces:
            if len(self._ports) > 1:
                self._filter()
            self._bind()

    def prepare(self) -> None:
        """Bind to the interface, so that `admit` cannot fail; nothing comes yet. Errors as of `feed`."""
        assert self._socket
        attach(self._socket, NO_FRAMES)
        self._bind()

    def admit(self) -> None:
        """Receive from now on, after `prepare` or `quiesce`."""
        assert self._socket
        detach(self._socket)

    def resume_receiving(self) -> None:
        """Receive again after `quiesce`; not if the interface is gone meanwhile."""
        with suppress(PortError):
            self.prepare()
        self.admit()

    def _bind(self) -> None:
        assert self._socket
        try:
            bind(self._socket, ETH_P_ALL, self._number)
        except OSError as error:
            raise PortError(f"port {self._names}: cannot receive: {error.strerror}; is it still there?") from error

    def _filter(self) -> None:
        """Have the kernel drop frames of other interfaces before they reach the ring."""
        assert self._socket
        try:
            attach(self._socket, of_interfaces([int(index) for index in self._interfaces[:, 0]]))
        except OSError as error:
            raise PortError(
                f"port {self._names}: the kernel refuses the filter that selects their frames: {error.strerror}; "
                "raise the sysctl net.core.optmem_max"
            ) from error

    def divide(self, shards: int) -> None:
        """Say that flows are sharded among this many replicas: every one handles all control requests."""
        self._shards = shards

    def release_failed(self) -> list[int]:
        """None: the kernel brings the packets."""
        return []

    def drained(self) -> bool:
        """True if no more packets will come: never."""
        return False

    def counters(self) -> dict[str, int]:
        """Requests that the ring took, and packets that found it full.

        The kernel counts in 32 bits: to be called at least every 2 ** 32 packets.
        """
        self._read_kernel()
        packets, drops = (int(number) for number in self._kernel)
        done = self.cursors["controls"]
        # Control requests that no replica has reached are not packets that were left unread.
        controls = int(done.max() if self._shards == 1 else done.sum())
        return {"received": packets - drops + controls, "ring-full": drops}

    def _read_kernel(self) -> None:
        if self._socket:
            statistics = self._socket.getsockopt(SOL_PACKET, STATISTICS, 8)  # struct tpacket_stats
            self._kernel += struct.unpack("2I", statistics)  # reading sets them to 0

    # Control requests.

    @property
    def is_live(self) -> bool:
        """True: time passes also while no packets arrive, so timers need ticks."""
        return True

    @property
    def ticks(self) -> bool:
        """True if every replica has served all control requests, so that the supervisor may insert a tick."""
        published = self._words[CONTROLS, 0]
        return all(self.cursors["controls"][replica] == published for replica in self._members())

    def control(self, port: int, kind: int, stage: int, argument: int, timestamp: int, timeout: float) -> int:
        """Insert a control request among the packets; as `PacketChannel.control`."""
        until = time.monotonic() + timeout
        while True:
            with self._lock:
                if number := int(add_control(self.ring, port, kind, stage, argument, timestamp)):
                    return number
            if time.monotonic() >= until:
                return 0
            time.sleep(NAP)

    def passed(self, number: int) -> bool:
        """True if every replica's floor is behind the control request of this number."""
        return bool(passed(self._channel, number, True))

    # Members.

    def _members(self) -> list[int]:
        gating = int(self._words[GATING, 0])
        return [replica for replica in range(MOST_REPLICAS) if gating >> replica & 1]

    def is_member(self, replica: int) -> bool:
        """True if frames are kept for the replica, also if it has died and is not retired yet."""
        return bool(int(self._words[GATING, 0]) >> replica & 1)

    def position(self, replica: int) -> int:
        """How many requests (frames, and control requests) a replica has released."""
        return int(self.cursors["head"][replica]) + self.controls_done(replica)

    def controls_done(self, replica: int) -> int:
        """How many of them were control requests."""
        return int(self.cursors["controls"][replica])

    def lag(self, replica: int) -> int:
        """How many requests a replica is behind the foremost."""
        return max((self.position(each) for each in self._members()), default=0) - self.position(replica)

    def foremost(self) -> tuple[int, int]:
        """`position` and `controls_done` of the foremost replica: another can join there."""
        replica = max(self._members(), key=self.position)
        while True:
            head, controls = int(self.cursors["head"][replica]), self.controls_done(replica)
            if head == int(self.cursors["head"][replica]):  # so both were true at one time
                return head + controls, controls

    def join(self, replica: int, position: int, controls_done: int) -> bool:
        """Let one more replica take part from `position` on; False if requests from there on are gone."""
        with self._lock:
            if int(self._words[CONTROLS, 0]) - controls_done > MOST_CONTROLS:
                return False
            joined = bool(join(self._channel, self.cursors, replica, position, controls_done))
        if not joined:
            settle(self.ring, replica)  # frames that were kept for it meanwhile
        return joined

    def resume(self, replica: int, position: int, controls_done: int) -> None:
        """Let the successor of a dead `replica` replay from `position` on, where its state was saved."""
        resume(self._channel, self.cursors, replica, position, controls_done)
        settle(self.ring, replica)

    def unfinished(self, replica: int) -> int:
        """How many packets a `replica` that does not run is primary of and has not released."""
        return int(unfinished(self._channel, self.cursors, replica))

    def retire(self, replica: int, ordered: bool) -> int:
        """Take out a `replica` that does not run; as `PacketChannel.retire`."""
        if not self.is_member(replica):
            return 0
        lost = int(retire(self._channel, self.cursors, replica, ordered))
        settle(self.ring, replica)
        return lost

    def close(self) -> None:
        """Close the socket and the ring; each would keep the other open. The counters stay."""
        if self._socket:
            self._read_kernel()
            self._socket.close()
            self._socket = None
        if self._memory:
            self._memory.close()
            self._memory = None


if TYPE_CHECKING:
    _conforms: type[PacketChannel] = KernelRing
