"""The baselines that benchmarks compare with, in C and in plain Python."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from scout.ring.cache import cache_folder
from scout.ring.errors import ScoutError

__all__ = ["compile_c"]

_FLAGS = ("-O3", "-march=native", "-Wall", "-Wextra")


def compile_c(source: str, *flags: str) -> Path | None:
    """Compile a C file of this folder, or take it from the cache; None if there is no compiler.

    Parameters
    ----------
    source : str
        The file's name, as "forward.c".
    *flags : str
        More options for the compiler, as "-shared".
    """
    compiler = next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)
    if compiler is None:
        return None
    file = Path(__file__).parent / source
    version = subprocess.run([compiler, "--version"], capture_output=True, check=True).stdout
    sources = b"".join(each.read_bytes() for each in (file, *sorted(file.parent.glob("*.h"))))
    digest = hashlib.sha256(sources + " ".join(flags).encode() + version).hexdigest()[:16]
    target = cache_folder() / f"{file.stem}-{digest}"
    if not target.exists():
        aside = target.with_suffix(f".{os.getpid()}")
        command = [compiler, *_FLAGS, *flags, str(file), "-o", str(aside)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise ScoutError(
                f"{file}: does not compile: {result.stderr.splitlines()[0]}; repair or remove the compiler"
            )
        aside.replace(target)
    return target
