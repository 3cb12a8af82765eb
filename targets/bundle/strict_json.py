"""JSON without its loose ends: bounded, no duplicate keys, no NaN, and one canonical form."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from targets.errors import BertcError, IntegrityError, InternalError
from targets.fields import check_text, check_unicode

_Check: TypeAlias = Callable[[str, str, Callable[[str], BertcError]], None]

MAX_DEPTH: Final = 32

# Possessive, so that a hostile document cannot make the scan quadratic.
_TOKENS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)


def parse_json(
    data: bytes, what: str, max_bytes: int, max_depth: int = MAX_DEPTH, *, controls: bool = False
) -> Any:
    """Parse untrusted JSON.

    Args:
        data: UTF-8, without a byte order mark.
        what: name of the document, for messages.
        max_bytes: the largest size allowed.
        max_depth: the deepest nesting of arrays and objects allowed.
        controls: whether strings may hold control characters, as texts for a model may.

    Raises:
        IntegrityError: too large, too deep, not JSON, a duplicate key, a number that is not finite,
            a control character or half a surrogate pair inside a string.
    """
    if len(data) > max_bytes:
        raise _damaged(f"{what} is larger than {max_bytes} bytes")
    _check_depth(data, what, max_depth)

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        table = dict(items)
        if len(table) != len(items):
            seen: set[str] = set()
            for key, _ in items:
                if key in seen:
                    raise _damaged(f"{what}: duplicate key {key[:80]!r}")
                seen.add(key)
        return table

    def real(text: str) -> float:
        number = float(text)
        if not math.isfinite(number):
            raise _damaged(f"{what}: {text[:40]} is not a finite number")
        return number

    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=pairs, parse_float=real, parse_constant=real
        )
    except (ValueError, RecursionError) as error:
        raise _damaged(f"{what} is not JSON: {error}") from error
    _check_strings(value, what, check_unicode if controls else check_text)
    return value


def canonical_json(value: object, indent: int | None = None) -> bytes:
    """The one JSON form of a value: sorted keys, UTF-8, no spare spaces unless `indent`, a final newline.

    Raises:
        InternalError: the value holds something that JSON has no word for.
    """
    separators = (",", ":") if indent is None else (",", ": ")
    try:
        text = json.dumps(
            value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
        )
        return text.encode("utf-8") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise InternalError(f"cannot be written as JSON: {error}", "please report this") from error


def _damaged(problem: str) -> IntegrityError:
    return IntegrityError(problem, "copy the bundle again from where it was compiled")


def _check_depth(data: bytes, what: str, limit: int) -> None:
    depth = 0
    for match in _TOKENS.finditer(data):
        first = data[match.start()]
        if first in b"[{":
            depth += 1
            if depth > limit:
                raise _damaged(f"{what} nests deeper than {limit} levels")
        elif first in b"]}":
            depth -= 1


def _check_strings(value: object, where: str, check: _Check) -> None:
    if isinstance(value, str):
        check(value, where, _damaged)
    elif isinstance(value, dict):
        for key, item in value.items():
            check(key, f"a key of {where}", _damaged)
            _check_strings(item, f"{where}.{key[:80]}", check)
    elif isinstance(value, list):
        for i, item in enumerate(value):
            _check_strings(item, f"{where}[{i}]", check)
