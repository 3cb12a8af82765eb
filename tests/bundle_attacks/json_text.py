"""A bundle.json that is not strict JSON, or too much of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

from tests.bundle_attacks.attack import Attack, Make, Scene
from tests.bundle_attacks.commands import OPENING

_MIB: Final = 1024 * 1024


def written(change: Callable[[bytes], bytes]) -> Make:
    """Other bytes in place of bundle.json's."""

    def make(scene: Scene) -> None:
        path = scene.bundle / "bundle.json"
        path.write_bytes(change(path.read_bytes()))

    return make


def with_value(text: str) -> Make:
    """bundle.json with a value of its own, as JSON text, in the table that nothing reads."""
    return written(lambda data: _with(data, text))


def _with(data: bytes, text: str) -> bytes:
    document: dict[str, Any] = json.loads(data)
    document["provenance"] = {"x": "PLACE"}
    return json.dumps(document).replace('"PLACE"', text).encode("utf-8", "surrogatepass")


def with_keys(pairs: str) -> Make:
    """bundle.json with more keys at its end, as JSON text."""
    return written(lambda data: data.rstrip()[:-1] + b"," + pairs.encode() + b"}")


def _collisions() -> str:
    """Integers whose hashes are one; as text keys they are ordinary."""
    return "{" + ",".join(f'"{number * (2**61 - 1)}":0' for number in range(30_000)) + "}"


_TEXTS: Final[dict[str, Make]] = {
    "nothing": written(lambda _: b""),
    "no JSON": written(lambda _: b"not JSON"),
    "a list": written(lambda _: b"[]"),
    "a number": written(lambda _: b"1"),
    "Python": written(lambda _: b"{'format': 'bertc-bundle'}"),
    "cut short": written(lambda data: data[: len(data) // 2]),
    "two documents": written(lambda data: data + data),
    "a zero byte behind it": written(lambda data: data + b"\0"),
    "comments": written(lambda data: b"// x\n" + data),
    "a byte order mark": written(lambda data: b"\xef\xbb\xbf" + data),
    "UTF-16": written(lambda data: data.decode().encode("utf-16")),
    "UTF-32": written(lambda data: data.decode().encode("utf-32")),
    "overlong UTF-8": written(lambda data: data.replace(b'"tiny"', b'"tin\xc1\xb9"', 1)),
    "half a surrogate pair in UTF-8": with_value('"\ud800"'),
    "half a surrogate pair, escaped": with_value('"\\ud800"'),
    "2 MiB of spaces": written(lambda data: data + b" " * 2 * _MIB),
    "32 MiB of it": written(lambda data: data + b"\n" * 32 * _MIB),
    "500000 open brackets": written(lambda _: b"[" * 500_000),
    "100000 tables in each other": with_value('{"a":' * 100_000 + "1" + "}" * 100_000),
    "33 levels": with_value("[" * 31 + "]" * 31),
    "half a million escaped quotes": written(lambda _: b'"' + b'\\"' * 500_000),
    "half a million open strings": written(lambda _: b'"a\n' * 300_000),
    "a key twice": with_keys('"name":"other"'),
    "a key twice, once escaped": with_keys('"n\\u0061me":"other"'),
    "a key twice, deep down": with_value('[[{"a":1,"a":1}]]'),
    "files twice": with_keys('"files":[]'),
    "NaN": with_value("NaN"),
    "Infinity": with_value("Infinity"),
    "-Infinity": with_value("-Infinity"),
    "1e999": with_value("1e999"),
    "a number of 5000 digits": with_value("9" * 5000),
    "a number of 900000 digits": with_value("9" * 900_000),
    "a fraction of 900000 digits": with_value("0." + "9" * 900_000 + "e999999999"),
    "a digest of other content": written(
        lambda data: re.sub(rb"sha256:[0-9a-f]{64}", b"sha256:" + b"0" * 64, data)
    ),
    "a tab in a string": with_value('"\t"'),
    "an escape in a key": with_value('{"\\u001b[2J": 1}'),
}

_HARMLESS: Final[dict[str, Make]] = {
    "30000 keys that collide": with_value(_collisions()),
    "a long key at every level": with_value(
        "".join(f'{{"{"k" * 20_000}{level}":' for level in range(28)) + "1" + "}" * 28
    ),
}

ATTACKS: Final = (
    *(Attack("JSON", name, OPENING, make) for name, make in _TEXTS.items()),
    *(
        Attack("JSON", name, ("inspect",), make, codes=(0,), reason="it is strict JSON, and soon read")
        for name, make in _HARMLESS.items()
    ),
)
