"""What is checked of a model, of its outputs and of a tokenizer before and after native code has them."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from targets.bundle.schema import TaskConfig, TokenizerSpec
from targets.errors import BertcError, FailedRunError, IntegrityError, UnsupportedError
from targets.runtime.backends import onnx_guard, openvino_guard
from targets.runtime.outputs import check_labels, check_shapes
from targets.runtime.tasks.scores import finite, label_names, sigmoid, softmax
from targets.runtime.tokenizer_guard import check_tokenizer, quiet_panics
from tests.support.tiny_runtime import model_files, onnx_model, table, wordpiece, wordpiece_spec
from tests.support.wire import field, varint

MODEL = onnx_model("text-classification", table(2))


def with_tensor(data: bytes) -> bytes:
    return field(7, field(5, data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (field(7, b"") + varint((7 << 3 | 2) + (1 << 32)) + b"\x00", "a field of the number"),
        (field(7, b"") + b"\x00\x00", "a field of the number 0"),
        (field(7, b"") + varint(1 << 68), "a field of the number"),
        (b"\x12\x06ab" + b"ORTM" + field(7, b""), "onnxruntime's own format"),
        (with_tensor(b"\x08" + varint(1 << 40)), "less data than its shape"),
        (with_tensor(b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01" + field(9, b"x")), "less data"),
        (with_tensor(field(1, varint(1 << 20) + varint(1 << 20)) + field(9, bytes(9))), "less data"),
        (field(7, field(1, b"") * 1_000_001), "more than 1000000 parts"),
    ],
)
def test_onnx_that_is_malformed(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        onnx_guard.check_self_contained(data)


def test_a_tag_that_another_reader_cuts_does_not_hide_external_data() -> None:
    entry = onnx.StringStringEntryProto(key="location", value="weights")
    data = varint((13 << 3 | 2) + (1 << 32)) + varint(entry.ByteSize()) + entry.SerializeToString()
    with pytest.raises(BertcError):
        onnx_guard.check_self_contained(with_tensor(data))
    with pytest.raises(UnsupportedError, match="weights in another file"):
        onnx_guard.check_self_contained(with_tensor(field(13, entry.SerializeToString())))


@pytest.mark.parametrize(
    "array",
    [
        np.float32(1.5),
        np.zeros(0, np.float32),
        np.zeros((0, 1 << 40), np.int8),
        np.arange(10, dtype=np.int8),
        np.array(["a", ""], dtype=object),
        np.ones((2, 3), bool),
    ],
)
def test_tensors_of_every_kind_pass(array: Any) -> None:
    graph = helper.make_graph([], "g", [], [], [numpy_helper.from_array(np.asarray(array), "x")])
    onnx_guard.check_self_contained(helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize(
    "kind", [TensorProto.UINT4, TensorProto.FLOAT, TensorProto.INT64, TensorProto.DOUBLE]
)
def test_data_in_fields_of_numbers_passes(kind: int) -> None:
    tensor = helper.make_tensor("x", kind, [3, 3], list(range(9)))
    onnx_guard.check_self_contained(
        helper.make_model(helper.make_graph([], "g", [], [], [tensor])).SerializeToString()
    )


XML, BIN = model_files("openvino", MODEL).values()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda _: MODEL, "it is no XML"),
        (lambda data: data.replace(b"<net ", b"<not ").replace(b"</net>", b"</not>"), "its root is 'not'"),
        (lambda data: data[:-20], "malformed"),
        (lambda data: data.replace(b"?>", b"?><!DOCTYPE net []>", 1), "declares a document type"),
        (lambda data: data.replace(b'"opset8"', b'"extension"'), "operators of the set 'extension'"),
        (lambda data: data.replace(b'offset="0"', b'offset="1000"', 1), "not within the weights"),
        (lambda data: data.replace(b'offset="0"', b'offset="18446744073709551615"', 1), "no place"),
        (lambda data: data.replace(b'shape="43, 2"', b'shape="4611686018427387947, 2"', 1), "not within"),
        (
            lambda data: data.replace(b'"Const"', b'"constant"').replace(b'offset="0"', b'offset="9999"'),
            "not within",
        ),
        (lambda data: data.replace(b'element_type="f32"', b'element_type="x"', 1), "of the type 'x'"),
        (lambda _: b"<net>" * 70 + b"</net>" * 70, "too deep"),
    ],
)  # fmt: skip
def test_openvino_models_that_are_none(change: Callable[[bytes], bytes], message: str) -> None:
    openvino_guard.check_self_contained(XML, BIN)
    with pytest.raises((IntegrityError, UnsupportedError), match=message):
        openvino_guard.check_self_contained(change(XML), BIN)


def test_a_constant_behind_an_inner_layer_is_checked() -> None:
    inner = b'<layer id="99" type="Result" version="opset1"/>'
    inner += b'<data element_type="f32" shape="" offset="9999" size="4"/>'
    broken = XML.replace(b'size="344" />', b'size="344" />' + inner, 1)
    with pytest.raises(IntegrityError, match="not within the weights"):
        openvino_guard.check_self_contained(broken, BIN)


@pytest.mark.parametrize(
    ("task", "name", "shape", "fits"),
    [
        ("text-classification", "logits", (2, 5), True),
        ("text-classification", "logits", (2,), False),
        ("text-classification", "logits", (2, 0), False),
        ("text-classification", "logits", (3, 5), False),
        ("text-classification", "logits", (2, 7, 5), False),
        ("token-classification", "logits", (2, 7, 5), True),
        ("token-classification", "logits", (2, 6, 5), False),
        ("question-answering", "start_logits", (2, 7), True),
        ("question-answering", "start_logits", (2, 7, 1), False),
        ("feature-extraction", "sentence_embedding", (2, 9), True),
        ("feature-extraction", "sentence_embedding", (2, 7, 9), False),
        ("feature-extraction", "last_hidden_state", (2, 7, 9), True),
        ("feature-extraction", "last_hidden_state", (2, 1, 9), True),
        ("feature-extraction", "last_hidden_state", (2, 3, 9), False),
    ],
)
def test_outputs_have_the_shape_of_the_task(task: str, name: str, shape: tuple[int, ...], fits: bool) -> None:
    outputs = {name: np.zeros(shape, np.float32)}
    if fits:
        check_shapes(task, outputs, [name], 2, 7)
        return
    with pytest.raises(IntegrityError, match=f"output '{name}' has the shape"):
        check_shapes(task, outputs, [name], 2, 7)


@pytest.mark.parametrize("value", [np.array([["a"]]), np.array([[1j]]), [np.zeros((1, 2))], {"a": 1.0}])
def test_outputs_are_numbers(value: Any) -> None:
    with pytest.raises(IntegrityError, match="no array of numbers"):
        check_shapes("text-classification", {"logits": value}, ["logits"], 1, 1)


def test_labels_and_outputs_are_equally_many() -> None:
    three = TaskConfig(None, ("a", "b", "c"))
    check_labels("text-classification", three, {"logits": 3})
    check_labels("text-classification", three, {})
    check_labels("text-classification", TaskConfig(), {"logits": 9})
    check_labels("fill-mask", three, {"logits": 9})
    check_labels("text-classification", TaskConfig("regression", ("a", "b")), {"logits": 1})
    for task in ("text-classification", "token-classification"):
        with pytest.raises(IntegrityError, match="2 outputs and 3 label names"):
            check_labels(task, three, {"logits": 2})
    with pytest.raises(IntegrityError, match="2 outputs and 3 label names"):
        label_names(three.labels, 2)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_scores_of_no_numbers_are_refused(value: float) -> None:
    for function in (finite, sigmoid):
        with pytest.raises(FailedRunError, match="NaN or infinity"):
            function(np.array([0.0, value]))
    if value == -np.inf:
        assert softmax(np.array([0.0, value])).tolist() == [1.0, 0.0]
        return
    with pytest.raises(FailedRunError, match="NaN or infinity"):
        softmax(np.array([0.0, value]))


def spec(**changes: Any) -> TokenizerSpec:
    known = wordpiece_spec()
    fields = {name: getattr(known, name) for name in TokenizerSpec.__dataclass_fields__}
    return TokenizerSpec(**{**fields, **changes})


def tokenizer(edit: Callable[[dict[str, Any]], object] = lambda _: None) -> Any:
    from tokenizers import Tokenizer

    document = json.loads(wordpiece().to_str())
    edit(document)
    return Tokenizer.from_str(json.dumps(document))


def replace(pattern: dict[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


@pytest.mark.parametrize(
    ("normalizer", "fits"),
    [
        (None, True),
        (replace({"Regex": " {2,}"}, " "), True),
        (replace({"String": "``"}, '"'), True),
        (replace({"String": "a"}, "b" * 64), True),
        (replace({"String": "a"}, "b" * 65), False),
        (replace({"Regex": "(?:)"}, "b" * 64), False),
        ({"type": "Sequence", "normalizers": [replace({"String": "a"}, "b" * 9)] * 2}, False),
        ({"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "Lowercase"}]}, True),
    ],
)
def test_a_tokenizer_does_not_make_texts_much_longer(normalizer: Any, fits: bool) -> None:
    made = tokenizer(lambda d: d.update(normalizer=normalizer))
    if fits:
        check_tokenizer(made, spec())
        return
    with pytest.raises(IntegrityError, match="replaces a character by more than 64"):
        check_tokenizer(made, spec())


@pytest.mark.parametrize(
    "changes", [{"pad_id": 99}, {"pad_id": 1 << 40}, {"mask_token_id": 99}, {"pad_type_id": 256}]
)
def test_a_tokenizer_has_what_the_manifest_speaks_of(changes: dict[str, int]) -> None:
    check_tokenizer(tokenizer(), spec(mask_token_id=None))
    with pytest.raises(IntegrityError, match=r"tokenizer\.json has no token"):
        check_tokenizer(tokenizer(), spec(**changes))


def test_a_panic_writes_nothing_and_all_else_is_written_later(capfd: pytest.CaptureFixture[str]) -> None:
    def panic() -> None:
        os.write(2, b"thread panicked\n")
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"), quiet_panics():
        panic()
    assert capfd.readouterr().err == ""
    with quiet_panics():
        os.write(2, b"a warning\n")
        assert capfd.readouterr().err == ""
    assert capfd.readouterr().err == "a warning\n"


def test_struct_of_a_tag() -> None:
    """The tag of `hidden` in the corpus, as protobuf's readers of 32 bits see it."""
    value, place = 0, 0
    for byte in varint((13 << 3 | 2) + (1 << 32)):
        value = value | (byte & 127) << place
        place += 7
    assert struct.unpack("<I", struct.pack("<Q", value)[:4])[0] == 13 << 3 | 2
