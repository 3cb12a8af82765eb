"""Data sets by their name in the `datasets` library, when it is installed and the hub is reachable."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any, Final

from calibration.readers import Record, Table, class_names
from targets.errors import UsageError

_DEFAULT_SPLIT: Final = "train"


def parse_name(name: str) -> tuple[list[tuple[str, str | None]], str | None]:
    """Split ``NAME[:SPLIT]`` into the (path, configuration) readings to try, in order, and the split."""
    body, colon, split = name.partition(":")
    parts = body.split("/")
    whole: tuple[str, str | None] = (body, None)
    if len(parts) == 2:
        return [whole, (parts[0], parts[1])], split if colon else None
    if len(parts) == 3:
        return [("/".join(parts[:2]), parts[2])], split if colon else None
    return [whole], split if colon else None


def open_hub_table(name: str, split: str | None) -> Table:
    """Load a split through `datasets` (no remote code) and return one pass over its rows.

    Raises:
        UsageError: the library is not installed, or it cannot load that name or split (its own
            reason is given).
    """
    try:
        datasets = importlib.import_module("datasets")
    except ImportError as error:
        raise UsageError(
            f"{name!r} is no file, and data sets by name need the datasets package",
            "give a file, or install it: pip install datasets",
        ) from error
    readings, named_split = parse_name(name)
    loaded = _load(datasets, name, readings, split or named_split or _DEFAULT_SPLIT)
    if not len(loaded):
        raise UsageError(f"{name}: the split has no rows", "name another split, as NAME:SPLIT")
    features = loaded.features.to_dict()
    names = {column: found for column in features if (found := class_names(features[column]))}
    return Table(tuple(loaded.column_names), _rows(loaded), names)


def _load(datasets: Any, name: str, readings: list[tuple[str, str | None]], split: str) -> Any:
    reasons: list[BaseException] = []
    for path, configuration in readings:
        try:
            return datasets.load_dataset(path, configuration, split=split)
        except (OSError, ValueError, RuntimeError) as error:
            reasons.append(error)
    reason = (str(reasons[0]).splitlines() or [type(reasons[0]).__name__])[0]
    raise UsageError(
        f"{name!r} is no file, and the datasets library cannot load its split {split!r}: {reason}",
        "give a local file, or check the name, the split and the connection to the hub",
    ) from reasons[-1]


def _rows(loaded: Any) -> Iterator[Record]:
    yield from enumerate(loaded, start=1)
