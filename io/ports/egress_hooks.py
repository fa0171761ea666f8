"""The kernel's hooks for frames that leave an interface: filters of tc, BPF programs (tcx), and chains of nft."""

import ctypes
import errno
import os
import platform
import socket
import struct
from contextlib import ExitStack, closing

from scout.io.host.netlink import Netlink, attributes

__all__ = ["EgressHooks"]

# linux/rtnetlink.h, linux/pkt_sched.h: the filters for outgoing frames of a clsact qdisc, or of a block that it shares
_GET_FILTER, _EGRESS = 46, 0xFFFF_FFF3

# linux/bpf.h
_SYSCALLS = {"x86_64": 321, "aarch64": 280}  # the numbers of bpf(2)
_FIRST = (6, 6)  # the first version of the kernel that has tcx: an earlier one does not know the question
_QUERY, _TCX_EGRESS = 16, 47
_ATTRIBUTES, _COUNT = 64, 24  # bytes of the attributes that say what is asked and answered; offset of `prog_cnt`
_ROOM = 256  # bytes, also for a kernel that knows more attributes

# linux/netfilter/nfnetlink.h, linux/netfilter/nf_tables.h, linux/netfilter.h
_NETFILTER = 12  # NETLINK_NETFILTER
_GET_CHAIN, _NETDEV, _HOOK, _HOOK_NUMBER, _OUTGOING = 10 << 8 | 4, 5, 4, 1, 1

_libc = ctypes.CDLL(None, use_errno=True)


class EgressHooks:
    """Asks the kernel about an interface of the network namespace that the calling thread is in.

    Parameters
    ----------
    number : int
        The kernel's index of the interface.

    Raises
    ------
    OSError
        If the kernel cannot be asked.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._namespace = _namespace()
        with ExitStack() as stack:
            self._route = stack.enter_context(closing(Netlink(socket.NETLINK_ROUTE)))
            self._netfilter: Netlink | None = None
            try:
                self._netfilter = stack.enter_context(closing(Netlink(_NETFILTER)))
            except OSError as error:
                if error.errno != errno.EPROTONOSUPPORT:  # else this kernel has no nft
                    raise
            self._opened = stack.pop_all()

    def found(self) -> str:
        """The kind of hook that may see, change or drop the frames that leave the interface; empty if there is none.

        Raises
        ------
        OSError, ValueError, struct.error
            If the kernel does not tell, or its answer is not understood. Only root of the whole machine may ask for
            BPF programs: not root of a user namespace.
        """
        if self._filters():
            return "a filter of tc"
        if self._programs():
            return "a BPF program"
        return "a chain of nft" if self._chains() else ""

    def _filters(self) -> bool:
        about = struct.pack("=BxxxiIII", socket.AF_UNSPEC, self._number, 0, _EGRESS, 0)  # struct tcmsg
        try:
            return bool(self._route.ask(_GET_FILTER, about, dump=True))
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:  # a kernel without such filters
                return False
            raise

    def _programs(self) -> bool:
        call = _SYSCALLS.get(platform.machine())
        if call is None or _namespace() != self._namespace:  # bpf(2) is about the namespace of the calling thread
            raise ValueError("cannot ask for BPF programs from here")
        query = ctypes.create_string_buffer(struct.pack("=II", self._number, _TCX_EGRESS), _ROOM)
        if _libc.syscall(call, _QUERY, query, _ATTRIBUTES):
            error = ctypes.get_errno()
            # Nothing was attached; a kernel without BPF; or one without tcx.
            if error in (errno.ENOENT, errno.ENOSYS) or (error == errno.EINVAL and _version() < _FIRST):
                return False
            raise OSError(error, os.strerror(error))
        return bool(struct.unpack_from("=I", query, _COUNT)[0])

    def _chains(self) -> bool:
        """True if nft has a chain for frames that leave any interface: names of interfaces there may be patterns."""
        if self._netfilter is None:
            return False
        try:
            chains = self._netfilter.ask(_GET_CHAIN, struct.pack("=BBH", _NETDEV, 0, 0), dump=True)
        except OSError as error:
            if error.errno == errno.EINVAL:  # a kernel without nft
                return False
            raise
        for _, chain in chains:
            hook = attributes(attributes(chain[4:]).get(_HOOK, b""))
            if hook and struct.unpack(">I", hook[_HOOK_NUMBER])[0] == _OUTGOING:
                return True
        return False

    def close(self) -> None:
        """Close the sockets."""
        self._opened.close()


def _version() -> tuple[int, ...]:
    """The first two numbers of the kernel's version."""
    return tuple(int(each) for each in platform.release().split("-")[0].split(".")[:2])


def _namespace() -> tuple[int, int]:
    """Which network namespace the calling thread is in."""
    found = os.stat("/proc/thread-self/ns/net")
    return found.st_dev, found.st_ino
