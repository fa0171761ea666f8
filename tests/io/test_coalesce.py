"""Runs of packets leave as one super-frame, which is cut into the same bytes that would arrive without.

The oracle is in Python: it cuts super-frames as the kernel does. `test_coalesce_kernel` does it with the kernel.
"""

import socket
import struct
import threading

import hypothesis
import numba
import numpy as np
import pytest
from hypothesis import strategies as st
from scapy.all import raw
from super_frames import PLAIN, RUNS, VNET, by_flow, changed, completed, datagram, datagrams, segments, summed

from scout.io.batch import new_batch
from scout.io.packet import PACKET, REACH, RECORD
from scout.io.transmit.queue import TRANSMIT, enqueue, flush, new_line
from scout.ring.jit import entry


@entry(
    numba.void(
        numba.types.Array(numba.from_dtype(PACKET), 1, "C"),
        numba.int64,
        numba.types.Array(numba.from_dtype(TRANSMIT), 1, "C"),
    )
)
def send_all(batch, count, transmits):
    for index in range(count):
        enqueue(transmits[0], batch[index], batch.ctypes.data + index * RECORD)
    flush(transmits[0])


class Line:
    """A sending end on sockets of the local domain, which show the messages that they are given.

    Those of the socket that takes no virtio-net headers are shown with one, which says that nothing is left to do.
    """

    def __init__(self, coalesce=3, mtu=1500, send_buffer=None):
        self.sender, self.receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.plain_sender, self.plain_receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if send_buffer:
            self.sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        self.transmit = np.zeros(1, TRANSMIT)
        self.memory = new_line(self.transmit)
        self.transmit["socket"], self.transmit["coalesce"] = self.sender.fileno(), coalesce
        self.transmit["plain_socket"] = self.plain_sender.fileno()
        self.transmit["longest"] = mtu + 14

    def send(self, sent):
        """Send frames with their virtio-net headers; the messages that came of it."""
        messages = []

        def collect(receiver, offload):
            while message := receiver.recv(1 << 17):
                messages.append(offload + message)

        readers = [
            threading.Thread(target=collect, args=arguments)
            for arguments in ((self.receiver, b""), (self.plain_receiver, PLAIN))
        ]
        for reader in readers:
            reader.start()
        self._send(sent)
        self.sender.send(b"")
        self.plain_sender.send(b"")
        for reader in readers:
            reader.join()
        return messages

    def _send(self, sent):
        batch, slots = new_batch()
        tails = []
        for packet, (offload, frame) in zip(batch, sent, strict=False):
            start = packet["slot"] - slots.ctypes.data
            linear = frame[:REACH]
            slots[start : start + len(linear)] = np.frombuffer(linear, np.uint8)
            tail = np.frombuffer(frame[REACH:] + b"\0", np.uint8)
            tails.append(tail)
            packet["end"], packet["tail"] = packet["slot"] + len(linear), tail.ctypes.data
            packet["tail_bytes"] = len(frame) - len(linear)
            names = ("flags", "gso_type", "header_bytes", "gso_size", "checksum_start", "checksum_offset")
            for name, value in zip(names, VNET.unpack(offload), strict=True):
                packet[name] = value
        send_all(batch, len(sent), self.transmit)

    def close(self):
        for end in (self.sender, self.receiver, self.plain_sender, self.plain_receiver):
            end.close()


@pytest.fixture
def line():
    made = Line()
    yield made
    made.close()


def cut(message):
    """The frames, with their virtio-net headers, that the kernel makes of a message (inet_gso_segment)."""
    flags, gso_type, header_bytes, size, start, offset = VNET.unpack(message[:10])
    if gso_type == 0:
        return [(message[:10], message[10:])]
    assert flags == 1 and start == 34 and len(message) > 10 + header_bytes + size, "the kernel would refuse it"
    assert (gso_type, offset) in ((5, 6), (1, 16))
    headers, payload = message[10 : 10 + header_bytes], message[10 + header_bytes :]
    assert summed(headers[14:34]) == 0xFFFF
    length = int.from_bytes(headers[16:18], "big")
    assert length == len(message) - 24 <= 0xFFFF
    pieces = [payload[at : at + size] for at in range(0, len(payload), size)]
    assert len(pieces) <= 64
    frames = []
    for index, piece in enumerate(pieces):
        frame = bytearray(headers + piece)
        frame[16:18] = struct.pack("!H", len(frame) - 14)
        frame[18:20] = struct.pack("!H", (int.from_bytes(headers[18:20], "big") + index) & 0xFFFF)
        frame[24:26] = bytes(2)
        frame[24:26] = struct.pack("!H", summed(frame[14:34]) ^ 0xFFFF)
        before, after = length - 20, len(frame) - 34
        check = int.from_bytes(headers[34 + offset : 36 + offset], "big") + (before ^ 0xFFFF) + after
        while check >> 16:
            check = (check & 0xFFFF) + (check >> 16)
        if gso_type == 5:
            assert headers[38:40] == struct.pack("!H", before)
            frame[38:40] = struct.pack("!H", after)
        else:
            sequence = int.from_bytes(headers[38:42], "big") + index * size
            frame[38:42] = struct.pack("!I", sequence & 0xFFFFFFFF)
            if index < len(pieces) - 1:
                frame[47] &= ~0x09  # FIN and PSH
            if index:
                frame[47] &= ~0x80  # CWR
        frame[34 + offset : 36 + offset] = struct.pack("!H", check)
        frames.append((VNET.pack(1, 0, 0, 0, 34, offset), bytes(frame)))
    return frames


def delivered(messages):
    return [frame for message in messages for frame in cut(message)]


def arrived(messages):
    """The packets of each flow, when all checksums are complete."""
    return by_flow(completed(delivered(messages)))


def counts(messages):
    return [len(cut(message)) for message in messages]


@pytest.mark.parametrize("name", RUNS)
def test_runs_leave_as_one_message_that_is_cut_into_the_same_frames(line, name):
    sent, expected = RUNS[name]
    messages = line.send(sent)
    if name != "the sender's super-frames":
        assert arrived(messages) == by_flow(completed(sent))
    else:
        assert messages == [offload + frame for offload, frame in sent]
    assert counts(messages) == expected
    assert line.transmit["sent"] == len(sent) and line.transmit["count"] == 0


@hypothesis.settings(max_examples=15, deadline=None)
@hypothesis.given(st.data())
def test_whatever_differs_the_frames_of_each_flow_arrive_as_they_were(data):
    """Runs of some flows, in any order, of which some packets have some bits of their headers flipped."""
    size = data.draw(st.sampled_from([1, 18, 700]))
    flows = [datagrams(0xFFF0, 15, size, sport=port) for port in (1, 2, 3)] + [segments(0xFFF0, 15, size)]
    order = data.draw(st.permutations([flow for flow in range(4) for _ in range(15)]))
    sent = [flows[flow].pop(0) for flow in order]
    flips = st.tuples(st.integers(0, 59), st.integers(0, 70), st.integers(1, 255))
    for index, place, value in data.draw(st.lists(flips)):
        offload, frame = sent[index]
        place = min(place, len(frame) - 1)
        sent[index] = changed((offload, frame), place, bytes([frame[place] ^ value]))
    line = Line()
    try:
        assert arrived(line.send(sent)) == by_flow(completed(sent))
    finally:
        line.close()


def test_packets_of_which_nothing_was_left_to_a_device_leave_without_virtio_net_headers(line):
    frames = [frame for _, frame in datagrams(0, 3)]
    line._send([(PLAIN, frame) for frame in frames])
    assert [line.plain_receiver.recv(2000) for _ in frames] == frames
    long = datagrams(1, 1, 700)[0]  # it lies in two pieces
    line._send([(PLAIN, frames[0]), long])  # the order is kept by one socket
    assert [line.receiver.recv(2000) for _ in range(2)] == [PLAIN + frames[0], b"".join(long)]


@pytest.mark.parametrize("coalesce", [0, 3])
def test_the_checksum_of_a_packet_that_lies_in_one_piece_and_leaves_alone_is_completed(coalesce):
    sent = [*datagrams(0, 1), *datagrams(0, 1, 17, sport=9), *datagrams(0, 1, 500, sport=8), *segments(0, 1)]
    line = Line(coalesce)
    line._send(sent)
    assert [(PLAIN, line.plain_receiver.recv(2000)) for _ in sent] == completed(sent)
    line._send(sent[:1])
    assert line.plain_receiver.recv(2000) == completed(sent)[0][1] == raw(datagram(0))
    line.close()


def test_a_checksum_that_lies_outside_of_the_packet_is_left_to_the_kernel_to_refuse(line):
    frame = datagrams(0, 1)[0][1]
    for start, offset in ((0xFFF0, 0xFFF0), (len(frame) - 1, 0)):
        line._send([(VNET.pack(1, 0, 0, 0, start, offset), frame)])
        assert line.receiver.recv(2000)[10:] == frame


def test_what_is_not_asked_for_is_left_alone():
    for coalesce, expected in ((0, [1] * 6), (1, [3, 1, 1, 1]), (2, [1, 1, 1, 3])):
        line = Line(coalesce)
        assert counts(line.send(datagrams(0, 3) + segments(3, 3))) == expected
        line.close()


def test_a_refused_super_frame_goes_out_in_pieces_and_none_is_tried_again():
    sent = datagrams(0, 40, 400)
    line = Line(send_buffer=1)  # the least there is: a few thousand bytes
    messages = line.send(sent)
    assert delivered(messages) == sent and counts(messages) == [1] * 40
    assert line.transmit["coalesce"] == 0 and line.transmit["sent"] == 40
    assert sum(int(line.transmit[reason][0]) for reason in ("full", "too_big", "down", "refused")) == 0
    assert counts(line.send(datagrams(0, 2))) == [1, 1]
    line.close()


def test_packets_for_which_there_is_no_room_are_counted_each():
    line = Line()
    line.sender.setblocking(False)
    sent = datagrams(0, 64, 400)
    for _ in range(50):  # nobody takes any
        line._send(sent)
    assert line.transmit["full"] > 64 and line.transmit["coalesce"] == 3
    assert line.transmit["sent"] + line.transmit["full"] == 50 * 64
    line.close()
