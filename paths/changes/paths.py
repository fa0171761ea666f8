"""Changes of the paths that a supervisor was given: what `reload` makes of a router file whose paths differ.

Example
    supervisor.reload(paths)
"""

from dataclasses import dataclass

from scout.paths.model.change import Change
from scout.paths.model.path import Path

__all__ = ["CreatePath", "DeletePath"]


@dataclass(frozen=True)
class CreatePath(Change):
    """Create a path; `Supervisor.create_path` does it too.

    Parameters
    ----------
    path : Path
        Of the router graph that runs.
    """

    path: Path

    @property
    def text(self) -> str:
        return f"CreatePath {self.path.name}"


@dataclass(frozen=True)
class DeletePath(Change):
    """Delete a path; `Supervisor.delete_path` does it too.

    Parameters
    ----------
    path : Path
        One that runs.
    """

    path: Path

    @property
    def text(self) -> str:
        return f"DeletePath {self.path.name}"
