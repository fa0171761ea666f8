"""Sockets that nobody refers to any more are closed, with a warning, as Python's are."""

import gc
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from stand_in import StandIn

from scout import sockets
from scout.io.host.process import Child
from scout.testing import await_until


@pytest.fixture
def stack() -> Iterator[Any]:
    made = StandIn(1 << 14)
    yield made
    made.stop()
    made.close()


@pytest.mark.parametrize("kind", [sockets.SOCK_DGRAM, sockets.SOCK_STREAM])
def test_a_forgotten_socket_is_closed_and_warned_of(stack: Any, kind: int) -> None:
    made = sockets.socket(type=kind, stack=stack)
    assert stack.connections
    with pytest.warns(ResourceWarning, match="unclosed <scout"):
        del made
        gc.collect()
    await_until(lambda: not stack.connections)


def test_no_request_is_waited_for_where_it_is_found(stack: Any) -> None:
    """The garbage may be collected within a request of the same router, which has the lock."""
    made = sockets.socket(type=sockets.SOCK_STREAM, stack=stack)
    made.itself = made  # garbage of the kind that is collected at any time
    with stack._lock, pytest.warns(ResourceWarning):
        del made
        gc.collect()
    await_until(lambda: not stack.connections)


def test_closed_sockets_and_those_of_another_process_are_not_warned_of(stack: Any) -> None:
    made = sockets.socket(type=sockets.SOCK_STREAM, stack=stack)

    def forget() -> None:
        nonlocal made
        with warnings.catch_warnings(record=True) as seen:
            del made
            gc.collect()
        assert not seen

    child = Child(forget)
    assert child.join(600) and child.exitcode == 0, child.error
    assert stack.connections
    made.close()
    with warnings.catch_warnings(record=True) as seen:
        del made
        gc.collect()
    assert not seen and not stack.connections


def test_a_socket_that_could_not_be_opened_is_no_resource(stack: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(*_: Any, **__: Any) -> Any:
        raise OSError("no more sockets")

    monkeypatch.setattr(stack, "ask", no_more)
    with warnings.catch_warnings(record=True) as seen, pytest.raises(OSError, match="no more sockets"):
        sockets.socket(type=sockets.SOCK_STREAM, stack=stack)
    gc.collect()
    assert not seen
