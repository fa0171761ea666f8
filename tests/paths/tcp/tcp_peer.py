"""A peer that a test plays by hand: segments made and read by Scapy, which knows nothing of the core."""

from typing import Any

from scapy.layers.inet import TCP
from tcp_end import End

from scout.paths.wire.checksum import checksum

SECOND, MILLISECOND = 1_000_000_000, 1_000_000


class Peer:
    """The other side of an `End`: `say` sends it a segment, and gives what it answers."""

    def __init__(self, end: End, iss: int = 100) -> None:
        self.end, self.iss = end, iss
        self.now = SECOND

    def say(
        self, flags: str, seq: int, ack: int = 0, data: bytes = b"", window: int = 65535, options: Any = (), **more: int
    ) -> list[Any]:
        """Send a segment to the end at `now`."""
        header = TCP(
            sport=self.end.ports[1],
            dport=self.end.ports[0],
            flags=flags,
            seq=seq % (1 << 32),
            ack=ack % (1 << 32),
            window=window,
            options=list(options),
            urgptr=more.pop("urgent", 0),
        )
        header.chksum = 0
        raw = bytearray(bytes(header) + data)
        raw[16:18] = checksum(self.end.pseudo(len(raw), False) + raw).to_bytes(2, "big")
        self.end.receive(bytes(raw), self.now, **more)
        return self.answers()

    def answers(self) -> list[Any]:
        """The segments that the end has sent since."""
        return [TCP(each) for each in self.end.take_sent()]

    def wait(self, time: int) -> list[Any]:
        """Let so much time pass, with all timers on the way; what the end sends."""
        until = self.now + time
        while self.end.due() <= until:
            self.now = max(self.now, self.end.due())
            self.end.expire(self.now)
        self.now = until
        return self.answers()

    def after_timer(self) -> list[Any]:
        """Let the next timer fire; what the end sends."""
        self.now = max(self.now, self.end.due())
        self.end.expire(self.now)
        return self.answers()


def opened(options: Any = (("MSS", 1000),), window: int = 65535, passive: bool = False, **chosen: int) -> Peer:
    """An established connection. The end's first byte has number 1001, the peer's 101; the SYN took 10 ms.

    The peer has no options but `options`.
    """
    end = End(1000, **chosen)
    peer = Peer(end)
    if passive:
        end.listen(peer.now)
        (answer,) = peer.say("S", 100, window=window, options=options)
        assert (answer.flags, answer.seq, answer.ack) == ("SA", 1000, 101)
        peer.now += 10 * MILLISECOND
        peer.say("A", 101, 1001, window=window)
    else:
        end.connect(peer.now)
        (syn,) = peer.answers()
        assert "S" in str(syn.flags) and syn.seq == 1000
        peer.now += 10 * MILLISECOND
        (answer,) = peer.say("SA", 100, 1001, window=window, options=options)
        assert (answer.flags, answer.seq, answer.ack) == ("A", 1001, 101)
    assert end.state == "ESTABLISHED"
    return peer


def kinds(segments: list[Any]) -> list[tuple[str, int, int, int]]:
    """Flags, numbers and bytes of data."""
    return [(str(each.flags), each.seq, each.ack, len(each.payload)) for each in segments]
