"""The meanings of drop reasons: from the docstring of a module that drops, from the graph, or none.

Drops
    of-this-test: the docstring of the module with the stage's function says so.
"""

from typing import Any

import numpy as np
import pytest
from scapy.layers.inet import IP
from scapy.layers.l2 import Ether

from scout import Filter, Handler, Service, drop
from scout.control_socket.figures import Figures
from scout.drop_reasons import OF_EVERY_PATH, OF_THE_ACCOUNTS, meaning
from scout.paths.compiler.trace import trace
from scout.testing import HOSTS, ROUTER, MemoryRouter, ipv4_router
from scout.trace_rows import trace_rows

OF_THIS_TEST = drop("of-this-test")
MEANS = "the docstring of the module with the stage's function says so"
FRAME = bytes(Ether(src=HOSTS["left"], dst=ROUTER["left"]) / IP(src="10.0.0.2", dst="10.0.1.2"))

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


def refuse(frame: Any, end: Any) -> int:
    return OF_THIS_TEST


def count_and_refuse(frame: Any, end: Any, seen: Any) -> int:
    seen[0].packets += 1
    return OF_THIS_TEST


def filtering() -> Filter:
    return Filter("refusing", refuse)


def serving() -> Filter:
    return Service("refusing", {"seen": np.zeros(1, [("packets", "i8")])}, [Handler(count_and_refuse)])


@pytest.mark.parametrize("make", [filtering, serving])
def test_a_trace_tells_the_meaning_and_the_function_that_people_wrote(make: Any) -> None:
    path = ipv4_router(make()).create_path("left")
    *_, last = trace_rows(path, 0, 0, FRAME, list(trace(path, FRAME, timestamp=1)))
    assert (last["outcome"], last["meaning"]) == ("of-this-test", MEANS)
    assert last["function"].startswith("test_drop_reasons.py:") and last["function"].endswith("refuse")


@pytest.mark.long
def test_a_running_router_tells_the_meaning_of_a_services_reason() -> None:
    with MemoryRouter(ipv4_router(serving())) as router:
        router.send("left", FRAME)
        assert router.drops() == {"of-this-test": 1}
        (row,) = Figures(router.supervisor, __file__).show_drops()["rows"]
        assert (row["reason"], row["meaning"]) == ("of-this-test", MEANS)
