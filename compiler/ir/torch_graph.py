"""A part of an IR in torch, so that what leaves it can be differentiated by what enters it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from compiler.ir.edit import attribute_int, constant
from compiler.ir.encoder import attention_scale
from targets.errors import UnsupportedError

Tensor: TypeAlias = torch.Tensor
Inputs: TypeAlias = Sequence[Tensor | None]
_Function: TypeAlias = Callable[[ir.Node, Sequence[Any]], Tensor | Sequence[Tensor]]


def downstream(start: ir.Value) -> list[ir.Node]:
    """Every node that depends on a value, in graph order."""
    reached = {start}
    found = []
    producer = start.producer()
    graph = None if producer is None else producer.graph
    for node in graph or ():
        if any(each in reached for each in node.inputs if each is not None):
            reached.update(node.outputs)
            found.append(node)
    return found


class TorchGraph:
    """Nodes of a graph as torch functions.

    Args:
        nodes: in graph order.

    Attributes:
        reads: what the nodes read and do not make, constants left out.

    Raises:
        UnsupportedError: an operator that is not known here.
    """

    def __init__(self, nodes: Iterable[ir.Node]) -> None:
        self._nodes = list(nodes)
        unknown = next((each for each in self._nodes if each.domain or each.op_type not in _OPERATORS), None)
        if unknown is not None:
            raise UnsupportedError(f"{unknown.op_type} ({unknown.name}) cannot be differentiated")
        made = {out for node in self._nodes for out in node.outputs}
        read = dict.fromkeys(each for node in self._nodes for each in node.inputs if each is not None)
        self._constants = {
            value: torch.from_numpy(np.array(array))
            for value in read
            if value not in made and (array := constant(value)) is not None
        }
        self.reads = tuple(each for each in read if each not in made and each not in self._constants)

    def __call__(self, given: Mapping[ir.Value, Tensor]) -> dict[ir.Value, Tensor]:
        """Every value that the nodes make, from those that they read.

        Raises:
            UnsupportedError: an operator in a form that is not known here.
        """
        values: dict[Any, Any] = {None: None, **self._constants, **given}
        for node in self._nodes:
            try:
                found = _OPERATORS[node.op_type](node, [values[each] for each in node.inputs])
            except (TypeError, ValueError, RuntimeError) as error:
                raise UnsupportedError(f"{node.op_type} ({node.name}) is of a form unknown here") from error
            results = (found,) if isinstance(found, torch.Tensor) else found
            values.update(zip(node.outputs, results, strict=True))
        return {out: values[out] for node in self._nodes for out in node.outputs}


def tensor_of(array: NDArray[Any]) -> Tensor:
    """The array's memory as a tensor."""
    return torch.from_numpy(np.ascontiguousarray(array))


def _attention(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    query, key, value = inputs[:3]
    mask = inputs[3] if len(inputs) > 3 else None
    heads = attribute_int(node, "q_num_heads", 1)

    def split(x: Tensor) -> Tensor:
        return x.reshape(*x.shape[:2], heads, -1).transpose(1, 2)

    found = torch.nn.functional.scaled_dot_product_attention(
        split(query), split(key), split(value), attn_mask=mask, scale=attention_scale(node)
    )
    merged: Tensor = found.transpose(1, 2).flatten(2)
    return merged


def _layer_norm(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    x, gain = inputs[:2]
    epsilon = node.attributes.get("epsilon")
    return torch.nn.functional.layer_norm(
        x, gain.shape, gain, inputs[2] if len(inputs) > 2 else None,
        1e-5 if epsilon is None else epsilon.as_float(),
    )  # fmt: skip


def _gelu(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    approximate = node.attributes.get("approximate")
    form = "none" if approximate is None else approximate.as_string()
    return torch.nn.functional.gelu(inputs[0], approximate=form)


def _gather(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    x, index = inputs
    axis = attribute_int(node, "axis", 0) % x.ndim
    picked: Tensor = x.index_select(axis, (index % x.shape[axis]).reshape(-1))
    found: Tensor = picked.reshape(*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    return found


def _slice(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    del node
    x, starts, ends = inputs[:3]
    axes = range(len(starts)) if len(inputs) < 4 or inputs[3] is None else inputs[3].tolist()
    steps = [1] * len(starts) if len(inputs) < 5 or inputs[4] is None else inputs[4].tolist()
    where = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts.tolist(), ends.tolist(), steps, strict=True):
        where[axis] = slice(start, end, step)
    found: Tensor = x[tuple(where)]
    return found


def _split(node: ir.Node, inputs: Sequence[Any]) -> Sequence[Tensor]:
    x = inputs[0]
    axis = attribute_int(node, "axis", 0)
    if len(inputs) > 1 and inputs[1] is not None:
        found: Sequence[Tensor] = torch.split(x, inputs[1].tolist(), dim=axis)
        return found
    return torch.split(x, math.ceil(x.shape[axis] / len(node.outputs)), dim=axis)


def _reshape(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    x, shape = inputs
    zeros = attribute_int(node, "allowzero", 0)
    dims = [x.shape[at] if dim == 0 and not zeros else dim for at, dim in enumerate(shape.tolist())]
    found: Tensor = x.reshape(dims)
    return found


def _transpose(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    order = node.attributes.get("perm")
    found: Tensor = inputs[0].permute(
        *(reversed(range(inputs[0].ndim)) if order is None else order.as_ints())
    )
    return found


def _squeeze(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    del node
    found: Tensor = inputs[0].squeeze() if len(inputs) < 2 else inputs[0].squeeze(tuple(inputs[1].tolist()))
    return found


def _unsqueeze(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    del node
    found: Tensor = inputs[0]
    rank = found.ndim + inputs[1].numel()
    for axis in sorted(int(each) % rank for each in inputs[1].reshape(-1).tolist()):
        found = found.unsqueeze(axis)
    return found


def _reduction(function: Callable[..., Tensor]) -> _Function:
    def reduce(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
        given = len(inputs) > 1 and inputs[1] is not None
        axes = inputs[1].tolist() if given else list(range(inputs[0].ndim))
        return function(inputs[0], dim=tuple(axes), keepdim=bool(attribute_int(node, "keepdims", 1)))

    return reduce


def _clip(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    del node
    low, high = (*inputs[1:], None, None)[:2]
    return torch.clamp(inputs[0], low, high)


def _softmax(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    return torch.softmax(inputs[0], dim=attribute_int(node, "axis", -1))


def _expand(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    del node
    x, shape = inputs
    found: Tensor = x * torch.ones(shape.tolist(), dtype=x.dtype)
    return found


def _cast(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
    to = ir.DataType(attribute_int(node, "to", 1))
    found: Tensor = inputs[0].to(getattr(torch, to.numpy().name))
    return found


def _plain(function: Callable[..., Tensor]) -> _Function:
    def call(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
        del node
        return function(*inputs)

    return call


def _with_alpha(function: Callable[[Tensor, float], Tensor], default: float) -> _Function:
    def call(node: ir.Node, inputs: Sequence[Any]) -> Tensor:
        alpha = node.attributes.get("alpha")
        return function(inputs[0], default if alpha is None else alpha.as_float())

    return call


_OPERATORS: Final[Mapping[str, _Function]] = {
    "Abs": _plain(torch.abs),
    "Add": _plain(torch.add),
    "Attention": _attention,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda node, inputs: torch.cat(tuple(inputs), dim=attribute_int(node, "axis", 0)),
    "Div": _plain(torch.div),
    "Elu": _with_alpha(torch.nn.functional.elu, 1.0),
    "Erf": _plain(torch.erf),
    "Exp": _plain(torch.exp),
    "Expand": _expand,
    "Gather": _gather,
    "Gelu": _gelu,
    "HardSwish": _plain(torch.nn.functional.hardswish),
    "Identity": _plain(torch.clone),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": _with_alpha(torch.nn.functional.leaky_relu, 0.01),
    "Log": _plain(torch.log),
    "MatMul": _plain(torch.matmul),
    "Max": _plain(torch.maximum),
    "Min": _plain(torch.minimum),
    "Mish": _plain(torch.nn.functional.mish),
    "Mul": _plain(torch.mul),
    "Neg": _plain(torch.neg),
    "Pow": _plain(torch.pow),
    "Reciprocal": _plain(torch.reciprocal),
    "ReduceL2": _reduction(torch.linalg.vector_norm),
    "ReduceMax": _reduction(torch.amax),
    "ReduceMean": _reduction(torch.mean),
    "ReduceSum": _reduction(torch.sum),
    "Relu": _plain(torch.relu),
    "Reshape": _reshape,
    "Sigmoid": _plain(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _plain(torch.nn.functional.softplus),
    "Split": _split,
    "Sqrt": _plain(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _plain(torch.sub),
    "Tanh": _plain(torch.tanh),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _plain(torch.where),
}
