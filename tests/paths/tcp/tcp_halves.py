"""Both halves of a splice for tests: a client and a server that Scapy plays, and what the application asks for."""

from typing import Any

from host_router import OURS, PEER
from scapy.all import TCP
from tcp_router import CLIENT, SPARE, TcpHost, listen

from scout.io.endpoints.message import CONNECT, SPLICE
from scout.paths.protocols.tcp.rows import SPLICED as SPLICED_ROW

__all__ = ["MODULUS", "Half", "ask", "check_talk", "is_spliced", "opened", "spliced"]

MODULUS = 1 << 32


class Half:
    """A peer: the client, whose connection the application has accepted, or the server, to which it has connected."""

    def __init__(self, host: TcpHost, socket: int, theirs: int, ours: int, seq: int, **options: Any) -> None:
        self.host, self.socket, self.theirs, self.ours = host, socket, theirs, ours
        self.seq, self.ack = seq, 0  # of the next byte that it sends, and of that which it expects
        self.mss, self.scale, self.sack = options.get("mss", 1460), options.get("scale"), options.get("sack", False)
        self.clock, self.echo = options.get("clock"), 0

    @property
    def syn_options(self) -> list[Any]:
        made: list[Any] = [("MSS", self.mss)]
        if self.scale is not None:
            made.append(("WScale", self.scale))
        if self.sack:
            made.append(("SAckOK", b""))
        return made + self.stamp()

    def stamp(self) -> list[Any]:
        return [] if self.clock is None else [("Timestamp", (self.clock, self.echo))]

    def raw_say(self, flags: str, seq: int, data: bytes = b"", options: Any = None, **more: Any) -> list[Any]:
        return self.host.say(
            flags,
            seq,
            self.ack,
            data,
            self.ours,
            self.theirs,
            options=self.stamp() if options is None else options,
            **more,
        )

    def say(self, data: bytes = b"", flags: str = "", **more: Any) -> list[Any]:
        """Send the next bytes."""
        sent = self.raw_say(flags or ("PA" if data else "A"), self.seq, data, **more)
        self.seq = (self.seq + len(data) + ("F" in flags)) % MODULUS
        return sent

    def hear(self, segments: list[Any]) -> bytes:
        """Take segments that were sent to it, in order; their bytes."""
        found = b""
        for each in segments:
            if each[TCP].dport != self.theirs:
                continue
            assert (each.src, each.dst, each[TCP].sport) == (OURS, PEER, self.ours)
            if each[TCP].seq == self.ack:
                found += bytes(each[TCP].payload)
                self.ack = (self.ack + len(each[TCP].payload) + ("F" in each[TCP].flags)) % MODULUS
            self.echo = dict(each[TCP].options).get("Timestamp", (self.echo,))[0]
        return found


def opened(
    host: TcpHost, client: dict[str, Any] | None = None, server: dict[str, Any] | None = None
) -> tuple[Half, Half]:
    """Both connections, established."""
    listen(host, SPARE)
    one = Half(host, SPARE, 1000, 80, 100, **(client or {}))
    (answer,) = host.say("S", one.seq, sport=1000, options=one.syn_options)
    one.seq, one.ack = one.seq + 1, answer[TCP].seq + 1
    one.hear([answer])
    one.ack = answer[TCP].seq + 1
    one.say()
    two = Half(host, CLIENT, 2000, 5000, 0xFFFFFF00, **(server or {}))
    host.sent.clear()
    host.request(CONNECT, CLIENT, (OURS, 5000), (PEER, 2000), note=1500)
    (syn,) = host.sent
    two.hear([syn])
    two.ack = syn[TCP].seq + 1
    host.say("SA", two.seq, two.ack, port=5000, sport=2000, options=two.syn_options)
    two.seq += 1
    assert host.state(SPARE) == host.state(CLIENT) == "ESTABLISHED"
    return one, two


def ask(host: TcpHost, client_read: int = 0, server_read: int = 0) -> None:
    """Have the application ask for the splice."""
    host.sent.clear()
    assert host.call(SPLICE, SPARE, CLIENT, client_read) == "served"
    assert host.call(SPLICE, CLIENT, SPARE, server_read) == "served"


def spliced(host: TcpHost, **options: Any) -> tuple[Half, Half]:
    one, two = opened(host, **options)
    ask(host)
    assert is_spliced(host)
    return one, two


def is_spliced(host: TcpHost) -> bool:
    roles = {int(host.tcp.rows.initial[each & 0xFFFF]["role"]) for each in (SPARE, CLIENT)}
    assert len(roles) == 1
    return roles == {SPLICED_ROW}


def check_talk(one: Half, two: Half) -> None:
    """Bytes in both directions, acknowledged by the other peer."""
    for here, there, data in ((one, two, b"request" * 30), (two, one, b"response" * 99)):
        assert there.hear(here.say(data)) == data
        (ack,) = there.say()
        assert ack[TCP].ack == here.seq and not ack[TCP].payload
