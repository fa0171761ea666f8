"""What this machine allows Scout to do: what `scout doctor` shows. Every line is a probe, not a guess."""

import ctypes
import errno
import fcntl
import mmap
import multiprocessing
import os
import platform
import resource
import select
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from typing import Literal

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from scout.io.host import sandbox
from scout.io.host.lab import Lab, Namespace, uninterrupted
from scout.ring.errors import ScoutError
from scout.tools.report import write_json

__all__ = ["Check", "checks", "run"]

Status = Literal["ok", "missing", "optional"]

PROBE_SECONDS = 60.0  # importing numba from a cold disk takes the longest
MEBIBYTE = 1 << 20

NOBODY = 65534
PR_SET_DUMPABLE = 4  # linux/prctl.h

# linux/if_packet.h
SOL_PACKET, PACKET_RX_RING, PACKET_VERSION, PACKET_VNET_HDR = 263, 5, 10, 15
TPACKET_V3, ETH_P_ALL = 2, 0x0003
BLOCK_STATUS, BLOCK_FIRST = 8, 16  # offsets in struct tpacket_block_desc
TP_STATUS_USER = 1
FRAME_MAC = 24  # offset of tp_mac in struct tpacket3_hdr
VNET_HDR_BYTES, VNET_HDR_F_NEEDS_CSUM = 10, 1  # linux/virtio_net.h
RETIRE_MS, RETIRE_OK_MS = 1, 2.5

# linux/if_xdp.h
AF_XDP, SOL_XDP, XDP_COPY = 44, 283, 1 << 1
XDP_RX_RING, XDP_TX_RING, XDP_UMEM_REG, XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING = 2, 3, 4, 5, 6
CHUNK = 2048
UMEM_BYTES = 16 * MEBIBYTE

# linux/bpf.h and the system call's number
BPF_PROG_LOAD, BPF_PROG_TYPE_XDP, XDP_PASS = 5, 6, 2
NR_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "ppc64le": 361, "s390x": 351}

TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000  # linux/if_tun.h

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing Scout uses, and whether it is here."""

    name: str
    status: Status
    """`missing` is needed and lacks; `optional` lacks too, and only what `meaning` says does without."""
    found: str
    meaning: str
    mend: str
    """What to do about a lack; empty when there is none."""


@dataclass(frozen=True, slots=True)
class Probe:
    """A function that says what it found, or raises; and what to say when it raises."""

    name: str
    lack: Status
    meaning: str
    mend: str
    look: Callable[[], str]


class Shortfall(Exception):
    """It is here and works, but with less than it could; the text says what was found."""


def checks() -> list[Check]:
    """Probe this machine; each probe runs in a forked process, so that this one stays as it is."""
    return [_check(probe) for probe in _probes()]


def run(json_path: str | None = None) -> int:
    """Probe this machine and print what was found.

    Parameters
    ----------
    json_path : str, optional
        Where to write the report as JSON instead of lines on standard output: a file in addition, `-`
        instead of them.

    Returns
    -------
    int
        The exit status: 0 if nothing that Scout needs is missing, else 1.
    """
    console = Console()
    found = []
    # No spinner: its thread would run while the probes fork.
    with Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else nullcontext() as live:
        for probe in _probes():
            if live is not None:
                live.update(Text(f"probing: {probe.name}"), refresh=True)
            found.append(_check(probe))
    if json_path is not None:
        write_json(json_path, "doctor", {}, [asdict(check) for check in found])
    if json_path != "-":
        if console.is_terminal:
            console.print(_table(found))
        else:
            for check in found:
                line = f"{check.status:8} {check.name}: {check.found}. {check.meaning}. {check.mend}"
                print(line.rstrip(" ."))
    return int(any(check.status == "missing" for check in found))


def _table(found: list[Check]) -> Table:
    shown = Table("", "what", "found", box=box.SIMPLE_HEAD)
    for check in found:
        style = {"ok": "green", "missing": "bold red", "optional": "yellow"}[check.status]
        text = Text(check.found)
        if check.status != "ok":
            text.append(f"\n{check.meaning}. To mend: {check.mend}", style="dim")
        shown.add_row(Text(check.status, style=style), Text(check.name), text)
    return shown


def _check(probe: Probe) -> Check:
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_look, args=(probe, theirs))
    with uninterrupted():  # the child keeps it so: it ends by itself, and removes its namespaces first
        process.start()
    theirs.close()  # so that a probe that dies ends the pipe
    status, found, mend = probe.lack, f"no answer in {PROBE_SECONDS:g} s", probe.mend
    try:
        if ours.poll(PROBE_SECONDS):
            status, found, mend = ours.recv()
        else:
            process.kill()
    except EOFError:
        process.join()
        found = f"the probe died with status {process.exitcode}"
    finally:
        process.join(1)
        process.kill()
        process.join()
        ours.close()
    return Check(probe.name, status, found, probe.meaning, mend)


def _look(probe: Probe, report: Connection) -> None:
    """Run in a forked process."""
    try:
        report.send(("ok", probe.look(), ""))
    except Shortfall as shortfall:
        report.send(("optional", str(shortfall), probe.mend))
    except ScoutError as error:
        found, _, mend = str(error).partition("; ")  # such an error says itself what to do
        report.send((probe.lack, found, mend or probe.mend))
    except OSError as error:
        report.send((probe.lack, error.strerror or str(error), probe.mend))
    except Exception as error:  # whatever it is, it is the finding
        report.send((probe.lack, f"{type(error).__name__}: {error}", probe.mend))


@contextmanager
def _link() -> Iterator[Namespace]:
    """Enter a namespace with a veth pair from `a` to `b`."""
    sandbox.enter()
    with Lab("doctor") as lab:
        here = lab.namespace("here")
        lab.veth((here, "a"), (here, "b"))
        with here.entered():
            yield here


def _user_namespaces() -> str:
    with suppress(OSError):  # there may be no other user to become: not root, or in a sandbox already
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)
        # A change of user closes /proc/self to the process itself; this opens it again.
        _libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    return "an ordinary user may enter one" if sandbox.enter() else "this process is in one"


def _veth() -> str:
    start = time.perf_counter()
    with _link():
        seconds = time.perf_counter() - start
    return f"a namespace with a veth pair made in {seconds * 1000:.0f} ms"


def _packet_socket(interface: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    sock.bind((interface, ETH_P_ALL))
    sock.settimeout(1)
    return sock


FRAME = b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + bytes(46)  # a broadcast of an experimental type


def _af_packet() -> str:
    with _link(), _packet_socket("a") as sender, _packet_socket("b") as receiver:
        sender.send(FRAME)
        if receiver.recv(100) != FRAME:
            raise OSError("another frame came than was sent")
    return "a frame came through"


class _Ring:
    """A TPACKET_V3 receive ring of one block."""

    def __init__(self, interface: str) -> None:
        self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.sock.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        self.sock.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
        geometry = struct.pack("7I", MEBIBYTE, 1, CHUNK, MEBIBYTE // CHUNK, RETIRE_MS, 0, 0)
        self.sock.setsockopt(SOL_PACKET, PACKET_RX_RING, geometry)
        self.memory = mmap.mmap(self.sock.fileno(), MEBIBYTE)
        self.sock.bind((interface, ETH_P_ALL))

    def first_frame(self) -> int:
        """Wait for the block and give the offset of its first frame's header."""
        if not select.select([self.sock], [], [], 1)[0]:
            raise TimeoutError("no frame came within a second")
        status, _, first = struct.unpack_from("3I", self.memory, BLOCK_STATUS)
        if not status & TP_STATUS_USER:
            raise OSError("the kernel announced a block and did not hand it over")
        return int(first)

    def give_back(self) -> None:
        struct.pack_into("I", self.memory, BLOCK_STATUS, 0)


def _packet_ring() -> str:
    with _link() as here, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        here.address("a", "10.0.0.1/24")
        here.neighbour("a", "10.0.0.2", "02:00:00:00:00:02")
        ring = _Ring("b")
        sender.sendto(b"hello", ("10.0.0.2", 9))
        header = ring.first_frame()
        (mac,) = struct.unpack_from("H", ring.memory, header + FRAME_MAC)
        flags = ring.memory[header + mac - VNET_HDR_BYTES]
    if not flags & VNET_HDR_F_NEEDS_CSUM:
        raise OSError("it does not say that a checksum is left to do")
    return "a UDP packet came with its offload header"


def _ring_latency() -> str:
    waits = []
    with _link(), _packet_socket("a") as sender:
        ring = _Ring("b")
        for _ in range(9):
            sent = time.perf_counter()
            sender.send(FRAME)
            ring.first_frame()
            waits.append((time.perf_counter() - sent) * 1000)
            ring.give_back()
    wait = statistics.median(waits)
    found = f"a lone packet waits {wait:.1f} ms for a time-out of {RETIRE_MS} ms"
    if wait > RETIRE_OK_MS:
        raise Shortfall(found)
    return found


def _veth_offloads() -> str:
    with _link() as here:
        here.offload("a", tx_udp_segmentation=False)
        here.offload("a", tx_udp_segmentation=True)
    return "UDP segmentation can be switched off and on"


def _tap() -> str:
    with _link(), open("/dev/net/tun", "r+b", buffering=0) as tun:
        fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", b"tap0", IFF_TAP | IFF_NO_PI))
    return "made and removed"


def _xdp_socket(size: int) -> tuple[socket.socket, mmap.mmap]:
    sock = socket.socket(AF_XDP, socket.SOCK_RAW, 0)
    frames = mmap.mmap(-1, size)
    address = ctypes.addressof(ctypes.c_char.from_buffer(frames))
    sock.setsockopt(SOL_XDP, XDP_UMEM_REG, struct.pack("QQIIII", address, size, CHUNK, 0, 0, 0))
    return sock, frames


def _af_xdp() -> str:
    with _link():
        sock, frames = _xdp_socket(16 * CHUNK)
        for ring in (XDP_UMEM_FILL_RING, XDP_UMEM_COMPLETION_RING, XDP_RX_RING, XDP_TX_RING):
            sock.setsockopt(SOL_XDP, ring, struct.pack("I", 16))
        address = struct.pack("HHIII", AF_XDP, XDP_COPY, socket.if_nametoindex("b"), 0, 0)
        if _libc.bind(sock.fileno(), address, len(address)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        sock.close()
        del frames
    return "a socket bound to a veth in copy mode"


def _locked_memory() -> str:
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    try:
        with _link():
            _xdp_socket(UMEM_BYTES)
    except OSError as error:
        limit = f"{UMEM_BYTES // MEBIBYTE} MiB refused, the limit is {soft / MEBIBYTE:.3g} MiB"
        raise OSError(limit if error.errno == errno.ENOBUFS else error.strerror) from error
    return f"{UMEM_BYTES // MEBIBYTE} MiB registered with an AF_XDP socket"


def _bpf() -> str:
    number = NR_BPF.get(platform.machine())
    if number is None:
        raise OSError(f"the number of its system call on {platform.machine()} is not known here")
    program = struct.pack("<BBhi", 0xB7, 0, 0, XDP_PASS) + struct.pack("<BBhi", 0x95, 0, 0, 0)  # r0 = PASS; exit
    code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"MIT")
    attributes = struct.pack(
        "IIQQIIQII",
        *(BPF_PROG_TYPE_XDP, len(program) // 8, ctypes.addressof(code), ctypes.addressof(licence)),
        *(0, 0, 0, 0, 0),  # no log, any kernel, no flags
    )
    if _libc.syscall(number, BPF_PROG_LOAD, attributes, len(attributes)) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return "an XDP program was loaded"


def _cores() -> str:
    mine, all_of_them = len(os.sched_getaffinity(0)), os.cpu_count()
    found = f"{mine} of {all_of_them}"
    if mine < 2:
        raise Shortfall(found)
    return found


def _numba() -> str:
    start = time.perf_counter()
    import llvmlite.binding as llvm
    import numba

    if numba.njit("int64(int64)")(lambda value: value + 1)(41) != 42:
        raise OSError("a compiled function gave a wrong result")
    seconds = time.perf_counter() - start
    target = f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()}"
    return f"numba {numba.__version__}, {target}; import and first function in {seconds:.1f} s"


def _bpf_target() -> str:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    return f"LLVM {'.'.join(map(str, llvm.llvm_version_info))} has {llvm.Target.from_triple('bpf').name}"


def _compiler() -> str:
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise OSError("no cc, gcc or clang")
    with tempfile.TemporaryDirectory() as folder:
        command = [compiler, "-x", "c", "-", "-shared", "-fPIC", "-o", f"{folder}/probe.so"]
        compiled = subprocess.run(command, input="#include <stdio.h>\nint zero;", capture_output=True, text=True)
        if compiled.returncode != 0:
            raise OSError(f"{compiler} failed: {compiled.stderr.strip().splitlines()[-1]}")
    return compiler


def _program(name: str) -> Probe:
    def look() -> str:
        path = shutil.which(name)
        if path is None:
            raise OSError("not found")
        return path

    return Probe(name, "optional", "Some tests use it as a peer", f"install the package {name}", look)


def _probes() -> list[Probe]:
    """In the order of a reader: what everything rests on first, what only the tests use last."""
    root = "run as root, or see user namespaces"
    user_lack: Status = "missing" if sandbox.needed() else "optional"
    return [
        Probe(
            "user namespaces",
            user_lack,
            "Without root, Scout works in one",
            "allow them (sysctl user.max_user_namespaces, the container's policy), or run as root",
            _user_namespaces,
        ),
        Probe("namespaces and veth", "missing", "Labs and the demo are made of them", root, _veth),
        Probe("AF_PACKET", "missing", "How Scout receives and sends everywhere", root, _af_packet),
        Probe(
            "packet ring",
            "missing",
            "The kernel's ring is Scout's channel",
            "use Linux 4.6 or later",
            _packet_ring,
        ),
        Probe(
            "ring latency",
            "optional",
            "Up to Linux 6.17 the ring's time-out is counted in ticks of up to 10 ms",
            "use Linux 6.18 or later, or live with the latency at low rates",
            _ring_latency,
        ),
        Probe("veth offloads", "optional", "Benchmarks make packets with UDP segmentation", root, _veth_offloads),
        Probe("TAP", "optional", "TAP ports need it", "as root: `modprobe tun; chmod 666 /dev/net/tun`", _tap),
        Probe("AF_XDP", "optional", "AF_XDP ports need it", "use a kernel with CONFIG_XDP_SOCKETS", _af_xdp),
        Probe(
            "locked memory",
            "optional",
            "AF_XDP ports keep their frames in it",
            "raise it with `ulimit -l`, in /etc/security/limits.conf, or run as root",
            _locked_memory,
        ),
        Probe(
            "bpf()",
            "optional",
            "To receive by AF_XDP, and to run stages in the kernel",
            "run as root: user namespaces do not allow it",
            _bpf,
        ),
        Probe(
            "cores",
            "optional",
            "With one, domains take turns",
            "allow this process more (taskset, cgroup)",
            _cores,
        ),
        Probe("numba", "missing", "Compiles the paths", "install Scout again with pip", _numba),
        Probe("BPF target", "optional", "To run stages in the kernel", "use llvmlite's own wheel", _bpf_target),
        Probe("C compiler", "optional", "Benchmarks compare with C", "install gcc", _compiler),
        *map(_program, ("ping", "curl", "iperf3", "tcpdump")),
    ]
