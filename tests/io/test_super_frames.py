"""Super-frames in channel order: one replica sends them, and no other waits for its turn meanwhile."""

from contextlib import ExitStack
from pathlib import Path

import pytest
from channel_bench import Bench, Got, opened

from scout.io.channels.kernel_ring_protocol import LONG

pytestmark = pytest.mark.needs_namespaces


def begun(folder: Path, stack: ExitStack, more: int, ordered: bool) -> Bench:
    """Frame 0 has left; replica 0 is about to send frame 1, which replica 1 has passed; frame 2 waits."""
    bench = opened("interface", folder, stack, 2, False, more)
    bench.bring(1)
    assert bench.take(0) == Got([0], True)
    if ordered:
        assert bench.may_send(0)
    bench.release(0, ordered)
    bench.bring(1)
    assert bench.take(0) == Got([1], True)
    bench.bring(1)
    for number in (0, 1):
        assert bench.take(1) == Got([number], False)
        bench.release(1, ordered)
    return bench


def test_a_super_frame_is_left_to_the_replica_that_sends_those_before_it(tmp_path: Path) -> None:
    with ExitStack() as stack:
        bench = begun(tmp_path, stack, LONG, ordered=True)
        assert bench.take(1) is None
        assert bench.may_send(0)
        bench.release(0, True)
        assert bench.take(1) == Got([2], True) and bench.may_send(1)


@pytest.mark.parametrize(("more", "ordered"), [(0, True), (LONG, False)], ids=["short frames", "in any order"])
def test_another_replica_takes_the_next_frames_meanwhile(tmp_path: Path, more: int, ordered: bool) -> None:
    with ExitStack() as stack:
        assert begun(tmp_path, stack, more, ordered).take(1) == Got([2], True)
