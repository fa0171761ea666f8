"""Tee: writes a copy of each packet to a pcap file, which Wireshark and Scapy read.

Usage: Tee(name, file, service)
Requires and provides: one service, of the type that is given.
Drops: nothing.

Each packet is one `writev` to a descriptor opened for appending: the kernel puts every record behind the
last one whole, so all replicas write to one file. It costs a system call a packet.
"""

import os
import struct
import weakref
from pathlib import Path
from typing import Any

import numpy as np
from numba import types

from scout.io.access import lowering
from scout.io.pcap import RECORD_HEADER, file_header
from scout.paths.ethernet import ETHERTYPE, HEADER, IPV4
from scout.paths.filter import Filter
from scout.paths.graph import GraphError, RouterGraph
from scout.paths.stage import Table
