"""How large segments may be on their path, and what of it is believed."""

from typing import Any

import pytest
from tcp_peer import SECOND, opened
from test_tcp_sending import sizes

from scout.paths.protocols.tcp.requests import PATH_MTU


@pytest.mark.parametrize(("mss", "timestamps", "size"), [(1, (), 48), (47, (), 48), (49, (), 49), (1, ((7, 0),), 36)])
def test_a_tiny_mss_or_path_mtu_does_not_cut_a_window_into_tiny_segments(mss: int, timestamps: Any, size: int) -> None:
    """CVE-2019-11479; Linux has the same floor."""
    options = [("Timestamp", each) for each in timestamps]
    peer = opened((("MSS", mss), *options))
    peer.end.write(b"x" * 2 * size, peer.now)
    assert sizes(peer.answers()) == [size, size]
    peer = opened((("MSS", 1000), *options))
    peer.end.write(b"x" * 3 * size, peer.now)
    peer.answers()
    peer.end.request(PATH_MTU, peer.now, mss)
    assert sizes(peer.answers()) == [size, size, size]


def test_a_smaller_path_is_followed() -> None:
    """RFC 1191: what was too large is sent again in less, and the window stays."""
    peer = opened()
    end = peer.end
    end.write(b"x" * 2000, peer.now)
    assert sizes(peer.answers()) == [1000, 1000]
    before = end.c.cwnd
    end.request(PATH_MTU, peer.now, 600)
    assert sizes(peer.answers()) == [600, 600, 600, 200]
    assert end.c.cwnd == before


def test_a_forged_path_mtu_is_not_followed_while_full_segments_pass() -> None:
    """RFC 5927 section 7.2."""
    peer = opened()
    end = peer.end
    end.write(b"x" * 1000, peer.now)
    peer.say("A", 101, 2001)
    end.write(b"x" * 2000, peer.now)
    assert sizes(peer.answers()) == [1000, 1000]
    end.request(PATH_MTU, peer.now, 600, 2001)
    assert sizes(peer.answers()) == []
    peer.say("A", 101, 4001)
    end.write(b"x" * 1000, peer.now)
    assert sizes(peer.answers()) == [1000]
    assert sizes(peer.after_timer()) == [1000]  # a time-out: the claim was proved false before


def test_a_path_that_becomes_smaller_is_followed_when_a_segment_times_out() -> None:
    """RFC 5927 section 7.2; and after ten minutes larger segments are tried again (RFC 1191 section 6.3)."""
    peer = opened()
    end = peer.end
    end.write(b"x" * 1000, peer.now)
    peer.say("A", 101, 2001)
    end.write(b"x" * 1000, peer.now)
    assert sizes(peer.answers()) == [1000]
    end.request(PATH_MTU, peer.now, 600, 2001)
    while sizes(sent := peer.after_timer()) == [1000]:
        pass
    assert sizes(sent)[0] == 600
    peer.say("A", 101, 3001)
    end.write(b"x" * 700, peer.now)
    assert sizes(peer.answers()) == [600]
    assert sizes(peer.say("A", 101, 3601)) == [100]
    peer.say("A", 101, 3701)
    peer.wait(600 * SECOND)
    end.write(b"x" * 1000, peer.now)
    assert sizes(peer.answers()) == [1000]
