"""Float operators against onnxruntime's."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compiler.integer.float_ops import operator
from compiler.ir.edit import make_node
from compiler.ir.execute import serialize

OPSET = 23
RNG = np.random.default_rng(0)
X = RNG.normal(size=(2, 3, 8)).astype(np.float32)
IDS = RNG.integers(0, 3, (2, 4))


def f32(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.normal(size=shape).astype(np.float32)


CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("MatMul", [X, f32(8, 5)], {}),
    ("Add", [X, f32(8)], {}),
    ("Sub", [np.float32(1.0), X], {}),
    ("Mul", [X, f32(3, 1)], {}),
    ("Div", [X, f32(8) + 9], {}),
    ("Tanh", [X], {}),
    ("Relu", [X], {}),
    ("Gelu", [X * 3], {}),
    ("Gelu", [X * 3], {"approximate": "tanh"}),
    ("LayerNormalization", [X, f32(8), f32(8)], {"epsilon": 1e-12}),
    ("LayerNormalization", [X, f32(3, 8)], {"axis": 1}),
    ("Softmax", [X * 5], {"axis": -1}),
    ("Softmax", [X * 5], {"axis": 1}),
    ("Gather", [X, IDS], {"axis": 1}),
    ("Unsqueeze", [X, np.array([1, 2])], {}),
    ("ReduceSum", [X, np.array([1])], {"keepdims": 0}),
    ("ReduceL2", [X, np.array([1])], {"keepdims": 1}),
    ("Clip", [X, np.float32(-0.5)], {}),
    ("Cast", [IDS], {"to": 1}),
    ("CumSum", [X, np.array(1)], {}),
    ("Expand", [f32(1, 8), np.array([2, 8])], {}),
    ("Where", [X > 0, X, np.float32(0.0)], {}),
    ("Slice", [X, np.array([1]), np.array([3]), np.array([2])], {}),
]


@pytest.mark.parametrize(("op_type", "inputs", "attributes"), CASES, ids=lambda each: str(each)[:24])
def test_an_operator(op_type: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    import onnxruntime as ort

    arrays = [np.asarray(each) for each in inputs]
    values = [
        ir.Value(name=f"x{i}", type=ir.TensorType(ir.DataType.from_numpy(a.dtype)), shape=ir.Shape(a.shape))
        for i, a in enumerate(arrays)
    ]
    dtype = ir.DataType.FLOAT
    node = make_node(op_type, values, name="node", attributes=attributes, dtype=dtype)
    graph = ir.Graph(values, list(node.outputs), nodes=[node], opset_imports={"": OPSET})
    session = ort.InferenceSession(
        serialize(ir.Model(graph, ir_version=10)), providers=["CPUExecutionProvider"]
    )
    (wanted,) = session.run(None, {f"x{i}": array for i, array in enumerate(arrays)})
    (found,) = operator(node, OPSET)(arrays)
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=2e-6, atol=2e-6)


def test_an_input_that_is_left_out() -> None:
    x = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([2]))
    high = ir.Value(name="high", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([]))
    node = make_node("Clip", [x, None, high], name="clip", dtype=ir.DataType.FLOAT)
    (found,) = operator(node, OPSET)([np.array([-5, 5], np.float32), None, np.array(1, np.float32)])
    assert found.tolist() == [-5, 1]
