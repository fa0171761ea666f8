"""Changes of paths: they come and go at one packet, also together with other changes.

Example
    supervisor.change(AddRoute("10.9.0.0/16", via="10.0.1.2"), CreatePath(path), DeletePath(other))
"""

from dataclasses import dataclass

from scout.paths.model.change import Change
from scout.paths.model.path import Path

__all__ = ["CreatePath", "DeletePath"]


@dataclass(frozen=True)
class CreatePath(Change):
    """Create a path, as `Supervisor.create_path` does, which also waits for the room of paths that were deleted.

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
