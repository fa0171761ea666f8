"""The MTU of each port, in versions: a change makes the next version beside the one in use.

The MTU of a port is that of its interface, or one below it that a change has set.
"""

from collections import deque
from collections.abc import Sequence

import numpy as np

from scout.paths.changes.mtus import SetMtu
from scout.paths.model.change import Amendment, Change
from scout.paths.model.router import GraphError
from scout.paths.model.setting import Setting
from scout.paths.model.table import Table
from scout.ring.segment import shared

__all__ = ["LEAST", "Mtus"]

LEAST = 68
"""Bytes that every network carries in one packet (RFC 791 section 3.2)."""

_VERSIONS = 64


class Mtus:
    """The MTUs of the ports of a router.

    Parameters
    ----------
    name : str
        The router's, for errors.
    ports : sequence of str

    Attributes
    ----------
    table : Table
        Bytes: int64[versions * ports], constant; `refresh` writes it again when an interface gets another MTU.
    first : Setting
        Index of the version's first row, that of the port of index 0.
    """

    def __init__(self, name: str, ports: Sequence[str]) -> None:
        self._name, self._ports = name, list(ports)
        # In shared memory: it is written again when an interface gets another MTU while replicas run.
        self.table = Table(shared(_VERSIONS * len(ports), np.int64), "constant")
        self.first = Setting(0)
        self._of_interfaces = [0] * len(ports)
        self._set: dict[int, dict[str, int]] = {0: {}}  # by the first row of a version, the MTUs that were set
        self._free = deque(range(len(ports), _VERSIONS * len(ports), len(ports)))

    def refresh(self, port: int, mtu: int) -> None:
        """Take the MTU of an interface, in all versions."""
        self._of_interfaces[port] = mtu
        for first in list(self._set):  # a change may come meanwhile
            self._write(first, port)

    def _write(self, first: int, port: int) -> None:
        mtu = self._of_interfaces[port]
        self.table.initial[first + port] = min(mtu, self._set[first].get(self._ports[port], mtu))

    def differences(self) -> list[Change]:
        """The changes after which no MTU is set."""
        return [SetMtu(port, None) for port in self._set[self.first.value]]

    def prepare(self, changes: Sequence[SetMtu]) -> Amendment:
        """Prepare changes of MTUs; see `Router.prepare`."""
        wanted = dict(self._set[self.first.value])
        for change in changes:
            self._check(change)
            wanted.pop(change.port, None)
            if change.mtu is not None:
                wanted[change.port] = change.mtu
        if not self._free:
            raise GraphError(
                f"{self._name}: {_VERSIONS} versions of MTUs are in use; try again when packets have passed"
            )
        before, first = self.first.value, self._free.popleft()
        self._set[first] = wanted
        for port in range(len(self._ports)):
            self._write(first, port)

        def free(version: int) -> None:
            del self._set[version]
            self._free.append(version)

        return Amendment({self.first: first}, undo=lambda: free(first), release=lambda: free(before))

    def _check(self, change: SetMtu) -> None:
        if change.port not in self._ports:
            raise GraphError(f"{self._name}: the MTU of {change.port!r}, which is no port: {self._ports}")
        most = self._of_interfaces[self._ports.index(change.port)]
        if change.mtu is not None and not LEAST <= change.mtu <= most:
            raise GraphError(
                f"{self._name}: an MTU of {change.mtu} for {change.port!r}; give {LEAST} to {most}, its interface's"
            )
