"""The requests of one TCP connection in one channel, and in two, compared: a part of `scout bench tcp`.

Replicas in processes of their own serve a recording with the core of TCP alone (`scout.tools.bench.tcp_interleaving`).
The primary of a request copies the data that are sent to a transmit ring, and sums them up. `ns` is the time of a
request; `segments` are those that were sent, as a device gets them to cut.
"""

from functools import partial
from statistics import median
from typing import Any

from scout.ring.errors import ScoutError
from scout.tools.bench.rounds import interleaved, rounded, spread
from scout.tools.bench.tcp_interleaving import Found, Recording, measure
from scout.tools.bench.tcp_recording import record

__all__ = ["compared"]

ROUND_TRIPS = 300
"""Of a recording."""

MODES = {"one channel": False, "two channels": True}


def compared(rounds: int, replicas: list[int], round_trips: int = ROUND_TRIPS) -> list[dict[str, Any]]:
    """Rows for both, by number of replicas.

    Raises
    ------
    ScoutError
        If replicas come to different states.
    """
    recordings = {mode: record(separate, round_trips) for mode, separate in MODES.items()}
    cases = [(mode, count) for count in replicas for mode in MODES]
    measures = [partial(_measured, recordings[mode], count) for mode, count in cases]
    figures = dict(zip(cases, interleaved(measures, rounds, "channels"), strict=True))
    rows = []
    for (mode, count), found in figures.items():
        alone = figures[mode, replicas[0]]
        rows.append(
            {
                "name": "scout",
                "mode": mode,
                "direction": "send",
                "work": "core",
                "replicas": count,
                "live": False,
                **spread([each.gbps for each in found], "gbps"),
                "speedup": round(median(each.gbps / one.gbps for each, one in zip(found, alone, strict=True)), 3),
                "bound": None,
                "ns": rounded(median(each.ns for each in found)),
                "requests": found[0].requests,
                "segments": found[0].segments,
            }
        )
    return rows


def _measured(recording: Recording, replicas: int) -> Found:
    found = measure(recording, replicas)
    if any(state.tobytes() != recording.after.tobytes() for state in found.states):
        raise ScoutError("replicas have come to different states; please report this")
    return found
