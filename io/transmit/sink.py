"""Sending without a device: packets become pcap records, in a file or in shared memory.

Each replica has a buffer. `enqueue` copies a packet to it, and completes a checksum that the sender left to a device.
`flush` writes the buffer's content to a file with one system call, or leaves it there for the supervisor to read.

In memory a buffer holds one batch after the other: `ticket | frames | number | spare | records`. When a batch leaves it
draws a ticket from a counter of the whole port, so tickets give the order in which the batches of all replicas left, as
on a wire. The number is that of the batch in its channel. The successor of a dead replica may send a batch that the
dead one had sent: of two batches of one replica with one number, the second is dropped.

Replicas append to one file (`O_APPEND`): the kernel writes each batch whole behind the last one. Only a replica that is
killed within the call, or a full disk, can cut a batch off; the rest of the file cannot be read then.
"""

import numpy as np

from scout.io.packet import NEEDS_CHECKSUM
from scout.io.ports.records import RECORD_HEADER, write_header
from scout.io.system import write
from scout.io.transmit.sums import complete
from scout.ring.atomics import copy, fetch_add, store64, store64_release
from scout.ring.jit import Record, inline
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import address, shared

__all__ = ["TRANSMIT", "Sink", "enqueue", "flush"]

_BATCH_HEADER = 32
_FILE_BUFFER = 1 << 20  # bytes of a replica that writes to a file; the longest packet fits

TRANSMIT = np.dtype(
    [
        ("descriptor", "i8"),  # the file to write to; -1: frames that are sent stay in the buffer
        ("here", "i8"),  # address of this record
        ("ticket", "i8"),  # address of the port's counter of batches
        ("buffer", "i8"),  # address of the buffer,
        ("capacity", "i8"),  # and its bytes
        ("start", "i8"),  # offset of the batch that is being filled,
        ("filled", "i8"),  # and of the free space behind it
        ("count", "i8"),  # packets in that batch
        ("made", "i8"),  # frames that the router made itself
        ("sent", "i8"),  # frames that left
        ("full", "i8"),  # frames for which there was no room, in the buffer or on the disk
        ("number", "i8"),  # of the batch, in all channels; -1 if the packets are not those of one batch
        ("spare", "i8", 4),
    ]
)
"""The sending side of a replica, written by it alone. The supervisor sets up the first five fields."""

_SENT = int((TRANSMIT.fields or {})["sent"][1])  # type: ignore[index]


@inline
def enqueue(transmit: Record, packet: Record, record: int) -> None:
    """Copy a packet to the batch that `flush` sends."""
    head = packet.end - packet.frame
    size = head + packet.tail_bytes
    room = transmit.capacity - RECORD_HEADER - size
    if transmit.filled > room and transmit.descriptor >= 0:
        flush(transmit)
    if transmit.filled > room:
        transmit.full += 1
        return
    place = transmit.buffer + transmit.filled
    write_header(place, packet.timestamp, size)
    frame = place + RECORD_HEADER
    copy(frame, packet.frame, head)
    copy(frame + head, packet.tail, packet.tail_bytes)
    if packet.flags & NEEDS_CHECKSUM:
        # Headers pushed or pulled since move the place where the checksum starts.
        start = packet.checksum_start + packet.origin - packet.frame
        if start >= 0 and start + packet.checksum_offset + 2 <= size:
            complete(frame + start, frame + start + packet.checksum_offset, frame + size)
    transmit.filled += RECORD_HEADER + size
    transmit.count += 1


@inline
def flush(transmit: Record) -> None:
    """Send the batch at hand; count every frame as sent, or that there was no room."""
    if transmit.count == 0:
        return
    batch = transmit.buffer + transmit.start
    sent = transmit.count
    if transmit.descriptor < 0:
        # acq_rel, pairs with the other replicas' draws: a batch that leaves later draws a greater ticket.
        store64(batch, fetch_add(transmit.ticket, 1))
        store64(batch + 8, sent)
        store64(batch + 16, transmit.number)
        transmit.start = transmit.filled
    else:
        size = transmit.filled - transmit.start - _BATCH_HEADER
        if write(transmit.descriptor, batch + _BATCH_HEADER, size) != size:
            transmit.full += sent
            sent = 0
    # Release, pairs with the supervisor's load in `_batches`: frames that are counted can be read.
    store64_release(transmit.here + _SENT, transmit.sent + sent)
    transmit.filled = transmit.start + _BATCH_HEADER
    transmit.count = 0


class Sink:
    """The sending side of a port without a device: a buffer for each replica.

    Parameters
    ----------
    descriptor : int
        A file opened with O_APPEND; -1 to keep the frames that are sent.
    capacity : int
        Bytes that each replica can keep; of a replica that writes to a file, bytes that it writes at once.

    Attributes
    ----------
    transmits : numpy.ndarray
        A `TRANSMIT` for each possible replica, shared with the compiled loops.
    """

    def __init__(self, descriptor: int = -1, capacity: int = _FILE_BUFFER) -> None:
        self.transmits, self._ticket = shared(MOST_REPLICAS, TRANSMIT), shared(1, np.int64)
        self._descriptor, self._capacity = descriptor, capacity
        self._buffers: dict[int, np.ndarray] = {}
        self._again = False

    def enlist(self, replica: int) -> None:
        """Prepare the sending side of one more replica."""
        self._buffers[replica] = buffer = shared(self._capacity, np.uint8)
        transmit = self.transmits[replica : replica + 1]
        transmit["descriptor"], transmit["here"] = self._descriptor, address(transmit)
        transmit["ticket"], transmit["buffer"] = address(self._ticket), address(buffer)
        transmit["capacity"], transmit["filled"], transmit["number"] = self._capacity, _BATCH_HEADER, -1

    @property
    def descriptors(self) -> list[int]:
        """The file, if there is one."""
        return [self._descriptor] if self._descriptor >= 0 else []

    def resume(self, replica: int) -> None:
        """Prepare the sending side for the successor of a dead replica: what that one had added is not sent."""
        transmit = self.transmits[replica]
        transmit["count"], transmit["filled"] = 0, transmit["start"] + _BATCH_HEADER
        self._again = True

    def close(self) -> None:
        """Return the memory of the buffers, but for a copy of what was sent and kept. No replica sends any more."""
        for replica, buffer in self._buffers.items():
            kept = int(self.transmits["start"][replica]) if self._descriptor < 0 else 0
            self._buffers[replica] = buffer[:kept].copy()

    def frames(self) -> list[bytes]:
        """The frames that were sent and kept so far, in the order in which they left."""
        return [frame for batch in self._batches()[0] for frame in batch]

    def _batches(self) -> tuple[list[list[bytes]], int]:
        """The batches in the order in which they left, each once; how many frames left a second time."""
        batches: list[tuple[int, int, int, list[bytes]]] = []
        for replica, buffer in self._buffers.items():
            # The count first: the frames that it counts were written before it (release in `flush`).
            at, left = 0, int(self.transmits["sent"][replica])
            while left:
                ticket, count, number = buffer[at : at + 24].view(np.int64).tolist()
                at += _BATCH_HEADER
                frames = []
                for _ in range(count):
                    size = int(buffer[at + 8 : at + 12].view(np.uint32)[0])
                    at += RECORD_HEADER
                    frames.append(buffer[at : at + size].tobytes())
                    at += size
                batches.append((ticket, replica, number, frames))
                left -= count
        batches.sort(key=lambda batch: batch[0])
        seen: set[tuple[int, int]] = set()
        once, again = [], 0
        for _, replica, number, frames in batches:
            if (replica, number) in seen:
                again += len(frames)
                continue
            once.append(frames)
            if number >= 0:
                seen.add((replica, number))
        return once, again

    def transmitted(self) -> dict[str, int]:
        """Frames that left, those of them that the router made itself, and those for which there was no room."""
        names = {"sent": "sent", "made": "made", "full": "tx-full"}
        figures = {name: int(self.transmits[field].sum()) for field, name in names.items()}
        if self._again and self._descriptor < 0:
            figures["sent"] -= self._batches()[1]
        return figures
