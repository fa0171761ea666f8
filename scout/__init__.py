"""Scout: packet paths as graphs, compiled to native code and replicated on every core.

The public names are imported when first used: `scout --help` must not wait for numba, and a process that
enters a user namespace must do so before numpy starts its threads.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "scout.ring.errors": ("ScoutError",),
    "scout.ring.channel": ("Channel",),
    "scout.io.access": (
        *(f"{verb}{bits}" for verb in ("load", "store") for bits in (8, 16, 32, 48, 64)),
        *("add16", "length", "require", "sum16", "trim", "within"),
    ),
    "scout.io.flow": ("five_tuple", "flow_hash"),
    "scout.io.afpacket": ("AfPacketPort",),
    "scout.io.memory": ("MemoryPort",),
    "scout.io.pcap": ("PcapPort",),
    "scout.io.lab": ("Lab",),
    "scout.paths.graph": ("Router", "RouterGraph"),
    "scout.paths.stage": ("HOLD", "Exit", "Outcome", "Stage", "Table", "To", "Via", "drop"),
    "scout.paths.path": ("Path",),
    "scout.paths.ethernet": ("Ethernet",),
    "scout.paths.arp": ("Arp",),
    "scout.paths.ipv4": ("Ip",),
    "scout.paths.icmp": ("Icmp",),
    "scout.paths.filter": ("Filter",),
    "scout.paths.events": ("ARRIVAL", "HALT", "Event", "Handler", "raise_event"),
    "scout.paths.timers": ("after", "cancel"),
    "scout.paths.state": ("add_to", "clear", "exchange_in", "load_from", "store_to"),
    "scout.paths.table": ("claim", "find", "new_table", "place", "remove"),
    "scout.paths.service": ("Service",),
    "scout.paths.heavy_hitter": ("HeavyHitter",),
    "scout.paths.token_bucket": ("TokenBucket",),
    "scout.paths.balancer": ("LoadBalancer",),
    "scout.paths.conntrack": ("ConnectionTracking",),
    "scout.paths.counter": ("Counter",),
    "scout.paths.napt": ("Napt",),
    "scout.paths.port_knocking": ("PortKnocking",),
    "scout.paths.ddos": ("DdosMitigator",),
    "scout.paths.blackhole": ("Drop",),
    "scout.paths.tee": ("Tee",),
    "scout.paths.requests": ("End", "Requests"),
    "scout.paths.interpreter": ("try_stage",),
    "scout.supervisor": ("Supervisor",),
    "scout.loader": ("load_router",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'scout' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
