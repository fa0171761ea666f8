"""Namespaces for an ordinary user: after `enter()` this process may do on its own network what otherwise needs root.

Imports neither numpy, numba nor pyroute2: a process with threads cannot change its user namespace, and
numpy starts threads when it is imported.
"""

import ctypes
import errno
import os
import socket
import stat
from pathlib import Path

from scout.io.host.interface_flags import bring_up
from scout.ring.errors import ScoutError

__all__ = ["enter", "needed"]

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000  # linux/sched.h
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC = 0x2, 0x4, 0x1000, 0x4000  # linux/mount.h
CAPABILITIES = 1 << 12 | 1 << 13 | 1 << 21  # linux/capability.h: NET_ADMIN, NET_RAW, SYS_ADMIN

# Where iproute2 and pyroute2 keep named namespaces; /var/run is a link to /run nearly everywhere.
RUN = "/var/run"
NETNS = f"{RUN}/netns"

_libc = ctypes.CDLL(None, use_errno=True)


def needed() -> bool:
    """True if this process lacks the capabilities to make namespaces and links, as every ordinary user's does.

    Root in a container may lack them too.
    """
    status = Path("/proc/self/status").read_text()
    effective = int(status.partition("CapEff:")[2].split()[0], 16)
    return effective & CAPABILITIES != CAPABILITIES


def enter() -> bool:
    """Put this process into user, network and mount namespaces of its own, unless it needs none.

    Inside it is root over its own network: it may make namespaces and links and open raw sockets. Its
    `lo` is up, and `/run/netns` is private and writable. There is no way back, and nothing to clean up:
    everything goes with the last process inside. Call it before numpy or numba are imported.

    Returns
    -------
    bool
        True if the process is in the sandbox now; False if nothing was done, as root needs none.

    Raises
    ------
    ScoutError
        If threads are running, or the kernel forbids it; the message names the setting to change.
    """
    if not needed():
        return False
    user, group = os.geteuid(), os.getegid()
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        raise ScoutError(
            f"sandbox: {threads} threads are running, and only a process of one thread may enter a user "
            "namespace; call scout.io.host.sandbox.enter() first, before numpy or numba are imported"
        )
    try:
        _check(_libc.unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS))
        # A process that may not drop groups may not map them either: the kernel wants "deny" first.
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {user} 1")
        Path("/proc/self/gid_map").write_text(f"0 {group} 1")
        _raise_loopback()
        _make_private_netns_directory()
    except OSError as error:
        raise ScoutError(f"sandbox: no user namespace ({error.strerror}); {_fix(error)}, or run as root") from error
    return True


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    _check(_libc.mount(*(part.encode() for part in (source, target, kind)), ctypes.c_ulong(flags), data.encode()))


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        bring_up(sock, "lo")


def _make_private_netns_directory() -> None:
    """Make /run/netns a directory of this sandbox, and leave everything else in /run as it was."""
    if os.path.isdir(NETNS):
        _mount("tmpfs", NETNS, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        return
    # Only root can make a directory in /run, so a tmpfs covers it. The contents of the old /run are bound into it again
    # through a descriptor of the old /run: programs live there on some systems (NixOS).
    before = os.open(RUN, os.O_PATH | os.O_DIRECTORY)
    try:
        old = f"/proc/self/fd/{before}"
        entries = os.listdir(old)
        _mount("tmpfs", RUN, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
        for entry in entries:
            _carry_over(f"{old}/{entry}", f"{RUN}/{entry}")
        os.mkdir(NETNS)
    finally:
        os.close(before)


def _carry_over(source: str, target: str) -> None:
    try:
        mode = os.lstat(source).st_mode
    except FileNotFoundError:
        return  # it was removed meanwhile, as sockets and locks in /run are
    if stat.S_ISLNK(mode):
        os.symlink(os.readlink(source), target)
        return
    if stat.S_ISDIR(mode):
        os.mkdir(target)
    else:
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    _mount(source, target, "", MS_BIND | MS_REC)


def _fix(error: OSError) -> str:
    """The setting to change so that the kernel allows it, as far as its settings tell."""
    if error.errno == errno.ENOSPC or _sysctl("user/max_user_namespaces") == "0":
        return "raise it with `sysctl user.max_user_namespaces=10000`"
    if _sysctl("kernel/unprivileged_userns_clone") == "0":
        return "allow it with `sysctl kernel.unprivileged_userns_clone=1`"
    if _sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "allow it with `sysctl kernel.apparmor_restrict_unprivileged_userns=0`"
    if error.errno == errno.EINVAL:
        return "use a kernel built with CONFIG_USER_NS"
    return "allow it in the container's seccomp or SELinux policy (docker: --security-opt seccomp=unconfined)"


def _sysctl(name: str) -> str | None:
    try:
        return Path("/proc/sys", name).read_text().strip()
    except OSError:
        return None
