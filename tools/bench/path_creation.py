"""`scout bench paths`, measure `creation`: how fast paths come and go, and what they cost, on one core.

- `created`, `deleted`: the time that a call takes; `in all replicas`: until the replica has come to the change.
- `first packet`: the time from the call until a packet has been classified to the new path, which is sent after the
  call. The router is idle otherwise.
- `new shape, first packet`: the same for a path of a new shape, whose stages are compiled; and `new stage, first
  packet` if one of them was not, so that the call waits until it is.
- `alive`: with so many paths alive, the time that a packet takes, the paths' packets in turn, and the memory of a path:
  its rows in a replica and in what replicas share, and the growth of the supervisor's own memory.

The replicas' rows are in memory that is mapped at the start, and takes pages as paths use them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import psutil

from scout.paths.model.path import Path
from scout.paths.model.stage import Stage
from scout.paths.model.verdict import drop
from scout.ring.errors import ScoutError
from scout.shape_memory import MOST_SHAPES
from scout.tools.bench.path_trials import Running, datagram, running
from scout.tools.bench.rounds import percentiles_row, rounded
from scout.tools.bench.trace_port import drain

__all__ = ["FIRST", "NEW_SHAPE", "rows"]

FIRST = "first packet"
NEW_SHAPE, NEW_STAGE = f"new shape, {FIRST}", f"new stage, {FIRST}"
TIMES, NEW_TIMES = 300, 5  # creations a round: of paths of a known shape, and of a new one
FIRST_PORT = 10_000
ALIVE = (1, 100, 10_000)
DRAINS = 10
TARGET, ENTRIES = 7, 4096  # of the router whose new paths are awaited: the L4 port of all packets, and of the channel
DROPPED = drop("never")
_PATIENCE = 10.0


def rows(rounds: int, entries: int) -> list[dict[str, Any]]:
    """Measure; a row for each measure and number of paths."""
    return [*_times(rounds), *_new_shapes(rounds), *_alive(entries)]


def _times(rounds: int) -> Iterator[dict[str, Any]]:
    with running([datagram(TARGET)] * ENTRIES, [], [{"protocol": "udp"}], most_paths=1024) as router:
        path = router.supervisor.paths[0].narrowed(destination_port=TARGET)
        figures = [_once(router, path) for _ in range(rounds * TIMES)]
    for variant, found in zip(
        ("created", "in all replicas", FIRST, "deleted"), zip(*figures, strict=True), strict=True
    ):
        yield _row(variant, found)


def _once(router: Running, path: Path) -> tuple[float, float, float, float]:
    """Create a path and delete it: seconds that the calls take, until the replica has it, and a packet comes."""
    supervisor = router.supervisor
    router.port.restore()
    began = time.perf_counter()
    epoch = supervisor.create_path(path)
    created = time.perf_counter() - began
    router.port.offer(0.0, 1.0, most=1)
    counted = supervisor.memory.paths.counters
    first = _until(lambda: bool(counted(path).any()), began)
    reached = _until(lambda: supervisor.reached(epoch), began)
    began = time.perf_counter()
    supervisor.delete_path(path)
    return created, reached, first, time.perf_counter() - began


def _new_shapes(rounds: int) -> Iterator[dict[str, Any]]:
    count = min(NEW_TIMES * rounds, MOST_SHAPES // 2)
    with running([datagram(TARGET)] * ENTRIES, [], [{"protocol": "udp"}], most_paths=1024) as router:
        path = router.supervisor.paths[0].narrowed(destination_port=TARGET)
        # Of the first one each shape has the stage once more: it is compiled from then on.
        stages = [_new_stage() for _ in range(count)]
        of_new_stages, of_new_shapes = [[each] for each in stages], [stages[:1] * (2 + more) for more in range(count)]
        for variant, several in ((NEW_STAGE, of_new_stages), (NEW_SHAPE, of_new_shapes)):
            yield _row(variant, [_once(router, _with(path, each))[2] for each in several])


def _new_stage() -> Stage:
    """A stage that no cache has."""
    never = 1 + time.time_ns()

    def pass_on(frame: Any, end: Any) -> int:
        return DROPPED if end - frame == never else 0

    return Stage(pass_on)


def _with(path: Path, stages: Sequence[Stage]) -> Path:
    """A path like another one, which begins with these stages too."""
    made = path.copy()
    for number, stage in enumerate(stages):
        first, second = made.main_line[1:3]
        made.insert(first, second, f"new{number}", stage)
    return made.establish()


def _until(condition: Callable[[], bool], began: float) -> float:
    while not condition():
        if time.perf_counter() - began > _PATIENCE:
            raise ScoutError(f"a path was created {_PATIENCE:.0f} seconds ago, and no packet has come to it")
    return time.perf_counter() - began


def _row(variant: str, seconds: Sequence[float]) -> dict[str, Any]:
    return {"name": "creation", "variant": variant} | percentiles_row(seconds)


def _alive(entries: int) -> Iterator[dict[str, Any]]:
    trace = [datagram(FIRST_PORT + index % max(ALIVE)) for index in range(entries)]
    with running(trace, [], [{"protocol": "udp"}], most_paths=max(ALIVE) + 16) as router:
        (udp, *_) = router.supervisor.paths
        process = psutil.Process()
        paths: list[Path] = []
        before = process.memory_info().rss
        for alive in (0, *ALIVE):
            began, new = time.perf_counter(), range(len(paths), alive)
            for index in new:
                paths.append(udp.narrowed(destination_port=FIRST_PORT + index))
                router.supervisor.create_path(paths[-1])
            took = time.perf_counter() - began
            router.port.restore()
            drain([router.port])
            row: dict[str, Any] = {"name": "alive", "variant": "paths in turn", "paths": alive}
            row["ns_per_packet"] = rounded(min(drain([router.port]) for _ in range(DRAINS)) / entries)
            if new:
                grown = process.memory_info().rss - before
                row |= {"rate": rounded(len(new) / took), "rows_bytes": router.supervisor.memory.paths.memory(paths[0])}
                row |= {"supervisor_bytes": round(grown / alive)}
            yield row
