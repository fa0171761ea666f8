"""Arguments that cannot be meant are refused by a sentence, where they are given."""

import pytest
from folding import folding, source
from scapy.layers.l2 import Ether

from scout.io.ports.memory import MemoryPort
from scout.paths.compiler.interpreter import try_stage
from scout.paths.model.graph import RouterGraph
from scout.paths.model.verdict import drop
from scout.paths.protocols.arp import Arp
from scout.ring.errors import ScoutError


def passes(frame, end, limit):
    return 0


def run(data):
    return folding(source())[1].run(data)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: MemoryPort(5), "5 is not a MAC address; write it as 02:00:00:00:00:01"),
        (lambda: MemoryPort("01:00:5e:00:00:01"), "01:00:5e:00:00:01 is the address of a group"),
        (lambda: drop(5), r"drop\(5\): give a name"),
        (lambda: drop(""), r"drop\(''\): give a name"),
        (lambda: drop("a\nb"), r"drop\('a\\nb'\): give a name, one line"),
        (lambda: RouterGraph(""), "give the graph a name"),
        (lambda: RouterGraph("g").add("ip"), "graph 'g': 'ip' is no router; add an object"),
        (lambda: RouterGraph("g").add(Arp), "graph 'g': the class Arp is no router; add an object"),
        (lambda: Arp("arp", timeout="60"), "arp: timeout of '60' seconds; give more than 0"),
        (lambda: run("abc"), r"path from requests: run is given str; give the bytes of a frame"),
        (lambda: run(Ether()), r"path from requests: run is given Ether; .* as bytes\(packet\)"),
        (lambda: try_stage(passes, "abc", limit=1), "passes: try_stage is given str"),
        (lambda: try_stage(passes, b"abc", limit=1, typo=2), "passes has no parameter 'typo'; leave typo=... out"),
    ],
)
def test_an_argument_that_cannot_be_meant_is_refused(call, words):
    with pytest.raises(ScoutError, match=words) as caught:
        call()
    assert "\n" not in str(caught.value)
