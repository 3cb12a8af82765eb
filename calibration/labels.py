"""Labels as files have them (names, ids, lists, numbers), brought to what a model calls them.

How a column is written is decided once for the whole column, never row by row: the labels ``1``
to ``5`` of a model that calls its classes "1" to "5" are names, while a column that also holds
``0`` can only be ids.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from calibration.examples import Example, Scalar
from targets.errors import UsageError

ProblemType: TypeAlias = Literal["single_label_classification", "multi_label_classification", "regression"]

IGNORED_TAG: Final = -100
_GENERIC: Final = re.compile(r"label_(\d+)", re.IGNORECASE)
_SEPARATORS: Final = re.compile(r"[,;|]")
_ON: Final = frozenset({"1", "1.0", "True", "true"})
_OFF: Final = frozenset({"0", "0.0", "False", "false"})
_Located: TypeAlias = Sequence[tuple[int, Scalar]]
_Reading: TypeAlias = Callable[[Scalar], int | None]


def normalize_labels(
    examples: Sequence[Example],
    labels: Sequence[str],
    problem_type: str | None = None,
    *,
    label_names: Sequence[str] | None = None,
) -> NDArray[np.int64] | NDArray[np.float64]:
    """Turn every example's label into the model's ids.

    Args:
        examples: rows that all have a label.
        labels: the model's labels in id order.
        problem_type: as in the model's configuration; None means regression for at most one label
            and single-label classification otherwise.
        label_names: what the data's own ids mean (`Dataset.label_names`); used when all of these
            names are the model's as well, otherwise ids are taken for the model's ids.

    Returns:
        int64 [rows] of ids; int64 [rows, labels] of 0 and 1 for multi-label; float64 [rows] for regression.

    Raises:
        UsageError: a label is missing or is none of the model's; names the row and the value.
    """
    kind = problem_type or ("regression" if len(labels) <= 1 else "single_label_classification")
    if kind == "regression":
        return np.array([_number(i, example) for i, example in enumerate(examples)], dtype=np.float64)
    resolve = _Resolver(examples, labels, label_names)
    if kind == "multi_label_classification":
        return resolve.multi()
    return resolve.single()


def normalize_tags(
    examples: Sequence[Example], labels: Sequence[str], *, label_names: Sequence[str] | None = None
) -> list[tuple[int, ...]]:
    """Turn every example's tags into the model's ids, one per word; -100 stays (a word not scored).

    Raises:
        UsageError: tags are missing or a tag is none of the model's; names the row and the value.
    """
    located: list[tuple[int, Scalar]] = []
    for i, example in enumerate(examples):
        if example.tags is None:
            raise _missing(i, example, "tags")
        located.extend((i, tag) for tag in example.tags if not _is_ignored(tag))
    ids = iter(_Resolver(examples, labels, label_names).ids(located))
    return [
        tuple(IGNORED_TAG if _is_ignored(tag) else next(ids) for tag in example.tags or ())
        for example in examples
    ]


class _Resolver:
    def __init__(
        self, examples: Sequence[Example], labels: Sequence[str], label_names: Sequence[str] | None
    ) -> None:
        self.examples = examples
        self.labels = labels
        self.exact = {name: i for i, name in enumerate(labels)}
        self.folded = _unique(labels, _fold)
        self.loose = _unique(labels, _loosen)
        self.declared = self._declared_ids(label_names)

    def single(self) -> NDArray[np.int64]:
        located: list[tuple[int, Scalar]] = []
        for i, example in enumerate(self.examples):
            value = example.label
            if isinstance(value, tuple) and len(value) == 1:
                value = value[0]
            if value is None or value == "":
                raise _missing(i, example, "label")
            if isinstance(value, tuple):
                raise UsageError(
                    f"{_where(i, example)}: several labels {list(value)!r} for a model that gives one",
                    "give one label per row, or a model whose problem_type is multi_label_classification",
                )
            located.append((i, value))
        return np.array(self.ids(located), dtype=np.int64)

    def multi(self) -> NDArray[np.int64]:
        rows = [self._several(i, example) for i, example in enumerate(self.examples)]
        if rows and all(_is_multi_hot(row, len(self.labels)) for row in rows):
            return np.array([[int(_as_text(value) in _ON) for value in row] for row in rows], dtype=np.int64)
        located = [(i, value) for i, row in enumerate(rows) for value in row]
        result = np.zeros((len(rows), len(self.labels)), dtype=np.int64)
        for (i, _), label in zip(located, self.ids(located), strict=True):
            result[i, label] = 1
        return result

    def ids(self, located: _Located) -> list[int]:
        """Resolve ``(example index, value)`` pairs, all as names or else all as ids."""
        readings: tuple[_Reading, ...] = (self._by_name, self._by_id)
        resolved = [[reading(value) for _, value in located] for reading in readings]
        best = min(resolved, key=lambda ids: sum(found is None for found in ids))
        for (i, value), found in zip(located, best, strict=True):
            if found is None:
                raise self._unknown(i, value)
        return [found for found in best if found is not None]

    def _several(self, i: int, example: Example) -> tuple[Scalar, ...]:
        value = example.label
        if value is None:
            raise _missing(i, example, "label")
        if isinstance(value, tuple):
            return value
        if not isinstance(value, str) or self._by_name(value) is not None:
            return (value,)
        listed = _json_list(value)
        if listed is not None:
            return listed
        return tuple(part.strip() for part in _SEPARATORS.split(value) if part.strip())

    def _by_name(self, value: Scalar) -> int | None:
        text = _as_text(value)
        for table, key in ((self.exact, text), (self.folded, _fold(text)), (self.loose, _loosen(text))):
            if key in table:
                return table[key]
        return None

    def _by_id(self, value: Scalar) -> int | None:
        number = _as_id(value)
        if number is None:
            return None
        if self.declared is not None:
            return self.declared[number] if number < len(self.declared) else None
        return number if number < len(self.labels) else None

    def _declared_ids(self, names: Sequence[str] | None) -> list[int] | None:
        if not names:
            return None
        ids = [self._by_name(name) for name in names]
        known = [i for i in ids if i is not None]
        return known if len(known) == len(ids) == len(set(known)) else None

    def _unknown(self, i: int, value: Scalar) -> UsageError:
        shown = ", ".join(repr(name) for name in self.labels[:20])
        more = f" and {len(self.labels) - 20} more" if len(self.labels) > 20 else ""
        hidden = "; -1 often marks rows whose label is withheld" if _as_text(value) == "-1" else ""
        return UsageError(
            f"{_where(i, self.examples[i])}: label {value!r} is none of the model's: {shown}{more}",
            f"give names or ids from 0 to {len(self.labels) - 1}, or another --label-column{hidden}",
        )


def _number(i: int, example: Example) -> float:
    value = (
        example.label[0] if isinstance(example.label, tuple) and len(example.label) == 1 else example.label
    )
    if value is None or value == "":
        raise _missing(i, example, "label")
    try:
        number = float(value) if not isinstance(value, tuple) else math.nan
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(
            f"{_where(i, example)}: label {value!r} is not a finite number",
            "a regression model needs a number in every row; name its column with --label-column",
        )
    return number


def _unique(labels: Sequence[str], key: Callable[[str], str]) -> dict[str, int]:
    """Ids by a looser spelling of the names, without the spellings that two names share."""
    keys = [key(name) for name in labels]
    return {name: i for i, name in enumerate(keys) if keys.count(name) == 1}


def _fold(name: str) -> str:
    return name.strip().casefold()


def _loosen(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", _fold(name))


def _as_text(value: Scalar) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _as_id(value: Scalar) -> int | None:
    if isinstance(value, str):
        text = value.strip()
        generic = _GENERIC.fullmatch(text)
        text = generic[1] if generic else text.removesuffix(".0")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
    if isinstance(value, float) and not value.is_integer():
        return None
    return int(value) if value >= 0 else None


def _is_ignored(tag: Scalar) -> bool:
    return _as_text(tag) == str(IGNORED_TAG)


def _is_multi_hot(row: Sequence[Scalar], width: int) -> bool:
    return len(row) == width and all(_as_text(value) in _ON | _OFF for value in row)


def _json_list(text: str) -> tuple[Scalar, ...] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list) and all(isinstance(item, str | int | float) for item in value):
        return tuple(value)
    return None


def _where(i: int, example: Example) -> str:
    return f"row {example.row or i + 1}"


def _missing(i: int, example: Example, what: str) -> UsageError:
    return UsageError(
        f"{_where(i, example)}: no {what}",
        "give one in every row, or leave the column out of all rows to compare with FP32 only",
    )
