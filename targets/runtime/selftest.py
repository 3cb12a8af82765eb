"""Golden texts through the real runtime: whether this device computes what the compiler measured."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from targets.bundle.schema import SELFTEST_PATH
from targets.bundle.strict_json import canonical_json, parse_json
from targets.errors import IntegrityError, UsageError
from targets.fields import Fields
from targets.runtime.items import TextItem
from targets.runtime.tasks import TASK_OUTPUTS

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle
    from targets.runtime.session import Session

VERSION = 1
MAX_VALUES = 256
MAX_BYTES = 8 * 1024 * 1024
MAX_TEXTS = 256
MAX_CHARACTERS = 1 << 18

_MOST_VALUES = 1 << 20


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far an output may be from the expected one: at its worst element, and on average."""

    max_abs: float
    mean_abs: float


@dataclass(frozen=True, slots=True)
class SelfTest:
    """The content of `selftest.json`.

    Attributes:
        texts: golden texts and pairs.
        ids: the token ids of each text's first window.
        outputs: for each output and text, the flattened row, or `max_values` evenly spaced values of it.
        tolerance: what is allowed.
        max_values: the most values kept of a row.
    """

    texts: tuple[TextItem, ...]
    ids: tuple[tuple[int, ...], ...]
    outputs: Mapping[str, tuple[tuple[float, ...], ...]]
    tolerance: Tolerance
    max_values: int


@dataclass(frozen=True, slots=True)
class SelfTestReport:
    """What a self-test found.

    Attributes:
        ok: whether everything is within tolerance.
        n: the number of texts.
        token_ids_equal: whether the tokenizer gives the expected ids.
        max_abs: the largest absolute difference of each output; infinite where shapes differ or values are
            not numbers.
        mean_abs: the mean absolute difference of each output.
        tolerance: what was allowed.
    """

    ok: bool
    n: int
    token_ids_equal: bool
    max_abs: Mapping[str, float]
    mean_abs: Mapping[str, float]
    tolerance: Tolerance

    def to_dict(self) -> dict[str, Any]:
        """The fields, ready for JSON; infinite differences are null."""
        return {
            "ok": self.ok,
            "n": self.n,
            "token_ids_equal": self.token_ids_equal,
            "max_abs": {name: _finite(value) for name, value in self.max_abs.items()},
            "mean_abs": {name: _finite(value) for name, value in self.mean_abs.items()},
            "tolerance": {"max_abs": self.tolerance.max_abs, "mean_abs": self.tolerance.mean_abs},
        }


def make_selftest(session: Session, texts: Sequence[TextItem], tolerance: Tolerance) -> bytes:
    """Records what a session computes now.

    Args:
        session: of the very model that ships.
        texts: 1 to 256 golden texts.
        tolerance: what a device may differ by.

    Returns:
        The bytes of `selftest.json`, numbers rounded to 6 significant digits.

    Raises:
        UsageError: no texts, too many of them, or a tolerance that is negative or not a number.
    """
    if not 1 <= len(texts) <= MAX_TEXTS:
        raise UsageError(f"{len(texts)} texts for the self-test", f"give 1 to {MAX_TEXTS}")
    if _characters(texts) > MAX_CHARACTERS:
        raise UsageError(
            f"{_characters(texts)} characters for the self-test", f"give at most {MAX_CHARACTERS} in all"
        )
    for value in (tolerance.max_abs, tolerance.mean_abs):
        if not (math.isfinite(value) and value >= 0):
            raise UsageError(f"a self-test tolerance of {value}", "give a number from 0")
    ids, rows = _measure(session, texts, MAX_VALUES)
    document = {
        "version": VERSION,
        "texts": [item if isinstance(item, str) else list(item) for item in texts],
        "ids": ids,
        "outputs": {
            name: [[float(f"{value:.6g}") for value in row] for row in found] for name, found in rows.items()
        },
        "tolerance": {"max_abs": tolerance.max_abs, "mean_abs": tolerance.mean_abs},
        "max_values": MAX_VALUES,
    }
    return canonical_json(document)


def run_selftest(bundle: Bundle, session: Session) -> SelfTestReport:
    """Runs a bundle's golden texts.

    Args:
        bundle: whose `selftest.json` is read, its hash compared.
        session: of that bundle.

    Raises:
        IntegrityError: the self-test is damaged.
    """
    golden = parse_selftest(bundle.read(SELFTEST_PATH))
    try:
        return compare(golden, session)
    except UsageError as error:  # its own texts are not what its task takes
        raise _damaged(error.message) from error


def compare(golden: SelfTest, session: Session) -> SelfTestReport:
    """Runs golden texts through a session and compares ids and outputs."""
    ids, rows = _measure(session, golden.texts, golden.max_values)
    max_abs, mean_abs = {}, {}
    for name in TASK_OUTPUTS[session.task]:
        expected = golden.outputs.get(name, ())
        max_abs[name], mean_abs[name] = _difference(expected, rows[name])
    equal = ids == [list(row) for row in golden.ids]
    limits = golden.tolerance
    near = all(max_abs[name] <= limits.max_abs and mean_abs[name] <= limits.mean_abs for name in max_abs)
    return SelfTestReport(equal and near, len(golden.texts), equal, max_abs, mean_abs, limits)


def parse_selftest(data: bytes) -> SelfTest:
    """Reads `selftest.json`, which may come from anyone.

    Raises:
        IntegrityError: it is not what `make_selftest` writes, or of a later version.
    """
    try:
        document = parse_json(data, "it", MAX_BYTES, controls=True)
    except IntegrityError as error:
        raise _damaged(error.message) from error
    fields = Fields(document, "", _damaged)
    fields.choice("version", (VERSION,))
    limits = fields.table("tolerance")
    rows = fields.free("outputs")
    golden = SelfTest(
        texts=tuple(_text(item) for item in fields.items("texts")),
        ids=tuple(tuple(_integer(token) for token in _rows(row)) for row in fields.items("ids")),
        outputs={
            name: tuple(tuple(_number(value) for value in _rows(row)) for row in _rows(found))
            for name, found in rows.items()
        },
        tolerance=Tolerance(limits.real("max_abs"), limits.real("mean_abs")),
        max_values=fields.integer("max_values", 1, _MOST_VALUES) if fields.has("max_values") else MAX_VALUES,
    )
    limits.close()
    fields.close()
    count = len(golden.texts)
    if not 1 <= count <= MAX_TEXTS or _characters(golden.texts) > MAX_CHARACTERS:
        raise _damaged("its texts are out of bounds")
    if len(golden.ids) != count or any(len(rows) != count for rows in golden.outputs.values()):
        raise _damaged("its texts, ids and outputs are not equally many")
    return golden


def _measure(
    session: Session, texts: Sequence[TextItem], max_values: int
) -> tuple[list[list[int]], dict[str, list[NDArray[np.float64]]]]:
    names = TASK_OUTPUTS[session.task]
    first = [inference.windows[0] for inference in session.infer(texts, outputs=names)]
    ids = [list(window.encoding.ids) for window in first]
    rows = {name: [_sample(window.outputs[name], max_values) for window in first] for name in names}
    return ids, rows


def _sample(values: NDArray[Any], count: int) -> NDArray[np.float64]:
    """The flattened values, or `count` of them from the first to the last."""
    flat = np.asarray(values, dtype=np.float64).ravel()
    if flat.size <= count:
        return flat
    return np.asarray(flat[np.linspace(0, flat.size - 1, count).astype(np.int64)])


def _difference(
    expected: Sequence[Sequence[float]], found: Sequence[NDArray[np.float64]]
) -> tuple[float, float]:
    """The largest and the mean absolute difference over all rows."""
    if [len(row) for row in expected] != [len(row) for row in found]:
        return math.inf, math.inf
    gap = np.abs(np.concatenate([np.asarray(row) for row in expected]) - np.concatenate(found))
    if not np.isfinite(gap).all():
        return math.inf, math.inf
    return float(gap.max(initial=0.0)), float(gap.mean()) if gap.size else 0.0


def _text(item: object) -> TextItem:
    if isinstance(item, str):
        return item
    if isinstance(item, list) and len(item) == 2 and all(isinstance(text, str) for text in item):
        return item[0], item[1]
    raise _damaged("a text is neither a text nor a pair")


def _characters(texts: Sequence[TextItem]) -> int:
    return sum(len(part) for item in texts for part in ((item,) if isinstance(item, str) else item))


def _rows(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise _damaged("a list is missing")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 32:
        raise _damaged("a token id is none")
    return value


def _number(value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not abs(value) <= sys.float_info.max:  # type: ignore[arg-type]
        raise _damaged("an output is no number")
    return float(value)  # type: ignore[arg-type]


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _damaged(what: str) -> IntegrityError:
    return IntegrityError(
        f"{SELFTEST_PATH} cannot be used: {what}", "copy the bundle again from where it was compiled"
    )
