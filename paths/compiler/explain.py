"""A path explained to people: its stages, what became constants, what is read at run time."""

from scout.paths.compiler.native import compile_path
from scout.paths.compiler.plan import Block, at, lower
from scout.paths.model.path import Path

__all__ = ["explain"]


def explain(path: Path) -> str:
    """See `Path.explain`."""
    plan = lower(path)
    state = "in the linked tier, each stage called by its address"
    if path.tier != "linked":
        file = path.runs_as.file if path.runs_as else compile_path(path).file
        state = f"fused into {file}"
    lines = [f"path from {path.source}, order {path.release_order}, {state}"]
    lines.append(f"packets: {path.attributes}")
    if path.applied:
        lines.append("rules applied:")
        lines += [f"      {each.rule}, at {each.node}{f': {each.text}' * bool(each.text)}" for each in path.applied]
    if path.relies_on:
        lines += ["relies on:", *(f"      {fact}" for fact in path.relies_on)]
    for block in plan.blocks.values():
        lines += _stage(block, leads=block.node in plan.replicated and not block.stage.keeps_state)
        if made := path.emissions.get(block.node):
            lines.append(f"      makes packets that begin at {made}")
    lines.append("constants in the code: the verdicts, headers pulled and pushed, port numbers")
    lines.append("read from one record, once a batch:")
    record = plan.configuration
    lines += [f"      {name} = {record[name][0]}" for name in plan.parameters] or ["      nothing"]
    lines += [f"      {name} = {plan.tables[table].initial[0]}, a setting" for name, table in plan.settings.items()]
    lines.append("tables:")
    lines += [
        f"      {name}: {table.kind}, {table.initial.shape[0]} of {table.initial.dtype.itemsize} bytes"
        for name, table in plan.tables.items()
        if table.kind != "setting"
    ] or ["      none"]
    lines.append(f"replicated on every core: {', '.join(n for n in plan.blocks if n in plan.replicated) or 'nothing'}")
    return "\n".join(lines)


def _stage(block: Block, leads: bool) -> list[str]:
    stage = block.stage
    flags = {"replicated": stage.keeps_state, "payload": stage.payload, "resizes": stage.resizes}
    flags["leads to replicated work"] = leads
    marks = "".join(f" [{flag}]" for flag, value in flags.items() if value)
    lines = [f"{block.index:3} {block.node:20} {at(stage.function)}{marks}"]
    for edge in block.edges:
        if edge.verdict >= 0:
            pull = f", pulls {edge.pull} bytes" if edge.pull else ""
            lines.append(f"      {edge.label} -> {edge.target}{pull}{', waits' * edge.waits}")
    lines += [f"      pushes {stage.push} bytes"] if stage.push else []
    dropped = sorted(edge.label for edge in block.edges if edge.verdict < 0)
    return [*lines, *([f"      drops: {', '.join(dropped)}"] if dropped else [])]
