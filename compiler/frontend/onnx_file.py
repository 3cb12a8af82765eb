"""Reads an .onnx file into the form that tracing a checkpoint gives."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as passes

from compiler.frontend import OPSET
from compiler.frontend.checkpoint import Checkpoint
from compiler.frontend.onnx_interface import (
    Interface,
    find_interface,
    fix_output_shapes,
    make_canonical,
    take_int64,
)
from compiler.frontend.tracing import forget_origin
from targets.errors import UnsupportedError, UsageError

_OLDEST_OPSET: Final = 9
_QUANTIZED: Final = frozenset(
    {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "QLinearMatMul"}
)
_FLOATS: Final = frozenset({ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
_EXPORT_HINT: Final = "export the model in float32, unquantized and unoptimized (standard ONNX ops only)"


def import_onnx(checkpoint: Checkpoint, progress: Callable[[str], None]) -> ir.Model:
    """Loads the .onnx file of a checkpoint, with weights in memory.

    Args:
        checkpoint: what `load_checkpoint` returned for the file.
        progress: called with the name of each stage when it starts.

    Returns:
        opset 23, canonical inputs and outputs, axes "batch" and "sequence", pooling inside the graph.

    Raises:
        UsageError: a broken file, weights outside of its folder, or labels that do not fit the graph.
        UnsupportedError: a graph that is quantized, optimized for a runtime, or static in its axes.
    """
    progress("loading weights")
    model = _load(checkpoint.path)
    _take_weights(model, checkpoint.path)
    _refuse(model, checkpoint.name)
    progress("converting")
    _convert(model, checkpoint.name)
    _check_finite(model)
    if any(value.shape is None for value in model.graph.outputs):
        passes.ShapeInferencePass()(model)
    interface = find_interface(model.graph, checkpoint)
    take_int64(model.graph, interface)
    if checkpoint.modules is not None and interface.embedding is None:
        interface = _append_pooling(model, checkpoint, interface)
    if checkpoint.task == "feature-extraction":
        interface = interface.with_token_vectors(model.graph)
    make_canonical(model.graph, interface)
    for value in [value for node in model.graph for value in node.outputs]:
        value.shape = None
    _simplify(model)
    fix_output_shapes(model.graph, checkpoint)
    forget_origin(model)
    return model


def external_files(path: Path) -> tuple[Path, ...]:
    """The files beside `path` that hold its weights, sorted; checks that they are inside its folder.

    Raises:
        UsageError: a broken file, or external data that is missing or truncated.
        UnsupportedError: external data outside of the folder.
    """
    tensors = (value.const_value for value in _load(path).graph.initializers.values())
    found = {_check_external(tensor, path) for tensor in tensors if isinstance(tensor, ir.ExternalTensor)}
    return tuple(sorted(found))


def _load(path: Path) -> ir.Model:
    try:
        return ir.load(path)
    except Exception as error:  # protobuf and onnx_ir raise what they like for a broken file
        raise UsageError(f"{path.name} is not a valid ONNX file", "export or copy the file again") from error


def _take_weights(model: ir.Model, path: Path) -> None:
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        if tensor is None:
            raise UsageError(f"{path.name}: the initializer {name} has no value", "export the file again")
        if isinstance(tensor, ir.ExternalTensor):
            _check_external(tensor, path)
        array = np.ascontiguousarray(tensor.numpy()).reshape(tuple(tensor.shape.numpy()))
        if isinstance(tensor, ir.ExternalTensor):
            array = array.copy()
            tensor.release()
        array = array.view()
        array.flags.writeable = False
        value.const_value = ir.Tensor(array, dtype=tensor.dtype, name=name)
    for node in model.graph.all_nodes():
        for attribute in node.attributes.values():
            if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                raise UnsupportedError(
                    f"{path.name}: {node.name or node.op_type} holds external data in an attribute",
                    _EXPORT_HINT,
                )


def _check_external(tensor: ir.ExternalTensor, path: Path) -> Path:
    folder = path.resolve().parent
    location = PurePosixPath(str(tensor.location))
    file = (folder / location).resolve()
    if location.is_absolute() or ".." in location.parts or not file.is_relative_to(folder):
        raise UnsupportedError(
            f"{path.name} keeps weights at {str(tensor.location)!r}, outside of its folder",
            "put the external data beside the .onnx file",
        )
    if not file.is_file():
        raise UsageError(
            f"{path.name} keeps weights in {location}, which is missing",
            "copy that file beside the .onnx file",
        )
    if (tensor.offset or 0) + tensor.nbytes > file.stat().st_size:
        raise UsageError(f"{location} is truncated", "copy or export the file again")
    return path.parent / location


def _refuse(model: ir.Model, name: str) -> None:
    domains = {node.domain for node in model.graph.all_nodes() if node.domain not in ("", "ai.onnx")}
    domains -= {identifier[0] for identifier in model.functions}
    if domains:
        raise UnsupportedError(f"{name} uses operators of {', '.join(sorted(domains))}", _EXPORT_HINT)
    for node in model.graph.all_nodes():
        if node.op_type in _QUANTIZED or node.op_type.startswith("QLinear"):
            raise UnsupportedError(f"{name} is already quantized: it has {node.op_type}", _EXPORT_HINT)
    for key, value in model.graph.initializers.items():
        if value.dtype in _FLOATS or (value.const_value is not None and value.const_value.dtype in _FLOATS):
            raise UnsupportedError(f"{name} is not in float32: {key} is {value.dtype}", _EXPORT_HINT)


@contextmanager
def _quiet_converter() -> Iterator[None]:
    logger = logging.getLogger("onnxscript.version_converter")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _convert(model: ir.Model, name: str) -> None:
    from onnxscript.version_converter import ConvertVersionPass

    found = model.opset_imports.get("", model.opset_imports.get("ai.onnx", 0))
    if not _OLDEST_OPSET <= found <= OPSET:
        raise UnsupportedError(
            f"{name} is in ONNX opset {found}", f"export it in an opset from {_OLDEST_OPSET} to {OPSET}"
        )
    passes.RemoveInitializersFromInputsPass()(model)
    error: Exception | None = None
    with _quiet_converter():
        try:
            ConvertVersionPass(target_version=OPSET, fallback=True)(model)
        except Exception as raised:  # the converter's own adapters raise what they like
            error = raised
    if error is not None or model.opset_imports.get("") != OPSET:
        raise UnsupportedError(
            f"{name} cannot be converted from ONNX opset {found} to {OPSET}",
            f"export it in opset 18 to {OPSET}",
        ) from error
    model.ir_version = max(model.ir_version, 10)


def _check_finite(model: ir.Model) -> None:
    for name, value in model.graph.initializers.items():
        if value.const_value is None or value.const_value.dtype != ir.DataType.FLOAT:
            continue
        array = value.const_value.numpy()
        # Masks are built from infinite scalars; weights never are.
        if np.isnan(array).any() or (array.size > 1 and np.isinf(array).any()):
            raise UnsupportedError(
                f"the tensor {name} holds NaN or infinite values", "train or export the checkpoint again"
            )


def _simplify(model: ir.Model) -> None:
    steps: Sequence[ir.passes.PassBase] = (
        passes.IdentityEliminationPass(),
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0),
        passes.RemoveUnusedNodesPass(),
        passes.NameFixPass(),
        passes.ShapeInferencePass(),
    )
    for step in steps:
        step(model)


def _append_pooling(model: ir.Model, checkpoint: Checkpoint, interface: Interface) -> Interface:
    import torch

    from compiler.frontend.heads import load_sentence_head
    from compiler.frontend.tracing import export_module

    modules = checkpoint.modules
    tokens = interface.tokens
    if modules is None or tokens is None:
        raise UnsupportedError(f"{checkpoint.name} has no token vectors to pool", "export last_hidden_state")
    hidden = int(checkpoint.config.get("hidden_size") or checkpoint.config["dim"])
    batch, sequence = torch.export.Dim("batch"), torch.export.Dim("sequence", min=2)
    samples = {
        "tokens": torch.ones(2, 16, hidden),
        "attention_mask": torch.ones(2, 16, dtype=torch.long),
    }
    axes = {0: batch, 1: sequence}
    head = export_module(
        load_sentence_head(modules, hidden), samples, ("sentence_embedding",), dict.fromkeys(samples, axes)
    ).graph
    embedding = _splice(model.graph, head, (tokens, interface.attention_mask))
    return interface.with_embedding(embedding)


def _splice(graph: ir.Graph, head: ir.Graph, inputs: Sequence[ir.Value]) -> ir.Value:
    result = head.outputs[0]
    for old, new in zip(list(head.inputs), inputs, strict=True):
        ir.convenience.replace_all_uses_with(old, new)
    head.outputs.clear()
    nodes = list(head)
    head.remove(nodes)
    for value in list(head.initializers.values()):
        head.initializers.pop(str(value.name))
        value.name = f"sentence_head.{value.name}"
        graph.register_initializer(value)
    for node in nodes:
        node.name = f"sentence_head.{node.name}"
        for output in node.outputs:
            output.name = f"sentence_head.{output.name}"
    graph.extend(nodes)
    return result
