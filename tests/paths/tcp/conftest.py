"""The host whose TCP the tests of this folder talk to."""

import pytest
from tcp_router import TcpHost


@pytest.fixture(scope="module", params=["plain", pytest.param("native", marks=pytest.mark.long)])
def made(request: pytest.FixtureRequest) -> TcpHost:
    """A host whose paths run as plain Python; or both ways from the same state, with results that are compared."""
    return TcpHost(native=request.param == "native")


@pytest.fixture
def host(made: TcpHost) -> TcpHost:
    """The same host, as it begins."""
    made.reset()
    return made
