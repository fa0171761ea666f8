"""The names that `scout` offers: this list, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

import scout

NAMES = """
ARRIVAL              the event of a packet's arrival at a service
AddAddress           a change: the router gets one more address
AddPort              a change: a port gets an interface
AddRoute             a change: a prefix gets a route
AfPacketPort         a Linux interface as a port
ApplicationPort      sockets of other processes as a port
Applications         the sockets of applications
Arp                  neighbours by ARP
Attributes           what is known of a path's packets, and what is wished for it
Change               a change of a running router, to be subclassed
Channel              the replicated channel by itself
ConnectionTracking   a firewall that follows TCP connections
ControlSocket        a running router seen and steered by other processes
Counter              packets and bytes, counted in one place
CreatePath           a change: a path gets its packets
DdosMitigator        sources above a rate are dropped
DeleteAddress        a change: the router loses an address
DeleteNeighbour      a change: ARP asks for a neighbour again
DeletePath           a change: a path gets no more packets
DeletePort           a change: a port loses its interface
DeleteRoute          a change: a prefix loses its route
Discard              a router that drops all that reaches it
EVICT                a full table: the oldest row makes room
Emission             packets that a stage makes besides the one at hand
End                  the end of requests that were served
Ethernet             frames on a port
Event                a kind of event
Exit                 an outcome: the packet leaves the path
FOREVER              a lifetime: rows never expire
Filter               a function of one's own between two routers
FlowPaths            each flow gets a path of its own
ForgetNeighbours     a change: what ARP has learnt at a port is forgotten
HALT                 a handler's answer: no further handlers
HOLD                 a verdict: the packet is kept and comes back
Handler              a function that runs at an event
HeavyHitter          the flows with the most bytes
Icmp                 echo replies and errors
Impair               a link that loses, delays and changes packets
Ip                   the IPv4 router
Lab                  namespaces and links to try routers in
LoadBalancer         connections divided among backends
MemoryPort           a port whose frames come from the program
Napt                 one address for a whole network
Outcome              where a verdict of a stage leads
Path                 the stages that one kind of traffic passes through
PcapPort             a port that reads and writes captures
PortKnocking         a port that opens to those who knock
REFUSE               a full table: a new key is refused
ReplaceRoute         a change: a prefix gets another gateway
Requests             a source of requests without a network
Router               a protocol module, to be subclassed
RouterGraph          routers and their connections
Rule                 a guard and a transform, which rewrites a path
ScoutError           the error of bad usage or bad input
Service              a state with handlers, replicated or not
SetMtu               a change: a port sends no longer packets than this
SetNeighbour         a change: a neighbour's MAC address, by hand
SetValue             a change: a setting gets another value
Setting              a number that can be changed while packets flow
Stage                a function and what binds it into a path
Supervisor           runs the replicas and watches them
Table                state of a stage
TapPort              an interface of this machine's kernel, with the router behind it
Tcp                  TCP for applications
Tee                  copies packets to a capture
To                   an outcome: on to the same router's next stage
TokenBucket          a policer
Udp                  UDP for the sockets of applications
Via                  an outcome: on by a service
add16                the ones' complement sum of two numbers
add_to               adds to a field of a table's row
after                sets a timer
cancel               cancels a timer
claim                a key's row, made if it is new
clear                sets a row to zero
ahead                marks a lookup that may run for a group of packets at once
drop                 makes a drop verdict
exchange_in          writes a field if it has the value expected
find                 the row of a key
five_tuple           the flow of a packet
flow_hash            a hash of the flow of a packet
length               the bytes of a packet from the header on
load16               16 bits of a packet
load32               32 bits of a packet
load48               48 bits of a packet
load64               64 bits of a packet
load8                8 bits of a packet
load_from            a field of a table's row
load_router          the graph and the paths of a router file
new_table            an empty table of rows by key
place                the row of a key, or a row for it
raise_event          has the handlers of an event run
remove               frees the row of a key
require              whether a packet has so many bytes
rows                 the rows of a table that hold a key
segments             the packets that a device makes of a GSO packet
store16              writes 16 bits of a packet
store32              writes 32 bits of a packet
store48              writes 48 bits of a packet
store64              writes 64 bits of a packet
store8               writes 8 bits of a packet
store_to             writes a field of a table's row
sum16                the ones' complement sum of a packet's bytes
trim                 cuts a packet off
try_stage            runs one stage function as plain Python
within               whether one more event keeps to a rate
"""
LIST = dict(line.split(None, 1) for line in NAMES.strip().splitlines())


def test_the_public_names_are_those_of_the_list() -> None:
    assert sorted(scout.__all__) == sorted(LIST)


def test_each_name_is_found_and_shown_to_editors() -> None:
    assert set(LIST) <= set(dir(scout))
    for name in LIST:
        assert getattr(scout, name) is not None
    assert not hasattr(scout, "nothing_of_this_name")


@pytest.mark.long
def test_type_checkers_know_the_names(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import scout\n" + "".join(f"reveal_type(scout.{name})\n" for name in LIST))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--config-file=",
            "--ignore-missing-imports",
            "--follow-imports=silent",
            program,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[1],
    )
    assert done.stdout.count("Revealed type is") == len(LIST), done.stdout[-2000:]


def test_importing_scout_imports_nothing_else() -> None:
    program = "import sys, scout; print([name for name in ('numba', 'numpy', 'networkx') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
