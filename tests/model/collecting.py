"""Requests of replicas become one sequence, as in `_first_producer` and `_collect_from` of `io.endpoints.collect`.

Batch b belongs to replica b modulo the number of replicas. Batches leave in their order: a replica publishes the
request of its batch (TAIL of its ring), and then passes the turn. A collector looks at the rings one after the other,
and takes the request of the earliest batch that it has found. The requests must come in the order of their batches.
"""

from typing import Any, NamedTuple

from model.explore import Broken, Model, put

__all__ = ["CollectingModel"]


class Memory(NamedTuple):
    """Batches that left; how many each replica has published; those that were taken, in order."""

    turn: int
    published: tuple[int, ...]
    taken: tuple[int, ...] = ()


class Process(NamedTuple):
    name: str
    at: str | None
    replica: int = -1
    batch: int = 0
    ring: int = 0
    chosen: int = -1
    found: bool = False


class CollectingModel(Model):
    bugs = ("one look",)  # the collector takes the earliest request that one look at all rings has found

    def __init__(self, bug: str = "", replicas: int = 2, batches: int = 4) -> None:
        super().__init__(bug)
        self.replicas, self.batches = replicas, batches

    def initial(self) -> Any:
        replicas = [Process(f"replica {each}", "publish", each, each) for each in range(self.replicas)]
        return Memory(0, (0,) * self.replicas), (*replicas, Process("the collector", "look"))

    def finished(self, state: Any) -> bool:
        memory, _ = state
        if memory.taken != tuple(range(len(memory.taken))):
            raise Broken("a later batch came first")
        return len(memory.taken) == self.batches

    def publish(self, memory: Memory, me: Process) -> Any:
        if memory.turn != me.batch:
            return None
        published = put(memory.published, me.replica, memory.published[me.replica] + 1)
        return memory._replace(published=published), me._replace(at="pass_turn")

    def pass_turn(self, memory: Memory, me: Process) -> Any:
        after = me.batch + self.replicas
        return memory._replace(turn=me.batch + 1), me._replace(
            at="publish" if after < self.batches else None, batch=after
        )

    def look(self, memory: Memory, me: Process) -> Any:
        """At one ring; behind the last one again at all of them, if this look has found an earlier request."""
        had = sum(batch % self.replicas == me.ring for batch in memory.taken)
        if memory.published[me.ring] > had:
            batch = me.ring + had * self.replicas
            if me.chosen < 0 or batch < me.chosen:
                me = me._replace(chosen=batch, found=True)
        if me.ring + 1 < self.replicas:
            return memory, me._replace(ring=me.ring + 1)
        again = me.chosen < 0 or (me.found and self.bug != "one look")
        return memory, me._replace(ring=0, found=False, at="look" if again else "take")

    def take(self, memory: Memory, me: Process) -> Any:
        after = memory._replace(taken=(*memory.taken, me.chosen))
        return after, me._replace(chosen=-1, at="look" if len(after.taken) < self.batches else None)
