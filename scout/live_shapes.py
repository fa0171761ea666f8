"""Shapes that come while packets flow: linked at once, fused in the background, swapped in at one request.

A path of a new shape runs in the linked tier (`scout.paths.compiler.linked`) as soon as its stages are compiled one by
one, which the builder does for the stages of the start. Then the builder fuses it, the code is loaded into memory that
all replicas execute (`scout.ring.code_memory`), and a change sets the tier of its slot: every replica runs the fused
code from the same request on.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial

from scout.builder import Builder
from scout.changes import Changes
from scout.domain import CompiledDomain
from scout.domain_arguments import Channels
from scout.domain_plan import is_ordered, is_sharded
from scout.path_table import PathTable
from scout.paths.compiler.context import check_room
from scout.paths.compiler.objects import Unit, fused_unit, stage_unit
from scout.paths.compiler.plan import Plan as PathPlan
from scout.paths.compiler.plan import lower
from scout.paths.model.change import Amendment
from scout.paths.model.path import Path
from scout.paths.model.stage import Stage
from scout.plan import Plan
from scout.ring.errors import ScoutError
from scout.shape_memory import FUSED, MOST_SHAPES, ShapeMemory
from scout.shapes import Shape

__all__ = ["LiveShapes"]

_NAP = 0.01  # seconds until a change that found no room is tried again


class LiveShapes:
    """The shapes of a run that were not there at the start.

    Parameters
    ----------
    plan : Plan
    channels : sequence of tuple
        The channels, each with its paths.
    paths : PathTable
    memory : ShapeMemory
    domain : CompiledDomain
    changes : Changes
    builder : Builder
    say : callable
        Called with a sentence about what takes long, or fails.
    """

    def __init__(
        self,
        plan: Plan,
        channels: Channels,
        paths: PathTable,
        memory: ShapeMemory,
        domain: CompiledDomain,
        changes: Changes,
        builder: Builder,
        say: Callable[[str], None],
    ) -> None:
        self._plan, self._channels, self._paths, self._memory = plan, channels, paths, memory
        self._domain, self._changes, self._builder, self._say = domain, changes, builder, say
        self._kinds = {id(table): table.kind for table in domain.tables}
        self._routers = {router.name for router in plan.graph.routers}
        self._loaded: dict[str, int] = {}  # addresses of code, by the digests of its units
        self._linked: deque[tuple[Shape, Unit]] = deque()  # shapes whose fused code was not asked for yet
        self._admitting = threading.Lock()  # held while stages are compiled
        self._loading = threading.Lock()

    def prepare(self) -> None:
        """Have the stages that new paths are likely to have at hand: load them, or compile them, in the background."""
        if self._memory.loader:
            threading.Thread(target=self._prepare, name="scout-stages", daemon=True).start()

    def _prepare(self) -> None:
        units = [stage_unit(node, stage) for node, stage in self._likely()]
        self._load_found(units, "")
        if missing := [unit for unit in units if unit.found() is None]:
            self._builder.submit(partial(_build, missing), partial(self._load_found, missing))

    def admit(self, path: Path) -> Shape:
        """The shape of a path, which is made if it is new; it waits for stages that are not compiled yet.

        Raises
        ------
        ScoutError
            If this run cannot have such a path; says why.
        """
        with self._admitting:
            if found := self._paths.shapes.find(path):
                return found
            channel = self._check(path)
            plan = lower(path)
            unit = fused_unit(plan)  # refuses what could not be fused, before anything is done
            stages = self._stages(path, plan)
            shape = self._paths.admit(path)
            self._memory.place(shape.number, plan, channel, stages)
            self._linked.append((shape, unit))
            return shape

    def fuse(self) -> None:
        """Have the shapes that were admitted fused in the background; their paths have come, or were refused."""
        while self._linked:
            with suppress(IndexError):  # another thread took it
                shape, unit = self._linked.popleft()
                self._builder.submit(partial(_build, [unit]), partial(self._fused, shape, unit))

    def _likely(self) -> list[tuple[str, Stage]]:
        """The stages that new paths are likely to have: those of the start, and those that routers' rules bring."""
        plans = {id(plan): plan for plan in map(lower, self._plan.paths)}  # paths of a shape may share it
        found = [(block.node, block.stage) for plan in plans.values() for block in plan.blocks.values()]
        rules = dict.fromkeys(rule for router in self._plan.graph.routers for rule in router.rules)
        return [*found, *((rule.name, stage) for rule in rules for stage in rule.stages)]

    def _load_found(self, units: Sequence[Unit], error: str) -> None:
        """Load those that are compiled; what does not compile by itself is reported when a path needs it."""
        for unit in units:
            with suppress(ScoutError, OSError):
                self._load(unit)

    def _check(self, path: Path) -> int:
        """Refuse what a run cannot take in; the index of the path's channel."""
        begin = f"path {path.name!r}: its shape is new"
        if self._memory.loader is None:
            raise ScoutError(f"{begin}, and {self._memory.refusal}; give the supervisor a path of it at the start")
        if len(self._paths.shapes) == len(self._memory.codes):
            raise ScoutError(f"{begin}, and this run has got {MOST_SHAPES} new ones already; start the router anew")
        plan = lower(path)
        check_room(plan)
        served = [index for index, (_, paths) in enumerate(self._channels) if path.source in _sources(paths)]
        if not served:
            raise ScoutError(f"{begin}, and no path began at {path.source} at the start; give the supervisor one then")
        index, paths = served[0], self._channels[served[0]][1]
        if path.release_order == "channel" and not is_ordered(paths):
            raise ScoutError(f"{begin}, and packets leave its channel as completed; leave order out")
        if is_sharded(path) != is_sharded(paths[0]):
            raise ScoutError(f"{begin}, and flows are sharded among replicas on all paths of a channel, or on none")
        if makers := list(path.emissions):
            raise ScoutError(f"{begin}, and {makers[0]} makes packets; give the supervisor a path of it at the start")
        for node, stage in path.stages.items():
            router = path.nodes[node]["router"]
            if router in self._plan.graph and router not in self._routers:
                raise ScoutError(f"{begin}, and its router {router} came after the start; start the router anew")
            if any(self._kinds.get(id(table)) != table.kind for table in stage.tables.values()):
                raise ScoutError(
                    f"{begin}, and no path had the tables of stage {node} at the start; give the supervisor one then"
                )
        if path.waits and not self._plan.delays:
            raise ScoutError(f"{begin}, and packets waited on no path at the start; give the supervisor one then")
        if path.replicated and not self._plan.keeps_state:
            raise ScoutError(f"{begin}, and this run has no state that is the same in all replicas")
        if _writes(path) and not any(map(_writes, paths)):
            raise ScoutError(
                f"{begin}, and other replicas would write packets, as on no path of its channel at the start"
            )
        for router in self._plan.sequenced:
            through = {
                other for other, (_, each) in enumerate(self._channels) if any(router in p.routers for p in each)
            }
            if router in path.routers and through != {index}:
                raise ScoutError(f"{begin}, and {router} wants all its packets from one channel, which is another one")
        return index

    def _stages(self, path: Path, plan: PathPlan) -> dict[str, int]:
        """The addresses of a path's stages, by node; waits for those that are not compiled."""
        units = {node: stage_unit(node, block.stage) for node, block in plan.blocks.items()}
        missing = {node: unit for node, unit in units.items() if not (unit.digest in self._loaded or unit.found())}
        if missing:
            self._say(f"path {path.name!r} has its packets when its new stages are compiled: {', '.join(missing)}")
            self._builder.do(partial(_build, list(missing.values())))
        return {node: self._load(unit) for node, unit in units.items()}

    def _load(self, unit: Unit) -> int:
        """Load what a unit was compiled to, unless it was loaded; its address."""
        assert self._memory.loader
        with self._loading:
            if unit.digest not in self._loaded:
                found = unit.found()
                if found is None:
                    raise ScoutError(f"the code of {unit.of.name} is not in the cache any more; try again")
                self._loaded[unit.digest] = self._memory.loader.load(found)
            return self._loaded[unit.digest]

    def _fused(self, shape: Shape, unit: Unit, error: str) -> None:
        """Swap the fused code in."""
        try:
            if error:
                raise ScoutError(error)
            self._memory.fuse(shape.number, self._load(unit))
        except (ScoutError, OSError) as cause:  # OSError: the cache cannot be read
            if not self._builder.is_closed:  # else it was interrupted by the end of the run
                self._say(f"path {shape.path.name!r} stays in the linked tier: {cause}")
            return
        while not self._builder.is_closed:
            with suppress(ScoutError):  # a channel has no room yet
                self._changes.amend(lambda epoch: [Amendment({self._domain.tiers[shape.number]: FUSED})])
                shape.tier, shape.file = "fused", unit.source
                return
            time.sleep(_NAP)


def _sources(paths: Sequence[Path]) -> set[str]:
    return {path.source for path in paths}


def _writes(path: Path) -> bool:
    """True if replicas that are not the primary write packets."""
    return any(path.nodes[node]["stage"].writes for node in path.replicated)


def _build(units: Sequence[Unit]) -> None:
    """The work of the builder's process."""
    for unit in units:
        if unit.found() is None:
            unit.build()
