"""torch.export to onnx_ir, and what is cleaned off the exporter's result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from compiler.frontend import OPSET
from compiler.frontend.quiet import quiet_export
from targets.errors import InternalError

_MAX_BATCH: Final = 1 << 16
_SAMPLE_BATCH: Final = 2
_SAMPLE_LENGTH: Final = 16


def trace_module(
    module: torch.nn.Module, inputs: Sequence[str], outputs: Sequence[str], *, positions: int
) -> ir.Model:
    """Exports a module of int64 [batch, sequence] inputs at opset 23.

    Args:
        module: in eval mode.
        inputs: its arguments, by name and in order.
        outputs: names for its outputs, in order.
        positions: the longest sequence it can take, at least 3.

    Returns:
        a model whose axes are named "batch" and "sequence" and whose initializers are read-only numpy
        arrays sharing the module's memory.
    """
    shape = (_SAMPLE_BATCH, min(_SAMPLE_LENGTH, positions - 1))
    samples = {name: torch.ones(shape, dtype=torch.long) for name in inputs}
    samples["input_ids"] = torch.full(shape, 2, dtype=torch.long)
    if "token_type_ids" in samples:
        samples["token_type_ids"] = torch.zeros(shape, dtype=torch.long)
    batch = torch.export.Dim("batch", min=1, max=_MAX_BATCH)
    sequence = torch.export.Dim("sequence", min=2, max=positions)
    return export_module(module, samples, outputs, {name: {0: batch, 1: sequence} for name in inputs})


def export_module(
    module: torch.nn.Module,
    samples: Mapping[str, torch.Tensor],
    outputs: Sequence[str],
    dynamic: Mapping[str, Mapping[int, Any]],
) -> ir.Model:
    """Exports `module`, called with `samples` by name, and frees the result from torch."""
    with quiet_export(), torch.no_grad():
        program = torch.onnx.export(
            module,
            tuple(samples.values()),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=list(samples),
            output_names=list(outputs),
            dynamic_shapes=tuple(dict(dynamic[name]) for name in samples),
        )
    if program is None:
        raise InternalError("torch exported no program")
    model = program.model
    forget_origin(model)
    _free_from_torch(model.graph)
    return model


def forget_origin(model: ir.Model) -> None:
    """Drops metadata and documentation: the exporter's hold stack traces with this machine's paths."""
    model.metadata_props.clear()
    model.doc_string = None
    graph = model.graph
    graph.metadata_props.clear()
    graph.doc_string = None
    for value in (*graph.inputs, *graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
    for node in graph.all_nodes():
        node.metadata_props.clear()
        node.doc_string = None
        for value in node.outputs:
            value.metadata_props.clear()
            value.doc_string = None


def _free_from_torch(graph: ir.Graph) -> None:
    for name, value in graph.initializers.items():
        if value.const_value is None:
            raise InternalError(f"the exporter left {name} without a value")
        value.const_value = ir.Tensor(_array(value.const_value), name=name)


def _array(tensor: ir.TensorProtocol) -> NDArray[Any]:
    raw = getattr(tensor, "raw", None)
    source = raw.detach().numpy() if isinstance(raw, torch.Tensor) else tensor.numpy()
    array: NDArray[Any] = np.asarray(source).view()
    array.flags.writeable = False
    return array
