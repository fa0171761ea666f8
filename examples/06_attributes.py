"""Lesson 6: attributes, which make a path short, and a rule of your own.

    python examples/06_attributes.py                                 two paths from one port, and why they differ
    scout draw examples/06_attributes.py -o all.svg --path left      the path of all packets

A path is created from attributes: facts that are known of its packets, and wishes for them. A fact that is known need
not be found out for each packet. All of 10.0.1.128/26 has one next hop here, so a path to it has no lookup; no address
of the router's own is in it, so nothing that serves the router itself is in the path either. When the router runs, each
packet finds the narrowest path that takes it.

Rules do that: a guard says where a rule applies, and a transform changes the path there. Routers bring theirs along,
and you can add your own. The rule below puts a rate limit into every path of expedited packets (DSCP 46), so that they
cannot take all of a line.
"""

import numpy as np

from scout import AfPacketPort, Arp, Ethernet, Icmp, Ip, RouterGraph, Rule, Stage, Table, drop, within

TOO_MUCH = drop("too-much-expedited")
EXPEDITED = 46


def limit(frame, end, packet, due, interval, burst):
    """Drop what exceeds a rate; `due` is one word that all replicas share."""
    return 0 if within(due, 0, packet.timestamp, interval, burst) else TOO_MUCH


def is_unlimited(path, node):
    return path.attributes.dscp == EXPEDITED and node == "ip.lookup" and "limit.in" not in path


def add_limit(path, node):
    numbers = {"interval": 1_000_000, "burst": 2_000_000}  # nanoseconds
    bindings = {"due": Table(np.zeros(1, np.int64), "shared"), **numbers}
    path.insert(f"{path.source}.ipv4", node, "limit", Stage(limit, bindings=bindings))
    return "1,000 packets a second, 3 at once"


LIMITED = Rule("limit expedited packets", is_unlimited, add_limit)


graph = RouterGraph("attributes")
graph.add(Ethernet("left", AfPacketPort("r0")))
graph.add(Ethernet("right", AfPacketPort("r1")))
graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
arp = Arp("arp")
arp.pin("right", "10.0.1.129", "02:00:00:00:00:0b")  # the telephone, which needs no ARP request
graph.add(arp)
graph.add(Icmp("icmp"))
for port in ("left", "right"):
    graph.connect("icmp", "ip", port)
    graph.connect("ip", "arp", port)
paths = [graph.create_path(port, rules=[LIMITED]) for port in ("left", "right")]
voice = graph.create_path("left", destination="10.0.1.128/26", protocol="udp", dscp=EXPEDITED, rules=[LIMITED])
paths.append(voice)  # packets that it does not take go through the path of all


if __name__ == "__main__":
    for path in (paths[0], voice):
        print(f"{path.attributes}: {', '.join(path.running_order)}")
    print(voice.explain())

    packet = "020000000001 02000000000a 0800 45b8001c0001000040116496 0a000002 0a000181 13c413c400080000"
    for _ in range(4):  # all at the same time
        print(voice.run(bytes.fromhex(packet), timestamp=10**18)[0])
