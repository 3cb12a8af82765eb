from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from compiler.frontend.checkpoint import load_checkpoint
from compiler.frontend.export import trace
from compiler.ir.verify import verify
from targets.errors import UnsupportedError, UsageError
from tests.support.parity import assert_parity, random_feeds

Make = Callable[..., Path]
NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def export(
    source: Path, file: Path, *, task: str = "text-classification", opset: int = 18, **options: Any
) -> None:
    """Exports with the tracing exporter, as most .onnx files on the hub were."""
    import torch
    import transformers

    auto = {
        "text-classification": transformers.AutoModelForSequenceClassification,
        "question-answering": transformers.AutoModelForQuestionAnswering,
        "feature-extraction": transformers.AutoModel,
    }[task]
    model = auto.from_pretrained(source, attn_implementation="eager").eval()
    fields = {
        "text-classification": ["logits"],
        "question-answering": ["start_logits", "end_logits"],
        "feature-extraction": ["last_hidden_state", "pooler_output"],
    }[task]

    class Wrapper(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids: Any, mask: Any, types: Any) -> tuple[Any, ...]:
            result = self.model(input_ids=ids, attention_mask=mask, token_type_ids=types)
            return tuple(result[field] for field in fields)

    dtype = options.pop("dtype", torch.long)
    sample = torch.ones(2, 8, dtype=dtype)
    names = options.pop("input_names", NAMES)
    axes = {name: {0: "b", 1: "s"} for name in names} if options.pop("dynamic", True) else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Wrapper().eval(),
            (sample, sample, torch.zeros_like(sample)),
            str(file),
            dynamo=False,
            opset_version=opset,
            input_names=names,
            output_names=options.pop("output_names", fields),
            dynamic_axes=axes,
        )


def beside(source: Path, folder: Path) -> Path:
    """The checkpoint's files without weights, for an .onnx file to lie beside."""
    shutil.copytree(source, folder)
    (folder / "model.safetensors").unlink(missing_ok=True)
    return folder


def session(model: ir.Model) -> Callable[[dict[str, Any]], dict[str, Any]]:
    import onnxruntime

    run = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    names = [value.name for value in run.get_outputs()]
    return lambda feeds: dict(zip(names, run.run(None, feeds), strict=True))


@pytest.fixture(scope="module")
def exported(checkpoint: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good export in onnx/model.onnx."""
    folder = beside(checkpoint(), tmp_path_factory.mktemp("onnx") / "tiny")
    export(checkpoint(), folder / "onnx" / "model.onnx")
    return folder


@pytest.fixture(scope="module")
def reference(checkpoint: Make) -> Any:
    from compiler.frontend.torch_model import load_reference

    return load_reference(load_checkpoint(checkpoint()))


@pytest.mark.parametrize("opset", [11, 14, 17])
def test_old_exports(checkpoint: Make, reference: Any, tmp_path: Path, opset: int) -> None:
    folder = beside(checkpoint(), tmp_path / "old")
    export(checkpoint(), folder / "model.onnx", opset=opset, output_names=["output_0"])
    opened = load_checkpoint(folder / "model.onnx")
    told: list[str] = []
    traced = trace(opened, progress=told.append)
    assert told == ["loading weights", "converting"]
    verify(traced.model)
    assert traced.reference is None
    assert traced.model.opset_imports == {"": 23}
    assert [value.name for value in traced.model.graph.outputs] == ["logits"]
    assert not any(node.op_type in ("Constant", "Identity") for node in traced.model.graph)
    for batch, length in ((1, 2), (3, 37), (2, 128)):
        given = random_feeds(batch, length, vocab_size=opened.config["vocab_size"])
        assert_parity(reference, session(traced.model), given)


def test_what_it_says(exported: Path) -> None:
    opened = load_checkpoint(exported / "onnx" / "model.onnx")
    assert (opened.source, opened.name, opened.task) == ("onnx", "tiny", "text-classification")
    assert opened.task_config.labels == ("negative", "positive")
    files = opened.provenance["files"]
    assert isinstance(files, dict)
    assert {"model.onnx", "../config.json", "../tokenizer.json"} <= files.keys()
    shape = [str(value.shape) for value in trace(opened).model.graph.inputs]
    assert shape == ["[batch,sequence]"] * 3


def test_external_data_is_taken_in(exported: Path, reference: Any, tmp_path: Path) -> None:
    folder = beside(exported, tmp_path / "m")
    ir.save(ir.load(exported / "onnx" / "model.onnx"), folder / "big.onnx", external_data="big.onnx.data")
    opened = load_checkpoint(folder / "big.onnx")
    files = opened.provenance["files"]
    assert isinstance(files, dict)
    assert "big.onnx.data" in files
    traced = trace(opened)
    (folder / "big.onnx.data").unlink()
    assert_parity(reference, session(traced.model), random_feeds(vocab_size=opened.config["vocab_size"]))
    with pytest.raises(UsageError, match=r"big\.onnx\.data, which is missing"):
        load_checkpoint(folder / "big.onnx")
    (folder / "big.onnx.data").write_bytes(b"short")
    with pytest.raises(UsageError, match="truncated"):
        load_checkpoint(folder / "big.onnx")


@pytest.mark.parametrize("place", ["../outside.data", "sub/../../outside.data"])
def test_external_data_outside_is_refused(exported: Path, tmp_path: Path, place: str) -> None:
    import onnx

    folder = beside(exported, tmp_path / "m")
    model = ir.load(exported / "onnx" / "model.onnx")
    ir.save(model, folder / "big.onnx", external_data="outside.data", size_threshold_bytes=0)
    (folder / "outside.data").rename(tmp_path / "outside.data")
    proto = onnx.load(str(folder / "big.onnx"), load_external_data=False)
    for tensor in proto.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = place
    (folder / "big.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(UnsupportedError, match="outside of its folder"):
        load_checkpoint(folder / "big.onnx")


def test_external_data_through_a_link_is_refused(exported: Path, tmp_path: Path) -> None:
    folder = beside(exported, tmp_path / "m")
    ir.save(ir.load(exported / "onnx" / "model.onnx"), folder / "big.onnx", external_data="big.data")
    (folder / "big.data").rename(tmp_path / "outside.data")
    (folder / "big.data").symlink_to(tmp_path / "outside.data")
    with pytest.raises(UnsupportedError, match="outside of its folder"):
        load_checkpoint(folder / "big.onnx")


def test_pooling_is_added(checkpoint: Make, tmp_path: Path) -> None:
    from compiler.frontend.torch_model import load_reference

    source = checkpoint("bert", "feature-extraction", pooling="mean", dense=24, normalize=True)
    folder = beside(source, tmp_path / "m")
    export(source, folder / "onnx" / "model.onnx", task="feature-extraction")
    opened = load_checkpoint(folder / "onnx" / "model.onnx")
    traced = trace(opened)
    verify(traced.model)
    wanted = load_reference(load_checkpoint(source))
    for batch, length in ((1, 2), (3, 21)):
        given = random_feeds(batch, length, vocab_size=opened.config["vocab_size"])
        assert_parity(wanted, session(traced.model), given)
    shape = {value.name: str(value.shape) for value in traced.model.graph.outputs}
    assert shape == {"sentence_embedding": "[batch,24]", "last_hidden_state": "[batch,1,24]"}


def test_questions(checkpoint: Make, tmp_path: Path) -> None:
    from compiler.frontend.torch_model import load_reference

    source = checkpoint("bert", "question-answering")
    folder = beside(source, tmp_path / "m")
    export(source, folder / "qa.onnx", task="question-answering")
    opened = load_checkpoint(folder / "qa.onnx")
    given = random_feeds(vocab_size=opened.config["vocab_size"])
    assert_parity(load_reference(load_checkpoint(source)), session(trace(opened).model), given)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(UnsupportedError, match="no output for fill-mask"):
        trace(load_checkpoint(folder / "qa.onnx"))


def test_int32_inputs_and_old_names(checkpoint: Make, reference: Any, tmp_path: Path) -> None:
    import torch

    folder = beside(checkpoint(), tmp_path / "m")
    names = ["input_ids", "input_mask", "segment_ids"]
    export(checkpoint(), folder / "model.onnx", dtype=torch.int32, input_names=names)
    traced = trace(load_checkpoint(folder / "model.onnx"))
    verify(traced.model)
    assert [(value.name, value.dtype) for value in traced.model.graph.inputs] == [
        (name, ir.DataType.INT64) for name in NAMES
    ]
    assert_parity(reference, session(traced.model), random_feeds(vocab_size=500))


def test_fixed_axes_are_declined(checkpoint: Make, tmp_path: Path) -> None:
    folder = beside(checkpoint(), tmp_path / "m")
    export(checkpoint(), folder / "model.onnx", dynamic=False)
    with pytest.raises(UnsupportedError, match="fixed shape") as caught:
        trace(load_checkpoint(folder / "model.onnx"))
    assert "dynamic axes" in caught.value.hint


def changed(exported: Path, folder: Path, change: Callable[[ir.Model], None]) -> Path:
    file = beside(exported, folder) / "changed.onnx"
    model = ir.load(exported / "onnx" / "model.onnx")
    change(model)
    ir.save(model, file)
    return file


def first_weight(model: ir.Model) -> ir.Value:
    return next(v for v in model.graph.initializers.values() if v.shape is not None and len(v.shape) == 2)


def poison(model: ir.Model) -> None:
    weight = first_weight(model)
    assert weight.const_value is not None
    array = weight.const_value.numpy().copy()
    array[0, 0] = np.nan
    weight.const_value = ir.tensor(array, name=weight.name)


def halve(model: ir.Model) -> None:
    weight = first_weight(model)
    assert weight.const_value is not None
    weight.const_value = ir.tensor(weight.const_value.numpy().astype(np.float16), name=weight.name)
    weight.type = ir.TensorType(ir.DataType.FLOAT16)


def fuse(model: ir.Model) -> None:
    next(iter(model.graph)).domain = "com.microsoft"
    model.opset_imports["com.microsoft"] = 1


def quantize(model: ir.Model) -> None:
    next(node for node in model.graph if node.op_type == "MatMul").op_type = "MatMulInteger"


def rename_input(model: ir.Model) -> None:
    model.graph.inputs[0].name = "tokens"


def age(model: ir.Model) -> None:
    model.opset_imports[""] = 7


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (poison, "NaN or infinite"),
        (halve, "not in float32"),
        (fuse, r"operators of com\.microsoft"),
        (quantize, "already quantized"),
        (rename_input, "has the input 'tokens'"),
        (age, "opset 7"),
    ],
)
def test_graphs_that_are_declined(
    exported: Path, tmp_path: Path, change: Callable[[ir.Model], None], word: str
) -> None:
    file = changed(exported, tmp_path / "m", change)
    with pytest.raises(UnsupportedError, match=word):
        trace(load_checkpoint(file))


def test_labels_that_do_not_fit(exported: Path, tmp_path: Path) -> None:
    folder = beside(exported, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "a", "1": "b", "2": "c"}, "label2id": {"a": 0, "b": 1, "c": 2}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match=r"gives 2 values as logits, config\.json says 3"):
        trace(load_checkpoint(folder / "onnx" / "model.onnx"))


def test_broken_file_or_no_config(exported: Path, tmp_path: Path) -> None:
    folder = beside(exported, tmp_path / "m")
    file = folder / "onnx" / "model.onnx"
    file.write_bytes(file.read_bytes()[:5000])
    with pytest.raises(UsageError, match="not a valid ONNX file"):
        load_checkpoint(file)
    (tmp_path / "lone.onnx").write_bytes(b"")
    with pytest.raises(UsageError, match=r"lone\.onnx has no config\.json") as caught:
        load_checkpoint(tmp_path / "lone.onnx")
    assert "tokenizer.json" in caught.value.hint
