"""`scout bench`: its benchmarks and their options. The work of benchmark `x` is in `scout.tools.bench.x`."""

from typing import Annotated

import typer

from scout.tools.options import Folder, FrameBytes, Json, Plot, Replicas, Rounds

__all__ = ["app"]

app = typer.Typer(
    help="Measure against baselines, interleaved in one run.", no_args_is_help=True, rich_markup_mode=None
)


@app.command(epilog="Example: scout bench forward --rounds 5 --flows 10000 --frame-bytes 60 --json -")
def forward(
    rounds: Annotated[int | None, typer.Option(help="How often each contender is measured.", min=1)] = None,
    seconds: Annotated[float | None, typer.Option(help="How long a flood or a transfer lasts.", min=0.01)] = None,
    flows: Annotated[
        list[int] | None, typer.Option(help="Flows of a flood; 10000, 16 and 1 by default.", min=1, max=60_000)
    ] = None,
    frame_bytes: FrameBytes = None,
    measure: Annotated[list[str] | None, typer.Option(help="flood, loss-free, latency or tcp; all by default.")] = None,
    full: Annotated[
        bool, typer.Option("--full", help="All frame sizes, more and longer rounds, all loss-free rates.")
    ] = False,
    gro: Annotated[
        bool, typer.Option(help="The kernel joins received frames, as for a NIC; for Scout and for its own forwarding.")
    ] = True,
    json: Json = None,
) -> None:
    """Forward between namespaces: Scout, the kernel, C on AF_PACKET, plain Python sockets."""
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported, which starts threads
    from scout.tools.bench import forward as work

    work.run(rounds, seconds, flows, frame_bytes, measure, full, gro, json)


@app.command(epilog="Example: scout bench path --json -")
def path(
    rounds: Rounds = 15,
    brief: Annotated[bool, typer.Option("--brief", help="Leave out the path of 12 stages and its parts.")] = False,
    json: Json = None,
) -> None:
    """One path without I/O: header check, lookup among 1,000 routes, TTL, rewrite; against C.

    And a path of 12 stages against the sum of its parts.
    """
    from scout.tools.bench import path as work

    work.run(rounds, brief, json)


@app.command(epilog="Example: scout bench fib --routes 1000000 --json -")
def fib(
    rounds: Rounds = 15,
    routes: Annotated[int, typer.Option(help="Routes in the table.", min=1, max=4_000_000)] = 1_000_000,
    json: Json = None,
) -> None:
    """The forwarding table: lookups, building, changes and memory; against C and DIR-24-8."""
    from scout.tools.bench import fib as work

    work.run(rounds, routes, json)


@app.command(epilog="Example: scout bench paths --plot paths.svg --json -")
def paths(
    rounds: Rounds = 3,
    measure: Annotated[
        list[str] | None,
        typer.Option(help="flood, streams, discard, creation, under-load or accounting; all by default."),
    ] = None,
    plot: Plot = None,
    json: Json = None,
) -> None:
    """Paths: deadlines under a flood, path schedulers, early discard, creation, accounts. Scout's experiments."""
    from scout.tools.bench import paths as work

    work.run(rounds, measure or [], plot, json)


@app.command(epilog="Example: scout bench udp --rounds 5 --json -")
def udp(
    rounds: Rounds = 3,
    seconds: Annotated[float, typer.Option(help="How long a rate is measured.", min=0.01)] = 0.5,
    json: Json = None,
) -> None:
    """UDP sockets of an application, on Scout and on the kernel: round trips, and rates in both directions."""
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported, which starts threads
    from scout.tools.bench import udp as work

    work.run(rounds, seconds, json)


@app.command(epilog="Example: scout bench tcp --measure replay --rounds 5 --json -")
def tcp(
    rounds: Rounds = 3,
    seconds: Annotated[float, typer.Option(help="How long a live transfer lasts.", min=0.01)] = 0.5,
    measure: Annotated[list[str] | None, typer.Option(help="replay, channels or live; all by default.")] = None,
    work: Annotated[list[str] | None, typer.Option(help="Per-byte work of replays; all by default.")] = None,
    offloads: Annotated[
        bool, typer.Option(help="Segmentation, receive and checksum offload of live links, at both ends.")
    ] = True,
    plot: Plot = None,
    json: Json = None,
) -> None:
    """One TCP connection: segments replayed from memory on 1 to all cores, and live against the kernel's TCP."""
    from scout.io.host.sandbox import enter

    enter()  # before numpy is imported, which starts threads
    from scout.tools.bench import tcp as bench

    bench.run(rounds, seconds, measure or [], work or [], offloads, plot, json)


@app.command(epilog="Example: scout bench services --service heavy_hitter --work aes-gcm --json -")
def services(
    rounds: Rounds = 3,
    service: Annotated[
        list[str] | None, typer.Option(help="Services, or all; heavy_hitter and conntrack by default.")
    ] = None,
    work: Annotated[list[str] | None, typer.Option(help="plain, inspect, aes-gcm or all; aes-gcm by default.")] = None,
    trace: Annotated[list[str] | None, typer.Option(help="single or skewed; both by default.")] = None,
    plot: Plot = None,
    json: Json = None,
) -> None:
    """The services in their four modes: replicated, sharded, locked, atomic; as MLFFR."""
    from scout.tools.bench import services as measure

    measure.run(rounds, service or [], work or [], trace or [], plot, json)


@app.command(epilog="Example: scout bench channel --plot channel.svg --json -")
def channel(rounds: Rounds = 7, json: Json = None, plot: Plot = None) -> None:
    """Dequeue from a replicated channel, by election and number of replicas; against C. The paper's Figure 2."""
    from scout.tools.bench import channel as work

    work.run(rounds, json, plot)


@app.command(epilog="Example: scout bench replication --updates 20 --plot replication.svg --json -")
def replication(
    rounds: Rounds = 7,
    updates: Annotated[int, typer.Option(help="Updates of shared state in a request.", min=1)] = 20,
    json: Json = None,
    plot: Plot = None,
) -> None:
    """Replicated work, a lock and atomic instructions on a synthetic service. The paper's Figure 1(b)."""
    from scout.tools.bench import replication as work

    work.run(rounds, json, plot, updates)


@app.command(epilog="Example: scout bench soak --requests 1000000000 --json -")
def soak(
    requests: Annotated[int, typer.Option(help="How many requests.", min=1)] = 100_000_000,
    replicas: Replicas = None,
    interval: Annotated[float, typer.Option(help="Seconds between kills, joins and leaves, on average.")] = 0.25,
    seed: Annotated[int, typer.Option(help="Of the random times and victims.")] = 1,
    json: Json = None,
) -> int:
    """Send requests through replicas that are killed, join and leave; nothing may be lost, all states equal."""
    from scout.tools.bench import soak as work

    return work.run(requests, replicas, interval, seed, json)


@app.command("all", epilog="Example: scout bench all --report figures")
def everything(folder: Folder) -> int:
    """Run every benchmark in its default size, and write one page with their tables and plots."""
    from scout.tools.bench import everything as work

    return work.run(folder)
