"""Tiny tokenizers with a known vocabulary, models that are lookup tables, and bundles of both."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from compiler.package import write_bundle
from targets.bundle.reader import Bundle
from targets.bundle.schema import Manifest, RuntimeSpec, TargetRecord, TaskConfig, TensorSpec, TokenizerSpec
from targets.detect import machine
from targets.runtime.backends import open_backend
from targets.runtime.session import Session
from targets.runtime.settings import DYNAMIC, RunSettings
from targets.runtime.tokenize import TextEncoder

RUNTIMES = ("onnxruntime", "openvino")
SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
WORDS = (
    *("a", "the", "good", "bad", "film", "was", "anna", "maria", "silva", "in", "berlin", "new", "york"),
    *("who", "wrote", "it", "?", ".", ",", "!", "u", "s", "##s", "##es", "##na", "##lin", "##er"),
    *("ber", "an", "play", "##ing", "##ed", "東", "京", "😀", "jose", "é", "##é"),
)
Logits = Callable[[str], list[float]]


def wordpiece(*, limits: bool = True) -> Tokenizer:
    """BERT's tokenizer over `WORDS`; with `limits`, saved as its last user left it: cut and padded to 16."""
    vocab = {token: index for index, token in enumerate((*SPECIALS, *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(list(SPECIALS))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    if limits:
        tokenizer.enable_truncation(16)
        tokenizer.enable_padding(length=16)
    return tokenizer


def byte_level() -> Tokenizer:
    """RoBERTa's tokenizer with no merges: every byte is a token."""
    specials = ("<s>", "<pad>", "</s>", "<unk>")
    pieces = (*specials, *sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer = Tokenizer(models.BPE(vocab={piece: i for i, piece in enumerate(pieces)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([*specials, AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


def wordpiece_spec(max_length: int = 64, side: Any = "right") -> TokenizerSpec:
    return TokenizerSpec("BertTokenizer", max_length, 0, "[PAD]", 0, side, 4)


def byte_level_spec(max_length: int = 64) -> TokenizerSpec:
    mask = byte_level().token_to_id("<mask>")
    return TokenizerSpec("RobertaTokenizer", max_length, 1, "<pad>", 0, "right", mask)


def encoder(max_length: int = 64, *, side: str = "right", type_ids: bool = True) -> TextEncoder:
    return TextEncoder(wordpiece(), wordpiece_spec(max_length, side), type_ids)


def byte_encoder(max_length: int = 64) -> TextEncoder:
    return TextEncoder(byte_level(), byte_level_spec(max_length), False)


def table(width: int, rows: Mapping[str, list[float]] | None = None, *, seed: int = 0) -> NDArray[np.float32]:
    """A row of numbers for each token of `wordpiece`: random ones, or those of `rows` and else zeros."""
    vocab = wordpiece().get_vocab()
    if rows is None:
        return np.random.default_rng(seed).normal(size=(len(vocab), width)).astype(np.float32)
    values = np.zeros((len(vocab), width), dtype=np.float32)
    for token, row in rows.items():
        values[vocab[token]] = row
    return values


def onnx_model(task: str, values: NDArray[np.float32], *, type_ids: bool = True) -> bytes:
    """A model whose tokens' outputs are rows of a table, averaged under the mask where the task wants one.

    The average of the token types is added to each, so that they count too.
    """
    inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if type_ids else [])]
    pooled = task in ("text-classification", "feature-extraction")
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["looked_up"])]
    rows = "looked_up"
    if type_ids:
        nodes += [
            helper.make_node("Cast", ["token_type_ids"], ["types"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["types", "last"], ["types3"]),
            helper.make_node("Add", ["looked_up", "types3"], ["typed"]),
        ]
        rows = "typed"
    if pooled:
        nodes += [
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["mask3"]),
            helper.make_node("Mul", [rows, "mask3"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "axis1"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["mask3", "axis1"], ["count"], keepdims=0),
            helper.make_node("Div", ["sum", "count"], ["pooled"]),
        ]
    outputs, tail = _outputs(task, rows)
    graph = helper.make_graph(
        nodes + tail,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "sequence"]) for name in inputs],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape])
            for name, shape in outputs.items()
        ],
        [
            numpy_helper.from_array(values, "table"),
            numpy_helper.from_array(np.array([2], np.int64), "last"),
            numpy_helper.from_array(np.array([1], np.int64), "axis1"),
            numpy_helper.from_array(np.array(0, np.int64), "first"),
            numpy_helper.from_array(np.array(1, np.int64), "second"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def _outputs(task: str, rows: str) -> tuple[dict[str, list[Any]], list[onnx.NodeProto]]:
    if task == "question-answering":
        return {"start_logits": ["sequence"], "end_logits": ["sequence"]}, [
            helper.make_node("Gather", [rows, "first"], ["start_logits"], axis=2),
            helper.make_node("Gather", [rows, "second"], ["end_logits"], axis=2),
        ]
    if task == "text-classification":
        return {"logits": ["labels"]}, [helper.make_node("Identity", ["pooled"], ["logits"])]
    if task == "feature-extraction":
        return {"sentence_embedding": ["dim"], "last_hidden_state": ["sequence", "dim"]}, [
            helper.make_node("Identity", ["pooled"], ["sentence_embedding"]),
            helper.make_node("Identity", [rows], ["last_hidden_state"]),
        ]
    return {"logits": ["sequence", "labels"]}, [helper.make_node("Identity", [rows], ["logits"])]


def model_files(runtime: str, model: bytes) -> dict[str, bytes]:
    """The model files of a bundle by their paths in it."""
    if runtime == "onnxruntime":
        return {"model/model.onnx": model}
    import openvino as ov

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(model)
        ov.save_model(ov.Core().read_model(path), Path(folder) / "m.xml", compress_to_fp16=False)
        return {
            "model/openvino_model.xml": (Path(folder) / "m.xml").read_bytes(),
            "model/openvino_model.bin": (Path(folder) / "m.bin").read_bytes(),
        }


def session(
    runtime: str,
    task: str,
    values: NDArray[np.float32],
    labels: tuple[str, ...] = (),
    *,
    max_length: int = 64,
    side: str = "right",
    type_ids: bool = True,
    problem_type: Any = None,
    batch_size: int | None = None,
    settings: RunSettings | None = None,
) -> Session:
    files = list(model_files(runtime, onnx_model(task, values, type_ids=type_ids)).values())
    how = settings or RunSettings(threads=1, shapes=DYNAMIC)
    backend = open_backend(runtime, *files, threads=how.threads, streams=how.streams, shapes=how.shapes)
    config = TaskConfig(problem_type, labels)
    text_encoder = encoder(max_length, side=side, type_ids=type_ids)
    return Session(backend, text_encoder, task, config, batch_size=batch_size, settings=how)


def tiny_manifest(runtime: str, task: Any, labels: tuple[str, ...], max_length: int = 64) -> Manifest:
    this = machine()
    model = "model/model.onnx" if runtime == "onnxruntime" else "model/openvino_model.xml"
    names = {
        "question-answering": ("start_logits", "end_logits"),
        "feature-extraction": ("sentence_embedding",),
    }
    return Manifest(
        name="tiny",
        task=task,
        task_config=TaskConfig(None, labels),
        target=TargetRecord("here", this.arch, this.os, (), 1),
        runtime=RuntimeSpec(runtime, "1.0", "1.0", model, "fp32"),  # type: ignore[arg-type]
        inputs=tuple(
            TensorSpec(name, "int64", ("batch", "sequence"))
            for name in ("input_ids", "attention_mask", "token_type_ids")
        ),
        outputs=tuple(
            TensorSpec(name, "float32", ("batch", "sequence")) for name in names.get(task, ("logits",))
        ),
        tokenizer=wordpiece_spec(max_length),
    )


def tiny_bundle(
    output: Path,
    runtime: str,
    task: str,
    values: NDArray[np.float32],
    labels: tuple[str, ...] = (),
    *,
    selftest: bytes = b"{}",
    max_length: int = 64,
) -> Bundle:
    models_ = model_files(runtime, onnx_model(task, values))
    files: dict[str, Any] = {path: ("model", data) for path, data in models_.items()}
    files["tokenizer/tokenizer.json"] = ("tokenizer", wordpiece().to_str().encode())
    files["selftest.json"] = ("selftest", selftest)
    return write_bundle(output, tiny_manifest(runtime, task, labels, max_length), files)
