"""Labelled text as a stream of examples, from a file or from a name of the `datasets` library."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from calibration.columns import ColumnMap, resolve_columns
from calibration.examples import DataOptions, Example
from calibration.hub import open_hub_table
from calibration.readers import READERS, Table, open_table
from calibration.rows import to_example
from targets.errors import UsageError

_CHUNK: Final = 1 << 20


class Dataset:
    """Examples that are read anew, row by row, on every iteration.

    Attributes:
        name: the file's name, or the name in the `datasets` library.
        columns: every column of the source.
        mapping: the columns that are read.
        label_names: what the source itself calls integer labels or tags, if it declares it.
    """

    def __init__(
        self,
        name: str,
        columns: tuple[str, ...],
        mapping: ColumnMap,
        label_names: tuple[str, ...] | None,
        open_rows: Callable[[], Table],
        path: Path | None = None,
    ) -> None:
        """Wrap a source that `open_rows` reads from the start at each call; use `open_dataset`."""
        self.name = name
        self.columns = columns
        self.mapping = mapping
        self.label_names = label_names
        self._open_rows = open_rows
        self._path = path
        self._digest: str | None = None

    def __iter__(self) -> Iterator[Example]:
        """Read the source from its start; a malformed row raises UsageError when it is reached."""
        for number, record in self._open_rows().records:
            yield to_example(self.name, number, record, self.mapping)

    @property
    def has_labels(self) -> bool:
        """Whether the source has a column of labels, tags or answers for the task."""
        return bool(self.mapping.label or self.mapping.tags or self.mapping.answers)

    @property
    def digest(self) -> str:
        """Hex sha256 of the file's content; of all examples' values when the source is not a file."""
        if self._digest is None:
            self._digest = _file_digest(self._path) if self._path is not None else _rows_digest(self)
        return self._digest


def open_dataset(source: str | Path, task: str, options: DataOptions | None = None) -> Dataset:
    """Open a data file (.jsonl, .json, .csv, .tsv, .txt, .parquet) or a `datasets` name.

    A name has the form ``glue/sst2:validation``: dataset, configuration and split.

    Args:
        source: path, or name when no such path exists.
        task: one of `targets.spec.TASKS`; decides which columns are looked for.
        options: columns and split asked for.

    Raises:
        UsageError: nothing there, unknown format, empty, malformed, or a column that is not there.
    """
    chosen = options or DataOptions()
    path = Path(source)
    name = str(source)
    if name and os.path.exists(name):
        return _from_table(path.name, lambda: open_table(_regular(path)), task, chosen, path)
    looks_like_path = path.suffix.lower() in READERS or name.startswith(("/", ".", "~")) or not name.strip()
    if isinstance(source, Path) or looks_like_path:
        raise UsageError(f"{source}: no such file", f"give a file ({', '.join(READERS)})")
    return _from_table(name, lambda: open_hub_table(name, chosen.split), task, chosen, None)


def _from_table(
    name: str, open_rows: Callable[[], Table], task: str, options: DataOptions, path: Path | None
) -> Dataset:
    table = open_rows()
    mapping = resolve_columns(name, table.columns, task, options)
    first = next(table.records)
    to_example(name, *first, mapping)
    names = _declared(table.label_names, mapping)
    return Dataset(name, table.columns, mapping, names, open_rows, path)


def _declared(names: Mapping[str, tuple[str, ...]], mapping: ColumnMap) -> tuple[str, ...] | None:
    column = mapping.tags or (mapping.label[0] if len(mapping.label) == 1 else None)
    return names.get(column) if column is not None else None


def _regular(path: Path) -> Path:
    if path.is_file():
        return path
    files = sorted(p.name for p in path.iterdir() if p.suffix.lower() in READERS) if path.is_dir() else []
    inside = f"; it holds {', '.join(files[:8])}" if files else ""
    kind = "a folder" if path.is_dir() else "not a regular file"
    raise UsageError(f"{path}: {kind}{inside}", "give one data file")


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}", "check the path") from error
    return digest.hexdigest()


def _rows_digest(dataset: Dataset) -> str:
    digest = hashlib.sha256()
    for example in dataset:
        digest.update(repr(example).encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
