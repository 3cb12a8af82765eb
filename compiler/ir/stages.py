"""A graph cut at its linear layers, to be run a stage at a time with the layers computed elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from compiler.ir.edit import replace_value, sweep
from compiler.ir.execute import Runner, clone
from compiler.ir.linear import Linear


@dataclass(slots=True)
class Stage:
    """What lies between one group of linear layers and the next, by the names of values.

    Attributes:
        reads: made before this stage, by the graph's inputs, other stages or linear layers.
        makes: read by a later stage or a group of layers.
        finished: read by nothing after this stage and its group, nor after the last.
    """

    reads: list[str] = field(default_factory=list)
    makes: list[str] = field(default_factory=list)
    finished: list[str] = field(default_factory=list)


class Stages:
    """Sorts the operators of a graph by the linear layers that they come after.

    Stage i must run before the layers of group i, and needs what the groups before it made. What comes
    after the last group belongs to no stage.

    Args:
        model: the float IR; it is not changed.
        groups: linear layers that read one value, in graph order.
        threads: for onnxruntime, 0 for every core.
    """

    def __init__(self, model: ir.Model, groups: Sequence[Sequence[Linear]], *, threads: int = 0) -> None:
        self._model = model
        self._threads = threads
        self.stages = _split(model.graph, groups)

    def runner(self, index: int) -> Runner:
        """A session from a stage's `reads` to its `makes`; there must be something to make."""
        stage = self.stages[index]
        copy = clone(self._model)
        graph = copy.graph
        values = {str(each.name): each for each in graph.inputs}
        values |= {str(out.name): out for node in graph for out in node.outputs}
        graph.outputs.clear()
        inputs = [_entry(values[name]) for name in stage.reads]
        graph.outputs.extend(values[name] for name in stage.makes)
        sweep(graph)
        graph.inputs.clear()
        graph.inputs.extend(inputs)
        return Runner(copy, threads=self._threads)


def _split(graph: ir.Graph, groups: Sequence[Sequence[Linear]]) -> list[Stage]:
    linears = {node for group in groups for each in group for node in (each.matmul, each.add) if node}
    level = {each.output: index + 1 for index, group in enumerate(groups) for each in group}
    outside = set(level)
    last: dict[ir.Value, int] = {group[0].input: index for index, group in enumerate(groups)}
    stages = [Stage() for _ in groups]
    made: list[ir.Value] = []
    for node in graph:
        if node in linears:
            continue
        read = [value for value in node.inputs if value is not None and not value.is_initializer()]
        at = max((level.get(value, 0) for value in read), default=0)
        level.update(dict.fromkeys(node.outputs, at))
        if at >= len(groups):
            last.update({value: at for value in read if level.get(value, 0) < at})
            continue
        made.extend(node.outputs)
        for value in read:
            last[value] = max(at, last.get(value, 0))
            crosses = value.producer() is None or value in outside or level[value] < at
            if crosses and str(value.name) not in stages[at].reads:
                stages[at].reads.append(str(value.name))
    own = {group[0].input: index for index, group in enumerate(groups)}
    for value in made:
        if last.get(value, -1) > level[value] or value in own:
            stages[level[value]].makes.append(str(value.name))
    for value, end in last.items():
        if end < len(stages):
            stages[end].finished.append(str(value.name))
    return stages


def _entry(value: ir.Value) -> ir.Value:
    """The value as an input of the graph; its producer, if any, is cut off."""
    if value.producer() is None:
        return value
    entry = ir.Value(name=f"{value.name}", type=value.type, shape=_loose(value.shape))
    value.name = f"{value.name}_before"
    replace_value(value, entry)
    return entry


def _loose(shape: ir.Shape | None) -> ir.Shape | None:
    """The shape with every symbolic dimension unnamed."""
    return None if shape is None else ir.Shape([each if isinstance(each, int) else None for each in shape])
