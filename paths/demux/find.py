"""How replicas find the path of a packet by its key: the records of the demux table, and the compiled search.

It is a tuple space: the patterns of one port, mask and rank form a *kind*, in which a hash of the masked key finds the
pattern. The kinds of a port are a list, the highest rank first, so the first pattern found is the right one. The
patterns of one bucket of the hash table are a list too.

Replicas search while the supervisor changes the lists (`scout.paths.demux.table`). They are at different positions of
their channels. So a pattern holds from one epoch of a channel to another, and each replica sees the patterns that hold
at its own position.
"""

import numpy as np

from scout.paths.wire.flow import mix_two
from scout.ring.atomics import load64_acquire
from scout.ring.jit import inline
from scout.ring.local import local

__all__ = [
    "ACCOUNTED",
    "ADMITTED",
    "ALWAYS",
    "DISCARDS",
    "ENTRY",
    "KIND",
    "LIMITED",
    "MOMENT",
    "NEVER",
    "NO_SHAPE",
    "PATH",
    "PORT",
    "QUEUE_UP",
    "SEEN",
    "bucket_of",
    "find",
    "find_again",
    "forget",
    "memo",
    "native_bucket_of",
]

ALWAYS, NEVER = 0, (1 << 63) - 1
"""The epochs from which, and until which, a pattern holds that is there all the time."""

PORT = np.dtype([("first", "i8"), ("default", "i8"), ("mask_0", "i8"), ("mask_1", "i8")])
"""For each port its first kind, 0 if there is none; the number of its default path, or `NO_PATH`; and the bits of a key
that any of its kinds looks at: packets whose keys are alike in these take the same path."""

KIND = np.dtype([("next", "i8"), ("mask_0", "i8"), ("mask_1", "i8"), ("spare", "i8")])
"""A kind of patterns; `next` is the number of the next kind of its port, 0 at the end."""

ENTRY = np.dtype(
    [
        ("next", "i8"),  # the next entry of the same bucket, 0 at the end
        ("word_0", "i8"),
        ("word_1", "i8"),
        ("kind", "i8"),
        ("path", "i8"),
        ("born", "i8"),  # the first epoch in which it holds
        ("died", "i8"),  # the first epoch in which it does not hold any more
        ("spare", "i8"),
    ]
)
"""A pattern and its path, one cache line."""

PATH = np.dtype([("shape", "i2"), ("first", "i2"), ("queue", "i2"), ("port", "i2")])
"""For each number of a path: the number of its shape, or `NO_SHAPE`; that of the shape by which demux has packets
served at once, plus `ACCOUNTED` if what they use is accounted for, or `QUEUE_UP` if it puts them into the path's queue,
or `DISCARDS` if it drops them where they lie; the index of that queue, or `LIMITED` for a path without one, whose
packets are dropped where they lie while it is over its budget; and the index of the port at which the path begins."""

NO_SHAPE, QUEUE_UP, DISCARDS = -1, -2, -3
LIMITED = -1
ACCOUNTED = 1 << 14

_PORT, _KIND, _ENTRY = PORT.itemsize, KIND.itemsize, ENTRY.itemsize  # a record begins with its link


_SEED_0, _SEED_1 = -0x0E37_79B9_7F4A_7C15, -0x4B47_D0C3_A5B6_E9D1
"""Numbers that the two words of a key are mixed with: a product with 0 would lose the other word. Keys that become 0
all the same, as of a packet from an address in 240/4, share a bucket, and are compared there like all others."""

_KIND_BITS = 48  # of the second word, below the number of its kind


def bucket_of(kind: int, word_0: int, word_1: int, buckets: int) -> int:
    """The bucket of a pattern, 0 to `buckets` - 1, which is a power of two. Compiled: `native_bucket_of`."""
    return mix_two(word_0 ^ _SEED_0, word_1 ^ kind << _KIND_BITS ^ _SEED_1) & buckets - 1


native_bucket_of = inline(bucket_of)


@inline
def find(
    ports: np.ndarray,
    kinds: np.ndarray,
    heads: np.ndarray,
    entries: np.ndarray,
    port: int,
    word_0: int,
    word_1: int,
    epoch: int,
) -> int:
    """The number of the path that has the packets of a key at a port in an epoch; for compiled code.

    The loads of links acquire: they pair with the release by which the supervisor has a link lead to a record.
    """
    kind = load64_acquire(ports.ctypes.data + port * _PORT)
    while kind:
        mask = kinds[np.uintp(kind)]
        masked_0, masked_1 = word_0 & mask.mask_0, word_1 & mask.mask_1
        bucket = native_bucket_of(kind, masked_0, masked_1, heads.shape[0])
        number = load64_acquire(heads.ctypes.data + bucket * 8)
        while number:
            entry = entries[np.uintp(number)]
            if (
                entry.word_0 == masked_0
                and entry.word_1 == masked_1
                and entry.kind == kind
                and entry.born <= epoch < entry.died
            ):
                return entry.path
            number = load64_acquire(entries.ctypes.data + number * _ENTRY)
        kind = load64_acquire(kinds.ctypes.data + kind * _KIND)
    return ports[np.uintp(port)].default


memo = local(7)
"""Room for what is remembered from one packet of a batch to the next; for compiled code."""

_KEY_0, _KEY_1, _FOUND, _AT, MOMENT, ADMITTED, SEEN = range(7)
"""The words of a memo: the key of the packet before, its path, its port; and for the accounts of paths a time, 0 if no
clock was read yet, and how many packets are accounted for; and when the newest packet was received, -1 if there was
none."""


@inline
def forget(memo: np.ndarray) -> None:
    """Remember nothing: where a batch begins, as the epoch may have changed."""
    memo[_AT], memo[MOMENT], memo[ADMITTED], memo[SEEN] = -1, 0, 0, -1


@inline
def find_again(
    memo: np.ndarray,
    ports: np.ndarray,
    kinds: np.ndarray,
    heads: np.ndarray,
    entries: np.ndarray,
    port: int,
    word_0: int,
    word_1: int,
    epoch: int,
) -> int:
    """As `find`, without a search if the packet before differs in nothing that a pattern looks at.

    Masks may change between two packets of a batch. Patterns that come then hold from a later epoch on.
    """
    row = ports[np.uintp(port)]
    unlike = (word_0 ^ memo[_KEY_0]) & row.mask_0 | (word_1 ^ memo[_KEY_1]) & row.mask_1
    if unlike | memo[_AT] ^ port == 0:
        return memo[_FOUND]
    path = find(ports, kinds, heads, entries, port, word_0, word_1, epoch)
    memo[_KEY_0], memo[_KEY_1], memo[_FOUND], memo[_AT] = word_0, word_1, path, port
    return path
