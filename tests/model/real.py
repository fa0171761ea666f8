"""The functions of `scout.ring` and of the kernel's ring themselves, under the explorer.

`load` executes the sources of these modules as plain Python, on a model of memory: `scout.ring.atomics` is replaced by
functions that access the model's words, one step each, and nothing is compiled. So what is explored is the code that
runs, and a seeded bug is a change to its text.

A state has the words in memory, and for each process the operation that it is in and the results of its accesses in it
so far. As a function's behaviour follows from what it has read, that is all of its state: a step runs the operation
again up to its next access to memory, which is made on the state's own copy. Accesses to fields of a replica's own
record are no steps, as no other process looks at them while the replica lives. Memory is sequentially consistent
(`model.explore`).
"""

import builtins
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import scout.ring
from model.explore import Broken, Model, put
from scout.ring.layout import MEMBER

__all__ = ["Again", "Code", "Process", "RealModel", "Words", "load"]

_RING = Path(scout.ring.__file__).parent
_CHANNELS = _RING.parent / "io" / "channels"
_MODULES = {
    "scout.ring.layout": _RING / "layout.py",
    "scout.ring.claims": _RING / "claims.py",
    "scout.ring.election": _RING / "election.py",
    "scout.ring.floors": _RING / "floors.py",
    "scout.ring.turn": _RING / "turn.py",
    "scout.ring.batch": _RING / "batch.py",
    "scout.ring.membership": _RING / "membership.py",
    "scout.ring.retirement": _RING / "retirement.py",
    "scout.ring.producer": _RING / "producer.py",
    "scout.io.channels.kernel_ring_protocol": _CHANNELS / "kernel_ring_protocol.py",
}
_WORDS, _MEMBERS, _MARKS, _ENTRIES, _CONTROLS = (number << 20 for number in range(1, 6))
Patch = tuple[str, str, str]
"""A module's last name, text that it contains once, and what is there instead."""


class Again(Exception):
    """Raised where a process waits for another: it begins the operation anew."""


class _Suspended(Exception):
    """Raised where the step ends: at the access after the one that was made."""


class _Memory:
    """Memory, as the process that makes a step sees it."""

    def __init__(self) -> None:
        self.words: dict[Any, int] = {}
        self.results: list[int] = []
        self.known = self.at = 0
        self.stepped = False
        self.private: frozenset[int] = frozenset()
        """Addresses of which accesses are no steps."""

    def begin(self, words: dict[Any, int], results: tuple[int, ...]) -> None:
        self.words, self.results, self.known, self.at, self.stepped = words, list(results), len(results), 0, False

    def access(self, operation: Callable[[dict[Any, int]], int], step: bool = True) -> int:
        """Do `operation` on memory, or recall its result if that was done in a step before."""
        if self.at == self.known:
            if step and self.stepped:
                raise _Suspended
            self.stepped |= step
            self.results.append(operation(self.words))
            self.known += 1
        self.at += 1
        return self.results[self.at - 1]


class Code:
    """The modules, by their last names, and the memory that they work on."""

    def __init__(self, patches: tuple[Patch, ...] = ()) -> None:
        self.memory = _Memory()
        self._loaded: dict[str, Any] = {
            "scout.ring.atomics": _atomics(self.memory),
            "scout.ring.jit": SimpleNamespace(inline=_same, entry=lambda signature: _same, Record=Any),
            "scout.ring.bell": SimpleNamespace(ring_bell=lambda bell: None),
            "scout.ring.wait": SimpleNamespace(relax=_wait, wake=lambda channel: None),
        }
        unused = list(patches)
        for name, path in _MODULES.items():
            text = path.read_text()
            for patch in patches:
                module, old, new = patch
                if name.endswith(f".{module}"):
                    assert text.count(old) == 1, f"{module} has {text.count(old)} times: {old}"
                    text = text.replace(old, new)
                    unused.remove(patch)
            loaded = ModuleType(name)
            loaded.__dict__["__builtins__"] = vars(builtins) | {"__import__": self._import}
            exec(compile(text, str(path), "exec"), loaded.__dict__)
            if "_SPINS" in loaded.__dict__:
                loaded.__dict__["_SPINS"] = 0  # the looks of a spin that see nothing new need not be told apart
            self._loaded[name] = loaded
        assert not unused, unused

    def _import(self, name: str, *arguments: Any) -> Any:
        return self._loaded[name] if name in self._loaded else builtins.__import__(name, *arguments)

    def __getattr__(self, name: str) -> Any:
        """A function or constant, from whichever module has it."""
        for module in self._loaded.values():
            if hasattr(module, name):
                return getattr(module, name)
        raise AttributeError(name)

    def ghost(self, key: Any, value: int | None = None) -> int:
        """Read, or set, what only the checks know."""
        if value is not None:
            return self.memory.access(lambda words: words.__setitem__(("ghost", key), value) or 0, step=False)
        return self.memory.access(lambda words: words.get(("ghost", key), 0), step=False)


def load(*patches: Patch) -> Code:
    """The modules, with their texts changed by `patches`."""
    return Code(patches)


def _same(function: Any) -> Any:
    return function


def _wait(looks: int) -> None:
    raise Again


def _atomics(memory: _Memory) -> Any:
    def load(address: int) -> int:
        return memory.access(lambda words: words.get(address, 0), address not in memory.private)

    def store(address: int, value: int) -> None:
        memory.access(lambda words: words.__setitem__(address, value) or 0, address not in memory.private)

    def change(new: Callable[[int, int], int]) -> Callable[[int, int], int]:
        def fetch(address: int, value: int) -> int:
            def operation(words: dict[Any, int]) -> int:
                before = words.get(address, 0)
                words[address] = new(before, value)
                return before

            return memory.access(operation)

        return fetch

    def compare_exchange(address: int, expected: int, value: int) -> bool:
        def operation(words: dict[Any, int]) -> int:
            if words.get(address, 0) != expected:
                return 0
            words[address] = value
            return 1

        return memory.access(operation) == 1

    loads = ("load32", "load64", "load32_acquire", "load64_acquire", "load64_seq")
    stores = ("store32", "store64", "store32_release", "store64_release")
    nothing = ("pause", "prefetch", "prefetch_read", "fence")
    return SimpleNamespace(
        **dict.fromkeys(loads, load),
        **dict.fromkeys(stores, store),
        **dict.fromkeys(nothing, lambda *arguments: None),
        compare_exchange=compare_exchange,
        exchange=change(lambda before, value: value),
        fetch_or=change(lambda before, value: before | value),
        fetch_and=change(lambda before, value: before & value),
        fetch_sub=change(lambda before, value: before - value),
        popcount=int.bit_count,
    )


_OFFSETS = {name: int(MEMBER.fields[name][1]) for name in MEMBER.names or ()}  # type: ignore[index]


class _Member:
    """A replica's record: its fields are words of the model's memory."""

    def __init__(self, memory: _Memory, base: int) -> None:
        self.__dict__.update(_memory=memory, _base=base)

    def __getattr__(self, name: str) -> int:
        address = self._base + _OFFSETS[name]
        return int(self._memory.access(lambda words: words.get(address, 0), step=False))

    def __setattr__(self, name: str, value: int) -> None:
        address = self._base + _OFFSETS[name]
        self._memory.access(lambda words: words.__setitem__(address, value) or 0, step=False)


Words = frozenset[tuple[Any, int]]
"""Memory: the words that were stored, by address; and what only the checks know."""


class Process(NamedTuple):
    """Where a process is: the operation, its arguments, the results of its accesses so far."""

    name: str
    slot: int
    at: str | None
    arguments: tuple[int, ...] = ()
    results: tuple[int, ...] = ()


class RealModel(Model):
    """Processes whose operations are methods: `operation(slot, *arguments)` returns the next one and its arguments.

    Parameters
    ----------
    patches : sequence of Patch
        Seeded bugs.
    entries, batch, interval : int
        Of the channel.
    """

    policy = 0

    def __init__(
        self,
        *patches: Patch,
        entries: int = 2,
        batch: int = 1,
        interval: int = 1,
        keeps: bool = False,
        replicas: int = 2,
        dies: bool = False,
    ) -> None:
        super().__init__()
        self.code, self.replicas = load(*patches), replicas
        self.channel = SimpleNamespace(
            ring=_ENTRIES,
            entries=entries,
            stride=64,
            words=_WORDS,
            members=_MEMBERS,
            marks=_MARKS,
            mark_count=entries,
            mark_stride=8,
            lap_bits=entries.bit_length() - 1,
            policy=self.policy,
            batch=batch,
            group=batch if self.policy else 1,
            interval=interval,
            keeps=int(keeps),
            laps=0,
            wakes=0,
            bell=0,
            controls=_CONTROLS,
        )
        bytes_ = MEMBER.itemsize
        self.members = [_Member(self.code.memory, _MEMBERS + number * bytes_) for number in range(replicas)]
        # Only a successor looks at these: how their stores are ordered matters where there are deaths.
        if not dies:
            offsets = [_OFFSETS[name] for name in ("head", "end")]
            self.code.memory.private = frozenset(
                _MEMBERS + number * bytes_ + offset for number in range(replicas) for offset in offsets
            )

    def word(self, number: int) -> int:
        return int(self.channel.words + number * 64)

    def successors(self, state: Any) -> Iterator[tuple[str, Any]]:
        shared, processes = state
        for index, me in enumerate(processes):
            if me.at is None:
                continue
            outcome = self._step(shared, me)
            if outcome is not None:
                yield f"{me.name}: {me.at}{me.arguments}", (outcome[0], put(processes, index, outcome[1]))
            for label, then in self.choices(dict(shared), me):
                yield f"{me.name}: {label}", (frozenset(then[0].items()), put(processes, index, then[1]))

    def choices(self, words: dict[Any, int], me: Process) -> Iterator[tuple[str, tuple[dict[Any, int], Process]]]:
        """The events besides a process's next step that may happen to it, such as a death; by default none."""
        return iter(())

    def _step(self, shared: Words, me: Process) -> tuple[Words, Process] | None:
        memory = self.code.memory
        words = dict(shared)
        memory.begin(words, me.results)
        try:
            then, *arguments = getattr(self, str(me.at))(me.slot, *me.arguments)
            after = me._replace(at=then, arguments=tuple(arguments), results=())
        except _Suspended:
            after = me._replace(results=tuple(memory.results))
        except Again:
            after = me._replace(results=())
            if not me.results and words == dict(shared):
                return None
        except Broken as broken:
            raise Broken(f"{me.name}: {me.at}: {broken}") from None
        return frozenset(words.items()), after

    def ghost(self, key: Any, value: int | None = None) -> int:
        return self.code.ghost(key, value)

    def require(self, condition: bool, what: str) -> None:
        if not condition:
            raise Broken(what)
