"""Real tokenizers, trained on a few hundred sentences: WordPiece, byte-level BPE and Unigram."""

from __future__ import annotations

import functools
import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from tests.support.corpus import sentences

Kind = Literal["wordpiece", "bpe", "unigram"]

WORDPIECE_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ROBERTA_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")

MASK = AddedToken("<mask>", lstrip=True, special=True)  # takes the space before it, as published ones do


def _entry(tokenizer: Tokenizer, token: str) -> tuple[str, int]:
    index = tokenizer.token_to_id(token)
    assert index is not None, f"{token} is not in the vocabulary"
    return token, index


def _template(cls: tuple[str, int], sep: tuple[str, int], pair: str) -> Any:
    single = f"{cls[0]}:0 $A:0 {sep[0]}:0"
    return processors.TemplateProcessing(single=single, pair=f"{single} {pair}", special_tokens=[cls, sep])


def _wordpiece(texts: list[str], vocab_size: int, lowercase: bool) -> Tokenizer:
    # The trainer numbers the "##x" pieces in hash order and breaks ties by number: name them first, in order.
    characters = sorted({character for text in texts for character in text if not character.isspace()})
    pieces_first = [f"##{character}" for character in characters]
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocab_size, special_tokens=[*WORDPIECE_SPECIALS, *pieces_first], show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    pieces = sorted(set(trained.get_vocab()) - set(WORDPIECE_SPECIALS))
    vocab = {token: index for index, token in enumerate((*WORDPIECE_SPECIALS, *pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = trained.normalizer
    tokenizer.pre_tokenizer = trained.pre_tokenizer
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(list(WORDPIECE_SPECIALS))
    tokenizer.post_processor = _template(
        _entry(tokenizer, "[CLS]"), _entry(tokenizer, "[SEP]"), "$B:1 [SEP]:1"
    )
    return tokenizer


def _bpe(texts: list[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(ROBERTA_SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([MASK])
    cls, sep = _entry(tokenizer, "<s>"), _entry(tokenizer, "</s>")
    tokenizer.post_processor = processors.RobertaProcessing(
        sep, cls, trim_offsets=True, add_prefix_space=False
    )
    return tokenizer


def _settled(trained: Tokenizer, texts: list[str]) -> list[tuple[str, float]]:
    """The trained pieces, the same in every process.

    The trainer sums in hash order, which moves the last bits, and scores rare characters in hash order.
    """
    counts = Counter(character for text in texts for character in text)
    total = counts.total()
    scores: list[tuple[str, float]] = []
    for piece, score in json.loads(trained.to_str())["model"]["vocab"]:
        if len(piece) == 1 and piece in counts:
            score = math.log(counts[piece] / total)
        scores.append((piece, round(score, 3)))
    specials = [entry for entry in scores if entry[0] in ROBERTA_SPECIALS]
    others = [entry for entry in scores if entry[0] not in ROBERTA_SPECIALS]
    return specials + sorted(others, key=lambda entry: (-entry[1], entry[0]))


def _unigram(texts: list[str], vocab_size: int) -> Tokenizer:
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=vocab_size, special_tokens=list(ROBERTA_SPECIALS), unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.model = models.Unigram(_settled(tokenizer, texts), unk_id=ROBERTA_SPECIALS.index("<unk>"))
    tokenizer.add_special_tokens([*ROBERTA_SPECIALS[:-1], MASK])
    cls, sep = _entry(tokenizer, "<s>"), _entry(tokenizer, "</s>")
    tokenizer.post_processor = _template(cls, sep, "</s>:0 $B:0 </s>:0")
    return tokenizer


@functools.cache
def tokenizer_json(kind: Kind, vocab_size: int = 600, lowercase: bool = True) -> str:
    """The text of a trained tokenizer.json; trained once per process."""
    texts = sentences(450, seed=11)
    if kind == "wordpiece":
        return _wordpiece(texts, vocab_size, lowercase).to_str()
    return (_bpe(texts, vocab_size) if kind == "bpe" else _unigram(texts, vocab_size)).to_str()


def make_tokenizer(kind: Kind, *, vocab_size: int = 600, lowercase: bool = True) -> Tokenizer:
    """A fresh tokenizer object that the caller may change."""
    return Tokenizer.from_str(tokenizer_json(kind, vocab_size, lowercase))


def special_tokens(kind: Kind) -> dict[str, str]:
    """The special tokens by the names that Hugging Face gives them."""
    if kind == "wordpiece":
        return {f"{name.strip('[]').lower()}_token": name for name in WORDPIECE_SPECIALS}
    same = {f"{name}_token": f"<{name}>" for name in ("unk", "pad", "mask")}
    return {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", **same}


def save_tokenizer(
    folder: Path,
    kind: Kind,
    tokenizer_class: str,
    *,
    max_length: int,
    vocab_size: int = 600,
    lowercase: bool = True,
) -> Tokenizer:
    """Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json; returns the tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    specials = special_tokens(kind)
    config: dict[str, Any] = {"tokenizer_class": tokenizer_class, "model_max_length": max_length, **specials}
    if kind == "wordpiece":
        config |= {"do_lower_case": lowercase, "strip_accents": None, "tokenize_chinese_chars": True}
    if kind == "bpe":
        config |= {"add_prefix_space": False, "trim_offsets": True}
    (folder / "tokenizer.json").write_text(tokenizer_json(kind, vocab_size, lowercase), encoding="utf-8")
    for name, value in (("tokenizer_config.json", config), ("special_tokens_map.json", specials)):
        (folder / name).write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    return make_tokenizer(kind, vocab_size=vocab_size, lowercase=lowercase)
