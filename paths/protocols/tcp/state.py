"""The state of a connection: one record, which every replica has and changes in the same way.

Positions are those of `scout.paths.protocols.tcp.sequence`; times are nanoseconds, of requests.
"""

import numpy as np

from scout.paths.protocols.tcp.bbr_state import BBR_STATE, DELIVERY
from scout.paths.protocols.tcp.settings import SETTINGS

__all__ = [
    "ABORTED",
    "ACK_TIMER",
    "BAD_RECORD",
    "CLOSED",
    "CLOSE_WAIT",
    "CLOSING",
    "CONNECTION",
    "ESTABLISHED",
    "FAST",
    "FINISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "FOREVER",
    "GAPS",
    "KEEP_TIMER",
    "LAST_ACK",
    "LIFE_TIMER",
    "LISTEN",
    "LOSS",
    "LOST",
    "MORE_TIMER",
    "NONE",
    "OPEN",
    "PACE_TIMER",
    "PATH_TIMER",
    "PERSIST",
    "PROBE",
    "PROBING",
    "RANGE",
    "REFUSED",
    "REORDER",
    "RESENDS",
    "RESEND_TIMER",
    "RESET",
    "RETRANSMITTED",
    "SACKED",
    "STATES",
    "SYN_RECEIVED",
    "SYN_SENT",
    "TIMED_OUT",
    "TIMEOUT",
    "TIME_WAIT",
    "TRANSMISSIONS",
]

STATES = (
    "CLOSED",
    "LISTEN",
    "SYN_SENT",
    "SYN_RECEIVED",
    "ESTABLISHED",
    "FIN_WAIT_1",
    "FIN_WAIT_2",
    "CLOSE_WAIT",
    "CLOSING",
    "LAST_ACK",
    "TIME_WAIT",
)
"""The states (RFC 9293 section 3.3.2) by their number."""

(
    CLOSED,
    LISTEN,
    SYN_SENT,
    SYN_RECEIVED,
    ESTABLISHED,
    FIN_WAIT_1,
    FIN_WAIT_2,
    CLOSE_WAIT,
    CLOSING,
    LAST_ACK,
    TIME_WAIT,
) = range(len(STATES))

NONE, FINISHED, RESET, REFUSED, TIMED_OUT, ABORTED, BAD_RECORD = range(7)
"""Why a connection is CLOSED: it never was open, or a listener's that came to nothing; both ends have closed it; the
peer reset it; the peer refused it; the peer did not answer; this end aborted it; a record of a secured stream
could not be opened."""

FOREVER = 1 << 62
"""When a timer fires that is not set."""

RESEND_TIMER, ACK_TIMER, KEEP_TIMER, LIFE_TIMER, MORE_TIMER, PATH_TIMER, PACE_TIMER = range(7)
"""Timers: of the sender (what for, says `resend`); of the delayed acknowledgement; of keep-alive; of TIME-WAIT; of what
a request has left to do because its actions were full; of trying larger segments; of the next burst of BBR."""

TIMEOUT, PROBE, REORDER, PERSIST = range(4)
"""The purposes of the sender's timer: retransmission (RFC 6298), a tail loss probe and reordered segments (RFC 8985), a
probe of a closed window (RFC 9293 section 3.8.6.1)."""

OPEN, FAST, LOSS = range(3)
"""Congestion control: no loss known; recovery from a loss that acknowledgements have told; from a time-out."""

SACKED, LOST, RETRANSMITTED, PROBING = 1, 2, 4, 8
"""Flags of a transmission: the peer has it; it counts as lost and is to be sent again; it was sent again; it is a
segment that is larger than others, to see whether it passes."""

TRANSMISSIONS = 64
"""Ranges of sent bytes that are told apart; a power of two."""

GAPS = 16
"""Ranges of bytes received out of order that are kept."""

RESENDS = 8
"""Ranges of bytes sent again in a fast recovery that are told apart; a recovery with more of them is not undone."""

RANGE = np.dtype([("first", "i8"), ("last", "i8")])
"""Positions first to last - 1."""

TRANSMISSION = np.dtype(
    [
        ("last", "i8"),  # the position behind it; it begins where the one before ends
        ("flags", "i8"),
        ("began", "i8"),  # when its first byte was sent
        ("sent_at", "i8"),  # when its last byte was sent last
    ]
)
"""Bytes that were sent at about the same time, and of which the same is known."""

CONNECTION = np.dtype(
    [
        ("changes", "i8"),  # requests that the row has served; it is never set back
        ("state", "i8"),
        ("passive", "i8"),  # 1: it was opened by a peer's SYN (MUST-11)
        ("reason", "i8"),  # of CLOSED
        ("settings", "i8", (SETTINGS,)),
        ("timers", "i8", (7,)),  # when they fire
        ("resend", "i8"),  # what the sender's timer is for
        ("rearm", "i8"),  # 1: it is to be set anew, as bytes were sent or acknowledged
        # Sending. Bytes before `snd_end` are in the application's send ring.
        ("iss", "i8"),
        ("snd_una", "i8"),
        ("snd_nxt", "i8"),
        ("snd_end", "i8"),
        ("fin", "i8"),  # 1: the application has closed; its FIN has position `snd_end`
        ("snd_wnd", "i8"),
        ("snd_wl1", "i8"),
        ("snd_wl2", "i8"),
        ("max_wnd", "i8"),
        ("snd_scale", "i8"),
        ("mss", "i8"),  # bytes of data in a full segment; it may be less, on this path, than
        ("mss_agreed", "i8"),  # what both ends have agreed on
        ("mss_passed", "i8"),  # 1: a full segment of this size has been acknowledged
        ("mss_trial", "i8"),  # position whose acknowledgement will tell so; 0: none is under way
        ("claimed_mss", "i8"),  # what an ICMP error says that would pass, which is not believed yet; 0: none does
        ("claimed_at", "i8"),  # position of the segment that it quotes
        # Looking for larger segments that pass.
        ("mtu_next", "i8"),  # bytes of the next probe; 0: none is wanted
        ("mtu_largest", "i8"),  # the largest size that may pass
        ("mtu_tries", "i8"),  # probes of this size that were lost
        ("mtu_probe", "i8"),  # bytes of the probe that is under way; 0: none is
        ("mtu_last", "i8"),  # position behind it
        ("mtu_failed", "i8"),  # 1: it is lost
        ("mtu_lost", "i8"),  # bytes of probes that are LOST
        ("snd_up", "i8"),  # behind the last urgent byte
        ("sent", TRANSMISSION, (TRANSMISSIONS,)),  # a ring: the first is at `sent_head`
        ("sent_head", "i8"),
        ("sent_count", "i8"),
        ("pipe", "i8"),  # bytes sent that are neither SACKED nor LOST (RFC 6675)
        ("lost", "i8"),  # bytes that are LOST
        # Round trips (RFC 6298).
        ("srtt", "i8"),
        ("rttvar", "i8"),
        ("rto", "i8"),
        ("backoff", "i8"),  # how often the timer's time has doubled
        ("min_rtt", "i8"),
        ("syn_repeated", "i8"),
        # Loss (RFC 8985).
        ("rack_sent_at", "i8"),
        ("rack_last", "i8"),
        ("rack_rtt", "i8"),
        ("rack_fack", "i8"),
        ("reordering", "i8"),
        ("reorder_factor", "i8"),
        ("reorder_rounds", "i8"),
        ("dsack_round", "i8"),
        ("sacked_bytes", "i8"),
        ("probe_last", "i8"),  # behind the tail loss probe; 0: none is out
        ("probe_again", "i8"),  # 1: the probe was a retransmission
        ("duplicates", "i8"),  # acknowledgements that acknowledged nothing new, in a row
        # Congestion.
        ("cwnd", "i8"),
        ("ssthresh", "i8"),
        ("recovery", "i8"),
        ("recover", "i8"),  # recovery ends when this position is acknowledged
        ("prr_delivered", "i8"),
        ("prr_out", "i8"),
        ("prr_flight", "i8"),
        ("undo", "i8"),  # of a time-out: 1: nothing was sent again yet; 2: what was sent again has the timestamp below
        ("undo_stamp", "i8"),
        ("undo_cwnd", "i8"),
        ("undo_ssthresh", "i8"),
        ("undo_max", "i8"),  # `cubic_max` before the time-out
        ("resent", RANGE, (RESENDS,)),  # sent again in fast recovery, and not reported as received twice
        ("resent_count", "i8"),  # of them in use; some may be empty
        ("resent_cwnd", "i8"),  # the congestion window before the fast recovery; 0: the recovery is not to be undone
        ("resent_ssthresh", "i8"),  # the threshold before it
        ("resent_max", "i8"),  # `cubic_max` before it
        ("limited", "i8"),  # 1: the congestion window held data back
        ("cubic_max", "i8"),
        ("cubic_start", "i8"),  # 0: the epoch begins with the next acknowledgement
        ("cubic_origin", "i8"),
        ("cubic_k", "i8"),  # milliseconds
        ("cubic_reno", "i8"),
        ("sent_last_at", "i8"),
        # BBR, and its pacing.
        ("pacing_rate", "i8"),  # bytes a second; 0: bytes are not paced
        ("quantum", "i8"),  # bytes of a burst
        ("pace_at", "i8"),  # when the next burst may be sent
        ("allowance", "i8"),  # bytes that a request may still send
        ("paced", "i8"),  # 1: pacing has held data back
        ("delivery", DELIVERY),
        ("bbr", BBR_STATE),
        # ECN (RFC 3168).
        ("ecn", "i8"),  # 1: both ends use it
        ("ecn_echo", "i8"),  # 1: acknowledgements say ECE
        ("ecn_reduced", "i8"),  # 1: the next new data says CWR
        ("ecn_recover", "i8"),
        # Receiving. Bytes before `rcv_read` were read by the application.
        ("irs", "i8"),
        ("rcv_nxt", "i8"),
        ("rcv_read", "i8"),
        ("rcv_edge", "i8"),  # the right edge of the window, as offered; it never moves back
        ("rcv_scale", "i8"),
        ("rcv_fin", "i8"),  # position of the peer's FIN; -1: not known
        ("rcv_segment", "i8"),  # bytes of data in the peer's longest segment
        ("rcv_up", "i8"),
        ("gaps", RANGE, (GAPS,)),  # received out of order, the newest first
        ("gap_count", "i8"),
        ("again", RANGE),  # received twice, to be reported once (RFC 2883); empty: nothing
        ("ack_due", "i8"),  # 1: an acknowledgement is to be sent now
        ("owed", "i8"),  # bytes received since the last acknowledgement
        ("acked", "i8"),  # the last acknowledgement sent
        ("reader_gone", "i8"),
        # Options agreed on.
        ("sack", "i8"),
        ("scale", "i8"),
        ("timestamps", "i8"),
        ("ts_recent", "i8"),
        ("ts_recent_at", "i8"),
        ("ts_offset", "i8"),
        # Peers that do not answer.
        ("heard_at", "i8"),
        ("waiting_since", "i8"),  # since when sent bytes are unanswered
        ("probes", "i8"),  # keep-alive probes unanswered
        ("challenge_at", "i8"),
        ("challenges", "i8"),
        ("timeout_due", "i8"),  # 1: the user timeout is to be told
        ("soft_error", "i8"),  # an ICMP error that did not end it
        # The values that were last reported to the socket.
        ("told_state", "i8"),
        ("told_received", "i8"),
        ("told_acknowledged", "i8"),
        ("told_urgent", "i8"),
        ("told_error", "i8"),
    ]
)
"""A connection. Numbers are int64; rows are made by `scout.paths.protocols.tcp.opening`."""
