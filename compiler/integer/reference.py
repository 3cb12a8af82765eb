"""The interpreter: a float graph and a plan, evaluated node by node."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from compiler.integer import layers
from compiler.integer.float_ops import Operator, operator, softmax
from compiler.ir.edit import attribute_int, constant, op
from compiler.ir.encoder import attention_scale
from compiler.ir.linear import Linear, linears_of
from compiler.ir.mask import MASKED
from compiler.quantize.plan import AttentionPlan, Decision, LinearPlan, QuantPlan, QWeight
from targets import __version__
from targets.errors import InternalError
from targets.runtime.backends.base import closed_error

NAME: Final = "integer-reference"
_FLOAT: Final = AttentionPlan("", Decision("float", "not in the plan"))

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Step:
    """One node: reads values, makes others, after which some values are needed no more."""

    call: Operator
    reads: tuple[ir.Value | None, ...]
    makes: tuple[ir.Value, ...]
    done: tuple[ir.Value, ...]


class IntegerReference:
    """A plan over the float IR as a backend of `targets.runtime.session.Session`.

    Linear layers and attention products that the plan has in INT8 are computed on integers: activations
    by QuantizeLinear (round half to even, saturate), S8 weights, exact int32 sums with the zero point's
    share taken off, then one float32 multiplication by `s_x s_w` and one float32 addition of the bias.
    Embedding tables of the plan are INT8 rows times their scales. Everything else is float32.

    A runtime that computes the same plan differs from this by the order of its float additions alone,
    and by what follows where such a difference moves an activation across a rounding boundary: one step
    of that activation's scale.

    Args:
        model: the float IR; it is not changed.
        plan: static or dynamic; dynamic is onnxruntime's, by the range of each input.
        saturating: compute U8 x S8 as x86 CPUs without VNNI do, with 16-bit sums of pairs
            (`compiler.integer.product.saturating_product`).

    Raises:
        InternalError: the plan names a node that the graph lacks.
    """

    def __init__(self, model: ir.Model, plan: QuantPlan, *, saturating: bool = False) -> None:
        """Prepares every node."""
        self.name = f"{NAME}, 16-bit sums" if saturating else NAME
        self.version = __version__
        self.input_names = tuple(str(each.name) for each in model.graph.inputs)
        self.output_names = tuple(str(each.name) for each in model.graph.outputs)
        self._inputs = tuple(model.graph.inputs)
        self._outputs = tuple(model.graph.outputs)
        _check_names(model.graph, plan)
        self._steps: tuple[_Step, ...] | None = tuple(_steps(model, plan, saturating))
        self._constants = dict(_constants(self._steps, self._outputs))

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """One batch.

        Args:
            feeds: int64 [batch, sequence] for every input name.
            outputs: names of the outputs to return; all when None.
        """
        if self._steps is None:
            raise closed_error()
        values: dict[ir.Value, Array] = dict(self._constants)
        values.update({each: np.asarray(feeds[str(each.name)]) for each in self._inputs})
        for step in self._steps:
            made = step.call([None if each is None else values[each] for each in step.reads])
            values.update(zip(step.makes, made, strict=False))
            for each in step.done:
                values.pop(each, None)
        wanted = self.output_names if outputs is None else tuple(outputs)
        found = {str(each.name): values[each] for each in self._outputs}
        return {name: found[name] for name in wanted}

    def close(self) -> None:
        """Drops the model."""
        self._steps = None
        self._constants = {}


def _steps(model: ir.Model, plan: QuantPlan, saturating: bool) -> Iterator[_Step]:
    planned = _planned(model, plan, saturating)
    skipped = {add for _, add in planned.values() if add is not None}
    nodes = [each for each in model.graph if each not in skipped]
    last = _last_reads(nodes, set(model.graph.outputs))
    opset = model.opset_imports[""]
    for node in nodes:
        call, add = planned.get(node) or (_float(node, plan, saturating, opset), None)
        makes = tuple((add or node).outputs)
        yield _Step(call, tuple(node.inputs), makes, tuple(last.get(node, ())))


def _planned(
    model: ir.Model, plan: QuantPlan, saturating: bool
) -> dict[ir.Node, tuple[Operator, ir.Node | None]]:
    """INT8 linear layers by their product, with the Add that they take in."""
    found: dict[ir.Node, tuple[Operator, ir.Node | None]] = {}
    for each in linears_of(model.graph):
        decided = plan.linears.get(each.name)
        if decided is not None and decided.decision.compute == "int8" and decided.weight is not None:
            found[each.matmul] = _linear(each, decided, decided.weight, saturating), each.add
    return found


def _linear(linear: Linear, decided: LinearPlan, weight: QWeight, saturating: bool) -> Operator:
    bias = linear.bias_array if decided.bias is None else decided.bias

    def call(inputs: Sequence[Array | None]) -> list[Array]:
        x = np.asarray(inputs[0])
        return [layers.linear(x, weight, decided.input, bias, saturating=saturating)]

    return call


def _float(node: ir.Node, plan: QuantPlan, saturating: bool, opset: int) -> Operator:
    if op(node, "Attention"):
        return _attention(node, plan.attentions.get(str(node.name), _FLOAT), saturating)
    table = plan.tables.get(str(node.name))
    if table is not None:
        return lambda inputs: [layers.table_rows(np.asarray(inputs[1]), table)]
    return operator(node, opset)


def _attention(node: ir.Node, decided: AttentionPlan, saturating: bool) -> Operator:
    heads, scale = attribute_int(node, "q_num_heads", 1), attention_scale(node)

    def call(inputs: Sequence[Array | None]) -> list[Array]:
        query, key, value = (_heads(np.asarray(each), heads) for each in inputs[:3])
        mask = _additive(inputs[3] if len(inputs) > 3 else None)
        if decided.decision.compute == "int8":
            rows = layers.attention(query, key, value, mask, scale=scale, plan=decided, saturating=saturating)
        else:
            scores = np.matmul(query, key.swapaxes(-1, -2)) * np.float32(scale)
            rows = np.matmul(softmax(scores if mask is None else scores + mask), value)
        merged = rows.swapaxes(1, 2)
        return [np.ascontiguousarray(merged.reshape(*merged.shape[:2], -1))]

    return call


def _heads(x: Array, heads: int) -> Array:
    """[batch, sequence, heads * size] to [batch, heads, sequence, size]."""
    return x.reshape(*x.shape[:2], heads, -1).swapaxes(1, 2)


def _additive(mask: Array | None) -> Array | None:
    if mask is None or mask.dtype != np.bool_:
        return mask
    return np.where(mask, np.float32(0.0), np.float32(MASKED))


def _last_reads(nodes: Sequence[ir.Node], kept: set[ir.Value]) -> dict[ir.Node, list[ir.Value]]:
    reader = {value: node for node in nodes for value in node.inputs if value is not None}
    done: dict[ir.Node, list[ir.Value]] = {}
    for value, node in reader.items():
        if value not in kept:
            done.setdefault(node, []).append(value)
    return done


def _constants(steps: Sequence[_Step], outputs: Sequence[ir.Value]) -> Iterator[tuple[ir.Value, Array]]:
    for value in {each for step in steps for each in step.reads} | set(outputs):
        array = None if value is None else constant(value)
        if value is not None and array is not None:
            yield value, array


def _check_names(graph: ir.Graph, plan: QuantPlan) -> None:
    names = {str(node.name) for node in graph}
    for name in (*plan.linears, *plan.attentions, *plan.tables):
        if name not in names:
            raise InternalError(f"the plan has {name!r}, which the graph lacks")
