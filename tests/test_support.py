"""The factories that the other tests stand on."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer

from tests.support.corpus import sentences
from tests.support.data import (
    FORMATS,
    classification_rows,
    multi_label_rows,
    ner_rows,
    rows_for,
    squad_rows,
    write_rows,
)
from tests.support.models import NER_LABELS, TASKS, TOPIC_LABELS, make_checkpoint
from tests.support.parity import assert_parity, compare, feeds_for, random_feeds, torch_callable
from tests.support.tokenizers import Kind, make_tokenizer, tokenizer_json

AUTO = {
    "text-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
}
AWKWARD = ("", "  two  spaces ", "José in Zürich!", "naïve \N{GRINNING FACE} test", "e\u0301", "a" * 120)


def load(folder: Path, task: str) -> Any:
    import transformers

    model, info = getattr(transformers, AUTO[task]).from_pretrained(
        folder, attn_implementation="eager", output_loading_info=True
    )
    assert not any(info.values()), info
    return model.eval()


def test_checkpoint_loads_and_depends_on_its_input(
    checkpoint: Callable[..., Path], family: str, task: str
) -> None:
    model = load(checkpoint(family, task), task)
    feeds = feeds_for(model.config, batch=4, length=14)
    outputs = torch_callable(model)(feeds)
    for name, values in outputs.items():
        assert values.std(axis=0).mean() > 0.05, f"{name} hardly changes with the text"


def test_padding_changes_nothing(checkpoint: Callable[..., Path], family: str) -> None:
    model = load(checkpoint(family, "token-classification"), "token-classification")
    padded = feeds_for(model.config, batch=2, length=10, lengths=[6, 10])
    call = torch_callable(model)
    short = {name: array[:1, :6] for name, array in padded.items()}
    np.testing.assert_allclose(call(padded)["logits"][:1, :6], call(short)["logits"], atol=1e-5)


def test_tokenizer_is_the_one_transformers_loads(checkpoint: Callable[..., Path], family: str) -> None:
    from transformers import AutoTokenizer

    folder = checkpoint(family, "text-classification")
    theirs = AutoTokenizer.from_pretrained(folder)
    ours = Tokenizer.from_file(str(folder / "tokenizer.json"))
    texts = [*sentences(20, seed=3), *AWKWARD, f"the {theirs.mask_token} film, {theirs.mask_token}!"]
    for text in texts:
        assert theirs(text)["input_ids"] == ours.encode(text).ids
        assert theirs(text, "hi there")["input_ids"] == ours.encode(text, "hi there").ids
    assert theirs.model_max_length == 128
    for name in ("cls_token", "sep_token", "pad_token", "unk_token", "mask_token"):
        assert ours.token_to_id(getattr(theirs, name)) == getattr(theirs, f"{name}_id")


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_weights_are_stored_in_the_type_asked_for(tmp_path: Path, dtype: str) -> None:
    from safetensors import safe_open

    folder = make_checkpoint(tmp_path, "bert", "text-classification", dtype=dtype)
    with safe_open(folder / "model.safetensors", framework="pt") as weights:
        kinds = {weights.get_slice(name).get_dtype() for name in weights.keys()}  # noqa: SIM118
    assert kinds == {{"float16": "F16", "bfloat16": "BF16"}[dtype]}
    assert json.loads((folder / "config.json").read_text())["dtype"] == dtype


def test_labels_and_problem_types(tmp_path: Path) -> None:
    def config(name: str, **options: Any) -> dict[str, Any]:
        folder = make_checkpoint(tmp_path / name, "bert", "text-classification", **options)
        loaded: dict[str, Any] = json.loads((folder / "config.json").read_text())
        return loaded

    assert config("named", labels=["a", "b", "c"])["id2label"] == {"0": "a", "1": "b", "2": "c"}
    assert config("regression", problem_type="regression")["id2label"] == {"0": "score"}
    multi = config("multi", problem_type="multi_label_classification")
    assert tuple(multi["id2label"].values()) == TOPIC_LABELS


def test_sentence_modules(tmp_path: Path) -> None:
    folder = make_checkpoint(
        tmp_path, "minilm", "feature-extraction", pooling="cls", dense=16, normalize=True
    )
    kinds = [item["type"].rpartition(".")[2] for item in json.loads((folder / "modules.json").read_text())]
    assert kinds == ["Transformer", "Pooling", "Dense", "Normalize"]
    modes = json.loads((folder / "1_Pooling" / "config.json").read_text())
    assert [name for name, value in modes.items() if value is True] == ["pooling_mode_cls_token"]
    assert json.loads((folder / "2_Dense" / "config.json").read_text())["out_features"] == 16


def test_weights_follow_the_seed(tmp_path: Path, family: str) -> None:
    first, same, other = (
        make_checkpoint(tmp_path / name, family, "fill-mask", seed=seed)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    for path in sorted(first.iterdir()):
        assert path.read_bytes() == (same / path.name).read_bytes(), path.name
    name = "model.safetensors"
    assert (first / name).read_bytes() != (other / name).read_bytes()


def test_tokenizers_are_the_same_in_another_process() -> None:
    code = (
        "import sys; from tests.support.tokenizers import tokenizer_json; print(tokenizer_json(sys.argv[1]))"
    )
    root = Path(__file__).parent.parent
    kinds: tuple[Kind, ...] = ("wordpiece", "bpe", "unigram")
    for kind in kinds:
        command = [sys.executable, "-X", "utf8", "-c", code, kind]
        out = subprocess.run(command, cwd=root, capture_output=True, encoding="utf-8", check=True).stdout
        assert out.rstrip("\n") == tokenizer_json(kind)


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_tokenizers_are_trained(kind: Kind) -> None:
    tokenizer = make_tokenizer(kind)
    assert 300 <= tokenizer.get_vocab_size() <= 600
    tokens = tokenizer.encode("The soundtrack is gripping.").tokens
    assert any(len(token.strip("▁Ġ#")) > 3 for token in tokens[1:-1])
    assert any(len(token.strip("▁Ġ#")) < 3 for token in tokens[1:-1])
    assert tokenizer.to_str() == tokenizer_json(kind)


def test_rows_suit_their_task() -> None:
    for task in TASKS:
        assert len(rows_for(task, 10)) == 10
        assert rows_for(task, 10, seed=1) == rows_for(task, 10, seed=1) != rows_for(task, 10, seed=2)
    assert {row["label"] for row in classification_rows()} == {0, 1}
    assert {row["label"] for row in classification_rows(names=True)} == {"negative", "positive"}
    assert {name for row in multi_label_rows() for name in row["labels"]} == set(TOPIC_LABELS)
    assert {NER_LABELS[tag] for row in ner_rows() for tag in row["ner_tags"]} == set(NER_LABELS)
    for row in squad_rows():
        (answer,), (start,) = row["answers"]["text"], row["answers"]["answer_start"]
        assert row["context"][start:].startswith(answer)


@pytest.mark.parametrize("suffix", FORMATS)
def test_files_hold_every_row(tmp_path: Path, suffix: str) -> None:
    rows = classification_rows(60)
    path = write_rows(tmp_path / f"data.{suffix}", rows)
    assert path.read_bytes() == write_rows(tmp_path / f"again.{suffix}", rows).read_bytes()
    if suffix in ("jsonl", "csv", "tsv"):
        assert len(path.read_text().splitlines()) == 60 + (suffix != "jsonl")
    if suffix == "tsv":
        assert all(line.count("\t") == 1 for line in path.read_text().splitlines())
        assert any(line.count('"') == 1 for line in path.read_text().splitlines())


def test_feeds_are_padded() -> None:
    feeds = random_feeds(4, 9, seed=3, pad_id=1)
    mask = feeds["attention_mask"]
    assert mask[0].all()
    assert not mask.all()
    assert (feeds["input_ids"][mask == 0] == 1).all()
    assert (feeds["input_ids"][mask == 1] >= 5).all()
    assert set(np.unique(feeds["token_type_ids"])) == {0, 1}
    left = random_feeds(2, 6, lengths=[6, 2], padding_side="left")
    assert left["attention_mask"].tolist() == [[1] * 6, [0, 0, 0, 0, 1, 1]]


def test_comparison_sees_tokens_and_not_padding() -> None:
    feeds = random_feeds(2, 4, lengths=[4, 2])
    base = {"last_hidden_state": np.zeros((2, 4, 3), np.float32), "logits": np.zeros((2, 5), np.float32)}
    pad, token = ({name: array.copy() for name, array in base.items()} for _ in range(2))
    pad["last_hidden_state"][1, 3] = 7.0
    assert compare(base, pad, feeds["attention_mask"]).worst == 0.0
    token["last_hidden_state"][1, 1] = 0.5
    with pytest.raises(AssertionError, match="last_hidden_state"):
        assert_parity(lambda _: base, lambda _: token, feeds)
    token["last_hidden_state"][1, 1] = np.nan
    with pytest.raises(AssertionError, match="not finite"):
        compare(base, token, feeds["attention_mask"])
    with pytest.raises(AssertionError, match="outputs"):
        compare(base, {"logits": base["logits"]}, feeds["attention_mask"])
