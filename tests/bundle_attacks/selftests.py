"""selftest.json files that are none, or that ask for too much."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

from tests.bundle_attacks.attack import Attack, Make, Scene, edit_manifest

PATH: Final = "selftest.json"


def raw(change: Callable[[bytes], bytes]) -> Make:
    return lambda scene: scene.put(PATH, change((scene.bundle / PATH).read_bytes()))


def edited(edit: Callable[[dict[str, Any]], object]) -> Make:
    """The benign self-test, changed."""

    def change(data: bytes) -> bytes:
        document = json.loads(data)
        edit(document)
        return json.dumps(document).encode()

    return raw(change)


def with_text(key: str, text: str) -> Make:
    """A value as JSON text."""

    def change(data: bytes) -> bytes:
        document = json.loads(data)
        document[key] = "PLACE"
        return json.dumps(document).replace('"PLACE"', text).encode()

    return raw(change)


def _texts(*texts: object) -> Callable[[dict[str, Any]], object]:
    """Other texts, and ids and outputs for as many."""

    def edit(document: dict[str, Any]) -> None:
        count = len(texts)
        document.update(texts=list(texts), ids=[[2, 3]] * count, outputs={"logits": [[0.0, 0.0]] * count})

    return edit


def _task(task: str) -> Make:
    def make(scene: Scene) -> None:
        edit_manifest(scene.bundle, lambda d: d.update(task=task))

    return make


_TESTED: Final[dict[str, Make]] = {
    "nothing": raw(lambda _: b""),
    "a list": raw(lambda _: b"[]"),
    "an empty table": raw(lambda _: b"{}"),
    "not UTF-8": raw(lambda _: b"\xff"),
    "a byte order mark": raw(lambda data: b"\xef\xbb\xbf" + data),
    "a million open brackets": raw(lambda _: b"[" * 1_000_000),
    "9 MiB": raw(lambda data: data + b" " * 9 * (1 << 20)),
    "another version": edited(lambda d: d.update(version=2)),
    "a version that is a text": edited(lambda d: d.update(version="1")),
    "a version that is true": edited(lambda d: d.update(version=True)),
    "a key twice": raw(lambda data: data.rstrip()[:-1] + b',"texts":["good"]}'),
    "an unknown key": edited(lambda d: d.update(run="id")),
    "a tolerance of NaN": with_text("tolerance", '{"max_abs": NaN, "mean_abs": 1}'),
    "a tolerance of infinity": with_text("tolerance", '{"max_abs": 1e999, "mean_abs": 1}'),
    "a tolerance below 0": with_text("tolerance", '{"max_abs": -1, "mean_abs": 1}'),
    "a tolerance of 400 digits": with_text("tolerance", '{"max_abs": 1' + "0" * 400 + ', "mean_abs": 1}'),
    "a tolerance that is a text": with_text("tolerance", '{"max_abs": "1", "mean_abs": 1}'),
    "NaN in its outputs": with_text("outputs", '{"logits": [[NaN, 1], [0, 1]]}'),
    "a number of 4000 digits in its outputs": with_text(
        "outputs", '{"logits": [[1' + "0" * 4000 + "], [0, 1]]}"
    ),
    "ids of 4000 digits": with_text("ids", "[[1" + "0" * 4000 + "], [1]]"),
    "ids below 0": with_text("ids", "[[-1], [1]]"),
    "ids that are texts": with_text("ids", '[["2"], ["3"]]'),
    "fewer ids than texts": edited(lambda d: d.update(ids=d["ids"][:1])),
    "no texts": edited(_texts()),
    "257 texts": edited(_texts(*["a"] * 257)),
    "256 texts of 30000 characters": edited(_texts(*["good " * 6000] * 256)),
    "a text of 2 million characters": edited(_texts("good " * 400_000)),
    "a text of half a surrogate pair": with_text("texts", '["\\ud800", "a"]'),
    "a text of three": edited(_texts(["a", "b", "c"])),
    "values without end": edited(lambda d: d.update(max_values=2**60)),
    "values of 4000 digits": with_text("max_values", "1" + "0" * 4000),
    "no values": edited(lambda d: d.update(max_values=0)),
    "a mask that no text has": _task("fill-mask"),
}

ATTACKS: Final = tuple(Attack("self-test", name, ("selftest",), make) for name, make in _TESTED.items())
