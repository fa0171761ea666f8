"""The receive ring of an AF_PACKET socket: the channel of one interface, or of several, in one order.

The socket's TPACKET_V3 ring is mapped by all replicas, which walk its blocks by `scout.io.channels.blocks`. A socket
that is bound to no interface receives from all of the namespace; a filter in the kernel passes only our ports' frames.
"""

import ctypes
import mmap
import os
import socket
import struct
import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from scout.io.channels.blocks import (
    BLOCK_WORDS,
    CONTROL,
    CURSOR,
    GATING,
    MOST_CONTROLS,
    RING,
    TOLD,
    WORDS,
    add_control,
    advance_floor,
    at_hand,
    await_turn,
    batch_number,
    controls_done,
    join,
    position,
    receive,
    receive_sharded,
    release,
    resume,
    retire,
    snapshot_due,
    waiting,
    waiting_since,
)
from scout.io.channels.contract import ChannelOperations, PacketChannel
from scout.io.ports.contract import PortError
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import LINE, address, shared

__all__ = ["ETH_P_ALL", "SOL_PACKET", "VNET_HEADER_OPTION", "KernelRing", "raw_socket"]

# linux/if_packet.h, linux/if_ether.h, asm-generic/socket.h, linux/filter.h
SOL_PACKET, ETH_P_ALL = 263, 0x0003
_ADD_MEMBERSHIP, _RX_RING, _STATISTICS, _VERSION, VNET_HEADER_OPTION, _IGNORE_OUTGOING = 1, 5, 6, 10, 15, 23
_TPACKET_V3, _MR_PROMISC, _MR_UNICAST, _SO_ATTACH_FILTER = 2, 1, 3, 26
_LOAD_WORD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06  # BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET
_INTERFACE_INDEX, _WHOLE = 0xFFFFF000 + 8, 0xFFFF_FFFF  # SKF_AD_OFF + SKF_AD_IFINDEX; all of the frame

BLOCK_BYTES = 1 << 18  # holds three of the longest super-frames (64 KiB), or some 1,600 small frames
FRAME_BYTES = 2048
RETIRE_MS = 1  # after this a block that is not full is handed over: what an idle path waits at most
INTERVAL = 8  # requests between snapshots at most, a power of two: so many a replica may hold that it is done with
NAP = 1e-3  # seconds between looks whether there is room for a control request

_libc = ctypes.CDLL(None, use_errno=True)


def raw_socket(interface: str) -> socket.socket:
    """An AF_PACKET socket that is not bound yet.

    Raises
    ------
    PortError
        If that is not allowed.
    """
    try:
        return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError as error:
        raise PortError(f"port {interface}: raw sockets are not allowed; run as root, or see scout doctor") from error


class KernelRing:
    """The channel by which packets come from the interfaces of some ports; opens it.

    Parameters
    ----------
    ports : mapping of int to AfPacketPort
        By index; the ports are open.
    replicas : int
        How many take part from the start.
    keeps : bool
        True if requests are kept back to each replica's newest snapshot.

    Attributes
    ----------
    ring, cursors : numpy.ndarray
        For the compiled loops, shared: one `RING`, and a `CURSOR` for each replica.

    Raises
    ------
    PortError
        If raw sockets are not allowed, or the kernel makes no ring of this size.
    """

    operations = ChannelOperations(
        ring=RING,
        cursor=CURSOR,
        receive=receive,
        receive_sharded=receive_sharded,
        await_turn=await_turn,
        release=release,
        snapshot_due=snapshot_due,
        advance_floor=advance_floor,
        position=position,
        controls_done=controls_done,
        batch_number=batch_number,
        waiting=waiting,
        waiting_since=waiting_since,
    )

    def __init__(self, ports: Mapping[int, Any], replicas: int, keeps: bool) -> None:
        self._ports = dict(ports)
        self._names = " and ".join(port.interface for port in self._ports.values())
        self._kernel = np.zeros(3, np.int64)
        self._lock = threading.Lock()  # of who publishes control requests, and of who joins
        self._shards = 1
        blocks = max(port.blocks for port in self._ports.values())
        self._socket: socket.socket | None = None
        self._mapping: mmap.mmap | None = None
        self._words = shared((WORDS, LINE // 8), np.int64)
        self._words[GATING, 0] = (1 << replicas) - 1
        self.ring, self.cursors = shared(1, RING), shared(MOST_REPLICAS, CURSOR)
        ring = self._map(blocks)
        self._block_words = shared(2 * blocks * BLOCK_WORDS // 8, np.int64)
        self._controls = shared(MOST_CONTROLS, CONTROL)
        self._interfaces = shared((len(self._ports), 2), np.int64)
        for entry, (index, port) in zip(self._interfaces, self._ports.items(), strict=True):
            entry[:] = port.number, index
        self.ring[0] = (
            ring,
            BLOCK_BYTES,
            blocks,
            address(self._words),
            address(self._block_words),
            address(self.cursors),
            address(self._controls),
            keeps,
            min(INTERVAL, 1 << (blocks // 4).bit_length() - 1 if blocks >= 4 else 1),
            next(iter(self._ports)),
            len(self._ports),
            address(self._interfaces),
        )

    def _map(self, blocks: int) -> int:
        """Have the kernel make the ring; where it is mapped."""
        self._socket = raw_socket(self._names)
        options = ((_VERSION, _TPACKET_V3), (VNET_HEADER_OPTION, 1), (_IGNORE_OUTGOING, 1))
        for option, value in options:
            self._socket.setsockopt(SOL_PACKET, option, value)
        frames = BLOCK_BYTES // FRAME_BYTES * blocks
        request = struct.pack("7I", BLOCK_BYTES, blocks, FRAME_BYTES, frames, RETIRE_MS, 0, 0)
        try:
            self._socket.setsockopt(SOL_PACKET, _RX_RING, request)
        except OSError as error:
            self.close()
            raise PortError(
                f"port {self._names}: no receive ring of {blocks} blocks of 256 KiB: {error.strerror}; "
                "give fewer blocks"
            ) from error
        self._mapping = mmap.mmap(self._socket.fileno(), BLOCK_BYTES * blocks)
        for port in self._ports.values():
            memberships = [(_MR_PROMISC, b"")] if port.promiscuous else []
            if port.own_mac:
                memberships.append((_MR_UNICAST, port.own_mac.to_bytes(6, "big")))
            for kind, mac in memberships:
                entry = struct.pack("iHH8s", port.number, kind, len(mac), mac)
                try:
                    self._socket.setsockopt(SOL_PACKET, _ADD_MEMBERSHIP, entry)
                except OSError as error:
                    self.close()
                    raise PortError(f"port {port.interface}: {error.strerror}; is it still there?") from error
        return address(np.frombuffer(self._mapping, np.uint8))

    @property
    def descriptor(self) -> int:
        """The file descriptor to poll for packets."""
        assert self._socket
        return self._socket.fileno()

    def feed(self) -> None:
        """Begin to receive, now that all is ready."""
        assert self._socket
        if len(self._ports) == 1:
            try:
                self._socket.bind((self._names, ETH_P_ALL))
            except OSError as error:
                raise PortError(f"port {self._names}: cannot receive: {error.strerror}; is it still there?") from error
        else:
            self._filter()
            # struct sockaddr_ll; Python's bind wants the name of an interface.
            everywhere = struct.pack("=H2sI12x", socket.AF_PACKET, ETH_P_ALL.to_bytes(2, "big"), 0)
            if _libc.bind(self._socket.fileno(), everywhere, len(everywhere)):
                reason = os.strerror(ctypes.get_errno())
                raise PortError(f"port {self._names}: cannot receive from all interfaces: {reason}; run as root")
        self._kernel[:] = 0

    def _filter(self) -> None:
        """Have the kernel leave out what comes by other interfaces."""
        assert self._socket
        indices = [int(index) for index in self._interfaces[:, 0]]
        program = [(_LOAD_WORD, 0, 0, _INTERFACE_INDEX)]
        program += [(_JUMP_IF_EQUAL, len(indices) - number, 0, index) for number, index in enumerate(indices)]
        program += [(_RETURN, 0, 0, 0), (_RETURN, 0, 0, _WHOLE)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in program))
        self._socket.setsockopt(
            socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", len(program), ctypes.addressof(code))
        )

    def divide(self, shards: int) -> None:
        """Packets are divided among so many replicas; each deals with all control requests."""
        self._shards = shards

    @property
    def failed(self) -> list[int]:
        """None: the kernel brings the packets."""
        return []

    def drained(self) -> bool:
        """True if no more packets will come: never."""
        return False

    def counters(self) -> dict[str, int]:
        """Requests that the ring took, and packets that found it full, since it was opened."""
        if self._socket:
            statistics = self._socket.getsockopt(SOL_PACKET, _STATISTICS, 12)
            if len(statistics) == 12:  # less before the ring was mapped
                self._kernel += struct.unpack("3I", statistics)  # reading sets them to 0
        packets, drops, _ = (int(number) for number in self._kernel)
        told = self.cursors["told"]
        # Those that nobody has come to are not packets that were left unread.
        controls = int(told.max() if self._shards == 1 else told.sum())
        return {"received": packets - drops + controls, "ring-full": drops}

    # Control requests.

    @property
    def is_live(self) -> bool:
        """True: packets come now, so time passes also without."""
        return True

    @property
    def ticks(self) -> bool:
        """True if no control request waits."""
        published = self._words[TOLD, 0]
        return all(self.cursors["told"][replica] == published for replica in self._members())

    def control(self, port: int, kind: int, stage: int, argument: int, timestamp: int, timeout: float) -> bool:
        """Tell the service at stage number `stage` of a port's path something, at one place for all replicas.

        Parameters
        ----------
        port : int
            The port's index.
        kind : int
            `CONTROL_TICK` or `CONTROL_BIND`.
        stage, argument : int
        timestamp : int
            Nanoseconds since 1970.
        timeout : float
            Seconds to wait for room.

        Returns
        -------
        bool
            False if there was no room.
        """
        until = time.monotonic() + timeout
        while True:
            with self._lock:
                if add_control(self.ring, self.cursors, port, kind, stage, argument, timestamp):
                    return True
            if time.monotonic() >= until:
                return False
            time.sleep(NAP)

    # Who takes part.

    def _members(self) -> list[int]:
        gating = int(self._words[GATING, 0])
        return [replica for replica in range(MOST_REPLICAS) if gating >> replica & 1]

    def is_member(self, replica: int) -> bool:
        """True if blocks are kept for it; also of one that died, while there is something to see to."""
        return replica in self._members()

    def position(self, replica: int) -> int:
        """How many requests (blocks, and control requests) a replica has let go of."""
        return int(self.cursors["sequence"][replica]) + self.controls_done(replica)

    def controls_done(self, replica: int) -> int:
        """How many of them were control requests."""
        return int(self.cursors["told"][replica])

    def lag(self, replica: int) -> int:
        """How many requests a replica is behind the foremost."""
        return max((self.position(each) for each in self._members()), default=0) - self.position(replica)

    def foremost(self) -> tuple[int, int]:
        """The place of the foremost replica, and how many control requests it has let go of: there another can join."""
        replica = max(self._members(), key=self.position)
        while True:
            sequence, told = int(self.cursors["sequence"][replica]), self.controls_done(replica)
            if sequence == int(self.cursors["sequence"][replica]):  # so both were true at one time
                return sequence + told, told

    def join(self, replica: int, position: int, controls_done: int) -> bool:
        """Let one more replica take part from `position` on; False if blocks from there on went back to the kernel."""
        with self._lock:
            return bool(join(self.ring, self.cursors, replica, position, controls_done))

    def resume(self, replica: int, position: int, controls_done: int) -> None:
        """Have the successor of a dead `replica` go on from its state at `position`, and replay what came since."""
        resume(self.ring, self.cursors, replica, position, controls_done)

    def unfinished(self, replica: int) -> int:
        """How many packets a stopped `replica` is primary of that it has not dealt with."""
        return int(at_hand(self.ring, self.cursors, replica))

    def retire(self, replica: int, ordered: bool) -> int:
        """Take out a dead `replica` that gets no successor; how many packets it was primary of."""
        return int(retire(self.ring, self.cursors, replica, ordered))

    def close(self) -> None:
        """Close the socket and the ring, which would keep each other open."""
        if self._socket:
            self.counters()
            self._socket.close()
            self._socket = None
        if self._mapping:
            self._mapping.close()
            self._mapping = None


if TYPE_CHECKING:
    _conforms: type[PacketChannel] = KernelRing
