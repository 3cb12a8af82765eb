"""What a graph is made of, part by part: widths, parameters, FLOPs, bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import onnx_ir as ir

from compiler.ir.edit import constant, op, upstream
from compiler.ir.encoder import EncoderGraph, EncoderLayer
from compiler.ir.linear import linear_at
from compiler.quantize.plan import QuantPlan, QWeight

EMBEDDINGS: Final = "embeddings"
HEAD: Final = "task head"
_FLOAT_BYTES: Final[Mapping[str, int]] = {"fp16": 2, "bf16": 2}
_SINGLE: Final = 4


@dataclass(frozen=True, slots=True)
class Size:
    """How large a part is.

    Attributes:
        parameters: numbers in float tensors, each tensor counted in the first part that reads it.
        flops: of one text, a multiplication and an addition of a product counted as two; nothing else counts.
        bytes: of the parameters in FP32.
    """

    parameters: int = 0
    flops: int = 0
    bytes: int = 0

    def __add__(self, other: Size) -> Size:
        """Both together."""
        return Size(self.parameters + other.parameters, self.flops + other.flops, self.bytes + other.bytes)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a graph as it is stored.

    Attributes:
        parameters: numbers in its tensors.
        bytes: of them in their precision, scales included.
        flops: coefficients of 1, L and L² for one text of L tokens; products alone count, an addition and a
            multiplication as two.
    """

    parameters: int = 0
    bytes: int = 0
    flops: tuple[int, int, int] = (0, 0, 0)

    def flops_at(self, length: int) -> int:
        """Of one text of so many tokens."""
        constant, linear, square = self.flops
        return constant + linear * length + square * length**2


@dataclass(frozen=True, slots=True)
class LayerPart:
    """One layer of the encoder: its index from the embeddings, its widths (0 for what is cut), its part."""

    layer: int
    heads: int
    head_size: int
    ffn: int
    part: Part


@dataclass(frozen=True, slots=True)
class Structure:
    """The parts of a graph, from the embeddings upward."""

    embeddings: Part
    layers: tuple[LayerPart, ...]
    task_head: Part

    @property
    def encoder_bytes(self) -> int:
        """Of all layers."""
        return sum(each.part.bytes for each in self.layers)

    @property
    def bytes(self) -> int:
        """Of everything."""
        return self.embeddings.bytes + self.encoder_bytes + self.task_head.bytes

    def with_widths(self, other: Structure) -> Structure:
        """The same with another graph's heads and neurons, where layers have the same index."""
        known = {each.layer: each for each in other.layers}
        layers = (replace(known.get(each.layer, each), part=each.part) for each in self.layers)
        return replace(self, layers=tuple(layers))

    def to_json(self) -> dict[str, Any]:
        """What the manifest records."""
        layers = []
        for each in self.layers:
            widths = {"layer": each.layer, "heads": each.heads, "head_size": each.head_size, "ffn": each.ffn}
            layers.append({**widths, **_part_json(each.part)})
        return {
            "embeddings": _part_json(self.embeddings),
            "layers": layers,
            "task_head": _part_json(self.task_head),
        }


def _part_json(part: Part) -> dict[str, Any]:
    return {**asdict(part), "flops": list(part.flops)}


def structure_of(model: ir.Model, plan: QuantPlan | None = None, precision: str = "fp32") -> Structure:
    """The parts of a graph, as a plan and a precision store them.

    Args:
        model: after the passes, pruned or not.
        plan: what of it is stored as integers; None for nothing.
        precision: of what is not.
    """
    encoder = EncoderGraph.find(model)
    parts = parts_of(model.graph, encoder.layers)
    counted = [sizes_of(model.graph, parts, length) for length in (1, 2, 3)]
    stored = _stored(model.graph, parts, plan or QuantPlan(), _FLOAT_BYTES.get(precision, _SINGLE))

    def part(name: str) -> Part:
        one, two, three = (each.get(name, Size()).flops for each in counted)
        square = (three - 2 * two + one) // 2
        linear = two - one - 3 * square
        parameters = counted[0].get(name, Size()).parameters
        return Part(parameters, stored.get(name, 0), (one - linear - square, linear, square))

    layers = tuple(
        LayerPart(each.index, each.heads, each.head_size, each.intermediate, part(str(each.index)))
        for each in encoder.layers
    )
    return Structure(part(EMBEDDINGS), layers, part(HEAD))


def parts_of(graph: ir.Graph, layers: Sequence[EncoderLayer]) -> dict[ir.Node, str]:
    """The part that each node belongs to: what a layer's output needs and no part before it has."""
    parts = dict.fromkeys(upstream(layers[0].input), EMBEDDINGS) if layers else {}
    for layer in layers:
        for node in upstream(layer.output):
            parts.setdefault(node, str(layer.index))
    for node in graph:
        parts.setdefault(node, HEAD)
    return parts


def sizes_of(graph: ir.Graph, parts: Mapping[ir.Node, str], length: int) -> dict[str, Size]:
    """The size of each part, for one text of `length` tokens."""
    sizes: dict[str, Size] = {}
    for node, values in _first_reads(graph):
        arrays = [array for array in map(constant, values) if array is not None]
        counted = [each for each in arrays if each.dtype.kind == "f" and each.size > 1]
        parameters = sum(each.size for each in counted)
        own = Size(parameters, _flops(node, length), sum(each.nbytes for each in counted))
        sizes[parts[node]] = sizes.get(parts[node], Size()) + own
    return sizes


def _first_reads(graph: ir.Graph) -> Iterator[tuple[ir.Node, list[ir.Value]]]:
    """Every node with those of its inputs that no node before it reads."""
    seen: set[ir.Value] = set()
    for node in graph:
        new = list(dict.fromkeys(each for each in node.inputs if each is not None and each not in seen))
        seen.update(new)
        yield node, new


def _stored(
    graph: ir.Graph, parts: Mapping[ir.Node, str], plan: QuantPlan, float_bytes: int
) -> dict[str, int]:
    """Bytes of each part's tensors, those of the plan as integers with their scales."""
    found: dict[str, int] = {}
    for node, values in _first_reads(graph):
        integers = _integers(node, plan)
        for array in map(constant, values):
            if array is None or array.dtype.kind != "f" or array.size < 2:
                continue
            whole = integers is not None and array.shape == integers.values.shape
            stored = _bytes(integers) if whole else array.size * float_bytes
            found[parts[node]] = found.get(parts[node], 0) + stored
    return found


def _integers(node: ir.Node, plan: QuantPlan) -> QWeight | None:
    linear = linear_at(node)
    if linear is not None and linear.name in plan.linears:
        return plan.linears[linear.name].weight
    return plan.tables.get(str(node.name))


def _bytes(weight: QWeight | None) -> int:
    return 0 if weight is None else int(weight.values.nbytes + weight.scale.nbytes)


def _flops(node: ir.Node, length: int) -> int:
    if op(node, "MatMul"):
        return 2 * math.prod(_dims(node.outputs[0], length)) * _dims(node.inputs[0], length)[-1]
    if op(node, "Attention"):
        query, key, value = (_dims(each, length) for each in node.inputs[:3])
        return 2 * math.prod(query) * key[1] + 2 * query[1] * math.prod(value)
    return 0


def _dims(value: ir.Value | None, length: int) -> tuple[int, ...]:
    """The shape for one text; unknown axes but the first are its tokens."""
    array = constant(value)
    if array is not None:
        return array.shape
    if value is None or value.shape is None:
        return (1, length, 0)
    return tuple(
        dim if isinstance(dim, int) else (1 if axis == 0 else length) for axis, dim in enumerate(value.shape)
    )
