"""Recognizes the inputs and outputs of a foreign ONNX graph and gives them their canonical names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import onnx_ir as ir

from compiler.frontend.checkpoint import Checkpoint
from targets.errors import UnsupportedError, UsageError

_INPUT_NAMES: Final[Mapping[str, str]] = {
    "input_ids": "input_ids",
    "input.1": "input_ids",
    "attention_mask": "attention_mask",
    "input_mask": "attention_mask",
    "token_type_ids": "token_type_ids",
    "segment_ids": "token_type_ids",
}
_INPUT_HINT: Final = "export it with the inputs input_ids, attention_mask and, for BERT, token_type_ids"
_TOKEN_NAMES: Final = ("last_hidden_state", "token_embeddings")
_TOKENS: Final = "last_hidden_state"
_EMBEDDING: Final = "sentence_embedding"
# Number of axes that the logits of each task have.
_LOGITS_RANK: Final = {"text-classification": 2, "token-classification": 3, "fill-mask": 3}


@dataclass(frozen=True, slots=True)
class Interface:
    """The values of a graph that carry the canonical names.

    Attributes:
        inputs: graph inputs by canonical name, in canonical order.
        outputs: outputs that the task keeps, by canonical name, in canonical order.
        tokens: the token vectors of a feature-extraction graph.
        embedding: the sentence embedding, where the graph already makes one.
    """

    inputs: Mapping[str, ir.Value]
    outputs: Mapping[str, ir.Value]
    tokens: ir.Value | None = None
    embedding: ir.Value | None = None

    @property
    def attention_mask(self) -> ir.Value:
        """The mask's input."""
        return self.inputs["attention_mask"]

    def with_embedding(self, embedding: ir.Value) -> Interface:
        """The same interface with a sentence embedding before its other outputs."""
        return replace(self, outputs={_EMBEDDING: embedding, **self.outputs}, embedding=embedding)

    def with_token_vectors(self, graph: ir.Graph) -> Interface:
        """The same interface with the embedding as the only token vector, where it has none."""
        if self.embedding is None or _TOKENS in self.outputs:
            return self
        axis = ir.Value(name="embedding_axis", const_value=ir.tensor([1], name="embedding_axis"))
        graph.register_initializer(axis)
        row = ir.Value(name="embedding_row", type=self.embedding.type)
        graph.append(ir.node("Unsqueeze", [self.embedding, axis], outputs=[row], name="embedding_row"))
        return replace(self, outputs={**self.outputs, _TOKENS: row})


def find_interface(graph: ir.Graph, checkpoint: Checkpoint) -> Interface:
    """Finds the task's inputs and outputs by name, else by rank.

    Raises:
        UnsupportedError: inputs or outputs that are not the task's, or static axes.
    """
    inputs = _inputs(graph, checkpoint.name)
    if checkpoint.task == "feature-extraction":
        return _embedding_outputs(graph, checkpoint, inputs)
    if checkpoint.task == "question-answering":
        spans = [value for value in graph.outputs if _rank(value) == 2]
        named = {str(value.name): value for value in spans}
        if {"start_logits", "end_logits"} <= named.keys():
            spans = [named["start_logits"], named["end_logits"]]
        if len(spans) != 2:
            raise _no_output(graph, checkpoint, "start_logits and end_logits [batch, sequence]")
        return Interface(inputs, dict(zip(("start_logits", "end_logits"), spans, strict=True)))
    rank = _LOGITS_RANK[checkpoint.task]
    fitting = [value for value in graph.outputs if _rank(value) == rank]
    logits = next((value for value in fitting if value.name == "logits"), fitting[0] if fitting else None)
    if logits is None or (len(fitting) > 1 and logits.name != "logits"):
        raise _no_output(graph, checkpoint, f"logits with {rank} axes")
    return Interface(inputs, {"logits": logits})


def make_canonical(graph: ir.Graph, interface: Interface) -> None:
    """Names inputs and outputs, puts them in canonical order, drops the others, and names the axes."""
    chosen = {**interface.inputs, **interface.outputs}
    for value in _values(graph):
        if value.name in chosen and chosen[value.name] is not value:
            _rename(graph, value, f"{value.name}.inner")
    for name, value in chosen.items():
        _rename(graph, value, name)
    graph.inputs.clear()
    graph.inputs.extend(interface.inputs.values())
    graph.outputs.clear()
    graph.outputs.extend(interface.outputs.values())
    for value in graph.inputs:
        value.shape = ir.Shape(["batch", "sequence"])


def take_int64(graph: ir.Graph, interface: Interface) -> None:
    """Lets int32 inputs take int64, as every bundle does, with a Cast behind them."""
    first = next(iter(graph), None)
    for value in interface.inputs.values():
        if value.dtype != ir.DataType.INT32 or first is None:
            continue
        narrow = ir.Value(
            name=f"{value.name}.int32", type=ir.TensorType(ir.DataType.INT32), shape=value.shape
        )
        ir.convenience.replace_all_uses_with(value, narrow)
        attributes = {"to": int(ir.DataType.INT32)}
        cast = ir.node("Cast", [value], attributes, outputs=[narrow], name=f"cast.{value.name}")
        graph.insert_before(first, cast)
        value.type = ir.TensorType(ir.DataType.INT64)


def fix_output_shapes(graph: ir.Graph, checkpoint: Checkpoint) -> None:
    """Gives the outputs their shapes, and checks their widths against the configuration.

    Raises:
        UsageError: the graph has another number of labels or dimensions than config.json.
    """
    config = checkpoint.task_config
    expected = len(config.labels) or config.dimension
    for value in graph.outputs:
        axes: list[int | str] = ["batch"]
        if value.name != _EMBEDDING and checkpoint.task != "text-classification":
            axes.append(1 if is_embedding(value) else "sequence")
        if checkpoint.task != "question-answering":
            axes.append(
                _width(value, expected if value.name != _TOKENS or is_embedding(value) else None, checkpoint)
            )
        value.shape = ir.Shape(axes)


def is_embedding(value: ir.Value) -> bool:
    """Whether an output `last_hidden_state` is the sentence embedding, [batch, 1, dimension]."""
    return value.name == _TOKENS and value.shape is not None and value.shape[1] == 1


def _width(value: ir.Value, expected: int | None, checkpoint: Checkpoint) -> int:
    last = value.shape[-1] if value.shape is not None and len(value.shape) else None
    if expected is not None:
        if isinstance(last, int) and last != expected:
            raise UsageError(
                f"{checkpoint.path.name} gives {last} values as {value.name}, config.json says {expected}",
                "use the config.json that belongs to this .onnx file",
            )
        return expected
    if isinstance(last, int):
        return last
    key = "vocab_size" if checkpoint.task == "fill-mask" else "hidden_size"
    width = checkpoint.config.get(key, checkpoint.config.get("dim"))
    if not isinstance(width, int):
        raise UnsupportedError(f"the width of {value.name} cannot be told", "export with static widths")
    return width


def _inputs(graph: ir.Graph, model: str) -> dict[str, ir.Value]:
    found: dict[str, ir.Value] = {}
    for value in graph.inputs:
        name = _INPUT_NAMES.get(str(value.name))
        if name is None:
            raise UnsupportedError(f"{model} has the input {value.name!r}", _INPUT_HINT)
        found[name] = value
        if value.dtype not in (ir.DataType.INT64, ir.DataType.INT32):
            raise UnsupportedError(f"{model}: the input {value.name} is {value.dtype}", _INPUT_HINT)
        static = [dim for dim in value.shape or () if isinstance(dim, int)]
        if value.shape is not None and (len(value.shape) != 2 or static):
            raise UnsupportedError(
                f"{model}: the input {value.name} has the fixed shape {value.shape}",
                "export it with dynamic axes for batch and sequence",
            )
    for name in ("input_ids", "attention_mask"):
        if name not in found:
            raise UnsupportedError(f"{model} has no input {name}", _INPUT_HINT)
    order = ("input_ids", "attention_mask", "token_type_ids")
    return {name: found[name] for name in order if name in found}


def _embedding_outputs(graph: ir.Graph, checkpoint: Checkpoint, inputs: Mapping[str, ir.Value]) -> Interface:
    named = {str(value.name): value for value in graph.outputs}
    tokens = next((named[name] for name in _TOKEN_NAMES if name in named), None)
    if tokens is None:
        vectors = [value for value in graph.outputs if _rank(value) == 3]
        tokens = vectors[0] if len(vectors) == 1 else None
    embedding = named.get(_EMBEDDING)
    if tokens is None and embedding is None:
        raise _no_output(graph, checkpoint, "last_hidden_state [batch, sequence, hidden]")
    outputs = {} if embedding is None else {_EMBEDDING: embedding}
    if tokens is not None and (checkpoint.modules is None or checkpoint.modules.token_vectors):
        outputs[_TOKENS] = tokens
    return Interface(inputs, outputs, tokens, embedding)


def _no_output(graph: ir.Graph, checkpoint: Checkpoint, wanted: str) -> UnsupportedError:
    names = ", ".join(f"{value.name} {value.shape or ''}".strip() for value in graph.outputs)
    return UnsupportedError(
        f"{checkpoint.path.name} has no output for {checkpoint.task} ({wanted}): it has {names}",
        "pass the --task that the file was exported for",
    )


def _rank(value: ir.Value) -> int | None:
    return None if value.shape is None else len(value.shape)


def _values(graph: ir.Graph) -> list[ir.Value]:
    made = [value for node in graph for value in node.outputs]
    return [*graph.inputs, *graph.initializers.values(), *made]


def _rename(graph: ir.Graph, value: ir.Value, name: str) -> None:
    if value.name == name:
        return
    if value.is_initializer():
        graph.initializers.pop(str(value.name))
        value.name = name
        graph.register_initializer(value)
        return
    value.name = name
