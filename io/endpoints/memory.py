"""The memory that applications and the stack share, and what the stack keeps of it for itself.

The memory is one file (memfd_create(2)). It begins with an area for each socket; an area for each application follows::

    socket        ARMED, USED | TAIL and HEAD of replica 0, of 1 … | ring of replica 0 | ring of replica 1 | … | stream
    application   DOORBELL | TAIL | HEAD | ring

USED has a bit for each replica that has ever written to its ring: an application looks at no others. The other words
have a cache line each, as the two sides write them at the same time. The stream is for sockets of transports that have
streams (`scout.io.endpoints.stream`). Rings count bytes from 0, and a
ring is never written behind its HEAD plus its size. An entry of a ring is `length | order | header | data`, padded to 8
bytes; it does not wrap: `SKIP` in place of a length says that the next entry is at the ring's beginning.

The stack does not trust the words that an application can write: it checks positions against its own ones, which are
kept in `ENDPOINTS`, and it copies requests before it checks them.

Replicas make requests too (`scout.io.endpoints.replica_requests`). Each has an area like an application's, in memory
that applications do not map.
"""

import ctypes
import fcntl
import mmap
import os
import resource
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from scout.io.endpoints.message import HEADER, LONGEST_DATA, ROW
from scout.io.endpoints.stream import PLACING, SEALING, WORDS, placing_of
from scout.io.endpoints.stream import RINGS as STREAM_RINGS
from scout.io.ports.contract import PortError
from scout.ring.atomics import load64
from scout.ring.jit import Record, inline
from scout.ring.membership import MOST_REPLICAS
from scout.ring.segment import LINE, address, shared

__all__ = [
    "ARMED",
    "DOORBELL",
    "ENDPOINTS",
    "ENTRY",
    "HEAD",
    "REPLICA_AREA",
    "REPLICA_RING",
    "RINGS",
    "SKIP",
    "TAIL",
    "USED",
    "EndpointMemory",
    "Sizes",
    "entry_bytes",
    "head_of",
    "number_of",
    "tail_of",
]

ARMED, USED, DOORBELL, TAIL, HEAD = 0, 24, 0, LINE, 2 * LINE
"""Offsets of words: ARMED and USED of a socket's area, the others of an application's."""

RINGS = 4096
"""Offset of the first ring in an area."""

ENTRY = 16
"""Bytes of an entry before the header: its length, which counts the header and the data, and a number by which messages
of several rings are put in order."""

SKIP = -1

REPLICA_RING = 1 << 17
"""Bytes of a replica's ring of requests: some 700 segments, and small, as it is to stay in the cache."""

REPLICA_AREA = RINGS + REPLICA_RING

_LONGEST_ENTRY = ENTRY + HEADER + LONGEST_DATA + 1

ENDPOINTS = np.dtype(
    [
        ("areas", "i8"),  # address of the area of socket 0
        ("sockets", "i8"),  # how many there are
        ("socket_bytes", "i8"),  # of a socket's area
        ("ring_bytes", "i8"),  # of a ring of messages
        ("stream_offset", "i8"),  # of the stream in a socket's area
        ("stream_bytes", "i8"),  # of each of its rings; 0: there are no streams
        ("applications", "i8"),  # address of the area of application 0
        ("application_bytes", "i8"),  # of an application's area
        ("request_bytes", "i8"),  # of its ring
        ("attached", "i8"),  # no application of this number or a higher one is attached
        ("eventfd", "i8"),  # descriptor of the eventfd that wakes replicas
        ("scratch", "i8"),  # address of 8 bytes for the holder of the channel's lock
        ("numbers", "i8"),  # address of int64[sockets]: the number of the open socket of each row, or -1
        ("owners", "i8"),  # address of int64[sockets]: the application that the socket belongs to
        ("bells", "i8"),  # address of int64[sockets]: the descriptor of its eventfd
        ("consumed", "i8"),  # address of int64[producers]: bytes taken from each ring of requests
        ("capacity", "i8"),  # how many areas of applications there are; the producers behind them are the replicas
        ("replicas", "i8"),  # no replica of this number or a higher one was enlisted
        ("replica_areas", "i8"),  # address of the area of replica 0
        ("bad_requests", "i8"),  # requests that were refused; written by the holder of the channel's lock
    ]
)
"""The stack's own description of the memory; applications cannot write it."""


class Sizes(NamedTuple):
    """The sizes that an application has to know, in bytes."""

    socket_bytes: int
    ring_bytes: int
    stream_offset: int
    stream_bytes: int
    application_bytes: int
    request_bytes: int


@inline
def tail_of(area: int, replica: int) -> int:
    """Address of TAIL of a replica's ring in a socket's area."""
    return area + LINE + 2 * LINE * replica


@inline
def head_of(area: int, replica: int) -> int:
    """Address of HEAD of a replica's ring in a socket's area."""
    return area + 2 * LINE + 2 * LINE * replica


@inline
def entry_bytes(length: int) -> int:
    """Bytes that an entry with a header and data of `length` bytes takes in a ring."""
    return ENTRY + (length + 7 & ~7)


@inline
def number_of(endpoints: Record, row: int) -> int:
    """The number of the open socket of a row, or -1."""
    return load64(endpoints.numbers + row * 8)


class EndpointMemory:
    """The memory of one run, and its eventfds, made before replicas are forked.

    Parameters
    ----------
    name : str
        The port's, for errors.
    sockets, applications : int
        How many there can be at a time. Application 0 is the registry, which has a doorbell only.
    ring_bytes, request_bytes, stream_bytes : int
        Bytes of each ring of messages, of an application's ring of requests, and of each ring of a stream; powers of
        two. 0 `stream_bytes`: there are no streams.

    Attributes
    ----------
    record : numpy.ndarray
        One `ENDPOINTS`, shared.
    file : int
        Descriptor of the memory file.
    descriptors : list of int
        The file, and all eventfds.
    bell : int
        The eventfd that wakes replicas. It is rung only after a doorbell, and read only after a look at them.
    bells : numpy.ndarray
        int64[sockets]: the eventfd of each socket.
    numbers, owners : numpy.ndarray
        int64[sockets], shared: see `ENDPOINTS`.
    ended : numpy.ndarray
        int64[sockets], shared: 1 + the number of the socket of each row whose connection has come to its end last, as
        a replica has reported it. (An application could write anything in place of the report.)
    consumed : numpy.ndarray
        int64[producers], shared: see `ENDPOINTS`.
    replica_areas : numpy.ndarray
        uint8[replica, `REPLICA_AREA`], shared: the rings of requests that replicas make.
    writing : numpy.ndarray or None
        int64[replica]: 1 + the row of the socket that a replica is writing to, 0 if it writes to none.

    Raises
    ------
    PortError
        If the kernel does not allow that many files.
    """

    def __init__(
        self, name: str, sockets: int, applications: int, ring_bytes: int, request_bytes: int, stream_bytes: int
    ) -> None:
        self.sockets, self.applications = sockets, applications
        stream = RINGS + MOST_REPLICAS * ring_bytes
        area = stream + (WORDS + STREAM_RINGS * stream_bytes if stream_bytes else 0)
        self.sizes = Sizes(area, ring_bytes, stream, stream_bytes, RINGS + request_bytes, request_bytes)
        self.descriptors: list[int] = []
        try:
            _allow_files(sockets)
            self.file = os.memfd_create("scout-endpoints", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
            self.descriptors.append(self.file)
            self.bell, *bells = (self._eventfd() for _ in range(1 + sockets))
        except OSError as error:
            self.close()
            raise PortError(
                f"port {name}: {sockets} sockets: {error.strerror}; give fewer sockets, or raise ulimit -n"
            ) from error
        size = sockets * self.sizes.socket_bytes + applications * self.sizes.application_bytes
        os.truncate(self.file, size)
        # An application that made the file shorter would end every process that uses the memory (SIGBUS).
        fcntl.fcntl(self.file, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
        self._memory = mmap.mmap(self.file, size)  # untouched pages cost nothing
        self.bytes = np.frombuffer(self._memory, np.uint8)
        self.bells = shared(sockets, np.int64)
        self.bells[:] = bells
        self.numbers, self.owners = shared(sockets, np.int64), shared(sockets, np.int64)
        self.numbers[:] = -1
        self.ended = shared(sockets, np.int64)
        self.consumed = shared(applications + MOST_REPLICAS, np.int64)
        self.replica_areas = shared((MOST_REPLICAS, REPLICA_AREA), np.uint8)
        self.writing: np.ndarray | None = None
        self._scratch = shared(1, np.int64)
        self.record = shared(1, ENDPOINTS)
        values = self.sizes._asdict() | {
            "areas": address(self.bytes),
            "sockets": sockets,
            "applications": address(self.bytes) + sockets * self.sizes.socket_bytes,
            "eventfd": self.bell,
            "scratch": address(self._scratch),
            "numbers": address(self.numbers),
            "owners": address(self.owners),
            "bells": address(self.bells),
            "consumed": address(self.consumed),
            "capacity": applications,
            "replica_areas": address(self.replica_areas),
        }
        self._records = [self.record]
        for field, value in values.items():
            self.record[field] = value

    def _eventfd(self) -> int:
        self.descriptors.append(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        return self.descriptors[-1]

    # Areas.

    def offset_of_socket(self, row: int) -> int:
        """Where a socket's area is in the file."""
        return row * self.sizes.socket_bytes

    def offset_of_application(self, application: int) -> int:
        """Where an application's area is in the file."""
        return self.sockets * self.sizes.socket_bytes + application * self.sizes.application_bytes

    def clear_socket(self, row: int, tails: np.ndarray) -> None:
        """Make an area, which no socket uses, like new; `tails` is int64[replica, socket], the ends of its rings.

        A replica that has found the row's last socket open may still be writing there: that is awaited.

        Raises
        ------
        PortError
            If a replica does not come to its end.
        """
        deadline = time.monotonic() + _PATIENCE
        while self.writing is not None and np.any(self.writing == row + 1):
            if time.monotonic() > deadline:
                raise PortError("a replica has written to a socket for seconds; is it stopped?")
            time.sleep(_NAP)
        tails[:, row] = self.ended[row] = 0
        self._punch(self.offset_of_socket(row), self.sizes.socket_bytes)
        self._word(self.offset_of_socket(row) + ARMED)[0] = 1
        with suppress(BlockingIOError):
            os.eventfd_read(int(self.bells[row]))

    def clear_application(self, application: int) -> None:
        """Make an area, which no application uses, like new; its ring goes on where the last application's ended."""
        self._punch(self.offset_of_application(application), self.sizes.application_bytes)
        for offset in (TAIL, HEAD):
            self._word(self.offset_of_application(application) + offset)[0] = self.consumed[application]

    def _punch(self, offset: int, size: int) -> None:
        """Give a part of the file back to the kernel: it is zeros then."""
        if _libc.fallocate(self.file, _PUNCH_HOLE | _KEEP_SIZE, ctypes.c_long(offset), ctypes.c_long(size)):
            self.bytes[offset : offset + size] = 0

    def pending(self, application: int) -> bool:
        """True if requests of an application wait that no replica has taken."""
        tail = self._word(self.offset_of_application(application) + TAIL)
        return int(tail[0]) != int(self.consumed[application])

    def _word(self, offset: int) -> np.ndarray:
        return self.bytes[offset : offset + 8].view(np.int64)

    def has_ended(self, number: int) -> bool:
        """True if the connection of a socket has come to its end."""
        return int(self.ended[number & ROW]) == number + 1

    def follow(self, record: np.ndarray) -> None:
        """Keep `attached` up to date in another record, which has the fields of `ENDPOINTS`."""
        self._records.append(record)
        self.attach(0)
        record["replicas"] = self.record["replicas"]

    def attach(self, application: int) -> None:
        """Let replicas look at an application's doorbell."""
        for record in self._records:
            record["attached"] = max(int(record["attached"][0]), application + 1)

    def enlist(self, replica: int) -> None:
        """Let replicas look at the doorbell of a replica."""
        for record in self._records:
            record["replicas"] = max(int(record["replicas"][0]), replica + 1)

    def published(self, replica: int) -> int:
        """The end of the requests that a replica has published."""
        return int(self.replica_areas[replica, TAIL : TAIL + 8].view(np.int64)[0])

    def ring_for(self, replica: int) -> None:
        """Have the requests of a replica collected that it has published."""
        self.replica_areas[replica, DOORBELL : DOORBELL + 8].view(np.int64)[0] = 1
        os.eventfd_write(self.bell, 1)

    def stop_placing(self, row: int, replica: int) -> None:
        """Let the application know that a dead replica writes to a stream no longer."""
        if self.sizes.stream_bytes:
            placing = self.offset_of_socket(row) + self.sizes.stream_offset + placing_of(replica)
            for word in (placing, placing + SEALING - PLACING):
                self._word(word)[0] = 0
            self.wake([row])

    def ring(self, application: int = 0) -> None:
        """Wake the replicas as an application does; by default the registry has put a request into the channel."""
        self._word(self.offset_of_application(application) + DOORBELL)[0] = 1
        os.eventfd_write(self.bell, 1)

    def wake(self, rows: Iterable[int]) -> None:
        """Make the eventfds of sockets readable, whether messages wait or not."""
        for row in rows:
            os.eventfd_write(int(self.bells[row]), 1)

    def close(self) -> None:
        """Close the files. Processes that have mapped the memory keep it."""
        for descriptor in self.descriptors:
            os.close(descriptor)
        self.descriptors.clear()


_libc = ctypes.CDLL(None, use_errno=True)
_KEEP_SIZE, _PUNCH_HOLE = 1, 2  # linux/falloc.h
_OTHER_FILES = 256
_PATIENCE, _NAP = 5.0, 1e-4  # seconds: until a replica has written a message; between two looks whether it has


def _allow_files(sockets: int) -> None:
    """Raise this process's limit of open files, as far as it may, so that each socket can have an eventfd."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = len(os.listdir("/proc/self/fd")) + sockets + _OTHER_FILES
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, hard), hard))
