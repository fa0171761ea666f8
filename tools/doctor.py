"""What this machine allows Scout to do: what `scout doctor` shows. Every line is a probe, not a guess."""

import ctypes
import fcntl
import mmap
import multiprocessing
import os
import platform
import select
import shutil
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal

from rich import box
from rich.console import Console
from rich.table import Table

from scout.io import sandbox
from scout.io.lab import Lab, Namespace
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
    """A function that says what it found, or raises; and what its failure would mean."""

    name: str
    lack: Status
    meaning: str
    mend: str
    look: Callable[[], str]


class Lacking(Exception):
    """It works, but less well than it can; the text says what was found."""
