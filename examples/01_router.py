"""Lesson 1: an IPv4 router between two interfaces.

    scout draw examples/01_router.py -o router.svg     look at it
    scout demo                                         see it at work between two namespaces
    scout run examples/01_router.py                    run it on interfaces r0 and r1 of this machine

The nodes of a router graph are protocol modules. Each module stands on the modules whose services it requires: ICMP
stands on IP; IP stands on Ethernet, and on ARP to find the MAC addresses of its next hops. From the graph a path is
created for each port: all the stages that packets go through which come in at this port.
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

# In channel order packets leave in the order in which they arrived; TCP is slower when they are reordered.
paths = [graph.create_path(port, order="channel") for port in ("left", "right")]
