"""tokenizer.json files that are none, that panic, or whose tokens no model has."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from tests.bundle_attacks.attack import Attack, Make, edit_manifest
from tests.bundle_attacks.commands import LOADING
from tests.support.tiny_runtime import wordpiece

PATH: Final = "tokenizer/tokenizer.json"
_MIB: Final = 1 << 20


def raw(data: Callable[[], bytes]) -> Make:
    return lambda scene: scene.put(PATH, data())


def edited(edit: Callable[[dict[str, Any]], object]) -> Make:
    """The benign tokenizer, changed."""

    def data() -> bytes:
        document = json.loads(wordpiece().to_str())
        edit(document)
        return json.dumps(document).encode()

    return raw(data)


def settings(**changes: object) -> Make:
    """What the manifest says of the tokenizer."""
    return lambda scene: edit_manifest(scene.bundle, lambda d: d["tokenizer"].update(changes))


def _replace(times: int) -> dict[str, Any]:
    step = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaaaaaaaa"}
    return {"type": "Sequence", "normalizers": [step] * times}


def _split(pattern: str) -> dict[str, Any]:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


_SEQUENCE: Final = {"Sequence": {"id": "A", "type_id": 0}}

_LOADED: Final[dict[str, Make]] = {
    "nothing": raw(lambda: b""),
    "no JSON": raw(lambda: b"[PAD]\n[UNK]\n"),
    "not UTF-8": raw(lambda: b"\xff\xfe\x00"),
    "other JSON": raw(lambda: b'{"model": {}}'),
    "a pickle": raw(lambda: b"\x80\x04\x95cposix\nsystem\n(S'id'\ntR."),
    "10 million open brackets": raw(lambda: b"[" * 10_000_000),
    "100000 models in each other": raw(lambda: b'{"model":' * 100_000),
    "100 MiB of brackets": raw(lambda: b"[" * 100 * _MIB),
    "48 MiB of spaces": raw(lambda: b" " * 48 * _MIB),
    "ids below 0": edited(lambda d: d["model"]["vocab"].update(a=-1)),
    "ids beyond 2**32": edited(lambda d: d["model"]["vocab"].update(a=2**32)),
    "an unknown model": edited(lambda d: d.update(model={"type": "Pickle", "path": "/etc/passwd"})),
    "merges of no vocabulary": edited(
        lambda d: d.update(model={"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]})
    ),
    "an unknown token beyond the vocabulary": edited(
        lambda d: d.update(model={"type": "Unigram", "unk_id": 99, "vocab": [["a", 0.0]]})
    ),
    "a regular expression that is none": edited(lambda d: d.update(pre_tokenizer=_split("("))),
    "a table of characters that is none": edited(
        lambda d: d.update(normalizer={"type": "Precompiled", "precompiled_charsmap": "AAAAAP8="})
    ),
    "a template of a token that it has not": edited(lambda d: d["post_processor"].update(special_tokens={})),
    "a template of a text that is not there": edited(
        lambda d: d["post_processor"].update(single=[{"Sequence": {"id": "B", "type_id": 0}}])
    ),
    "a template of 100000 tokens": edited(
        lambda d: d["post_processor"].update(
            pair=[_SEQUENCE] + [{"SpecialToken": {"id": "[SEP]", "type_id": 0}}] * 100_000
        )
    ),
    "a token that is a million": edited(
        lambda d: d["post_processor"]["special_tokens"]["[CLS]"].update(ids=[2] * 1_000_000)
    ),
    "a text that grows tenfold seven times": edited(lambda d: d.update(normalizer=_replace(7))),
    "a text that grows tenfold twelve times": edited(lambda d: d.update(normalizer=_replace(12))),
    "a regular expression that grows a text": edited(
        lambda d: d.update(
            normalizer={"type": "Replace", "pattern": {"Regex": "(?:)"}, "content": "a" * 100_000}
        )
    ),
    "every id beyond the model's": edited(
        lambda d: d["model"].update(vocab={k: v + 4_000_000_000 for k, v in d["model"]["vocab"].items()})
    ),
    "an unknown token that the vocabulary has not": edited(
        lambda d: (d["model"].update(unk_token="[NONE]"), d["model"]["vocab"].pop("film"))
    ),
    "a padding id of 2**53 - 1": settings(pad_id=2**53 - 1),
    "a padding id beyond the vocabulary": settings(pad_id=10_000),
    "padding of the type 2**53 - 1": settings(pad_type_id=2**53 - 1),
    "a length of one token": settings(max_length=1),
}

ATTACKS: Final = (
    *(Attack("tokenizer", name, LOADING, make) for name, make in _LOADED.items()),
    Attack(
        "tokenizer",
        "a regular expression that backtracks for ever",
        ("run",),
        edited(lambda d: d.update(pre_tokenizer=_split("([a-z ]+)+[A-Z]$|(a ?)+(a ?g?o?o?d? ?)+(f?i?)+Z"))),
        codes=(0, 5),
        reason="Oniguruma gives up by itself",
    ),
    Attack("tokenizer", "a mask beyond the vocabulary", LOADING, settings(mask_token_id=2**53 - 1)),
)
