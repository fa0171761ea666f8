"""The MTU of each port, in versions: a change makes the next version beside the one in use.

The MTU of a port is that of its interface, or one below it that a change has set.
"""

from collections.abc import Sequence

import numpy as np

from scout.paths.changes.mtus import SetMtu
from scout.paths.model.change import Amendment, Change
from scout.paths.model.router import GraphError
from scout.paths.protocols.versions import Versions

__all__ = ["LEAST", "Mtus"]

LEAST = 68
"""Bytes that every network carries in one packet (RFC 791 section 3.2)."""


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
        self._of_interfaces = [0] * len(ports)
        nothing: dict[str, int] = {}  # the MTUs that were set, by port
        self._versions = Versions(f"{name}: MTUs", len(ports), np.int64, nothing, self._write)
        self.table, self.first = self._versions.table, self._versions.first

    def refresh(self, port: int, mtu: int) -> None:
        """Take the MTU of an interface, in all versions."""
        self._of_interfaces[port] = mtu
        self._versions.rewrite(self._write)

    def _write(self, rows: np.ndarray, wanted: dict[str, int]) -> None:
        for index, (port, mtu) in enumerate(zip(self._ports, self._of_interfaces, strict=True)):
            rows[index] = min(mtu, wanted.get(port, mtu))

    def clearing(self, port: str) -> list[Change]:
        """The change after which no MTU of a port is set, if one is."""
        return [SetMtu(port, None)] if port in self._versions.current else []

    def differences(self) -> list[Change]:
        """The changes after which no MTU is set."""
        return [SetMtu(port, None) for port in self._versions.current]

    def prepare(self, changes: Sequence[SetMtu]) -> Amendment:
        """Prepare changes of MTUs; see `Router.prepare`."""
        wanted = dict(self._versions.current)
        for change in changes:
            self._check(change)
            wanted.pop(change.port, None)
            if change.mtu is not None:
                wanted[change.port] = change.mtu
        return self._versions.prepare(wanted, self._write)

    def _check(self, change: SetMtu) -> None:
        if change.port not in self._ports:
            raise GraphError(f"{self._name}: the MTU of {change.port!r}, which is no port: {self._ports}")
        most = self._of_interfaces[self._ports.index(change.port)]
        if change.mtu is not None and not (isinstance(change.mtu, int) and LEAST <= change.mtu <= most):
            raise GraphError(
                f"{self._name}: an MTU of {change.mtu} for {change.port!r}; give {LEAST} to {most}, its interface's"
            )
