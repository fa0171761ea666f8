"""Files and sockets of the user's own are theirs alone: no process of a run has copies of them."""

import os
import socket

import psutil
import pytest
from folding import check_states, folding, send, source
from port_router import kill

from scout.supervisor import Supervisor
from scout.testing import await_until


@pytest.fixture
def pair():
    """Two connected sockets."""
    made = socket.socketpair()
    made[0].settimeout(600)
    yield made
    for each in made:
        each.close()


def inodes(process):
    """The sockets that a process has open; of one that has ended none."""
    found = set()
    folder = f"/proc/{process}/fd"
    try:
        for name in os.listdir(folder):
            try:
                found.add(os.readlink(f"{folder}/{name}"))
            except FileNotFoundError:
                continue  # closed meanwhile
    except FileNotFoundError:
        pass
    return {link for link in found if link.startswith("socket:")}


def test_a_socket_that_the_user_closes_is_closed(pair):
    ours, theirs = pair
    port = source(frames=[bytes(60)] * 5_000)  # so that there is a process that brings them
    graph, path = folding(port)
    with Supervisor(graph, [path], 2) as supervisor:
        link = os.readlink(f"/proc/self/fd/{theirs.fileno()}")
        assert all(link not in inodes(child.pid) for child in psutil.Process().children(recursive=True))
        theirs.close()
        assert ours.recv(1) == b""
        assert supervisor.wait(600)


def test_successors_have_no_copy_of_it_either(pair):
    port = source()
    graph, path = folding(port)
    ours, theirs = pair
    with Supervisor(graph, [path], 2, report=[].append) as supervisor:
        for turn in range(3):  # the second successor is of a spare process that was forked after the sockets were made
            before = supervisor.processes[0]
            send(port, range(turn * 100, turn * 100 + 100))
            kill(supervisor, 0)
            await_until(lambda before=before: supervisor.processes[0] is not before)
        theirs.close()
        assert ours.recv(1) == b""
        port.end()
        assert supervisor.wait(600)
        check_states(supervisor, range(300))
