"""What a shipped ONNX file does not carry."""

from __future__ import annotations

import onnx_ir as ir


def strip(model: ir.Model) -> None:
    """Remove the exporter's notes, paths among them, from a model in place."""
    model.metadata_props.clear()
    model.graph.metadata_props.clear()
    model.doc_string = None
    for node in model.graph:
        node.metadata_props.clear()
        node.doc_string = None
        for out in node.outputs:
            out.metadata_props.clear()
    for value in [*model.graph.inputs, *model.graph.initializers.values()]:
        value.metadata_props.clear()
