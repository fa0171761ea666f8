"""Captures of what a host says, and tshark's opinion of it."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scout.io.host.namespace import Namespace

__all__ = ["WITHOUT", "captured", "complaints"]

WITHOUT = {"tx_tcp_segmentation": False, "tx_checksum_ip_generic": False, "tx_generic_segmentation": False}
"""Offloads of an interface that are switched off, so that each packet is seen as it would be on a wire."""


@contextmanager
def captured(namespace: Namespace, interface: str, file: Path, but: str = "port 0") -> Iterator[None]:
    """Have all packets of an interface in a file, except those that a filter selects."""
    with namespace.entered():
        dump = subprocess.Popen(
            ["tcpdump", "-i", interface, "-U", "-B", "65536", "-w", str(file), "not", *but.split()],
            stderr=subprocess.PIPE,
            text=True,
        )
    try:
        assert dump.stderr and "listening" in dump.stderr.readline()
        yield
    finally:
        dump.terminate()
        dump.wait()
        dump.stderr.close()  # type: ignore[union-attr]


def complaints(file: Path, has_checksums: bool = True, source: str = "") -> str:
    """The packets that tshark calls malformed, and its errors, wrong checksums among them; of a source, if given.

    It reads nothing above TCP: it would take the bytes of streams for all sorts of protocols.
    """
    checks = [f"-o{layer}.check_checksum:{has_checksums}" for layer in ("ip", "tcp")]
    shown = ["-Tfields", "-eframe.number", "-eip.src", "-e_ws.expert.message", "-e_ws.malformed"]
    errors = "(_ws.expert.severity >= 0x800000 || _ws.malformed)" + (f" && ip.src == {source}" if source else "")
    command = ["tshark", "-r", file, "-d", "tcp.port==1-65535,data", *checks, "-Y", errors, *shown]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
