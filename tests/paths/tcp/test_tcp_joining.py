"""Segments that follow one another are joined, and come to the same as if each were served by itself."""

from tcp_router import SPARE, TcpHost, accept, listen


def stream(size: int) -> bytes:
    return bytes(index * 7 % 251 for index in range(size))


def test_x(host: TcpHost) -> None:
    listen(host, SPARE)
    ours = accept(host)
    data = stream(4000)
    frames = [host.frame("A", 101 + at, ours, data[at : at + 1000]) for at in range(0, 4000, 1000)]
    print(host.deliver_together(frames), host.sent)
    assert host.readable(SPARE) == data
