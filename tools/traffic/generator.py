"""Sending frames through an interface for a while, flat out or at a rate; what to send is a subclass's choice.

A message is what the kernel takes at once: a frame, or a super-frame of several.
"""

import os
import socket
import time
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

import numpy as np

from scout.io.channels.packet_socket import SOL_PACKET, VNET_HEADER_OPTION, raw_socket
from scout.io.ports.contract import PortError
from scout.io.system import MESSAGE, sendmmsg
from scout.ring.jit import inline
from scout.ring.segment import shared
from scout.tools.sleeping import end_sleeps_on_time

__all__ = ["BATCH", "REFUSED", "SENT", "Generator", "packet_socket", "transmit"]

BATCH = 64
"""Messages of one system call."""
INTERVAL = 1e-4  # seconds between two sends at a rate: what is due by then leaves together
LONGEST_LAG = 0.01  # seconds: a generator that was held up for longer does not catch up with all of it
CHUNK = 256  # messages between two looks at the clock when sending flat out


SENT, REFUSED, STOPPED, WORDS = 0, 1, 2, 3
"""Indices of a generator's words: frames sent and refused, whether it shall stop; and how many words there are."""


@inline
def transmit(sock: int, messages: int, count: int, frames: int, words: np.ndarray) -> None:
    """Send `count` messages of `frames` frames each, and count the frames as sent or refused.

    Parameters
    ----------
    sock : int
        File descriptor.
    messages : int
        Address of the `struct mmsghdr`s.
    count, frames : int
    words : numpy.ndarray
        Those of the generator.
    """
    first = 0
    while first < count:
        done = sendmmsg(sock, messages + first * MESSAGE, count - first, 0)
        if done > 0:
            words[SENT] += done * frames
            first += done
        else:
            words[REFUSED] += frames  # the error is that of the first message: the others are tried
            first += 1


class Generator(ABC):
    """Sends frames through an interface of the namespace of the process that calls `run`.

    Attributes
    ----------
    sent : int
        Frames that the kernel took so far; may be read by the process that made the generator.
    refused : int
        Frames that it did not take: the interface is down, or they are too long for it.
    words : numpy.ndarray
        The counters in shared memory, written by the process that runs; for the subclass.
    """

    def __init__(self) -> None:
        self.words = shared(WORDS, np.int64)

    @property
    @abstractmethod
    def frames_per_message(self) -> int:
        """How many frames the kernel makes of a message."""

    @abstractmethod
    def attached(self, interface: str) -> AbstractContextManager[None]:
        """Keep what `send` needs to send through an interface open for the time of a `with` block."""

    @abstractmethod
    def send(self, messages: int) -> int:
        """Send the next messages; how many it has dealt with, 0 if there is no room at present."""

    @property
    def sent(self) -> int:
        return int(self.words[SENT])

    @property
    def refused(self) -> int:
        return int(self.words[REFUSED])

    def stop(self) -> None:
        """End `run` in the process that runs it."""
        self.words[STOPPED] = 1

    def run(
        self,
        interface: str,
        seconds: float,
        pps: float | None = None,
        core: int | None = None,
        frames: int | None = None,
    ) -> None:
        """Send for so many seconds, flat out or at `pps` frames a second, pinned to `core`; at most `frames` frames.

        Raises
        ------
        PortError
            If there is no such interface, or raw sockets are not allowed.
        """
        if core is not None:
            os.sched_setaffinity(0, [core])
        end_sleeps_on_time()
        with self.attached(interface):
            self._send_until(time.monotonic() + seconds, pps, frames)

    def _send_until(self, end: float, pps: float | None, frames: int | None) -> None:
        each = self.frames_per_message
        left = -(-frames // each) if frames is not None else 1 << 62
        due = time.monotonic()
        while left and not self.words[STOPPED] and (now := time.monotonic()) < end:
            messages = min(CHUNK, left)
            if pps is not None:
                due = max(due, now - LONGEST_LAG)
                messages = min(messages, int((now - due) * pps / each) + 1)
            done = self.send(messages)
            left -= done
            pause = 0.0 if done else INTERVAL
            if pps is not None:
                due += done * each / pps
                pause = max(due, now + INTERVAL) - time.monotonic()
            if pause > 0:
                time.sleep(pause)


def packet_socket(interface: str) -> socket.socket:
    """An AF_PACKET socket that sends messages with a virtio-net header through an interface, and receives nothing.

    Raises
    ------
    PortError
        If there is no such interface, or raw sockets are not allowed.
    """
    sender = raw_socket(interface)
    try:
        sender.setsockopt(SOL_PACKET, VNET_HEADER_OPTION, 1)
        sender.bind((interface, 0))
    except OSError as error:
        sender.close()
        raise PortError(f"interface {interface}: cannot send: {error.strerror}; is it there?") from error
    return sender
