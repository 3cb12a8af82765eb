from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
import pytest

from compiler.ir.edit import make_node
from compiler.ir.verify import verify
from targets.errors import InternalError
from tests.support.graphs import encoder, parse, ramp


def model() -> ir.Model:
    text = """
    small (float[n, 4] x, float[4, 2] w) => (float[n, 2] y) {
      [first] a = Relu(x)
      [second] b = Neg(a)
      [dot] y = MatMul(b, w)
    }"""
    return parse(text, {"w": ramp(4, 2)})


def reorder(m: ir.Model) -> None:
    second = m.graph[1]
    m.graph.remove(second)
    m.graph.append(second)


def foreign_input(m: ir.Model) -> None:
    m.graph[0].replace_input_with(0, ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT)))


def same_value_name(m: ir.Model) -> None:
    m.graph[1].outputs[0].name = "a"


def same_node_name(m: ir.Model) -> None:
    m.graph[1].name = "first"


def no_node_name(m: ir.Model) -> None:
    m.graph[1].name = None


def no_data(m: ir.Model) -> None:
    m.graph.initializers["w"].const_value = None


def other_shape(m: ir.Model) -> None:
    m.graph.initializers["w"].shape = ir.Shape([4, 3])


def other_type(m: ir.Model) -> None:
    m.graph.initializers["w"].type = ir.TensorType(ir.DataType.FLOAT16)


def no_type(m: ir.Model) -> None:
    m.graph[0].outputs[0].type = None


def foreign_domain(m: ir.Model) -> None:
    m.graph[0].domain = "com.example"


def foreign_output(m: ir.Model) -> None:
    node = make_node("Relu", [m.graph.inputs[0]], name="detached", dtype=ir.DataType.FLOAT)
    m.graph.outputs.append(node.outputs[0])


def nameless_input(m: ir.Model) -> None:
    m.graph.inputs[0].name = None


FAULTS: dict[Callable[[ir.Model], None], str] = {
    reorder: "input 0 of MatMul reads 'b' before it is made",
    foreign_input: "input 0 of Relu reads 'x' before it is made",
    same_value_name: "the name 'a' is given to two values",
    same_node_name: "Neg has no name of its own but 'first'",
    no_node_name: "Neg has no name of its own but None",
    no_data: "initializer 'w' holds no data",
    other_shape: "initializer 'w' is declared [4,3] but holds [4,2]",
    other_type: "initializer 'w' is declared FLOAT16 but holds FLOAT",
    no_type: "Relu makes 'a' without a type",
    foreign_domain: "Relu is of the domain 'com.example', which no runtime here implements",
    foreign_output: "graph output 'detached_out' is made by no node of the graph",
    nameless_input: "a graph input or an initializer has no name",
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_finds(fault: Callable[[ir.Model], None]) -> None:
    broken = model()
    fault(broken)
    with pytest.raises(InternalError) as raised:
        verify(broken)
    assert raised.value.message.splitlines()[0] == FAULTS[fault]


def test_an_output_without_a_type() -> None:
    broken = model()
    broken.graph.outputs[0].type = None
    with pytest.raises(InternalError, match="makes 'y' without a type"):
        verify(broken)


def test_the_lines_around_a_fault_are_quoted() -> None:
    broken = encoder()
    broken.graph[8].domain = "com.example"
    with pytest.raises(InternalError) as raised:
        verify(broken)
    lines = raised.value.message.splitlines()[1:]
    assert len(lines) == 7
    assert [line.startswith("> ") for line in lines] == [False] * 3 + [True] + [False] * 3


def test_good_graphs_pass() -> None:
    verify(model())
    verify(encoder(layers=2, head="tokens"))
    assert np.isfinite(ramp(3)).all()
