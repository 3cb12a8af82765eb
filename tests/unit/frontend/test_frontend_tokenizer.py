from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from compiler.frontend.tokenizer import load_tokenizer
from targets.errors import UsageError
from tests.support.tokenizers import Kind, make_tokenizer, save_tokenizer

TEXT = "Anna Keller visited São Paulo, and the FILM was <mask> unforgettable!"
CLASSES: dict[Kind, str] = {
    "wordpiece": "BertTokenizer",
    "bpe": "RobertaTokenizer",
    "unigram": "XLMRobertaTokenizer",
}


def config(kind: Kind = "wordpiece", **more: Any) -> dict[str, Any]:
    model_type = {"wordpiece": "bert", "bpe": "roberta", "unigram": "xlm-roberta"}[kind]
    return {"model_type": model_type, "vocab_size": 600, "pad_token_id": 0, **more}


def folder_with(tmp_path: Path, kind: Kind = "wordpiece", **options: Any) -> Path:
    save_tokenizer(tmp_path, kind, CLASSES[kind], max_length=96, **options)
    (tmp_path / "config.json").write_text(json.dumps(config(kind)))
    return tmp_path


@pytest.mark.parametrize("kind", ["wordpiece", "bpe", "unigram"])
def test_tokenizer_json_is_followed(tmp_path: Path, kind: Kind) -> None:
    loaded = load_tokenizer(folder_with(tmp_path, kind), "m", config=config(kind))
    assets = loaded.assets(config(kind), 64)
    ours = Tokenizer.from_str(assets.files["tokenizer.json"].decode())
    assert ours.encode(TEXT, TEXT).ids == make_tokenizer(kind).encode(TEXT, TEXT).ids
    assert ours.truncation is None
    assert ours.padding is None
    spec = assets.spec
    assert spec.tokenizer_class == CLASSES[kind]
    assert spec.max_length == 64
    assert loaded.spec.max_length == 96
    assert spec.pad_id == ours.token_to_id(spec.pad_token) == (0 if kind == "wordpiece" else 1)
    assert spec.mask_token_id == ours.token_to_id("[MASK]" if kind == "wordpiece" else "<mask>")
    assert spec.padding_side == "right"


def test_truncation_and_padding_are_dropped(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    stored.enable_truncation(16)
    stored.enable_padding(length=16)
    stored.save(str(folder / "tokenizer.json"))
    assets = load_tokenizer(folder, "m", config=config()).assets(config(), 64)
    ours = Tokenizer.from_str(assets.files["tokenizer.json"].decode())
    assert len(ours.encode("one")) < 16
    assert len(ours.encode(TEXT * 4)) > 16


def test_files_hold_no_paths(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    stored = json.loads((folder / "tokenizer_config.json").read_text())
    stored |= {"name_or_path": str(tmp_path), "tokenizer_file": str(tmp_path / "tokenizer.json")}
    (folder / "tokenizer_config.json").write_text(json.dumps(stored))
    assets = load_tokenizer(folder, "m", config=config()).assets(config(_name_or_path=str(tmp_path)), 64)
    assert set(assets.files) == {
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "config.json",
    }
    assert not any(str(tmp_path).encode() in data for data in assets.files.values())
    assert json.loads(assets.files["tokenizer_config.json"])["model_max_length"] == 64


def test_vocab_txt_is_converted(tmp_path: Path) -> None:
    wanted = make_tokenizer("wordpiece")
    vocab = sorted(wanted.get_vocab().items(), key=lambda item: item[1])
    (tmp_path / "vocab.txt").write_text("".join(f"{token}\n" for token, _ in vocab))
    (tmp_path / "config.json").write_text(json.dumps(config()))
    assets = load_tokenizer(tmp_path, "m", config=config()).assets(config(), 64)
    ours = Tokenizer.from_str(assets.files["tokenizer.json"].decode())
    assert ours.encode(TEXT, "a pair").ids == wanted.encode(TEXT, "a pair").ids
    assert ours.encode(TEXT, "a pair").type_ids == wanted.encode(TEXT, "a pair").type_ids
    assert "tokenizer_config.json" in assets.files


def test_vocab_json_and_merges_are_converted(tmp_path: Path) -> None:
    model = json.loads(make_tokenizer("bpe").to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]))
    merges = [" ".join(pair) if isinstance(pair, list) else pair for pair in model["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    (tmp_path / "config.json").write_text(json.dumps(config("bpe", pad_token_id=1)))
    assets = load_tokenizer(tmp_path, "m", config=config("bpe")).assets(config("bpe"), 64)
    ours = Tokenizer.from_str(assets.files["tokenizer.json"].decode())
    text = TEXT.replace(" <mask>", "")  # vocab.json does not say that the mask takes the space before it
    assert ours.encode(text, "a pair").ids == make_tokenizer("bpe").encode(text, "a pair").ids
    assert assets.spec.pad_id == 1


def test_lowercase_of_sentence_transformers(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, lowercase=False)
    cased = load_tokenizer(folder, "m", config=config()).assets(config(), 64)
    lowered = load_tokenizer(folder, "m", config=config(), lowercase=True).assets(config(), 64)
    plain = Tokenizer.from_str(cased.files["tokenizer.json"].decode())
    lower = Tokenizer.from_str(lowered.files["tokenizer.json"].decode())
    assert lower.encode("The FILM").ids == plain.encode("the film").ids != plain.encode("The FILM").ids
    assert lower.encode("The FILM").offsets == plain.encode("the film").offsets


def test_no_tokenizer(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config()))
    with pytest.raises(UsageError, match="m has no tokenizer") as caught:
        load_tokenizer(tmp_path, "m", config=config())
    assert "save_pretrained" in caught.value.hint


@pytest.mark.parametrize("content", ["{", "{}", '{"model": {"type": "Magic"}}'])
def test_broken_tokenizer(tmp_path: Path, content: str) -> None:
    folder = folder_with(tmp_path)
    (folder / "tokenizer.json").write_text(content)
    with pytest.raises(UsageError, match="tokenizer") as caught:
        load_tokenizer(folder, "m", config=config())
    assert "\n" not in caught.value.message


def test_unreadable_sentencepiece(tmp_path: Path) -> None:
    (tmp_path / "sentencepiece.bpe.model").write_bytes(b"no model")
    (tmp_path / "config.json").write_text(json.dumps(config("unigram")))
    with pytest.raises(UsageError, match="cannot be loaded") as caught:
        load_tokenizer(tmp_path, "m", config=config("unigram"))
    assert "AutoTokenizer" in caught.value.hint


def test_tokenizer_of_another_model(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ids up to .* the model 50 embeddings"):
        load_tokenizer(folder_with(tmp_path), "m", config=config(vocab_size=50))


def test_added_token_without_an_embedding_is_told(tmp_path: Path) -> None:
    folder = folder_with(tmp_path)
    stored = Tokenizer.from_file(str(folder / "tokenizer.json"))
    rows = stored.get_vocab_size()
    stored.add_tokens(["<extra>"])
    stored.save(str(folder / "tokenizer.json"))
    notes = load_tokenizer(folder, "m", config=config(vocab_size=rows)).notes
    assert any("<extra>" in note for note in notes)


def test_a_tokenizer_json_that_transformers_reads_differently_is_told(tmp_path: Path) -> None:
    folder = folder_with(tmp_path, lowercase=False)
    stored = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**stored, "do_lower_case": True}))
    loaded = load_tokenizer(folder, "m", config=config())
    ours = Tokenizer.from_str(loaded.assets(config(), 64).files["tokenizer.json"].decode())
    assert ours.encode(TEXT).ids == make_tokenizer("wordpiece", lowercase=False).encode(TEXT).ids
    assert any("differently" in note for note in loaded.notes)
