"""Lesson 2: a stage of your own.

    scout draw examples/02_own_stage.py -o own.svg --path left     your stage, between left and ip
    python examples/02_own_stage.py                                try it as plain Python

A stage is a function of a packet. `frame` is the start of the current header, here IPv4, and `end` the end of the
packet; the function reads and writes bytes only through the accessors (`load8` and so on). It returns 0 to let the
packet pass, or a `drop(...)`, which drops the packet and counts it under a name. The same function runs as plain
Python, where print and pdb work, and as native code.
"""

from scout import AfPacketPort, Arp, Ethernet, Filter, Icmp, Ip, RouterGraph, drop, load8, load16, require

TELNET = drop("telnet")


def no_telnet(frame, end, port):
    """Drop TCP to `port`."""
    header = (load8(frame, 0) & 15) * 4
    if load8(frame, 9) == 6 and require(frame, end, header + 4) and load16(frame, header + 2) == port:
        return TELNET
    return 0


graph = RouterGraph("own_stage")
graph.add(Ethernet("left", AfPacketPort("r0")))
graph.add(Ethernet("right", AfPacketPort("r1")))
graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
graph.add(Filter("no_telnet", no_telnet, port=23))
graph.connect("icmp", "ip", "no_telnet", "left")  # packets that come in at left go through the filter
graph.connect("ip", "right")
for port in ("left", "right"):
    graph.connect("ip", "arp", port)
paths = [graph.create_path(port, order="channel") for port in ("left", "right")]


if __name__ == "__main__":
    from scout import try_stage

    to_telnet = bytes.fromhex("450000280000000040060000 0a000002 0a000102 9c400017") + bytes(16)
    verdict, _ = try_stage(no_telnet, to_telnet, port=23)
    print(f"to port 23: {verdict!r}, dropped: {verdict == TELNET}")
    verdict, _ = try_stage(no_telnet, to_telnet, port=80)
    print(f"to another: {verdict!r}")
