"""Graphs with modules cut down to any size, and the same function at the whole size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import add_initializer
from compiler.ir.encoder import EncoderGraph
from compiler.ir.execute import clone
from compiler.prune.materialize import Groups, channels, materialize
from compiler.prune.modules import find_modules

Counts = Mapping[str, int]
Sizes = list[tuple[int, int, int]]

NONE_LEFT: Final = {f"layer{index}.{kind}": 0 for index in range(3) for kind in ("heads", "ffn")}
CUTS: Final[dict[str, Counts]] = {
    "heads-first": {"layer0.heads": 0, "layer1.ffn": 0},
    "heads-middle": {"layer1.heads": 0, "layer2.ffn": 0},
    "heads-last": {"layer0.ffn": 0, "layer2.heads": 0},
    "layer-first": {"layer0.heads": 0, "layer0.ffn": 0},
    "layer-middle": {"layer1.heads": 0, "layer1.ffn": 0},
    "layer-last": {"layer2.heads": 0, "layer2.ffn": 0},
    "neighbours": {"layer0.ffn": 0, "layer1.heads": 0},
    "all-heads": {"layer0.heads": 0, "layer1.heads": 0, "layer2.heads": 0},
    "one-block-left": {**NONE_LEFT, "layer1.ffn": 24},
    "nothing-left": NONE_LEFT,
    "uneven": {
        "layer0.heads": 3, "layer0.ffn": 40, "layer1.heads": 1, "layer1.ffn": 8, "layer2.heads": 2,
        "layer2.ffn": 56,
    },
    "uneven-with-none": {
        "layer0.heads": 1, "layer0.ffn": 0, "layer1.heads": 0, "layer1.ffn": 24, "layer2.heads": 3,
    },
}  # fmt: skip
"""Of three layers of 4 heads and 64 neurons, by what is left."""


def kept_of(model: ir.Model, counts: Counts, seed: int = 0) -> dict[str, Groups]:
    """So many groups of each module, drawn at random."""
    rng = np.random.default_rng(seed)
    modules = {each.name: each for each in find_modules(model).modules}
    return {name: np.sort(rng.permutation(modules[name].groups)[:count]) for name, count in counts.items()}


def cut(model: ir.Model, counts: Counts, seed: int = 0) -> ir.Model:
    """The graph with so many groups left of each module."""
    return materialize(model, kept_of(model, counts, seed))


def masked(model: ir.Model, kept: Mapping[str, Groups]) -> ir.Model:
    """The graph with the readers' rows of what is removed set to zero."""
    copy = clone(model)
    for module in find_modules(copy).modules:
        if module.name in kept:
            weight = np.zeros_like(module.reader.weight_array)
            rows = channels(kept[module.name], module.group_size)
            weight[rows] = module.reader.weight_array[rows]
            value = add_initializer(copy.graph, f"{module.name}.masked", weight)
            module.reader.matmul.replace_input_with(1, value)
    return copy


def sizes_left(counts: Counts, *, layers: int = 3, heads: int = 4, intermediate: int = 64) -> Sizes:
    """Index, heads and neurons of every layer of which something is left."""
    sizes = [
        (index, counts.get(f"layer{index}.heads", heads), counts.get(f"layer{index}.ffn", intermediate))
        for index in range(layers)
    ]
    return [each for each in sizes if any(each[1:])]


def sizes_found(model: ir.Model) -> Sizes:
    """The same, as `EncoderGraph.find` sees it."""
    return [(each.index, each.heads, each.intermediate) for each in EncoderGraph.find(model).layers]
