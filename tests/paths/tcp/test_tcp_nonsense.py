"""Random segments and requests: they break no invariant, and what is sent makes sense to Scapy."""

import pytest
from scapy.layers.inet import TCP
from tcp_nonsense import talks_of_nonsense


@pytest.mark.parametrize("seed", range(4))
def test_nonsense_breaks_no_invariant(seed: int) -> None:
    for end in talks_of_nonsense(seed, 500):
        for segment in end.sent:
            seen = TCP(segment)
            assert seen.dataofs * 4 <= len(segment)
            assert len(seen.payload) <= 1460
