"""Probes of the computer and its programs: cores, numba, a C compiler, peers for tests."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable

from scout.tools.probes.probe import Shortfall

__all__ = ["compiler", "cores", "numba", "program"]


def cores() -> str:
    mine, all_of_them = len(os.sched_getaffinity(0)), os.cpu_count()
    found = f"{mine} of {all_of_them}"
    if mine < 2:
        raise Shortfall(found)
    return found


def numba() -> str:
    start = time.perf_counter()
    import llvmlite.binding as llvm
    from numba import __version__, njit

    if njit("int64(int64)")(lambda value: value + 1)(41) != 42:
        raise OSError("a compiled function gave a wrong result")
    seconds = time.perf_counter() - start
    target = f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()}"
    return f"numba {__version__}, {target}; import and first function in {seconds:.1f} s"


def compiler() -> str:
    found = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if found is None:
        raise OSError("no cc, gcc or clang")
    with tempfile.TemporaryDirectory() as folder:
        command = [found, "-x", "c", "-", "-shared", "-fPIC", "-o", f"{folder}/probe.so"]
        compiled = subprocess.run(command, input="#include <stdio.h>\nint zero;", capture_output=True, text=True)
        if compiled.returncode != 0:
            raise OSError(f"{found} failed: {compiled.stderr.strip().splitlines()[-1]}")
    return found


def program(name: str) -> Callable[[], str]:
    """A probe for a program in the PATH."""

    def look() -> str:
        path = shutil.which(name)
        if path is None:
            raise OSError("not found")
        return path

    return look
