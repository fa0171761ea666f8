"""The command line: its commands and their options. The work of command `x` is in `scout.tools.commands.x`.

Those modules are imported when the command is called: `scout --help` must not wait for numba.
"""

from importlib.metadata import version
from typing import Annotated

import typer

from scout.tools.commands import bench, ctl
from scout.tools.guard import guarded
from scout.tools.options import Capture, DemoReplicas, File, FrameBytes, Json, Output, Picture, Replicas, Socket

__all__ = ["app", "main"]

app = typer.Typer(
    help="Packet paths as graphs: compiled, replicated on every core, fed from ordinary interfaces.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"scout {version('scout-paths')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of `scout` itself."""


app.add_typer(bench.app, name="bench", epilog="Example: scout bench path --json -")
app.add_typer(ctl.app, name="ctl", epilog="Example: scout ctl show routes --json -")


@app.command(epilog="Example: scout demo --seconds 5 --replicas 2 --json -")
def demo(
    seconds: Annotated[float, typer.Option(help="How long to flood.", min=0.1, max=3600)] = 3.0,
    replicas: DemoReplicas = None,
    json: Json = None,
    picture: Picture = "scout-demo.svg",
) -> int:
    """Join two namespaces by a router and send ping, TCP and a flood through it."""
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported, which starts threads
    from scout.tools.commands import demo as work

    return work.run(seconds, replicas, json, picture)


@app.command(epilog="Example: scout run examples/01_router.py --replicas 2")
def run(
    file: File,
    replicas: Replicas = None,
    json: Json = None,
    control: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="Where the control socket is; by default in your runtime directory."),
    ] = None,
    no_control: Annotated[bool, typer.Option("--no-control", help="Without a control socket.")] = False,
    most_paths: Annotated[
        int | None, typer.Option(help="Have room for so many paths, for `scout ctl path create`.", min=1)
    ] = None,
    path_schedule: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Which path with a queue is served next: by round-robin, priority, weighted, deadline or bottleneck.",
        ),
    ] = None,
) -> int:
    """Run a router file until it is interrupted, or its inputs are at their end."""
    from scout.tools.commands import run as work

    return work.run(file, replicas, json, not no_control, control, most_paths, path_schedule)


@app.command(epilog="Example: scout draw examples/01_router.py -o router.svg --path left")
def draw(
    file: File,
    output: Output,
    path: Annotated[str | None, typer.Option(help="Draw the path from this port, not the router graph.")] = None,
    live: Annotated[bool, typer.Option("--live", help="With the rates of `scout run FILE`, which is running.")] = False,
    every: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Draw live again and again, until interrupted.", min=0.1, max=3600),
    ] = None,
    socket: Socket = None,
) -> None:
    """Draw a router graph, or one of its paths."""
    from scout.tools.commands import draw as work

    work.run(file, output, path, live or every is not None, every, socket)


@app.command(
    epilog='Example: scout trace 01_router.py --from left --scapy \'Ether(dst="02:00:00:00:00:01")/IP(dst="10.0.1.2")\''
)
def trace(
    file: File,
    source: Annotated[
        str | None, typer.Option("--from", metavar="PORT", help="Where the frames come in; needed with several paths.")
    ] = None,
    hex: Annotated[str | None, typer.Option("--hex", help="A frame as hexadecimal digits.")] = None,
    pcap: Annotated[str | None, typer.Option(help="The frames of this capture.")] = None,
    scapy: Annotated[str | None, typer.Option(help="A Scapy expression for one frame or more; needs Scapy.")] = None,
    neighbour: Annotated[
        list[str] | None,
        typer.Option(metavar="PORT/ADDRESS=MAC", help="A neighbour that is known; packets to others are held."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Pick packets that the running router of FILE receives.")
    ] = False,
    host: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Live: source or destination.")] = None,
    port: Annotated[int | None, typer.Option(help="Live: L4 port, source or destination.", min=0, max=65535)] = None,
    proto: Annotated[str | None, typer.Option(help="Live: icmp, tcp, udp or arp.")] = None,
    reason: Annotated[str | None, typer.Option(help="Live: packets that are dropped for this reason.")] = None,
    seconds: Annotated[int, typer.Option(help="Live: how long to wait for packets.", min=1, max=20)] = 5,
    count: Annotated[int, typer.Option(help="How many packets.", min=1, max=50)] = 10,
    brief: Annotated[bool, typer.Option("--brief", help="One line a packet: where it came to.")] = False,
    pcapng: Capture = None,
    socket: Socket = None,
    json: Json = None,
) -> None:
    """Follow packets stage by stage: what each stage reads and changes, and why a packet is dropped.

    Of the changes, notes for later stages are in brackets, and cells of tables in parentheses.
    """
    from scout.tools.commands import trace as work

    picked = work.Picked(live, host, port, proto, reason, seconds, socket)
    way = work.Way(source, neighbour or [], count)
    work.run(file, way, work.Frames(hex, pcap, scapy), picked, brief, pcapng, json)


@app.command(epilog="Example: scout rates eth0 --interval 0.5")
def rates(
    interfaces: Annotated[list[str] | None, typer.Argument(metavar="[IFACE]...", help="All by default.")] = None,
    netns: Annotated[list[str] | None, typer.Option(help="Look in this network namespace.")] = None,
    interval: Annotated[float, typer.Option(help="Seconds between two measurements.", min=0.001)] = 1.0,
    count: Annotated[int | None, typer.Option(help="How many measurements; no end by default.", min=1)] = None,
    json: Json = None,
) -> None:
    """Show packet rates of interfaces: a live table, or a JSON line per interval in a pipe."""
    from scout.tools.commands import rates as work

    work.run(interfaces or [], netns or [], interval, count, json)


@app.command(epilog="Example: scout top --interval 0.5")
def top(
    interval: Annotated[float, typer.Option(help="Seconds between two measurements.", min=0.1, max=3600)] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Measure one interval, and end.")] = False,
    json: Json = None,
    socket: Socket = None,
) -> None:
    """Show what a running router does: rates by port, path and stage, drops, replicas, lag, CPU."""
    from scout.tools.commands import top as work

    work.run(interval, once, json, socket)


@app.command(epilog="Example: scout traffic --from left/eth0 --to right/eth0 --flows 16 --pps 100000 --json -")
def traffic(
    sender: Annotated[
        str | None, typer.Option("--from", metavar="[NETNS/]IFACE", help="The interface to send by.")
    ] = None,
    receiver: Annotated[
        str | None, typer.Option("--to", metavar="[NETNS/]IFACE", help="The interface to receive from.")
    ] = None,
    destination: Annotated[
        str | None, typer.Option(help="IPv4 address, or a prefix for many; by default that of the far interface.")
    ] = None,
    source: Annotated[str | None, typer.Option(help="IPv4 address; by default that of the near interface.")] = None,
    next_hop: Annotated[
        str | None, typer.Option(metavar="MAC", help="By default the kernel's routes and ARP tell it.")
    ] = None,
    frame_bytes: FrameBytes = None,
    flows: Annotated[int, typer.Option(help="How many flows, whose frames alternate.", min=1, max=60_000)] = 1,
    burst: Annotated[
        int | None,
        typer.Option(help="Frames of a flow in a row; by default many with one flow, else 1.", min=1, max=64),
    ] = None,
    pcap: Annotated[str | None, typer.Option(help="Send the frames of this capture, again and again.")] = None,
    pps: Annotated[float | None, typer.Option(help="Frames a second; by default as many as possible.", min=1)] = None,
    seconds: Annotated[
        float | None, typer.Option(help="How long; 3 by default, for a sink alone until interrupted.", min=0.01)
    ] = None,
    frames: Annotated[int | None, typer.Option(help="How many frames at most.", min=1)] = None,
    json: Json = None,
) -> int:
    """Send frames by one interface, and account for those that arrive at another: lost, reordered, duplicated."""
    from scout.tools.commands import traffic as work

    if frames is not None and burst is None:
        burst = 1  # a burst is sent as a whole, and would exceed the number
    stream = work.Stream(frame_bytes or ["60"], flows, burst, source, destination, next_hop, pcap)
    return work.run(sender, receiver, stream, pps, seconds, frames, json)


@app.command(epilog="Example: scout doctor --json doctor.json")
def doctor(json: Json = None) -> int:
    """Tell what this machine allows, and how to get what it lacks."""
    from scout.tools.commands import doctor as work

    return work.run(json)


def main() -> None:
    """Run the command that the command line names, and end the process."""
    guarded(lambda: app(standalone_mode=False, prog_name="scout"))
