"""TCP connections as they come by a middle box, segment by segment: all must pass, each with the state after it.

A segment is an end, flags, sequence number, acknowledgement, and bytes of data.
"""

__all__ = ["ANSWERS", "FIGURES", "REBOOTS"]

FIGURES: dict[str, list[tuple[str, str]]] = {
    "6, basic handshake": [
        ("A S 100", "SYN_SENT"),
        ("B SA 300 101", "SYN_RECEIVED"),
        ("A A 101 301", "ESTABLISHED"),
        ("A A 101 301 10", "ESTABLISHED"),
    ],
    "7, both open at once": [
        ("A S 100", "SYN_SENT"),
        ("B S 300", "SYN_RECEIVED"),
        ("A SA 100 301", "SYN_RECEIVED"),
        ("B SA 300 101", "ESTABLISHED"),
    ],
    "8, old duplicate SYN; it comes by before": [
        ("A S 90", "SYN_SENT"),
        ("A S 100", "SYN_SENT"),
        ("B SA 300 91", "SYN_RECEIVED"),
        ("A R 91", "CLOSED"),
        ("B SA 400 101", "SYN_RECEIVED"),
        ("A A 101 401", "ESTABLISHED"),
    ],
    "8, old duplicate SYN; it comes by after": [
        ("A S 100", "SYN_SENT"),
        ("A S 90", "SYN_SENT"),
        ("B SA 300 91", "SYN_RECEIVED"),
        ("A R 91", "CLOSED"),
        ("B SA 400 101", "SYN_RECEIVED"),
        ("A A 101 401", "ESTABLISHED"),
    ],
    "9, A has crashed and opens anew": [
        ("A S 99", "SYN_SENT"),
        ("B SA 299 100", "SYN_RECEIVED"),
        ("A A 100 300", "ESTABLISHED"),
        ("A S 400", "ESTABLISHED"),
        ("B A 300 100", "ESTABLISHED"),
        ("A R 100", "CLOSED"),
        ("A S 400", "SYN_SENT"),
        ("B SA 700 401", "SYN_RECEIVED"),
        ("A A 401 701", "ESTABLISHED"),
    ],
    "10, A has crashed and B sends": [
        ("A S 99", "SYN_SENT"),
        ("B SA 299 100", "SYN_RECEIVED"),
        ("A A 100 300", "ESTABLISHED"),
        ("B A 300 100 10", "ESTABLISHED"),
        ("A R 100", "CLOSED"),
    ],
    "11, old duplicate SYN to a passive end": [
        ("A S 90", "SYN_SENT"),
        ("B SA 300 91", "SYN_RECEIVED"),
        ("A R 91", "CLOSED"),
    ],
    "12, normal close": [
        ("A S 99", "SYN_SENT"),
        ("B SA 299 100", "SYN_RECEIVED"),
        ("A A 100 300", "ESTABLISHED"),
        ("A FA 100 300", "FIN_WAIT"),
        ("B A 300 101", "CLOSE_WAIT"),
        ("B FA 300 101", "LAST_ACK"),
        ("A A 101 301", "TIME_WAIT"),
    ],
    "13, both close at once": [
        ("A S 99", "SYN_SENT"),
        ("B SA 299 100", "SYN_RECEIVED"),
        ("A A 100 300", "ESTABLISHED"),
        ("A FA 100 300", "FIN_WAIT"),
        ("B FA 300 100", "LAST_ACK"),
        ("A A 101 301", "LAST_ACK"),
        ("B A 301 101", "TIME_WAIT"),
    ],
}
"""The figures of RFC 9293 (sections 3.5 and 3.6)."""

REBOOTS = {
    "both ends, and numbers far away": [
        *FIGURES["6, basic handshake"],
        ("A S 2000000000", "ESTABLISHED"),
        ("B SA 1000000000 2000000001", "SYN_RECEIVED"),
        ("A A 2000000001 1000000001", "ESTABLISHED"),
        ("B A 1000000001 2000000001 7", "ESTABLISHED"),
    ],
    "both ends, and the other end opens": [
        *FIGURES["6, basic handshake"],
        ("B S 2000000000", "ESTABLISHED"),
        ("A SA 1000000000 2000000001", "SYN_RECEIVED"),
        ("B A 2000000001 1000000001", "ESTABLISHED"),
    ],
    "both ends, with data on the SYN": [
        *FIGURES["6, basic handshake"],
        ("A S 2000000000 0 100", "ESTABLISHED"),
        ("B SA 1000000000 2000000101", "SYN_RECEIVED"),
        ("A A 2000000101 1000000001", "ESTABLISHED"),
    ],
    "an old duplicate SYN within a connection": [
        *FIGURES["6, basic handshake"],
        ("A S 90", "ESTABLISHED"),
        ("B A 301 111", "ESTABLISHED"),
        ("A A 111 301 10", "ESTABLISHED"),
    ],
}


ANSWERS = {
    "B answers anew with another number, and A has the first answer": [
        ("A S 100", "SYN_SENT"),
        ("B SA 300 101", "SYN_RECEIVED"),
        ("A S 100", "SYN_RECEIVED"),
        ("B SA 700 101", "SYN_RECEIVED"),
        ("A A 101 301", "ESTABLISHED"),
        ("B A 301 101 10", "ESTABLISHED"),
        ("A A 101 311 10", "ESTABLISHED"),
    ],
    "B answers anew with another number, and A has this answer": [
        ("A S 100", "SYN_SENT"),
        ("B SA 300 101", "SYN_RECEIVED"),
        ("A S 100", "SYN_RECEIVED"),
        ("B SA 700 101", "SYN_RECEIVED"),
        ("A A 101 701", "ESTABLISHED"),
        ("B A 701 101 10", "ESTABLISHED"),
        ("A A 101 711 10", "ESTABLISHED"),
    ],
    "a SYN comes again without its data, of which the answer is": [
        ("A S 100 0 100", "SYN_SENT"),
        ("A S 100", "SYN_SENT"),
        ("B SA 300 201", "SYN_RECEIVED"),
        ("A A 201 301", "ESTABLISHED"),
    ],
    "the answer is lost, and the SYN comes again without its data": [
        ("A S 100 0 100", "SYN_SENT"),
        ("B SA 300 201", "SYN_RECEIVED"),
        ("A S 100", "SYN_RECEIVED"),
        ("B SA 300 201", "SYN_RECEIVED"),
        ("A A 201 301", "ESTABLISHED"),
    ],
    "a later SYN comes again without its data": [
        ("A S 90", "SYN_SENT"),
        ("A S 100 0 100", "SYN_SENT"),
        ("A S 100", "SYN_SENT"),
        ("B SA 300 201", "SYN_RECEIVED"),
        ("A A 201 301", "ESTABLISHED"),
    ],
}
