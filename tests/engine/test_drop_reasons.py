"""What drop reasons mean: as the module says that drops, as the graph makes them, or nothing."""

import pytest

from scout.drop_reasons import OF_EVERY_PATH, OF_THE_ACCOUNTS, meaning
from scout.testing import ipv4_router

ARP = "scout.paths.protocols.arp"


@pytest.mark.parametrize(
    ("reason", "modules", "means"),
    [
        ("no-quota", [], ""),
        ("no-route", [], ""),
        ("no-ipv4", [], OF_EVERY_PATH["no-TYPE"]),
        ("no-icmp", [], OF_EVERY_PATH["no-TYPE"]),
        ("no-arp", [ARP], "the packet's next hop is on a port that ARP is not connected to"),
        ("not-on-path", [ARP], OF_EVERY_PATH["not-on-path"]),
        ("hold-full", [], OF_THE_ACCOUNTS["hold-full"]),
        ("made-up", [ARP, "of_no_module"], ""),
    ],
)
def test_meanings(reason: str, modules: list[str], means: str) -> None:
    assert meaning(reason, ipv4_router(), modules) == means
