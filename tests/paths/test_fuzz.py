"""A million mutated packets: no crash, no access outside the packet, each counted under a reason."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FUZZ = Path(__file__).parents[1] / "fuzz.py"
PACKETS = 1_000_000


def fuzz(packets, seed, checked):
    environment = os.environ | ({"SCOUT_CHECKED": "1"} if checked else {})
    command = [sys.executable, str(FUZZ), str(packets), str(seed)]
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return json.loads(result.stdout)


@pytest.mark.long  # test_builtin_forwarding.py mutates some frames
def test_mutated_packets_stay_in_bounds_and_are_accounted_for():
    plain, checked = fuzz(PACKETS, 1, False), fuzz(PACKETS, 1, True)
    assert plain["total"] == PACKETS
    assert checked["refused"] == 0
    assert plain["bad_ends"] == 0
    assert plain == checked
    # The mutations reach nearly everything that can happen to a packet.
    assert min(plain["out"]["left"], plain["out"]["right"], plain["held"]) > PACKETS // 1000
    reached = set(plain["drops"]) - {reason for reason, count in plain["drops"].items() if not count}
    for reason in (
        "too-short",
        "bad-version",
        "bad-checksum",
        "truncated",
        "bad-arp",
        "multicast",
        "unknown-ethertype",
    ):
        assert reason in reached
    assert "unknown-verdict" not in reached


OUTSIDE = """
import numpy as np
from numba import types
from scout.io.access import BOUNDS, allow, load8, store8
from scout.ring.jit import entry

@entry(types.int64(types.int64, types.int64))
def touch(start, end):
    allow(start, end, False)
    store8(start, 0, 7)
    return load8(start, 3) + load8(start, 4)

data = np.zeros(8, np.uint8)
touch(data.ctypes.data, data.ctypes.data + 4)
print(int(BOUNDS[2]), int(data[0]))
"""


def test_the_checked_run_refuses_what_is_outside(tmp_path):
    """One byte behind the packet, and a write to one that is only looked at: both refused, nothing written."""
    file = tmp_path / "outside.py"
    file.write_text(OUTSIDE)
    result = subprocess.run(
        [sys.executable, str(file)], capture_output=True, text=True, env=os.environ | {"SCOUT_CHECKED": "1"}, check=True
    )
    assert result.stdout.split() == ["2", "0"]
