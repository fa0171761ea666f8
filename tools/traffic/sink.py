"""The other end of a flood: counts frames, and by their sequence numbers those lost, reordered and duplicated.

Frames are read from the kernel's receive ring, which a router's port would use too. Super-frames that arrive whole
count as the frames that they stand for. A frame is reordered if one that its flow sent later has arrived before it
(RFC 4737 section 3.3), and a duplicate if it has arrived before (RFC 5560). To tell these two apart the sink remembers
for each flow which of the last `WINDOW` frames have arrived; of a frame that is older it only says that it is late.
"""

import os
import time
from typing import Self

import numba
import numpy as np

from scout.io.channels.kernel_ring_frame import LENGTH, STATUS, STATUS_KERNEL, STATUS_USER, frame_of
from scout.io.packet import GSO_UDP_L4
from scout.io.ports.afpacket import AfPacketPort
from scout.io.system import VNET_HEADER
from scout.ring.atomics import load32, load32_acquire, load64, store32_release
from scout.ring.jit import Record, entry, inline
from scout.ring.segment import shared
from scout.tools.traffic.flood import FLOW, HEADERS, LABEL, MAGIC, MOST_FLOWS, SEQUENCE

__all__ = ["FLOWS", "WINDOW", "Sink", "account", "new_flows", "note"]

WINDOW = 1024
"""Frames of a flow that the sink remembers, a multiple of 64."""
_WORDS = WINDOW // 64
_FRAMES = 4096  # of the receive ring
_NAP = 5e-4  # seconds between looks when there is nothing: to be woken by each frame would slow the generator down
_ETHERTYPE_AND_VERSION, _PROTOCOL, _IPV4, _UDP = 12, 23, 0x45_0008, 17

FLOWS = np.dtype(
    [
        ("next", "i8"),  # one more than the highest sequence number that arrived
        ("lost", "i8"),  # numbers below it that have not arrived
        ("reordered", "i8"),
        ("duplicates", "i8"),
        ("late", "i8"),  # arrived when the window had passed them
        ("arrived", "i8", _WORDS),  # bit n % 64 of word n // 64 % _WORDS: number n has arrived
    ]
)
"""The sink's record of a flow."""


def new_flows(count: int) -> np.ndarray:
    """Flows of which nothing has arrived, in shared memory."""
    return shared(count, FLOWS)


@inline
def _mark(flow: Record, sequence: int) -> None:
    flow.arrived[sequence // 64 % _WORDS] |= 1 << (sequence % 64)


@inline
def _arrived(flow: Record, sequence: int) -> bool:
    return flow.arrived[sequence // 64 % _WORDS] >> (sequence % 64) & 1 != 0


@inline
def _advance(flow: Record, sequence: int) -> None:
    """Move the window's upper end behind `sequence`; the numbers between have not arrived."""
    flow.lost += sequence - flow.next
    if sequence - flow.next >= WINDOW:
        for word in range(_WORDS):
            flow.arrived[word] = 0
    else:
        for number in range(flow.next, sequence):
            flow.arrived[number // 64 % _WORDS] &= ~(1 << (number % 64))
    flow.next = sequence + 1


@inline
def note(flow: Record, sequence: int) -> None:
    """Account for a frame that has arrived."""
    if sequence >= flow.next:
        _advance(flow, sequence)
        _mark(flow, sequence)
    elif sequence < flow.next - WINDOW:
        flow.late += 1
    elif _arrived(flow, sequence):
        flow.duplicates += 1
    else:
        flow.reordered += 1
        flow.lost -= 1
        _mark(flow, sequence)


@inline
def _note_frame(header: int, flows: np.ndarray, words: np.ndarray) -> None:
    """Account for the frame, or the frames of the super-frame, in a slot of the receive ring."""
    frame, size = frame_of(header), load32(header + LENGTH)
    label = frame + HEADERS
    is_udp = load32(frame + _ETHERTYPE_AND_VERSION) & 0xFF_FFFF == _IPV4 and load32(frame + _PROTOCOL) & 0xFF == _UDP
    if size < HEADERS + LABEL or not is_udp or load32(label) != MAGIC:
        words[1] += 1
        return
    offload = load64(frame - VNET_HEADER)
    piece = size - HEADERS
    if offload >> 8 & 0xFF == GSO_UDP_L4:
        piece = offload >> 32 & 0xFFFF
    while label + LABEL <= frame + size:
        number = load32(label + FLOW)
        words[0] += 1
        if number < len(flows):
            note(flows[number], load64(label + SEQUENCE))
        label += max(piece, LABEL)


_FLOWS = numba.types.Array(numba.from_dtype(FLOWS), 1, "C")
_INT = numba.int64


@entry(_INT(_INT, _INT, _INT, _INT, _FLOWS, _INT[::1]))
def _take(ring: int, stride: int, slots: int, slot: int, flows: np.ndarray, words: np.ndarray) -> int:
    """Take the frames that are there, from slot number `slot` on; the next slot's number."""
    while True:
        header = ring + slot * stride
        # Acquire, pairs with the kernel's write of the status after the frame.
        if load32_acquire(header + STATUS) & STATUS_USER == 0:
            return slot
        _note_frame(header, flows, words)
        store32_release(header + STATUS, STATUS_KERNEL)  # after the last read of the frame
        slot = slot + 1 if slot + 1 < slots else 0


@entry(numba.void(_FLOWS, _INT[::1]))
def account(flows: np.ndarray, sequences: np.ndarray) -> None:
    """Account for frames of the first flow that arrived with these sequence numbers; for tests."""
    for sequence in sequences:
        note(flows[0], sequence)


class Sink:
    """Receives from an interface of this process's namespace; a context manager.

    Parameters
    ----------
    interface : str
    flows : int
        How many flows are accounted for; frames of flows with a higher number are only counted.

    Attributes
    ----------
    received : int
        Frames with a sequence number that arrived, duplicates included.
    other : int
        Frames without one.

    Raises
    ------
    PortError
        If there is no such interface, raw sockets are not allowed, or a router runs there.
    """

    def __init__(self, interface: str, flows: int = MOST_FLOWS) -> None:
        self._flows, self._words = new_flows(flows), shared(3, np.int64)
        self._port = AfPacketPort(interface, promiscuous=True, frames=_FRAMES)
        self._slot = 0
        _ = _take.native  # compiled before a process is forked that runs it
        self._port.open(0)
        try:
            self._channel = self._port.channel({0: self._port}, 1, False)
        except BaseException:
            self._port.close()
            raise

    def __enter__(self) -> Self:
        self._channel.feed()
        return self

    def __exit__(self, *exception: object) -> None:
        self._channel.close()
        self._port.close()

    @property
    def received(self) -> int:
        return int(self._words[0])

    @property
    def other(self) -> int:
        return int(self._words[1])

    def stop(self) -> None:
        """End `run` in the process that runs it."""
        self._words[2] = 1

    def run(self, core: int | None = None) -> None:
        """Receive until stopped, pinned to `core`."""
        if core is not None:
            os.sched_setaffinity(0, [core])
        while not self._words[2]:
            self.take()

    def take(self) -> None:
        """Account for the frames that are there; nap if there are none."""
        ring = self._channel.ring[0]
        before = self._slot
        self._slot = int(_take(ring["ring"], ring["stride"], ring["entries"], self._slot, self._flows, self._words))
        if self._slot == before:
            time.sleep(_NAP)

    def settle(self, expected: int, patience: float = 1.0) -> None:
        """Wait until `expected` frames have arrived, or no more have for `patience` seconds."""
        last, since = -1, time.monotonic()
        while self.received < expected and time.monotonic() - since < patience:
            if self.received != last:
                last, since = self.received, time.monotonic()
            time.sleep(0.01)

    def figures(self, sent: int | None = None) -> dict[str, int]:
        """Frames received, lost, reordered, duplicated and late, of all flows.

        Parameters
        ----------
        sent : int, optional
            How many frames the generator sent. Without it the sink does not know of frames that were lost after the
            last one of their flow that arrived.
        """
        duplicates, late = (int(self._flows[name].sum()) for name in ("duplicates", "late"))
        lost = int(self._flows["lost"].sum()) - late if sent is None else sent - self.received + duplicates
        return {
            "received": self.received,
            "lost": lost,
            "reordered": int(self._flows["reordered"].sum()),
            "duplicates": duplicates,
            "late": late,
            "other": self.other,
            "missed_by_sink": self._channel.counters()["ring-full"],
        }
