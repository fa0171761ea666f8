"""The leaves that stand for next hops in a FIB: codes of one byte, and wide leaves where no code was free."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from scout.paths.protocols.fib.layout import CODES, ESCAPE, NO_ROUTE, WIDE

__all__ = ["Codes"]


class Codes:
    """The codes of next hops.

    A code stands for one next hop as long as a route has it, in the newest version. Then another next hop may get it:
    older versions have the next hops of their codes with them.

    Attributes
    ----------
    next_hops : int32[CODES]
        By code. That of code 0 is the default route's, -1 if there is none.
    """

    def __init__(self) -> None:
        self.next_hops = np.full(CODES, NO_ROUTE, np.int32)
        self._codes: dict[int, int] = {}  # by next hop
        self._uses: Counter[int] = Counter()  # routes, by code
        self._free = list(range(ESCAPE - 1, 0, -1))

    def leaves(self, next_hops: NDArray[np.int64]) -> NDArray[np.int64]:
        """The leaves of next hops, each with a code if there is one; -1 of -1, which is none."""
        found = next_hops.tolist()
        leaves = {each: self._leaf(each) for each in set(found)}
        return np.array([leaves[each] for each in found], np.int64)

    def _leaf(self, next_hop: int) -> int:
        if next_hop < 0:
            return next_hop
        if next_hop not in self._codes:
            if not self._free:
                return next_hop + WIDE
            code = self._codes[next_hop] = self._free.pop()
            self.next_hops[code] = next_hop
        return self._codes[next_hop]

    def of_leaves(self, leaves: NDArray[np.int64]) -> NDArray[np.int64]:
        """The next hops of leaves."""
        return np.where(leaves < WIDE, self.next_hops[np.where(leaves < WIDE, leaves, 0)], leaves - WIDE)

    def count(self, after: NDArray[np.int64], before: NDArray[np.int64]) -> None:
        """Note that routes have other leaves than before, or none, -1; make codes free that no route has."""
        given, taken = (Counter(leaves[(leaves > 0) & (leaves < WIDE)].tolist()) for leaves in (after, before))
        self._uses.update(given)
        self._uses.subtract(taken)
        for code in given | taken:
            if self._uses[code] == 0:
                del self._uses[code], self._codes[int(self.next_hops[code])]
                self._free.append(code)
