from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from compiler.frontend.checkpoint import Checkpoint, load_checkpoint
from compiler.frontend.export import TracedModel, trace
from compiler.frontend.heads import load_sentence_head
from compiler.frontend.torch_model import load_reference
from compiler.ir.verify import verify
from targets.errors import UnsupportedError, UsageError
from tests.support.parity import assert_parity, random_feeds, torch_callable

Make = Callable[..., Path]
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bert": ("bert", "text-classification", {"dtype": "float16"}),
    "roberta": ("roberta", "text-classification", {}),
    "distilbert": ("distilbert", "text-classification", {}),
    "electra": ("electra", "text-classification", {"dtype": "bfloat16"}),
    "xlm-roberta": ("xlm-roberta", "text-classification", {}),
    "tokens": ("bert", "token-classification", {}),
    "answers": ("bert", "question-answering", {}),
    "masked": ("bert", "fill-mask", {}),
    "mean": ("bert", "feature-extraction", {}),
    "modules": ("bert", "feature-extraction", {"pooling": "max", "dense": 24, "normalize": True}),
    "cls": ("roberta", "feature-extraction", {"pooling": "cls", "normalize": True}),
}
OUTPUTS = {
    "text-classification": {"logits": ["batch", 2]},
    "token-classification": {"logits": ["batch", "sequence", 7]},
    "question-answering": {"start_logits": ["batch", "sequence"], "end_logits": ["batch", "sequence"]},
    "fill-mask": {"logits": ["batch", "sequence", 600]},
}


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest, checkpoint: Make) -> tuple[str, Path, Checkpoint, TracedModel]:
    family, task, options = CASES[request.param]
    folder = checkpoint(family, task, **options)
    opened = load_checkpoint(folder)
    return request.param, folder, opened, trace(opened)


def session(model: ir.Model) -> Callable[[dict[str, Any]], dict[str, Any]]:
    run = onnxruntime.InferenceSession(ir.to_proto(model).SerializeToString())
    names = [value.name for value in run.get_outputs()]
    inputs = [value.name for value in run.get_inputs()]

    def call(feeds: dict[str, Any]) -> dict[str, Any]:
        return dict(zip(names, run.run(None, {name: feeds[name] for name in inputs}), strict=True))

    return call


def shapes(values: Any) -> dict[str, list[Any]]:
    return {
        value.name: [dim.value if isinstance(dim, ir.SymbolicDim) else dim for dim in value.shape]
        for value in values
    }


def feeds(opened: Checkpoint, batch: int, length: int) -> dict[str, Any]:
    vocab, pad = opened.config["vocab_size"], opened.tokenizer.spec.pad_id
    return random_feeds(batch, length, vocab_size=vocab, pad_id=pad, seed=length)


def test_parity_and_form(case: tuple[str, Path, Checkpoint, TracedModel]) -> None:
    name, _, opened, traced = case
    verify(traced.model)
    assert traced.reference is not None
    actual = session(traced.model)
    for batch, length in ((1, 2), (3, 37), (1, 128), (3, 2), (2, opened.positions)):
        given = feeds(opened, batch, length)
        assert_parity(traced.reference, actual, given)
        # and at padded positions as well: no NaN anywhere
        assert all(np.isfinite(values).all() for values in actual(given).values())
    graph = traced.model.graph
    types = opened.config.get("type_vocab_size", 0) > 1
    wanted = ["input_ids", "attention_mask", *(["token_type_ids"] if types else [])]
    assert shapes(graph.inputs) == {key: ["batch", "sequence"] for key in wanted}
    assert [value.dtype for value in graph.inputs] == [ir.DataType.INT64] * len(wanted)
    width = 24 if name == "modules" else 32
    rows = "sequence" if opened.modules is not None and opened.modules.token_vectors else 1
    vector = {"sentence_embedding": ["batch", width], "last_hidden_state": ["batch", rows, width]}
    assert shapes(graph.outputs) == OUTPUTS.get(opened.task, vector)
    assert traced.model.opset_imports == {"": 23}


def test_weights_are_read_only_numpy_and_shared(case: tuple[str, Path, Checkpoint, TracedModel]) -> None:
    traced = case[3]
    graph = traced.model.graph
    wrapper = traced.reference.wrapper  # type: ignore[union-attr]
    memory = [parameter.numpy() for parameter in wrapper.parameters()]
    large = 0
    for value in graph.initializers.values():
        assert type(value.const_value) is ir.Tensor
        array = value.const_value.raw
        assert isinstance(array, np.ndarray)
        assert not array.flags.writeable
        if array.size > 256:
            large += 1
            if array.dtype == np.float32:
                assert any(np.shares_memory(array, held) for held in memory)
    assert large > 8
    if case[0] == "masked":
        rows = case[2].config["vocab_size"]
        tables = [v for v in graph.initializers.values() if v.shape is not None and rows in v.shape.numpy()]
        assert [len(v.shape) for v in tables if v.shape is not None].count(2) == 1, "tied weights are doubled"
    text = str(ir.to_proto(traced.model))[:200_000]
    assert ".py" not in text
    assert not any(node.metadata_props for node in graph)


def test_reference_is_transformers(case: tuple[str, Path, Checkpoint, TracedModel]) -> None:
    import torch
    import transformers

    _, folder, opened, traced = case
    auto = {
        "text-classification": transformers.AutoModelForSequenceClassification,
        "token-classification": transformers.AutoModelForTokenClassification,
        "question-answering": transformers.AutoModelForQuestionAnswering,
        "fill-mask": transformers.AutoModelForMaskedLM,
        "feature-extraction": transformers.AutoModel,
    }[opened.task]
    model = auto.from_pretrained(folder, dtype=torch.float32)
    given = feeds(opened, 3, 21)
    if opened.config.get("type_vocab_size", 0) < 2:
        del given["token_type_ids"]
    embeds = opened.task == "feature-extraction"
    plain = torch_callable(model, ["last_hidden_state"] if embeds else list(OUTPUTS[opened.task]))

    def expected(given: dict[str, Any]) -> dict[str, Any]:
        found = plain(given)
        if opened.modules is None:
            return found
        head = load_sentence_head(opened.modules, 32)
        tokens, mask = torch.tensor(found["last_hidden_state"]), torch.tensor(given["attention_mask"])
        embedding = {"sentence_embedding": head(tokens, mask).numpy()}
        if opened.modules.token_vectors:
            return {**embedding, **found}
        return {**embedding, "last_hidden_state": embedding["sentence_embedding"][:, None]}

    assert traced.reference is not None
    assert_parity(expected, traced.reference, given, atol=1e-5)


def test_progress_is_told_and_nothing_is_printed(
    checkpoint: Make, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    told: list[str] = []
    opened = load_checkpoint(checkpoint("bert", "text-classification", dtype="float16"))
    trace(opened, progress=told.append)
    assert told == ["loading weights", "tracing"]
    assert capfd.readouterr() == ("", "")
    assert not list(recwarn)


def stripped(source: Path, folder: Path, prefix: str, **config: Any) -> Path:
    """A copy of a checkpoint without the tensors whose names start with `prefix`."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(source, folder)
    weights = load_file(folder / "model.safetensors")
    kept = {name: value for name, value in weights.items() if not prefix or not name.startswith(prefix)}
    assert not prefix or len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    stored = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**stored, **config}))
    return folder


@pytest.mark.parametrize("prefix", ["classifier.", "bert.pooler.", "bert.encoder.layer.1.output.dense.bias"])
def test_new_weights_never_slip_through(checkpoint: Make, tmp_path: Path, prefix: str) -> None:
    opened = load_checkpoint(stripped(checkpoint(), tmp_path / "m", prefix))
    with pytest.raises(UnsupportedError, match=f"no weights for text-classification: {prefix}") as caught:
        trace(opened)
    assert "--task" in caught.value.hint


def test_head_that_the_architecture_only_claims(checkpoint: Make, tmp_path: Path) -> None:
    source = checkpoint("bert", "feature-extraction")
    folder = stripped(source, tmp_path / "m", "", architectures=["BertForTokenClassification"])
    with pytest.raises(UnsupportedError, match="classifier"):
        trace(load_checkpoint(folder))


def test_encoder_of_a_checkpoint_with_another_head(checkpoint: Make) -> None:
    opened = load_checkpoint(checkpoint("bert", "fill-mask"), task="feature-extraction")
    assert load_reference(opened).output_names == ("sentence_embedding", "last_hidden_state")


def test_shapes_that_do_not_fit_the_config(checkpoint: Make, tmp_path: Path) -> None:
    folder = stripped(checkpoint(), tmp_path / "m", "", intermediate_size=48)
    with pytest.raises(UsageError, match="shapes"):
        trace(load_checkpoint(folder))


def test_sharded_checkpoint(checkpoint: Make, tmp_path: Path) -> None:
    import torch
    import transformers

    source = checkpoint("bert", "token-classification")
    folder = tmp_path / "sharded"
    shutil.copytree(source, folder)
    (folder / "model.safetensors").unlink()
    model = transformers.AutoModelForTokenClassification.from_pretrained(source, dtype=torch.float32)
    model.save_pretrained(folder, max_shard_size="40KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    whole, parts = load_reference(load_checkpoint(source)), load_reference(load_checkpoint(folder))
    assert_parity(whole, parts, feeds(load_checkpoint(source), 2, 9), atol=0.0)
