"""Lesson 7: queues, and which path is served next.

    python examples/07_queues.py                                 a telephone call and a backup share a core
    scout draw examples/07_queues.py -o queues.svg --path left   the path of all other packets

A path with a queue does not run when its packet comes. The packet waits in the path's queue until a scheduler chooses
the path. Here a backup's packets come first, all at once, and then those of a call, each wanted within 5 ms. In one
queue the call would wait behind the whole backup.

The scheduler is a function of the queues' heads: how many packets wait (`ready`), when the first of them was received
(`since`), and the attributes of the path. `Supervisor(path_schedule="deadline")` has the same rule built in. This one
serves nothing until all packets have come, so that what it prints does not depend on how fast this machine is.
"""

import struct

from scout import Arp, Ethernet, Icmp, Ip, MemoryPort, RouterGraph, Supervisor

CALL, BACKUP = 5060, 873  # L4 ports
CALLS, BACKUPS, ROOM = 20, 100, 64  # packets; what the queue of the backup has room for
START = 1_700_000_000_000_000_000  # nanoseconds since 1970


def earliest(heads):
    """The queue whose first packet is wanted first."""
    if heads[0].served + heads[1].served == 0 and heads[0].ready + heads[1].ready < CALLS + ROOM:
        return -1
    best = -1
    for index in range(len(heads)):
        head = heads[index]
        if head.ready and (best < 0 or head.since + head.deadline < heads[best].since + heads[best].deadline):
            best = index
    return best


def datagram(port, number):
    """A frame from 10.0.0.2 to an L4 port of 10.0.1.2."""
    udp = struct.pack("!HHHHH", 4000, port, 10, 0, number)
    ip = bytes.fromhex("4500001e00004000401125cc 0a000002 0a000102")
    return bytes.fromhex("020000000001 02000000000a 0800") + ip + udp


# Every packet has the time at which it was received, in nanoseconds; the call's packets come every 0.5 ms.
backup = [(datagram(BACKUP, number), START) for number in range(BACKUPS)]
call = [(datagram(CALL, number), START + number * 500_000) for number in range(CALLS)]
left = MemoryPort("02:00:00:00:00:01", frames=[*backup, *call])
right = MemoryPort("02:00:00:00:00:02", frames=[])

graph = RouterGraph("queues")
graph.add(Ethernet("left", left))
graph.add(Ethernet("right", right))
graph.add(Ip("ip", {"left": "10.0.0.1/24", "right": "10.0.1.1/24"}))
arp = Arp("arp")
arp.pin("right", "10.0.1.2", "02:00:00:00:00:0b")
graph.add(arp)
graph.add(Icmp("icmp"))
for port in ("left", "right"):
    graph.connect("icmp", "ip", port)
    graph.connect("ip", "arp", port)
paths = [graph.create_path(port) for port in ("left", "right")]
paths += [
    graph.create_path("left", protocol="udp", destination_port=CALL, queue=32, batch=1, deadline=0.005),
    graph.create_path("left", protocol="udp", destination_port=BACKUP, queue=ROOM, batch=8, deadline=0.010),
]


if __name__ == "__main__":
    with Supervisor(graph, paths, replicas=1, path_schedule=earliest) as supervisor:
        supervisor.wait()
    letters = {CALL: "c", BACKUP: "b"}
    print("".join(letters[struct.unpack_from("!H", frame, 36)[0]] for frame in right.sent()))
    for row in supervisor.queue_figures():
        print(f"{row['path']}: {row['served']} served, {row['full']} found the queue full")
    print(supervisor.account()["drops"])
