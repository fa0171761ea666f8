"""Lesson 1: an IPv4 router between two interfaces.

    scout draw examples/01_router.py -o router.svg     look at it
    scout demo                                         see it at work between two namespaces
    scout run examples/01_router.py                    run it on interfaces r0 and r1 of this machine

A router graph has protocol modules for nodes. Each stands on those whose services it requires: ICMP on
IP, IP on Ethernet and, to find its next hops' addresses, on ARP. From it a path is created for each port:
all the stages that packets go through that come in there.
"""

from scout import AfPacketPort, Arp, Ethernet, Icmp, Ip, RouterGraph

graph = RouterGraph("two_hosts")
graph.add(Ethernet("left", AfPacketPort("r0")))
graph.add(Ethernet("right", AfPacketPort("r1")))
graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
graph.add(Arp("arp"))
graph.add(Icmp("icmp"))
for port in ("left", "right"):
    graph.connect("icmp", "ip", port)
    graph.connect("ip", "arp", port)

# In channel order packets leave in the order in which they came, as TCP likes it.
paths = [graph.create_path(port, order="channel") for port in ("left", "right")]
