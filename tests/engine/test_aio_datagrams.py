"""asyncio's datagram endpoints over sockets of a router; a stand-in does the work of the stack."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from stand_in import StandIn

from scout import aio, sockets

HERE = "127.0.0.1"


@pytest.fixture(autouse=True)
def stack(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    made = StandIn(0)
    monkeypatch.setattr(sockets, "newest", lambda: made)
    yield made
    made.stop()
    made.close()


class Endpoint(asyncio.DatagramProtocol):
    """Keeps the error with which its connection is lost."""

    def __init__(self) -> None:
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, error: Exception | None) -> None:
        self.lost.set_result(error)


def test_the_end_of_the_router_is_told(stack: Any) -> None:
    async def main() -> None:
        loop = aio.get_running_loop()
        transport, protocol = await loop.create_datagram_endpoint(Endpoint, local_addr=(HERE, 0))
        transport.close()
        assert await protocol.lost is None
        ended = [await loop.create_datagram_endpoint(Endpoint, local_addr=(HERE, 0)) for _ in range(2)]
        stack._registry.close()
        for transport, protocol in ended:
            assert isinstance(await protocol.lost, ConnectionResetError)
            assert transport.is_closing()

    aio.run(main())
