"""The health of ports: interfaces that go down, disappear, lose the carrier or get another MTU during a run."""

from scout.plan import Plan

__all__ = ["PortHealth"]


class PortHealth:
    """Remembers which ports are down, and tells changes.

    A port knows its interface by the kernel's index, so that an interface that is deleted and made again under its
    name is not the same one, and stays reported as gone.

    Parameters
    ----------
    plan : Plan
        Its ports are open.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._down: set[str] = set()
        self._mtu = {name: port.mtu for name in plan.graph.ports if (port := plan.port(name)).interface}

    def changes(self) -> list[str]:
        """A sentence for each port whose interface went down, came up again, or got another MTU since the last call.

        An interface that has lost its carrier counts as down.

        Routers learn a new MTU by `Router.learn_ports`, which writes it to memory that all replicas read.
        """
        said = []
        for name in self._plan.graph.ports:
            port = self._plan.port(name)
            port.refresh()
            if not port.interface:  # it may get one later
                self._mtu.pop(name, None)
                self._down.discard(name)
                continue
            if port.mtu != self._mtu.setdefault(name, port.mtu):
                self._mtu[name] = port.mtu
                said.append(f"port {name}: the MTU of interface {port.interface} is {port.mtu} now")
                for router in self._plan.graph.routers:
                    router.learn_ports(self._plan.graph)
            fault = port.fault()
            if fault and name not in self._down:
                self._down.add(name)
                said.append(f"port {name}: interface {port.interface} {fault}; the other ports go on")
            elif not fault and name in self._down:
                self._down.discard(name)
                said.append(f"port {name}: interface {port.interface} is up again")
        return said
