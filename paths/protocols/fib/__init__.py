"""The forwarding information base (FIB): which next hop a destination address has.

`layout` has the format and the lookup, `update` makes versions, `arena` has their memory, `routes` the table of routes
behind them, `prefixes` what users write, and `fib` the whole as an object.
"""

from scout.paths.protocols.fib.fib import Fib
from scout.paths.protocols.fib.layout import LAST_NEXT_HOP, NO_ROUTE, lookup, next_hop_at, place_of
from scout.paths.protocols.fib.routes import ROUTE

__all__ = ["LAST_NEXT_HOP", "NO_ROUTE", "ROUTE", "Fib", "lookup", "next_hop_at", "place_of"]
