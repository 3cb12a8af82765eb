"""ONNX files that reach outside their own bytes, are malformed, or ask for more than there is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.bundle_attacks.attack import Attack, Make, Scene
from tests.bundle_attacks.commands import LOADING
from tests.support.tiny_runtime import onnx_model, table
from tests.support.wire import field, varint

PATH: Final = "model/model.onnx"
INPUTS: Final = ("input_ids", "attention_mask", "token_type_ids")

Edit = Callable[[onnx.ModelProto, Scene], object]


def benign() -> onnx.ModelProto:
    rows = {"good": [-6.0, 6.0], "bad": [6.0, -6.0]}
    return onnx.load_from_string(onnx_model("text-classification", table(2, rows)))


def edited(edit: Edit) -> Make:
    """The benign model, changed."""

    def make(scene: Scene) -> None:
        model = benign()
        edit(model, scene)
        scene.put(PATH, model.SerializeToString())

    return make


def raw(change: Callable[[bytes], bytes]) -> Make:
    """The benign model's bytes, changed."""
    return lambda scene: scene.put(PATH, change(benign().SerializeToString()))


def external(tensor: TensorProto, location: str) -> None:
    """The tensor's data in another file."""
    size = len(tensor.raw_data)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(size))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value


def weights(scene: Scene) -> str:
    """A file outside that would do as the model's table, and its path."""
    path = scene.outside / "weights.bin"
    path.write_bytes(benign().graph.initializer[0].raw_data)
    return str(path)


def absolute(model: onnx.ModelProto, scene: Scene) -> None:
    external(model.graph.initializer[0], weights(scene))


def relative(model: onnx.ModelProto, scene: Scene) -> None:
    weights(scene)
    external(model.graph.initializer[0], "../outside/weights.bin")


def constant(model: onnx.ModelProto, scene: Scene) -> None:
    """In an attribute of a node."""
    tensor = model.graph.initializer[0]
    tensor.name = "inner"
    external(tensor, weights(scene))
    model.graph.node.insert(0, helper.make_node("Constant", [], ["table"], value=tensor))
    del model.graph.initializer[0]


def branch(model: onnx.ModelProto, scene: Scene) -> None:
    """In a graph within the graph."""
    tensor = model.graph.initializer[0]
    external(tensor, weights(scene))
    result = helper.make_tensor_value_info("table_in", TensorProto.FLOAT, None)
    tensor.name = "table_in"
    inner = helper.make_graph([], "inner", [], [result], [tensor])
    condition = numpy_helper.from_array(np.array(True), "condition")
    node = helper.make_node("If", ["condition"], ["table"], then_branch=inner, else_branch=inner)
    model.graph.node.insert(0, node)
    del model.graph.initializer[0]
    model.graph.initializer.append(condition)


def hidden(scene: Scene) -> None:
    """Tags of 33 bits: protobuf's reader drops the highest, and sees external data where others see none."""
    model = benign()
    tensor = model.graph.initializer[0]
    external(tensor, weights(scene))
    entries = [entry.SerializeToString() for entry in tensor.external_data]
    tensor.ClearField("external_data")
    tensor.ClearField("data_location")
    data = tensor.SerializeToString() + b"".join(field(13, entry, beyond=1 << 32) for entry in entries)
    data += varint((14 << 3) + (1 << 32)) + b"\x01"
    del model.graph.initializer[0]
    graph = model.graph.SerializeToString() + field(5, data)
    model.ClearField("graph")
    scene.put(PATH, model.SerializeToString() + field(7, graph))


def node(op: str, domain: str, **attributes: Any) -> Edit:
    """A node more at the end, in place of the last one."""

    def edit(model: onnx.ModelProto, scene: Scene) -> None:
        del scene
        last = model.graph.node[-1]
        made = helper.make_node(op, list(last.input), list(last.output), domain=domain, **attributes)
        last.CopyFrom(made)
        model.opset_import.append(helper.make_opsetid(domain, 1))

    return edit


def nested_domain(model: onnx.ModelProto, scene: Scene) -> None:
    del scene
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    inner = helper.make_graph([helper.make_node("Run", [], ["y"], domain="evil")], "inner", [], [result])
    for _ in range(3):
        wrapped = helper.make_node("If", ["first"], ["y"], then_branch=inner, else_branch=inner)
        inner = helper.make_graph([wrapped], "inner", [], [result])
    model.graph.node.append(helper.make_node("If", ["first"], ["z"], then_branch=inner, else_branch=inner))


def function(model: onnx.ModelProto, scene: Scene) -> None:
    del scene
    made = helper.make_function(
        "own",
        "Own",
        ["x"],
        ["y"],
        [helper.make_node("Identity", ["x"], ["y"])],
        [helper.make_opsetid("", 18)],
    )
    model.functions.append(made)
    last = model.graph.node[-1]
    last.op_type, last.domain = "Own", "own"
    model.opset_import.append(helper.make_opsetid("own", 1))


def deep_graphs(scene: Scene) -> None:
    """Graphs in each other, 2,000 of them."""
    graph = b""
    for _ in range(2_000):
        graph = field(1, field(5, field(6, graph)))
    scene.put(PATH, field(7, graph))


def dims(*shape: int, keep: bool = True) -> Edit:
    """Another shape for the table of the same data."""

    def edit(model: onnx.ModelProto, scene: Scene) -> None:
        del scene
        tensor = model.graph.initializer[0]
        del tensor.dims[:]
        tensor.dims.extend(shape)
        if not keep:
            tensor.ClearField("raw_data")

    return edit


def replaced(nodes: list[Any], constants: dict[str, Any], kind: int = TensorProto.FLOAT) -> Make:
    """A model of other nodes, whose output is `logits`."""

    def make(scene: Scene) -> None:
        graph = helper.make_graph(
            nodes,
            "tiny",
            [
                helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"])
                for name in INPUTS
            ],
            [helper.make_tensor_value_info("logits", kind, None)],
            [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
        )
        imports = [helper.make_opsetid("", 18)]
        scene.put(PATH, helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())

    return make


def cycle(model: onnx.ModelProto, scene: Scene) -> None:
    del scene
    model.graph.node[0].input[1] = "logits"


def flatbuffer(data: bytes) -> bytes:
    """The mark of onnxruntime's own format, inside a message that is well formed."""
    return field(2, b"\x00" + b"ORTM" + bytes(200)) + data


_LOADED: Final[dict[str, Make]] = {
    "weights in a file by its absolute path": edited(absolute),
    "weights in a file of the parent": edited(relative),
    "weights of a constant in a file": edited(constant),
    "weights of an inner graph in a file": edited(branch),
    "weights in a file, in tags of 33 bits": hidden,
    "weights in /dev/zero": edited(lambda m, _: external(m.graph.initializer[0], "/dev/zero")),
    "weights in /proc/self/mem": edited(lambda m, _: external(m.graph.initializer[0], "/proc/self/mem")),
    "weights behind onnxruntime's mark of memory": edited(
        lambda m, _: external(m.graph.initializer[0], "*/_ORT_MEM_ADDR_/*")
    ),
    "an operator of another domain": edited(node("Run", "evil")),
    "an operator of the training domain": edited(node("Adam", "ai.onnx.training")),
    "an operator of Python": edited(node("PythonOp", "com.microsoft", name="os.system")),
    "a stored engine of another file": edited(
        node("EPContext", "com.microsoft", ep_cache_context="/etc/passwd", embed_mode=0)
    ),
    "an operator that there is not": edited(node("Nothing", "")),
    "a domain of terminal escapes": edited(node("Run", "\x1b[2J\u202e")),
    "an operator of another domain, four graphs down": edited(nested_domain),
    "a function of its own": edited(function),
    "2000 graphs in each other": deep_graphs,
    "a sparse tensor": edited(lambda m, _: m.graph.sparse_initializer.add()),
    "training information": edited(lambda m, _: m.training_info.add()),
    "a cycle": edited(cycle),
    "nothing": raw(lambda _: b""),
    "no protobuf": raw(lambda _: b"onnx" * 1000),
    "a pickle": raw(lambda _: b"\x80\x04\x95cposix\nsystem\n(S'id'\ntR."),
    "no graph": raw(lambda _: field(2, b"x")),
    "an empty graph": raw(lambda _: field(7, b"")),
    "cut short": raw(lambda data: data[:-20]),
    "a field of the number 0": raw(lambda data: data + b"\x00\x00"),
    "a megabyte of zeros": raw(lambda _: bytes(1 << 20)),
    "a field that never ends": raw(lambda data: data + b"\xff" * 40),
    "a length beyond the file": raw(lambda data: data + varint(7 << 3 | 2) + varint(2**63)),
    "groups": raw(lambda data: data + bytes([9 << 3 | 3, 9 << 3 | 4])),
    "1.2 million empty nodes": raw(lambda _: field(7, field(1, b"") * 1_200_000)),
    "onnxruntime's own format": raw(lambda _: b"\x18\x00\x00\x00ORTM" + bytes(200)),
    "onnxruntime's own format, inside a message": raw(flatbuffer),
    "a table of 2**40 rows": edited(dims(2**40, 2)),
    "a table of 2**33 rows and no data": edited(dims(2**33, keep=False)),
    "a table of a shape that wraps around": edited(dims(2**32, 2**32)),
    "a table of -1 rows": edited(dims(-1, 2)),
    "a table of 10**9 rows": edited(dims(10**9, 2)),
    "an input that nobody feeds": edited(
        lambda m, _: m.graph.input.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, [1]))
    ),
    "an input by another name": edited(lambda m, _: setattr(m.graph.input[0], "name", "\x1b[2J")),
}

_RUN: Final[dict[str, Make]] = {
    "a table of fewer rows than the vocabulary": edited(
        lambda m, _: m.graph.initializer[0].CopyFrom(
            numpy_helper.from_array(np.zeros((3, 2), np.float32), "table")
        )
    ),
    "a reshape to another size": replaced(
        [
            helper.make_node("Cast", ["input_ids"], ["ids"], to=TensorProto.FLOAT),
            helper.make_node("Reshape", ["ids", "shape"], ["logits"]),
        ],
        {"shape": np.array([7, 1 << 40], np.int64)},
    ),
    "more memory than any machine has": replaced(
        [helper.make_node("ConstantOfShape", ["shape"], ["logits"])], {"shape": np.array([1 << 46], np.int64)}
    ),
}

ATTACKS: Final = (
    *(Attack("ONNX", name, LOADING, make) for name, make in _LOADED.items()),
    *(Attack("ONNX", name, LOADING, make) for name, make in _RUN.items()),
)
