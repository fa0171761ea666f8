"""The settings that applications and the host may choose for a connection: int64 in its state, by these indices."""

from typing import Any

import numpy as np

from scout.ring.errors import ScoutError

__all__ = [
    "ASK",
    "BBR",
    "CONGESTION",
    "CONTROLS",
    "CUBIC",
    "DEFAULTS",
    "DEFAULT_SEGMENT",
    "DELAYED_ACK",
    "ECN",
    "FOLLOW_TIMEOUT",
    "KEEPALIVE",
    "KEEP_IDLE",
    "KEEP_INTERVAL",
    "KEEP_PROBES",
    "LARGEST_SEGMENT",
    "LARGEST_SEND",
    "MSL",
    "NODELAY",
    "OFFER_TIMEOUT",
    "RECEIVE_BUFFER",
    "RENO",
    "SACK",
    "SEND_BUFFER",
    "SETTINGS",
    "SHORTEST_TIMEOUT",
    "SYN_TIMEOUT",
    "TIMESTAMPS",
    "TRAFFIC_CLASS",
    "USER_TIMEOUT",
    "WINDOW_SCALE",
    "settings",
]

MILLISECOND, SECOND = 1_000_000, 1_000_000_000

RENO, CUBIC, BBR = range(3)
"""Values of CONGESTION: RFC 5681 with RFC 6582; RFC 9438; draft-ietf-ccwg-bbr."""

CONTROLS = ("reno", "cubic", "bbr")
"""Their names."""

ASK = 2
"""A value of ECN: 0 never uses it, 1 agrees to it, ASK also offers it (RFC 3168 section 6.1.1)."""

DEFAULTS = {
    "LARGEST_SEGMENT": 1460,  # bytes of data that a packet has room for: the MTU less the headers without options
    "DEFAULT_SEGMENT": 536,  # what a peer takes that does not say (RFC 9293 MUST-15); 1220 for IPv6
    "LARGEST_SEND": 0,  # bytes of data in one action, which a device cuts into segments; less than two: one segment
    "RECEIVE_BUFFER": 1 << 20,  # bytes
    "SEND_BUFFER": 1 << 20,  # bytes
    "NODELAY": 0,  # 1 switches the Nagle algorithm off
    "DELAYED_ACK": 40 * MILLISECOND,  # the longest delay of an acknowledgement; 0 delays none. MUST-40: under 0.5 s
    "SACK": 1,
    "TIMESTAMPS": 1,
    "WINDOW_SCALE": 1,
    "ECN": 1,
    "CONGESTION": CUBIC,
    "SHORTEST_TIMEOUT": 200 * MILLISECOND,  # of retransmission; RFC 6298 has 1 s, kernels 200 ms or less
    "SYN_TIMEOUT": 180 * SECOND,  # how long a SYN is repeated (MUST-23: at least 3 minutes)
    "USER_TIMEOUT": 300 * SECOND,  # how long sent data may stay unanswered: R2 as a time, and RFC 5482's
    "OFFER_TIMEOUT": 0,  # 1 tells the peer USER_TIMEOUT (RFC 5482: ENABLED)
    "FOLLOW_TIMEOUT": 1,  # 1 takes the peer's if it is longer (RFC 5482: CHANGEABLE)
    "KEEPALIVE": 0,  # 1 switches it on (MUST-25: off)
    "KEEP_IDLE": 7200 * SECOND,  # MUST-28: at least two hours
    "KEEP_INTERVAL": 75 * SECOND,
    "KEEP_PROBES": 9,
    "MSL": 30 * SECOND,  # TIME-WAIT takes twice as long (MUST-13), a minute as in today's kernels
}
"""The settings and their defaults; times in nanoseconds."""

SETTINGS = len(DEFAULTS)
"""How many there are."""

TRAFFIC_CLASS = SETTINGS
"""An option that the core does not have, behind its settings: the DSCP of what a connection sends, as the upper 6 of 8
bits (RFC 9293, MUST-48)."""

(
    LARGEST_SEGMENT,
    DEFAULT_SEGMENT,
    LARGEST_SEND,
    RECEIVE_BUFFER,
    SEND_BUFFER,
    NODELAY,
    DELAYED_ACK,
    SACK,
    TIMESTAMPS,
    WINDOW_SCALE,
    ECN,
    CONGESTION,
    SHORTEST_TIMEOUT,
    SYN_TIMEOUT,
    USER_TIMEOUT,
    OFFER_TIMEOUT,
    FOLLOW_TIMEOUT,
    KEEPALIVE,
    KEEP_IDLE,
    KEEP_INTERVAL,
    KEEP_PROBES,
    MSL,
) = range(SETTINGS)


def settings(**given: int) -> np.ndarray:
    """A vector of settings: the defaults, and those that are given by name.

    Raises
    ------
    ScoutError
        If there is no such setting.

    Examples
    --------
    >>> settings(NODELAY=1)[NODELAY]
    np.int64(1)
    """
    unknown = set(given) - set(DEFAULTS)
    if unknown:
        raise ScoutError(f"no TCP setting {min(unknown)!r}; there are {', '.join(DEFAULTS)}")
    values: dict[str, Any] = DEFAULTS | given
    return np.array(list(values.values()), np.int64)
