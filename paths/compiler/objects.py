"""Object files of paths and of stages, for routers that run; they are kept in the cache.

A builder process writes them and the supervisor loads them (`scout.ring.code_memory`). A unit says what its file
depends on without compiling anything, so that a file that is there already is found at once.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from scout.io.access import BOUNDS
from scout.paths.compiler.diagnosis import blame
from scout.paths.compiler.generated import digest_of, executed, file_of
from scout.paths.compiler.native import check_globals
from scout.paths.compiler.plan import Plan
from scout.paths.compiler.source import LIVE_ROWS, Source, path_source, stage_source
from scout.paths.model.stage import Stage
from scout.ring.cache import cache_folder, write
from scout.ring.errors import ScoutError
from scout.ring.jit import CHECKED
from scout.ring.object_code import object_code
from scout.ring.segment import address

__all__ = ["Unit", "fused_unit", "stage_unit"]


@dataclass(frozen=True)
class Unit:
    """A function that is compiled to an object file.

    Attributes
    ----------
    of : Source
    digest : str
        Whatever the code depends on, as a digest: the file is named by it.
    """

    of: Source
    digest: str

    @property
    def source(self) -> FilePath:
        """The generated source, which is there once it was compiled."""
        return file_of("paths", self.of.name, self.digest)

    def found(self) -> bytes | None:
        """The file, if it is there."""
        with suppress(FileNotFoundError):
            return self._file.read_bytes()
        return None

    def build(self) -> None:
        """Compile, and write the file.

        Raises
        ------
        CompileError
            If a stage does not compile; names it, its file and line.
        """
        check_globals(self.of.stages)
        try:
            module = executed(self.of.name, self.digest, self.of.text, self.of.names() | {"entry": _unchanged})
            write(self._file, object_code(getattr(module, self.of.function), self.of.signature))
        except (ScoutError, OSError):
            raise
        except Exception as error:  # numba raises exceptions of many classes, also TypeError and KeyError
            raise blame(self.of.stages, self.of.name, error) from error

    @property
    def _file(self) -> FilePath:
        return cache_folder() / "objects" / f"{self.digest}.o"


def _unchanged(function: Callable[..., Any]) -> Callable[..., Any]:
    return function


def _unit(source: Source) -> Unit:
    place = f" {address(BOUNDS)}" if CHECKED else ""  # which the code refers to
    return Unit(source, digest_of(source.text, source.marks, place, repr(source.signature)))


def fused_unit(plan: Plan) -> Unit:
    """The fused code of a path that comes while packets flow."""
    return _unit(path_source(plan, LIVE_ROWS))


def stage_unit(node: str, stage: Stage) -> Unit:
    """A stage by itself, for the linked tier; `node` is for messages."""
    return _unit(stage_source(node, stage))
