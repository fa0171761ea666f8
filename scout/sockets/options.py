"""The options of stream sockets: those of Python's `socket`, as settings of the TCP core."""

import errno
import socket as kernel
import struct
from typing import Any

from scout.paths.protocols.tcp import settings
from scout.sockets.errors import error_of

__all__ = ["LINGER", "SETTINGS", "control_name", "lingers", "setting_of"]

MILLISECOND, SECOND = 1_000_000, 1_000_000_000

_CONTROL = (kernel.IPPROTO_TCP, kernel.TCP_CONGESTION)

SETTINGS = {
    (kernel.IPPROTO_TCP, kernel.TCP_NODELAY): (settings.NODELAY, 1),
    (kernel.SOL_SOCKET, kernel.SO_KEEPALIVE): (settings.KEEPALIVE, 1),
    (kernel.IPPROTO_TCP, kernel.TCP_KEEPIDLE): (settings.KEEP_IDLE, SECOND),
    (kernel.IPPROTO_TCP, kernel.TCP_KEEPINTVL): (settings.KEEP_INTERVAL, SECOND),
    (kernel.IPPROTO_TCP, kernel.TCP_KEEPCNT): (settings.KEEP_PROBES, 1),
    (kernel.IPPROTO_TCP, kernel.TCP_USER_TIMEOUT): (settings.USER_TIMEOUT, MILLISECOND),
    _CONTROL: (settings.CONGESTION, 1),
    (kernel.IPPROTO_IP, kernel.IP_TOS): (settings.TRAFFIC_CLASS, 1),
}
"""Of each level and option the setting, and its unit."""

LINGER = (kernel.SOL_SOCKET, kernel.SO_LINGER)

_IGNORED = {(kernel.SOL_SOCKET, kernel.SO_REUSEADDR)}
"""Options that programs choose by habit, and that change nothing here."""

_LINGER = struct.Struct("ii")  # struct linger


def setting_of(level: int, option: int, value: Any) -> tuple[int, int] | None:
    """The setting that an option is, and its value; None for an option that changes nothing."""
    if (level, option) == _CONTROL:
        return settings.CONGESTION, _control_of(value)
    if (level, option) in SETTINGS:
        setting, unit = SETTINGS[level, option]
        return setting, unit * (int.from_bytes(value, "little") if isinstance(value, bytes) else int(value))
    if (level, option) not in _IGNORED:
        raise error_of(errno.ENOPROTOOPT)
    return None


def control_name(number: int, size: int) -> bytes:
    """The name of a congestion control, at most `size` bytes of 16, as the kernel has it."""
    return settings.CONTROLS[number].encode().ljust(16, b"\0")[:size]


def _control_of(value: Any) -> int:
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
