"""Services and packets that are shorter than they claim, or malformed; also for services directly on Ethernet."""

from typing import Any

import pytest
import traces
from harness import NOW, one_port

from scout.paths.framework.flow_table import rows
from scout.paths.services.balancer import LoadBalancer
from scout.paths.services.conntrack import ConnectionTracking
from scout.paths.services.ddos import DdosMitigator
from scout.paths.services.heavy_hitter import HeavyHitter
from scout.paths.services.port_knocking import PortKnocking
from scout.paths.services.token_bucket import TokenBucket

MADE: dict[str, Any] = {
    "bucket": lambda: TokenBucket("made", 1000, 1000, capacity=16),
    "ddos": lambda: DdosMitigator("made", 10, capacity=16),
    "heavy": lambda: HeavyHitter("made", 10, capacity=16),
    "knocking": lambda: PortKnocking("made", 22, (80,), capacity=16),
    "tracking": lambda: ConnectionTracking("made", capacity=16),
    "balancer": lambda: LoadBalancer("made", "10.9.0.7:80", ["10.0.0.9:80"], capacity=16),
}
DATA = traces.frame((0x0A000002, 0x0A090007, 6, 5, 80), b"body", traces.SYN)


@pytest.mark.parametrize("name", MADE)
def test_a_bad_header_changes_no_state(name: str) -> None:
    """It would be dropped above, and the state of the service would have what never was."""
    service = MADE[name]()
    path = one_port(service).create_path("left")
    before = {key: table.initial.copy() for key, table in service.tables.items()}
    wrong = bytearray(DATA)
    wrong[24] ^= 1
    longer = bytearray(DATA)
    longer[16:18] = (len(DATA) - 14 + 1).to_bytes(2, "big")
    longer[24:26] = bytes(2)
    longer[24:26] = traces.checksum(bytes(longer[14:34])).to_bytes(2, "big")
    for data, reason in ((bytes(wrong), "bad-checksum"), (bytes(longer), "truncated"), (DATA[:33], "too-short")):
        assert path.run(data, timestamp=NOW)[0] == f"left.ipv4 drops {reason}"
    for key, table in service.tables.items():
        assert (table.initial == before[key]).all()
    assert path.run(DATA, timestamp=NOW)[0] == "end"


def bare(protocol: int, padding: bytes) -> bytes:
    """A packet of an IP header alone, which the link has padded with what looks like ports."""
    return traces.frame((0x0A000002, 0x0A090007, 255, 0, 0))[:23] + header_of(protocol) + padding


def header_of(protocol: int) -> bytes:
    header = bytearray(traces.frame((0x0A000002, 0x0A090007, 255, 0, 0))[14:34])
    header[9] = protocol
    header[10:12] = bytes(2)
    header[10:12] = traces.checksum(bytes(header)).to_bytes(2, "big")
    return bytes(header[9:])


@pytest.mark.parametrize("protocol", [traces.TCP, traces.UDP])
def test_padding_is_no_ports(protocol: int) -> None:
    data = bare(protocol, (5).to_bytes(2, "big") + (80).to_bytes(2, "big") + bytes(22))
    assert len(data) == 60
    heavy, knocking, tracking = (MADE[name]() for name in ("heavy", "knocking", "tracking"))
    assert one_port(heavy).create_path("left").run(data, timestamp=NOW)[0] == "end"
    (flow, counted), *_ = heavy.read().items()
    assert (flow.source_port, flow.destination_port) == (0, 0) and counted == (1, 20)
    one_port(knocking).create_path("left").run(data, timestamp=NOW)
    assert not rows(knocking.tables["sources"].initial).size
    leaf = one_port(tracking).create_path("left").run(data, timestamp=NOW)[0]
    assert leaf == ("made.receive drops tcp-bad-header" if protocol == traces.TCP else "end")
