"""Names of namespaces and interfaces as people type them."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from pyroute2 import netns

from scout.io.host.names import LAB_NETNS
from scout.io.host.namespace import entered
from scout.ring.errors import ScoutError

__all__ = ["Place", "kernel_name", "parse_place"]


class Place(NamedTuple):
    """An interface, and the kernel's name of its namespace; None for the calling thread's own."""

    netns: str | None
    interface: str

    def entered(self) -> AbstractContextManager[None]:
        """Keep the calling thread in the namespace for a `with` block."""
        return nullcontext() if self.netns is None else entered(self.netns)


def parse_place(text: str) -> Place:
    """Read `eth0`, or `left/eth0` for an interface of another namespace."""
    namespace, _, interface = text.rpartition("/")
    return Place(kernel_name(namespace) if namespace else None, interface)


def kernel_name(name: str) -> str:
    """The kernel's name of a namespace: of a lab's it is enough to name the part after the process, as `demo-left`.

    Raises
    ------
    ScoutError
        If several labs have one of that name.
    """
    known = netns.listnetns()
    full = [lab for lab in known if LAB_NETNS.match(lab) and LAB_NETNS.sub("", lab) == name]
    if name in known or not full:
        return name  # `entered` raises if there is none
    if len(full) > 1:
        raise ScoutError(f"namespace {name}: {len(full)} labs have one; name it in full: {', '.join(sorted(full))}")
    return full[0]
