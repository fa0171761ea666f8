"""The command line. Each command's work is in a module of its own, imported when it is called."""

import os
import signal
import sys
from typing import Annotated, Any

import typer

from scout.ring.errors import ScoutError

__all__ = ["app", "main"]

# Typer carries click's classes, in recent versions under names of its own.
UsageError: Any = typer.BadParameter.__base__
AnyError: Any = UsageError.__base__

app = typer.Typer(
    help="Packet paths as graphs: compiled, replicated on every core, fed from ordinary interfaces.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
bench = typer.Typer(
    help="Measure against baselines, interleaved in one run.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(bench, name="bench", epilog="Example: scout bench path --json -")

Json = Annotated[
    str | None, typer.Option("--json", metavar="PATH", help="Write the figures there; - for standard output.")
]
Replicas = Annotated[int | None, typer.Option(help="How many domains; one per core by default.")]
Rounds = Annotated[int, typer.Option(help="How often each contender is measured.")]


def _sandbox() -> None:
    """Enter a sandbox if need be: before anything imports numpy."""
    from scout.io.host.sandbox import enter

    enter()


@app.command(epilog="Example: scout demo --seconds 5 --replicas 2 --json -")
def demo(
    seconds: Annotated[float, typer.Option(help="How long to flood.")] = 3.0,
    replicas: Replicas = None,
    json: Json = None,
    picture: Annotated[str, typer.Option(help="Where to draw the path: .svg, .png, .dot or .mmd.")] = "scout-demo.svg",
) -> None:
    """Join two namespaces by a router and send ping, TCP and a flood through it."""
    _sandbox()
    from scout.tools.commands import demo as work

    raise typer.Exit(work.run(seconds, replicas, json, picture))


@app.command(epilog="Example: scout run examples/01_router.py --replicas 2")
def run(
    file: Annotated[str, typer.Argument(help="A Python file that defines a RouterGraph.")],
    replicas: Replicas = None,
    json: Json = None,
) -> None:
    """Run a router file until interrupted, or its inputs are at their end."""
    from scout.tools.commands import run as work

    raise typer.Exit(work.run(file, replicas, json))


@app.command(epilog="Example: scout draw examples/01_router.py -o router.svg --path left")
def draw(
    file: Annotated[str, typer.Argument(help="A Python file that defines a RouterGraph.")],
    output: Annotated[str, typer.Option("--output", "-o", help="Picture to write: .svg, .png, .dot or .mmd.")],
    path: Annotated[str | None, typer.Option(help="Draw the path from this port and not the router graph.")] = None,
    live: Annotated[bool, typer.Option(help="With the rates of `scout run FILE`, which is running.")] = False,
) -> None:
    """Draw a router graph, or one of its paths."""
    from scout.tools.commands import draw as work

    work.run(file, output, path, live)


@app.command(epilog="Example: scout rates eth0 --interval 0.5")
def rates(
    interfaces: Annotated[list[str] | None, typer.Argument(metavar="[IFACE]...", help="All by default.")] = None,
    netns: Annotated[list[str] | None, typer.Option(help="Look in this network namespace.")] = None,
    interval: Annotated[float, typer.Option(help="Seconds between looks.")] = 1.0,
    count: Annotated[int | None, typer.Option(help="How many looks; without end by default.")] = None,
) -> None:
    """Show packet rates of interfaces: a live table, or a JSON line per interval in a pipe."""
    from scout.tools.commands import rates as work

    work.run(interfaces or [], netns or [], interval, count)


@app.command(epilog="Example: scout doctor --json doctor.json")
def doctor(json: Json = None) -> None:
    """Tell what this machine allows, and what to do about each lack."""
    from scout.tools.commands import doctor as work

    raise typer.Exit(work.run(json))


@bench.command("forward", epilog="Example: scout bench forward --rounds 5 --seconds 1 --json -")
def bench_forward(
    rounds: Rounds = 5,
    seconds: Annotated[float, typer.Option(help="How long a measurement lasts.")] = 1.0,
    frame_bytes: Annotated[list[int] | None, typer.Option(help="Frame sizes; 60 and 1514 by default.")] = None,
    separate: Annotated[
        bool, typer.Option("--separate", help="Frames that cannot be sent as one, as with many flows.")
    ] = False,
    json: Json = None,
) -> None:
    """Forward between two namespaces: Scout, the kernel, C on AF_PACKET, plain Python sockets."""
    _sandbox()
    from scout.tools.bench import forward as work

    work.run(rounds, seconds, frame_bytes or [60, 1514], separate, json)


@bench.command("path", epilog="Example: scout bench path --json -")
def bench_path(rounds: Rounds = 15, json: Json = None) -> None:
    """One path without I/O: header check, lookup among 1,000 routes, TTL, rewrite; against C."""
    from scout.tools.bench import path as work

    work.run(rounds, json)


@bench.command("services", epilog="Example: scout bench services --service heavy_hitter --work aes-gcm --json -")
def bench_services(
    rounds: Rounds = 1,
    service: Annotated[list[str] | None, typer.Option(help="Services; all by default.")] = None,
    work: Annotated[list[str] | None, typer.Option(help="plain, inspect or aes-gcm; all by default.")] = None,
    trace: Annotated[list[str] | None, typer.Option(help="single or skewed; both by default.")] = None,
    plot: Annotated[str, typer.Option(help="Where to plot: a .svg or .png; both are written.")] = "scout-services.svg",
    json: Json = None,
) -> None:
    """The services in their four modes: replicated, sharded, locked, atomic; as MLFFR."""
    from scout.tools.bench import services as measure

    measure.run(rounds, service or [], work or [], trace or [], plot, json)


@bench.command("channel", epilog="Example: scout bench channel --plot channel.svg --json -")
def bench_channel(
    rounds: Rounds = 7,
    json: Json = None,
    plot: Annotated[str, typer.Option(help="Where to plot: a .svg or .png; both are written.")] = "scout-channel.svg",
) -> None:
    """Dequeue from a replicated channel, by election and number of replicas; against C. The paper's Figure 2."""
    from scout.tools.bench import channel as work

    work.run(rounds, json, plot)


@bench.command("replication", epilog="Example: scout bench replication --updates 20 --plot replication.svg --json -")
def bench_replication(
    rounds: Rounds = 7,
    updates: Annotated[int, typer.Option(help="Updates of shared state in a request.")] = 20,
    json: Json = None,
    plot: Annotated[
        str, typer.Option(help="Where to plot: a .svg or .png; both are written.")
    ] = "scout-replication.svg",
) -> None:
    """Replicated work, a lock and atomic instructions on a synthetic service. The paper's Figure 1(b)."""
    from scout.tools.bench import replication as work

    work.run(rounds, json, plot, updates)


@bench.command("soak", epilog="Example: scout bench soak --requests 1000000000 --json -")
def bench_soak(
    requests: Annotated[int, typer.Option(help="How many requests.")] = 100_000_000,
    replicas: Replicas = None,
    interval: Annotated[float, typer.Option(help="Seconds between kills, joins and leaves, on average.")] = 0.25,
    seed: Annotated[int, typer.Option(help="Of the random times and victims.")] = 1,
    json: Json = None,
) -> None:
    """Send requests through replicas that are killed, join and leave; nothing may be lost, all states equal."""
    from scout.tools.bench import soak as work

    raise typer.Exit(work.run(requests, replicas, interval, seed, json))


def main() -> None:
    """Run a command; bad usage and bad input end in one line on standard error and status 2."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status: Any = app(standalone_mode=False, prog_name="scout")
    except UsageError as error:
        if "NoArgs" in type(error).__name__:  # a command without arguments shows its help
            print(error.format_message(), file=sys.stderr)
            sys.exit(2)
        command = error.ctx.command_path if error.ctx else "scout"
        _fail(f"{error.format_message()} Try {command} --help.")
    except AnyError as error:
        _fail(error.format_message())
    except ScoutError as error:
        _fail(str(error))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    sys.exit(status if isinstance(status, int) else 0)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


def _fail(message: str) -> None:
    print(f"scout: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
