"""The kernel's receive ring as a replicated channel: the replicas' side. No copy, no producer's core.

A request is a block of packets, or a control request that is placed between two blocks. Every replica walks them with
its own head; the first to claim one, by one compare-exchange on a word beside the ring, is its primary. What is right
about it, and the orders (modelled in tests/model):

- A block is read only when its number is the one that this replica expects *and then* its status says USER: a fast
  replica must not read again what a slow one still needs, nor a block that the kernel has opened anew (it writes the
  number when it opens the block, the status when it is done).
- Blocks go back to the kernel in order, those that no replica needs any more by its floor. Who raises its floor does
  it, under a lock that nobody waits for: who holds it looks at the floors again after letting go.
- Who joins stores its floor and its bit and then reads how far blocks may have gone back (LIMIT); who hands them back
  stores LIMIT and then reads bits and floors again. As in `scout.ring.membership`, one of them sees the other.
- Whoever opens a block first settles how many control requests come before it, by one compare-exchange on a word of
  the block (PLACES); until then that number may grow. So all replicas have them at one place, also if no packets come.

A replica's *place* is the number of requests, of both kinds, that it has let go of.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from scout.io.channels.tpacket import (
    BLOCK_FIRST,
    BLOCK_PACKETS,
    BLOCK_SEQUENCE,
    BLOCK_STATUS,
    STATUS_KERNEL,
    STATUS_USER,
    frame_end,
    frame_of,
    interface_of,
    next_frame,
    received_at,
    take_frame,
)
from scout.io.packet import NOT_HELD, OFFLOAD, RECORD
from scout.paths.wire.flow import EVERYONES
from scout.ring.atomics import (
    compare_exchange,
    exchange,
    fetch_and,
    fetch_or,
    load32,
    load32_acquire,
    load64,
    load64_acquire,
    load64_seq,
    store32_release,
    store64,
    store64_release,
)
from scout.ring.jit import Record, entry, inline
from scout.ring.segment import LINE
from scout.ring.turn import STOP
from scout.ring.wait import relax

__all__ = [
    "BLOCK_WORDS",
    "CONTROL",
    "CURSOR",
    "MOST_CONTROLS",
    "RING",
    "WORDS",
    "add_control",
    "advance_floor",
    "at_hand",
    "await_turn",
    "batch_number",
    "controls_done",
    "join",
    "position",
    "receive",
    "receive_sharded",
    "release",
    "resume",
    "retire",
    "snapshot_due",
    "waiting",
    "waiting_since",
]

GATING, LIMIT, HANDED, LOCK, TURN, TOLD = range(6)
"""The ring's words, a cache line each: the replicas that blocks are kept for; blocks before LIMIT may have gone back
to the kernel, those before HANDED have; who hands blocks back, or 0; the place whose packets may leave, for channel
order; control requests published."""
WORDS = 6

OWNER, PLACES = 0, 8
"""The words of a block, at these offsets of a cache line: its number + 1 and its primary + 1; and how many control
requests come before it, whether that is settled, and a tag of the round that it is said of."""
BLOCK_WORDS = LINE
_OWNERS, _COUNTS, _SETTLED = 6, 47, 1 << 47  # bits of the primary; bits of the count, and the one above them
_COUNT, _TAGS = _SETTLED - 1, (1 << 15) - 1

MOST_CONTROLS = 64
"""Control requests that wait to be dealt with; a power of two."""
PACKET_BITS = 20  # enough for the packets of a block
_SUPERVISOR = 1 << 6  # in LOCK

_NOTHING, _BLOCK, _CONTROL = 0, 1, 2  # what a replica has open, or next

CONTROL = np.dtype(
    [
        ("owner", "i8"),  # number + 1 and primary + 1, as of a block
        ("port", "i8"),
        ("kind", "i8"),
        ("stage", "i8"),
        ("argument", "i8"),
        ("timestamp", "i8"),
        ("spare", "i8", 2),
    ]
)
"""A control request, a cache line."""

RING = np.dtype(
    [
        ("ring", "i8"),  # address of the first block
        ("block_bytes", "i8"),
        ("blocks", "i8"),
        ("words", "i8"),  # address of the ring's words
        ("block_words", "i8"),  # address of the blocks' words
        ("cursors", "i8"),  # address of the replicas' cursors
        ("controls", "i8"),  # address of the control requests
        ("keeps", "i8"),  # not 0: requests are kept back to each replica's newest snapshot
        ("interval", "i8"),  # requests between snapshots, a power of two
        ("port", "i8"),  # index of the port, if there is one
        ("ports", "i8"),  # how many there are
        ("interfaces", "i8"),  # address of two int64 for each: the interface's index, and the port's
    ]
)
CURSOR = np.dtype(
    [
        ("sequence", "i8"),  # blocks let go of
        ("told", "i8"),  # control requests let go of
        ("floor", "i8"),  # blocks that are not needed any more
        ("told_floor", "i8"),  # control requests that are not
        ("kept", "i8"),  # the place of the newest snapshot
        ("block", "i8"),  # index of the block at hand
        ("open", "i8"),  # what is dequeued and not let go of
        ("primary", "i8"),  # not 0: this replica is primary of the batch at hand,
        ("mine", "i8"),  # and of the request
        ("remaining", "i8"),  # packets of the block not yet looked at
        ("next", "i8"),  # address of the next one
        ("finished", "i8"),  # place << PACKET_BITS | packets of that block whose work is done
        ("until", "i8"),  # what comes before this place is replayed: a predecessor has let go of it
        ("skip", "i8"),  # packets of the first block after it that the predecessor had done
        ("seen", "i8"),  # packets looked at
        ("claimed", "i8"),  # packets that this replica was primary of
        ("replayed", "i8"),  # packets replayed
        ("spare", "i8", 7),
    ]
)
"""Where a replica stands, three cache lines; written by it alone. Outlives it."""

_FIELDS: Any = CURSOR.fields
_FLOOR, _TOLD_FLOOR = (int(_FIELDS[name][1]) for name in ("floor", "told_floor"))
_CURSOR_BYTES = CURSOR.itemsize


@inline
def _word(ring: Record, number: int) -> int:
    return ring.words + number * LINE


@inline
def _block(ring: Record, number: int) -> int:
    """Address of the block of this number."""
    return ring.ring + number % ring.blocks * ring.block_bytes


@inline
def _of_block(ring: Record, number: int) -> int:
    """Address of its words. There are two rounds of them: a fast replica may be a round ahead of a slow one."""
    return ring.block_words + number % (2 * ring.blocks) * BLOCK_WORDS


@inline
def _tag(ring: Record, number: int) -> int:
    """What PLACES says of the round that the block is of."""
    return (number // (2 * ring.blocks) + 1) & _TAGS


@inline
def _control(ring: Record, number: int) -> int:
    """Address of the control request of this number."""
    return ring.controls + (number & (MOST_CONTROLS - 1)) * LINE


@inline
def _floor_of(ring: Record, replica: int) -> int:
    return ring.cursors + replica * _CURSOR_BYTES + _FLOOR


# Receiving.


@inline
def receive(ring: Record, cursor: Record, replica: int, batch: np.ndarray, copies: bool) -> int:
    """Fill `batch` with the next packets of the block at hand, or of the next; how many.

    A block that was opened stays open (`cursor.open`) until `release`, also if it is empty. With `copies`
    false a replica that is not the primary looks at the packets in the ring, where nobody may write.
    """
    if cursor.open == _NOTHING:
        what = _next(ring, cursor)
        if what == _NOTHING:
            return 0
        replays = cursor.sequence + cursor.told < cursor.until
        if what == _CONTROL:
            address = _control(ring, cursor.told)
            cursor.mine = 0 if replays else _elect(address, cursor.told, replica)
            return _take_control(cursor, batch, address)
        _open(ring, cursor)
        cursor.mine = 0 if replays else _elect(_of_block(ring, cursor.sequence) + OWNER, cursor.sequence, replica)
    count = min(cursor.remaining, batch.shape[0])
    cursor.primary = cursor.mine
    if cursor.mine and cursor.skip:
        count = min(count, cursor.skip)
        cursor.skip -= count
        cursor.primary = 0
    header = cursor.next
    port = ring.port
    in_place = not copies and cursor.primary == 0
    for index in range(count):
        if ring.ports > 1:
            port = _port_of(ring, header)
        take_frame(batch[index], batch.ctypes.data + index * RECORD, header, port, in_place)
        header = next_frame(header)
    _advance(cursor, header, count)
    if cursor.primary:
        cursor.claimed += count
    if cursor.sequence + cursor.told < cursor.until:
        cursor.replayed += count
    return count


@inline
def receive_sharded(
    ring: Record, cursor: Record, replica: int, batch: np.ndarray, shards: int, shard_of: Callable[..., int]
) -> int:
    """Fill `batch` with those of the next packets that this replica has one role for, by `shard_of`; how many.

    It is primary of its own flows' packets, and passes over those of others'. What is everyone's all see, the first
    replica as the primary. Control requests are for all, each as primary. What is replayed, or was done by a
    predecessor, is not this replica's to do; its own flows' state has it already.
    """
    if cursor.open == _NOTHING:
        what = _next(ring, cursor)
        if what == _NOTHING:
            return 0
        cursor.mine = 0 if cursor.sequence + cursor.told < cursor.until else 1
        if what == _CONTROL:
            return _take_control(cursor, batch, _control(ring, cursor.told))
        _open(ring, cursor)
    count = taken = 0
    role = -1
    header = cursor.next
    port = ring.port
    while count < cursor.remaining and taken < batch.shape[0]:
        owner = shard_of(frame_of(header), frame_end(header), shards)
        first = 0 if owner == EVERYONES else owner
        own = 1 if cursor.mine and cursor.skip == 0 and first == replica else 0
        if own or owner == EVERYONES:
            if taken and own != role:
                break  # a batch has one role
            role = own
            if ring.ports > 1:
                port = _port_of(ring, header)
            take_frame(batch[taken], batch.ctypes.data + taken * RECORD, header, port, False)
            taken += 1
        if cursor.mine and cursor.skip:
            cursor.skip -= 1
        header = next_frame(header)
        count += 1
    cursor.primary = 1 if role == 1 else 0
    _advance(cursor, header, count)
    if cursor.primary:
        cursor.claimed += taken
    if cursor.mine == 0:
        cursor.replayed += count
    return taken


@inline
def _next(ring: Record, cursor: Record) -> int:
    """What comes next for a replica that has nothing open: a block, a control request, or nothing yet."""
    word = _of_block(ring, cursor.sequence) + PLACES
    tag = _tag(ring, cursor.sequence)
    while True:
        found = load64_acquire(word)  # pairs with the exchanges below, of others
        said = found >> (_COUNTS + 1) == tag  # else nobody is past what came before the block before
        count = found & _COUNT if said else cursor.told
        if cursor.told < count:
            return _CONTROL
        if said and found & _SETTLED:
            return _BLOCK  # filled: whoever settled that has seen it, and we see what it saw
        published = load64_acquire(_word(ring, TOLD))  # pairs with add_control
        if published > count:
            proposed = tag << (_COUNTS + 1) | published
        elif _is_filled(ring, cursor):
            proposed = tag << (_COUNTS + 1) | _SETTLED | count
        else:
            return _NOTHING
        compare_exchange(word, found, proposed)  # acq_rel; by another's, if that was first, we go as well


@inline
def _is_filled(ring: Record, cursor: Record) -> bool:
    """True if the kernel has released the next block to us."""
    block = ring.ring + cursor.block * ring.block_bytes
    # Acquire, in this order: the number pairs with the kernel's opening of the block, the status with its release.
    if load64_acquire(block + BLOCK_SEQUENCE) != cursor.sequence + 1:
        return False  # of the round before: a slower replica still needs it
    return load32_acquire(block + BLOCK_STATUS) & STATUS_USER != 0


@inline
def _open(ring: Record, cursor: Record) -> None:
    """Open the next block, which is filled."""
    block = ring.ring + cursor.block * ring.block_bytes
    cursor.remaining = load32(block + BLOCK_PACKETS)
    cursor.next = block + load32(block + BLOCK_FIRST)
    cursor.open = _BLOCK


@inline
def _elect(word: int, number: int, replica: int) -> int:
    """Claim the request of this number, or find who has; 1 if `replica` is its primary, also by a predecessor."""
    mine = (number + 1) << _OWNERS | replica + 1
    found = load64_acquire(word)  # pairs with another replica's exchange
    if found >> _OWNERS != number + 1:
        if compare_exchange(word, found, mine):  # acq_rel, pairs with the others' loads
            return 1
        found = load64_acquire(word)
    return 1 if found == mine else 0


@inline
def _advance(cursor: Record, header: int, count: int) -> None:
    """Note that `count` packets of the block were looked at, up to `header`."""
    cursor.next = header
    cursor.remaining -= count
    cursor.seen += count


@inline
def _port_of(ring: Record, header: int) -> int:
    """Index of the port that a frame came by, where one ring serves several."""
    interface, entry = interface_of(header), ring.interfaces
    for _ in range(ring.ports - 1):
        if load64(entry) == interface:
            break
        entry += 16
    return load64(entry + 8)


@inline
def _take_control(cursor: Record, batch: np.ndarray, address: int) -> int:
    """Fill the first record from the control request at `address`; 1."""
    cursor.open = _CONTROL
    cursor.primary = cursor.mine
    cursor.remaining = 0
    cursor.seen += 1
    cursor.claimed += cursor.mine
    packet, record = batch[0], batch.ctypes.data
    store64(record + OFFLOAD, 0)
    packet.checksum_offset = 0
    packet.port = load64(address + 8)
    packet.control = load64(address + 16)
    packet.at = load64(address + 24)
    packet.argument = load64(address + 32)
    packet.timestamp = load64(address + 40)
    packet.link_broadcast = 0
    packet.held_since = NOT_HELD
    packet.tail_bytes = 0
    packet.origin = packet.frame = packet.end = packet.slot
    return 1


@inline
def await_turn(ring: Record, cursor: Record, stop: int) -> bool:
    """Wait until all packets before the request at hand have left, or the word at `stop` says STOP.

    False if those of the request have left too: a predecessor had sent them.
    """
    looks, here = 0, cursor.sequence + cursor.told
    while load64_acquire(_word(ring, TURN)) < here and load64_acquire(stop) != STOP:  # pairs with release
        relax(looks)
        looks += 1
    return load64_acquire(_word(ring, TURN)) <= here


@inline
def release(ring: Record, cursor: Record, replica: int, ordered: bool) -> None:
    """Note that the batch at hand is dealt with; let go of the request if all its packets are."""
    if cursor.open == _NOTHING:
        return
    here = cursor.sequence + cursor.told
    if cursor.open == _BLOCK:
        if cursor.primary:  # not while it skips what a predecessor had done
            packets = load32(ring.ring + cursor.block * ring.block_bytes + BLOCK_PACKETS)
            # One store: a successor skips these packets, of this block only.
            cursor.finished = here << PACKET_BITS | (packets - cursor.remaining)
        if cursor.remaining:
            return
    if ordered and cursor.mine and load64_acquire(_word(ring, TURN)) == here:  # else a predecessor had passed it on
        store64_release(_word(ring, TURN), here + 1)  # pairs with await_turn
    if cursor.open == _BLOCK:
        cursor.block = cursor.block + 1 if cursor.block + 1 < ring.blocks else 0
        cursor.sequence += 1  # a plain store, as that below: others only look at it
    else:
        cursor.told += 1
    cursor.open = _NOTHING
    if ring.keeps == 0:
        advance_floor(ring, cursor, replica)


# What a domain asks.


@inline
def snapshot_due(ring: Record, cursor: Record) -> bool:
    """True if the replica stands at a place where all save a snapshot, and has not yet."""
    here = cursor.sequence + cursor.told
    return cursor.open == _NOTHING and here & (ring.interval - 1) == 0 and cursor.kept != here


@inline
def waiting(ring: Record, cursor: Record) -> int:
    """How many packets wait in the block at hand, or in the next; 1 if a control request comes next."""
    if cursor.open:
        return cursor.remaining
    what = _next(ring, cursor)
    if what == _BLOCK:
        return load32(ring.ring + cursor.block * ring.block_bytes + BLOCK_PACKETS)
    return 1 if what == _CONTROL else 0


@inline
def waiting_since(ring: Record, cursor: Record) -> int:
    """When the first of what waits was received, nanoseconds since 1970."""
    if cursor.open:
        return received_at(cursor.next)
    if _next(ring, cursor) == _CONTROL:
        return load64(_control(ring, cursor.told) + 40)
    block = ring.ring + cursor.block * ring.block_bytes
    return received_at(block + load32(block + BLOCK_FIRST))


@inline
def position(ring: Record, cursor: Record) -> int:
    """How many requests the replica has let go of."""
    return cursor.sequence + cursor.told


@inline
def batch_number(ring: Record, cursor: Record) -> int:
    """What tells the batch at hand from all others of the channel."""
    return (cursor.sequence + cursor.told) << PACKET_BITS | cursor.remaining


@inline
def controls_done(ring: Record, cursor: Record) -> int:
    """How many of them were control requests."""
    return cursor.told


# Handing blocks back.


@inline
def advance_floor(ring: Record, cursor: Record, replica: int) -> None:
    """Need no more what came before the request at hand; what nobody needs goes back to the kernel."""
    cursor.kept = cursor.sequence + cursor.told
    store64_release(ring.cursors + replica * _CURSOR_BYTES + _TOLD_FLOOR, cursor.told)  # pairs with add_control
    # seq_cst, before the look at LOCK: who holds it lets go of it before it looks at the floors again.
    exchange(_floor_of(ring, replica), cursor.sequence)
    _hand_back(ring, replica + 1)


@inline
def _hand_back(ring: Record, me: int) -> None:
    """Give the blocks that nobody needs to the kernel, unless another is at it, who will look again."""
    while _lowest(ring) > load64_acquire(_word(ring, HANDED)):  # pairs with the store below
        if load64_seq(_word(ring, LOCK)) != 0:
            return
        if not compare_exchange(_word(ring, LOCK), 0, me):  # acquire, pairs with letting go below
            continue
        handed = load64(_word(ring, HANDED))
        limit = max(handed, _lowest(ring))  # never less, or one who joins now would believe it
        exchange(_word(ring, LIMIT), limit)  # seq_cst, before the second look; pairs with join
        confirmed = max(handed, min(limit, _lowest(ring)))
        if confirmed < limit:
            store64_release(_word(ring, LIMIT), confirmed)  # a joiner that passes by it needs nothing below
        while handed < confirmed:
            block = _block(ring, handed)
            # A holder may have died after it had handed the block back. Acquire, the status first: if it says USER and
            # the number read after it is still this one, it was of this round.
            is_ours = load32_acquire(block + BLOCK_STATUS) & STATUS_USER
            if is_ours and load64_acquire(block + BLOCK_SEQUENCE) == handed + 1:
                # Release: all was read before; pairs with the kernel's look before it fills the block.
                store32_release(block + BLOCK_STATUS, STATUS_KERNEL)
            handed += 1
            store64_release(_word(ring, HANDED), handed)
        exchange(_word(ring, LOCK), 0)  # seq_cst, before the next look at the floors: pairs with advance_floor


@inline
def _lowest(ring: Record) -> int:
    """The first block that is still needed; 0 if there is nobody."""
    gating, low, replica = load64_seq(_word(ring, GATING)), -1, 0  # pairs with join
    while gating >> replica:
        if gating >> replica & 1:
            floor = load64_seq(_floor_of(ring, replica))  # pairs with advance_floor: its blocks were read before
            low = floor if low < 0 else min(low, floor)
        replica += 1
    return max(low, 0)


# For the supervisor.

_RINGS = numba.types.Array(numba.from_dtype(RING), 1, "C")
_CURSORS = numba.types.Array(numba.from_dtype(CURSOR), 1, "C")
_NUMBER = numba.int64


@entry(numba.boolean(_RINGS, _CURSORS, _NUMBER, _NUMBER, _NUMBER, _NUMBER, _NUMBER))
def add_control(
    rings: np.ndarray, cursors: np.ndarray, port: int, kind: int, stage: int, argument: int, timestamp: int
) -> bool:
    """Publish a control request; False if there is no room. One thread at a time, and not while one joins."""
    ring = rings[0]
    number = load64(_word(ring, TOLD))
    gating, replica = load64_acquire(_word(ring, GATING)), 0
    while gating >> replica:
        floor = load64_acquire(ring.cursors + replica * _CURSOR_BYTES + _TOLD_FLOOR)  # pairs with advance_floor
        if gating >> replica & 1 and number - floor >= MOST_CONTROLS:
            return False
        replica += 1
    address = _control(ring, number)
    store64(address + 8, port)
    store64(address + 16, kind)
    store64(address + 24, stage)
    store64(address + 32, argument)
    store64(address + 40, timestamp)
    store64_release(_word(ring, TOLD), number + 1)  # pairs with _next
    return True


@entry(numba.boolean(_RINGS, _CURSORS, _NUMBER, _NUMBER, _NUMBER))
def join(rings: np.ndarray, cursors: np.ndarray, replica: int, place: int, told: int) -> bool:
    """Let `replica` take part from `place` on, where `told` control requests were let go of; False if that is too late.

    It is another replica's place, or that of a snapshot. If it was too late it takes no part yet, and a newer one is to
    be tried.
    """
    ring, cursor = rings[0], cursors[replica]
    if load64(_word(ring, TOLD)) - told > MOST_CONTROLS:
        return False
    sequence = place - told
    # What was claimed in this place before, by whom it may be, is not this one's.
    cursor.until = max(place, cursor.sequence + cursor.told, cursor.until)
    cursor.sequence, cursor.told, cursor.kept = sequence, told, place
    cursor.floor, cursor.told_floor = sequence, told
    cursor.block = sequence % ring.blocks
    cursor.open = cursor.skip = 0
    bit = 1 << replica
    fetch_or(_word(ring, GATING), bit)  # seq_cst: after the floor, before the load; pairs with _hand_back
    if load64_seq(_word(ring, LIMIT)) > sequence:
        fetch_and(_word(ring, GATING), ~bit)
        _hand_back(ring, _SUPERVISOR)  # what it had kept
        return False
    return True


@inline
def _unfinished(ring: Record, cursor: Record, replica: int) -> tuple[int, int, int]:
    """The place of the first request that was not let go of; whether this replica is its primary; its packets."""
    sequence, told = cursor.sequence, cursor.told
    here = sequence + told
    tag, found, count = 0, 0, 0
    while True:
        tag = _tag(ring, sequence)
        found = load64_acquire(_of_block(ring, sequence) + PLACES)  # pairs with _next
        if found >> (_COUNTS + 1) != tag:
            return here, 0, 0  # nobody has come to it
        count = found & _COUNT
        if here >= cursor.until:  # what is before it had been let go of
            break
        if told < count:
            told += 1
        else:
            sequence += 1
        here += 1
    # Acquire, pairs with _elect.
    if told < count:
        owner = load64_acquire(_control(ring, told))
        return here, 1 if owner == (told + 1) << _OWNERS | replica + 1 else 0, 1
    owner = load64_acquire(_of_block(ring, sequence) + OWNER)
    if owner != (sequence + 1) << _OWNERS | replica + 1:
        return here, 0, 0
    return here, 1, load32(_block(ring, sequence) + BLOCK_PACKETS)


@entry(_NUMBER(_RINGS, _CURSORS, _NUMBER))
def at_hand(rings: np.ndarray, cursors: np.ndarray, replica: int) -> int:
    """How many packets a `replica` that does not run is primary of and has not dealt with; at least 1 for a request."""
    _, request, packets = _unfinished(rings[0], cursors[replica], replica)
    return max(1, packets) if request else 0


@inline
def _free(ring: Record, replica: int) -> None:
    """Let go of the lock that a dead `replica` may hold; hand back what others relied on it for."""
    if load64_acquire(_word(ring, LOCK)) == replica + 1:  # nobody else changes it then
        exchange(_word(ring, LOCK), 0)  # seq_cst, as in _hand_back
    _hand_back(ring, _SUPERVISOR)


@entry(numba.void(_RINGS, _CURSORS, _NUMBER, _NUMBER, _NUMBER))
def resume(rings: np.ndarray, cursors: np.ndarray, replica: int, place: int, told: int) -> None:
    """Have a dead replica's successor begin at its own newest snapshot, and replay what came since."""
    ring, cursor = rings[0], cursors[replica]
    here = cursor.sequence + cursor.told
    if here >= cursor.until:  # else it died while it replayed, for a predecessor
        cursor.skip = cursor.finished & ((1 << PACKET_BITS) - 1) if cursor.finished >> PACKET_BITS == here else 0
        cursor.until = here
    cursor.sequence, cursor.told, cursor.kept = place - told, told, place
    cursor.block = cursor.sequence % ring.blocks
    cursor.open = 0
    # The dead may not have come to say so. The orders are those of advance_floor.
    store64_release(ring.cursors + replica * _CURSOR_BYTES + _TOLD_FLOOR, told)
    exchange(_floor_of(ring, replica), cursor.sequence)
    _free(ring, replica)


@entry(_NUMBER(_RINGS, _CURSORS, _NUMBER, numba.boolean))
def retire(rings: np.ndarray, cursors: np.ndarray, replica: int, ordered: bool) -> int:
    """Take out a dead `replica` that gets no successor; how many packets it was primary of. To be called repeatedly.

    In channel order it stays until all before its request have left.
    """
    ring, cursor = rings[0], cursors[replica]
    if load64_acquire(_word(ring, GATING)) >> replica & 1 == 0:
        return 0
    here, mine, packets = _unfinished(ring, cursor, replica)
    if mine and ordered:
        turn = load64_acquire(_word(ring, TURN))  # pairs with release
        if turn < here:
            return 0
        if turn == here:  # else it had passed the turn on before it died
            store64_release(_word(ring, TURN), here + 1)  # pairs with await_turn
    cursor.until = max(cursor.until, here + mine)
    fetch_and(_word(ring, GATING), ~(1 << replica))
    _free(ring, replica)
    return packets if mine else 0
