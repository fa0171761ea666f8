"""Ports on AF_PACKET sockets: any NIC or veth; the kernel's receive ring is the replicated channel.

A TPACKET_V3 ring is mapped by every replica. Each walks the blocks with its own head; a block's
`references` word elects the primary of all its packets, and who releases it last hands the block back
to the kernel. No copy, no producer's core. What makes it right:

- a replica reads a block only when its sequence number is the one that this replica expects *and then* its
  status says USER: a fast replica must not read again a block that a slow one still holds, nor one that the kernel has
  opened anew (it writes the number when it opens the block, the status when it is done);
- the last one resets the word before it hands the block back with a release store; the kernel's own
  release of the block carries that to whoever loads the status next with acquire.

Nobody writes to the ring. A replica that works on packets copies their headers to its own slots (`REACH`
bytes); the rest goes out from where it is.

Every frame comes with its virtio-net header, which says what the sending kernel left undone (checksum,
segmentation), and goes out with it (`scout.io.transmit`): so TCP passes with the offloads that veths have by
default.
"""

import fcntl
import mmap
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

import numba
import numpy as np

from scout.io.coalesce import TCP, UDP
from scout.io.packet import OFFLOAD, REACH, RECORD
from scout.io.port import PortError, mac_number
from scout.io.system import VNET_HEADER
from scout.io.transmit import TRANSMIT, new_line
from scout.ring.jit import Record, entry, inline
from scout.ring.membership import MOST_REPLICAS
from scout.ring.memory import (
    compare_exchange,
    copy,
    load32,
    load32_acquire,
    load64,
    load64_acquire,
    store32,
    store32_release,
    store64,
    store64_release,
)
from scout.ring.references import dequeue, everyone, release, unreleased, waits_for
from scout.ring.shared import LINE, address, shared
from scout.ring.turn import STOP
from scout.ring.wait import relax

__all__ = ["CURSOR", "RING", "AfPacketPort", "await_turn", "done", "receive"]

# linux/if_packet.h
SOL_PACKET, PACKET_ADD_MEMBERSHIP, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION = 263, 1, 5, 6, 10
PACKET_VNET_HDR, PACKET_IGNORE_OUTGOING, PACKET_MR_PROMISC, PACKET_MR_UNICAST, TPACKET_V3 = 15, 23, 1, 3, 2
STATUS_USER, STATUS_VLAN_VALID, STATUS_VLAN_TPID_VALID = 1, 1 << 4, 1 << 6
BLOCK_STATUS, BLOCK_PACKETS, BLOCK_FIRST, BLOCK_SEQUENCE = 8, 12, 16, 24  # struct tpacket_block_desc
NEXT, SECONDS, NANOSECONDS, SNAPLEN, STATUS, MAC, TCI, TPID = (
    0,
    4,
    8,
    12,
    20,
    24,
    32,
    36,
)  # struct tpacket3_hdr
ETH_P_ALL, ETH_P_8021Q, VLAN_AT, VLAN_TAG = 0x0003, 0x8100, 12, 4
ETHERNET_HEADER = 14
SIOCGIFFLAGS, SIOCGIFMTU, SIOCGIFHWADDR, IFF_UP, ARPHRD_ETHER, ARPHRD_LOOPBACK = (
    0x8913,
    0x8921,
    0x8927,
    1,
    1,
    772,
)

BLOCK_BYTES = 1 << 18  # holds three of the longest super-frames (64 KiB), or some 1,600 small frames
BLOCKS = 64
RETIRE_MS = 1  # after this a block that is not full is handed over: what an idle path waits at most
SEND_BUFFER = 1 << 24

INTERVAL = 8  # blocks between snapshots at most, a power of two: so many a replica may hold that it is done with
PACKET_BITS = 20  # enough for the packets of a block

# The words of a block, a cache line each: who has yet to dequeue and to release it, who takes part in it, who is its
# primary, and who hands it back to the kernel: the block's number << TAKER_BITS | replica + 1.
REFERENCES, MEMBERS, OWNER, TAKER = 0, 8, 16, 24
TAKER_BITS = 6

RING = np.dtype(
    [
        ("ring", "i8"),  # address of the first block
        ("block_bytes", "i8"),
        ("blocks", "i8"),
        ("words", "i8"),  # address of the blocks' words
        ("members", "i8"),  # address of the mask of replicas that have joined
        ("turn", "i8"),  # address of the sequence number whose packets may leave, for channel order
        ("port", "i8"),  # index of the port
        ("keeps", "i8"),  # not 0: blocks are kept back to each replica's newest snapshot
        ("interval", "i8"),  # blocks between snapshots, a power of two
    ]
)
CURSOR = np.dtype(
    [
        ("block", "i8"),  # index of the block at hand
        ("sequence", "i8"),  # blocks let go of so far: the head
        ("open", "i8"),  # not 0: the block at hand is dequeued and not let go of
        ("primary", "i8"),  # not 0: this replica is primary of the batch at hand,
        ("mine", "i8"),  # and of the block
        ("remaining", "i8"),  # packets of the block not yet looked at
        ("next", "i8"),  # address of the next one
        ("kept", "i8"),  # blocks released so far
        ("finished", "i8"),  # sequence << PACKET_BITS | packets of that block whose work is done
        ("until", "i8"),  # blocks before this one are replayed: a predecessor has let go of them
        ("skip", "i8"),  # packets of that block that the predecessor had done
        ("seen", "i8"),  # packets looked at
        ("claimed", "i8"),  # packets that this replica was primary of
        ("replayed", "i8"),  # packets replayed
        ("spare", "i8", 2),
    ]
)
"""Where a replica stands in a ring, two cache lines; written by it alone. Outlives it."""


@inline
def receive(ring: Record, cursor: Record, replica: int, batch: np.ndarray, copies: bool) -> int:
    """Fill `batch` with the next packets of the block at hand, or of the next; how many.

    A block that was opened stays open (`cursor.open`) until `done`, also if it is empty. With `copies`
    false a replica that is not the primary looks at the packets in the ring, where nobody may write.
    """
    if cursor.open == 0:
        if not _open(ring, cursor):
            return 0
        cursor.mine = 0
        if cursor.sequence >= cursor.until:
            cursor.mine = _elect(ring.words + cursor.block * LINE, replica)
    count = min(cursor.remaining, batch.shape[0])
    cursor.primary = cursor.mine
    if cursor.mine and cursor.skip:
        count = min(count, cursor.skip)
        cursor.skip -= count
        cursor.primary = 0
    header = cursor.next
    in_place = not copies and cursor.primary == 0
    for index in range(count):
        _take(batch[index], batch.ctypes.data + index * RECORD, header, ring.port, in_place)
        header += load32(header + NEXT)
    _advance(cursor, header, count)
    if cursor.primary:
        cursor.claimed += count
    if cursor.sequence < cursor.until:
        cursor.replayed += count
    return count


@inline
def receive_own(
    ring: Record, cursor: Record, replica: int, batch: np.ndarray, shards: int, shard_of: Callable[..., int]
) -> int:
    """Fill `batch` with those of the next packets that are this replica's, by `shard_of`; how many.

    It is primary of them; the others are passed over.
    """
    if cursor.open == 0 and _open(ring, cursor):
        cursor.mine = 1
    count = taken = 0
    cursor.primary = cursor.open
    header = cursor.next
    while count < cursor.remaining and taken < batch.shape[0]:
        frame = header + (load32(header + MAC) & 0xFFFF)
        if shard_of(frame, frame + min(load32(header + SNAPLEN), REACH), shards) == replica:
            _take(batch[taken], batch.ctypes.data + taken * RECORD, header, ring.port, False)
            taken += 1
        header += load32(header + NEXT)
        count += 1
    _advance(cursor, header, count)
    cursor.claimed += taken
    return taken


@inline
def _is_filled(ring: Record, cursor: Record) -> bool:
    """True if the kernel has released the next block to us."""
    block = ring.ring + cursor.block * ring.block_bytes
    # Acquire, in this order: the number pairs with the kernel's opening of the block, the status with its release.
    if load64_acquire(block + BLOCK_SEQUENCE) != cursor.sequence + 1:
        return False  # still held by a slower replica, from the round before
    return load32_acquire(block + BLOCK_STATUS) & STATUS_USER != 0


@inline
def _open(ring: Record, cursor: Record) -> bool:
    """Open the next block if it is filled."""
    if not _is_filled(ring, cursor):
        return False
    block = ring.ring + cursor.block * ring.block_bytes
    cursor.remaining = load32(block + BLOCK_PACKETS)
    cursor.next = block + load32(block + BLOCK_FIRST)
    cursor.open = 1
    return True


@inline
def _advance(cursor: Record, header: int, count: int) -> None:
    """Note that `count` packets of the block were looked at, up to `header`."""
    cursor.next = header
    cursor.remaining -= count
    cursor.seen += count


@inline
def _elect(word: int, replica: int) -> int:
    """Dequeue the block; 1 if this replica is its primary.

    As in the channel's policy REFCOUNT: the first to dequeue signs, or the successor of one that died before it did.
    """
    if waits_for(word + REFERENCES, replica) and not dequeue(word + REFERENCES, replica, load64(word + MEMBERS)):
        return 0
    # acq_rel, pairs with another's exchange: who signs is the primary.
    if compare_exchange(word + OWNER, 0, replica + 1):
        return 1
    return 1 if load64_acquire(word + OWNER) == replica + 1 else 0


@inline
def _take(packet: Record, record: int, header: int, port: int, in_place: bool) -> None:
    """Fill a packet's record from a frame of the ring."""
    mac = header + (load32(header + MAC) & 0xFFFF)
    size = load32(header + SNAPLEN)
    store64(record + OFFLOAD, load64(mac - VNET_HEADER))
    packet.checksum_offset = load32(mac - 4) >> 16
    packet.timestamp = load32(header + SECONDS) * 1_000_000_000 + load32(header + NANOSECONDS)
    packet.port = port
    packet.at = 0
    packet.link_broadcast = 0
    packet.held_since = 0
    packet.control = 0
    if load32(header + STATUS) & STATUS_VLAN_VALID:
        _untag(packet, header, mac, size)
        return
    linear = min(size, REACH)
    packet.tail = mac + linear
    packet.tail_bytes = size - linear
    if in_place:
        packet.origin = packet.frame = mac
        packet.end = mac + linear  # not more than the primary sees, or states could differ
        return
    origin = packet.slot
    copy(origin, mac, linear)
    packet.origin = packet.frame = origin
    packet.end = origin + linear


@inline
def _untag(packet: Record, header: int, mac: int, size: int) -> None:
    """Put the VLAN tag, which the kernel took out, back into the frame."""
    origin = packet.slot
    linear = min(size, REACH)
    tpid = ETH_P_8021Q
    if load32(header + STATUS) & STATUS_VLAN_TPID_VALID:
        tpid = load32(header + TPID) & 0xFFFF
    tag = tpid << 16 | (load32(header + TCI) & 0xFFFF)
    swapped = (tag & 0xFF) << 24 | (tag & 0xFF00) << 8 | (tag >> 8 & 0xFF00) | tag >> 24
    before = min(linear, VLAN_AT)
    copy(origin, mac, before)
    store32(origin + VLAN_AT, swapped)
    copy(origin + VLAN_AT + VLAN_TAG, mac + before, linear - before)
    packet.origin = packet.frame = origin
    packet.end = origin + linear + VLAN_TAG
    packet.tail = mac + linear
    packet.tail_bytes = size - linear
    packet.checksum_start += VLAN_TAG


@inline
def await_turn(ring: Record, cursor: Record, stop: int) -> bool:
    """Wait until all packets before the block at hand have left, or the word at `stop` says STOP.

    False if the block has left too: a predecessor had sent it.
    """
    looks = 0
    while load64_acquire(ring.turn) < cursor.sequence and load64_acquire(stop) != STOP:  # pairs with done
        relax(looks)
        looks += 1
    return load64_acquire(ring.turn) <= cursor.sequence


@inline
def done(ring: Record, cursor: Record, replica: int, ordered: bool) -> None:
    """Note that the batch at hand is dealt with; let go of the block if all its packets are."""
    if cursor.open == 0:
        return
    if cursor.mine:
        packets = load32(ring.ring + cursor.block * ring.block_bytes + BLOCK_PACKETS)
        # One store: a successor skips these packets, of this block only.
        cursor.finished = cursor.sequence << PACKET_BITS | (packets - cursor.remaining)
    if cursor.remaining:
        return
    if ordered and cursor.mine and load64_acquire(ring.turn) == cursor.sequence:  # else a predecessor had passed it on
        store64_release(ring.turn, cursor.sequence + 1)  # pairs with await_turn
    cursor.block = cursor.block + 1 if cursor.block + 1 < ring.blocks else 0
    cursor.sequence += 1  # a plain store: others only look at it
    cursor.open = 0
    if ring.keeps == 0:
        keep_from(ring, cursor, replica)


@inline
def is_due(ring: Record, cursor: Record) -> bool:
    """True if the replica stands at a place where all save a snapshot, and has not yet."""
    return cursor.open == 0 and cursor.sequence & (ring.interval - 1) == 0 and cursor.kept != cursor.sequence


@inline
def waiting(ring: Record, cursor: Record) -> int:
    """How many packets wait in the block at hand, or in the next."""
    if cursor.open:
        return cursor.remaining
    return load32(ring.ring + cursor.block * ring.block_bytes + BLOCK_PACKETS) if _is_filled(ring, cursor) else 0


@inline
def since(ring: Record, cursor: Record) -> int:
    """When the first of the packets that wait was received, nanoseconds since 1970."""
    header = cursor.next
    if cursor.open == 0:
        block = ring.ring + cursor.block * ring.block_bytes
        header = block + load32(block + BLOCK_FIRST)
    return load32(header + SECONDS) * 1_000_000_000 + load32(header + NANOSECONDS)


@inline
def place(ring: Record, cursor: Record) -> int:
    """How many blocks the replica has let go of."""
    return cursor.sequence


@inline
def keep_from(ring: Record, cursor: Record, replica: int) -> None:
    """Release the blocks before the one at hand; the last to release one hands it back to the kernel."""
    while cursor.kept < cursor.sequence:
        _release(ring, cursor.kept, replica)
        cursor.kept += 1


@inline
def _release(ring: Record, number: int, replica: int) -> None:
    """Release `replica`'s part of the block after `number` others, also if a predecessor died while it did.

    Who finds that nobody holds the block any more takes it upon itself to hand it back, by signing TAKER. If it dies,
    its successor finds the signature, and whether the kernel has the block.
    """
    index = number % ring.blocks
    block, word = ring.ring + index * ring.block_bytes, ring.words + index * LINE
    mine = (number + 1) << TAKER_BITS | replica + 1
    # Acquire, in this order: a bit of the next round is seen only if TAKER's signature of this one is.
    held = unreleased(word + REFERENCES) >> replica & 1
    taker = load64_acquire(word + TAKER)  # pairs with its exchange
    if taker >> TAKER_BITS == number + 1:
        # Until a predecessor had stored the status, nothing of the block could change.
        same_round = load64_acquire(block + BLOCK_SEQUENCE) == number + 1
        if taker == mine and same_round and load32_acquire(block + BLOCK_STATUS) & STATUS_USER:
            _hand_back(ring, word, block)
        return
    if held:
        release(word + REFERENCES, replica)
    # acq_rel, pairs with other replicas' exchanges: one of them hands it back.
    if unreleased(word + REFERENCES) == 0 and compare_exchange(word + TAKER, taker, mine):
        _hand_back(ring, word, block)


@inline
def _hand_back(ring: Record, word: int, block: int) -> None:
    """Give the block to the kernel. Only who signed TAKER may."""
    members = load64_acquire(ring.members)  # pairs with the supervisor's store
    store64(word + MEMBERS, members)
    store64(word + OWNER, 0)
    store64(word + REFERENCES, everyone(members))
    store32_release(block + BLOCK_STATUS, 0)  # pairs with the kernel's read before it fills the block


_RINGS = numba.types.Array(numba.from_dtype(RING), 1, "C")
_CURSORS = numba.types.Array(numba.from_dtype(CURSOR), 1, "C")


@inline
def _signed_by(word: int, replica: int) -> bool:
    """True if `replica` is the primary of a block that it dequeued, also if it died before it signed."""
    # acq_rel, pairs with _elect: if nobody has signed until now, nobody else will.
    return compare_exchange(word + OWNER, 0, replica + 1) or load64_acquire(word + OWNER) == replica + 1


@entry(numba.int64(_RINGS, _CURSORS, numba.int64))
def _unfinished(rings: np.ndarray, cursors: np.ndarray, replica: int) -> int:
    ring, cursor = rings[0], cursors[replica]
    number = max(cursor.sequence, cursor.until)  # what is replayed is not its own
    index = number % ring.blocks
    block, word = ring.ring + index * ring.block_bytes, ring.words + index * LINE
    if load64_acquire(block + BLOCK_SEQUENCE) != number + 1 or load32_acquire(block + BLOCK_STATUS) & STATUS_USER == 0:
        return 0
    return load32(block + BLOCK_PACKETS) if load64_acquire(word + OWNER) == replica + 1 else 0


@entry(numba.int64(_RINGS, _CURSORS, numba.int64, numba.boolean))
def _retire(rings: np.ndarray, cursors: np.ndarray, replica: int, ordered: bool) -> int:
    """Release what a dead `replica` held that gets no successor; how many packets it was primary of.

    One process only. To be called again until nothing is left: in channel order a block waits until all before it
    have left.
    """
    ring, cursor = rings[0], cursors[replica]
    orphans = 0
    if cursor.kept < cursor.sequence:  # it may have died while it handed this one back
        _release(ring, cursor.kept, replica)
        cursor.kept += 1
    for _ in range(ring.blocks):  # as often as one block's turn can bring the next one's
        moved = False
        for index in range(ring.blocks):
            block, word = ring.ring + index * ring.block_bytes, ring.words + index * LINE
            # The round that the references are of comes after the one in which the block was handed back last.
            taken = load64_acquire(word + TAKER) >> TAKER_BITS  # pairs with its exchange
            number = taken - 1 + ring.blocks if taken else index
            references = load64_acquire(word + REFERENCES)  # pairs with the other replicas' decrements
            if references >> 32 >> replica & 1 == 0:
                continue
            packets = 0
            if references >> replica & 1 == 0 and number >= cursor.sequence and _signed_by(word, replica):
                turn = load64_acquire(ring.turn)
                if ordered and turn < number:
                    continue
                if ordered and turn == number:  # else it had passed the turn on before it died
                    store64_release(ring.turn, number + 1)  # pairs with await_turn
                packets = load32(block + BLOCK_PACKETS)
            orphans += packets
            moved = True
            _release(ring, number, replica)
        if not moved:
            break
    return orphans


class AfPacketPort:
    """A port on a network interface of this process's namespace.

    Parameters
    ----------
    interface : str
        The interface's name.
    mac : str, optional
        A MAC address of the router's own, as 02:00:00:00:00:01; by default the interface's. With its own,
        what is sent to the router is never also handled by this namespace's kernel, which sees it as
        another host's: it answers nothing, forwards nothing, and spends less time.
    promiscuous : bool
        Also receive frames that are not for its MAC address (they reach veths in any case).
    blocks : int
        Blocks of 256 KiB in the receive ring; each holds some 1,600 small frames.
    coalesce : bool
        Hand packets of one flow that leave one behind the other to the kernel as one super-frame, if the kernel
        cuts it for this device (`ethtool -k` says that tx-udp-segmentation, tx-tcp-segmentation are off): it
        then sends the same frames in half the time. What a device would take whole is never made.

    Attributes
    ----------
    mac, mtu : int
        Of the interface, once open.
    ring, cursors, transmits : numpy.ndarray
        For the compiled loops, shared by all replicas: one `RING`, and a `CURSOR` and a `TRANSMIT` each.
    """

    kernels = ("scout.io.afpacket", "scout.io.transmit")
    """The modules of `receive`, `await_turn` and `done`, and of `enqueue` and `flush`."""
    RECEIVE, CURSOR, TRANSMIT = RING, CURSOR, TRANSMIT
    """The dtypes of what these are given."""

    def __init__(
        self,
        interface: str,
        mac: str | None = None,
        promiscuous: bool = False,
        blocks: int = BLOCKS,
        coalesce: bool = True,
    ) -> None:
        if not 0 < len(interface.encode()) < 16:
            raise PortError(f"interface {interface!r}: a name has 1 to 15 bytes")
        if not 2 <= blocks <= 4096:
            raise PortError(f"port {interface}: {blocks} blocks; give 2 to 4096")
        self.interface, self.promiscuous, self.blocks, self.coalesce = interface, promiscuous, blocks, coalesce
        self._own_mac = None if mac is None else mac_number(mac)
        self.mac = self.mtu = 0
        self._receiver: socket.socket | None = None
        self._senders: list[socket.socket] = []
        self._kernel = np.zeros(3, np.int64)

    def __repr__(self) -> str:
        return f"AfPacketPort({self.interface!r})"

    def open(self, index: int, replicas: int, members: int, keeps: bool) -> None:
        """Open the sockets and map the ring, for the port of number `index`.

        Parameters
        ----------
        members : int
            Address of the shared mask of replicas that take part.
        keeps : bool
            True if blocks are kept back to each replica's newest snapshot.

        Raises
        ------
        PortError
            If there is no such interface, it is down, or raw sockets are not allowed.
        """
        try:
            self._receiver = receiver = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        except PermissionError as error:
            raise PortError(
                f"port {self.interface}: raw sockets are not allowed; run as root, or see scout doctor"
            ) from error
        self._read_interface(receiver)
        self.words = shared(self.blocks * LINE // 8, np.int64)
        self._turn = shared(1, np.int64)
        self.ring, self.cursors = shared(1, RING), shared(MOST_REPLICAS, CURSOR)
        mask = (1 << replicas) - 1
        lines = self.words.reshape(self.blocks, LINE // 8)
        lines[:, REFERENCES // 8], lines[:, MEMBERS // 8] = mask | mask << 32, mask
        self._map(receiver)
        self.ring[0] = (
            address(self._mapped),
            BLOCK_BYTES,
            self.blocks,
            address(self.words),
            members,
            address(self._turn),
            index,
            keeps,
            min(INTERVAL, 1 << (self.blocks // 4).bit_length() - 1 if self.blocks >= 4 else 1),
        )
        self.transmits = shared(MOST_REPLICAS, TRANSMIT)
        self._lines: list[np.ndarray] = []

    def divide(self, shards: int) -> None:
        """Packets are divided among so many replicas: nothing to prepare."""

    def enlist(self, replica: int) -> None:
        """Make ready for one more replica: a sending socket of its own."""
        sender = self._sender()
        self._senders.append(sender)
        transmit = self.transmits[replica : replica + 1]
        self._lines.append(new_line(transmit))
        transmit["socket"], transmit["number"] = sender.fileno(), -1
        transmit["coalesce"] = self._cut_by_kernel() if self.coalesce else 0
        transmit["longest"] = self.mtu + ETHERNET_HEADER

    def _map(self, receiver: socket.socket) -> None:
        options = ((PACKET_VERSION, TPACKET_V3), (PACKET_VNET_HDR, 1), (PACKET_IGNORE_OUTGOING, 1))
        for option, value in options:
            receiver.setsockopt(SOL_PACKET, option, value)
        request = struct.pack("7I", BLOCK_BYTES, self.blocks, 2048, BLOCK_BYTES // 2048 * self.blocks, RETIRE_MS, 0, 0)
        try:
            receiver.setsockopt(SOL_PACKET, PACKET_RX_RING, request)
        except OSError as error:
            raise PortError(
                f"port {self.interface}: no receive ring of {self.blocks} blocks of 256 KiB: {error.strerror}; "
                "give fewer blocks"
            ) from error
        self._mapping = mmap.mmap(receiver.fileno(), BLOCK_BYTES * self.blocks)
        self._mapped = np.frombuffer(self._mapping, np.uint8)
        memberships = [(PACKET_MR_PROMISC, b"")] if self.promiscuous else []
        if self._own_mac:
            memberships.append((PACKET_MR_UNICAST, self._own_mac.to_bytes(6, "big")))
        index = socket.if_nametoindex(self.interface) if memberships else 0
        for kind, mac in memberships:
            request = struct.pack("iHH8s", index, kind, len(mac), mac)
            receiver.setsockopt(SOL_PACKET, PACKET_ADD_MEMBERSHIP, request)

    def _sender(self) -> socket.socket:
        sender = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # protocol 0: it receives nothing
        sender.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        # Not PACKET_QDISC_BYPASS: it refuses super-frames that the kernel has to cut for the device, hides
        # what is sent from tcpdump, and is no faster on a veth.
        with suppress(OSError):  # beyond the limit only with CAP_NET_ADMIN of the first user namespace
            sender.setsockopt(socket.SOL_SOCKET, 32, SEND_BUFFER)  # SO_SNDBUFFORCE
        sender.setblocking(False)
        sender.bind((self.interface, 0))
        return sender

    def _read_interface(self, receiver: socket.socket) -> None:
        def ask(request: int) -> bytes:
            return fcntl.ioctl(receiver, request, struct.pack("16s24x", self.interface.encode()))[16:]

        try:
            flags, mtu, hardware = ask(SIOCGIFFLAGS), ask(SIOCGIFMTU), ask(SIOCGIFHWADDR)
        except OSError as error:
            names = ", ".join(name for _, name in socket.if_nameindex())
            raise PortError(f"port {self.interface}: there is no such interface here; there are {names}") from error
        if not struct.unpack_from("H", flags)[0] & IFF_UP:
            raise PortError(f"port {self.interface}: the interface is down; ip link set {self.interface} up")
        kind = struct.unpack_from("H", hardware)[0]
        if kind not in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
            raise PortError(f"port {self.interface}: not an Ethernet interface (type {kind})")
        self.mtu = struct.unpack_from("i", mtu)[0]
        self.mac = self._own_mac or int.from_bytes(hardware[2:8], "big")

    def _cut_by_kernel(self) -> int:
        """The protocols whose super-frames the kernel cuts, as the device does not take them."""
        from pyroute2.ethtool.ioctl import EthtoolError, IoctlEthtool  # here: it takes a tenth of a second

        ethtool = IoctlEthtool(self.interface)
        try:
            takes = ethtool.get_features()
            features = ((UDP, "tx-udp-segmentation"), (TCP, "tx-tcp-segmentation"))
            return sum(protocol for protocol, name in features if name in takes and not takes[name])
        except (EthtoolError, OSError):
            return 0
        finally:
            ethtool.close()

    @property
    def descriptor(self) -> int | None:
        """The file descriptor to poll for packets."""
        assert self._receiver
        return self._receiver.fileno()

    def feed(self) -> None:
        """Begin to receive, now that all is ready."""
        assert self._receiver
        self._receiver.bind((self.interface, ETH_P_ALL))
        self._kernel[:] = 0

    def drained(self) -> bool:
        """True if no more packets will come: never."""
        return False

    def is_up(self) -> bool:
        """False if the interface is down or gone."""
        assert self._receiver
        try:
            flags = fcntl.ioctl(self._receiver, SIOCGIFFLAGS, struct.pack("16s24x", self.interface.encode()))
        except OSError:
            return False
        return bool(struct.unpack_from("H", flags, 16)[0] & IFF_UP)

    def kernel_counters(self) -> dict[str, int]:
        """Packets that the ring took, and that found it full, since it was opened."""
        if self._receiver:
            statistics = self._receiver.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12)
            if len(statistics) == 12:  # less before the ring was mapped
                self._kernel += struct.unpack("3I", statistics)  # reading sets them to 0
        packets, drops, _ = (int(number) for number in self._kernel)
        return {"received": packets - drops, "ring-full": drops}

    def transmitted(self) -> dict[str, int]:
        """Frames that the kernel took from all replicas, those of them made here, those it refused by reason."""
        names = {
            "sent": "sent",
            "made": "made",
            "full": "tx-full",
            "too_big": "tx-too-big",
            "down": "tx-down",
            "refused": "tx-refused",
        }
        return {name: int(self.transmits[field].sum()) for field, name in names.items()}

    def lag(self, replica: int) -> int:
        """How many blocks a replica is behind the foremost."""
        return int(self.cursors["sequence"].max()) - self.place(replica)

    failed = False
    """The kernel brings the packets."""

    def place(self, replica: int) -> int:
        """How many blocks a replica has let go of."""
        return int(self.cursors["sequence"][replica])

    def resume(self, replica: int, saved: int) -> None:
        """Have the successor of a dead `replica` go on from its state at block `saved`, and replay what came since."""
        cursor = self.cursors[replica]
        if cursor["sequence"] >= cursor["until"]:  # else it died while it replayed, for a predecessor
            done = int(cursor["finished"])
            cursor["skip"] = done & (1 << PACKET_BITS) - 1 if done >> PACKET_BITS == cursor["sequence"] else 0
            cursor["until"] = cursor["sequence"]
        cursor["sequence"], cursor["block"], cursor["open"] = saved, saved % self.blocks, 0
        self.transmits["count"][replica] = 0

    def join(self, replica: int, place: int) -> bool:
        """Not possible: the kernel's ring keeps nothing for who comes later."""
        raise PortError(f"port {self.interface}: replicas cannot join while it runs; start it with all of them")

    def unfinished(self, replica: int) -> int:
        """How many packets a stopped `replica` is primary of that it has not dealt with."""
        return int(_unfinished(self.ring, self.cursors, replica))

    def retire(self, replica: int, ordered: bool) -> int:
        """Release what a dead `replica` held that gets no successor; of how many packets it was primary."""
        return int(_retire(self.ring, self.cursors, replica, ordered))

    def close(self) -> None:
        """Close the sockets; the ring goes with the last process that maps it."""
        if self._receiver:
            self.kernel_counters()
            self._receiver.close()
            self._receiver = None
        for sender in self._senders:
            sender.close()
        self._senders.clear()
