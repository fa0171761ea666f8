"""The parts of a connection's state that BBR has: the delivery rate as it is measured, and the model of the path.

Rates are bytes a second, times nanoseconds, amounts of data bytes.
"""

import numpy as np

__all__ = [
    "ANY_AMOUNT",
    "BBR_STATE",
    "CRUISE",
    "DELIVERY",
    "DOWN",
    "DRAIN",
    "FEEDBACK",
    "MARKS",
    "NO_PHASE",
    "PROBE_RTT",
    "REFILL",
    "REFILLING",
    "SETTLED",
    "STARTING",
    "STARTUP",
    "STOPPING",
    "UP",
]

MARKS = 16
"""Sent bytes that are remembered with the time and what had been delivered by then; a power of two."""

MARK = np.dtype(
    [
        ("last", "i8"),  # the position behind the bytes
        ("delivered", "i8"),  # what had been delivered when they were sent,
        ("delivered_at", "i8"),  # when that had been,
        ("first_sent_at", "i8"),  # and when the bytes had been sent that were delivered last by then
        ("sent_at", "i8"),
        ("in_flight", "i8"),
        ("lost", "i8"),  # what had been lost
        ("limited", "i8"),  # 1: the application had given less than the path could take
    ]
)
"""One of the bytes under way, by which the delivery rate is measured."""

DELIVERY = np.dtype(
    [
        ("delivered", "i8"),  # all bytes that the peer has told to have
        ("delivered_at", "i8"),
        ("first_sent_at", "i8"),
        ("lost", "i8"),  # all bytes that counted as lost
        ("limited_until", "i8"),  # until so much is delivered samples are limited by the application; 0: none is
        ("marks", MARK, (MARKS,)),  # a ring: the first is at `mark_head`
        ("mark_head", "i8"),
        ("mark_count", "i8"),
        # The newest sample.
        ("rate", "i8"),  # 0: its time was too short
        ("rtt", "i8"),
        ("since", "i8"),  # what had been delivered when its bytes were sent
        ("sampled", "i8"),  # what has been delivered since
        ("in_flight", "i8"),
        ("newly_lost", "i8"),
        ("limited", "i8"),
    ]
)
"""Delivery rate estimation (draft-ietf-ccwg-bbr section 4.1)."""

NO_PHASE, STARTUP, DRAIN, DOWN, CRUISE, REFILL, UP, PROBE_RTT = range(8)
"""Phases: BBR has not begun; Startup; Drain; the four of ProbeBW; ProbeRTT."""

SETTLED, STARTING, FEEDBACK, STOPPING, REFILLING = range(5)
"""The meaning of acknowledgements in a cycle of ProbeBW: nothing is tried; they are of bytes from before a trial; of
the trial; of bytes from its end; the pipe is filled before it."""

ANY_AMOUNT = 1 << 60
"""An amount or a rate without a limit."""

BBR_STATE = np.dtype(
    [
        ("phase", "i8"),
        # Rounds: the time in which what is under way is delivered.
        ("round_count", "i8"),
        ("round_end", "i8"),
        ("round_start", "i8"),
        ("is_full", "i8"),  # 1: the congestion window was full in this round
        # The model: rates and amounts that the path takes.
        ("rate_now", "i8"),  # the highest rate of this cycle of ProbeBW
        ("rate_before", "i8"),  # and of the one before
        ("rate_short", "i8"),  # bounds that losses have set for the rest of the cycle
        ("flight_short", "i8"),
        ("flight_long", "i8"),  # bound that too many losses in a trial have set
        ("rate_latest", "i8"),  # the highest of this round
        ("flight_latest", "i8"),
        ("min_rtt", "i8"),
        ("min_rtt_at", "i8"),
        ("trial_rtt", "i8"),  # the lowest since the last trial of ProbeRTT
        ("trial_rtt_at", "i8"),
        ("is_stale", "i8"),  # 1: that is long ago
        ("was_idle", "i8"),
        # Losses.
        ("lost_seen", "i8"),
        ("loss_round_end", "i8"),
        ("loss_round_start", "i8"),
        ("losses", "i8"),  # acknowledgements of this round that told of some
        # Startup.
        ("full_rate", "i8"),
        ("full_count", "i8"),  # rounds without a higher rate
        ("is_full_now", "i8"),
        ("was_full", "i8"),  # 1: the rate of the path was found
        ("drain_round", "i8"),
        # Bytes that are acknowledged in bursts.
        ("extra_at", "i8"),
        ("extra_delivered", "i8"),
        ("extra_now", "i8"),
        ("extra_before", "i8"),
        ("extra_round", "i8"),
        # ProbeBW.
        ("cycle_at", "i8"),
        ("wait", "i8"),
        ("rounds_waited", "i8"),
        ("acks", "i8"),
        ("is_trial", "i8"),  # 1: samples are of bytes that were sent to try a higher rate
        ("up_rounds", "i8"),
        ("up_acked", "i8"),
        ("up_share", "i8"),
        # ProbeRTT.
        ("rtt_until", "i8"),  # 0: the window is not small enough yet
        ("rtt_round_done", "i8"),
        ("cwnd_before", "i8"),
    ]
)
"""BBR (draft-ietf-ccwg-bbr section 5)."""
