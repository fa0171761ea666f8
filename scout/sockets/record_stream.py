"""The rings of a secured connection, as the application sees them (`scout.io.endpoints.records`).

It writes records with plaintext to the plain ring, and reads them from the opened ring; positions count the bytes of
whole records, as TCP does. A record without plaintext is the end of the stream, so that a stream that was cut off is
told from one that has ended.
"""

from scout.io.endpoints import application_stream as words
from scout.io.endpoints.ciphers import LENGTH, LONGEST_PLAIN, OVERHEAD, TAG
from scout.io.endpoints.stream import OPENED_RING, PLAIN_RING, RECEIVE_RING
from scout.sockets.byte_stream import ByteStream

__all__ = ["RecordStream"]


class RecordStream(ByteStream):
    """The rings of a connection that is secured from now on.

    Parameters
    ----------
    stream : ByteStream
        Its rings before.
    """

    wants = words.RECORDS

    def __init__(self, stream: ByteStream) -> None:
        self.__dict__.update(stream.__dict__)
        self._sealed, self._receive, self._send = (self._ring(ring) for ring in (RECEIVE_RING, OPENED_RING, PLAIN_RING))
        self._seen = self._freed  # records before this position were found,
        self._waiting = 0  # so many bytes of which wait to be read,
        self._left = 0  # and so many of the record that is being read
        self._has_end = self._finished = False

    # Reading.

    def readable(self) -> int:
        opened = int(words.opened(self._stream))
        while self._seen < opened and not self._has_end:
            plain = self._length(self._receive, self._seen) - TAG
            self._seen += plain + OVERHEAD
            self._waiting += plain
            self._has_end = plain == 0
        return self._waiting

    def ended(self) -> bool:
        if not self._has_end or self._waiting:
            return False
        if self._freed < self._seen:
            self._freed = self._seen
            super().free(0)
        return True

    def is_coming(self) -> bool:
        end, opened = int(words.ends_at(self._stream)), int(words.opened(self._stream))
        if end < 0 or opened > self._seen:  # all whole records are told, or some that were not looked at yet
            return opened > self._seen
        return end - opened >= OVERHEAD and opened + LENGTH + self._length(self._sealed, opened) <= end

    def was_cut(self) -> bool:
        return int(words.ends_at(self._stream)) >= 0 and not self._has_end and not self.is_coming()

    def read_view(self) -> memoryview:
        self._enter()
        at = self._freed & self._size - 1
        return self._receive[at : min(at + self._left, self._size)].toreadonly()

    def take(self, count: int) -> bytes:
        data = bytearray(count)
        self.take_into(memoryview(data), count)
        return bytes(data)

    def take_into(self, target: memoryview, count: int) -> None:
        at = 0
        while at < count:
            self._enter()
            for piece in self._pieces(self._receive, self._freed, min(self._left, count - at)):
                target[at : at + len(piece)] = piece
                at += len(piece)
                self._advance(len(piece))
        super().free(0)

    def free(self, count: int) -> None:
        while count:
            self._enter()
            step = min(self._left, count)
            self._advance(step)
            count -= step
        super().free(0)

    def _enter(self) -> None:
        """Begin with the next record if the last one was read, and there is one."""
        if self._left == 0 and self._waiting:
            self._left = self._length(self._receive, self._freed) - TAG
            self._freed += LENGTH

    def _advance(self, count: int) -> None:
        self._freed += count
        self._waiting -= count
        self._left -= count
        if self._left == 0:
            self._freed += TAG

    def _length(self, ring: memoryview, position: int) -> int:
        """The length of the record at a position."""
        return int.from_bytes(b"".join(self._pieces(ring, position, LENGTH)))

    # Writing.

    def room(self) -> int:
        room = int(words.plain_room(self._stream, self._size, self.written))
        if room < 0:
            return room
        whole, rest = divmod(max(room - OVERHEAD, 0), LONGEST_PLAIN + OVERHEAD)  # the last record always finds room
        return whole * LONGEST_PLAIN + max(rest - OVERHEAD, 0)

    def write_view(self) -> memoryview:
        at = self.written + LENGTH & self._size - 1
        return self._send[at : min(at + min(max(self.room(), 0), LONGEST_PLAIN), self._size)]

    def commit(self, count: int) -> None:
        if count:
            self._end_record(count)

    def put(self, data: memoryview) -> None:
        for first in range(0, len(data), LONGEST_PLAIN):
            part, at = data[first : first + LONGEST_PLAIN], 0
            for piece in self._pieces(self._send, self.written + LENGTH, len(part)):
                piece[:] = part[at : at + len(piece)]
                at += len(piece)
            self._end_record(len(part))

    def finish(self) -> bool:
        if self._finished:
            return False
        self._finished = True
        self._end_record(0)
        return True

    def _end_record(self, plain: int) -> None:
        """Complete a record of so many bytes that were written."""
        header, at = (plain + TAG).to_bytes(LENGTH), 0
        for piece in self._pieces(self._send, self.written, LENGTH):
            piece[:] = header[at : at + len(piece)]
            at += len(piece)
        self.written += plain + OVERHEAD
