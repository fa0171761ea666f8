"""The options of stream sockets: those of Python's `socket`, as settings of the TCP core."""

import errno
import socket as kernel
import struct
from typing import Any

from scout.paths.protocols.tcp import settings
from scout.sockets.errors import error_of

__all__ = ["IGNORED", "LINGER", "SETTINGS", "control_of", "lingers", "value_of"]

MILLISECOND, SECOND = 1_000_000, 1_000_000_000

CONTROL = (kernel.IPPROTO_TCP, kernel.TCP_CONGESTION)

SETTINGS = {
    (kernel.IPPROTO_TCP, kernel.TCP_NODELAY): (settings.NODELAY, 1),
    (kernel.SOL_SOCKET, kernel.SO_KEEPALIVE): (settings.KEEPALIVE, 1),
    (kernel.IPPROTO_TCP, kernel.TCP_KEEPIDLE): (settings.KEEP_IDLE, SECOND),
    (kernel.IPPROTO_TCP, kernel.TCP_KEEPINTVL): (settings.KEEP_INTERVAL, SECOND),
    (kernel.IPPROTO_TCP, kernel.TCP_KEEPCNT): (settings.KEEP_PROBES, 1),
    (kernel.IPPROTO_TCP, kernel.TCP_USER_TIMEOUT): (settings.USER_TIMEOUT, MILLISECOND),
    CONTROL: (settings.CONGESTION, 1),
    (kernel.IPPROTO_IP, kernel.IP_TOS): (settings.TRAFFIC_CLASS, 1),
}
"""Of each level and option the setting, and its unit."""

LINGER = (kernel.SOL_SOCKET, kernel.SO_LINGER)

IGNORED = {(kernel.SOL_SOCKET, kernel.SO_REUSEADDR)}
"""Options that programs choose by habit, and that change nothing here."""

_LINGER = struct.Struct("ii")  # struct linger


def value_of(value: Any) -> int:
    """The number that an option is given, which may be bytes."""
    return int.from_bytes(value, "little") if isinstance(value, bytes) else int(value)


def control_of(value: Any) -> int:
    """The number of the congestion control that an option names, in bytes."""
    name = bytes(value).rstrip(b"\0").decode("ascii", "replace")
    if name not in settings.CONTROLS:
        raise error_of(errno.ENOENT)  # as the kernel
    return settings.CONTROLS.index(name)


def lingers(value: Any) -> bool:
    """True if a `struct linger` says that closing aborts the connection; it may not say that it takes time."""
    on, seconds = _LINGER.unpack(value)
    if on and seconds:
        raise error_of(errno.EOPNOTSUPP)
    return bool(on)
