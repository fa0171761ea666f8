"""Lesson 4: the channel alone, between ordinary Python processes.

    python examples/04_channel.py

One process sends; each of the others receives everything, in the same order. For every request one of the receivers is
the primary; a receiver with more free time is primary of more requests. Make the channel, fork, send:

    channel = Channel(entries=1024, entry_bytes=16, replicas=2)
    for request, primary in channel.replica(0): ...    in one process; replica 1 in another
    channel.send(b"hello")                             in a third
"""

from multiprocessing import get_context

import numpy as np

from scout import Channel

REQUESTS = 100_000
PRICE = np.dtype([("item", "i8"), ("cents", "i8")])

fork = get_context("fork")  # the channel is memory that forked processes share


def count(channel, number, results):
    """Receive bytes, one request at a time."""
    received = primary_of = 0
    for request, primary in channel.replica(number):
        received += int(request)  # what every process does
        primary_of += primary  # what one of them does: here, it counts
    results.put(f"replica {number}: sum {received}, primary of {primary_of}")


def add_up(channel, number, results):
    """Receive numpy records, a batch at a time: faster."""
    cents = primary_of = 0
    for prices, primary in channel.replica(number).records(PRICE):
        cents += int(prices["cents"].sum())
        primary_of += len(prices) * primary
    results.put(f"replica {number}: {cents} cents, primary of {primary_of}")


def send_bytes(channel):
    """Send one request at a time."""
    for number in range(REQUESTS):
        if not channel.send(b"%d" % number, timeout=60):
            raise SystemExit("the channel was full for a minute: nobody receives")


def send_prices(channel):
    """Send an array of records."""
    prices = np.zeros(REQUESTS, PRICE)
    prices["item"], prices["cents"] = np.arange(REQUESTS), 5
    channel.send_records(prices, timeout=60)


def broadcast(listen, send):
    """Start two processes that listen to a channel, send, and wait for their end."""
    channel, results = Channel(entries=1024, entry_bytes=PRICE.itemsize, replicas=2), fork.SimpleQueue()
    processes = [fork.Process(target=listen, args=(channel, number, results)) for number in (0, 1)]
    for process in processes:
        process.start()
    send(channel)
    channel.close()  # the receivers still receive the requests sent before; then their loops end
    for _ in processes:
        print(results.get())
    for process in processes:
        process.join()


if __name__ == "__main__":
    broadcast(count, send_bytes)
    broadcast(add_up, send_prices)
