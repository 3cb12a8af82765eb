"""Texts that would do something to a terminal, a page or a reader's eyes."""

from __future__ import annotations

from typing import Final

from tests.bundle_attacks.attack import Attack, Make, edit_manifest
from tests.bundle_attacks.commands import OPENING

_SHOWN: Final = ("run", "run --json", "inspect")


def label(text: str) -> Make:
    return lambda scene: edit_manifest(
        scene.bundle, lambda d: d["task_config"].update(labels=[text, "positive"])
    )


def scheme(text: str) -> Make:
    """Among the words that `bertc inspect` repeats."""
    return lambda scene: edit_manifest(
        scene.bundle,
        lambda d: d.update(
            compression={"quantization": {"scheme": {"kind": "static", text: [text, {text: 1}]}}}
        ),
    )


def placement(**changes: object) -> Make:
    table = {
        "runtime_version": "1.0",
        "operators": {"MatMul": 1},
        "products": [],
        "kept_float": [{"reason": "it is sensitive", "roles": ["layer0.query"]}],
    }
    return lambda scene: edit_manifest(scene.bundle, lambda d: d.update(placement={**table, **changes}))


_REFUSED: Final[dict[str, Make]] = {
    "a terminal escape in a label": label("\x1b[2J"),
    "a window title in a label": label("\x1b]0;x\x07"),
    "an escape of 8 bits in a label": label("\x9b31m"),
    "a carriage return in a label": label("positive\rnegative"),
    "an override of direction in a label": label("\u202eevitagen"),
    "an embedding of direction in a label": label("\u202ax"),
    "an isolate of direction in a label": label("\u2066x\u2069"),
    "a zero-width space in a label": label("pos\u200bitive"),
    "a byte order mark in a label": label("\ufeffpositive"),
    "a line separator in a label": label("a\u2028b"),
    "tag characters in a label": label("a\U000e0041\U000e0042"),
    "an annotation in a label": label("a\ufff9b\ufffb"),
    "an invisible operator in a label": label("a\u2063b"),
    "an override of direction in the scheme": scheme("\u202ex"),
    "an escape in the name": lambda scene: edit_manifest(scene.bundle, lambda d: d.update(name="\x1b[2J")),
    "HTML in the name": lambda scene: edit_manifest(
        scene.bundle, lambda d: d.update(name="<script>alert(1)</script>")
    ),
    "HTML in an operator": placement(operators={"<img src=x onerror=alert(1)>": 1}),
    "an escape in an operator": placement(operators={"\x1b[2J": 1}),
    "an override of direction in a reason": placement(
        kept_float=[{"reason": "\u202ex", "roles": ["layer0.query"]}]
    ),
    "an escape in a pad token": lambda scene: edit_manifest(
        scene.bundle, lambda d: d["tokenizer"].update(pad_token="\x1b[2J")
    ),
}

_HARMLESS: Final[dict[str, Make]] = {
    "HTML in a label": label("<script>alert(1)</script>"),
    "a comparison in a label": label("<=50K"),
    "a formula in a label": label("=cmd|'/c calc'!A1"),
    "Arabic in a label": label("\u0633\u0644\u0628\u064a"),
    "Arabic with a mark of direction in a label": label("\u0633\u0644\u0628\u064a\u200f!"),
    "Persian with a joiner in a label": label("\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"),
    "an emoji of several in a label": label("\U0001f468\u200d\U0001f469\u200d\U0001f467"),
    "a private character in a label": label("a\ue000b"),
    "HTML in the scheme": scheme("<b onclick='x'>"),
    "a soft hyphen in the scheme": scheme("a\u00adb"),
    "HTML in a reason": placement(
        kept_float=[{"reason": "</td><script>alert(1)</script>", "roles": ["layer0.query"]}]
    ),
}

ATTACKS: Final = (
    *(Attack("texts", name, (*OPENING, "inspect"), make) for name, make in _REFUSED.items()),
    *(
        Attack("texts", name, _SHOWN, make, codes=(0,), reason="it is text, and is shown as such")
        for name, make in _HARMLESS.items()
    ),
)
