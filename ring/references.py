"""The reference count of a request, with names: who has yet to dequeue it, who has yet to let go of it.

The paper gives each entry a count that every replica decrements once: the first to decrement is the
primary, the last frees the entry. Here the count is a word with a bit for each replica in either half,
and a replica decrements it by its own bit, so that

- the lower half says who has yet to *dequeue*: whoever finds it full is the first, hence the primary;
- the upper half says who has yet to *release*: whoever takes the last bit frees the entry. A request
  that is used in place (a frame in the kernel's ring) is released when its work is done;
- what a replica that died had taken is known, and no part is taken twice. A plain count cannot tell whether the dead
  had decremented.

It still costs one `lock xadd` a step, as a count does; at most 31 replicas fit.

Every decrement is acq_rel. Release: what a replica read or wrote of the request happens before the next
use of the entry. Acquire: the last one sees all of that. It pairs with the other replicas' decrements
and with the acquire load by which a producer finds the entry free.
"""

from scout.ring.jit import inline
from scout.ring.memory import fetch_sub, load64_acquire

__all__ = ["dequeue", "everyone", "release", "unreleased", "waits_for"]

_HALF = 32
_LOWER = (1 << _HALF) - 1


@inline
def everyone(members: int) -> int:
    """The word of a fresh request for `members`, a mask with a bit for each replica."""
    return members | members << _HALF


@inline
def waits_for(word: int, replica: int) -> bool:
    """True if `replica` has yet to dequeue. Acquire, pairs with a predecessor's decrement."""
    return load64_acquire(word) >> replica & 1 == 1


@inline
def dequeue(word: int, replica: int, members: int) -> bool:
    """Take `replica`'s dequeue bit; True if it was the first of `members`: the primary."""
    return fetch_sub(word, 1 << replica) & _LOWER == members


@inline
def release(word: int, replica: int) -> bool:
    """Take `replica`'s release bit; True if it was the last: the entry is free."""
    return fetch_sub(word, 1 << (_HALF + replica)) >> _HALF == 1 << replica


@inline
def unreleased(word: int) -> int:
    """The mask of replicas that have yet to release; 0: free. Acquire, pairs with their decrements."""
    return load64_acquire(word) >> _HALF
