"""Rows of a table in versions: a change makes the next version beside the one in use."""

from collections import deque
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import numpy as np

from scout.paths.model.change import Amendment
from scout.paths.model.router import GraphError
from scout.paths.model.setting import Setting
from scout.paths.model.table import Table
from scout.ring.segment import shared

__all__ = ["Versions"]

_MOST = 64  # versions alive at a time

Content = TypeVar("Content")


class Versions(Generic[Content]):
    """The versions of some rows that stages read.

    `write(rows, content)`, which writes a version's content to its rows, is given to each call that needs it. It is a
    method of the object that has the versions: a reference to it would be a cycle, and the memory of the tables would
    not go with their router.

    Parameters
    ----------
    name : str
        The name of the rows in errors, as "ip: MTUs".
    rows : int
        Rows of each version.
    dtype : dtype-like
        Of a row.
    content : object
        The first version's.
    write : callable
        Writes the first version.

    Attributes
    ----------
    table : Table
        The rows of all versions, constant.
    first : Setting
        Index of the first row of the version that packets are led by.
    """

    def __init__(
        self, name: str, rows: int, dtype: Any, content: Content, write: Callable[[np.ndarray, Content], None]
    ) -> None:
        self._name, self._rows = name, rows
        # In shared memory: versions are written while replicas run.
        self.table = Table(shared(_MOST * rows, dtype), "constant")
        self.first = Setting(0)
        self._contents = {0: content}  # of the versions that are alive, by their first rows
        self._free = deque(range(rows, _MOST * rows, rows))
        self.rewrite(write)

    @property
    def current(self) -> Content:
        """The content of the newest version."""
        return self._contents[self.first.value]

    def rewrite(self, write: Callable[[np.ndarray, Content], None]) -> None:
        """Write all versions again, as `write` writes them differently now."""
        for first, content in list(self._contents.items()):  # a change may come meanwhile
            write(self._of(first), content)

    def _of(self, first: int) -> np.ndarray:
        return self.table.initial[first : first + self._rows]

    def prepare(self, content: Content, write: Callable[[np.ndarray, Content], None]) -> Amendment:
        """Make a version with this content, and prepare to have packets led by it.

        Raises
        ------
        GraphError
            If too many versions are alive.
        """
        if not self._free:
            raise GraphError(f"{self._name}: {_MOST} versions are in use; try again when packets have passed")
        before, first = self.first.value, self._free.popleft()
        self._contents[first] = content
        write(self._of(first), content)

        def free(version: int) -> None:
            del self._contents[version]
            self._free.append(version)

        return Amendment({self.first: first}, undo=lambda: free(first), release=lambda: free(before))
