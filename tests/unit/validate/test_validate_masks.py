from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from compiler.validate.masking import mask_items
from targets.bundle.schema import TokenizerSpec
from targets.errors import UsageError
from targets.runtime.tokenize import TextEncoder
from tests.support.corpus import sentences
from tests.support.evaluation import evaluator_of, predicted
from tests.support.tiny_runtime import RUNTIMES, byte_encoder, encoder, table, wordpiece
from tests.support.tokenizers import make_tokenizer, special_tokens

ROWS = [
    {"text": text} for text in ("a good film", "it was playing in berlin .", "who wrote it ?", "new york")
]


@pytest.fixture(params=["wordpiece", "bpe", "unigram"])
def text_encoder(request: pytest.FixtureRequest) -> TextEncoder:
    tokenizer = make_tokenizer(request.param)
    names = special_tokens(request.param)
    pad, mask = (int(tokenizer.token_to_id(names[f"{kind}_token"]) or 0) for kind in ("pad", "mask"))
    spec = TokenizerSpec(request.param, 64, pad, names["pad_token"], 0, "right", mask)
    return TextEncoder(tokenizer, spec, False)


def test_one_token_is_hidden_and_the_others_stay(text_encoder: TextEncoder) -> None:
    texts = sentences(40)
    mask = text_encoder.spec.mask_token_id
    before = text_encoder.encode(texts)
    found = mask_items(texts, text_encoder)
    changed = 0
    for masked, (old,) in zip(found, before, strict=True):
        assert masked is not None
        ((new,),) = text_encoder.encode([masked.item])
        (place,) = [i for i, token in enumerate(new.ids) if token == mask]
        assert old.ids[place] == masked.gold
        assert [*new.ids[:place], masked.gold, *new.ids[place + 1 :]] == list(old.ids)
        changed += place > 1
    assert changed > 20
    assert mask_items(texts, text_encoder) == found
    assert mask_items(texts, text_encoder, seed=1) != found


def test_cut_texts_are_masked_where_the_model_reads(tmp_path: Path) -> None:
    rows = [{"text": "the film was good in berlin " * 20}] * 4
    short = encoder(8)
    evaluator = evaluator_of(tmp_path, "fill-mask", rows, text_encoder=short)
    found = predicted(evaluator, table(len(wordpiece().get_vocab())), max_length=8)
    assert found["tokens"].shape == (4,)


def test_bytes_are_masked() -> None:
    (found,) = mask_items(["a film"], byte_encoder())
    assert found is not None
    assert isinstance(found.item, str)
    assert "<mask>" in found.item


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_hidden_token_is_found(tmp_path: Path, runtime: str) -> None:
    evaluator = evaluator_of(tmp_path, "fill-mask", ROWS)
    assert (evaluator.metric, evaluator.n, evaluator.labelled) == ("accuracy", 4, True)
    vocab = wordpiece().get_vocab()
    assert [str(item).count("[MASK]") for item in evaluator.items] == [1] * 4
    right = {"tokens": np.array(evaluator._gold, dtype=np.int32)}  # type: ignore[attr-defined]
    assert evaluator.metrics(right) == {"accuracy": 1.0}
    favourite = np.zeros(len(vocab), dtype=np.float32).tolist()
    favourite[vocab["film"]] = 9.0
    always = predicted(evaluator, table(len(vocab), {"[MASK]": favourite}), runtime=runtime)
    assert always["tokens"].tolist() == [vocab["film"]] * 4
    found = evaluator.compare(right, always, max_drop=0.01)
    assert found.status == "failed"
    assert found.agreement == found.compiled


def test_texts_with_their_own_mask(tmp_path: Path) -> None:
    own = [{"text": "a [MASK] film"}, {"text": "a good [MASK] in [MASK]"}]
    evaluator = evaluator_of(tmp_path, "fill-mask", own)
    assert (evaluator.metric, evaluator.labelled, evaluator.scored) == ("agreement", False, 2)
    assert list(evaluator.items) == [row["text"] for row in own]
    values = table(len(wordpiece().get_vocab()))
    baseline = predicted(evaluator, values)
    assert evaluator.compare(baseline, baseline, max_drop=0.0).status == "passed"
    mixed = evaluator_of(tmp_path, "fill-mask", [*ROWS, *own])
    assert (mixed.metric, mixed.n, mixed.scored) == ("accuracy", 6, 4)
    found = mixed.compare(predicted(mixed, values), predicted(mixed, -values), max_drop=0.0)
    assert found.n == 4


def test_empty_texts_are_left_out_and_said(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="1 of 5 texts"):
        evaluator = evaluator_of(tmp_path, "fill-mask", [*ROWS, {"text": "~"}])
    assert evaluator.n == 4
    with pytest.raises(UsageError, match="masked"):
        evaluator_of(tmp_path, "fill-mask", [{"text": "~"}])


def test_a_tokenizer_without_a_mask() -> None:
    spec = TokenizerSpec("BertTokenizer", 16, 0, "[PAD]", 0, "right", None)
    with pytest.raises(UsageError, match="no mask token"):
        mask_items(["a film"], TextEncoder(wordpiece(), spec, True))


def test_pairs_are_masked_in_their_first_text() -> None:
    (found,) = mask_items([("a good film", "it was bad")], encoder())
    assert found is not None
    assert isinstance(found.item, tuple)
    assert "[MASK]" in found.item[0]
    assert found.item[1] == "it was bad"
