"""A model that does not fit into one ONNX file is refused with the reason."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from compiler.ir import execute
from compiler.ir.edit import add_initializer
from targets.errors import UnsupportedError


def test_too_large_a_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    graph = ir.Graph([], [], nodes=[], opset_imports={"": 21})
    add_initializer(graph, "table", np.zeros((8, 4), np.float32))
    model = ir.Model(graph, ir_version=10)
    assert execute.serialize(model)
    monkeypatch.setattr(execute, "LARGEST_MODEL", 127)
    with pytest.raises(UnsupportedError, match="one ONNX file holds 2"):
        execute.serialize(model)
