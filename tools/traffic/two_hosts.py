"""The topology of the demo and of tests: two hosts with the kernel's own stack, and a router's namespace between."""

from scout.io.host.lab import Lab
from scout.io.host.namespace import Namespace

__all__ = ["LEFT", "MACS", "RIGHT", "two_hosts"]

MACS = [f"02:00:00:00:00:{number:02x}" for number in range(1, 5)]
"""MAC addresses of the left host, the router's r0 and r1, and the right host."""
LEFT, RIGHT = "10.0.0.2", "10.0.1.2"


def two_hosts(lab: Lab) -> tuple[Namespace, Namespace, Namespace]:
    """Make the namespaces left, router and right. The kernel of the router's namespace has no address."""
    left, router, right = (lab.namespace(name) for name in ("left", "router", "right"))
    lab.veth((left, "eth0"), (router, "r0"), mac=(MACS[0], MACS[1]))
    lab.veth((router, "r1"), (right, "eth0"), mac=(MACS[2], MACS[3]))
    router.offload("r1", tx_udp_segmentation=False)  # the kernel cuts the router's super-frames at this device
    for host, address, gateway in ((left, LEFT, "10.0.0.1"), (right, RIGHT, "10.0.1.1")):
        host.address("eth0", f"{address}/24")
        host.route("default", via=gateway)
    return left, router, right
