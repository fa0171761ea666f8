"""Lesson 3: a service with a state, on every core, that survives the death of a replica.

    scout draw examples/03_service.py -o service.svg  look at its graph
    python examples/03_service.py                     run it, kill a replica, look at the states

The first run compiles for some 20 seconds; from then on it takes two.

A shop. Each request is one byte: the product that somebody buys. There is no network here: requests come from
this program, by a port in memory. Every replica has the whole state, and changes it in the same way at every
request. For each request one of the replicas is the primary: it alone has the effects.
"""

import os
import signal

import numpy as np

from scout import (
    End,
    Event,
    Handler,
    MemoryPort,
    Requests,
    RouterGraph,
    Service,
    Table,
    after,
    load8,
    raise_event,
    store_to,
)

PRODUCTS, FULL, FEW, SALES = 16, 1000, 100, 200_000
DELIVERY_TIME = 1_000_000  # nanoseconds

LOW = Event("low")  # few pieces are left
DELIVERY = Event("delivery")  # new ones have come


# Run by every replica: they keep the state, and have no effect outside it. The only clock is packet.timestamp.
def sell(frame, end, packet, shelf, book, events, timers):
    """Sell a piece; if few are left, raise an event now, and another when the delivery will be there."""
    product = load8(frame, 0) % PRODUCTS
    shelf[product].pieces -= 1
    book[0].sales += 1
    if shelf[product].pieces == FEW:
        raise_event(events, LOW, product)
        after(timers, packet, DELIVERY_TIME, DELIVERY, product)
    return 0


def unpack(frame, end, argument, shelf):
    """Put a delivery on the shelf: a timer has fired, at the same request in every replica."""
    shelf[argument].pieces += FULL
    return 0


# Run by the primary alone: effects. They read the state, but do not change it.
def print_receipt(frame, end, book, receipts):
    """Print the receipt. It has the sale's number: printed a second time, after a death, it is the same receipt."""
    store_to(receipts, book[0].sales - 1, "printed", 1)
    return 0


def order(frame, end, argument, orders):
    """Order a product. Nothing tells one order from another: after a death one may be made twice."""
    orders[argument] += 1
    return 0


state = {
    "shelf": np.full(PRODUCTS, FULL, dtype=[("pieces", "i8")]),
    "book": np.zeros(1, dtype=[("sales", "i8")]),
}
receipts = Table(np.zeros(SALES, [("printed", "i8")]), "shared")  # the world outside
orders = Table(np.zeros(PRODUCTS, np.int64), "private")
handlers = [
    Handler(sell),
    Handler(print_receipt, run="primary"),
    Handler(order, LOW, run="primary"),
    Handler(unpack, DELIVERY),
]
service = Service("shop", state, handlers, connects="request", receipts=receipts, orders=orders)

port = MemoryPort("02:00:00:00:00:01")
graph = RouterGraph("shop")
graph.add(Requests("requests", port))
graph.add(service)
graph.add(End("done", "request"))
graph.connect("done", "shop", "requests")
path = graph.create_path("requests")


if __name__ == "__main__":
    from scout import Supervisor

    with Supervisor(graph, [path], replicas=2) as supervisor:
        for number in range(SALES):
            port.send(bytes([number % PRODUCTS]), timeout=10)
            if number == SALES // 2:  # a successor takes the dead one's place
                os.kill(supervisor.processes[0].pid, signal.SIGKILL)
        port.end()
        supervisor.wait()

    for figures in supervisor.replica_figures():
        print(f"replica {figures['id']}: primary of {figures['primary']} requests, replayed {figures['replayed']}")
    shelves = [supervisor.table(service.tables["shelf"], replica).tolist() for replica in (0, 1)]
    print(f"sales: {supervisor.table(service.tables['book'], 0)[0]['sales']} of {SALES}")
    print(f"receipts: {supervisor.table(receipts, 0)['printed'].sum()} of {SALES}")
    print(f"states equal: {shelves[0] == shelves[1]}; on the way: {not supervisor.diverged()}")
