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
    "scout.paths.wire.flow": ("five_tuple", "flow_hash"),
    "scout.paths.wire.segments": ("segments",),
    "scout.io.ports.afpacket": ("AfPacketPort",),
    "scout.io.ports.memory": ("MemoryPort",),
    "scout.io.ports.pcap": ("PcapPort",),
    "scout.io.host.lab": ("Lab",),
    "scout.paths.model.graph": ("Router", "RouterGraph"),
    "scout.paths.model.stage": ("HOLD", "Exit", "Outcome", "Stage", "Table", "To", "Via", "drop"),
    "scout.paths.model.path": ("Path",),
    "scout.paths.protocols.ethernet": ("Ethernet",),
    "scout.paths.protocols.arp": ("Arp",),
    "scout.paths.protocols.ipv4": ("Ip",),
    "scout.paths.protocols.icmp": ("Icmp",),
    "scout.paths.stages.filter": ("Filter",),
    "scout.paths.framework.events": ("ARRIVAL", "HALT", "Event", "Handler", "raise_event"),
    "scout.paths.framework.timers": ("after", "cancel"),
    "scout.paths.framework.state": ("add_to", "clear", "exchange_in", "load_from", "store_to"),
    "scout.paths.framework.table": ("EVICT", "FOREVER", "REFUSE", "claim", "find", "new_table", "place", "remove", "rows"),
    "scout.paths.framework.service": ("Service",),
    "scout.paths.services.heavy_hitter": ("HeavyHitter",),
    "scout.paths.services.token_bucket": ("TokenBucket",),
    "scout.paths.services.balancer": ("LoadBalancer",),
    "scout.paths.services.conntrack": ("ConnectionTracking",),
    "scout.paths.services.counter": ("Counter",),
    "scout.paths.services.napt": ("Napt",),
    "scout.paths.services.port_knocking": ("PortKnocking",),
    "scout.paths.services.ddos": ("DdosMitigator",),
    "scout.paths.stages.drop": ("Drop",),
    "scout.paths.stages.tee": ("Tee",),
    "scout.paths.stages.requests": ("End", "Requests"),
    "scout.paths.compiler.interpreter": ("try_stage",),
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
